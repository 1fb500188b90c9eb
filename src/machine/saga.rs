//! Taking back what a run did, last thing first.
//!
//! The list is made as the model acts: each write that happened is an [`Entry`], in
//! the order in which they ended. Rolling back is a part of the end of a run
//! ([`Part::RollingBack`]):
//!
//! ```text
//! Due ──undo_started──► UnderWay ──undo_ended──┬─► Undone
//!  ▲                       ▲                   ├─► Waiting ──► UnderWay …
//!  │                       └───────────────────┘
//!  └── settled: not undone ── InDoubt ◄────────┤  (a human says)
//!                                              └─► Failed: the others are undone
//! ```
//! An undo in doubt stops the rollback: what was done before it may need it undone
//! first. One that failed for good does not.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::clock::UnixMs;
use crate::ids::{CallId, IdempotencyKey};
use crate::machine::advance::{run_note, unexpected};
use crate::machine::conclude::{begin, end};
use crate::machine::escalation::{self, HAPPENED, NOT_HAPPENED};
use crate::machine::event::{Content, Delivery, StoppedBy, UndoEnd};
use crate::machine::{About, Call, Decision, Effect, Outcome, Part, Phase, Policy, Risk, State};
use crate::policy::retry;
use crate::policy::taxonomy::Class;

/// Tools of the loop itself that are remembered by name.
const NAMES_MAX: usize = 64;

/// Longest arguments in a note for the model, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// What a run did, and what became of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saga {
    /// Writes that happened, in the order in which they ended.
    pub entries: Vec<Entry>,
    /// Calls that the loop carried out by itself, by tool: nothing of that can be
    /// undone here.
    pub uncovered: BTreeMap<String, u64>,
}

/// A write that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The call.
    pub call: CallId,
    /// Its tool.
    pub tool: String,
    /// Its arguments.
    pub args: Value,
    /// Its key.
    pub key: Option<IdempotencyKey>,
    /// What it gave; empty where there is no undo to use it.
    pub result: String,
    /// How far its undo is.
    pub undo: Undo,
}

/// How far an undo is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undo {
    /// The tool declares none.
    Missing,
    /// Nobody has tried.
    Due,
    /// It may be doing its work.
    UnderWay {
        /// The try, from 1.
        attempt: u32,
        /// The wait before it, in milliseconds.
        waited_ms: u64,
    },
    /// It failed in a way that passes.
    Waiting {
        /// The next try.
        attempt: u32,
        /// The wait before it, in milliseconds.
        waited_ms: u64,
        /// When it may go.
        due: UnixMs,
    },
    /// It may or may not have done its work.
    InDoubt {
        /// Why nobody knows.
        why: String,
    },
    /// It failed for good.
    Failed {
        /// Why.
        why: String,
    },
    /// The write is taken back.
    Undone,
}

/// What a rollback does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextUndo {
    /// Runs this undo.
    Run {
        /// The call.
        call: CallId,
        /// The try.
        attempt: u32,
        /// When it may go; 0 is at once.
        due: UnixMs,
    },
    /// Writes down that this undo was cut off.
    CutOff {
        /// The call.
        call: CallId,
        /// The try.
        attempt: u32,
    },
    /// Waits for a human.
    InDoubt {
        /// The call.
        call: CallId,
    },
    /// Nothing: it is through.
    Nothing,
}

impl Saga {
    /// Returns what comes next, the last write first.
    pub fn next(&self) -> NextUndo {
        let next = |entry: &Entry| {
            let call = entry.call;
            match entry.undo {
                Undo::Due => Some(NextUndo::Run {
                    call,
                    attempt: 1,
                    due: UnixMs(0),
                }),
                Undo::Waiting { attempt, due, .. } => Some(NextUndo::Run { call, attempt, due }),
                Undo::UnderWay { attempt, .. } => Some(NextUndo::CutOff { call, attempt }),
                Undo::InDoubt { .. } => Some(NextUndo::InDoubt { call }),
                Undo::Missing | Undo::Failed { .. } | Undo::Undone => None,
            }
        };
        self.entries
            .iter()
            .rev()
            .find_map(next)
            .unwrap_or(NextUndo::Nothing)
    }

