//! Replies of OpenAI Chat Completions and everything compatible.

use serde_json::Value;

use super::super::super::api::Api;
use super::super::super::reply::Stop;
use super::super::super::usage::Usage;
use super::super::out::{Out, object};
use super::super::{Error, fault, fit_id, refuse};
use super::form::{
    Answer, Item, Key, Kind, Mark, Then, foreign, index, input_tokens, list, text, written_tokens,
};

/// Index of texts in the answer, which have none of their own; calls have the
/// one they come with. The second index tells apart what shares the first.
const TEXT: u64 = u64::MAX;

/// The model's own reasoning, as servers other than OpenAI's show it.
const REASONING: &[&str] = &["reasoning", "reasoning_content"];
/// Lists and objects of a message that are read, or dropped with the reasoning
/// and the sources.
const KNOWN: &[&str] = &[
    "annotations",
    "provider_specific_fields",
    "reasoning_details",
    "thinking_blocks",
    "tool_calls",
];

pub(super) fn read(event: &Value, answer: &mut Answer) -> Result<Then, Error> {
    answer.opening(event, "created");
    // Only the first answer was asked for.
    let is_first = |choice: &&Value| index(choice, "index") == 0;
    let (mut is_shown, mut is_thinking) = (false, false);
    for choice in list(event, "choices").iter().filter(is_first) {
        let delta = choice.get("delta").unwrap_or(&Value::Null);
        is_shown |= grow(delta, answer)?;
        is_thinking |= REASONING.iter().any(|name| !text(delta, name).is_empty());
        stopped(choice, answer);
    }
    answer.used(Api::Chat, event.get("usage"));
    let is_quiet = is_thinking && !is_shown;
    Ok(if is_quiet { Then::Quiet } else { Then::Go })
}

/// Takes a message, or what it grows by; reports whether any of it is shown.
fn grow(message: &Value, answer: &mut Answer) -> Result<bool, Error> {
    let Value::Object(fields) = message else {
        return Ok(false);
    };
    let mut is_shown = false;
    // The order in which they belong, whatever the order of the fields.
    for (name, kind) in [("content", Kind::Text), ("refusal", Kind::Refusal)] {
        match fields.get(name) {
            Some(Value::String(piece)) if !piece.is_empty() => {
                say(kind, piece, answer)?;
                is_shown = true;
            }
            None | Some(Value::Null | Value::String(_)) => {}
            Some(_) => return Err(foreign(name)),
        }
    }
    for call in fields
        .get("tool_calls")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        take_call(call, answer)?;
        is_shown = true;
    }
    // Plain words and numbers of other servers say nothing of the answer.
    let is_part = |value: &Value| match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    };
    let is_odd =
        |(name, value): &(&String, &Value)| !KNOWN.contains(&name.as_str()) && is_part(value);
    match fields.iter().find(is_odd) {
        Some((name, _)) => Err(foreign(name)),
        None => Ok(is_shown),
    }
}

/// Adds to the text that is being said, or begins another.
fn say(kind: Kind, piece: &str, answer: &mut Answer) -> Result<(), Error> {
    let last = answer
        .items
        .last()
        .filter(|item| item.kind == kind && !item.is_closed);
    let key = match last {
        Some(item) => item.key,
        None => {
            let key = (TEXT, answer.items.len() as u64);
            answer.close_last();
            answer.open(key, kind)?;
            key
        }
    };
    answer.piece(key, piece)
}

/// Takes a call, or what it grows by.
fn take_call(call: &Value, answer: &mut Answer) -> Result<(), Error> {
    if !matches!(text(call, "type"), "" | "function") {
        return Err(foreign(text(call, "type")));
    }
    let (at, id) = (index(call, "index"), text(call, "id"));
    let function = call.get("function").unwrap_or(&Value::Null);
    let name = text(function, "name");
    // Some servers number every call 0; a new id is a new call.
    let is_same = |item: &&Item| match &item.kind {
        Kind::Call { id: known, .. } => item.key.0 == at && (id.is_empty() || known == id),
        Kind::Text | Kind::Refusal => false,
    };
    let key: Key = match answer.items.iter().rfind(is_same) {
        // The name was told when the call began.
        Some(item) if !name.is_empty() && !item.is_named(name) => {
            return Err(refuse("a reply with a call that changes its name"));
        }
        Some(item) => item.key,
        None => {
            let key = (at, answer.items.len() as u64);
            let (id, name) = (id.to_owned(), name.to_owned());
            answer.close_last();
            answer.open(key, Kind::Call { id, name })?;
            key
        }
    };
    answer.piece(key, text(function, "arguments"))
}

fn stopped(choice: &Value, answer: &mut Answer) {
    let stop = match text(choice, "finish_reason") {
        "" => return,
        "length" => Stop::Length,
        "content_filter" => Stop::Refusal("content_filter".to_owned()),
        _ => Stop::End,
    };
    answer.stopped(stop);
    answer.close_all();
}

