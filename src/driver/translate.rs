//! Between what the loop says and what the machine understands.
//!
//! Requests become events, answers become frames. Prices are applied here, so
//! that the machine sees money only.

use crate::channel::frame::{self, Param};
use crate::channel::method::{
    self, Briefing, Cause, Count, Deadline, Input, ReservationNo, ReserveAnswer, Said, ToolAnswer,
    ToolInfo, TurnAnswer, Unfinished, Verbatim, Window,
};
use crate::clock::UnixMs;
use crate::driver::facts::read_breaker;
use crate::driver::prices::{Rate, Tokens};
use crate::driver::session::Beside;
use crate::ids::RunId;
use crate::machine::event::{RequestNo, Turn};
use crate::machine::{self, State, Verdict};
use crate::money::NanoUsd;
use crate::policy::breaker;
use crate::policy::budget::{Resource, Spend, Usage};
use crate::store::conversation::{self, Head};
use crate::store::{self, Store};
use crate::task::resolved::{Effect, Resolved};

/// Smallest share of the asked output tokens that a call is shrunk to, in
/// percent; below that it is refused.
const SHRINK_PERCENT_MIN: u64 = 10;

/// Makes the event of a reported turn, with the messages to store beside it.
///
/// Errors: a model without a price while money is limited; the number of the
/// step, where the loop gives one that cannot be.
pub fn turn(
    request: RequestNo,
    said: method::Turn,
    task: &Resolved,
    state: &State,
) -> Result<(Turn, Beside), frame::Error> {
    let expected = state.step.next();
    if let Some(found) = said.step.filter(|step| *step != expected) {
        return Err(frame::Error::WrongStep { expected, found });
    }
    let usage = said.usage.unwrap_or_default();
    let mut cost = match (cost_of(&usage, task, state), &said.wire) {
        (Ok(cost), _) => cost,
        // The answer is paid already; what cannot be priced costs what was held
        // back for it.
        (Err(_), Some(_)) => NanoUsd(0),
        (Err(error), None) => return Err(error),
    };
    let tokens = [
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
    ];
    let mut tokens = tokens.into_iter().flatten().fold(0, u64::saturating_add);
    // Never less than it may have been.
    let is_unpriced = cost_of(&usage, task, state).is_err();
    if said
        .wire
        .as_ref()
        .is_some_and(|wire| wire.is_in_doubt || is_unpriced)
        && let Some(held) = said
            .reservation
            .and_then(|reservation| state.spend.reserved.get(&reservation.0))
    {
        cost = cost.max(held.cost);
        tokens = tokens.max(held.tokens);
    }
    let head = head_of(state);
    let (tip, messages, rewritten) = match &said.said {
        Said::Nothing => (head, vec![], false),
        Said::New(bodies) => {
            let (tip, messages) = conversation::extend(head, &texts(bodies));
            (tip, messages, false)
        }
        Said::History(bodies) => {
            let replaced = conversation::replace(head, &texts(bodies));
            (replaced.head, replaced.messages, replaced.rewritten)
        }
    };
    let turn = Turn {
        request,
        head: (tip != Head::EMPTY).then(|| tip.to_string()),
        added: messages.len() as u64,
        rewritten,
        usage: Usage { tokens, cost },
        model: usage.model,
        reservation: said.reservation.map(|reservation| reservation.0),
        error: said.error,
        done: said.done,
        result: said
            .result
            .and_then(|result| serde_json::from_str(result.get()).ok()),
        from_wire: said.wire.is_some(),
        reply: None,
    };
    Ok((
        turn,
        Beside {
            messages,
            head: Some(tip),
        },
    ))
}

/// Bounds a model call: its worst case and the output tokens it may ask for, when
/// `spend` was used.
///
/// A call that does not fit is shrunk to what fits, as long as a tenth of the
/// asked output is left; else its worst case is returned as it is, and the
/// machine refuses it.
pub fn worst_case(
    asked: &method::Reserve,
    task: &Resolved,
    state: &State,
    spend: &Spend,
) -> Result<(Usage, u64), frame::Error> {
    if let Some(cost) = asked.cost_nano_usd {
        let tokens = asked.input_tokens.saturating_add(asked.max_tokens);
        return Ok((
            Usage {
                tokens,
                cost: NanoUsd(cost),
            },
            asked.max_tokens,
        ));
    }
    let price = match &asked.model {
        Some(model) => rate_of(model, task, state, "reserve", "model")?,
        None if state.limits.cost.is_some() => return Err(no_model("reserve", "model")),
        None => None,
    };
    let worst = |max_tokens: u64| Usage {
        tokens: asked.input_tokens.saturating_add(max_tokens),
        cost: price.as_ref().map_or(NanoUsd(0), |price| {
            price.worst(asked.input_tokens, max_tokens)
        }),
    };
    let fits = |max_tokens| spend.next_call(&state.limits, &worst(max_tokens)).is_none();
    let fitting = shrink(asked.max_tokens, asked.least_tokens, fits).unwrap_or(asked.max_tokens);
    Ok((worst(fitting), fitting))
}

