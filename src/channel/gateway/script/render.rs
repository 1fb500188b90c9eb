//! An answer in the words of each API, whole and in frames.
//!
//! Pure. What the official clients check is all there: names of events, indexes,
//! sequence numbers, usage where and when it belongs. Ids and times follow from
//! the turn, so that the same turn is the same bytes.

use serde_json::{Value, json};

use super::super::wire::{Api, Call, Framing};
use super::file::{Stop, Usage, Words};
use super::plan::id;

/// Every answer was made at this second: 2026-01-01.
const CREATED: u64 = 1_767_225_600;
/// Texts come in about so many bytes a frame,
const PIECE_BYTES: usize = 24;
/// but not in more frames than that.
const PIECES_MAX: usize = 64;

/// What is answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) api: Api,
    pub(super) model: String,
    /// Ends the ids: the number of the turn.
    pub(super) label: String,
    pub(super) text: String,
    pub(super) calls: Vec<Call>,
    pub(super) usage: Usage,
    pub(super) stop: Stop,
    /// A stream of Chat ends with its usage.
    pub(super) shows_usage: bool,
}

/// Returns the pieces of the body: one, or the frames of a stream.
pub(super) fn frames(answer: &Answer, framing: Framing) -> Vec<String> {
    match (framing, answer.api) {
        (Framing::Whole, _) => vec![whole(answer).to_string()],
        (Framing::Events, Api::Messages | Api::CountTokens) => {
            messages_events(answer).into_iter().map(named).collect()
        }
        (Framing::Events, Api::Chat) => {
            let data = chat_chunks(answer).into_iter().map(unnamed);
            data.chain(["data: [DONE]\n\n".to_owned()]).collect()
        }
        (Framing::Events, Api::Responses) => {
            responses_events(answer).into_iter().map(named).collect()
        }
        (Framing::Events, Api::Gemini) => gemini_chunks(answer).into_iter().map(unnamed).collect(),
        (Framing::List, _) => {
            let chunks = gemini_chunks(answer);
            let last = chunks.len() - 1;
            let piece = |(at, chunk): (usize, Value)| {
                let open = if at == 0 { "[" } else { ",\r\n" };
                let close = if at == last { "]" } else { "" };
                format!("{open}{chunk}{close}")
            };
            chunks.into_iter().enumerate().map(piece).collect()
        }
    }
}

fn named(event: Value) -> String {
    let name = event["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {event}\n\n")
}

fn unnamed(event: Value) -> String {
    format!("data: {event}\n\n")
}

/// Cuts text into pieces, at spaces where it can.
fn pieces(text: &str) -> Vec<&str> {
    let size = PIECE_BYTES.max(text.len() / PIECES_MAX);
    let (mut pieces, mut rest) = (Vec::new(), text);
    while rest.len() > size {
        let end = rest.ceil_char_boundary(size);
        let end = rest[..end].rfind(' ').map_or(end, |space| space + 1);
        let (piece, tail) = rest.split_at(end);
        pieces.push(piece);
        rest = tail;
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}

/// Returns a whole answer.
fn whole(answer: &Answer) -> Value {
    match answer.api {
        Api::Messages | Api::CountTokens => messages(answer),
        Api::Chat => chat(answer),
        Api::Responses => response(answer, "completed"),
        Api::Gemini => gemini(
            answer,
            gemini_parts(answer, vec![answer.text.as_str()]),
            true,
        ),
    }
}

/// Returns the API's word for why the answer stops.
fn stop_word(answer: &Answer) -> &'static str {
    let calls = !answer.calls.is_empty();
    let [end, tools, length, refusal] = match answer.api {
        Api::Messages | Api::CountTokens => ["end_turn", "tool_use", "max_tokens", "refusal"],
        Api::Chat => ["stop", "tool_calls", "length", "content_filter"],
        Api::Responses => ["", "", "max_output_tokens", "content_filter"],
        Api::Gemini => ["STOP", "STOP", "MAX_TOKENS", "SAFETY"],
    };
    match answer.stop {
        Stop::End if calls => tools,
        Stop::End => end,
        Stop::Length => length,
        Stop::Refusal => refusal,
    }
}

