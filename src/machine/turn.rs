//! Turns and model-call reservations.

use crate::clock::UnixMs;
use crate::ids::ConversationNo;
use crate::machine::advance::run_note;
use crate::machine::ending::stop;
use crate::machine::escalation::{self, Held};
use crate::machine::event::{End, Place, RequestNo, Turn};
use crate::machine::model::After;
use crate::machine::{Answer, Effect, Kind, Next, Outcome, Phase, Policy, State, Verdict, model};
use crate::money::NanoUsd;
use crate::policy::budget::{Hit, Usage};

/// The loop finished a turn: it is saved with this event, then released.
pub(super) fn reported(state: &mut State, at: UnixMs, turn: Turn, policy: &Policy) -> Vec<Effect> {
    state.spoke = true;
    if let Some(stopping) = stopping(state, turn.request) {
        return stopping;
    }
    state.on_wire |= turn.from_wire && !turn.is_quiet;
    let conversation = turn.conversation;
    let usage = match turn.from_wire {
        true => {
            let credit = &mut state.wire_credit;
            credit.tokens = credit.tokens.saturating_add(turn.usage.tokens);
            credit.cost = credit.cost.plus(turn.usage.cost);
            turn.usage.clone()
        }
        false => {
            // It tells of its turns itself from here on.
            (state.greeted, state.on_wire) = (true, false);
            uncounted(&mut state.wire_credit, &turn.usage)
        }
    };
    settle(state, &usage, turn.reservation);
    state.conversation(conversation).used(&usage);
    if turn.is_quiet {
        return answer(state, conversation, turn.request, Next::Take);
    }
    let mut effects = Vec::new();
    if let Some(exchange) = turn.exchange.as_ref().filter(|it| it.end == End::Unsent) {
        let mut effects = vec![model::released(exchange)];
        effects.extend(answer(state, conversation, turn.request, Next::GiveUp));
        return effects;
    }
    if let Some(exchange) = &turn.exchange {
        let (next, decided) = model::ended(state, at, exchange, turn.error.as_deref(), policy);
        effects = decided;
        match next {
            After::Take => {}
            After::Next(Next::GiveUp) if exchange.end == End::HungUp => {
                // Nobody waits for it: no failure of anybody.
                effects.extend(answer(state, conversation, turn.request, Next::GiveUp));
                return effects;
            }
            After::Next(next) => {
                effects.extend(failed(state, turn, next));
                return effects;
            }
            After::Park(outcome) => {
                let answer = Answer::Turn {
                    step: state.step,
                    verdict: Verdict::stop(&outcome),
                    warnings: vec![],
                    next: Next::GiveUp,
                };
                effects.extend(stop(state, outcome, Some((turn.request, answer))));
                return effects;
            }
        }
    }
    if turn.error.is_some() {
        return failed(state, turn, Next::GiveUp);
    }
    let before = state.steps_taken();
    let it = state.conversation(conversation);
    let asks = turn.exchange.as_ref().map(|it| it.asks);
    it.turn(turn.head, turn.back_to, turn.rewritten, asks);
    it.model = turn.model.or(it.model.take());
    state.recount(before);
    if state.kind(conversation) == Kind::Side {
        effects.extend(answer(state, conversation, turn.request, Next::Take));
        return effects;
    }
    state.last_of = conversation;
    state.model_error = None;
    state.session.has_turns |= state.on_wire;
    state.done_in_step.clear();
    state.dead_in_step.clear();
    state.step_keys = Default::default();
    state.checkpoint_at = Some(at);
    if turn.done {
        state.done = Some(turn.result.unwrap_or_default());
        state.done_at = state.step;
        let (step, request) = (state.step, turn.request);
        let answer = Answer::Turn {
            step,
            verdict: Verdict::Go,
            warnings: vec![],
            next: Next::Take,
        };
        effects.push(Effect::Reply { request, answer });
        return effects;
    }
    effects.extend(answer(state, conversation, turn.request, Next::Take));
    if state.on_wire || state.phase != Phase::Running {
        return effects;
    }
    // A loop that only tells what it used is asked about after the turn that did it.
    if let Some(ask) = escalation::about_cost(state, NanoUsd(0), policy)
        && let Some(Effect::Reply { request, answer }) =
            effects.pop_if(|last| matches!(last, Effect::Reply { .. }))
    {
        let held = vec![Held::Reply { request, answer }];
        effects.extend(escalation::hold(state, at, ask, held, false, policy));
    }
    effects
}

/// Returns what the gateway has not counted yet of what a loop tells.
fn uncounted(credit: &mut Usage, told: &Usage) -> Usage {
    let known = Usage {
        tokens: credit.tokens.min(told.tokens),
        cost: credit.cost.min(told.cost),
    };
    credit.tokens -= known.tokens;
    credit.cost = credit.cost.minus(known.cost);
    Usage {
        tokens: told.tokens - known.tokens,
        cost: told.cost.minus(known.cost),
    }
}