/// Returns the most output tokens that fit, if enough do. `fits` is monotone.
fn shrink(asked: u64, least: u64, fits: impl Fn(u64) -> bool) -> Option<u64> {
    let tenth = asked.div_ceil(100 / SHRINK_PERCENT_MIN);
    let least = least.max(tenth).clamp(1, asked.max(1));
    if fits(asked) {
        return Some(asked);
    }
    if !fits(least) {
        return None;
    }
    let (mut low, mut high) = (least, asked);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

fn cost_of(usage: &method::Usage, task: &Resolved, state: &State) -> Result<NanoUsd, frame::Error> {
    if let Some(cost) = usage.cost_nano_usd {
        return Ok(NanoUsd(cost));
    }
    let counts = [
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
    ];
    if counts.iter().all(|count| count.unwrap_or(0) == 0) {
        return Ok(NanoUsd(0));
    }
    let price = match &usage.model {
        Some(model) => rate_of(model, task, state, "turn", "usage.model")?,
        None if state.limits.cost.is_some() => return Err(no_model("turn", "usage.model")),
        None => None,
    };
    let Some(price) = price else {
        return Ok(NanoUsd(0));
    };
    let [input, output, cached, cache_write] = counts.map(|count| count.unwrap_or(0));
    Ok(price.cost(&Tokens {
        input,
        output,
        cached,
        cache_write,
    }))
}

/// Returns the rate of `model`; `None` where none is known and none is needed.
fn rate_of<'a>(
    model: &'a str,
    task: &'a Resolved,
    state: &State,
    method: &'static str,
    field: &str,
) -> Result<Option<Rate<'a>>, frame::Error> {
    let rate = Rate::of(model, task);
    if rate.is_none() && state.limits.cost.is_some() {
        let model: String = model.chars().take(80).collect();
        return Err(Box::new(Param {
            method,
            field: field.to_owned(),
            expected: "a model with a price, or cost_usd beside it".into(),
            found: format!("`{model}`, which has no price"),
            fix: Some(format!(
                "add `prices: {{{model}: {{input: …, output: …}}}}` (USD per million tokens) to \
                 the task file"
            )),
            meant: None,
        })
        .into());
    }
    Ok(rate)
}

fn no_model(method: &'static str, field: &str) -> frame::Error {
    Box::new(Param {
        method,
        field: field.to_owned(),
        expected: "the model that was called, because the task limits cost_usd".into(),
        found: "nothing".into(),
        fix: Some("name the model, or send cost_usd".into()),
        meant: None,
    })
    .into()
}

/// Returns the tip of the run's conversation.
pub fn head_of(state: &State) -> Head {
    state
        .head
        .as_deref()
        .and_then(|head| head.parse().ok())
        .unwrap_or(Head::EMPTY)
}

fn texts(bodies: &[Verbatim]) -> Vec<&str> {
    bodies.iter().map(Verbatim::get).collect()
}

/// Says where the run stands.
///
/// Errors: the store's.
pub fn briefing(
    run: &RunId,
    task: &Resolved,
    state: &State,
    store: &dyn Store,
    now: UnixMs,
    standing: &Standing,
    window: Window,
) -> store::Result<Briefing> {
    Ok(Briefing {
        protocol: method::PROTOCOL,
        run_id: run.clone(),
        attempt: state.attempt,
        step: state.step,
        cause: match standing.cause {
            machine::Cause::Fresh => Cause::Fresh,
            machine::Cause::Verbatim => Cause::Verbatim,
            machine::Cause::Reflection => Cause::Reflection,
        },
        note: standing.note.clone(),
        messages: messages(store, head_of(state), window)?,
        input: standing.input.clone(),
        tools: tools(task, store, now)?,
        limits: limits(state, now),
        unfinished: state
            .done_in_step
            .iter()
            .filter(|done| done.unclaimed)
            .map(|done| Unfinished {
                call: done.call,
                tool: done.tool.clone(),
                args: Verbatim::from_value(&done.args),
                content: done.content.text.clone(),
                is_error: done.content.is_error,
            })
            .collect(),
    })
}

/// What stays the same within an attempt.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Why the agent was started.
    pub cause: machine::Cause,
    /// What it is told about the attempt before.
    pub note: Option<String>,
    /// The run's input.
    pub input: Input,
}

