//! Between what the loop says and what the machine understands.
//!
//! Requests become events, answers become frames. Prices are applied here, so
//! that the machine sees money only.

use std::collections::BTreeSet;

use crate::channel::frame::{self, Param};
use crate::channel::method::{
    self, Briefing, Cause, Count, Deadline, Input, LentAnswer, ReservationNo, ReserveAnswer, Said,
    ToolAnswer, ToolInfo, TurnAnswer, Unfinished, Verbatim, Window,
};
use crate::clock::UnixMs;
use crate::driver::conversations::Base;
use crate::driver::facts::read_breaker;
use crate::driver::prices::{self, Rate, Tokens, Unpriced};
use crate::driver::session::Beside;
use crate::ids::{ConversationNo, RunId};
use crate::machine::batch::{BatchAnswer, Item, Progress, Status, count};
use crate::machine::escalation::{Ask, Choice, Ruling, Source, key_of};
use crate::machine::event::{Content, RequestNo, Turn};
use crate::machine::{self, State, Verdict};
use crate::money::NanoUsd;
use crate::policy::breaker;
use crate::policy::budget::{Resource, Spend, Usage};
use crate::policy::escalation::Kind;
use crate::store::conversation::{self, Head};
use crate::store::{self, Store};
use crate::task::resolved::{Action, Body, Effect, NativeKey, Resolved, Tool};
use crate::task::template::Template;
use crate::tools::Job;

/// Fewest output tokens that a call is shrunk to, unless it asks for fewer; below
/// that it is refused. Agents ask for many times what they use.
const SHRUNK_TOKENS_MIN: u64 = 1_024;

/// How long a lent tool may take whose settings are gone, in milliseconds.
const TOOL_TIMEOUT_MS: u64 = 60_000;

/// Makes the event of a reported turn, with the messages to store beside it.
///
/// - `base`: what its messages are put behind, where the gateway saw it.
///
/// Errors: a model without a price while money is limited; the number of the
/// step, where the loop gives one that cannot be.
pub(super) fn turn(
    request: RequestNo,
    said: method::Turn,
    task: &Resolved,
    state: &State,
    base: Option<Base>,
) -> Result<(Turn, Beside), frame::Error> {
    let expected = state.step.next();
    if let Some(found) = said.step.filter(|step| *step != expected) {
        return Err(frame::Error::WrongStep { expected, found });
    }
    let usage = said.usage.unwrap_or_default();
    let (mut cost, is_unpriced) = match (cost_of(&usage, task, state), &said.wire) {
        (Ok(cost), _) => (cost, false),
        // The answer is paid already; what cannot be priced costs what was held
        // back for it.
        (Err(_), Some(_)) => (NanoUsd(0), true),
        (Err(error), None) => return Err(error),
    };
    let mut tokens = tokens_of(&usage);
    // Never less than it may have been.
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
    let place = base.as_ref().map(|base| base.conversation);
    let place = place.unwrap_or_else(|| state.main());
    let (tip, messages, rewritten) = match (&said.said, &base) {
        (Said::Nothing, _) => (tip_of(state, place), vec![], false),
        (Said::New(bodies), Some(base)) => {
            let (tip, messages) = conversation::extend(base.head, &texts(bodies));
            (tip, messages, base.rewritten)
        }
        (Said::New(bodies), None) => {
            let (tip, messages) = conversation::extend(head, &texts(bodies));
            (tip, messages, false)
        }
        (Said::History(bodies), _) => {
            let replaced = conversation::replace(head, &texts(bodies));
            (replaced.head, replaced.messages, replaced.rewritten)
        }
    };
    let turn = Turn {
        request,
        head: (tip != Head::EMPTY).then(|| tip.to_string()),
        added: messages.len() as u64,
        rewritten,
        conversation: place,
        back_to: base
            .filter(|_| matches!(said.said, Said::New(_)))
            .and_then(|base| base.back_to),
        usage: Usage { tokens, cost },
        model: usage.model,
        reservation: said.reservation.map(|reservation| reservation.0),
        error: said.error,
        done: said.done,
        result: said
            .result
            .and_then(|result| serde_json::from_str(result.get()).ok()),
        from_wire: said.wire.is_some(),
        is_quiet: said.wire.as_ref().is_some_and(|wire| wire.is_quiet),
        reply: None,
        exchange: None,
    };
    Ok((
        turn,
        Beside {
            messages,
            head: Some(tip),
            ..Beside::default()
        },
    ))
}

