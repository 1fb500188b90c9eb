//! What becomes of a model call after each of its tries: the tree of
//! [`degrade`], carried out.
//!
//! ```text
//! reserved ─► asked ─► ended ─┬─ take
//!                ▲            ├─ again, of the same link or another
//!                └────────────┘  give up | park
//! ```

use crate::clock::UnixMs;
use crate::machine::advance::run_note;
use crate::machine::event::{End, Exchange};
use crate::machine::{About, Decision, Effect, ModelPolicy, Next, Outcome, Policy, Rest, State};
use crate::policy::breaker;
use crate::policy::degrade::{self, Failed, Level, Link, Rests, Signal, Step};
use crate::policy::retry;
use crate::policy::taxonomy::Class;

/// What all models count as in the retry budget.
const MODEL: &str = "model";

/// Longest wait that an agent is kept for, in milliseconds, however patient its
/// client is.
const HOLD_MS_MAX: u64 = 300_000;

/// Steps that earn a long run one retry more.
const STEPS_PER_RETRY: u64 = 10;

/// What becomes of the turn.
pub(super) enum After {
    /// It is one.
    Take,
    /// It failed.
    Next(Next),
    /// It failed, and the run waits without its agent.
    Park(Outcome),
}

/// A try of a model call ended.
///
/// - `error`: why, if it failed.
pub(super) fn ended(
    state: &mut State,
    at: UnixMs,
    exchange: &Exchange,
    error: Option<&str>,
    policy: &Policy,
) -> (After, Vec<Effect>) {
    state.counters.tries += 1;
    let chain = &policy.models.chain;
    let Some(link) = chain.get(exchange.link) else {
        return match error {
            Some(_) => (After::Next(Next::GiveUp), vec![]),
            None => (After::Take, vec![]),
        };
    };
    match error {
        Some(error) => failed(state, at, exchange, link, error, policy),
        None => (After::Take, took(state, at, exchange, link)),
    }
}

/// The agent gets an answer.
fn took(state: &mut State, at: UnixMs, exchange: &Exchange, link: &Link) -> Vec<Effect> {
    let judged = &exchange.judged;
    let mut effects = vec![Effect::Breaker {
        name: exchange.breaker.clone(),
        outcome: breaker::Outcome::Up,
    }];
    if judged.class != Class::Success {
        let mut note = note(state, exchange, link, "pass_on");
        note.otherwise = "the agent would have got no answer at all".into();
        effects.push(Effect::Note(note));
    }
    *state.counters.classes.entry(judged.class).or_default() += 1;
    state.counters.retried_to_success += u64::from(exchange.attempt > 1);
    state.down = None;
    state.models.rests.retain(|(place, model), _| {
        *place != exchange.link || model.as_ref().is_some_and(|it| *it != exchange.model)
    });
    let before = std::mem::replace(&mut state.models.link, exchange.link);
    if before == exchange.link {
        return effects;
    }
    let mut moved = run_note(state, "", "", "");
    moved.about = About::Turn;
    if link.level == Level::Primary {
        moved.action = "recover".into();
        moved.rule = "degrade.recovered".into();
        moved.why = format!("`{}` answers again", link.name);
        state.models.why = None;
        state.models.name = None;
    } else {
        moved.action = "degrade".into();
        moved.rule = format!("degrade.{}", link.level.name());
        let why = state.models.why.clone();
        let is_resting = !resting(state, at).is_empty();
        let why = why
            .filter(|_| is_resting)
            .unwrap_or_else(|| match is_resting {
                true => "the links before it rest".to_owned(),
                false => Signal::Budget.row().sentence.to_owned(),
            });
        moved.why = format!(
            "`{}` answers in the place of the first model: {why}",
            link.name
        );
        moved.otherwise = "the agent would have had no answer".into();
        state.models.why = Some(why);
        state.models.name = Some(link.name.clone());
    }
    moved.evidence = resting(state, at);
    effects.push(Effect::Note(moved));
    effects
}

