//! Replies of Anthropic Messages.

use serde_json::Value;
use serde_json::value::RawValue;

use super::super::super::api::Api;
use super::super::super::json::{Fields, items};
use super::super::super::reply::Stop;
use super::super::super::usage::Usage;
use super::super::out::{Out, object};
use super::super::{Error, fault, fit_id, refuse};
use super::form::{
    Answer, Item, Key, Kind, Mark, Then, foreign, index, list, text, written_tokens,
};

pub(super) fn read(event: &Value, answer: &mut Answer) -> Result<Then, Error> {
    let key = (index(event, "index"), 0);
    match text(event, "type") {
        "message_start" => {
            let message = event.get("message").unwrap_or(&Value::Null);
            answer.opening(message, "created");
            answer.used(Api::Messages, message.get("usage"));
        }
        "content_block_start" => {
            let block = event.get("content_block").unwrap_or(&Value::Null);
            if !open(key, block, answer)? {
                return Ok(Then::Quiet);
            }
            match block.get("input") {
                Some(Value::Object(input)) if !input.is_empty() => {
                    answer.piece(key, &Value::Object(input.clone()).to_string())?;
                }
                _ => {}
            }
        }
        "content_block_delta" => {
            let delta = event.get("delta").unwrap_or(&Value::Null);
            match text(delta, "type") {
                "text_delta" => answer.piece(key, text(delta, "text"))?,
                "input_json_delta" => answer.piece(key, text(delta, "partial_json"))?,
                // Reasoning, its signature, citations.
                _ => return Ok(Then::Quiet),
            }
        }
        "content_block_stop" => answer.close(key),
        "message_delta" => {
            stopped(event.get("delta").unwrap_or(&Value::Null), answer)?;
            answer.used(Api::Messages, event.get("usage"));
        }
        "message_stop" => return Ok(Then::End),
        "ping" => return Ok(Then::Quiet),
        _ => {}
    }
    Ok(Then::Go)
}

/// Begins a block; reports whether it is shown.
fn open(key: Key, block: &Value, answer: &mut Answer) -> Result<bool, Error> {
    let kind = match text(block, "type") {
        "text" => Kind::Text,
        "tool_use" => Kind::Call {
            id: text(block, "id").to_owned(),
            name: text(block, "name").to_owned(),
        },
        "thinking" | "redacted_thinking" => return Ok(false),
        kind => return Err(foreign(kind)),
    };
    answer.open(key, kind)?;
    answer.piece(key, text(block, "text"))?;
    Ok(true)
}

fn stopped(delta: &Value, answer: &mut Answer) -> Result<(), Error> {
    answer.stopped(match text(delta, "stop_reason") {
        "" => return Ok(()),
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "refusal" => Stop::Refusal(String::new()),
        // Only the upstream's own tools pause.
        "pause_turn" => return Err(refuse("a reply that pauses in the middle of a turn")),
        _ => Stop::End,
    });
    Ok(())
}

/// Reads a whole message.
///
/// - `body`: its text, from which arguments are taken as they were written.
pub(super) fn read_whole(body: &str, tree: &Value, answer: &mut Answer) -> Result<(), Error> {
    answer.opening(tree, "created");
    stopped(tree, answer)?;
    answer.used(Api::Messages, tree.get("usage"));
    let fields = Fields::open(body).unwrap_or_default();
    let raw_blocks = items(fields.get("content"));
    for (at, (block, raw)) in list(tree, "content").iter().zip(raw_blocks).enumerate() {
        let key = (at as u64, 0);
        if !open(key, block, answer)? {
            continue;
        }
        let raw = Fields::open(raw.get()).unwrap_or_default();
        if let Some(input) = raw.get("input").filter(|_| block.get("input").is_some()) {
            answer.piece(key, input.get())?;
        }
        answer.close(key);
    }
    Ok(())
}