/// A model call that failed is no step; what it cost counts. Of a call beside the
/// conversation nothing depends.
fn failed(state: &mut State, turn: Turn, next: Next) -> Vec<Effect> {
    state.last_error.clone_from(&turn.error);
    if !turn.from_wire {
        state.conversation(turn.conversation).head = turn.head;
    }
    if state.kind(turn.conversation) != Kind::Side {
        state.model_error = turn.error;
    }
    answer(state, turn.conversation, turn.request, next)
}

/// A model call was answered from the record: nothing new, but a sign of life.
pub(super) fn replayed(state: &mut State, request: RequestNo, cost: NanoUsd) -> Vec<Effect> {
    state.spoke = true;
    if let Some(stopping) = stopping(state, request) {
        return stopping;
    }
    state.on_wire = true;
    state.model_error = None;
    state.counters.replayed += 1;
    state.counters.saved = state.counters.saved.plus(cost);
    let answer = Answer::Turn {
        step: state.step,
        verdict: Verdict::Go,
        warnings: vec![],
        next: Next::Take,
    };
    vec![Effect::Reply { request, answer }]
}

/// Notes that the agent asks what no record answers any more.
///
/// - `unasked`: recorded answers that nobody asked for; `None`: no news.
pub(super) fn went_live(state: &State, unasked: Option<u64>) -> Vec<Effect> {
    let Some(unasked) = unasked else {
        return vec![];
    };
    let why = match unasked {
        0 => "everything recorded was given again; from here on calls go to the model",
        _ => "the agent asks something else than before; from here on calls go to the model",
    };
    let mut note = run_note(state, "go_live", "resume.live", why);
    let counters = &state.counters;
    note.evidence = format!(
        "{} answers from the journal, {} USD saved; {unasked} not asked for",
        counters.replayed, counters.saved
    );
    vec![Effect::Note(note)]
}

/// A model call was not let out.
pub(super) fn call_refused(state: &mut State, why: String, exit_code: u8) {
    state.spoke = true;
    state.on_wire = true;
    state.last_error = Some(why.clone());
    if exit_code == crate::exit_code::UNAVAILABLE {
        state.down = Some(("the model".to_owned(), why.clone()));
    }
    state.model_error = Some(why);
}

/// A model call that is about to go out.
pub(super) struct Call {
    pub request: RequestNo,
    pub worst: Usage,
    pub max_tokens: u64,
    pub link: Option<usize>,
    pub place: Option<Place>,
}

/// The loop wants the worst case of a model call held back.
pub(super) fn reserved(state: &mut State, at: UnixMs, call: Call, policy: &Policy) -> Vec<Effect> {
    let Call {
        request,
        worst,
        max_tokens,
        link,
        place,
    } = call;
    state.spoke = true;
    state.counts_itself |= link.is_none();
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
    if let Some(ask) = escalation::about_cost(state, worst.cost, policy) {
        let held = Held::Reserve {
            request,
            worst,
            max_tokens,
        };
        return escalation::hold(state, at, ask, vec![held], link.is_some(), policy);
    }
    let reservation = state.next_reservation;
    state.next_reservation += 1;
    state.spend.hold(reservation, worst);
    state.reserved_at.insert(reservation, at);
    let is_quiet = link.is_some() && state.greeted && !state.on_wire;
    // A loop that tells of its turns itself has one conversation.
    let place = place.filter(|_| !is_quiet);
    let conversation = place.as_ref().map(|place| place.conversation);
    let conversation = conversation.unwrap_or_else(|| state.main());
    state.reserved_of.insert(reservation, conversation);
    if let Some(place) = place {
        state.enters(place);
    }
    // An agent behind the gateway hears nothing else before its model does.
    let on_wire = state.on_wire;
    let steer = state.conversation(conversation).steer.take_if(|_| on_wire);
    state.counters.steers += u64::from(steer.is_some());
    vec![Effect::Reply {
        request,
        answer: Answer::Reserved {
            reservation,
            max_tokens,
            steer,
            link: link.unwrap_or(0),
            is_quiet,
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
        state.reserved_of.remove(&reservation);
    }
}

/// Answers a turn: stop, steer, or go on.
fn answer(
    state: &mut State,
    conversation: ConversationNo,
    request: RequestNo,
    next: Next,
) -> Vec<Effect> {
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
            next,
        };
        return over_budget(state, &hit, Some((request, answer)));
    }
    let (mut effects, warnings) = warn(state);
    // While a call is tried again its model is told by the next reservation.
    let it = state.conversation(conversation);
    let verdict = match it.steer.take_if(|_| !matches!(next, Next::Again { .. })) {
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
            next,
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
