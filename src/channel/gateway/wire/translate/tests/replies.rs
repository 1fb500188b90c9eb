//! Whole replies and errors.

use serde_json::{Value, json};

use super::super::super::api::Framing;
use super::super::super::reply::{self as wire_reply, Reply, Stop};
use super::super::{Api, Error, error, reply};
use super::{fixtures, others, tree};
use Api::{Chat, Messages, Responses};

/// Returns what every API can say of a reply.
pub(super) fn essence(reply: &Reply) -> Value {
    let calls = reply.calls.iter().map(|call| {
        let arguments = match call.arguments.trim() {
            "" => json!({}),
            text => serde_json::from_str(text).unwrap_or(Value::from(text)),
        };
        json!([call.id, call.name, arguments])
    });
    let calls: Vec<Value> = calls.collect();
    let stop = reply.stop.as_ref().filter(|_| reply.is_terminal);
    let stop = stop.map(|stop| match stop {
        Stop::Refusal(_) => "refusal".to_owned(),
        stop => format!("{stop:?}"),
    });
    let usage = reply.usage.clone().filter(|_| reply.is_terminal);
    let usage = usage.unwrap_or_default();
    let written = usage.cache_write_5m + usage.cache_write_1h;
    json!({
        "from": [reply.id, reply.model],
        "said": format!("{}{}", reply.text, reply.refusal),
        "calls": calls,
        "stop": stop,
        "usage": [usage.input, usage.cache_read, written, usage.output, usage.reasoning],
        "is_terminal": reply.is_terminal,
        "error": reply.error.as_ref().map(|fault| fault.message.clone()),
    })
}

/// Reports whether a reply has parts that no other API can carry.
pub(super) fn is_foreign(reply: &Reply) -> bool {
    reply.others > 0 || reply.calls.iter().any(|call| call.is_free_text)
}

#[test]
fn whole_replies_read_alike_after_every_translation() {
    let is_reply =
        |name: &str| name.ends_with(".json") && !name.contains(".request.") && name != "count.json";
    for (from, path, bytes) in fixtures(is_reply) {
        let read = wire_reply::whole(from, Framing::Whole, &bytes).unwrap();
        for to in others(from) {
            let name = format!("{} to {to:?}", path.display());
            let found = reply(from, to, &bytes);
            if is_foreign(&read) {
                assert!(
                    matches!(found, Err(Error::NotTranslatable { .. })),
                    "{name}"
                );
                continue;
            }
            let found = wire_reply::whole(to, Framing::Whole, &found.unwrap()).unwrap();
            if read.error.is_some() {
                assert_eq!(essence(&found)["error"], essence(&read)["error"], "{name}");
                continue;
            }
            assert_eq!(essence(&found), essence(&read), "{name}");
        }
    }
}

