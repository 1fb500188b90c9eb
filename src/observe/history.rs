//! A run from its first event to its last: its attempts and its tool calls.
//!
//! Pure: the stored events go through the machine once more, and what it does
//! with each is written down. Start at [`history`]; the words for single events
//! are in `timeline`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::UnixMs;
use crate::ids::{AttemptNo, BatchNo, CallId, IdempotencyKey, StepNo};
use crate::machine::event::{CheckEnd, Content, Settlement, ToolCall, UndoEnd};
use crate::machine::{
    self, About, Answer, Cause, Effect, Entry, Event, Outcome, Phase, Policy, Stage, State, Undo,
    advance,
};
use crate::observe::batches::{self, Batch};
use crate::observe::timeline::{self, Line};
use crate::policy::taxonomy::Class;

/// What became of a run. Made from events only.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Where it stands.
    pub state: State,
    /// Its attempts, in order.
    pub attempts: Vec<Attempt>,
    /// Its tool calls, by number.
    pub calls: BTreeMap<CallId, Call>,
    /// Its batches, by number.
    pub batches: BTreeMap<BatchNo, Batch>,
    /// How the checks of the last round ended.
    pub checks: Vec<CheckEnd>,
    /// Its events in words, in order.
    pub lines: Vec<Line>,
}

/// One start of the agent. Field names are part of `--json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which.
    pub attempt: AttemptNo,
    /// Why it was started.
    pub cause: Cause,
    /// When.
    pub start_time: UnixMs,
    /// When nothing of it ran any more.
    pub end_time: Option<UnixMs>,
    /// The step it began at.
    pub from_step: StepNo,
    /// The step it ended at, or is at.
    pub to_step: StepNo,
    /// How it ended, as a sentence.
    pub outcome: Option<String>,
    /// What the agent was told about the attempt before.
    pub note: Option<String>,
}

/// One tool call. Field names are part of `--json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Its number.
    pub call: CallId,
    /// The step that was under way.
    pub step: StepNo,
    /// Its tool.
    pub tool: String,
    /// Its arguments.
    pub args: Value,
    /// Its idempotency key.
    pub key: Option<IdempotencyKey>,
    /// When the loop asked for it.
    pub at: UnixMs,
    /// How it stands.
    pub stands: Stands,
    /// Class of its end, once it ended.
    pub class: Option<Class>,
    /// Tries; 0 for a call that was answered without one.
    pub tries: u32,
    /// Time in which the tool ran, all tries together, in milliseconds.
    pub took_ms: u64,
    /// The beginning of what it gave, once it ended.
    pub gave: Option<String>,
}

/// How a tool call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stands {
    /// It is under way.
    UnderWay,
    /// It was answered.
    Answered,
    /// It was answered from the record of an earlier execution.
    FromRecord,
    /// It was refused: by a breaker, or because it cannot be made.
    Refused,
    /// The loop ran it and reported it.
    Reported,
    /// The end of its attempt cut it off; nothing has happened.
    CutOff,
    /// It may or may not have happened.
    InDoubt,
    /// It had not happened, says a probe or a human.
    NotHappened,
    /// It happened, and was taken back.
    Undone,
    /// It happened, and its undo failed for good.
    NotUndone,
    /// It happened, and its undo may or may not have.
    UndoInDoubt,
}

impl Stands {
    /// Returns it as people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnderWay => "under way",
            Self::Answered => "answered",
            Self::FromRecord => "from record",
            Self::Refused => "refused",
            Self::Reported => "reported",
            Self::CutOff => "cut off",
            Self::InDoubt => "in doubt",
            Self::NotHappened => "not happened",
            Self::Undone => "undone",
            Self::NotUndone => "not undone",
            Self::UndoInDoubt => "undo in doubt",
        }
    }
}

/// Longest beginning of a result that is kept, in characters.
const GAVE_CHARS_MAX: usize = 400;