    /// Returns the entry of a call.
    pub fn entry(&self, call: CallId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.call == call)
    }

    /// Returns how many writes were undone, and how many are not and cannot be.
    pub fn counts(&self) -> (u64, u64) {
        let count = |is: fn(&Undo) -> bool| {
            self.entries.iter().filter(|entry| is(&entry.undo)).count() as u64
        };
        let stuck = |undo: &Undo| matches!(undo, Undo::Failed { .. } | Undo::InDoubt { .. });
        (count(|undo| *undo == Undo::Undone), count(stuck))
    }

    fn entry_mut(&mut self, call: CallId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.call == call)
    }

    /// Returns what the model is told of what was undone, if anything was.
    pub(super) fn told(&self) -> Option<String> {
        let undone = self.entries.iter().filter(|it| it.undo == Undo::Undone);
        let lines: Vec<String> = undone
            .map(|entry| {
                let args: String = entry
                    .args
                    .to_string()
                    .chars()
                    .take(SHOWN_CHARS_MAX)
                    .collect();
                format!("- {} {args}", entry.tool)
            })
            .collect();
        (!lines.is_empty()).then(|| {
            format!(
                "These calls were undone since; what they did is not there any more. Make them \
                 again where they are still needed:\n{}",
                lines.join("\n")
            )
        })
    }
}

/// A write happened: it can be taken back from here on.
pub(super) fn happened(
    state: &mut State,
    id: CallId,
    call: &Call,
    content: &Content,
    policy: &Policy,
) {
    if policy.risk(&call.tool) == Risk::Read {
        return;
    }
    let has_undo = policy
        .tool(&call.tool)
        .is_some_and(|tool| tool.undo.is_some());
    state.saga.entries.push(Entry {
        call: id,
        tool: call.tool.clone(),
        args: call.args.clone(),
        key: call.key.clone(),
        result: match has_undo {
            true => content.text.clone(),
            false => String::new(),
        },
        undo: if has_undo { Undo::Due } else { Undo::Missing },
    });
}

/// The loop did something by itself.
pub(super) fn uncovered(state: &mut State, tool: &str) {
    let names = &mut state.saga.uncovered;
    let name = match names.len() < NAMES_MAX || names.contains_key(tool) {
        true => tool,
        false => "others",
    };
    *names.entry(name.to_owned()).or_default() += 1;
}

/// Whether a run that ends so is rolled back by itself.
pub(super) fn is_wanted(state: &State, outcome: &Outcome, policy: &Policy) -> bool {
    let is_parked = matches!(outcome, Outcome::Parked { .. });
    !is_parked
        && policy.rollback_on.contains(&outcome.status())
        && state.in_doubt.is_empty()
        && state.saga.next() != NextUndo::Nothing
}

/// Begins the rollback of a run that ends with `then`.
pub(super) fn begin_rollback(
    state: &mut State,
    at: UnixMs,
    then: Outcome,
    rule: &str,
) -> Vec<Effect> {
    let mut note = run_note(state, "roll_back", rule, "what the run did is taken back");
    note.evidence = then.describe();
    // What was rolled back is not worth checking any more.
    state.unconcluded = None;
    begin(state, at, Part::RollingBack { then });
    vec![Effect::Note(note)]
}