/// Writes a whole message. A call that was cut at the limit is left out, as an
/// object of half its arguments would be another call.
pub(super) fn write_whole<'b>(answer: &'b Answer) -> Result<Out<'b>, Error> {
    let is_cut = answer.stop() == Stop::Length;
    let mut content = Vec::with_capacity(answer.items.len());
    for item in &answer.items {
        if !item.is_call() {
            if !item.text.is_empty() {
                content.push(object! {"type": "text", "text": &item.text});
            }
            continue;
        }
        let input = RawValue::from_string(item.text.trim().to_owned());
        match input.ok().filter(|input| input.get().starts_with('{')) {
            Some(input) => content.push(block(item).with("input", Some(input))),
            None if is_cut => {}
            None => return Err(refuse("a call whose arguments are no JSON object")),
        }
    }
    Ok(head(answer, content)
        .with("stop_reason", Some(stop_reason(answer)))
        .with("stop_sequence", Some(Out::Null))
        .with("usage", Some(usage(answer.usage.as_ref()))))
}

fn head<'b>(answer: &'b Answer, content: Vec<Out<'b>>) -> Out<'b> {
    object! {
        "id": &answer.id,
        "type": "message",
        "role": "assistant",
        "model": &answer.model,
        "content": content,
    }
}

/// Writes the beginning of a block; a call still wants its input.
fn block(item: &Item) -> Out<'_> {
    match &item.kind {
        Kind::Text | Kind::Refusal => object! {"type": "text", "text": ""},
        Kind::Call { id, name } => {
            object! {"type": "tool_use", "id": fit_id(Api::Messages, id), "name": name}
        }
    }
}

fn stop_reason(answer: &Answer) -> &'static str {
    match answer.stop() {
        Stop::ToolUse => "tool_use",
        Stop::Length => "max_tokens",
        Stop::Refusal(_) => "refusal",
        _ => "end_turn",
    }
}

/// Writes usage; the input is without what went through the cache.
fn usage(usage: Option<&Usage>) -> Out<'static> {
    let none = Usage::default();
    let usage = usage.unwrap_or(&none);
    object! {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": written_tokens(usage),
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    .with(
        "output_tokens_details",
        (usage.reasoning > 0).then(|| object! {"thinking_tokens": usage.reasoning}),
    )
}

/// Writes the events of a mark.
pub(super) fn write(mark: Mark<'_>, answer: &Answer) -> String {
    match mark {
        Mark::Start => {
            let message = head(answer, Vec::new())
                .with("stop_reason", Some(Out::Null))
                .with("stop_sequence", Some(Out::Null))
                .with("usage", Some(usage(answer.usage.as_ref())));
            object! {"type": "message_start", "message": message}.event("message_start")
        }
        Mark::Open(at) => {
            let item = &answer.items[at];
            let block = block(item).with("input", item.is_call().then(|| object! {}));
            let event = object! {"type": "content_block_start", "index": at as u64};
            event
                .with("content_block", Some(block))
                .event("content_block_start")
        }
        Mark::Piece(at, piece) => {
            let delta = if answer.items[at].is_call() {
                object! {"type": "input_json_delta", "partial_json": piece}
            } else {
                object! {"type": "text_delta", "text": piece}
            };
            let event = object! {"type": "content_block_delta", "index": at as u64};
            event
                .with("delta", Some(delta))
                .event("content_block_delta")
        }
        Mark::Close(at) => {
            object! {"type": "content_block_stop", "index": at as u64}.event("content_block_stop")
        }
        Mark::End => {
            let delta = object! {"stop_reason": stop_reason(answer), "stop_sequence": Out::Null};
            let usage = usage(answer.usage.as_ref());
            let end = object! {"type": "message_delta", "delta": delta, "usage": usage};
            let stop = object! {"type": "message_stop"};
            end.event("message_delta") + &stop.event("message_stop")
        }
        Mark::Fail(fault) => fault::written(Api::Messages, fault).event("error"),
    }
}
