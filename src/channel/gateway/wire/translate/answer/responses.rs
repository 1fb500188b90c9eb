//! Replies of OpenAI Responses.

use serde_json::Value;

use super::super::super::api::Api;
use super::super::super::reply::Stop;
use super::super::super::usage::Usage;
use super::super::out::{Out, object};
use super::super::{Error, fault, fit_id, refuse, short_hash};
use super::form::{
    Answer, Item, Key, Kind, Mark, Then, foreign, index, input_tokens, list, text, written_tokens,
};

/// The part of a call, which has none.
const CALL: u64 = u64::MAX;

pub(super) fn read(event: &Value, answer: &mut Answer) -> Result<Then, Error> {
    let at = index(event, "output_index");
    let key = (at, index(event, "content_index"));
    let item = event.get("item").unwrap_or(&Value::Null);
    let response = event.get("response").unwrap_or(&Value::Null);
    match text(event, "type") {
        "response.created" | "response.in_progress" | "response.queued" => {
            answer.opening(response, "created_at");
        }
        "response.output_item.added" => {
            let is_message = text(item, "type") == "message";
            if !is_message {
                return begin(at, item, answer);
            }
        }
        "response.output_text.delta" => {
            ensure(key, Kind::Text, answer)?;
            answer.piece(key, text(event, "delta"))?;
        }
        "response.refusal.delta" => {
            ensure(key, Kind::Refusal, answer)?;
            answer.piece(key, text(event, "delta"))?;
        }
        "response.function_call_arguments.delta" => {
            answer.piece((at, CALL), text(event, "delta"))?;
        }
        "response.output_text.done" => settle(key, Kind::Text, text(event, "text"), answer)?,
        "response.refusal.done" => settle(key, Kind::Refusal, text(event, "refusal"), answer)?,
        "response.output_item.done" => return whole_item(at, item, answer),
        "response.completed" | "response.incomplete" | "response.cancelled" => {
            read_whole(response, answer)?;
            return Ok(Then::End);
        }
        kind if kind.contains("reasoning") => return Ok(Then::Quiet),
        _ => {}
    }
    Ok(Then::Go)
}

/// Begins a call; reasoning is not shown, and nothing else was asked for.
fn begin(at: u64, item: &Value, answer: &mut Answer) -> Result<Then, Error> {
    match text(item, "type") {
        "function_call" => {
            let kind = Kind::Call {
                id: text(item, "call_id").to_owned(),
                name: text(item, "name").to_owned(),
            };
            ensure((at, CALL), kind, answer)?;
            answer.piece((at, CALL), text(item, "arguments"))?;
            Ok(Then::Go)
        }
        "reasoning" => Ok(Then::Quiet),
        kind => Err(foreign(kind)),
    }
}

fn ensure(key: Key, kind: Kind, answer: &mut Answer) -> Result<(), Error> {
    if answer.has(key) {
        return Ok(());
    }
    answer.open(key, kind)
}

/// Ends a part whose whole text is known, with what was not sent of it.
fn settle(key: Key, kind: Kind, whole: &str, answer: &mut Answer) -> Result<(), Error> {
    ensure(key, kind, answer)?;
    let known = answer.items.iter().rfind(|item| item.key == key);
    let rest = known
        .filter(|item| !item.is_closed)
        .and_then(|item| whole.strip_prefix(item.text.as_str()))
        .unwrap_or_default();
    answer.piece(key, rest)?;
    answer.close(key);
    Ok(())
}

/// Takes a finished item, of which anything or nothing may have been sent.
fn whole_item(at: u64, item: &Value, answer: &mut Answer) -> Result<Then, Error> {
    match text(item, "type") {
        "message" => {
            for (part, block) in (0..).zip(list(item, "content")) {
                match text(block, "type") {
                    "output_text" => settle((at, part), Kind::Text, text(block, "text"), answer)?,
                    "refusal" => {
                        settle((at, part), Kind::Refusal, text(block, "refusal"), answer)?;
                    }
                    kind => return Err(foreign(kind)),
                }
            }
        }
        "function_call" => {
            if !answer.has((at, CALL)) {
                begin(at, item, answer)?;
            }
            let kind = Kind::Text;
            settle((at, CALL), kind, text(item, "arguments"), answer)?;
        }
        "reasoning" => return Ok(Then::Quiet),
        kind => return Err(foreign(kind)),
    }
    Ok(Then::Go)
}