/// The user wants the run rolled back.
pub(super) fn started(state: &mut State, at: UnixMs) -> Vec<Effect> {
    if !state.in_doubt.is_empty() {
        return unexpected(state, "a rollback beside calls in doubt");
    }
    let stopped = Outcome::Stopped {
        by: StoppedBy::User,
    };
    let then = match (state.part(), &state.phase) {
        (Some(Part::RollingBack { then }), _) => then.clone(),
        (_, Phase::Running | Phase::Ending { .. }) => {
            return unexpected(state, "a rollback beside an agent");
        }
        // What is taken back is not done any more.
        (_, Phase::Ended { outcome }) if !matches!(outcome, Outcome::Done { .. }) => {
            outcome.clone()
        }
        _ => stopped,
    };
    for entry in &mut state.saga.entries {
        if let Undo::Failed { .. } = entry.undo {
            entry.undo = Undo::Due;
        }
    }
    begin_rollback(state, at, then, "rollback.asked")
}

/// An undo is about to run.
pub(super) fn undo_started(
    state: &mut State,
    at: UnixMs,
    call: CallId,
    attempt: u32,
) -> Vec<Effect> {
    let Some(part @ Part::RollingBack { .. }) = state.part().cloned() else {
        return unexpected(state, "an undo outside of a rollback");
    };
    let is_next = matches!(
        state.saga.next(),
        NextUndo::Run { call: next, attempt: try_, .. } if next == call && try_ == attempt
    );
    let Some(entry) = state.saga.entry_mut(call).filter(|_| is_next) else {
        return unexpected(state, "an undo out of its turn");
    };
    let waited_ms = match entry.undo {
        Undo::Waiting { waited_ms, .. } => waited_ms,
        _ => 0,
    };
    entry.undo = Undo::UnderWay { attempt, waited_ms };
    if state.unconcluded.take().is_some() {
        begin(state, at, part);
        state.ended_at = None;
    }
    vec![]
}

/// A try of an undo ended.
pub(super) fn undo_ended(
    state: &mut State,
    at: UnixMs,
    ended: &UndoEnd,
    policy: &Policy,
) -> Vec<Effect> {
    let Some(Part::RollingBack { then }) = state.part().cloned() else {
        return unexpected(state, "the end of an undo outside of a rollback");
    };
    let Some(entry) = state.saga.entry(ended.call).cloned() else {
        return unexpected(state, "the end of an undo of no call");
    };
    let Undo::UnderWay { attempt, waited_ms } = entry.undo else {
        return unexpected(state, "the end of an undo that is not under way");
    };
    let judged = &ended.judged;
    let why = match judged.evidence.as_str() {
        "" => judged.why.clone(),
        evidence => format!("{}: {evidence}", judged.why),
    };
    let rules = policy.tool(&entry.tool).and_then(|it| it.undo.as_ref());
    let is_lost = ended.delivery == Delivery::Unknown;
    let may_repeat = !is_lost || rules.is_some_and(|rules| rules.is_repeatable);
    let again = rules.filter(|_| (is_lost || judged.class.is_retryable()) && may_repeat);
    let undo = match (judged.class, again) {
        (Class::Success | Class::Partial, _) => Undo::Undone,
        (_, Some(rules)) if attempt < rules.retry.attempts => {
            let unit = f64::from(ended.draw) / (f64::from(u32::MAX) + 1.0);
            let computed = retry::delay_ms(&rules.retry, attempt, waited_ms, unit);
            let wait_ms = computed.max(judged.retry_after_ms.unwrap_or(0));
            Undo::Waiting {
                attempt: attempt + 1,
                waited_ms: wait_ms,
                due: at.plus(wait_ms),
            }
        }
        _ if is_lost => Undo::InDoubt { why },
        _ => Undo::Failed { why },
    };
    let action = match &undo {
        Undo::Undone => "undo",
        Undo::Waiting { .. } => "retry_undo",
        Undo::InDoubt { .. } => "ask",
        _ => "leave",
    };
    let mut note = about(state, &entry, action, &judged.rule, &judged.why);
    note.class = Some(judged.class);
    note.evidence.clone_from(&judged.evidence);
    let mut effects = vec![Effect::Note(note)];
    effects.extend(set(state, ended.call, undo.clone()));
    if let Undo::InDoubt { why } = &undo {
        let ask = escalation::about_undo(state, &entry, why);
        effects.extend(escalation::open(state, at, ask, policy).1);
        state.unconcluded = state.part().cloned();
        effects.extend(end(state, at, then));
    }
    effects
}

