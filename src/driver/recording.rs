//! What a past run can be played again from: what its tools gave the loop, and
//! what the loop did, in order.
//!
//! Read from the journal through the machine itself, so that a result stands
//! here as the loop saw it, after retries and in its final words. What an attempt
//! did behind its last turn before it died is left out: the next one did it again.
//! What came after a failure of the agent itself, of which it was told, is left
//! out too: a replay leads to that failure.
//!
//! Two runs are compared step by step. An agent of several conversations makes their
//! steps in an order that differs from start to start: there only what it did counts,
//! not when. A run that was cut off (killed, stopped, at a limit) has nothing to say
//! about what comes behind.
//!
//! Not here: the model's answers, which lie in files (`driver::gateway`).

use std::collections::{BTreeSet, HashMap, VecDeque};

use serde_json::Value;

use crate::ids::{ConversationNo, StepNo};
use crate::machine::batch::{BatchAnswer, Progress, Status};
use crate::machine::escalation::{Ruling, Source};
use crate::machine::event::{Content, PlayedItem, RequestNo, ToolCall};
use crate::machine::{Answer, Cause, Effect, Entry, Event, Outcome, Part, Policy, State, advance};
use crate::policy::budget::Resource;
use crate::policy::taxonomy::Class;

/// A past run, as it was seen by its loop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Guarded calls and what they gave, in the order of their answers.
    pub calls: Vec<RecordedCall>,
    /// What the loop did, by step; the last one may have no turn.
    pub steps: Vec<Step>,
    /// What was decided when the loop asked a human, by what makes two questions the
    /// same.
    pub rulings: HashMap<String, Ruling>,
    /// Limits that were raised, and to what; `None` is the deadline.
    pub raised: Vec<(Option<Resource>, u64)>,
    /// Conversations that the gateway saw steps of.
    pub conversations: BTreeSet<ConversationNo>,
    /// The steps that were done with each answer that is kept.
    pub answers: Vec<StepNo>,
    /// Why a model call was not made, where the last one was refused.
    pub refused: Option<String>,
    /// Whether the last model call failed.
    pub has_failed_call: bool,
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
    /// How it ended as an item of a batch, where it was one.
    pub item: Option<Box<PlayedItem>>,
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
            let is_kept = matches!(
                &entry.event,
                Event::TurnReported(turn) if turn.error.is_none() && turn.reply.is_some()
            );
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
                Event::TurnReported(turn) if turn.error.is_some() => {
                    recording.has_failed_call = true;
                }
                Event::TurnReported(turn) if !turn.is_quiet => {
                    step.has_turn = true;
                    recording.has_failed_call = false;
                    if turn.from_wire {
                        recording.conversations.insert(turn.conversation);
                    }
                    step.head = turn.head.clone().filter(|_| !turn.from_wire);
                    recording.steps.push(std::mem::take(&mut step));
                }
                Event::Replayed { .. } => {
                    step.has_turn = true;
                    recording.steps.push(std::mem::take(&mut step));
                }
                Event::CallRefused { why, .. } => recording.refused = Some(why.clone()),
                Event::Raised { resource, limit } => recording.raised.push((*resource, *limit)),
                Event::Branched { step: back, .. } => {
                    let back_to = usize::try_from(back.0).unwrap_or(usize::MAX);
                    recording.steps.truncate(back_to);
                    recording.calls.retain(|call| call.step < *back);
                    recording.answers.retain(|at| at <= back);
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
                        item: None,
                    }));
            }
            if is_kept {
                recording.answers.push(next.step);
            }
            recording.outcome = next.outcome().cloned();
            state = Some(next);
        }
        if !step.calls.is_empty() {
            recording.steps.push(step);
        }
        let questions = state.into_iter().flat_map(|state| state.questions);
        recording.rulings = questions
            .filter_map(|it| Some((it.what.ask.key, it.ruling?)))
            .filter(|(_, ruling)| ruling.source != Source::Withdrawn)
            .collect();
        recording
    }

    /// Whether the agent knows nothing of us: it begins at its beginning.
    pub fn is_from_wire(&self) -> bool {
        !self.conversations.is_empty()
    }

    /// Whether something else than the agent's own doing ended it, or nothing yet.
    pub fn is_cut_off(&self) -> bool {
        !matches!(
            self.outcome,
            Some(
                Outcome::Done { .. }
                    | Outcome::Failed { .. }
                    | Outcome::Rejected { .. }
                    | Outcome::Conflict { .. }
                    | Outcome::Loop { .. }
            )
        )
    }

    /// Returns its steps as one: the order of steps is left out.
    fn as_one(&self) -> Step {
        let calls = self.steps.iter().flat_map(|step| &step.calls);
        Step {
            calls: calls.cloned().collect(),
            has_turn: true,
            head: None,
        }
    }
}

/// Where a replay and its recording part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parting {
    /// The step in which they do, from 1.
    pub step: usize,
    /// What the recording has there, as a verb and what belongs to it.
    pub recorded: String,
    /// What the replay did.
    pub replayed: String,
    /// Tips of the two conversations, where words differ and nothing else.
    pub heads: Option<(String, String)>,
}

impl Parting {
    fn new(step: usize, recorded: String, replayed: String) -> Option<Self> {
        Some(Self {
            step,
            recorded,
            replayed,
            heads: None,
        })
    }
}

/// Finds where `replay` parts from `recorded`.
///
/// - `from`: the first step that is compared, 0 is the beginning;
/// - `begun_at`: the step at which the replay began.
pub fn parting(
    recorded: &Recording,
    replay: &Recording,
    from: usize,
    begun_at: usize,
) -> Option<Parting> {
    let found = match recorded.conversations.len() > 1 {
        true => in_any_order(recorded, replay),
        false => step_by_step(recorded, replay, from, begun_at),
    };
    found.or_else(|| otherwise_ended(recorded, replay, begun_at))
}