/// Bounds a model call: its worst case and the output tokens it may ask for, when
/// `spend` was used.
///
/// A call that does not fit is shrunk to what fits, as long as enough is left
/// for an answer; else its worst case is returned as it is, and the
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
        Some(model) => rate_of(&[model], &asked.terms, task, state, Asks::Reserve)?,
        None if state.limits.cost.is_some() => return Err(no_model("reserve", "model")),
        None => None,
    };
    let (is_long, model) = (asked.long_cache.is_some(), asked.model.as_deref());
    if let (Some(price), true) = (&price, state.limits.cost.is_some()) {
        let unknown = match &asked.long_cache {
            Some(field) if !price.knows_long_cache() => Some((field.clone(), "a longer cache")),
            _ if price.makes_media() => Some(("model".to_owned(), "more than text")),
            _ => None,
        };
        if let Some((field, what)) = unknown {
            let model = model.unwrap_or_default();
            return Err(unpriced(Asks::Reserve, field, what, model, model));
        }
    }
    let input_tokens = match &asked.unbounded {
        None => asked.input_tokens,
        Some(part) => match model.and_then(prices::window) {
            Some(window) => asked.input_tokens.max(window),
            None => return Err(no_size(part)),
        },
    };
    let worst = |max_tokens: u64| Usage {
        tokens: input_tokens.saturating_add(max_tokens),
        cost: price.as_ref().map_or(NanoUsd(0), |price| {
            price.worst(input_tokens, max_tokens, is_long)
        }),
    };
    let limits = state.call_limits();
    let fits = |worst: &Usage| spend.next_call(&limits, worst).is_none();
    let whole = worst(asked.max_tokens);
    if fits(&whole) {
        return Ok((whole, asked.max_tokens));
    }
    let shrunk = shrink(asked.max_tokens, asked.least_tokens, |tokens| {
        fits(&worst(tokens))
    });
    Ok(match shrunk {
        Some(tokens) => (worst(tokens), tokens),
        None => (whole, asked.max_tokens),
    })
}

/// Returns the most output tokens that fit, if enough do; `asked` do not. `fits` is
/// monotone.
fn shrink(asked: u64, least: u64, fits: impl Fn(u64) -> bool) -> Option<u64> {
    let least = least.max(SHRUNK_TOKENS_MIN).clamp(1, asked.max(1));
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

/// Returns the tokens of a call, those of other models in it too.
fn tokens_of(usage: &method::Usage) -> u64 {
    let others = usage.seen.others.iter().map(tokens_of);
    let own = counts(usage).into_iter();
    own.chain(others).fold(0, u64::saturating_add)
}

/// Returns input, output, cached and written tokens.
fn counts(usage: &method::Usage) -> [u64; 4] {
    let counts = [
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
    ];
    counts.map(|count| count.unwrap_or(0))
}

fn cost_of(usage: &method::Usage, task: &Resolved, state: &State) -> Result<NanoUsd, frame::Error> {
    if let Some(cost) = usage.cost_nano_usd {
        return Ok(NanoUsd(cost));
    }
    let seen = &usage.seen;
    let others = seen.others.iter().try_fold(NanoUsd(0), |sum, other| {
        Ok::<_, frame::Error>(sum.plus(cost_of(other, task, state)?))
    })?;
    let [input, output, cached, written] = counts(usage);
    if [input, output, cached, written, seen.web_searches] == [0; 5] {
        return Ok(others);
    }
    let names: Vec<&str> = [&usage.model, &seen.asked_model]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let price = match names.is_empty() {
        false => rate_of(&names, &seen.terms, task, state, Asks::Turn)?,
        true if state.limits.cost.is_some() => return Err(no_model("turn", "usage.model")),
        true => None,
    };
    let Some(price) = price else {
        return Ok(others);
    };
    let hour_write = seen.hour_write_tokens.min(written);
    let tokens = Tokens {
        input,
        output,
        cached,
        cache_write: written - hour_write,
        hour_write,
    };
    Ok(others.plus(price.cost(&tokens, seen.web_searches)))
}

/// Which request asks for a price.
#[derive(Clone, Copy)]
enum Asks {
    Turn,
    Reserve,
}

impl Asks {
    /// Returns the method, and its field for the model.
    fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::Turn => ("turn", "usage.model"),
            Self::Reserve => ("reserve", "model"),
        }
    }
}

/// Returns the rate of a model by its names; `None` where none is known and none
/// is needed.
fn rate_of<'a>(
    names: &[&'a str],
    terms: &'a method::Terms,
    task: &'a Resolved,
    state: &State,
    asks: Asks,
) -> Result<Option<Rate<'a>>, frame::Error> {
    let why = match Rate::of(names, terms, task) {
        Ok(rate) => return Ok(Some(rate)),
        Err(_) if state.limits.cost.is_none() => return Ok(None),
        Err(why) => why,
    };
    let model = names.last().copied().unwrap_or_default();
    Err(match why {
        Unpriced::Model => {
            let field = asks.place().1.to_owned();
            let found = names.first().copied().unwrap_or_default();
            unpriced(asks, field, found, found, found)
        }
        // A region has no price of its own that could be listed.
        Unpriced::Term { field, word } if field == "inference_geo" => Box::new(Param {
            method: asks.place().0,
            field: field.to_owned(),
            expected: "a region with a price".into(),
            found: format!("`{}`, which has none", clipped(&word)),
            fix: Some("take it out, or ask for `us` or `global`".into()),
            meant: None,
        })
        .into(),
        Unpriced::Term { field, word } => {
            let priced = format!("{model}/{}", word.to_lowercase());
            unpriced(asks, field.to_owned(), &word, model, &priced)
        }
    })
}

