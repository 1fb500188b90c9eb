//! Streams, frame by frame.

use serde_json::{Value, json};

use super::super::super::reply::{Reader, Reply};
use super::super::super::sse::Frame;
use super::super::{Api, Stream};
use super::replies::{essence, is_foreign};
use super::{fixtures, frames, others};
use Api::{Chat, Messages, Responses};

fn read(api: Api, frames: &[Frame]) -> Reply {
    let mut reader = Reader::new(api);
    for frame in frames {
        reader.take(frame);
    }
    reader.finish()
}

/// Returns the frames of `to` for those of `from`.
pub(super) fn translated(from: Api, to: Api, given: &[Frame]) -> Vec<Frame> {
    let mut stream = Stream::new(from, to);
    let mut found = Vec::new();
    for frame in given {
        let bytes = stream.take(frame);
        let whole = frames(&bytes);
        assert!(whole.iter().all(|frame| !frame.is_cut), "whole frames only");
        found.extend(whole);
    }
    check(to, &found);
    found
}

/// Checks the order of events as the SDKs want it.
fn check(api: Api, frames: &[Frame]) {
    let data = frames.iter().filter_map(|frame| frame.data.as_deref());
    let events: Vec<Value> = data
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let (mut open, mut count) = (None, 0_u64);
    for (at, event) in events.iter().enumerate() {
        let kind = event["type"].as_str().unwrap_or_default();
        match (api, kind) {
            (Messages, "content_block_start") => {
                assert_eq!((open, event["index"].as_u64()), (None, Some(count)));
                (open, count) = (Some(count), count + 1);
            }
            (Messages, "content_block_delta") => assert_eq!(event["index"].as_u64(), open),
            (Messages, "content_block_stop") => assert_eq!(event["index"].as_u64(), open.take()),
            (Messages, "message_delta") => assert_eq!(open, None),
            (Messages, "message_start") => {
                assert!(events[..at].iter().all(|event| event["type"] == "ping"))
            }
            (Responses, kind) => {
                assert_eq!(event["sequence_number"], at as u64, "{kind}");
                match kind {
                    "response.output_item.added" => {
                        assert_eq!((open, event["output_index"].as_u64()), (None, Some(count)));
                        (open, count) = (Some(count), count + 1);
                    }
                    "response.output_item.done" => {
                        assert_eq!(event["output_index"].as_u64(), open.take())
                    }
                    "response.completed" | "response.incomplete" => {
                        assert_eq!(open, None);
                        assert_eq!(
                            event["response"]["output"].as_array().unwrap().len() as u64,
                            count
                        );
                    }
                    _ => {}
                }
            }
            (Chat, _) => assert!(event["choices"].is_array() || event["error"].is_object()),
            _ => {}
        }
    }
}

#[test]
fn streams_read_alike_after_every_translation() {
    for (from, path, bytes) in fixtures(|name| name.ends_with(".sse")) {
        let given = frames(&bytes);
        let reply = read(from, &given);
        for to in others(from) {
            let name = format!("{} to {to:?}", path.display());
            let once = translated(from, to, &given);
            let found = read(to, &once);
            if is_foreign(&reply) {
                let message = found.error.unwrap().message;
                assert!(
                    message.starts_with("cannot be translated: a reply with"),
                    "{name}: {message}"
                );
                continue;
            }
            let (mut want, mut essence_found) = (essence(&reply), essence(&found));
            if reply.error.is_some() {
                // Responses has an end mark for failures, the others have not.
                for essence in [&mut want, &mut essence_found] {
                    essence["is_terminal"] = Value::Null;
                    essence["usage"] = Value::Null;
                    essence["stop"] = Value::Null;
                }
            }
            assert_eq!(essence_found, want, "{name}");
            for back in others(to) {
                let found = read(back, &translated(to, back, &once));
                assert_eq!(essence(&found)["said"], want["said"], "{name} to {back:?}");
                assert_eq!(
                    essence(&found)["calls"],
                    want["calls"],
                    "{name} to {back:?}"
                );
            }
        }
    }
}

