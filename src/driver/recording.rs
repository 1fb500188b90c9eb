//! What a past run can be played again from: what its tools gave the loop, what
//! its model said, and in which order.
//!
//! Read from the journal through the machine itself, so that a result stands
//! here as the loop saw it, after retries and in its final words.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use crate::machine::event::{Content, RequestNo, ToolCall};
use crate::machine::{Answer, Effect, Entry, Event, Outcome, Policy, State, advance};
use crate::policy::taxonomy::Class;

/// A past run, as it was seen by its loop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Guarded calls and what they gave, in the order of their answers.
    pub calls: Vec<RecordedCall>,
    /// What happened, in order.
    pub moments: Vec<Moment>,
    /// How the run ended, if it did.
    pub outcome: Option<Outcome>,
}

/// A guarded call that was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedCall {
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

/// Something that the loop did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It asked for a guarded tool.
    Tool {
        /// The tool.
        tool: String,
        /// Hash of the normalised arguments.
        identity: String,
        /// The arguments, for people.
        args: String,
    },
    /// It committed a turn.
    Turn {
        /// Tip of the conversation; `None` where it came from the wire, whose
        /// bytes differ from start to start.
        head: Option<String>,
    },
}

impl Recording {
    /// Reads a run.
    pub fn read(entries: impl IntoIterator<Item = Entry>, policy: &Policy) -> Self {
        let mut recording = Self::default();
        let mut state: Option<State> = None;
        let mut asked: HashMap<RequestNo, ToolCall> = HashMap::new();
        for entry in entries {
            match &entry.event {
                Event::ToolCalled(call) => {
                    asked.insert(call.request, call.clone());
                    recording.moments.push(Moment::Tool {
                        tool: call.tool.clone(),
                        identity: call.identity.clone(),
                        args: call.args.to_string(),
                    });
                }
                // Answers to the requests of a dead attempt never came.
                Event::AttemptStarted { .. } => asked.clear(),
                Event::TurnReported(turn) if turn.error.is_none() && !turn.is_quiet => {
                    let head = turn.head.clone().filter(|_| !turn.from_wire);
                    recording.moments.push(Moment::Turn { head });
                }
                Event::Replayed { .. } => recording.moments.push(Moment::Turn { head: None }),
                _ => {}
            }
            let (next, effects) = advance(state, entry.at, entry.event, policy);
            for effect in effects {
                let Effect::Reply {
                    request,
                    answer: Answer::Tool { content, class, .. },
                } = effect
                else {
                    continue;
                };
                if let Some(call) = asked.remove(&request) {
                    recording.calls.push(RecordedCall {
                        tool: call.tool,
                        args: call.args,
                        identity: call.identity,
                        content,
                        class,
                    });
                }
            }
            state = Some(next);
        }
        recording.outcome = state.and_then(|state| state.outcome().cloned());
        recording
    }
}

/// Answers of a recording, given out in their order to the same calls.
#[derive(Debug, Default)]
pub struct Answers {
    by_call: HashMap<(String, String), VecDeque<RecordedCall>>,
}

impl Answers {
    /// Makes them ready.
    pub fn new(calls: Vec<RecordedCall>) -> Self {
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

    /// Returns how many were not asked for.
    pub fn left(&self) -> usize {
        self.by_call.values().map(VecDeque::len).sum()
    }
}
