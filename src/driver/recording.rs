//! What a past run can be played again from: what its tools gave the loop, and
//! what the loop did, in order.
//!
//! Read from the journal through the machine itself, so that a result stands
//! here as the loop saw it, after retries and in its final words. What an attempt
//! did behind its last turn before it died is left out: the next one did it again.
//! What came after a failure of the agent itself, of which it was told, is left
//! out too: a replay leads to that failure.
//!
//! Not here: the model's answers, which lie in files (`driver::gateway`).

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use crate::ids::StepNo;
use crate::machine::batch::{BatchAnswer, Progress};
use crate::machine::event::{Content, RequestNo, ToolCall};
use crate::machine::{Answer, Cause, Effect, Entry, Event, Outcome, Part, Policy, State, advance};
use crate::policy::taxonomy::Class;

/// A past run, as it was seen by its loop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Guarded calls and what they gave, in the order of their answers.
    pub calls: Vec<RecordedCall>,
    /// What the loop did, by step; the last one may have no turn.
    pub steps: Vec<Step>,
    /// How it ended, if it did.
    pub outcome: Option<Outcome>,
}

/// A guarded call that was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedCall {
    /// The steps that were done before it.
    pub step: StepNo,
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub args: Value,
    /// Hash of the normalised arguments.
    pub identity: String,
    /// What the loop got.
    pub content: Content,
    /// How it was classed.
    pub class: Class,
}

/// What a loop did until it committed a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Guarded tools it asked for.
    pub calls: Vec<Asked>,
    /// Whether a turn was committed.
    pub has_turn: bool,
    /// Tip of the conversation then; `None` where it came from the wire, whose
    /// bytes differ from start to start.
    pub head: Option<String>,
}

/// A guarded tool that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The tool.
    pub tool: String,
    /// Hash of the normalised arguments.
    pub identity: String,
    /// The arguments, for people.
    pub args: String,
}

impl Recording {
    /// Reads a run.
    pub fn read(entries: impl IntoIterator<Item = Entry>, policy: &Policy) -> Self {
        let mut recording = Self::default();
        let mut step = Step::default();
        let mut state: Option<State> = None;
        let mut open: HashMap<RequestNo, ToolCall> = HashMap::new();
        for entry in entries {
            match &entry.event {
                Event::AttemptStarted { cause, .. } => {
                    let part = state.as_ref().and_then(State::part);
                    // A run whose work failed its checks goes on by itself.
                    if *cause == Cause::Reflection && part != Some(&Part::Returning) {
                        break;
                    }
                    // Answers to the requests of a dead attempt never came.
                    open.clear();
                    step = Step::default();
                    let done = state.as_ref().map(|state| state.step).unwrap_or_default();
                    recording.calls.retain(|call| call.step < done);
                }
                Event::ToolCalled(call) => {
                    open.insert(call.request, call.clone());
                    step.calls.push(Asked {
                        tool: call.tool.clone(),
                        identity: call.identity.clone(),
                        args: call.args.to_string(),
                    });
                }
                Event::TurnReported(turn) if turn.error.is_none() && !turn.is_quiet => {
                    step.has_turn = true;
                    step.head = turn.head.clone().filter(|_| !turn.from_wire);
                    recording.steps.push(std::mem::take(&mut step));
                }
                Event::Replayed { .. } => {
                    step.has_turn = true;
                    recording.steps.push(std::mem::take(&mut step));
                }
                Event::Branched { step: back, .. } => {
                    let back_to = usize::try_from(back.0).unwrap_or(usize::MAX);
                    recording.steps.truncate(back_to);
                    recording.calls.retain(|call| call.step < *back);
                    step = Step::default();
                }
                _ => {}
            }
            let at = state.as_ref().map(|state| state.step).unwrap_or_default();
            let (next, effects) = advance(state, entry.at, entry.event, policy);
            for effect in effects {
                let (request, content, class) = match effect {
                    Effect::Reply {
                        request,
                        answer: Answer::Tool { content, class, .. },
                    } => (request, content, class),
                    Effect::Reply {
                        answer: Answer::Batch(answer),
                        ..
                    } => {
                        recording.calls.extend(items_of(at, *answer));
                        continue;
                    }
                    _ => continue,
                };
                recording
                    .calls
                    .extend(open.remove(&request).map(|call| RecordedCall {
                        step: at,
                        tool: call.tool,
                        args: call.args,
                        identity: call.identity,
                        content,
                        class,
                    }));
            }
            recording.outcome = next.outcome().cloned();
            state = Some(next);
        }
        if !step.calls.is_empty() {
            recording.steps.push(step);
        }
        recording
    }
}