/// Arguments as a tree where the API wants one; wrong ones stay text.
fn arguments(call: &Call) -> Value {
    serde_json::from_str(&call.arguments).unwrap_or_else(|_| call.arguments.as_str().into())
}

// Anthropic Messages.

fn messages_usage(answer: &Answer, output: u64) -> Value {
    let written = answer.usage.cache_write;
    json!({
        "input_tokens": answer.usage.input,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": answer.usage.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
    })
}

fn tool_use(call: &Call, input: Value) -> Value {
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
}

fn messages(answer: &Answer) -> Value {
    let text = (!answer.text.is_empty()).then(|| json!({"type": "text", "text": answer.text}));
    let calls = answer
        .calls
        .iter()
        .map(|call| tool_use(call, arguments(call)));
    let content: Vec<Value> = text.into_iter().chain(calls).collect();
    json!({
        "id": id("msg", &answer.label), "type": "message", "role": "assistant",
        "model": answer.model, "content": content,
        "stop_reason": stop_word(answer), "stop_sequence": null,
        "usage": messages_usage(answer, answer.usage.output),
    })
}

fn messages_events(answer: &Answer) -> Vec<Value> {
    let mut opening = messages(answer);
    opening["content"] = json!([]);
    opening["stop_reason"] = Value::Null;
    opening["usage"] = messages_usage(answer, 1);
    let mut events = vec![json!({"type": "message_start", "message": opening})];
    let mut blocks = Vec::new();
    if !answer.text.is_empty() {
        let delta = |piece: &str| json!({"type": "text_delta", "text": piece});
        let deltas: Vec<Value> = pieces(&answer.text).into_iter().map(delta).collect();
        blocks.push((json!({"type": "text", "text": ""}), deltas));
    }
    for call in &answer.calls {
        let delta = |piece: &str| json!({"type": "input_json_delta", "partial_json": piece});
        let deltas = [""].into_iter().chain(pieces(&call.arguments)).map(delta);
        blocks.push((tool_use(call, json!({})), deltas.collect()));
    }
    for (index, (start, deltas)) in blocks.into_iter().enumerate() {
        let event = |kind: &str, name: &str, value: Value| json!({"type": kind, "index": index, (name): value});
        events.push(event("content_block_start", "content_block", start));
        if index == 0 {
            events.push(json!({"type": "ping"}));
        }
        let delta = |delta| event("content_block_delta", "delta", delta);
        events.extend(deltas.into_iter().map(delta));
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_word(answer), "stop_sequence": null},
        "usage": messages_usage(answer, answer.usage.output),
    }));
    events.push(json!({"type": "message_stop"}));
    events
}

// OpenAI Chat Completions.

fn chat_usage(answer: &Answer) -> Value {
    let usage = &answer.usage;
    json!({
        "prompt_tokens": usage.prompt(),
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt() + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": 0},
    })
}

fn chat_call(call: &Call, arguments: &str) -> Value {
    let (kind, name) = chat_kind(call);
    json!({"id": call.id, "type": kind, (kind): {"name": call.name, (name): arguments}})
}

/// Returns the type of a call and the name of its arguments.
fn chat_kind(call: &Call) -> (&'static str, &'static str) {
    match call.is_free_text {
        true => ("custom", "input"),
        false => ("function", "arguments"),
    }
}

/// Returns what a completion and its chunks have in common.
fn chat_frame(answer: &Answer, kind: &str, choices: Value) -> Value {
    json!({
        "id": id("chatcmpl", &answer.label), "object": kind, "created": CREATED,
        "model": answer.model, "service_tier": "default", "system_fingerprint": null,
        "choices": choices,
    })
}

