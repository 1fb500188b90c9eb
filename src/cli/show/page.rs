//! A run as text.

use super::{Deadline, Page};
use crate::cli::look::{counted, table::table};
use crate::cli::open::instant;
use crate::cli::runs::ago;
use crate::cli::verify;
use crate::machine::{Cause, State};
use crate::observe::conversations::{self, Told};
use crate::observe::history::{Attempt, Call, Stands};
use crate::observe::plain;
use crate::observe::report::{Report, Workspace};
use crate::observe::timeline::span;
use crate::staging::tree::as_text;
use crate::task::units;

/// Tool calls and events that the overview shows, the latest.
const LATEST: usize = 15;
/// Failing items of a batch that are shown.
const FAILING_MAX: usize = 25;
/// Longest text in one line, in characters.
const TEXT_CHARS_MAX: usize = 300;
/// Width of the names on the left, in characters.
const NAME_WIDTH: usize = 16;

impl Page {
    /// Returns the figures, the limits and the attempts.
    pub(super) fn overview(&self) -> String {
        let mut text: String = self
            .figures()
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| {
                let value = plain::excerpt(&value, TEXT_CHARS_MAX);
                format!("{name:<NAME_WIDTH$}  {value}\n")
            })
            .collect();
        text.push_str(&limits(&self.report, self.deadline.as_ref()));
        text.push_str(&conversations(&self.history.state));
        text.push_str(&attempts(&self.history.attempts));
        text
    }

    /// Returns the calls that may or may not have happened.
    pub(super) fn in_doubt(&self) -> impl Iterator<Item = &Call> {
        let calls = self.history.calls.values();
        calls.filter(|call| call.stands == Stands::InDoubt)
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        let report = &self.report;
        let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
        let took = report.end_time.map(|end| {
            format!(
                "{} (took {})",
                instant(end),
                span(end.since(report.start_time))
            )
        });
        let doubt: Vec<_> = self
            .in_doubt()
            .map(|call| format!("call {} {} {}", call.call, call.tool, call.args))
            .collect();
        vec![
            ("run", report.run_id.to_string()),
            ("task", report.task_id.clone()),
            ("status", self.status()),
            ("outcome", or_none(&report.outcome)),
            (
                "exit code",
                report
                    .exit_code
                    .map_or_else(String::new, |code| code.to_string()),
            ),
            ("error class", or_none(&report.error_class)),
            ("in doubt", doubt.join(", ")),
            ("asked", asked(report)),
            (
                "started",
                format!(
                    "{} ({} ago)",
                    instant(report.start_time),
                    ago(self.now.since(report.start_time))
                ),
            ),
            ("ended", took.unwrap_or_default()),
            (
                "last checkpoint",
                report.last_checkpoint.map(instant).unwrap_or_default(),
            ),
            ("steps", steps(report)),
            ("tokens", report.tokens_used.to_string()),
            ("cost", format!("{} USD", report.cost_usd)),
            ("tool calls", tool_calls(report)),
            (
                "rolled back",
                match (report.undone, report.not_undone) {
                    (0, 0) => String::new(),
                    (undone, 0) => format!("{undone} undone"),
                    (undone, stuck) => format!("{undone} undone, {stuck} not"),
                },
            ),
            ("retries", retries(report)),
            ("classes", classes(report)),
            (
                "steers",
                match report.steers {
                    0 => String::new(),
                    steers => steers.to_string(),
                },
            ),
            (
                "answered by",
                report.degraded.as_ref().map_or_else(String::new, |it| {
                    format!("{}, in the place of the first model: {}", it.link, it.why)
                }),
            ),
            (
                "from the journal",
                match report.replayed {
                    0 => String::new(),
                    calls => format!("{calls} model calls, {} USD saved", report.saved_usd),
                },
            ),
            (
                "workspace",
                report
                    .workspace
                    .as_ref()
                    .map_or_else(String::new, workspace),
            ),
            ("last error", or_none(&report.last_error)),
            (
                "result",
                match &report.result {
                    Some(serde_json::Value::String(text)) => text.clone(),
                    Some(value) => value.to_string(),
                    None => String::new(),
                },
            ),
            ("input hash", report.input_hash.clone()),
            ("output hash", report.output_hash.clone()),
        ]
    }

    fn status(&self) -> String {
        let status = self.report.status.as_str();
        let Some(holder) = &self.seen.holder else {
            return self.report.status_text().to_owned();
        };
        let pid = holder.pid.map(|pid| format!("process {pid}"));
        let since = holder
            .since
            .map(|since| format!("since {}", instant(since)));
        let who: Vec<_> = [pid, since].into_iter().flatten().collect();
        format!("{status} ({})", who.join(", "))
    }

    /// Returns the checks of the last round, with what they found.
    pub(super) fn checks(&self) -> String {
        let checks = &self.history.checks;
        if checks.is_empty() {
            return String::new();
        }
        let mut text = String::from("\nchecks\n");
        for line in verify::page(checks).lines() {
            text.push_str(format!("  {line}").trim_end());
            text.push('\n');
        }
        text
    }

    /// Returns the batches, with the items that did not succeed.
    pub(super) fn batches(&self) -> String {
        let mut text = String::new();
        for batch in self.history.batches.values() {
            let met = match batch.met {
                Some(true) => "met",
                Some(false) => "not met",
                None => "not finished",
            };
            let counts = batch.counts.iter();
            let counts: Vec<_> = counts
                .map(|(status, count)| format!("{count} {}", status.as_str().replace('_', " ")))
                .collect();
            text.push_str(&format!(
                "\nbatch {} {}: {} items, {}; {}: {met}\n",
                batch.batch,
                plain::excerpt(&batch.tool, 80),
                batch.items,
                counts.join(", "),
                batch.policy,
            ));
            for item in batch.failing.iter().take(FAILING_MAX) {
                let line = format!(
                    "{} {}: {} [{}] {}",
                    item.id,
                    item.status.as_str().replace('_', " "),
                    item.why,
                    item.rule,
                    item.evidence
                );
                let line = plain::excerpt(&line, TEXT_CHARS_MAX);
                text.push_str(&format!("  {line}\n"));
            }
            if let Some(more) = batch
                .failing
                .len()
                .checked_sub(FAILING_MAX)
                .filter(|it| *it > 0)
            {
                text.push_str(&format!("  and {more} more: see --json\n"));
            }
        }
        text
    }

    /// Returns the tool calls: all, or the latest.
    pub(super) fn tools(&self, all: bool) -> String {
        let calls = &self.history.calls;
        if calls.is_empty() {
            return String::new();
        }
        let skipped = skipped(calls.len(), all);
        let rows: Vec<_> = calls.values().skip(skipped).map(tool_row).collect();
        let heads = [
            "CALL",
            "STEP",
            "TOOL",
            "STANDS",
            "CLASS",
            "TRIES",
            "TOOK",
            "ARGUMENTS",
        ];
        let width = crate::cli::look::columns().map(|width| width.saturating_sub(2));
        let mut text = head("tool calls", skipped, "--tools");
        for line in table(&heads, &rows, width).lines() {
            text.push_str(&format!("  {line}\n"));
        }
        text
    }

    /// Returns the events: all, or the latest.
    pub(super) fn timeline(&self, all: bool) -> String {
        let lines = &self.history.lines;
        let skipped = skipped(lines.len(), all);
        let mut text = head("timeline", skipped, "--timeline");
        for line in lines.iter().skip(skipped) {
            let since = format!("+{}", span(line.since_ms));
            let shown = plain::excerpt(&line.text, TEXT_CHARS_MAX);
            text.push_str(&format!("  {since:>8}  {shown}\n"));
        }
        text
    }
}