/// Tells the story of `entries`; `None` for an empty journal.
pub fn history(entries: impl IntoIterator<Item = Entry>, policy: &Policy) -> Option<History> {
    let mut told = Told::default();
    let mut state: Option<State> = None;
    for entry in entries {
        let Entry { seq, at, event } = entry;
        let before = state.as_ref().map(Before::of).unwrap_or_default();
        let (next, effects) = advance(state.take(), at, event.clone(), policy);
        told.take_in(&before, &event, at, &effects, &next);
        told.lines.push(Line {
            seq,
            at,
            since_ms: at.since(next.created_at),
            event: event.kind().to_owned(),
            text: timeline::text(&event, &before, &next, &effects, &told.calls),
        });
        state = Some(next);
    }
    let Told {
        attempts,
        calls,
        batches,
        checks,
        lines,
    } = told;
    state.map(|state| History {
        state,
        attempts,
        calls,
        batches,
        checks,
        lines,
    })
}

/// What is needed of the state before an event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    pub(super) step: StepNo,
    pub(super) next_call: CallId,
    pub(super) next_batch: BatchNo,
    pub(super) next_reservation: u64,
}

impl Before {
    fn of(state: &State) -> Self {
        Self {
            step: state.step,
            next_call: state.next_call,
            next_batch: state.next_batch,
            next_reservation: state.next_reservation,
        }
    }

    /// Returns the call that an event made, if it made one.
    pub(super) fn made(self, after: &State) -> Option<CallId> {
        (after.next_call > self.next_call).then_some(self.next_call)
    }
}

#[derive(Default)]
struct Told {
    attempts: Vec<Attempt>,
    calls: BTreeMap<CallId, Call>,
    batches: BTreeMap<BatchNo, Batch>,
    checks: Vec<CheckEnd>,
    lines: Vec<Line>,
}

