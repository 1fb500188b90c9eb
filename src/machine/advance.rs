//! One step of the machine.

use crate::clock::UnixMs;
use crate::machine::event::{Event, TimeLimit};
use crate::machine::{
    About, Answer, Decision, Effect, Outcome, Phase, Policy, State, asked_check, batch, commit,
    conclude, ending, escalation, resume, saga, tool, turn,
};

/// Advances a run by one event. Total: every pair has an answer, none panics.
///
/// - `state`: `None` before the first event.
/// - `at`: when the event happened.
///
/// The order of effects is the order in which they are carried out.
pub fn advance(
    state: Option<State>,
    at: UnixMs,
    event: Event,
    policy: &Policy,
) -> (State, Vec<Effect>) {
    let Some(mut state) = state else {
        return create(at, event, policy);
    };
    if matches!(
        event,
        Event::TurnReported(_)
            | Event::Reserved { .. }
            | Event::ToolCalled(_)
            | Event::ToolReported(_)
    ) {
        state.waits.interrupted(at);
    }
    let effects = match event {
        Event::Created { .. } => unexpected(&state, "created"),
        Event::AttemptStarted {
            attempt,
            cause,
            note,
            how,
        } => resume::start(&mut state, at, attempt, cause, note.as_deref(), how),
        Event::AgentSpawned { boot, .. } => {
            state.boot = boot;
            vec![]
        }
        Event::Replayed { request, cost } => turn::replayed(&mut state, request, cost),
        Event::Greeted { request } => {
            state.spoke = true;
            state.greeted = true;
            vec![Effect::Reply {
                request,
                answer: Answer::Standing,
            }]
        }
        Event::TurnReported(report) => turn::reported(&mut state, at, report, policy),
        Event::Reserved {
            request,
            worst,
            max_tokens,
            link,
            unasked,
            place,
        } => {
            let mut effects = turn::went_live(&state, unasked);
            let call = turn::Call {
                request,
                worst,
                max_tokens,
                link,
                place,
            };
            effects.extend(turn::reserved(&mut state, at, call, policy));
            effects
        }
        Event::CallRefused { why, exit_code } => {
            turn::call_refused(&mut state, why, exit_code);
            vec![]
        }
        Event::ToolCalled(call) => tool::called(&mut state, at, call, policy),
        Event::ToolEnded(end) => tool::ended(&mut state, at, end, policy),
        Event::RetryDue {
            call,
            attempt,
            admission,
        } => tool::retry_due(&mut state, at, call, attempt, admission, policy),
        Event::BatchCalled(call) => batch::called(&mut state, at, call, policy),
        Event::BatchDue { batch, admission } => {
            batch::due(&mut state, at, batch, &admission, policy)
        }
        Event::Settled {
            call,
            settlement,
            by,
        } => tool::settled(&mut state, at, call, settlement, by, policy),
        Event::ToolReported(report) => tool::reported(&mut state, at, report, policy),
        Event::Raised { resource, limit } => {
            match resource {
                Some(resource) => state.limits.set(resource, limit),
                None => state.limits.deadline_ms = Some(limit),
            }
            state.warned.clear();
            vec![]
        }
        Event::Branched { step, head, heads } => {
            resume::branch(&mut state, step, head, heads);
            vec![]
        }
        Event::TimeUp { limit } => time_up(&mut state, at, limit, policy),
        Event::StopRequested { by } => stop(&mut state, at, Outcome::Stopped { by }, policy),
        Event::AgentExited { exit, tail } => ending::exited(&mut state, at, exit, &tail, policy),
        Event::Swept { asked, killed } => ending::swept(&mut state, at, asked, killed, policy),
        Event::VerifyStarted { round } => conclude::verify_started(&mut state, at, round),
        Event::CheckReserved {
            request,
            check,
            worst,
            max_tokens,
            link,
        } => asked_check::reserved(&mut state, request, &check, worst, max_tokens, link),
        Event::CheckAnswered(answer) => asked_check::answered(&mut state, at, &answer, policy),
        Event::Verified { round, checks } => {
            conclude::verified(&mut state, at, round, &checks, policy)
        }
        Event::Escalated {
            request,
            ask,
            played,
        } => escalation::asked(&mut state, at, request, *ask, played, policy),
        Event::Decided { escalation, ruling } => {
            escalation::decided(&mut state, at, &escalation, ruling, policy)
        }
        Event::Acknowledged { escalation, seen } => {
            escalation::acknowledged(&mut state, &escalation, seen)
        }
        Event::Suspended => escalation::suspended(&mut state, escalation::Unheld::Detached),
        Event::RollbackStarted => saga::started(&mut state, at),
        Event::UndoStarted { call, attempt } => saga::undo_started(&mut state, at, call, attempt),
        Event::UndoEnded(ended) => saga::undo_ended(&mut state, at, &ended, policy),
        Event::UndoSettled { call, undone } => saga::undo_settled(&mut state, at, call, undone),
        Event::RolledBack => saga::rolled_back(&mut state, at, policy),
        Event::Staged(staged) => {
            state.workspace.staged(staged);
            vec![]
        }
        Event::CommitStarted {
            method,
            why,
            counts,
            hash: _,
        } => commit::started(&mut state, at, method, why, counts),
        Event::Committed { counts } => commit::committed(&mut state, at, counts),
        Event::CommitRefused { refusal } => commit::refused(&mut state, at, &refusal),
        Event::Broke { error } => stop(&mut state, at, Outcome::Broke { error }, policy),
    };
    state.seen_at = at;
    (state, effects)
}