fn head(name: &str, skipped: usize, flag: &str) -> String {
    if skipped == 0 {
        format!("\n{name}\n")
    } else {
        format!("\n{name} (the latest; {skipped} earlier with {flag})\n")
    }
}

fn skipped(count: usize, all: bool) -> usize {
    if all { 0 } else { count.saturating_sub(LATEST) }
}

fn asked(report: &Report) -> String {
    let each = report.questions.iter().map(|asked| {
        format!(
            "{} ({}) {} {}",
            asked.id,
            asked.kind,
            asked.question,
            asked.answer()
        )
    });
    each.collect::<Vec<_>>().join("; ")
}

fn steps(report: &Report) -> String {
    match report.pending_steps {
        Some(left) => format!("{} done, {left} left", report.completed_steps),
        None => format!("{} done", report.completed_steps),
    }
}

fn tool_calls(report: &Report) -> String {
    let mut text = report.tool_calls.to_string();
    if report.from_record > 0 {
        text.push_str(&format!(", {} answered from record", report.from_record));
    }
    if report.refused_by_breaker > 0 {
        text.push_str(&format!(
            ", {} refused by a breaker",
            report.refused_by_breaker
        ));
    }
    text
}

fn retries(report: &Report) -> String {
    match report.retry_count {
        0 => "0".to_owned(),
        count => format!(
            "{count}, mean wait {}, {} then succeeded",
            span(report.retry_delay_mean_ms),
            counted(report.retried_to_success, "call")
        ),
    }
}