fn chat(answer: &Answer) -> Value {
    let text = (!answer.text.is_empty()).then_some(&answer.text);
    let mut message = json!({"role": "assistant", "content": text, "refusal": null});
    if !answer.calls.is_empty() {
        let calls = answer.calls.iter();
        message["tool_calls"] = calls.map(|call| chat_call(call, &call.arguments)).collect();
    }
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": stop_word(answer)});
    let mut whole = chat_frame(answer, "chat.completion", json!([choice]));
    whole["usage"] = chat_usage(answer);
    whole
}

fn chat_chunks(answer: &Answer) -> Vec<Value> {
    let chunk = |choices: Value| {
        let mut chunk = chat_frame(answer, "chat.completion.chunk", choices);
        if answer.shows_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    };
    let delta = |delta: Value, reason: Option<&str>| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]))
    };
    let mut chunks = vec![delta(json!({"role": "assistant", "content": ""}), None)];
    for piece in pieces(&answer.text) {
        chunks.push(delta(json!({"content": piece}), None));
    }
    for (index, call) in answer.calls.iter().enumerate() {
        let mut opening = chat_call(call, "");
        opening["index"] = index.into();
        chunks.push(delta(json!({"tool_calls": [opening]}), None));
        let (kind, name) = chat_kind(call);
        for piece in pieces(&call.arguments) {
            let part = json!({"index": index, (kind): {(name): piece}});
            chunks.push(delta(json!({"tool_calls": [part]}), None));
        }
    }
    chunks.push(delta(json!({}), Some(stop_word(answer))));
    if answer.shows_usage {
        let mut last = chunk(json!([]));
        last["usage"] = chat_usage(answer);
        chunks.push(last);
    }
    chunks
}

// OpenAI Responses.

/// Returns the response as it stands: with its output once it is `completed`.
fn response(answer: &Answer, status: &str) -> Value {
    let usage = &answer.usage;
    let mut response = json!({
        "id": id("resp", &answer.label), "object": "response", "created_at": CREATED,
        "model": answer.model, "status": status, "error": null, "incomplete_details": null,
        "instructions": null, "metadata": {}, "output": [], "parallel_tool_calls": true,
        "previous_response_id": null, "service_tier": "default", "store": false,
        "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto",
        "tools": [], "top_p": 1.0, "truncation": "disabled", "usage": null,
    });
    if status == "completed" {
        response["output"] = items(answer).into_iter().map(|item| item.done).collect();
        response["usage"] = json!({
            "input_tokens": usage.prompt(),
            "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.prompt() + usage.output,
        });
        if answer.stop != Stop::End {
            response["status"] = "incomplete".into();
            response["incomplete_details"] = json!({"reason": stop_word(answer)});
        }
    }
    response
}

/// An item of the output, and how it comes.
struct Item {
    opened: Value,
    /// The events between opening and end, without index and id.
    events: Vec<Value>,
    done: Value,
}

fn items(answer: &Answer) -> Vec<Item> {
    let text = (!answer.text.is_empty()).then(|| text_item(answer));
    let calls = answer.calls.iter().enumerate();
    let calls = calls.map(|(index, call)| call_item(call, &format!("{}_{index}", answer.label)));
    text.into_iter().chain(calls).collect()
}

fn text_item(answer: &Answer) -> Item {
    let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
    let item = |status: &str, content: Value| {
        json!({
            "type": "message", "id": id("msg", &answer.label), "status": status,
            "role": "assistant", "content": content,
        })
    };
    let at = |kind: &str, name: &str, value: Value| json!({"type": kind, "content_index": 0, (name): value, "logprobs": []});
    let whole = answer.text.as_str();
    let mut events = vec![at("response.content_part.added", "part", part(""))];
    let delta = |piece: &str| at("response.output_text.delta", "delta", piece.into());
    events.extend(pieces(whole).into_iter().map(delta));
    events.push(at("response.output_text.done", "text", whole.into()));
    events.push(at("response.content_part.done", "part", part(whole)));
    Item {
        opened: item("in_progress", json!([])),
        events,
        done: item("completed", json!([part(whole)])),
    }
}