fn failed(
    state: &mut State,
    at: UnixMs,
    exchange: &Exchange,
    link: &Link,
    error: &str,
    policy: &Policy,
) -> (After, Vec<Effect>) {
    let chain = &policy.models.chain;
    let signal = match exchange.end {
        End::Begun | End::HungUp => Signal::Cut,
        End::Unseen | End::Unsent => degrade::signal(&Failed {
            class: exchange.judged.class,
            rule: &exchange.judged.rule,
            words: error,
            status: exchange.status,
            hint_ms: exchange.judged.retry_after_ms,
            level: link.level,
        }),
    };
    let retry = retry::decide(
        &policy.models.retry,
        &budget(state, policy),
        &state.retries,
        &retry::Failure {
            tool: MODEL,
            attempt: exchange.attempt,
            waited_ms: exchange.waited_ms,
            hint_ms: exchange.judged.retry_after_ms,
            left_ms: state.left_ms(at),
            unit: f64::from(exchange.draw) / (f64::from(u32::MAX) + 1.0),
        },
    );
    let is_out =
        |place| exchange.out.contains(&place) || state.models.rests(place, None, at).is_some();
    let step = degrade::decide(
        chain,
        exchange.link,
        signal,
        exchange.attempt,
        &retry,
        is_out,
    );
    let row = signal.row();
    let mut effects = Vec::new();
    let after = match step {
        Step::Again { delay_ms }
            if delay_ms > exchange.hold_ms.unwrap_or(HOLD_MS_MAX)
                && state.spend.reserved.is_empty() =>
        {
            state.retries.count(MODEL);
            effects.push(Effect::Note(decided(state, exchange, link, "park", signal)));
            let why = format!("`{}`: {}", link.name, exchange.judged.why);
            let until = at.plus(delay_ms);
            After::Park(Outcome::Parked { until, why })
        }
        Step::Again { delay_ms } => {
            let mut note = decided(state, exchange, link, "retry", signal);
            note.otherwise = "the agent would have seen a failure that passes by itself".into();
            effects.push(Effect::Note(note));
            state.retries.count(MODEL);
            state.counters.retries += 1;
            state.counters.retry_wait_ms += delay_ms;
            let link = None;
            After::Next(Next::Again { delay_ms, link })
        }
        Step::Leave { to } => {
            let mut note = decided(state, exchange, link, "fall_back", signal);
            note.otherwise = "the agent would have seen the failure".into();
            note.evidence = format!("{}; next: `{}`", note.evidence, chain[to].name);
            effects.push(Effect::Note(note));
            rest(state, at, exchange, row.rests, &policy.models);
            state.models.why = Some(row.sentence.to_owned());
            state.retries.count(MODEL);
            let link = Some(to);
            After::Next(Next::Again { delay_ms: 0, link })
        }
        Step::Conclude => {
            effects.push(Effect::Note(decided(
                state, exchange, link, "give_up", signal,
            )));
            let is_ours = matches!(signal, Signal::Request | Signal::Refusal | Signal::Unfit);
            if !is_ours && exchange.end != End::HungUp {
                state.down = Some((link.name.clone(), error.to_owned()));
            }
            After::Next(Next::GiveUp)
        }
    };
    let is_again = matches!(step, Step::Again { .. });
    let outcome = match signal.is_strike() {
        _ if exchange.end == End::HungUp => Some(breaker::Outcome::Released),
        true if is_again => Some(breaker::Outcome::TryFailed),
        true => Some(breaker::Outcome::CallFailed {
            error: error.chars().take(300).collect(),
        }),
        // A wrong request was understood.
        false if matches!(signal, Signal::Request | Signal::Refusal) => Some(breaker::Outcome::Up),
        // Limits have their own rest.
        false => Some(breaker::Outcome::Released),
    };
    effects.extend(outcome.map(|outcome| Effect::Breaker {
        name: exchange.breaker.clone(),
        outcome,
    }));
    if !is_again {
        *state
            .counters
            .classes
            .entry(exchange.judged.class)
            .or_default() += 1;
    }
    (after, effects)
}

/// A reservation whose call did not go out: it says nothing of the model.
pub(super) fn released(exchange: &Exchange) -> Effect {
    Effect::Breaker {
        name: exchange.breaker.clone(),
        outcome: breaker::Outcome::Released,
    }
}

/// A run of thousands of turns meets more that passes than one of ten.
fn budget(state: &State, policy: &Policy) -> retry::Budget {
    let earned = u32::try_from(state.step.0 / STEPS_PER_RETRY).unwrap_or(u32::MAX);
    let run = policy.retry_budget.run.saturating_add(earned);
    retry::Budget { run, tool: run }
}

/// Leaves a link, or all of its provider, alone for a while.
fn rest(state: &mut State, at: UnixMs, exchange: &Exchange, rests: Rests, models: &ModelPolicy) {
    let chain = &models.chain;
    let from = &chain[exchange.link];
    let rested: Vec<(usize, Option<String>)> = match rests {
        Rests::Nothing => vec![],
        Rests::Model => vec![(exchange.link, Some(exchange.model.clone()))],
        Rests::Provider => (0..chain.len())
            .filter(|place| chain[*place].provider == from.provider)
            .map(|place| (place, None))
            .collect(),
    };
    for what in rested {
        let times = state.models.rests.get(&what).map_or(0, |rest| rest.times);
        let ms = degrade::rest_ms(&models.rest, times, exchange.judged.retry_after_ms);
        let rest = Rest {
            until: at.plus(ms),
            times: times.saturating_add(1),
        };
        state.models.rests.insert(what, rest);
    }
}

fn resting(state: &State, at: UnixMs) -> String {
    let rests = state
        .models
        .rests
        .iter()
        .filter(|(_, rest)| at < rest.until);
    let rests: Vec<String> = rests
        .map(|((place, _), _)| (place + 1).to_string())
        .collect();
    match rests.is_empty() {
        true => String::new(),
        false => format!("resting links: {}", rests.join(", ")),
    }
}

fn decided(
    state: &State,
    exchange: &Exchange,
    link: &Link,
    action: &str,
    signal: Signal,
) -> Decision {
    let mut note = note(state, exchange, link, action);
    note.why = format!("{}; {}", note.why, signal.row().sentence);
    note.rule = format!("{} > degrade.{}", note.rule, signal.name());
    note
}

fn note(state: &State, exchange: &Exchange, link: &Link, action: &str) -> Decision {
    let judged = &exchange.judged;
    let mut note = run_note(state, action, &judged.rule, &judged.why);
    note.about = About::Turn;
    note.class = Some(judged.class);
    let status = match exchange.status {
        0 => String::new(),
        status => format!("HTTP {status}, "),
    };
    note.evidence = format!(
        "`{}`, try {}: {status}{}",
        link.name, exchange.attempt, judged.evidence
    );
    note
}
