//! A run as log lines: one line an event that a person cares about.

use std::io::Write;

use crate::machine::{Decision, Escalation, Event, How, Kind};
use crate::observe::timeline::span;
use crate::observe::{Moment, Observer, plain};
use crate::policy::budget::Resource;

/// Writes log lines.
pub struct Lines {
    to: Box<dyn Write + Send>,
}

impl Lines {
    /// Writes to `to`.
    pub fn new(to: Box<dyn Write + Send>) -> Self {
        Self { to }
    }
}

impl Observer for Lines {
    fn on(&mut self, moment: &Moment<'_>) {
        let lines = describe(moment);
        let lines: String = lines
            .iter()
            .map(|line| format!("agentguard: {line}\n"))
            .collect();
        // Nobody is left to be told when the stream is closed.
        let _ = self.to.write_all(lines.as_bytes());
    }

    fn waits(&mut self, why: &str) {
        let _ = writeln!(self.to, "agentguard: waiting: {}", plain::line(why));
    }
}

/// Returns what a person should know about a moment, a line each.
pub fn describe(moment: &Moment<'_>) -> Vec<String> {
    let mut lines: Vec<String> = event_line(moment).into_iter().collect();
    lines.extend(moment.notes.iter().filter_map(note_line));
    lines.extend(
        moment
            .opened
            .iter()
            .map(|tool| format!("the breaker of `{tool}` opened")),
    );
    lines.extend(moment.asked.iter().map(how_to_answer));
    // Errors and evidence are words of the outside.
    lines.iter().map(|line| plain::line(line)).collect()
}

/// `to answer: agentguard answer e-7f3ak2m9 --choose approve|decline`
fn how_to_answer(what: &Escalation) -> String {
    let options: Vec<&str> = what.ask.options.iter().map(|it| it.id.as_str()).collect();
    format!(
        "to answer: agentguard answer {} --choose {}",
        what.id,
        options.join("|")
    )
}

fn event_line(moment: &Moment<'_>) -> Option<String> {
    match moment.event {
        Event::AttemptStarted { attempt, .. } if attempt.0 == 1 => Some(format!(
            "run {} started ({})",
            moment.run, moment.state.name
        )),
        Event::AttemptStarted {
            attempt, note, how, ..
        } => {
            let told = if note.is_some() {
                ", with a note on what went wrong"
            } else {
                ""
            };
            Some(format!(
                "run {} goes on at step {} (attempt {attempt}{told}{})",
                moment.run,
                moment.state.step,
                match how {
                    How::Replay => "",
                    How::Native => ", in its own session",
                    How::Restart => ", from its beginning",
                }
            ))
        }
        Event::TurnReported(turn) => {
            let state = moment.state;
            // What is done about a failed try is a line of its own.
            if turn.exchange.is_some() && turn.error.is_some() {
                return None;
            }
            if let Some(error) = &turn.error {
                return Some(format!("model call failed: {error}"));
            }
            let cost = Resource::CostUsd.show(state.spend.of(Resource::CostUsd));
            let limit = state
                .limits
                .of(Resource::CostUsd)
                .map_or_else(String::new, |limit| {
                    format!(" of {}", Resource::CostUsd.show(limit))
                });
            let done = if turn.done {
                ", the agent says it is done"
            } else {
                ""
            };
            let name = state.conversation_name(turn.conversation);
            let what = match state.kind(turn.conversation) {
                Kind::Main => format!("step {}", state.step),
                Kind::Sub => format!("step {} ({name})", state.step),
                Kind::Side => name,
            };
            Some(format!("{what}: {cost}{limit}{done}"))
        }
        Event::Raised { resource, limit } => {
            let (key, shown) = match resource {
                Some(resource) => (resource.key(), resource.show(*limit)),
                None => ("deadline", format!("{limit} ms")),
            };
            Some(format!("{key} raised to {shown}"))
        }
        Event::Staged(staged) => Some(format!(
            "{} staged: {} files in {}{}",
            staged.target,
            staged.files,
            span(staged.took_ms),
            match staged.left_out.as_slice() {
                [] => String::new(),
                some => format!("; not staged: {}", some.join(", ")),
            }
        )),
        Event::Committed { counts } => {
            let committed = moment.state.workspace.committed.as_ref();
            let target = committed.map_or("the workspace", |(_, target)| target);
            Some(format!("{target}: committed, {}", counts.describe()))
        }
        Event::Branched { step, .. } => Some(format!("back at the checkpoint after step {step}")),
        _ => None,
    }
}

/// Decisions that are of use while they happen; the rest is for `why`.
fn note_line(note: &Decision) -> Option<String> {
    let tool = match &note.about {
        crate::machine::About::Call { tool, .. } | crate::machine::About::Batch { tool, .. } => {
            format!("{tool}: ")
        }
        crate::machine::About::Run | crate::machine::About::Turn => String::new(),
    };
    let evidence = match note.evidence.as_str() {
        "" => String::new(),
        evidence => format!(" ({evidence})"),
    };
    let quiet = ["start", "resume", "end", "fail", "observe", "conclude"];
    if quiet.contains(&note.action.as_str()) {
        return None;
    }
    Some(format!(
        "{} {tool}{}{evidence} [{}]",
        note.action, note.why, note.rule
    ))
}