fn call_item(call: &Call, label: &str) -> Item {
    let (kind, value, prefix, event) = match call.is_free_text {
        true => ("custom_tool_call", "input", "ctc", "custom_tool_call_input"),
        false => (
            "function_call",
            "arguments",
            "fc",
            "function_call_arguments",
        ),
    };
    let item = |status: &str, text: &str| {
        json!({
            "type": kind, "id": id(prefix, label), "call_id": call.id, "name": call.name,
            "status": status, (value): text,
        })
    };
    let delta = |piece| json!({"type": format!("response.{event}.delta"), "delta": piece});
    let mut events: Vec<Value> = pieces(&call.arguments).into_iter().map(delta).collect();
    let done = format!("response.{event}.done");
    events.push(json!({"type": done, (value): call.arguments, "name": call.name}));
    Item {
        opened: item("in_progress", ""),
        events,
        done: item("completed", &call.arguments),
    }
}

fn responses_events(answer: &Answer) -> Vec<Value> {
    let beginning = response(answer, "in_progress");
    let mut events = vec![
        json!({"type": "response.created", "response": beginning}),
        json!({"type": "response.in_progress", "response": beginning}),
    ];
    for (index, item) in items(answer).into_iter().enumerate() {
        let whole =
            |kind: &str, item: &Value| json!({"type": kind, "output_index": index, "item": item});
        events.push(whole("response.output_item.added", &item.opened));
        for mut event in item.events {
            event["output_index"] = index.into();
            event["item_id"] = item.done["id"].clone();
            events.push(event);
        }
        events.push(whole("response.output_item.done", &item.done));
    }
    let ending = response(answer, "completed");
    let kind = format!("response.{}", ending["status"].as_str().unwrap_or_default());
    events.push(json!({"type": kind, "response": ending}));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = number.into();
    }
    events
}

// Gemini.

fn gemini(answer: &Answer, parts: Vec<Value>, is_last: bool) -> Value {
    let usage = &answer.usage;
    let output = if is_last { usage.output } else { 0 };
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if is_last {
        candidate["finishReason"] = stop_word(answer).into();
    }
    json!({
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": usage.prompt(), "cachedContentTokenCount": usage.cache_read,
            "candidatesTokenCount": output, "totalTokenCount": usage.prompt() + output,
        },
        "modelVersion": answer.model,
        "responseId": id("gen", &answer.label),
    })
}

fn gemini_parts(answer: &Answer, texts: Vec<&str>) -> Vec<Value> {
    let texts = texts.into_iter().filter(|text| !text.is_empty());
    let call = |call: &Call| json!({"functionCall": {"name": call.name, "args": arguments(call)}});
    let calls = answer.calls.iter().map(call);
    texts
        .map(|text| json!({"text": text}))
        .chain(calls)
        .collect()
}

fn gemini_chunks(answer: &Answer) -> Vec<Value> {
    let mut parts = gemini_parts(answer, pieces(&answer.text));
    // The last chunk ends the answer and may say nothing.
    parts.push(json!({"text": ""}));
    let last = parts.len() - 1;
    let chunk = |(at, part)| gemini(answer, vec![part], at == last);
    parts.into_iter().enumerate().map(chunk).collect()
}

// Errors.