#[test]
fn replies_table() {
    let chat = |message: Value, finish: &str| {
        json!({"id": "c", "created": 5, "model": "up", "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}})
    };
    let messages = |content: Value, stop: &str| {
        json!({"id": "m", "model": "up", "role": "assistant", "content": content, "stop_reason": stop,
        "usage": {"input_tokens": 6, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2, "output_tokens": 3}})
    };
    let call = json!({"role": "assistant", "content": "Look", "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{\"b\":1,\"a\":2}"}}]});
    let usage = json!({"input_tokens": 6, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 3});
    #[rustfmt::skip]
    let rows = [
        ("text and a call", Chat, Messages, chat(call, "tool_calls"),
         json!({"id": "c", "type": "message", "role": "assistant", "model": "up", "content": [{"type": "text", "text": "Look"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"b": 1, "a": 2}}],
                "stop_reason": "tool_use", "stop_sequence": null, "usage": usage})),
        ("nothing at all", Chat, Messages, chat(json!({"role": "assistant", "content": ""}), "stop"),
         json!({"id": "c", "type": "message", "role": "assistant", "model": "up", "content": [], "stop_reason": "end_turn", "stop_sequence": null, "usage": usage})),
        ("a cut call is left out", Chat, Messages, chat(json!({"tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{\"a\":"}}]}), "length"),
         json!({"id": "c", "type": "message", "role": "assistant", "model": "up", "content": [], "stop_reason": "max_tokens", "stop_sequence": null, "usage": usage})),
        ("thinking is dropped", Messages, Chat, messages(json!([{"type": "thinking", "thinking": "h", "signature": "s"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "end_turn"),
         json!({"id": "m", "object": "chat.completion", "created": 0, "model": "up", "choices": [{"index": 0, "message": {"role": "assistant", "content": "ab", "refusal": null}, "logprobs": null, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 0}}})),
    ];
    for (name, from, to, body, want) in rows {
        let found = tree(&reply(from, to, body.to_string().as_bytes()).unwrap());
        assert_eq!(found, want, "row: {name}");
    }
    let found = reply(Messages, Chat, br#"{"content":[{"type":"tool_use","id":"t","name":"f","input":{"z":1.0,"a":2}}],"stop_reason":"tool_use"}"#).unwrap();
    let found = String::from_utf8(found).unwrap();
    assert!(
        found.contains(r#""arguments":"{\"z\":1.0,\"a\":2}""#),
        "as it was written: {found}"
    );
    let broken = chat(
        json!({"tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{\"a\":"}}]}),
        "tool_calls",
    );
    let found = reply(Chat, Messages, broken.to_string().as_bytes()).unwrap_err();
    assert_eq!(
        found.to_string(),
        "cannot be translated: a call whose arguments are no JSON object"
    );
    assert!(matches!(
        reply(Chat, Messages, b"<html>"),
        Err(Error::Reply(_))
    ));
    assert_eq!(reply(Chat, Chat, b"<html>"), Ok(b"<html>".to_vec()));
}

#[test]
fn errors_table() {
    let anthropic = r#"{"type":"error","error":{"type":"x_error","message":"said"}}"#;
    let openai = r#"{"error":{"message":"said","type":"x","param":null,"code":null}}"#;
    #[rustfmt::skip]
    let rows = [
        (400, "invalid_request_error", "invalid_request_error"), (401, "authentication_error", "authentication_error"),
        (402, "billing_error", "insufficient_quota"), (403, "permission_error", "permission_error"),
        (404, "not_found_error", "invalid_request_error"), (413, "request_too_large", "invalid_request_error"),
        (418, "invalid_request_error", "invalid_request_error"), (429, "rate_limit_error", "rate_limit_error"),
        (500, "api_error", "server_error"), (502, "api_error", "server_error"),
        (503, "overloaded_error", "server_error"), (504, "timeout_error", "server_error"), (529, "overloaded_error", "server_error"),
    ];
    for (status, for_messages, for_openai) in rows {
        let found = tree(&error(Chat, Messages, status, openai.as_bytes()));
        assert_eq!(
            found["error"],
            json!({"type": for_messages, "message": "said"})
        );
        assert_eq!(found["type"], "error");
        for to in [Chat, Responses] {
            let found = tree(&error(Messages, to, status, anthropic.as_bytes()));
            let found = &found["error"];
            assert_eq!(
                (&found["type"], &found["message"]),
                (&json!(for_openai), &json!("said"))
            );
        }
    }
    let quota =
        br#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let found = tree(&error(Chat, Messages, 429, quota));
    assert_eq!(
        found["error"]["type"], "billing_error",
        "no limit to wait for"
    );
    let long = br#"{"error":{"message":"m","type":"invalid_request_error","code":"context_length_exceeded"}}"#;
    let found = tree(&error(Responses, Messages, 400, long));
    assert_eq!(
        found["error"]["message"], "prompt is too long: m",
        "agents look for it"
    );
    let long = br#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9"}}"#;
    let found = tree(&error(Messages, Chat, 400, long));
    assert_eq!(found["error"]["code"], "context_length_exceeded");
    let page = format!("<html>{}</html>", "x".repeat(9000));
    let found = tree(&error(Chat, Messages, 502, page.as_bytes()));
    assert_eq!(found["error"]["message"].as_str().unwrap().len(), 500);
    let found = tree(&error(Chat, Messages, 502, b""));
    assert_eq!(
        found["error"]["message"],
        "the upstream answered with status 502"
    );
}
