//! `agentguard check`

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::error::{Failure, Kind};
use super::{Global, Result, jsonl};
use crate::driver::gateway::check_scripts;
use crate::driver::policy::own_rules;
use crate::exit_code;
use crate::policy::taxonomy::{History, Observation, classify};
use crate::task::readiness::{self, Tried};
use crate::task::resolved::Resolved;
use crate::task::{self, Colour, Finding, Problem, Severity};

/// Read a task file as an operator would, and say what is wrong or missing
///
/// Problems are what `agentguard run` would refuse. Findings are what is
/// missing before the task may run unattended (no deadline, a write tool
/// without a key, nobody told of a failure); each names its rule. Nothing is
/// started and nothing but the task file is read.
///
/// Exit code 0: it can run; warnings and infos do not change that. Exit code 2:
/// there are errors, or with --strict also warnings.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    /// The task file (YAML); `-` reads it from stdin
    #[arg(value_name = "TASK", required_unless_present = "rules")]
    task: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Let warnings fail the check too
    #[arg(long)]
    strict: bool,
    /// Print the rules of the findings, and read nothing
    #[arg(long, conflicts_with_all = ["task", "strict"])]
    rules: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard check task.yaml
  agentguard check --strict task.yaml && agentguard run task.yaml
  agentguard check --json task.yaml | jq -r '.findings[] | \"\\(.line): \\(.rule) \\(.message)\"'
  agentguard check --rules";

/// What `--json` prints; its fields are promised to stay.
#[derive(Serialize)]
struct Report {
    /// Version of this form.
    v: u32,
    file: String,
    /// Whether the exit code is 0.
    ok: bool,
    errors: usize,
    warnings: usize,
    infos: usize,
    problems: Vec<Problem>,
    findings: Vec<Finding>,
}

/// What `--rules --json` prints, one a line; its fields are promised to stay.
#[derive(Serialize)]
struct ListedRule {
    rule: &'static str,
    severity: Severity,
    title: &'static str,
}

/// Runs it.
pub fn main(global: &Global, args: CheckArgs) -> Result {
    let Some(file) = args.task else {
        return list(args.json);
    };
    let (bytes, name, base) = super::open::task_file(&file)?;
    let (problems, findings) = match task::decode(&bytes, &name) {
        Ok(text) => {
            let (resolved, problems, findings) = task::check_with(text, &name, Some(&try_example));
            if let Some(task) = resolved {
                // A script is a part of the task.
                check_scripts(&task.anchored(&base)).map_err(Failure::usage)?;
            }
            (problems, findings)
        }
        Err(problems) => (problems.0, vec![]),
    };
    let report = report(name, problems, findings, args.strict);
    let code = if report.ok {
        exit_code::DONE
    } else {
        exit_code::USAGE
    };
    if args.json {
        let line = serde_json::to_string(&report)
            .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
        jsonl::print(&format!("{line}\n"))?;
    } else {
        jsonl::print(&text(&report, colour(global)))?;
    }
    Ok(code)
}

/// Classifies an example of a rule as the run would.
fn try_example(task: &Resolved, example: &Value) -> std::result::Result<Tried, String> {
    let rules = own_rules(task).map_err(|(id, error)| format!("rule `{id}`: {error}"))?;
    if example.get("result").is_none() {
        return Err("there is no `result`".to_owned());
    }
    let observation = Observation::from_value(example.clone());
    let verdict = classify(&observation, &rules, &History::default());
    Ok(Tried {
        rule: verdict.rule,
        class: verdict.class.name().to_owned(),
    })
}

fn report(file: String, problems: Vec<Problem>, findings: Vec<Finding>, strict: bool) -> Report {
    let count = |severity| findings.iter().filter(|it| it.severity == severity).count();
    let errors = problems.len() + count(Severity::Error);
    let warnings = count(Severity::Warn);
    Report {
        v: 1,
        file,
        ok: errors == 0 && (warnings == 0 || !strict),
        errors,
        warnings,
        infos: count(Severity::Info),
        problems,
        findings,
    }
}

/// Writes a report for a person; the summary comes last, where a terminal
/// stands when it is done.
fn text(report: &Report, colour: Colour) -> String {
    let mut parts = Vec::new();
    if !report.problems.is_empty() {
        parts.push(task::Problems(report.problems.clone()).render(colour));
    }
    let findings = report.findings.iter();
    parts.extend(findings.map(|finding| finding.render(colour)));
    parts.push(format!("{}\n", summary(report)));
    parts.join("\n")
}

fn summary(report: &Report) -> String {
    let counted = [
        (report.errors, "error"),
        (report.warnings, "warning"),
        (report.infos, "info"),
    ];
    let mut words: Vec<String> = Vec::new();
    for (count, word) in counted {
        match count {
            0 => {}
            1 => words.push(format!("1 {word}")),
            _ => words.push(format!("{count} {word}s")),
        }
    }
    let file = &report.file;
    match (report.errors, words.is_empty()) {
        (0, true) => format!("{file}: ready, nothing to report"),
        (0, false) if report.ok => format!("{file}: can run; {}", words.join(", ")),
        (0, false) => format!("{file}: not strict enough; {}", words.join(", ")),
        _ => format!("{file}: {}", words.join(", ")),
    }
}

fn list(json: bool) -> Result {
    let mut text = String::new();
    for readiness::Rule {
        id,
        severity,
        title,
    } in readiness::RULES
    {
        if json {
            let rule = ListedRule {
                rule: id,
                severity: *severity,
                title,
            };
            text.push_str(
                &serde_json::to_string(&rule)
                    .map_err(|error| Failure::from_error(Kind::Environment, &error))?,
            );
            text.push('\n');
        } else {
            // A String takes every write.
            let _ = writeln!(text, "{id}  {severity:<7}  {title}");
        }
    }
    jsonl::print(&text)?;
    Ok(exit_code::DONE)
}

/// Whether stdout gets colour; the report goes there, not to stderr.
fn colour(global: &Global) -> Colour {
    use std::io::IsTerminal as _;

    let quiet = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match global.color {
        super::ColorWhen::Always => Colour::Always,
        super::ColorWhen::Auto if !quiet && std::io::stdout().is_terminal() => Colour::Always,
        super::ColorWhen::Auto | super::ColorWhen::Never => Colour::Never,
    }
}
