//! A check of the work that asks a model: what it may cost is held back before each
//! try goes out, and settled when it came back, like the agent's own calls.
//!
//! It is no turn: it makes no step, belongs to no conversation, and steers nobody.
//! Nobody is asked about its cost either, since no agent is there to be kept; the
//! hard limit holds, and ends the run.
//!
//! A try that the end of its round finds open counts as spent.

use crate::clock::UnixMs;
use crate::machine::advance::run_note;
use crate::machine::event::{CheckAnswer, End, RequestNo};
use crate::machine::model::{self, After};
use crate::machine::{Answer, Effect, Next, Outcome, Part, Phase, Policy, State, Verdict};
use crate::policy::budget::{Limits, Usage};

/// A check is about to ask a model.
pub(super) fn reserved(
    state: &mut State,
    request: RequestNo,
    check: &str,
    worst: Usage,
    max_tokens: u64,
    link: usize,
) -> Vec<Effect> {
    if !is_due(state) {
        return vec![not_due(state, request)];
    }
    if let Some(hit) = state.spend.next_call(&state.call_limits(), &worst) {
        let rule = format!("limit.{}", hit.resource.key());
        let why = format!("check `{check}` would pass a hard limit");
        let mut note = run_note(state, "refuse", &rule, &why);
        note.evidence = hit.describe();
        note.otherwise = "the run would have gone on past its limit".into();
        let outcome = Outcome::Budget { hit: hit.clone() };
        state.check_hit = Some(hit);
        return vec![Effect::Note(note), refusal(request, &outcome)];
    }
    let reservation = state.next_reservation;
    state.next_reservation += 1;
    state.spend.hold(reservation, worst);
    vec![Effect::Reply {
        request,
        answer: Answer::Reserved {
            reservation,
            max_tokens,
            steer: None,
            link,
            is_quiet: false,
        },
    }]
}

/// A try of such a call came back.
pub(super) fn answered(
    state: &mut State,
    at: UnixMs,
    answer: &CheckAnswer,
    policy: &Policy,
) -> Vec<Effect> {
    if !is_due(state) {
        return vec![not_due(state, answer.request)];
    }
    // What a turn may cost is guessed by turns.
    let turns = (state.spend.largest.clone(), state.spend.last.clone());
    state.spend.settle(&answer.usage, answer.reservation);
    (state.spend.largest, state.spend.last) = turns;
    let exchange = &answer.exchange;
    let (next, mut effects) = match exchange.end {
        End::Unsent => (Next::GiveUp, vec![model::released(exchange)]),
        _ => {
            let (after, effects) =
                model::ended(state, at, exchange, answer.error.as_deref(), policy);
            let next = match after {
                After::Take => Next::Take,
                After::Next(next) => next,
                // A check has its own time limit, and a resume makes it again.
                After::Park(_) => Next::GiveUp,
            };
            (next, effects)
        }
    };
    effects.push(Effect::Reply {
        request: answer.request,
        answer: Answer::Turn {
            step: state.step,
            verdict: Verdict::Go,
            warnings: vec![],
            next,
        },
    });
    effects
}

impl State {
    /// Returns the limits of a model call; the call of a check is no step.
    pub fn call_limits(&self) -> Limits {
        let mut limits = self.limits.clone();
        if is_due(self) {
            limits.steps = None;
        }
        limits
    }
}

/// Whether checks are made now.
fn is_due(state: &State) -> bool {
    let part = match &state.phase {
        Phase::Concluding { part } => Some(part),
        _ => None,
    };
    matches!(part, Some(Part::Verifying { .. }))
}

fn not_due(state: &State, request: RequestNo) -> Effect {
    match state.outcome() {
        Some(outcome) => refusal(request, outcome),
        None => Effect::Reply {
            request,
            answer: Answer::Stopping {
                reason: "no checks are made".into(),
                exit_code: crate::exit_code::INTERNAL,
            },
        },
    }
}

fn refusal(request: RequestNo, outcome: &Outcome) -> Effect {
    Effect::Reply {
        request,
        answer: Answer::Stopping {
            reason: outcome.describe(),
            exit_code: outcome.exit_code(),
        },
    }
}
