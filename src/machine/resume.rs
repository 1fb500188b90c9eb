//! What it takes to go on with a run, and what the agent is told.
//!
//! Infrastructure crashes (killed, out of memory, power, Ctrl-C) and limits that
//! were raised go on verbatim. Logic crashes (a loop, an agent that failed) go
//! on with a note that says what went wrong and asks for another way.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::ids::{AttemptNo, CallId, ConversationNo, EscalationId, StepNo};
use crate::machine::advance::{run_note, unexpected};
use crate::machine::conclude::limit_reached;
use crate::machine::event::{StoppedBy, TimeLimit};
use crate::machine::{
    Asking, Call, Effect, Outcome, Part, Phase, Policy, Session, Settle, State, Undo, escalation,
};
use crate::policy::escalation::Kind;
use crate::policy::loops::Detector;

/// Why the agent is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// For the first time.
    Fresh,
    /// Again, as if nothing had happened.
    Verbatim,
    /// Again, with a note on what went wrong.
    Reflection,
}

/// What a start is to the attempt before, for an agent that knows nothing of us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// From its beginning; what it asks as before is answered from the journal.
    #[default]
    Replay,
    /// It takes its own session up again.
    Native,
    /// From its beginning, everything anew.
    Restart,
}

/// What a resume has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Resume {
    /// Nothing: the run is done.
    Nothing,
    /// Write down that the last attempt is over (its supervisor was killed
    /// before it could), then ask again.
    Close,
    /// Refuse: the same limit would stop it at once.
    Refuse {
        /// How the run ended.
        outcome: Outcome,
    },
    /// Wait for this question, then ask again.
    Wait {
        /// The question.
        escalation: EscalationId,
    },
    /// Settle these calls, then ask again.
    Settle {
        /// Calls and how each is settled.
        calls: Vec<(CallId, Settle)>,
    },
    /// Take up the end of the run where it was cut off.
    Conclude,
    /// Start the agent.
    Start {
        /// Why.
        cause: Cause,
        /// What it is told.
        note: Option<String>,
    },
}

/// Decides how to go on with a run that no process holds.
pub fn resume(state: &State, now: UnixMs, policy: &Policy) -> Resume {
    let outcome = match &state.phase {
        Phase::Running | Phase::Ending { .. } => return Resume::Close,
        // A human had items done, and that was cut short.
        Phase::Ended { .. } if state.batches.values().any(|it| it.request.is_some()) => {
            return Resume::Close;
        }
        Phase::Ended { outcome } => Some(outcome),
        Phase::Created | Phase::Concluding { .. } => None,
    };
    if !state.in_doubt.is_empty() {
        let settle = |call: &Call| policy.tool(&call.tool).map_or(Settle::Human, |t| t.settle);
        let calls = state
            .in_doubt
            .iter()
            .map(|(id, call)| (*id, settle(call)))
            .collect();
        return Resume::Settle { calls };
    }
    if let Some(Outcome::Done { .. }) = outcome {
        return Resume::Nothing;
    }
    if let Some(Outcome::Waiting { .. }) = outcome
        && let Some(question) = state.waits_for()
    {
        let escalation = question.what.id.clone();
        return Resume::Wait { escalation };
    }
    match state.part() {
        // The work is done; no limit speaks against keeping it.
        Some(Part::Committing { .. }) => return Resume::Conclude,
        // Checks cost time only.
        Some(Part::Verifying { .. }) if state.left_ms(now) == Some(0) => {
            return Resume::Refuse {
                outcome: Outcome::TimeUp {
                    limit: TimeLimit::Deadline,
                },
            };
        }
        Some(Part::Verifying { .. } | Part::RollingBack { .. }) => return Resume::Conclude,
        Some(Part::Returning) | None => {}
    }
    if let Some(outcome) = limit_reached(state, now) {
        return Resume::Refuse { outcome };
    }
    match outcome {
        None if state.attempt == AttemptNo(0) => Resume::Start {
            cause: Cause::Fresh,
            note: None,
        },
        Some(Outcome::Failed { why }) => {
            reflect(state, &format!("The last attempt failed: {why}."))
        }
        Some(Outcome::Loop { why }) => reflect(
            state,
            &format!("The last attempt was stopped because it went in circles: {why}."),
        ),
        Some(Outcome::Rejected { .. }) => told(Cause::Reflection, state),
        Some(Outcome::Waiting { escalation, .. }) if is_loop(state, escalation) => {
            told(Cause::Reflection, state)
        }
        None if state.part() == Some(&Part::Returning) => told(Cause::Reflection, state),
        // What the checks found is still to be corrected.
        None | Some(_) => told(Cause::Verbatim, state),
    }
}

fn is_loop(state: &State, escalation: &EscalationId) -> bool {
    let question = state.question(escalation);
    question.is_some_and(|it| it.what.ask.kind == Kind::Loop)
}

/// Starts the agent with what it does not know yet, if there is something.
fn told(cause: Cause, state: &State) -> Resume {
    let note = news(state);
    Resume::Start { cause, note }
}

