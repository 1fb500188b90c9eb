//! Every event of a run in words, one line each.
//!
//! Pure. Unlike `lines`, which says what a person should know while a run goes
//! on, nothing is left out here. What an agent or a tool said is in the text as
//! it came: whoever prints it makes it plain.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::ids::{CallId, Seq};
use crate::machine::event::{
    CheckEnd, CheckVerdict, CommitMethod, Refusal, SettledBy, Settlement, StoppedBy, TimeLimit,
    ToolEnd, Turn,
};
use crate::machine::{About, Cause, Effect, Event, Kind, Part, Phase, State, Undo};
use crate::observe::history::{Before, Call};
use crate::policy::breaker::Admission;
use crate::task::units;

/// An event in words. Field names are part of `--json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its place in the journal.
    pub seq: Seq,
    /// When it happened.
    pub at: UnixMs,
    /// Milliseconds since the run began.
    pub since_ms: u64,
    /// The event's name in the journal.
    pub event: String,
    /// What happened.
    pub text: String,
}

/// Longest arguments and evidence in a line, in characters.
const CHARS_MAX: usize = 100;

/// Returns a length of time as people read it: `82ms`, `12.3s`, `3m 20s`.
pub fn span(ms: u64) -> String {
    let (seconds, minutes, hours) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{seconds}.{}s", ms % 1000 / 100),
        60_000..3_600_000 => format!("{minutes}m {}s", seconds % 60),
        _ => format!("{hours}h {}m", minutes % 60),
    }
}

