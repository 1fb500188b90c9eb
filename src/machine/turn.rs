//! Turns and model-call reservations.

use crate::clock::UnixMs;
use crate::machine::advance::run_note;
use crate::machine::ending::stop;
use crate::machine::event::{RequestNo, Turn};
use crate::machine::{Answer, Effect, Outcome, Phase, State, Verdict};
use crate::policy::budget::{Hit, Usage};

/// The loop finished a turn: it is saved with this event, then released.
pub(super) fn reported(state: &mut State, at: UnixMs, turn: Turn) -> Vec<Effect> {
    state.spoke = true;
    if let Some(stopping) = stopping(state, turn.request) {
        return stopping;
    }
    state.on_wire |= turn.from_wire;
    state.head = turn.head;
    settle(state, &turn.usage, turn.reservation);
    if let Some(error) = turn.error {
        // A model call that failed is no step; what it cost counts.
        state.last_error = Some(error.clone());
        state.model_error = Some(error);
        return answer(state, turn.request);
    }
    state.model_error = None;
    state.step = state.step.next();
    state.spend.steps = state.spend.steps.saturating_add(1);
    state.done_in_step.clear();
    state.step_keys = Default::default();
    state.checkpoint_at = Some(at);
    state.detector_then.clone_from(&state.detector);
    if turn.done {
        state.done = Some(turn.result.unwrap_or_default());
        state.done_at = state.step;
        let (step, request) = (state.step, turn.request);
        let answer = Answer::Turn {
            step,
            verdict: Verdict::Go,
            warnings: vec![],
        };
        return vec![Effect::Reply { request, answer }];
    }
    answer(state, turn.request)
}

/// A model call was answered from the record: nothing new, but a sign of life.
pub(super) fn replayed(state: &mut State, request: RequestNo) -> Vec<Effect> {
    state.spoke = true;
    if let Some(stopping) = stopping(state, request) {
        return stopping;
    }
    state.on_wire = true;
    state.model_error = None;
    let answer = Answer::Turn {
        step: state.step,
        verdict: Verdict::Go,
        warnings: vec![],
    };
    vec![Effect::Reply { request, answer }]
}

/// The loop wants the worst case of a model call held back.
pub(super) fn reserved(
    state: &mut State,
    at: UnixMs,
    request: RequestNo,
    worst: Usage,
    max_tokens: u64,
) -> Vec<Effect> {
    state.spoke = true;
    if let Some(stopping) = stopping(state, request) {
        return stopping;
    }
    if let Some(hit) = state.spend.next_call(&state.limits, &worst) {
        let outcome = Outcome::Budget { hit: hit.clone() };
        let stopping = Answer::Stopping {
            reason: outcome.describe(),
            exit_code: outcome.exit_code(),
        };
        return over_budget(state, &hit, Some((request, stopping)));
    }
    let reservation = state.next_reservation;
    state.next_reservation += 1;
    state.spend.reserved.insert(reservation, worst);
    state.reserved_at.insert(reservation, at);
    // An agent behind the gateway hears nothing else before its model does.
    let steer = state.steer.take_if(|_| state.on_wire);
    state.counters.steers += u64::from(steer.is_some());
    vec![Effect::Reply {
        request,
        answer: Answer::Reserved {
            reservation,
            max_tokens,
            steer,
        },
    }]
}

/// Refuses a request of a run that is ending.
pub(super) fn stopping(state: &State, request: RequestNo) -> Option<Vec<Effect>> {
    if state.phase == Phase::Running {
        return None;
    }
    let outcome = state.outcome();
    let answer = Answer::Stopping {
        reason: outcome.map_or_else(|| "no attempt is running".into(), Outcome::describe),
        exit_code: outcome.map_or(crate::exit_code::INTERNAL, Outcome::exit_code),
    };
    Some(vec![Effect::Reply { request, answer }])
}

/// Ends the run because a limit would be passed.
pub(super) fn over_budget(
    state: &mut State,
    hit: &Hit,
    told: Option<(RequestNo, Answer)>,
) -> Vec<Effect> {
    let outcome = Outcome::Budget { hit: hit.clone() };
    let mut note = run_note(
        state,
        "stop",
        &format!("limit.{}", hit.resource.key()),
        "a hard limit is checked before the step that would pass it",
    );
    note.evidence = hit.describe();
    note.otherwise = "the run would have gone on past its limit".into();
    let mut effects = vec![Effect::Note(note)];
    effects.extend(stop(state, outcome, told));
    effects
}

fn settle(state: &mut State, usage: &Usage, reservation: Option<u64>) {
    state.spend.settle(usage, reservation);
    if let Some(reservation) = reservation {
        state.reserved_at.remove(&reservation);
    }
}

/// Answers a turn: stop, steer, or go on.
fn answer(state: &mut State, request: RequestNo) -> Vec<Effect> {
    let step = state.step;
    // A call through the gateway is reserved before it goes out: no need to guess.
    let hit = if state.on_wire {
        state.spend.next_reserved_turn(&state.limits)
    } else {
        state.spend.next_turn(&state.limits)
    };
    if let Some(hit) = hit {
        let outcome = Outcome::Budget { hit: hit.clone() };
        let answer = Answer::Turn {
            step,
            verdict: Verdict::stop(&outcome),
            warnings: vec![],
        };
        return over_budget(state, &hit, Some((request, answer)));
    }
    let (mut effects, warnings) = warn(state);
    let verdict = match state.steer.take() {
        Some(text) => {
            state.counters.steers += 1;
            Verdict::Steer { text }
        }
        None => Verdict::Go,
    };
    effects.push(Effect::Reply {
        request,
        answer: Answer::Turn {
            step,
            verdict,
            warnings,
        },
    });
    effects
}

/// Warns once of each soft threshold that was passed.
fn warn(state: &mut State) -> (Vec<Effect>, Vec<String>) {
    let mut effects = Vec::new();
    let mut warnings = Vec::new();
    for resource in state.spend.past_soft(&state.limits) {
        if !state.warned.insert(resource) {
            continue;
        }
        let used = resource.show(state.spend.of(resource));
        let limit = resource.show(state.limits.of(resource).unwrap_or_default());
        let text = format!("{}: {used} of {limit} used", resource.key());
        let rule = format!("limit.{}.soft", resource.key());
        let mut note = run_note(state, "warn", &rule, "a soft threshold was passed");
        note.evidence.clone_from(&text);
        effects.push(Effect::Note(note));
        warnings.push(text);
    }
    (effects, warnings)
}
