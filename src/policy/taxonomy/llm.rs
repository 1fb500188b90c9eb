//! Replies of model providers, brought to one shape.
//!
//! Knows OpenAI Chat and Responses, Anthropic Messages, Gemini, Cohere, Mistral,
//! Bedrock Converse, Ollama and text completions, as one JSON value or as a stream of
//! events. A reply it does not know is `None`; then only the JSON gates apply.
//!
//! Not here: what makes a reply unfit (`gates`), and provider errors (`codes`, `words`).

use serde_json::{Map, Value};

use super::envelope::Event;
use super::observation::{is_blank, string_of};

/// What a model answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reply {
    /// All visible text.
    pub text: String,
    /// Tool calls, in order.
    pub calls: Vec<Call>,
    /// Why the model stopped, as the provider puts it; empty if it does not say.
    pub stop: String,
    /// The provider's own refusal text, if it marks refusals.
    pub refusal: Option<String>,
    /// A stream ended without its closing event.
    pub is_cut: bool,
}

/// One tool call of a reply.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    /// Name of the tool.
    pub name: String,
    /// Arguments: JSON, or the text that should have been JSON.
    pub arguments: Value,
}

/// Reads a whole reply.
pub(super) fn reply(body: &Value) -> Option<Reply> {
    chat(body)
        .or_else(|| responses(body))
        .or_else(|| messages(body))
        .or_else(|| gemini(body))
        .or_else(|| converse(body))
        .or_else(|| ollama_or_cohere(body))
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn stop_of(value: &Value, names: &[&str]) -> String {
    names
        .iter()
        .find_map(|name| string_of(value.get(*name)))
        .unwrap_or_default()
}

/// Content that is text, or a list of parts.
fn content_text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|part| {
                part.get("text")
                    .or(part.get("refusal"))
                    .and_then(Value::as_str)
                    .or(part.as_str())
            })
            .collect(),
        _ => String::new(),
    }
}

/// OpenAI Chat and everything compatible, text completions, Mistral, vLLM, OpenRouter.
fn chat(body: &Value) -> Option<Reply> {
    let choices = body.get("choices")?.as_array()?;
    let Some(choice) = choices.first() else {
        return Some(Reply::default());
    };
    let message = choice.get("message").or_else(|| choice.get("delta"));
    let mut reply = Reply {
        text: message.map_or_else(
            || text(choice.get("text")),
            |message| content_text(message.get("content")),
        ),
        stop: stop_of(choice, &["finish_reason", "stop_reason"]),
        ..Reply::default()
    };
    if let Some(message) = message {
        reply.refusal = message
            .get("refusal")
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned);
        for call in message
            .get("tool_calls")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            reply
                .calls
                .extend(function_call(call.get("function").unwrap_or(call)));
        }
        reply
            .calls
            .extend(message.get("function_call").and_then(function_call));
        // Audio and images are answers too.
        let has_media = ["audio", "images"]
            .iter()
            .any(|name| message.get(*name).is_some_and(|media| !is_blank(media)));
        if has_media && reply.text.is_empty() {
            reply.text = "[media]".to_owned();
        }
    }
    Some(reply)
}

fn function_call(function: &Value) -> Option<Call> {
    let name = text(function.get("name"));
    let arguments = function
        .get("arguments")
        .or_else(|| function.get("input"))
        .or_else(|| function.get("args"))
        .or_else(|| function.get("parameters"));
    (function.is_object() && (!name.is_empty() || arguments.is_some())).then(|| Call {
        name,
        arguments: arguments.cloned().unwrap_or(Value::Null),
    })
}