fn messages(store: &dyn Store, head: Head, window: Window) -> store::Result<Vec<Verbatim>> {
    let keep = match window {
        Window::None => return Ok(vec![]),
        Window::All => usize::MAX,
        Window::Last(count) => usize::try_from(count).unwrap_or(usize::MAX),
    };
    if head == Head::EMPTY {
        return Ok(vec![]);
    }
    let bodies = store.conversation(&head)?;
    let skip = bodies.len().saturating_sub(keep);
    Ok(bodies
        .into_iter()
        .skip(skip)
        .filter_map(|body| Verbatim::from_text(&body).ok())
        .collect())
}

/// Returns the tools and whether each can be called now.
fn tools(task: &Resolved, store: &dyn Store, now: UnixMs) -> store::Result<Vec<ToolInfo>> {
    let breakers = if task.tools.is_empty() {
        vec![]
    } else {
        store.breakers()?
    };
    let down = |name: &str| {
        let name = crate::driver::facts::breaker_name(name);
        let row = breakers.iter().find(|row| row.name == name)?;
        let breaker: breaker::Breaker = read_breaker(&row.state)?;
        Some((breaker.refuses(now)?, breaker.last_error))
    };
    let info = |(name, tool): (&String, &crate::task::resolved::Tool)| {
        let down = down(name).filter(|_| tool.breaker.is_some());
        ToolInfo {
            name: name.clone(),
            description: tool.description.clone(),
            input_schema: tool
                .input
                .clone()
                .unwrap_or_else(|| serde_json::json!({"type": "object"})),
            effect: match tool.effect {
                Effect::Read => "read",
                Effect::Write => "write",
                Effect::Irreversible => "irreversible",
            }
            .to_owned(),
            available: down.is_none(),
            unavailable: down.as_ref().map(|(back_at, error)| {
                machine::unavailable_text(name, *back_at, error.as_deref())
            }),
            back_at: down.map(|(back_at, _)| back_at),
        }
    };
    Ok(task.tools.iter().map(info).collect())
}

/// Returns what is left of the limits.
pub fn limits(state: &State, now: UnixMs) -> method::Limits {
    let count = |resource| {
        let limit = state.limits.of(resource)?;
        let used = state.spend.of(resource);
        Some(Count {
            limit,
            used,
            left: limit.saturating_sub(used),
        })
    };
    method::Limits {
        cost_usd: count(Resource::CostUsd).map(|Count { limit, used, left }| method::Money {
            limit_nano_usd: limit,
            used_nano_usd: used,
            left_nano_usd: left,
        }),
        tokens: count(Resource::Tokens),
        steps: count(Resource::Steps),
        tool_calls: count(Resource::ToolCalls),
        deadline: state.left_ms(now).map(|left_ms| Deadline {
            at: now.plus(left_ms),
            left_ms,
        }),
    }
}

/// Puts an answer of the machine into a frame.
pub fn answer(
    answer: machine::Answer,
    state: &State,
    now: UnixMs,
) -> Result<method::Answer, frame::Error> {
    Ok(match answer {
        machine::Answer::Standing => {
            let what = "a standing without a briefing".into();
            return Err(frame::Error::Internal { what });
        }
        machine::Answer::Turn {
            step,
            verdict,
            warnings,
        } => method::Answer::Turn(TurnAnswer {
            step,
            verdict: self::verdict(verdict),
            limits: limits(state, now),
            warnings,
        }),
        machine::Answer::Reserved {
            reservation,
            max_tokens,
            steer,
        } => {
            let reservation = ReservationNo(reservation);
            method::Answer::Reserve(ReserveAnswer::Go {
                reservation,
                max_tokens,
                steer,
            })
        }
        machine::Answer::Tool {
            call,
            content,
            class,
            verdict,
        } => {
            let json = serde_json::from_str::<serde_json::Value>(&content.text)
                .ok()
                .filter(|_| !content.truncated)
                .map(|_| Verbatim::from_text(content.text.trim()));
            method::Answer::Tool(Box::new(ToolAnswer {
                call,
                json: json.and_then(Result::ok),
                is_error: content.is_error,
                class: class.name().to_owned(),
                output_path: content.path,
                truncated: content.truncated,
                verdict: self::verdict(verdict),
                content: content.text,
            }))
        }
        machine::Answer::Reported {
            call,
            class,
            verdict,
        } => method::Answer::Report(method::ReportAnswer {
            call,
            class: class.name().to_owned(),
            verdict: self::verdict(verdict),
        }),
        machine::Answer::Stopping { reason, exit_code } => {
            return Err(frame::Error::Stopping { reason, exit_code });
        }
    })
}

fn verdict(verdict: Verdict) -> method::Verdict {
    match verdict {
        Verdict::Go => method::Verdict::Go,
        Verdict::Steer { text } => method::Verdict::Steer { text, reason: None },
        Verdict::Stop { reason, exit_code } => method::Verdict::Stop {
            reason,
            exit_code,
            text: None,
        },
    }
}