/// Reads a whole completion.
pub(super) fn read_whole(tree: &Value, answer: &mut Answer) -> Result<(), Error> {
    answer.opening(tree, "created");
    if let Some(choice) = list(tree, "choices").first() {
        // Calls of a whole message have no numbers, and may have no ids.
        let mut message = choice.get("message").cloned().unwrap_or_default();
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        for (at, call) in calls.into_iter().flatten().enumerate() {
            if let Value::Object(fields) = call {
                fields.insert("index".to_owned(), at.into());
            }
        }
        grow(&message, answer)?;
        stopped(choice, answer);
    }
    answer.used(Api::Chat, tree.get("usage"));
    Ok(())
}

/// Writes a whole completion.
pub(super) fn write_whole(answer: &Answer) -> Out<'_> {
    let calls = answer.items.iter().filter_map(|item| match &item.kind {
        Kind::Call { id, name } => Some(write_call(None, id, name, &item.text)),
        Kind::Text | Kind::Refusal => None,
    });
    let calls: Vec<Out> = calls.collect();
    let message = object! {
        "role": "assistant",
        "content": answer.said(&Kind::Text),
        "refusal": answer.said(&Kind::Refusal),
    }
    .with("tool_calls", (!calls.is_empty()).then_some(calls));
    let choice = object! {
        "index": 0,
        "message": message,
        "logprobs": Out::Null,
        "finish_reason": finish_reason(answer),
    };
    head(answer, "chat.completion", vec![choice]).with("usage", answer.usage.as_ref().map(usage))
}

fn head<'b>(answer: &'b Answer, object: &'static str, choices: Vec<Out<'b>>) -> Out<'b> {
    object! {
        "id": &answer.id,
        "object": object,
        "created": answer.created,
        "model": &answer.model,
        "choices": choices,
    }
}

/// Writes a call; `index` stands in streams alone.
fn write_call<'b>(index: Option<u64>, id: &str, name: &'b str, arguments: &'b str) -> Out<'b> {
    let function = object! {"name": name, "arguments": arguments};
    object! {}
        .with("index", index)
        .with("id", Some(fit_id(Api::Chat, id)))
        .with("type", Some("function"))
        .with("function", Some(function))
}

fn finish_reason(answer: &Answer) -> &'static str {
    match answer.stop() {
        Stop::ToolUse => "tool_calls",
        Stop::Length => "length",
        Stop::Refusal(_) if !answer.has_refusal() => "content_filter",
        _ => "stop",
    }
}

/// Writes usage; the input is with what went through the cache.
fn usage(usage: &Usage) -> Out<'static> {
    let input = input_tokens(usage);
    object! {
        "prompt_tokens": input,
        "completion_tokens": usage.output,
        "total_tokens": input.saturating_add(usage.output),
        "prompt_tokens_details": object! {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": written_tokens(usage),
        },
        "completion_tokens_details": object! {"reasoning_tokens": usage.reasoning},
    }
}

/// Writes the chunks of a mark.
pub(super) fn write(mark: Mark<'_>, answer: &Answer) -> String {
    match mark {
        Mark::Start => {
            let delta = object! {"role": "assistant", "content": "", "refusal": Out::Null};
            chunk(answer, delta, None)
        }
        Mark::Open(at) => match &answer.items[at].kind {
            Kind::Text | Kind::Refusal => String::new(),
            Kind::Call { id, name } => {
                let call = write_call(Some(call_index(answer, at)), id, name, "");
                chunk(answer, object! {"tool_calls": vec![call]}, None)
            }
        },
        Mark::Piece(at, piece) => {
            let delta = match &answer.items[at].kind {
                Kind::Text => object! {"content": piece},
                Kind::Refusal => object! {"refusal": piece},
                Kind::Call { .. } => {
                    let function = object! {"arguments": piece};
                    let call = object! {"index": call_index(answer, at), "function": function};
                    object! {"tool_calls": vec![call]}
                }
            };
            chunk(answer, delta, None)
        }
        Mark::Close(_) => String::new(),
        Mark::End => {
            let mut out = chunk(answer, object! {}, Some(finish_reason(answer)));
            if let Some(used) = &answer.usage {
                let extra = head(answer, "chat.completion.chunk", Vec::new());
                out.push_str(&data(&extra.with("usage", Some(usage(used)))));
            }
            out + "data: [DONE]\n\n"
        }
        Mark::Fail(fault) => data(&fault::written(Api::Chat, fault)),
    }
}

fn chunk<'b>(answer: &'b Answer, delta: Out<'b>, finish_reason: Option<&'b str>) -> String {
    let choice = object! {
        "index": 0,
        "delta": delta,
        "logprobs": Out::Null,
        "finish_reason": finish_reason,
    };
    data(&head(answer, "chat.completion.chunk", vec![choice]))
}

fn data(value: &Out<'_>) -> String {
    format!("data: {}\n\n", value.print())
}

/// Returns the place of a call among the calls.
fn call_index(answer: &Answer, at: usize) -> u64 {
    answer.items[..at]
        .iter()
        .filter(|item| item.is_call())
        .count() as u64
}