/// OpenAI Responses.
fn responses(body: &Value) -> Option<Reply> {
    let body = body
        .get("response")
        .filter(|inner| inner.get("output").is_some())
        .unwrap_or(body);
    let output = body.get("output")?.as_array()?;
    let mut reply = Reply {
        stop: stop_of(body, &["status"]),
        ..Reply::default()
    };
    if let Some(reason) = body
        .get("incomplete_details")
        .and_then(|details| details.get("reason"))
        .and_then(Value::as_str)
    {
        reply.stop = reason.to_owned();
    }
    for item in output {
        match item.get("type").and_then(Value::as_str).unwrap_or_default() {
            "message" => {
                for part in item
                    .get("content")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    if part.get("type").and_then(Value::as_str) == Some("refusal") {
                        reply.refusal = Some(text(part.get("refusal")));
                    }
                    reply.text.push_str(&text(part.get("text")));
                }
            }
            "function_call" | "custom_tool_call" => {
                let name = text(item.get("name"));
                // A custom tool takes free text; only function calls promise JSON.
                let arguments = item
                    .get("arguments")
                    .cloned()
                    .unwrap_or(Value::Object(Map::new()));
                reply.calls.push(Call { name, arguments });
            }
            kind if kind.ends_with("_call") => reply.text.push_str("[built-in tool]"),
            _ => {}
        }
    }
    Some(reply)
}

/// Anthropic Messages, also inside Bedrock InvokeModel.
fn messages(body: &Value) -> Option<Reply> {
    let content = body.get("content")?.as_array()?;
    let is_message = body.get("type").and_then(Value::as_str) == Some("message")
        || body.get("stop_reason").is_some()
        || body.get("role").is_some();
    if !is_message {
        return None;
    }
    let mut reply = Reply {
        stop: stop_of(body, &["stop_reason"]),
        ..Reply::default()
    };
    for block in content {
        match block
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
        {
            "text" => reply.text.push_str(&text(block.get("text"))),
            "tool_use" => reply.calls.push(Call {
                name: text(block.get("name")),
                arguments: block.get("input").cloned().unwrap_or(Value::Null),
            }),
            "thinking" | "redacted_thinking" => {}
            _ => reply.text.push_str("[block]"),
        }
    }
    Some(reply)
}

/// Gemini and Vertex.
fn gemini(body: &Value) -> Option<Reply> {
    let body = match body {
        // A stream without SSE framing is a list of chunks.
        Value::Array(chunks) if chunks.first()?.get("candidates").is_some() => {
            return Some(join_gemini(chunks.iter()));
        }
        other => other,
    };
    let blocked = body
        .get("promptFeedback")
        .and_then(|feedback| feedback.get("blockReason"))
        .and_then(Value::as_str);
    if let Some(reason) = blocked {
        return Some(Reply {
            stop: reason.to_owned(),
            refusal: Some(format!("blockReason {reason}")),
            ..Reply::default()
        });
    }
    let candidates = match body.get("candidates") {
        Some(candidates) => candidates.as_array()?,
        None if body.get("usageMetadata").is_some() => return Some(Reply::default()),
        None => return None,
    };
    let Some(candidate) = candidates.first() else {
        return Some(Reply::default());
    };
    let mut reply = Reply {
        stop: stop_of(candidate, &["finishReason"]),
        ..Reply::default()
    };
    let parts = candidate
        .get("content")
        .and_then(|content| content.get("parts"))
        .and_then(Value::as_array);
    for part in parts.into_iter().flatten() {
        if part.get("thought").and_then(Value::as_bool) == Some(true) {
            continue;
        }
        reply.text.push_str(&text(part.get("text")));
        if let Some(call) = part.get("functionCall").and_then(function_call) {
            reply.calls.push(call);
        } else if part.get("inlineData").is_some() || part.get("executableCode").is_some() {
            reply.text.push_str("[media]");
        }
    }
    Some(reply)
}

fn join_gemini<'a>(chunks: impl Iterator<Item = &'a Value>) -> Reply {
    let mut whole = Reply {
        is_cut: true,
        ..Reply::default()
    };
    for part in chunks.filter_map(gemini) {
        whole.text.push_str(&part.text);
        whole.calls.extend(part.calls);
        whole.refusal = whole.refusal.or(part.refusal);
        if !part.stop.is_empty() {
            whole.stop = part.stop;
            whole.is_cut = false;
        }
    }
    whole
}