/// Says what `event` was; the machine has taken it in already.
pub(super) fn text(
    event: &Event,
    before: &Before,
    after: &State,
    effects: &[Effect],
    calls: &BTreeMap<CallId, Call>,
) -> String {
    let call_name = |call: &CallId| match calls.get(call) {
        Some(known) => format!("call {call} {}", known.tool),
        None => format!("call {call}"),
    };
    match event {
        Event::Created { name, .. } => format!("run of task `{name}` created"),
        Event::AttemptStarted { attempt, cause, .. } => match cause {
            Cause::Fresh => format!("attempt {attempt} starts"),
            Cause::Verbatim => format!("attempt {attempt} starts where the last one was"),
            Cause::Reflection => format!("attempt {attempt} starts, told what went wrong"),
        },
        Event::AgentSpawned { pid, .. } => format!("the agent is process {pid}"),
        Event::Replayed { .. } => {
            "a model call was answered from the record, free of charge".into()
        }
        Event::CallRefused { why, .. } => format!("a model call was refused: {why}"),
        Event::Greeted { .. } => "the loop asked where it stands".into(),
        Event::TurnReported(turn) => turn_text(turn, before, after),
        Event::Reserved {
            worst, max_tokens, ..
        } => {
            let refused = if after.next_reservation == before.next_reservation {
                "refused: "
            } else {
                ""
            };
            format!(
                "{refused}a model call of at most {} USD, {max_tokens} output tokens",
                worst.cost
            )
        }
        Event::ToolCalled(asked) => match before.made(after) {
            Some(call) => {
                let args = excerpt(&asked.args.to_string());
                let how = about(effects).map_or_else(String::new, |why| format!(": {why}"));
                format!("call {call} {} {args}{how}", asked.tool)
            }
            None => match asked.key.as_ref().and_then(|key| after.call_with_key(key)) {
                Some(call) => format!("`{}` asked for again, waits for call {call}", asked.tool),
                None => format!("call of `{}` refused, the run is ending", asked.tool),
            },
        },
        Event::ToolEnded(end) => ended_text(&call_name(&end.call), end, effects),
        Event::RetryDue {
            call,
            attempt,
            admission,
        } => match admission {
            Admission::Go => format!("{}: try {attempt}", call_name(call)),
            Admission::Probe => format!("{}: try {attempt}, its breaker's probe", call_name(call)),
            Admission::Refused { .. } => format!(
                "{}: try {attempt} refused, its breaker is open",
                call_name(call)
            ),
        },
        Event::BatchCalled(call) if after.next_batch == before.next_batch => {
            format!("batch of `{}` refused, the run is ending", call.tool)
        }
        Event::BatchCalled(call) => {
            let by = if call.by_human { ", by hand" } else { "" };
            let (no, count) = (before.next_batch, call.items.len());
            format!("batch {no} {}: {count} items, {}{by}", call.tool, call.want)
        }
        Event::BatchDue { batch, .. } => {
            let begun = effects
                .iter()
                .filter(|it| matches!(it, Effect::Execute { .. }));
            let left = match concluded(effects) {
                Some(counts) => format!("; it ended: {counts}"),
                None => String::new(),
            };
            format!("batch {batch}: {} more calls begin{left}", begun.count())
        }
        Event::Settled {
            call,
            settlement,
            by,
        } => {
            let what = match settlement {
                Settlement::Happened { .. } => "had happened".into(),
                Settlement::NotHappened => "had not happened".into(),
                Settlement::Unknown { why } => format!("cannot be told: {why}"),
            };
            format!("{}: {what}, says {}", call_name(call), settler(*by))
        }
        Event::ToolReported(report) => match before.made(after) {
            Some(call) => format!(
                "call {call} {} {}, by the loop itself: {}{}",
                report.tool,
                excerpt(&report.args.to_string()),
                report.judged.class.name(),
                in_brackets(&report.judged.evidence)
            ),
            None => format!("report of `{}` refused, the run is ending", report.tool),
        },
        Event::Raised { resource, limit } => match resource {
            Some(resource) => format!("{} raised to {}", resource.key(), resource.show(*limit)),
            None => format!("deadline raised to {}", units::Duration(*limit)),
        },
        Event::Branched { step, .. } => format!("back at the checkpoint after step {step}"),
        Event::TimeUp { limit } => match limit {
            TimeLimit::Deadline => "the deadline passed".into(),
            TimeLimit::Idle => "no word from the agent for too long".into(),
            TimeLimit::ModelCall => "a model call took too long".into(),
        },
        Event::StopRequested { by } => match by {
            StoppedBy::Interrupt => "interrupted (SIGINT)".into(),
            StoppedBy::Terminate => "terminated (SIGTERM or SIGHUP)".into(),
            StoppedBy::User => "stop asked for".into(),
        },
        Event::AgentExited { exit, .. } => format!("the agent {}", exit.as_clause()),
        Event::Swept { asked, killed } => {
            let outcome = match &after.phase {
                Phase::Ended { outcome } => format!("ended: {}", outcome.describe()),
                Phase::Concluding { .. } => "the agent is done and gone".into(),
                Phase::Created | Phase::Running | Phase::Ending { .. } => "ended: unclear".into(),
            };
            format!("{outcome} ({asked} processes asked to end, {killed} killed)")
        }
        Event::VerifyStarted { round } => format!("round {round} of the checks begins"),
        Event::CheckReserved {
            check,
            worst,
            max_tokens,
            ..
        } => match after.next_reservation > before.next_reservation {
            true => format!(
                "check {check}: a model call of at most {} USD, {max_tokens} output tokens",
                worst.cost
            ),
            false => format!("check {check}: its model is not asked"),
        },
        Event::CheckAnswered(answer) => {
            let (check, used) = (&answer.check, &answer.usage);
            match &answer.error {
                Some(error) => format!("check {check}: the model call failed: {}", excerpt(error)),
                None => format!(
                    "check {check}: {} answered, {} tokens, {} USD",
                    answer.model.as_deref().unwrap_or("the model"),
                    used.tokens,
                    used.cost
                ),
            }
        }
        Event::Verified { round, checks } => {
            format!(
                "round {round} of the checks: {}",
                checks_text(checks, after)
            )
        }
        Event::RollbackStarted => "a rollback was asked for".into(),
        Event::UndoStarted { call, attempt } => {
            format!("{}: its undo runs, try {attempt}", call_name(call))
        }
        Event::UndoEnded(ended) => format!(
            "{}: {}{} after {}",
            call_name(&ended.call),
            match after.saga.entry(ended.call).map(|entry| &entry.undo) {
                Some(Undo::Undone) => "undone",
                Some(Undo::Waiting { .. }) => "not undone yet",
                Some(Undo::InDoubt { .. }) => "its undo is in doubt",
                _ => "not undone",
            },
            in_brackets(&ended.judged.evidence),
            span(ended.took_ms)
        ),
        Event::UndoSettled { call, undone } => {
            let what = if *undone {
                "had happened"
            } else {
                "had not happened"
            };
            format!("{}: its undo {what}, says a human", call_name(call))
        }
        Event::RolledBack => {
            let (undone, stuck) = after.saga.counts();
            format!("rolled back: {undone} undone, {stuck} not")
        }
        Event::Staged(staged) => format!(
            "{} staged in {}: {} files, {} bytes, {}{}",
            staged.target,
            staged.stage,
            staged.files,
            staged.bytes,
            span(staged.took_ms),
            match staged.left_out.as_slice() {
                [] => String::new(),
                some => format!("; not staged: {}", excerpt(&some.join(", "))),
            }
        ),
        Event::CommitStarted { method, counts, .. } => match method {
            CommitMethod::Exchange => format!("commit, by exchange; {}", counts.describe()),
            CommitMethod::Files => format!("commit, file by file; {}", counts.describe()),
        },
        Event::Committed { counts } => format!("committed; {}", counts.describe()),
        Event::CommitRefused { refusal } => match refusal {
            Refusal::Conflict { paths, count } => format!(
                "not committed, {count} paths changed by others: {}",
                excerpt(&paths.join(", "))
            ),
            Refusal::Locked { why } => format!("not committed: {}", excerpt(why)),
            Refusal::Gone { stage } => format!("not committed: {} is gone", excerpt(stage)),
        },
        Event::Escalated { ask, .. } => format!("a human is asked: {}", excerpt(&ask.question)),
        Event::Decided { escalation, ruling } => {
            let note = ruling.note.as_deref().unwrap_or_default();
            format!(
                "question {escalation}: `{}`, by {}{}",
                ruling.option,
                ruling.by,
                in_brackets(note)
            )
        }
        Event::Acknowledged { escalation, seen } => {
            format!("question {escalation} was seen by {}", seen.by)
        }
        Event::Suspended => "nobody waits here for an answer: the run ends for now".into(),
        Event::Broke { error } => format!("agentguard cannot go on: {error}"),
    }
}