fn classes(report: &Report) -> String {
    let classes = report.classes.iter();
    let texts: Vec<_> = classes
        .map(|(class, count)| format!("{class} {count}"))
        .collect();
    texts.join(", ")
}

fn limits(report: &Report, deadline: Option<&Deadline>) -> String {
    let counted = report.limits.iter().map(|(key, used)| {
        let of = format!("{} of {}", used.used, used.limit);
        (key.as_str(), of, used.percent)
    });
    let timed = deadline.map(|deadline| {
        let active = if deadline.active { ", time run" } else { "" };
        let of = format!(
            "{} of {}{active}",
            span(deadline.used_ms),
            units::Duration(deadline.limit_ms)
        );
        ("deadline", of, deadline.percent)
    });
    let rows: String = counted
        .chain(timed)
        .map(|(key, of, percent)| {
            let width = NAME_WIDTH - 2;
            format!("  {key:<width$}  {percent:>3} %  {of}\n")
        })
        .collect();
    match rows.as_str() {
        "" => String::new(),
        rows => format!("\nlimits\n{rows}"),
    }
}

fn attempts(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return String::new();
    }
    let mut text = String::from("\nattempts\n");
    for attempt in attempts {
        let cause = match attempt.cause {
            Cause::Fresh => "fresh",
            Cause::Verbatim => "verbatim",
            Cause::Reflection => "with a note",
        };
        let took = match attempt.end_time {
            Some(end) => format!("{}, ", span(end.since(attempt.start_time))),
            None => String::new(),
        };
        let outcome = attempt.outcome.as_deref().unwrap_or("no end written");
        text.push_str(&format!(
            "  {:>2}  {}  {cause}, steps {} to {}, {took}{}\n",
            attempt.attempt,
            instant(attempt.start_time),
            attempt.from_step,
            attempt.to_step,
            plain::excerpt(outcome, TEXT_CHARS_MAX)
        ));
        if let Some(note) = &attempt.note {
            let note = plain::excerpt(note, TEXT_CHARS_MAX);
            text.push_str(&format!("      told: {note}\n"));
        }
    }
    text
}

/// Returns a row for each conversation, where there is more than the main one.
fn conversations(state: &State) -> String {
    let all = conversations::list(state);
    let is_plain = |told: &Told| told.kind == "main" && told.rewrites + told.branches == 0;
    if all.iter().all(|(_, told)| is_plain(told)) {
        return String::new();
    }
    let rows: Vec<_> = all.iter().take(LATEST).map(|(_, told)| row(told)).collect();
    let heads = ["NAME", "TURNS", "TOKENS", "USD", "MODEL", "AGENT", ""];
    let left = all.len().saturating_sub(LATEST);
    let mut text = match left {
        0 => "\nconversations\n".to_owned(),
        left => format!("\nconversations ({left} more with --json)\n"),
    };
    let width = crate::cli::look::columns().map(|width| width.saturating_sub(2));
    for line in table(&heads, &rows, width).lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn row(told: &Told) -> Vec<String> {
    let or_none = |text: &Option<String>| plain::excerpt(text.as_deref().unwrap_or_default(), 40);
    let times = |count: u64, what: &str| (count > 0).then(|| format!("{what} {count}x"));
    let notes = [
        times(told.rewrites, "rewritten"),
        times(told.branches, "went back"),
    ];
    let notes: Vec<String> = notes.into_iter().flatten().collect();
    vec![
        told.name.clone(),
        told.turns.to_string(),
        told.tokens.to_string(),
        told.cost_usd.clone(),
        or_none(&told.model),
        or_none(&told.agent),
        notes.join(", "),
    ]
}

fn tool_row(call: &Call) -> Vec<String> {
    let took = if call.took_ms > 0 {
        span(call.took_ms)
    } else {
        String::new()
    };
    vec![
        call.call.to_string(),
        call.step.to_string(),
        plain::excerpt(&call.tool, 40),
        call.stands.as_str().to_owned(),
        call.class.map_or("", |class| class.name()).to_owned(),
        call.tries.to_string(),
        took,
        plain::excerpt(&call.args.to_string(), 120),
    ]
}

/// Returns where the staged folder stands; a copy that was removed is told as such.
fn workspace(workspace: &Workspace) -> String {
    let is_there = |stage: &str| as_text::read(stage).is_some_and(|path| path.exists());
    match (&workspace.committed, &workspace.stage) {
        (None, Some(stage)) if !is_there(stage) => {
            format!("{}; not committed, its copy is gone", workspace.target)
        }
        _ => workspace.describe(),
    }
}