/// What a status is called by each API.
#[rustfmt::skip]
const ERRORS: &[(u16, &str, &str, &str)] = &[
    (400, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
    (401, "authentication_error",  "authentication_error",  "UNAUTHENTICATED"),
    (402, "billing_error",         "insufficient_quota",    "FAILED_PRECONDITION"),
    (403, "permission_error",      "permission_error",      "PERMISSION_DENIED"),
    (404, "not_found_error",       "not_found_error",       "NOT_FOUND"),
    (413, "request_too_large",     "invalid_request_error", "INVALID_ARGUMENT"),
    (429, "rate_limit_error",      "rate_limit_exceeded",   "RESOURCE_EXHAUSTED"),
    (500, "api_error",             "server_error",          "INTERNAL"),
    (503, "api_error",             "server_is_overloaded",  "UNAVAILABLE"),
    (504, "timeout_error",         "server_error",          "DEADLINE_EXCEEDED"),
    (529, "overloaded_error",      "server_error",          "UNAVAILABLE"),
];

fn error_words(api: Api, status: u16, words: Option<&Words>) -> (String, String) {
    let usual = if status < 500 { 400 } else { 500 };
    let row = |status| ERRORS.iter().find(|row| row.0 == status);
    let row = row(status).or_else(|| row(usual)).unwrap_or(&ERRORS[0]);
    let kind = match api {
        Api::Messages | Api::CountTokens => row.1,
        Api::Chat | Api::Responses => row.2,
        Api::Gemini => row.3,
    };
    let own = words.cloned().unwrap_or_default();
    let message = own
        .message
        .unwrap_or_else(|| format!("scripted fault: {status} {kind}"));
    (own.kind.unwrap_or_else(|| kind.to_owned()), message)
}

/// Returns the body of an error.
pub(super) fn error(api: Api, status: u16, words: &Words) -> Value {
    let (kind, message) = error_words(api, status, Some(words));
    match api {
        Api::Messages | Api::CountTokens => json!({
            "type": "error", "error": {"type": kind, "message": message}, "request_id": id("req", "0"),
        }),
        Api::Chat | Api::Responses => {
            json!({"error": {"message": message, "type": kind, "param": null, "code": kind}})
        }
        Api::Gemini => {
            let retry = words.retry_after.map(|wait| {
                json!({
                    "@type": "type.googleapis.com/google.rpc.RetryInfo",
                    "retryDelay": format!("{}s", wait.seconds()),
                })
            });
            let details: Vec<Value> = retry.into_iter().collect();
            json!({"error": {"code": status, "message": message, "status": kind, "details": details}})
        }
    }
}

/// Returns the frame of an error inside a stream.
///
/// - `sent`: how many frames stand before it.
pub(super) fn error_frame(
    answer: &Answer,
    status: u16,
    words: Option<&Words>,
    sent: usize,
) -> String {
    if answer.api == Api::Responses {
        let (kind, message) = error_words(answer.api, status, words);
        let mut failed = response(answer, "failed");
        failed["error"] = json!({"code": kind, "message": message});
        // Codex looks at no other event than this one.
        return named(
            json!({"type": "response.failed", "sequence_number": sent, "response": failed}),
        );
    }
    let error = error(answer.api, status, words.unwrap_or(&Words::default()));
    match answer.api {
        Api::Messages | Api::CountTokens => named(error),
        _ => unnamed(error),
    }
}

/// Returns what is known of the models at a path, in the shape that fits most
/// clients at once.
///
/// - `listed`: the one model of a list; a path that names a model gets that one.
pub(super) fn models(path: &str, listed: &str) -> Value {
    let named = path.split_once("/models/").map(|(_, name)| name);
    let model = named.unwrap_or(listed);
    let is_google = path.starts_with("/v1beta");
    let one = match is_google {
        true => json!({
            "name": format!("models/{model}"), "version": "1", "displayName": model,
            "inputTokenLimit": 200_000, "outputTokenLimit": 64_000,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }),
        false => json!({
            "id": model, "object": "model", "type": "model", "display_name": model,
            "created": CREATED, "created_at": "2026-01-01T00:00:00Z", "owned_by": "agentguard",
        }),
    };
    match (named, is_google) {
        (Some(_), _) => one,
        (None, true) => json!({"models": [one]}),
        (None, false) => json!({
            "object": "list", "data": [one], "has_more": false, "first_id": model, "last_id": model,
        }),
    }
}