/// `tests passed, lint exited with code 1; ended: done, verified`
fn checks_text(checks: &[CheckEnd], after: &State) -> String {
    let each = checks.iter().map(|check| match check.verdict {
        CheckVerdict::Passed => format!("{} passed", check.name),
        CheckVerdict::Failed => format!("{} failed: it {}", check.name, check.why),
        CheckVerdict::Unchecked => format!("{} could not be checked: it {}", check.name, check.why),
    });
    let each: Vec<String> = each.map(|text| excerpt(&text)).collect();
    let next = match &after.phase {
        Phase::Ended { outcome } => format!("ended: {}", excerpt(&outcome.describe())),
        Phase::Concluding {
            part: Part::Committing { .. },
        } => "to be committed".into(),
        _ => "back to the agent".into(),
    };
    format!("{}; {next}", each.join(", "))
}

/// `step 3: 2 messages, 812 tokens, 0.012 USD, model gpt-x, done`
fn turn_text(turn: &Turn, before: &Before, after: &State) -> String {
    let used = format!("{} tokens, {} USD", turn.usage.tokens, turn.usage.cost);
    if let Some(error) = &turn.error {
        return format!("model call failed: {} ({used})", excerpt(error));
    }
    let name = after.conversation_name(turn.conversation);
    let what = match after.kind(turn.conversation) {
        _ if turn.is_quiet => "a model call of the loop's own".to_owned(),
        Kind::Side => format!("side call {name}"),
        _ if after.step == before.step => return "turn refused, the run is ending".into(),
        Kind::Main => format!("step {}", after.step),
        Kind::Sub => format!("step {} ({name})", after.step),
    };
    let model = turn
        .model
        .as_ref()
        .map_or_else(String::new, |model| format!(", model {model}"));
    let rewritten = match turn.back_to {
        _ if turn.rewritten => ", history rewritten".to_owned(),
        Some(kept) => format!(", back at message {kept}"),
        None => String::new(),
    };
    let done = if turn.done { ", done" } else { "" };
    let s = if turn.added == 1 { "" } else { "s" };
    format!(
        "{what}: {} message{s}, {used}{model}{rewritten}{done}",
        turn.added
    )
}

fn ended_text(call: &str, end: &ToolEnd, effects: &[Effect]) -> String {
    let again = effects.iter().find_map(|effect| match effect {
        Effect::Wait {
            attempt, delay_ms, ..
        } => Some(format!("; try {attempt} in {}", span(*delay_ms))),
        _ => None,
    });
    let batch = concluded(effects).map(|counts| format!("; its batch ended: {counts}"));
    format!(
        "{call}: try {} {}{} after {}{}{}",
        end.attempt,
        end.judged.class.name(),
        in_brackets(&end.judged.evidence),
        span(end.took_ms),
        again.unwrap_or_default(),
        batch.unwrap_or_default()
    )
}

/// Returns how the items of a batch ended, if it ended with these effects.
fn concluded(effects: &[Effect]) -> Option<&str> {
    effects.iter().find_map(|effect| match effect {
        Effect::Note(note) if note.action == "conclude" => match note.about {
            About::Batch { .. } => Some(note.evidence.as_str()),
            About::Run | About::Turn | About::Call { .. } => None,
        },
        _ => None,
    })
}

/// Returns why a call was answered at once, if a decision says so.
fn about(effects: &[Effect]) -> Option<&str> {
    effects.iter().find_map(|effect| match effect {
        Effect::Note(note) => Some(note.why.as_str()),
        _ => None,
    })
}

fn settler(by: SettledBy) -> &'static str {
    match by {
        SettledBy::Read => "nobody: the tool only reads",
        SettledBy::NativeKey => "the tool itself",
        SettledBy::Probe => "its probe",
        SettledBy::Human => "a human",
    }
}

fn in_brackets(evidence: &str) -> String {
    match evidence.trim() {
        "" => String::new(),
        evidence => format!(" ({})", excerpt(evidence)),
    }
}

fn excerpt(text: &str) -> String {
    crate::observe::plain::excerpt(text, CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_fit_their_size() {
        #[rustfmt::skip]
        let rows = [
            (0, "0ms"), (999, "999ms"), (1_000, "1.0s"), (59_949, "59.9s"),
            (60_000, "1m 0s"), (3_599_999, "59m 59s"), (3_600_000, "1h 0m"), (90_000_000, "25h 0m"),
        ];
        for (ms, want) in rows {
            assert_eq!(span(ms), want);
        }
    }
}