fn create(at: UnixMs, event: Event, policy: &Policy) -> (State, Vec<Effect>) {
    match event {
        Event::Created {
            name,
            input_hash,
            seed,
        } => (State::new(name, input_hash, seed, at, policy), vec![]),
        other => {
            let state = State::new(String::new(), String::new(), 0, at, policy);
            let effects = unexpected(&state, other.kind());
            (state, effects)
        }
    }
}

/// Stops the run, whatever it is doing.
fn stop(state: &mut State, at: UnixMs, outcome: Outcome, policy: &Policy) -> Vec<Effect> {
    match &state.phase {
        Phase::Concluding { .. } => conclude::cut_off(state, at, outcome, policy),
        // Nothing ran yet: its folder could not be staged.
        Phase::Created => conclude::end(state, at, outcome),
        // It would have gone on, so this is its end.
        Phase::Ended { outcome: now } if now.goes_on() => {
            conclude::finish(state, at, outcome, policy)
        }
        _ => ending::stop(state, outcome, None),
    }
}

fn time_up(state: &mut State, at: UnixMs, limit: TimeLimit, policy: &Policy) -> Vec<Effect> {
    let rule = match limit {
        TimeLimit::Deadline => "limit.deadline",
        TimeLimit::Idle => "limit.idle",
        TimeLimit::ModelCall => "limit.model_call",
    };
    let outcome = Outcome::TimeUp { limit };
    match state.phase {
        Phase::Running => {}
        Phase::Concluding { .. } => return conclude::cut_off(state, at, outcome, policy),
        // Nothing ran yet: its folder is being staged.
        Phase::Created => {
            let note = run_note(state, "stop", rule, &outcome.describe());
            let mut effects = vec![Effect::Note(note)];
            effects.extend(conclude::end(state, at, outcome));
            return effects;
        }
        Phase::Ending { .. } | Phase::Ended { .. } => return vec![],
    }
    let note = run_note(state, "stop", rule, &outcome.describe());
    let mut effects = vec![Effect::Note(note)];
    effects.extend(ending::stop(state, outcome, None));
    effects
}

/// Makes a decision about the run as a whole.
pub(super) fn run_note(state: &State, action: &str, rule: &str, why: &str) -> Decision {
    Decision {
        about: About::Run,
        step: state.step,
        class: None,
        action: action.into(),
        rule: rule.into(),
        why: why.into(),
        evidence: String::new(),
        otherwise: String::new(),
    }
}

/// An impossible pair is reported, neither believed nor dropped.
pub(super) fn unexpected(state: &State, what: &str) -> Vec<Effect> {
    vec![Effect::Unexpected {
        what: format!("{what} while {:?}", state.phase),
    }]
}