/// Says which price is missing, and where it belongs.
///
/// - `found`: what was asked for; `listed`: the name to list a price under.
fn unpriced(asks: Asks, field: String, found: &str, model: &str, listed: &str) -> frame::Error {
    let [found, model, listed] = [found, model, listed].map(clipped);
    let (of, instead) = match field == asks.place().1 && found == model {
        true => (String::new(), String::new()),
        false => (format!(" for {model}"), "take it out, or ".to_owned()),
    };
    Box::new(Param {
        method: asks.place().0,
        field,
        expected: "a model with a price, or cost_usd beside it".into(),
        found: format!("`{found}`, which has no price{of}"),
        fix: Some(format!(
            "{instead}add `prices: {{{}: {{input: …, output: …}}}}` (USD per million tokens) \
             to the task file",
            as_key(&listed)
        )),
        meant: None,
    })
    .into()
}

fn clipped(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A name as a key of YAML: some models' begin with `@`.
fn as_key(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !name.ends_with(':')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./:".contains(c));
    match is_plain {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', "''")),
    }
}

/// Says that nobody knows how large a part of the input is.
fn no_size(part: &str) -> frame::Error {
    Box::new(Param {
        method: "reserve",
        field: clipped(part),
        expected: "content in the request itself, because the task limits cost_usd or tokens"
            .into(),
        found: "input of a size that cannot be known".into(),
        fix: Some("send its text instead, or take the limit out".into()),
        meant: None,
    })
    .into()
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

/// Returns the tip of the run's main conversation.
pub fn head_of(state: &State) -> Head {
    tip_of(state, state.main())
}

/// Returns the tip of a conversation.
fn tip_of(state: &State, conversation: ConversationNo) -> Head {
    let head = state.head_of(conversation);
    head.and_then(|head| head.parse().ok()).unwrap_or_default()
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
        let name = breaker::of_tool(name);
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
                .unwrap_or_else(|| named_by_placeholders(tool)),
            output_schema: tool.output.clone(),
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

/// Returns the schema of a tool that declares none: it takes what its placeholders name.
fn named_by_placeholders(tool: &Tool) -> serde_json::Value {
    let mut templates: Vec<&Template> = tool.key.iter().collect();
    match &tool.action {
        Action::Command { argv, env, .. } => templates.extend(argv.iter().chain(env.0.values())),
        Action::Http {
            url, headers, body, ..
        } => {
            templates.extend([url].into_iter().chain(headers.0.values()));
            if let Body::Text(text) = body {
                templates.push(text);
            }
        }
        Action::Lent => {}
    }
    let steps = templates.into_iter().flat_map(Template::arguments);
    let mut names: BTreeSet<&String> = steps.filter_map(|steps| steps.first()).collect();
    if tool.batch.size.is_some() {
        // Nobody's argument: the calls of a whole batch.
        names.retain(|name| *name != "items");
    }
    if names.is_empty() {
        return serde_json::json!({"type": "object"});
    }
    let any = names
        .iter()
        .map(|name| ((*name).clone(), serde_json::json!({})));
    let properties: serde_json::Map<_, _> = any.collect();
    serde_json::json!({"type": "object", "properties": properties, "required": names})
}

/// Says how a try is to be carried out by whoever asked for it.
pub fn lent(job: &Job, tool: Option<&Tool>) -> LentAnswer {
    let native_key = tool.and_then(|tool| match tool.native_key.as_ref()? {
        NativeKey::Argument(name) => Some(method::NativeKey::Argument(name.clone())),
        NativeKey::Meta(name) => Some(method::NativeKey::Meta(name.clone())),
        NativeKey::Env(_) | NativeKey::Header(_) => None,
    });
    LentAnswer {
        call: job.call,
        attempt: job.attempt,
        timeout_ms: tool.map_or(TOOL_TIMEOUT_MS, |tool| tool.timeout_ms),
        key: job.key.as_ref().map(|key| key.0.clone()),
        native_key,
    }
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
            next,
        } => method::Answer::Turn(TurnAnswer {
            step,
            verdict: self::verdict(verdict),
            limits: limits(state, now),
            warnings,
            next: match next {
                machine::Next::Take => method::Next::Take,
                machine::Next::Again { delay_ms, link } => method::Next::Again { delay_ms, link },
                machine::Next::GiveUp => method::Next::GiveUp,
            },
        }),
        machine::Answer::Reserved {
            reservation,
            max_tokens,
            steer,
            link,
            is_quiet,
        } => {
            let reservation = ReservationNo(reservation);
            method::Answer::Reserve(ReserveAnswer::Go {
                reservation,
                max_tokens,
                steer,
                link,
                is_quiet,
            })
        }
        machine::Answer::Tool {
            call,
            content,
            class,
            verdict,
        } => method::Answer::Tool(Box::new(ToolAnswer {
            call,
            json: as_json(&content),
            is_error: content.is_error,
            class: class.name().to_owned(),
            output_path: content.path,
            truncated: content.truncated,
            verdict: self::verdict(verdict),
            content: content.text,
        })),
        machine::Answer::Batch(answer) => method::Answer::Batch(Box::new(batch(*answer))),
        machine::Answer::Ruled(told) => {
            let machine::escalation::Told {
                escalation,
                ruling,
                label,
                is_recorded,
            } = *told;
            method::Answer::Escalate(Box::new(method::EscalateAnswer {
                content: told_text(&ruling, &label),
                escalation,
                label,
                option: ruling.option,
                note: ruling.note,
                by: ruling.by,
                at: ruling.at,
                source: ruling.source.as_str().to_owned(),
                recorded: is_recorded,
                verdict: method::Verdict::Go,
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

/// Returns what a tool gave as JSON, where all of it is JSON.
fn as_json(content: &Content) -> Option<Verbatim> {
    if content.truncated {
        return None;
    }
    serde_json::from_str::<serde_json::Value>(&content.text).ok()?;
    Verbatim::from_text(content.text.trim()).ok()
}

fn batch(answer: BatchAnswer) -> method::BatchAnswer {
    let count = |status| count(&answer.items, status);
    method::BatchAnswer {
        batch: answer.batch,
        counts: method::BatchCounts {
            items: answer.items.len(),
            succeeded: count(Status::Succeeded),
            queued: count(Status::Queued),
            dead: count(Status::Dead),
            in_doubt: count(Status::InDoubt),
            not_attempted: count(Status::NotAttempted),
        },
        tool: answer.tool,
        policy: answer.want.to_string(),
        met: answer.met,
        items: answer.items.into_iter().filter_map(item).collect(),
        verdict: verdict(answer.verdict),
    }
}

fn item(item: Item) -> Option<method::ItemAnswer> {
    let Progress::Ended(end) = item.progress else {
        return None;
    };
    let failed = end.status != Status::Succeeded;
    let told = |text: String| Some(text).filter(|text| failed && !text.is_empty());
    Some(method::ItemAnswer {
        id: item.id,
        status: end.status.as_str().to_owned(),
        class: end.judged.class.name().to_owned(),
        rule: told(end.judged.rule),
        why: told(end.judged.why),
        evidence: told(end.judged.evidence),
        attempts: item.attempts,
        from_record: end.from_record,
        call: item.call,
        json: as_json(&end.content),
        output_path: end.content.path,
        truncated: end.content.truncated,
        at: end.due,
        content: end.content.text,
    })
}

/// Says what was decided, for the model.
fn told_text(ruling: &Ruling, label: &str) -> String {
    let option = &ruling.option;
    let chosen = match label == option {
        true => format!("`{option}`"),
        false => format!("`{option}` ({label})"),
    };
    let text = match ruling.source {
        Source::Deadline => format!("Nobody answered in time; the default stands: {chosen}."),
        _ => format!("{} chose {chosen}.", ruling.by),
    };
    match &ruling.note {
        Some(note) => format!("{text} {note}"),
        None => text,
    }
}

/// Makes the question that a loop asks.
pub fn ask(asked: method::Escalate) -> Ask {
    let kind = Kind::OF_AGENTS
        .into_iter()
        .find(|kind| Some(kind.as_str()) == asked.kind.as_deref());
    let mut parts = vec!["agent", &asked.question];
    parts.extend(asked.options.iter().map(|(id, _)| id.as_str()));
    let key = key_of(&parts);
    Ask {
        kind: kind.unwrap_or(Kind::Agent),
        key,
        question: asked.question,
        recommendation: asked.recommendation,
        evidence: asked.evidence.unwrap_or_default(),
        decision: asked.decision.unwrap_or_default(),
        options: asked
            .options
            .into_iter()
            .map(|(id, label)| Choice { id, label })
            .collect(),
        default: asked.default,
        reversible: asked.reversible.unwrap_or(true),
        cost: asked.cost_nano_usd.map(NanoUsd),
        confidence: asked.confidence,
        deadline_ms: asked.deadline_ms,
        call: None,
    }
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
