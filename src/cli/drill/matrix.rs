//! What a drill prints: a table, a JSON document, JUnit XML.

use std::fmt::Write as _;

use serde::Serialize;

use super::rehearse::{self, Played};
use crate::cli::look;
use crate::cli::open;
use crate::drill::judge::Evidence;
use crate::exit_code;
use crate::observe::plain;

/// How a fault was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it has to be.
    Passed,
    /// Otherwise.
    Failed,
    /// This task cannot meet it.
    NotReached,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "pass",
            Self::Failed => "FAIL",
            Self::NotReached => "n/a",
        }
    }
}

/// One fault.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub fault: String,
    /// The pattern that has to answer it.
    pub expected: &'static str,
    /// Whether it did.
    pub verdict: Verdict,
    /// What fired.
    pub fired: String,
    /// What shows it; for a fault that was not met, why.
    pub evidence: String,
    /// How long the rehearsal took.
    pub took_ms: u64,
}

/// A whole drill.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    v: u64,
    task: String,
    /// Exit code of the rehearsal without a fault.
    baseline_exit_code: u8,
    passed: usize,
    failed: usize,
    not_reached: usize,
    took_ms: u64,
    rows: Vec<Row>,
}

/// Longest evidence in the table, in characters, where no terminal says how wide
/// it is.
const EVIDENCE_CHARS_MAX: usize = 100;

impl Document {
    /// Makes one.
    pub fn new(task: &str, baseline: &Played, rows: Vec<Row>) -> Self {
        let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
        Self {
            v: look::JSON_VERSION,
            task: task.to_owned(),
            baseline_exit_code: baseline.evidence.exit_code,
            passed: count(Verdict::Passed),
            failed: count(Verdict::Failed),
            not_reached: count(Verdict::NotReached),
            took_ms: baseline.took_ms + rows.iter().map(|row| row.took_ms).sum::<u64>(),
            rows,
        }
    }

    /// Makes the one of a task that does not end well without a fault.
    pub fn unwell(task: &str, baseline: Result<Played, rehearse::Error>) -> Self {
        let (exit_code, why, took_ms) = match baseline {
            Ok(played) => {
                let Evidence {
                    exit_code, outcome, ..
                } = played.evidence;
                let why = format!("exit code {exit_code}: {outcome}");
                (exit_code, why, played.took_ms)
            }
            Err(rehearse::Error::NotReached(why) | rehearse::Error::Failed(why)) => {
                (exit_code::INTERNAL, why, 0)
            }
        };
        let row = Row {
            fault: "none".into(),
            expected: "the task ends well where nothing goes wrong",
            verdict: Verdict::Failed,
            fired: "nothing".into(),
            evidence: why,
            took_ms,
        };
        Self {
            v: look::JSON_VERSION,
            task: task.to_owned(),
            baseline_exit_code: exit_code,
            passed: 0,
            failed: 1,
            not_reached: 0,
            took_ms,
            rows: vec![row],
        }
    }

    /// Whether a fault was not answered as it has to be.
    pub fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// Returns the table for people.
    pub fn table(&self, columns: Option<usize>) -> String {
        let widest = |of: fn(&Row) -> usize| self.rows.iter().map(of).max().unwrap_or(0);
        let fault = widest(|row| row.fault.chars().count()).max(5);
        let fired = widest(|row| row.fired.chars().count()).clamp(5, 44);
        let left = columns.map(|all| all.saturating_sub(fault + fired + 6 + 6));
        let left = left.unwrap_or(EVIDENCE_CHARS_MAX).max(20);
        let mut text = format!(
            "{:<fault$}  {:<4}  {:<fired$}  EVIDENCE\n",
            "FAULT", "", "FIRED"
        );
        for row in &self.rows {
            let _ = writeln!(
                text,
                "{:<fault$}  {:<4}  {:<fired$}  {}",
                row.fault,
                row.verdict.word(),
                cut(&plain::line(&row.fired), fired),
                cut(&plain::line(&row.evidence), left),
            );
            if row.verdict == Verdict::Failed {
                let _ = writeln!(text, "{:<fault$}        expected: {}", "", row.expected);
            }
        }
        let _ = writeln!(
            text,
            "{} passed, {} failed, {} not reached by this task; {}",
            self.passed,
            self.failed,
            self.not_reached,
            open::duration(self.took_ms)
        );
        text
    }

    /// Returns the matrix as CI servers read it.
    pub fn junit(&self) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let _ = writeln!(
            text,
            "<testsuite name=\"agentguard drill {}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{}\">",
            xml(&self.task),
            self.rows.len(),
            self.failed,
            self.not_reached,
            seconds(self.took_ms)
        );
        for row in &self.rows {
            let _ = write!(
                text,
                "  <testcase classname=\"drill\" name=\"{}\" time=\"{}\">",
                xml(&row.fault),
                seconds(row.took_ms)
            );
            let inner = match row.verdict {
                Verdict::Passed => format!(
                    "<system-out>{}; {}</system-out>",
                    xml(&row.fired),
                    xml(&row.evidence)
                ),
                Verdict::Failed => format!(
                    "<failure message=\"expected: {}\">{}; {}</failure>",
                    xml(row.expected),
                    xml(&row.fired),
                    xml(&row.evidence)
                ),
                Verdict::NotReached => format!("<skipped message=\"{}\"/>", xml(&row.evidence)),
            };
            let _ = writeln!(text, "{inner}</testcase>");
        }
        text.push_str("</testsuite>\n");
        text
    }
}

fn cut(text: &str, chars: usize) -> String {
    match text.chars().count() <= chars {
        true => text.to_owned(),
        false => {
            let mut short: String = text.chars().take(chars.saturating_sub(1)).collect();
            short.push('…');
            short
        }
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Escapes a text for XML; what XML cannot hold becomes a question mark.
fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\t' | '\r' => safe.push(' '),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                safe.push('?');
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
    fn what_xml_cannot_hold_is_not_in_it() {
        assert_eq!(
            xml("a<b>&\"c\"\u{1b}[0m\n"),
            "a&lt;b&gt;&amp;&quot;c&quot;?[0m "
        );
    }
}