impl Told {
    fn take_in(
        &mut self,
        before: &Before,
        event: &Event,
        at: UnixMs,
        effects: &[Effect],
        after: &State,
    ) {
        if let Event::Verified { checks, .. } = event {
            self.checks.clone_from(checks);
        }
        match event {
            Event::AttemptStarted {
                attempt,
                cause,
                note,
                ..
            } => self.attempts.push(Attempt {
                attempt: *attempt,
                cause: *cause,
                start_time: at,
                end_time: None,
                from_step: after.step,
                to_step: after.step,
                outcome: None,
                note: note.clone(),
            }),
            Event::ToolCalled(asked) => {
                if let Some(call) = before.made(after) {
                    self.calls
                        .insert(call, asked_for(call, asked, at, effects, after));
                }
            }
            Event::ToolReported(report) => {
                if let Some(call) = before.made(after) {
                    let call = Call {
                        call,
                        step: after.step,
                        tool: report.tool.clone(),
                        args: report.args.clone(),
                        key: None,
                        at,
                        stands: Stands::Reported,
                        class: Some(report.judged.class),
                        tries: 1,
                        took_ms: 0,
                        gave: None,
                    };
                    self.calls.insert(call.call, call);
                }
            }
            Event::BatchCalled(call) if after.next_batch > before.next_batch => {
                let no = before.next_batch;
                self.batches.insert(no, Batch::of(no, call, at));
            }
            Event::ToolEnded(end) => {
                if let Some(call) = self.calls.get_mut(&end.call) {
                    call.tries = end.attempt;
                    call.took_ms = call.took_ms.saturating_add(end.took_ms);
                    call.class = Some(end.judged.class);
                    call.gave = Some(gave(&end.content));
                }
            }
            Event::Settled {
                call, settlement, ..
            } => self.settle(*call, settlement),
            Event::Swept { .. } => {
                if let Some(last) = self.attempts.last_mut() {
                    last.end_time = Some(at);
                    last.outcome = Some(match &after.phase {
                        Phase::Concluding { part } => format!("done, {}", part.describe()),
                        _ => after.outcome().map_or_else(String::new, Outcome::describe),
                    });
                }
            }
            Event::UndoEnded(UndoEnd { call, .. }) | Event::UndoSettled { call, .. } => {
                let undo = after.saga.entry(*call).map(|entry| &entry.undo);
                if let (Some(call), Some(undo)) = (self.calls.get_mut(call), undo) {
                    call.stands = match undo {
                        Undo::Undone => Stands::Undone,
                        Undo::Failed { .. } => Stands::NotUndone,
                        Undo::InDoubt { .. } => Stands::UndoInDoubt,
                        _ => Stands::Answered,
                    };
                }
            }
            Event::Verified { .. }
            | Event::Committed { .. }
            | Event::CommitRefused { .. }
            | Event::TimeUp { .. }
            | Event::StopRequested { .. } => {
                if let Some(last) = self.attempts.last_mut() {
                    match &after.phase {
                        Phase::Ended { outcome } => last.outcome = Some(outcome.describe()),
                        Phase::Concluding { part } => last.outcome = Some(part.describe()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        if let Some(last) = self.attempts.last_mut()
            && matches!(after.phase, Phase::Running | Phase::Ending { .. })
        {
            last.to_step = after.step;
        }
        self.follow(effects, after);
    }

    fn settle(&mut self, call: CallId, settlement: &Settlement) {
        let Some(call) = self.calls.get_mut(&call) else {
            return;
        };
        match settlement {
            Settlement::Happened { content } => {
                call.stands = Stands::Answered;
                call.class = Some(Class::Success);
                call.gave = Some(gave(content));
            }
            Settlement::NotHappened => call.stands = Stands::NotHappened,
            Settlement::Unknown { .. } => {}
        }
    }

    /// Brings the calls that were open to where the machine has them now.
    fn follow(&mut self, effects: &[Effect], after: &State) {
        batches::follow(&mut self.batches, effects);
        // An item in doubt is a call of its own until it is settled.
        for (id, call) in &after.in_doubt {
            if call.batch.is_some() {
                self.calls
                    .entry(*id)
                    .or_insert_with(|| item_in_doubt(*id, call));
            }
        }
        for call in self.calls.values_mut() {
            if call.stands == Stands::UnderWay && !after.calls.contains_key(&call.call) {
                call.stands = if after.in_doubt.contains_key(&call.call) {
                    Stands::InDoubt
                } else if matches!(after.phase, Phase::Ended { .. }) {
                    Stands::CutOff
                } else {
                    Stands::Answered
                };
            }
        }
        for effect in effects {
            match effect {
                Effect::Reply {
                    answer: Answer::Tool { call, class, .. },
                    ..
                } => {
                    if let Some(call) = self.calls.get_mut(call) {
                        call.class = Some(*class);
                    }
                }
                // What was approved begins.
                Effect::Execute { call, attempt } => {
                    if let Some(call) = self.calls.get_mut(call) {
                        call.tries = call.tries.max(*attempt);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Makes a call as it stands right after the loop asked for it.
fn asked_for(id: CallId, asked: &ToolCall, at: UnixMs, effects: &[Effect], after: &State) -> Call {
    let open = after.calls.contains_key(&id);
    let about_it = effects.iter().find_map(|effect| match effect {
        Effect::Note(note) => match &note.about {
            About::Call { call, .. } if *call == id => Some(note),
            About::Call { .. } | About::Batch { .. } | About::Run | About::Turn => None,
        },
        _ => None,
    });
    Call {
        call: id,
        step: after.step,
        tool: asked.tool.clone(),
        args: asked.args.clone(),
        key: asked.key.clone(),
        at,
        stands: match (open, asked.refused.is_none() && asked.recorded.is_some()) {
            (true, _) => Stands::UnderWay,
            (false, true) => Stands::FromRecord,
            (false, false) => Stands::Refused,
        },
        class: about_it.and_then(|note| note.class),
        tries: match after.calls.get(&id).map(|call| &call.stage) {
            None | Some(Stage::Approving { .. }) => 0,
            Some(_) => 1,
        },
        took_ms: 0,
        gave: None,
    }
}

fn item_in_doubt(id: CallId, call: &machine::Call) -> Call {
    Call {
        call: id,
        step: call.step,
        tool: call.tool.clone(),
        args: call.args.clone(),
        key: call.key.clone(),
        at: call.called_at,
        stands: Stands::InDoubt,
        class: None,
        tries: call.attempt,
        took_ms: 0,
        gave: None,
    }
}

fn gave(content: &Content) -> String {
    content.text.chars().take(GAVE_CHARS_MAX).collect()
}
