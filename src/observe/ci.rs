//! A run on a CI page: a summary where the CI asks for one, and annotations.
//!
//! GitHub names a file for the job's summary (`GITHUB_STEP_SUMMARY`, Markdown)
//! and reads annotations from the log (`::error::`); Forgejo and Gitea do the
//! same. Elsewhere `AGENTGUARD_SUMMARY` names a file for the summary.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use crate::machine::{Outcome, Status};
use crate::observe::{Moment, Observer, Report};

/// Writes for a CI page.
pub struct Ci {
    summary: Option<PathBuf>,
    annotations: bool,
    warnings: Vec<String>,
}

impl Ci {
    /// Looks whether a CI wants to know; `variable` reads the environment.
    pub fn from_env(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let annotations = set("GITHUB_ACTIONS").is_some_and(|value| value == "true");
        let summary = set("AGENTGUARD_SUMMARY").or_else(|| set("GITHUB_STEP_SUMMARY"));
        let wanted = annotations || summary.is_some();
        wanted.then(|| Self {
            summary: summary.map(PathBuf::from),
            annotations,
            warnings: Vec::new(),
        })
    }
}

impl Observer for Ci {
    fn on(&mut self, moment: &Moment<'_>) {
        for note in moment.notes {
            if matches!(note.action.as_str(), "warn" | "steer") {
                self.warnings
                    .push(format!("{} ({})", note.why, note.evidence));
            }
        }
        if let Some(outcome) = moment.ended {
            let report = Report::of(moment.run, moment.state);
            if let Some(path) = &self.summary {
                let file = OpenOptions::new().create(true).append(true).open(path);
                // A summary that cannot be written must not fail the run.
                let _ = file.and_then(|mut file| file.write_all(markdown(&report).as_bytes()));
            }
            if self.annotations {
                let mut err = std::io::stderr();
                for line in annotations(&report, outcome, &self.warnings) {
                    let _ = writeln!(err, "{line}");
                }
            }
        }
    }
}

/// Returns the summary of a run, as Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = format!(
        "### agentguard: {} `{}`\n\n| | |\n|---|---|\n| run | `{}` |\n| outcome | {} |\n| steps | {} |\n| cost | {} USD |\n| tokens | {} |\n| tool calls | {} |\n| retries | {} |\n",
        escape(&report.task_id),
        report.status_text(),
        report.run_id,
        escape(report.outcome.as_deref().unwrap_or("none")),
        report.completed_steps,
        report.cost_usd,
        report.tokens_used,
        report.tool_calls,
        report.retry_count,
    );
    if let Some(workspace) = &report.workspace {
        text.push_str(&format!(
            "| workspace | {} |\n",
            escape(&workspace.describe())
        ));
    }
    if let Some(error) = &report.last_error {
        text.push_str(&format!("| last error | {} |\n", escape(error)));
    }
    for asked in &report.questions {
        text.push_str(&format!(
            "| asked ({}) | {} {} |\n",
            asked.id,
            escape(&asked.question),
            escape(&asked.answer())
        ));
    }
    let open = report.questions.iter().find(|asked| asked.option.is_none());
    if let Some(open) = open.filter(|_| report.status == Status::Waiting) {
        text.push_str(&format!("\nTo answer: `agentguard answer {}`\n", open.id));
    }
    if report.exit_code != Some(0) {
        text.push_str(&format!(
            "\nTo go on: `agentguard resume {}`\n",
            report.run_id
        ));
    }
    text
}

/// Returns annotations, as GitHub reads them from the log.
fn annotations(report: &Report, outcome: &Outcome, warnings: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = warnings
        .iter()
        .map(|warning| format!("::warning title=agentguard::{}", command(warning)))
        .collect();
    if outcome.exit_code() != 0 {
        let text = format!("run {}: {}", report.run_id, outcome.describe());
        lines.push(format!("::error title=agentguard::{}", command(&text)));
    }
    lines
}

/// Escapes the data of a workflow command.
fn command(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Keeps untrusted text from being Markdown or HTML in a table cell.
fn escape(text: &str) -> String {
    let mut safe = String::new();
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => safe.push(' '),
            '<' => safe.push_str("&lt;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' => {
                safe.push('\\');
                safe.push(letter);
            }
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_stays_text() {
        assert_eq!(escape("a|b\n<img>`x`"), "a\\|b &lt;img>\\`x\\`");
        assert_eq!(command("50%\n::error::x"), "50%25%0A::error::x");
    }
}