fn reflect(state: &State, what: &str) -> Resume {
    let mut note = format!(
        "{what} The work up to here is kept. Before you go on, say in one sentence why that \
         happened, then take another approach; do not repeat the same calls."
    );
    if let Some(news) = news(state) {
        note.push_str(&format!("\n\n{news}"));
    }
    Resume::Start {
        cause: Cause::Reflection,
        note: Some(note),
    }
}

/// Returns what the last checks of the work found, what of it was taken back, and
/// what humans decided meanwhile.
fn news(state: &State) -> Option<String> {
    let parts = [
        state.findings.clone(),
        state.saga.told(),
        escalation::decided_meanwhile(state),
    ];
    let joined = |first: String, second: String| format!("{first}\n\n{second}");
    parts.into_iter().flatten().reduce(joined)
}

/// The agent is about to be started.
pub(super) fn start(
    state: &mut State,
    at: UnixMs,
    attempt: AttemptNo,
    cause: Cause,
    note: Option<&str>,
    how: How,
) -> Vec<Effect> {
    let idle = match &state.phase {
        Phase::Created | Phase::Ended { .. } => true,
        Phase::Concluding { part } => *part == Part::Returning,
        Phase::Running | Phase::Ending { .. } => false,
    };
    if !idle || attempt <= state.attempt {
        return unexpected(state, "the start of an attempt");
    }
    if let Some(Outcome::Rejected { .. }) = state.outcome() {
        // Who resumes it grants it as many tries as before.
        state.rejections = 0;
    }
    state.unconcluded = None;
    state.saga.entries.retain(|done| done.undo != Undo::Undone);
    state.phase = Phase::Running;
    state.attempt = attempt;
    state.attempt_at = at;
    state.ended_at = None;
    state.spoke = false;
    state.greeted = false;
    state.counts_itself = false;
    state.boot = None;
    state.wire_credit = Default::default();
    state.waits.attempt_ms = 0;
    if note.is_some() {
        escalation::told_by_note(state);
    }
    let fresh = Session {
        attempt,
        branch: state.branch,
        has_turns: false,
    };
    match how {
        // One that is not there any more makes no turn, and is not tried again.
        How::Native => state.session.has_turns = false,
        How::Replay | How::Restart => state.session = fresh,
    }
    state.on_wire = false;
    state.done = None;
    state.model_error = None;
    state.down = None;
    state.reserved_at.clear();
    state.reserved_of.clear();
    for it in state.conversations.values_mut() {
        it.steer = None;
        it.asking = Asking::default();
        if let (Cause::Verbatim, Some(detector), Some(then)) =
            (cause, &mut it.detector, &it.detector_then)
        {
            detector.go_back_to(then);
        }
    }
    if state.findings.is_some() {
        // It is told something new: to do again what it did is no circle.
        let conversations = state.conversations.values_mut();
        let detectors = conversations.filter_map(|it| it.detector.as_mut());
        detectors.for_each(Detector::human_input);
    }
    let (action, why) = match cause {
        Cause::Fresh => ("start", "the run begins"),
        Cause::Verbatim => ("resume", "nothing says that the agent did wrong"),
        Cause::Reflection => ("resume", "the agent itself went wrong, so it is told"),
    };
    let why = match how {
        How::Replay => why.to_owned(),
        How::Native => format!("{why}; it takes up its own session"),
        How::Restart => format!("{why}; it begins anew"),
    };
    let mut decision = run_note(state, action, "resume.cause", &why);
    decision.evidence = note.unwrap_or_default().into();
    vec![Effect::Note(decision)]
}

/// The user goes on from an earlier checkpoint; the later ones stay stored.
pub(super) fn branch(
    state: &mut State,
    step: StepNo,
    head: Option<String>,
    heads: Vec<(ConversationNo, String)>,
) {
    let heads = match heads.is_empty() {
        // A journal from when there was but one.
        true => head.map(|head| (state.main(), head)).into_iter().collect(),
        false => heads,
    };
    state.step = step;
    state.branch += 1;
    state.done = None;
    state.done_in_step.clear();
    state.dead_in_step.clear();
    state.step_keys = Default::default();
    for (number, _) in &heads {
        state.conversation(*number);
    }
    for (number, it) in &mut state.conversations {
        let then = heads.iter().find(|(then, _)| then == number);
        it.head = then.map(|(_, head)| head.clone());
        it.detector.iter_mut().for_each(Detector::human_input);
        it.detector_then.clone_from(&it.detector);
    }
    (state.rejections, state.findings, state.unconcluded) = (0, None, None);
    if let Phase::Concluding { .. }
    | Phase::Ended {
        outcome: Outcome::Done { .. } | Outcome::Rejected { .. },
    } = state.phase
    {
        let outcome = Outcome::Stopped {
            by: StoppedBy::User,
        };
        state.phase = Phase::Ended { outcome };
    }
}
