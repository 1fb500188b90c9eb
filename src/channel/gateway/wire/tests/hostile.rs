//! Random and hostile bytes: no panic, and no more memory than the bounds say.

use proptest::prelude::*;

use super::super::bounds::{FOLD_BYTES_MAX, PARTS_MAX};
use super::super::{Api, Frame, Framing, Patch, Reader, Said, api, patch, reply, request, sse};
use super::fixtures;

const APIS: [Api; 5] = [
    Api::Messages,
    Api::CountTokens,
    Api::Chat,
    Api::Responses,
    Api::Gemini,
];

fn all_of_it(bytes: &[u8], cut: usize) {
    let steer = Patch {
        max_output: Some(1),
        steer: Some("x".to_owned()),
        ..Patch::default()
    };
    let text = String::from_utf8_lossy(bytes);
    api::route("POST", &text, false);
    api::gemini_path(&text, &text);
    for api in APIS {
        if let Ok(asked) = request::read(api, bytes) {
            asked.history();
            asked.system_hash();
        }
        let _ = patch::apply(api, bytes, &steer);
        let _ = reply::whole(api, Framing::Whole, bytes);
        let _ = reply::whole(api, Framing::List, bytes);
        Said::read(api, &text);
        let (mut frames, mut reader) = (sse::Reader::new(1 << 16), Reader::new(api));
        let (left, right) = bytes.split_at(cut.min(bytes.len()));
        let mut given = 0;
        for portion in [left, right] {
            frames.feed(portion);
            while let Ok(Some(frame)) = frames.next_frame() {
                given += frame.raw.len();
                reader.take(&frame);
            }
        }
        let tail = frames.finish();
        given += tail.as_ref().map_or(0, |frame| frame.raw.len());
        tail.iter().for_each(|frame| {
            reader.take(frame);
        });
        assert_eq!(given, bytes.len(), "every byte is forwarded");
        reader.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0..300_usize) {
        all_of_it(&bytes, cut);
    }

    #[test]
    fn no_damaged_fixture_panics(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8, count in 1..40_usize) {
        let all = fixtures(|name| !name.ends_with(".want"));
        let (_, _, mut bytes) = all[which.index(all.len())].clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.drain(at..(at + count - 1).min(bytes.len()));
        all_of_it(&bytes, at);
    }

    #[test]
    fn no_events_in_odd_shapes_panic(fields in prop::collection::vec((0..24_usize, 0..12_usize), 0..6), kind in 0..12_usize) {
        let names = ["type", "index", "delta", "content_block", "message", "usage", "choices", "candidates", "response", "item",
            "output_index", "error", "content", "parts", "tool_calls", "function", "role", "input", "output", "text",
            "promptFeedback", "usageMetadata", "finish_reason", "stop_reason"];
        let values = ["null", "1", "-1", "1e300", "\"x\"", "[]", "{}", "[{}]", "[[]]", "[null]", "{\"content\":[{}],\"parts\":[1]}", "18446744073709551615"];
        let kinds = ["content_block_start", "content_block_delta", "message_delta", "message_start", "error", "response.completed",
            "response.failed", "response.output_item.added", "response.output_text.delta", "response.function_call_arguments.delta", "message", "function_call"];
        let mut event = format!("{{\"type\":\"{}\"", kinds[kind]);
        for (name, value) in fields {
            event.push_str(&format!(",\"{}\":{}", names[name], values[value]));
        }
        event.push('}');
        all_of_it(event.as_bytes(), 0);
        all_of_it(format!("data: {event}\n\ndata: {event}\n\n").as_bytes(), 9);
    }
}

#[test]
fn a_frame_without_end_is_given_up_and_handed_back() {
    let mut reader = sse::Reader::new(1000);
    reader.feed(b"data: ok\n\n");
    reader.feed(&[b'x'; 900]);
    assert_eq!(
        reader.next_frame().unwrap().unwrap().data.as_deref(),
        Some("ok")
    );
    assert_eq!(reader.next_frame(), Ok(None));
    reader.feed(&[b'x'; 200]);
    assert_eq!(reader.next_frame(), Err(sse::TooLong { bytes_max: 1000 }));
    assert_eq!(reader.next_frame(), Err(sse::TooLong { bytes_max: 1000 }));
    reader.feed(&[b'x'; 5000]);
    assert_eq!(reader.finish().unwrap().raw.len(), 1100);
}

#[test]
fn blocks_without_end_are_bounded() {
    let rows = [
        (
            Api::Messages,
            r#"{"type":"content_block_start","index":@,"content_block":{"type":"text","text":"a"}}"#,
        ),
        (
            Api::Chat,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":@,"id":"@"}]}}]}"#,
        ),
        (Api::Chat, r#"{"choices":[{"delta":{"x@":1}}]}"#),
        (
            Api::Responses,
            r#"{"type":"response.output_item.done","output_index":@,"item":{"type":"message"}}"#,
        ),
        (
            Api::Gemini,
            r#"{"candidates":[{"content":{"parts":[{"inlineData":@}]}}]}"#,
        ),
    ];
    for (api, event) in rows {
        let mut reader = Reader::new(api);
        for at in 0..PARTS_MAX + 50 {
            let data = Some(event.replace('@', &at.to_string()));
            reader.take(&Frame {
                data,
                ..Frame::default()
            });
        }
        let reply = reader.finish();
        assert!(reply.is_clipped && reply.hashes.is_empty(), "row: {event}");
        assert!(reply.messages.len() <= PARTS_MAX);
    }
}

#[test]
fn text_without_end_is_counted_and_not_kept() {
    let data = format!(
        r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{}"}}}}"#,
        "a".repeat(1 << 20)
    );
    let frame = Frame {
        data: Some(data),
        ..Frame::default()
    };
    let start =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let mut reader = Reader::new(Api::Messages);
    reader.take(&Frame {
        data: Some(start.to_owned()),
        ..Frame::default()
    });
    for _ in 0..40 {
        assert!(reader.take(&frame).is_content);
    }
    assert_eq!(reader.output_bytes(), 40 << 20);
    let reply = reader.finish();
    assert!(reply.is_clipped);
    assert!(reply.text.len() <= FOLD_BYTES_MAX);
}