/// Bedrock Converse.
fn converse(body: &Value) -> Option<Reply> {
    let message = body.get("output")?.get("message")?;
    let mut reply = Reply {
        stop: stop_of(body, &["stopReason"]),
        text: content_text(message.get("content")),
        ..Reply::default()
    };
    for block in message
        .get("content")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let Some(call) = block.get("toolUse").and_then(function_call) {
            reply.calls.push(call);
        }
    }
    Some(reply)
}

/// Ollama chat and generate, Cohere v2 and v1.
fn ollama_or_cohere(body: &Value) -> Option<Reply> {
    let stop = stop_of(body, &["done_reason", "finish_reason", "stop_reason"]);
    if let Some(message) = body.get("message").filter(|message| message.is_object()) {
        let mut reply = Reply {
            text: content_text(message.get("content")),
            stop,
            ..Reply::default()
        };
        for call in message
            .get("tool_calls")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            reply
                .calls
                .extend(function_call(call.get("function").unwrap_or(call)));
        }
        return Some(reply);
    }
    let is_generated = body.get("done").is_some()
        || body.get("finish_reason").is_some()
        || body.get("generation_id").is_some();
    let answer = body
        .get("response")
        .or_else(|| body.get("text"))
        .or_else(|| body.get("generation"))?;
    (is_generated && answer.is_string()).then(|| Reply {
        text: text(Some(answer)),
        stop,
        ..Reply::default()
    })
}

/// Reads a reply from a stream; `None` if no event of a known provider is in it.
pub(super) fn stream(events: &[Event]) -> Option<Reply> {
    let kind = |event: &Event| text(event.data.get("type"));
    if events
        .iter()
        .any(|event| kind(event) == "message_start" || kind(event).starts_with("content_block"))
    {
        return Some(stream_messages(events));
    }
    if events
        .iter()
        .any(|event| kind(event).starts_with("response."))
    {
        let last = events.iter().rev().find(|event| {
            matches!(
                kind(event).as_str(),
                "response.completed" | "response.incomplete"
            )
        });
        let whole = last.and_then(|event| responses(&event.data));
        return Some(whole.unwrap_or(Reply {
            is_cut: true,
            ..Reply::default()
        }));
    }
    if events
        .iter()
        .any(|event| event.data.get("candidates").is_some())
    {
        return Some(join_gemini(events.iter().map(|event| &event.data)));
    }
    events
        .iter()
        .any(|event| event.data.get("choices").is_some())
        .then(|| stream_chat(events))
}

fn stream_chat(events: &[Event]) -> Reply {
    let mut reply = Reply {
        is_cut: true,
        ..Reply::default()
    };
    let mut calls: Vec<(String, String)> = Vec::new();
    for event in events {
        if event
            .data
            .as_str()
            .is_some_and(|data| data.trim() == "[DONE]")
        {
            reply.is_cut = false;
        }
        let Some(choice) = event.data.get("choices").and_then(|choices| choices.get(0)) else {
            continue;
        };
        let stop = stop_of(choice, &["finish_reason"]);
        if !stop.is_empty() {
            reply.stop = stop;
            reply.is_cut = false;
        }
        let Some(delta) = choice.get("delta").or_else(|| choice.get("message")) else {
            continue;
        };
        reply.text.push_str(&content_text(delta.get("content")));
        if let Some(refusal) = delta.get("refusal").and_then(Value::as_str) {
            reply.refusal.get_or_insert_default().push_str(refusal);
        }
        for call in delta
            .get("tool_calls")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .take(64)
        {
            let at = call
                .get("index")
                .and_then(Value::as_u64)
                .unwrap_or(0)
                .min(63) as usize;
            calls.resize(calls.len().max(at + 1), Default::default());
            let function = call.get("function").unwrap_or(call);
            calls[at].0.push_str(&text(function.get("name")));
            calls[at].1.push_str(&text(function.get("arguments")));
        }
    }
    reply.calls = calls
        .into_iter()
        .map(|(name, arguments)| Call {
            name,
            arguments: Value::from(arguments),
        })
        .collect();
    reply
}