/// Reads a whole response, or the last event's, whose output is known already
/// unless nothing of it was streamed.
pub(super) fn read_whole(response: &Value, answer: &mut Answer) -> Result<(), Error> {
    answer.opening(response, "created_at");
    let reason = response.pointer("/incomplete_details/reason");
    match (text(response, "status"), reason.and_then(Value::as_str)) {
        ("incomplete", Some("content_filter")) => {
            answer.stopped(Stop::Refusal("content_filter".to_owned()));
        }
        ("incomplete", _) => answer.stopped(Stop::Length),
        ("completed", _) => answer.stopped(Stop::End),
        (status, _) => {
            let status: String = status.chars().take(60).collect();
            return Err(refuse(format!("a response of status {status:?}")));
        }
    }
    if answer.items.is_empty() {
        for (at, item) in (0..).zip(list(response, "output")) {
            whole_item(at, item, answer)?;
        }
    }
    answer.used(Api::Responses, response.get("usage"));
    Ok(())
}

/// Writes a whole response.
pub(super) fn write_whole(answer: &Answer) -> Out<'_> {
    let items = answer.items.iter().enumerate();
    let items = items.map(|(at, item)| write_item(answer, at, Some(item)));
    let details = cut_by(answer).map(|reason| object! {"reason": reason});
    response(answer, status(details.is_some()), items.collect())
        .with("error", Some(Out::Null))
        .with("incomplete_details", Some(Out::from(details)))
        .with("usage", Some(Out::from(answer.usage.as_ref().map(usage))))
}

fn response<'b>(answer: &'b Answer, status: &'b str, output: Vec<Out<'b>>) -> Out<'b> {
    object! {
        "id": &answer.id,
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "instructions": Out::Null,
        "metadata": object! {},
        "model": &answer.model,
        "output": output,
        "parallel_tool_calls": true,
        "tool_choice": "auto",
        "tools": Vec::new(),
    }
}

/// Returns why the reply is not all of what the model had to say.
fn cut_by(answer: &Answer) -> Option<&'static str> {
    match answer.stop() {
        Stop::Length => Some("max_output_tokens"),
        Stop::Refusal(_) if !answer.has_refusal() => Some("content_filter"),
        _ => None,
    }
}

fn status(is_cut: bool) -> &'static str {
    if is_cut { "incomplete" } else { "completed" }
}

/// Writes an item; one that just begins has nothing in it yet. The last one may
/// be cut off: a call that is must not be carried out.
fn write_item<'b>(answer: &'b Answer, at: usize, whole: Option<&'b Item>) -> Out<'b> {
    let item_id = item_id(answer, at);
    let is_last = at + 1 == answer.items.len();
    let status = match whole {
        None => "in_progress",
        Some(_) => status(is_last && cut_by(answer).is_some()),
    };
    let kind = &answer.items[at].kind;
    if let Kind::Call { id, name } = kind {
        return object! {
            "id": item_id,
            "type": "function_call",
            "status": status,
            "call_id": fit_id(Api::Responses, id),
            "name": name,
            "arguments": whole.map_or("", |item| &item.text),
        };
    }
    let content = whole.map(|item| part(kind, &item.text));
    object! {
        "id": item_id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content.into_iter().collect::<Vec<Out>>(),
    }
}

fn part<'b>(kind: &Kind, text: &'b str) -> Out<'b> {
    match kind {
        Kind::Refusal => object! {"type": "refusal", "refusal": text},
        _ => object! {"type": "output_text", "text": text, "annotations": Vec::new()},
    }
}

/// Returns the id of an item. A later request carries it, and OpenAI takes only
/// ids with the prefix of their kind, each once.
fn item_id(answer: &Answer, at: usize) -> String {
    let prefix = if answer.items[at].is_call() {
        "fc"
    } else {
        "msg"
    };
    format!("{prefix}_{}{at}", short_hash(&answer.id))
}

/// Writes usage; the input is with what went through the cache.
fn usage(usage: &Usage) -> Out<'static> {
    let input = input_tokens(usage);
    object! {
        "input_tokens": input,
        "input_tokens_details": object! {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": written_tokens(usage),
        },
        "output_tokens": usage.output,
        "output_tokens_details": object! {"reasoning_tokens": usage.reasoning},
        "total_tokens": input.saturating_add(usage.output),
    }
}