fn step_by_step(
    recorded: &Recording,
    replay: &Recording,
    from: usize,
    begun_at: usize,
) -> Option<Parting> {
    let empty = Step::default();
    let steps = match recorded.is_cut_off() {
        true => recorded.steps.len(),
        false => recorded.steps.len().max(replay.steps.len() + begun_at),
    };
    for place in from..steps {
        let want = recorded.steps.get(place).unwrap_or(&empty);
        let got = place.checked_sub(begun_at);
        let got = got.and_then(|it| replay.steps.get(it)).unwrap_or(&empty);
        // It was cut off in the middle of this step.
        let is_half = !want.has_turn && recorded.is_cut_off();
        let (missing, more) = differences(&want.calls, &got.calls);
        let same_head = want.head.is_none() || got.head.is_none() || want.head == got.head;
        let same = more.is_empty() && want.has_turn == got.has_turn && same_head;
        if missing.is_empty() && (same || is_half) {
            continue;
        }
        let only = |these: &[&Asked], those: &[&Asked], step: &Step| match these.first() {
            Some(call) => format!("calls {} {}", call.tool, call.args),
            None if !step.has_turn => "has no further turn".to_owned(),
            None if those.is_empty() && !same_head => "has a turn with other words".to_owned(),
            None => "has the turn without a further call".to_owned(),
        };
        let asks_otherwise = got.calls.is_empty() && !got.has_turn && replay.refused.is_some();
        let replayed = match asks_otherwise {
            true => "asks the model something else".to_owned(),
            false => only(&more, &missing, got),
        };
        let mut found = Parting::new(place + 1, only(&missing, &more, want), replayed)?;
        if missing.is_empty() && more.is_empty() {
            found.heads = want.head.clone().zip(got.head.clone());
        }
        return Some(found);
    }
    None
}

/// Compares what was done, whenever it was.
fn in_any_order(recorded: &Recording, replay: &Recording) -> Option<Parting> {
    let (want, got) = (recorded.as_one(), replay.as_one());
    let (missing, more) = differences(&want.calls, &got.calls);
    let is_half = recorded.is_cut_off();
    let step_of = |of: &Recording, call: &Asked| {
        let place = of.steps.iter().position(|step| step.calls.contains(call));
        place.map_or(of.steps.len(), |place| place + 1)
    };
    let text = |call: &Asked| format!("calls {} {}", call.tool, call.args);
    let more = more.first().filter(|_| !is_half);
    match (missing.first(), more) {
        (Some(call), other) => {
            let replayed = other.map_or_else(|| "never does".into(), |other| text(other));
            return Parting::new(step_of(recorded, call), text(call), replayed);
        }
        (None, Some(call)) => {
            let recorded = "has no such call".to_owned();
            return Parting::new(step_of(replay, call), recorded, text(call));
        }
        (None, None) => {}
    }
    let turns = |of: &Recording| of.steps.iter().filter(|step| step.has_turn).count();
    let (want, got) = (turns(recorded), turns(replay));
    if got == want || (is_half && got > want) {
        return None;
    }
    let replayed = match replay.refused.is_some() {
        true => format!("has {got} and asks the model something else"),
        false => format!("has {got}"),
    };
    Parting::new(want.min(got) + 1, format!("has {want} turns"), replayed)
}

/// The same steps may lead to another end.
fn otherwise_ended(recorded: &Recording, replay: &Recording, begun_at: usize) -> Option<Parting> {
    let kind = |of: &Outcome| match of {
        // Nothing is committed by a replay, so nothing is in its way.
        Outcome::Conflict { .. } => Outcome::Done { verified: false }.status(),
        of => of.status(),
    };
    let (Some(want), Some(got)) = (&recorded.outcome, &replay.outcome) else {
        return None;
    };
    // The call that failed then is not made again.
    let is_same_failure = recorded.has_failed_call && replay.refused.is_some();
    if recorded.is_cut_off() || kind(want) == kind(got) || is_same_failure {
        return None;
    }
    let step = replay.steps.len() + begun_at + 1;
    let text = |of: &Outcome| format!("ends: {}", of.describe());
    Parting::new(step, text(want), text(got))
}

/// Returns the calls of either that the other has not.
fn differences<'a>(these: &'a [Asked], those: &'a [Asked]) -> (Vec<&'a Asked>, Vec<&'a Asked>) {
    let mut more: Vec<&Asked> = those.iter().collect();
    let mut missing = Vec::new();
    for call in these {
        match more.iter().position(|other| *other == call) {
            Some(place) => drop(more.remove(place)),
            None => missing.push(call),
        }
    }
    (missing, more)
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
        let played = PlayedItem {
            end: (*end).clone(),
            attempts: item.attempts,
        };
        Some(RecordedCall {
            item: (end.status != Status::InDoubt).then(|| Box::new(played)),
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
            outcome: Some(Outcome::Done { verified: false }),
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
                Some((
                    2,
                    "has a turn with other words",
                    "has a turn with other words",
                )),
            ),
            (
                "an early end",
                vec![step(&["a", "b"], "h1")],
                0,
                Some((2, "calls mail c", "has no further turn")),
            ),
            ("from a later step", vec![step(&["c"], "h2")], 1, None),
        ];
        for (name, steps, from, want) in rows {
            let found = parting(&recorded, &recording(steps), from, from);
            let found = found
                .as_ref()
                .map(|it| (it.step, it.recorded.as_str(), it.replayed.as_str()));
            assert_eq!(found, want, "row: {name}");
        }
    }
}