fn stream_messages(events: &[Event]) -> Reply {
    let mut reply = Reply {
        is_cut: true,
        ..Reply::default()
    };
    let mut open: Option<(String, String)> = None;
    for event in events {
        let data = &event.data;
        match data.get("type").and_then(Value::as_str).unwrap_or_default() {
            "content_block_start" => {
                let block = data.get("content_block").unwrap_or(&Value::Null);
                if block.get("type").and_then(Value::as_str) == Some("tool_use") {
                    open = Some((text(block.get("name")), String::new()));
                } else {
                    reply.text.push_str(&text(block.get("text")));
                }
            }
            "content_block_delta" => {
                let delta = data.get("delta").unwrap_or(&Value::Null);
                reply.text.push_str(&text(delta.get("text")));
                if let Some((_, arguments)) = &mut open {
                    arguments.push_str(&text(delta.get("partial_json")));
                }
            }
            "content_block_stop" => reply.calls.extend(open.take().map(finished_call)),
            "message_delta" => {
                if let Some(stop) = data
                    .get("delta")
                    .and_then(|delta| delta.get("stop_reason"))
                    .and_then(Value::as_str)
                {
                    reply.stop = stop.to_owned();
                }
            }
            "message_stop" => reply.is_cut = false,
            _ => {}
        }
    }
    reply.calls.extend(open.take().map(finished_call));
    reply
}

fn finished_call((name, arguments): (String, String)) -> Call {
    // No fragment at all means a tool without arguments.
    let arguments = if arguments.is_empty() {
        Value::Object(Map::new())
    } else {
        Value::from(arguments)
    };
    Call { name, arguments }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shapes_table() {
        #[rustfmt::skip]
        let rows = [
            ("OpenAI Chat", json!({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}), "stop"),
            ("a text completion", json!({"choices": [{"text": "hi", "finish_reason": "length"}]}), "length"),
            ("OpenAI Responses", json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"},
                "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}]}), "max_output_tokens"),
            ("Anthropic", json!({"type": "message", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}), "end_turn"),
            ("Gemini", json!({"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}), "STOP"),
            ("Bedrock Converse", json!({"output": {"message": {"content": [{"text": "hi"}]}}, "stopReason": "end_turn"}), "end_turn"),
            ("Ollama", json!({"message": {"role": "assistant", "content": "hi"}, "done": true, "done_reason": "stop"}), "stop"),
            ("Ollama generate", json!({"response": "hi", "done": true, "done_reason": "length"}), "length"),
            ("Cohere", json!({"message": {"content": [{"type": "text", "text": "hi"}]}, "finish_reason": "COMPLETE"}), "COMPLETE"),
        ];
        for (name, body, stop) in rows {
            let reply = reply(&body).unwrap_or_else(|| panic!("row: {name}"));
            assert_eq!(
                (reply.text.as_str(), reply.stop.as_str()),
                ("hi", stop),
                "row: {name}"
            );
        }
        assert_eq!(reply(&json!({"hello": 1})), None);
    }

    #[test]
    fn a_stream_without_its_end_is_cut() {
        let events = super::super::envelope::events(
            "data: {\"choices\":[{\"delta\":{\"content\":\"he\"}}]}\n\n",
        )
        .expect("a stream");
        assert!(stream(&events).is_some_and(|reply| reply.is_cut && reply.text == "he"));
        let events = super::super::envelope::events(concat!(
            "data: {\"type\":\"message_start\"}\n\n",
            "data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"tool_use\",\"name\":\"f\"}}\n\n",
            "data: {\"type\":\"content_block_delta\",\"delta\":{\"partial_json\":\"{\\\"a\\\":1}\"}}\n\n",
            "data: {\"type\":\"content_block_stop\"}\n\n",
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}\n\n",
            "data: {\"type\":\"message_stop\"}\n\n"
        ))
        .expect("a stream");
        let reply = stream(&events).expect("Anthropic events");
        assert!(!reply.is_cut);
        assert_eq!(
            reply.calls,
            [Call {
                name: "f".to_owned(),
                arguments: Value::from("{\"a\":1}")
            }]
        );
    }
}