/// Writes the events of a mark, each with the next number.
pub(super) fn write(mark: Mark<'_>, answer: &Answer, sequence: &mut u64) -> String {
    let mut out = String::new();
    let mut put = |name: &'static str, fields: Vec<(&'static str, Out<'_>)>| {
        let mut all = vec![
            ("type", name.into()),
            ("sequence_number", (*sequence).into()),
        ];
        all.extend(fields);
        *sequence += 1;
        out.push_str(&Out::Object(all).event(name));
    };
    match mark {
        Mark::Start => {
            for name in ["response.created", "response.in_progress"] {
                let response = response(answer, "in_progress", Vec::new())
                    .with("error", Some(Out::Null))
                    .with("incomplete_details", Some(Out::Null))
                    .with("usage", Some(Out::Null));
                put(name, vec![("response", response)]);
            }
        }
        Mark::Open(at) => {
            let item = write_item(answer, at, None);
            let place = ("output_index", (at as u64).into());
            put("response.output_item.added", vec![place, ("item", item)]);
            let kind = &answer.items[at].kind;
            if !answer.items[at].is_call() {
                let fields = in_part(answer, at, ("part", part(kind, "")));
                put("response.content_part.added", fields);
            }
        }
        Mark::Piece(at, piece) => {
            let delta = ("delta", piece.into());
            match answer.items[at].kind {
                Kind::Text => put("response.output_text.delta", in_text(answer, at, delta)),
                Kind::Refusal => put("response.refusal.delta", in_part(answer, at, delta)),
                Kind::Call { .. } => {
                    put(
                        "response.function_call_arguments.delta",
                        in_item(answer, at, delta),
                    );
                }
            }
        }
        Mark::Close(at) => {
            let item = &answer.items[at];
            let text = item.text.as_str();
            match &item.kind {
                Kind::Text => {
                    let fields = in_text(answer, at, ("text", text.into()));
                    put("response.output_text.done", fields);
                }
                Kind::Refusal => {
                    let fields = in_part(answer, at, ("refusal", text.into()));
                    put("response.refusal.done", fields);
                }
                Kind::Call { name, .. } => {
                    let mut fields = in_item(answer, at, ("arguments", text.into()));
                    fields.push(("name", name.into()));
                    put("response.function_call_arguments.done", fields);
                }
            }
            if !item.is_call() {
                let fields = in_part(answer, at, ("part", part(&item.kind, text)));
                put("response.content_part.done", fields);
            }
            let place = ("output_index", (at as u64).into());
            let item = write_item(answer, at, Some(item));
            put("response.output_item.done", vec![place, ("item", item)]);
        }
        Mark::End => {
            let name = match cut_by(answer) {
                Some(_) => "response.incomplete",
                None => "response.completed",
            };
            put(name, vec![("response", write_whole(answer))]);
        }
        // Codex looks at no other event.
        Mark::Fail(fault) => {
            let error = object! {"code": fault::code(fault), "message": &fault.message};
            let response = response(answer, "failed", Vec::new())
                .with("error", Some(error))
                .with("incomplete_details", Some(Out::Null))
                .with("usage", Some(Out::from(answer.usage.as_ref().map(usage))));
            put("response.failed", vec![("response", response)]);
        }
    }
    out
}

type Fields<'b> = Vec<(&'static str, Out<'b>)>;

fn in_item<'b>(answer: &Answer, at: usize, field: (&'static str, Out<'b>)) -> Fields<'b> {
    let id = item_id(answer, at);
    vec![
        ("item_id", id.into()),
        ("output_index", (at as u64).into()),
        field,
    ]
}

fn in_part<'b>(answer: &Answer, at: usize, field: (&'static str, Out<'b>)) -> Fields<'b> {
    let mut fields = in_item(answer, at, field);
    fields.push(("content_index", 0.into()));
    fields
}

fn in_text<'b>(answer: &Answer, at: usize, field: (&'static str, Out<'b>)) -> Fields<'b> {
    let mut fields = in_part(answer, at, field);
    fields.push(("logprobs", Vec::new().into()));
    fields
}
