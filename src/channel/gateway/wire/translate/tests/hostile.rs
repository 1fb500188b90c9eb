//! Random and hostile bytes: no panic, no growth beyond the bounds.

use proptest::prelude::*;

use super::super::super::bounds::{FOLD_BYTES_MAX, PARTS_MAX};
use super::super::super::reply::Reader;
use super::super::super::sse::Frame;
use super::super::{Api, Stream, error, reply, request};
use super::{fixtures, frames};

const ALL: [Api; 5] = [
    Api::Messages,
    Api::Chat,
    Api::Responses,
    Api::CountTokens,
    Api::Gemini,
];

fn all_of_it(bytes: &[u8]) {
    for (from, to) in ALL.into_iter().flat_map(|from| ALL.map(|to| (from, to))) {
        let _ = request(from, to, bytes, "m");
        let _ = reply(from, to, bytes);
        error(from, to, 500, bytes);
        let mut stream = Stream::new(from, to);
        let out: Vec<u8> = frames(bytes)
            .iter()
            .flat_map(|frame| stream.take(frame))
            .collect();
        let mut reader = Reader::new(to);
        for frame in frames(&out) {
            reader.take(&frame);
        }
        reader.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        all_of_it(&bytes);
    }

    #[test]
    fn no_damaged_fixture_panics(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8, count in 1..40_usize) {
        let all = fixtures(|name| !name.ends_with(".want"));
        let (_, _, mut bytes) = all[which.index(all.len())].clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.drain(at..(at + count - 1).min(bytes.len()));
        all_of_it(&bytes);
    }

    #[test]
    fn no_events_in_odd_shapes_panic(fields in prop::collection::vec((0..22_usize, 0..14_usize), 0..6), kind in 0..12_usize) {
        let names = ["type", "index", "delta", "content_block", "message", "usage", "choices", "response", "item", "output_index",
            "error", "content", "tool_calls", "function", "role", "input", "output", "text", "messages", "tools", "tool_choice", "system"];
        let values = ["null", "1", "-1", "1e300", "\"x\"", "[]", "{}", "[{}]", "[[]]", "[null]", "{\"content\":[{}]}", "18446744073709551615",
            "{\"type\":\"text\"}", "[{\"type\":\"function\"}]"];
        let kinds = ["content_block_start", "content_block_delta", "message_delta", "message_start", "error", "response.completed",
            "response.failed", "response.output_item.added", "response.output_text.delta", "response.function_call_arguments.delta", "message", "function_call"];
        let mut event = format!("{{\"type\":\"{}\"", kinds[kind]);
        for (name, value) in fields {
            event.push_str(&format!(",\"{}\":{}", names[name], values[value]));
        }
        event.push('}');
        all_of_it(event.as_bytes());
        all_of_it(format!("data: {event}\n\ndata: {event}\n\n").as_bytes());
    }
}

/// Feeds one event many times, with its number for `@`; returns the last error.
fn fed(from: Api, event: &str, times: usize) -> (u64, String) {
    let to = if from == Api::Messages {
        Api::Chat
    } else {
        Api::Messages
    };
    let mut stream = Stream::new(from, to);
    let (mut bytes, mut last) = (0, String::new());
    for at in 0..times {
        let data = Some(event.replace('@', &at.to_string()));
        let out = stream.take(&Frame {
            data,
            ..Frame::default()
        });
        bytes += out.len() as u64;
        if !out.is_empty() {
            last = String::from_utf8(out).unwrap();
        }
    }
    (bytes, last)
}

#[test]
fn parts_without_end_become_an_error() {
    #[rustfmt::skip]
    let rows = [
        (Api::Messages, r#"{"type":"content_block_start","index":@,"content_block":{"type":"text","text":"a"}}"#),
        (Api::Chat, r#"{"choices":[{"delta":{"tool_calls":[{"index":@,"id":"@"}]}}]}"#),
        (Api::Responses, r#"{"type":"response.output_text.delta","output_index":@,"delta":"a"}"#),
    ];
    for (from, event) in rows {
        let (_, last) = fed(from, event, PARTS_MAX + 9);
        assert!(
            last.contains("a reply of more than 4096 parts"),
            "row: {from:?} {last}"
        );
    }
}

#[test]
fn text_without_end_becomes_an_error() {
    let event = format!(
        r#"{{"choices":[{{"delta":{{"content":"{}"}}}}]}}"#,
        "a".repeat(1 << 20)
    );
    let (bytes, last) = fed(Api::Chat, &event, 40);
    assert!(
        last.contains("a reply of more than 33554432 bytes"),
        "{last}"
    );
    assert!(bytes < FOLD_BYTES_MAX as u64 + (1 << 20));
}

#[test]
fn deep_arguments_are_no_arguments() {
    let deep = format!("{{\\\"a\\\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"x"}},{{"role":"assistant","tool_calls":[{{"id":"c","function":{{"name":"f","arguments":"{deep}"}}}}]}},{{"role":"tool","tool_call_id":"c","content":""}}]}}"#
    );
    let found = request(Api::Chat, Api::Messages, body.as_bytes(), "m").unwrap_err();
    assert!(
        found
            .to_string()
            .contains("arguments that are no JSON object"),
        "{found}"
    );
}