#[test]
fn a_stream_cut_anywhere_gets_no_end_mark() {
    for (from, path, bytes) in fixtures(|name| name.ends_with(".sse")) {
        let given = frames(&bytes);
        for count in 0..given.len() {
            let part = &given[..count];
            let reply = read(from, part);
            if reply.is_terminal || reply.error.is_some() {
                break;
            }
            for to in others(from) {
                let found = read(to, &translated(from, to, part));
                assert!(
                    found.error.is_some() || !found.is_terminal,
                    "{} at {count}",
                    path.display()
                );
            }
        }
    }
}

/// Returns the frames of a list of events.
fn events(list: &[Value]) -> Vec<Frame> {
    let frame = |event: &Value| Frame {
        data: Some(
            event
                .as_str()
                .map_or_else(|| event.to_string(), str::to_owned),
        ),
        ..Frame::default()
    };
    list.iter().map(frame).collect()
}

fn shown(frames: &[Frame]) -> Vec<String> {
    let line = |frame: &Frame| {
        let data: Value = serde_json::from_str(frame.data.as_deref()?).ok()?;
        let piece = data["delta"]["text"]
            .as_str()
            .or(data["delta"]["partial_json"].as_str());
        let kind = frame.event.trim_start_matches("content_block_");
        Some(format!(
            "{kind} {}{}",
            data["index"],
            piece.unwrap_or_default()
        ))
    };
    let lines = frames.iter().filter_map(line);
    lines
        .filter(|line| !line.starts_with("message") && !line.starts_with("ping"))
        .collect()
}

#[test]
fn mixed_pieces_are_put_in_order() {
    let call = |at: u64, id: Value, arguments: &str| json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": at, "id": id, "function": {"name": "f", "arguments": arguments}}]}}]});
    let end = [
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
        json!("[DONE]"),
    ];
    let rows = [
        (
            "a whole call makes room for the next",
            vec![
                call(0, json!("a"), "{}"),
                call(1, json!("b"), "{\"x\":"),
                call(1, Value::Null, "1}"),
            ],
            vec![
                "start 0",
                "delta 0{}",
                "stop 0",
                "start 1",
                "delta 1{\"x\":",
                "delta 1{}".trim_end_matches("{}"),
                "stop 1",
            ],
        ),
        (
            "a half call lets the next one wait",
            vec![
                call(0, json!("a"), "{"),
                call(1, json!("b"), "{\"x\":1}"),
                call(0, Value::Null, "}"),
            ],
            vec![
                "start 0",
                "delta 0{",
                "delta 0}",
                "stop 0",
                "start 1",
                "delta 1{\"x\":1}",
                "stop 1",
            ],
        ),
        (
            "a call without arguments has none",
            vec![call(0, json!("a"), "")],
            vec!["start 0", "delta 0{}", "stop 0"],
        ),
    ];
    for (name, mut given, mut want) in rows {
        given.extend(end.clone());
        if name.starts_with("a whole") {
            want[5] = "delta 11}";
        }
        let found = translated(Chat, Messages, &events(&given));
        assert_eq!(shown(&found), want, "row: {name}");
        for to in [Messages, Responses] {
            let reply = read(to, &translated(Chat, to, &events(&given)));
            assert!(
                reply.is_terminal && reply.calls.iter().all(|call| call.is_whole()),
                "row: {name}"
            );
        }
    }
}