/// A human says whether an undo that is in doubt has happened.
pub(super) fn undo_settled(
    state: &mut State,
    at: UnixMs,
    call: CallId,
    undone: bool,
) -> Vec<Effect> {
    let entry = state.saga.entry(call).cloned();
    let Some(entry) = entry.filter(|entry| matches!(entry.undo, Undo::InDoubt { .. })) else {
        return unexpected(state, "the settlement of an undo that is not in doubt");
    };
    let (undo, option, why) = match undone {
        true => (
            Undo::Undone,
            HAPPENED,
            "a human says that the undo happened",
        ),
        false => (
            Undo::Due,
            NOT_HAPPENED,
            "a human says that the undo did not happen",
        ),
    };
    let note = about(state, &entry, "settle", "undo.settled", why);
    let mut effects = vec![Effect::Note(note)];
    effects.extend(escalation::undo_settled(state, at, call, option));
    effects.extend(set(state, call, undo));
    effects
}

/// The rollback is through.
pub(super) fn rolled_back(state: &mut State, at: UnixMs, policy: &Policy) -> Vec<Effect> {
    let Some(Part::RollingBack { then }) = state.part().cloned() else {
        return unexpected(state, "the end of a rollback that is not under way");
    };
    if state.saga.next() != NextUndo::Nothing {
        return unexpected(state, "the end of a rollback that is not through");
    }
    let (undone, stuck) = state.saga.counts();
    let missing = state.saga.entries.iter();
    let missing = missing.filter(|entry| entry.undo == Undo::Missing).count();
    let why = format!("{undone} calls undone, {stuck} not, {missing} have no undo");
    let note = run_note(state, "rolled_back", "rollback.end", &why);
    state.unconcluded = None;
    let mut effects = vec![Effect::Note(note)];
    effects.extend(escalate_left(state, at, policy));
    effects.extend(end(state, at, then));
    effects
}

/// Asks a human about what is left: once, until what is left is something else.
fn escalate_left(state: &mut State, at: UnixMs, policy: &Policy) -> Vec<Effect> {
    let is_left = |undo: &Undo| matches!(undo, Undo::Missing | Undo::Failed { .. });
    let entries = state.saga.entries.iter().rev();
    let left: Vec<&Entry> = entries.filter(|entry| is_left(&entry.undo)).collect();
    let ask = (!left.is_empty()).then(|| escalation::about_left(state, &left));
    let asked = state.question_about_left();
    if let (Some(ask), Some(asked)) = (&ask, asked)
        && ask.evidence == asked.what.ask.evidence
    {
        // It waits, or somebody has decided just that.
        return vec![];
    }
    let mut effects = escalation::put_right(state, at);
    if let Some(ask) = ask {
        effects.extend(escalation::open(state, at, ask, policy).1);
    }
    effects
}

/// Moves an entry on; a write that is taken back may be made again.
fn set(state: &mut State, call: CallId, undo: Undo) -> Option<Effect> {
    let is_undone = undo == Undo::Undone;
    let entry = state.saga.entry_mut(call)?;
    entry.undo = undo;
    let key = entry.key.clone().filter(|_| is_undone)?;
    state.done_in_step.retain(|done| done.call != call);
    Some(Effect::Unrecord { call, key })
}

fn about(state: &State, entry: &Entry, action: &str, rule: &str, why: &str) -> Decision {
    let mut note = run_note(state, action, rule, why);
    note.about = About::Call {
        call: entry.call,
        tool: entry.tool.clone(),
    };
    note
}