/// Where a replay and its recording part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parting {
    /// The step in which they do, from 1.
    pub step: usize,
    /// What the recording has there.
    pub recorded: String,
    /// What the replay did.
    pub replayed: String,
}

/// Finds where `replay` parts from `recorded`, from step `from` on (0 is the
/// beginning).
pub fn parting(recorded: &Recording, replay: &Recording, from: usize) -> Option<Parting> {
    let empty = Step::default();
    let steps = recorded.steps.len().max(replay.steps.len() + from);
    for place in from..steps {
        let want = recorded.steps.get(place).unwrap_or(&empty);
        let got = replay.steps.get(place - from).unwrap_or(&empty);
        let sorted = |step: &Step| {
            let mut calls = step.calls.clone();
            calls.sort();
            calls
        };
        let (wanted, made) = (sorted(want), sorted(got));
        let same_head = want.head.is_none() || got.head.is_none() || want.head == got.head;
        if wanted == made && want.has_turn == got.has_turn && same_head {
            continue;
        }
        let only = |these: &[Asked], those: &[Asked], step: &Step| {
            let other = these.iter().find(|call| !those.contains(call));
            match other {
                Some(call) => format!("calls {} {}", call.tool, call.args),
                None if !step.has_turn => "no further turn".to_owned(),
                None if these.len() == those.len() => "a turn with other words".to_owned(),
                None => "the turn without a further call".to_owned(),
            }
        };
        return Some(Parting {
            step: place + 1,
            recorded: only(&wanted, &made, want),
            replayed: only(&made, &wanted, got),
        });
    }
    None
}

/// Answers of a recording, given out in their order to the same calls.
#[derive(Debug, Default)]
pub struct Answers {
    by_call: HashMap<(String, String), VecDeque<RecordedCall>>,
}

impl Answers {
    /// Makes them ready.
    pub fn new(calls: impl IntoIterator<Item = RecordedCall>) -> Self {
        let mut answers = Self::default();
        for call in calls {
            let key = (call.tool.clone(), call.identity.clone());
            answers.by_call.entry(key).or_default().push_back(call);
        }
        answers
    }

    /// Takes the next answer to this call.
    pub fn take(&mut self, tool: &str, identity: &str) -> Option<RecordedCall> {
        let key = (tool.to_owned(), identity.to_owned());
        self.by_call.get_mut(&key)?.pop_front()
    }
}

/// The items of a batch, each as a call of its own.
fn items_of(step: StepNo, answer: BatchAnswer) -> impl Iterator<Item = RecordedCall> {
    let BatchAnswer { tool, items, .. } = answer;
    items.into_iter().filter_map(move |item| {
        let Progress::Ended(end) = item.progress else {
            return None;
        };
        Some(RecordedCall {
            step,
            tool: tool.clone(),
            args: item.args,
            identity: item.identity,
            content: end.content,
            class: end.judged.class,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(calls: &[&str], head: &str) -> Step {
        let asked = |args: &&str| Asked {
            tool: "mail".into(),
            identity: (*args).to_owned(),
            args: (*args).to_owned(),
        };
        Step {
            calls: calls.iter().map(asked).collect(),
            has_turn: true,
            head: Some(head.to_owned()),
        }
    }

    fn recording(steps: Vec<Step>) -> Recording {
        Recording {
            steps,
            ..Recording::default()
        }
    }

    #[test]
    fn where_two_runs_part() {
        let recorded = recording(vec![step(&["a", "b"], "h1"), step(&["c"], "h2")]);
        let rows = [
            (
                "the same",
                vec![step(&["a", "b"], "h1"), step(&["c"], "h2")],
                0,
                None,
            ),
            (
                "calls at once may come in another order",
                vec![step(&["b", "a"], "h1"), step(&["c"], "h2")],
                0,
                None,
            ),
            (
                "another call",
                vec![step(&["a", "b"], "h1"), step(&["d"], "h2")],
                0,
                Some((2, "calls mail c", "calls mail d")),
            ),
            (
                "other words",
                vec![step(&["a", "b"], "h1"), step(&["c"], "h3")],
                0,
                Some((2, "a turn with other words", "a turn with other words")),
            ),
            (
                "an early end",
                vec![step(&["a", "b"], "h1")],
                0,
                Some((2, "calls mail c", "no further turn")),
            ),
            ("from a later step", vec![step(&["c"], "h2")], 1, None),
        ];
        for (name, steps, from, want) in rows {
            let found = parting(&recorded, &recording(steps), from);
            let found = found
                .as_ref()
                .map(|it| (it.step, it.recorded.as_str(), it.replayed.as_str()));
            assert_eq!(found, want, "row: {name}");
        }
    }
}