#[test]
fn endings_table() {
    let text = json!({"choices": [{"index": 0, "delta": {"content": "a"}}]});
    #[rustfmt::skip]
    let rows = [
        ("no frame is no answer",                    Chat, vec![], None, false),
        ("an end without a reason is an end",        Chat, vec![text.clone(), json!("[DONE]")], None, true),
        ("an event that is not JSON",                Chat, vec![text.clone(), json!("{")], Some("cannot be translated: an event that is not JSON"), false),
        ("a part that nobody asked for",             Chat, vec![json!({"choices": [{"delta": {"audio": {"id": "x"}}}]})], Some("cannot be translated: a reply with a part of type \"audio\""), false),
        ("a server's own tool",                      Responses, vec![json!({"type": "response.output_item.added", "item": {"type": "web_search_call"}})], Some("cannot be translated: a reply with a part of type \"web_search_call\""), false),
        ("a delta without its block",                Messages, vec![json!({"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta", "text": "x"}})], Some("cannot be translated: a reply that goes on with a part that is not open"), false),
("a call that changes its name",             Chat, vec![json!({"choices": [{"delta": {"tool_calls": [{"id": "a", "function": {"name": "f"}}]}}]}), json!({"choices": [{"delta": {"tool_calls": [{"function": {"name": "g"}}]}}]})], Some("cannot be translated: a reply with a call that changes its name"), false),
        ("nothing follows an error",                 Chat, vec![json!({"error": {"message": "m"}}), text.clone(), json!("[DONE]")], Some("m"), false),
    ];
    for (name, from, given, error, is_terminal) in rows {
        for to in others(from) {
            let reply = read(to, &translated(from, to, &events(&given)));
            assert_eq!(
                reply.error.as_ref().map(|fault| fault.message.as_str()),
                error,
                "row: {name}"
            );
            // In Responses a failure ends the stream.
            let is_failed = to == Responses && error.is_some();
            assert_eq!(
                reply.is_terminal,
                is_terminal || is_failed,
                "row: {name}, {to:?}"
            );
        }
    }
}

#[test]
fn a_cut_call_is_never_made_whole() {
    let block = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}});
    let piece = |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": text}});
    let end = |stop: &str| {
        let delta = json!({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 2}});
        [
            json!({"type": "content_block_stop", "index": 0}),
            delta,
            json!({"type": "message_stop"}),
        ]
    };
    for (text, stop, want) in [
        ("", "tool_use", "{}"),
        ("", "max_tokens", ""),
        ("{\"a\":", "max_tokens", "{\"a\":"),
        ("{\"a\":1}", "max_tokens", "{\"a\":1}"),
    ] {
        let mut given = vec![block.clone(), piece(text)];
        given.extend(end(stop));
        for to in [Chat, Responses] {
            let frames = translated(Messages, to, &events(&given));
            let reply = read(to, &frames);
            assert_eq!(
                reply.calls[0].arguments, want,
                "row: {text:?} {stop} {to:?}"
            );
            let is_done = |frame: &&Frame| frame.event == "response.output_item.done";
            if let Some(done) = frames.iter().find(is_done) {
                let status = if stop == "tool_use" {
                    "completed"
                } else {
                    "incomplete"
                };
                let is_whole = want == "{\"a\":1}";
                let data = done.data.as_deref().unwrap();
                assert!(is_whole || data.contains(status), "row: {text:?} {stop}");
            }
        }
    }
}

#[test]
fn thinking_keeps_alive_and_the_end_comes_at_once() {
    let given = [
        json!({"type": "message_start", "message": {"id": "m", "model": "up", "usage": {"input_tokens": 3, "output_tokens": 1}}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "h"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ];
    let mut stream = Stream::new(Messages, Chat);
    let found: Vec<Vec<u8>> = events(&given)
        .iter()
        .map(|frame| stream.take(frame))
        .collect();
    assert_eq!(found[1], b": keep-alive\n\n");
    assert_eq!(found[2], b"", "the end is told at once, by the end mark");
    assert!(found[3].ends_with(b"data: [DONE]\n\n"));
    let raw = b"x".to_vec();
    let frame = Frame {
        raw: raw.clone(),
        ..Frame::default()
    };
    assert_eq!(
        Stream::new(Chat, Chat).take(&frame),
        raw,
        "the same API keeps every byte"
    );
}
