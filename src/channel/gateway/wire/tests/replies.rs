//! Replies: every fixture, however the network cuts it.

use std::fmt::Write;

use super::super::{Api, Fault, Frame, Framing, Reader, Reply, Seen, Stop, reply, request, sse};
use super::{expect, fixtures};

/// Returns the frames of a stream that arrives in `portions`.
fn frames<'a>(portions: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
    let (mut reader, mut frames) = (sse::Reader::default(), Vec::new());
    for portion in portions {
        reader.feed(portion);
        while let Some(frame) = reader.next_frame().unwrap() {
            frames.push(frame);
        }
    }
    frames.extend(reader.finish());
    frames
}

/// One sign a frame: what it means for the stream.
fn sign(seen: Seen) -> char {
    match seen {
        Seen { is_error: true, .. } => 'e',
        Seen {
            is_usage_extra: true,
            ..
        } => 'u',
        Seen {
            is_terminal: true, ..
        } => 't',
        Seen {
            is_content: true, ..
        } => 'c',
        _ => '.',
    }
}

fn read(api: Api, frames: &[Frame]) -> (String, u64, Reply) {
    let mut reader = Reader::new(api);
    let signs = frames
        .iter()
        .map(|frame| sign(reader.take(frame)))
        .collect();
    (signs, reader.output_tokens_so_far(), reader.finish())
}

fn show(signs: &str, reply: &Reply) -> String {
    let mut shown = String::new();
    if !signs.is_empty() {
        writeln!(shown, "frames {signs}").unwrap();
    }
    let names = [&reply.id, &reply.model].map(|name| name.as_deref().unwrap_or("-"));
    writeln!(shown, "from   {} {}", names[0], names[1]).unwrap();
    let ending = if reply.is_terminal {
        "terminal"
    } else {
        "no end mark"
    };
    writeln!(shown, "stop   {:?}, {ending}", reply.stop).unwrap();
    if let Some(Fault {
        kind,
        message,
        code,
        status,
    }) = &reply.error
    {
        writeln!(shown, "error  {status:?} {kind:?} {code:?} {message:?}").unwrap();
    }
    writeln!(shown, "text   {:?}, {} others", reply.text, reply.others).unwrap();
    if !reply.refusal.is_empty() {
        writeln!(shown, "refuse {:?}", reply.refusal).unwrap();
    }
    for call in &reply.calls {
        let whole = if call.is_whole() {
            "whole"
        } else {
            "not whole"
        };
        writeln!(
            shown,
            "call   {} {} {} ({whole})",
            call.id, call.name, call.arguments
        )
        .unwrap();
    }
    if let Some(usage) = &reply.usage {
        let so_far = if reply.is_usage_final {
            "final"
        } else {
            "so far"
        };
        let caches = [usage.cache_read, usage.cache_write_5m, usage.cache_write_1h];
        writeln!(
            shown,
            "usage  {so_far}: in {} cache {caches:?} out {} (reasoning {}) searches {}",
            usage.input, usage.output, usage.reasoning, usage.web_searches
        )
        .unwrap();
        let rates = [&usage.service_tier, &usage.speed, &usage.region];
        writeln!(shown, "rates  {rates:?} others {}", usage.others.len()).unwrap();
    }
    for message in &reply.messages {
        writeln!(shown, "sends  {message}").unwrap();
    }
    shown
}

#[test]
fn streams_read_alike_however_they_are_cut() {
    for (api, path, bytes) in fixtures(|name| name.ends_with(".sse")) {
        let once = frames([bytes.as_slice()]);
        let raw: Vec<u8> = once.iter().flat_map(|frame| frame.raw.clone()).collect();
        assert_eq!(raw, bytes, "raw bytes of {}", path.display());
        let (signs, estimate, reply) = read(api, &once);
        expect(&path, &show(&signs, &reply));
        if let Some(usage) = &reply.usage {
            assert!(estimate >= usage.output);
        }
        for at in 0..=bytes.len() {
            let (left, right) = bytes.split_at(at);
            assert_eq!(
                frames([left, right]),
                once,
                "{} cut at {at}",
                path.display()
            );
        }
        let single = frames(bytes.chunks(1));
        assert_eq!(single, once, "{} byte by byte", path.display());
        assert_eq!(read(api, &single), (signs, estimate, reply));
        // The other line ends mean the same.
        let lf = String::from_utf8(bytes).unwrap().replace("\r\n", "\n");
        for end in ["\r\n", "\r"] {
            let text = lf.replace('\n', end);
            let other = frames([text.as_bytes()]);
            let strip = |frames: &[Frame]| -> Vec<_> {
                let keep = |frame: &Frame| (frame.event.clone(), frame.data.clone(), frame.is_cut);
                frames.iter().map(keep).collect()
            };
            assert_eq!(
                strip(&other),
                strip(&once),
                "{} with {end:?}",
                path.display()
            );
        }
    }
}

#[test]
fn streams_cut_anywhere_are_never_terminal_and_never_dearer() {
    for (api, path, bytes) in fixtures(|name| name.ends_with(".sse")) {
        let (_, _, whole) = read(api, &frames([bytes.as_slice()]));
        let whole_frames = frames([bytes.as_slice()]);
        for count in 0..whole_frames.len() {
            let (signs, _, part) = read(api, &whole_frames[..count]);
            let is_ended = signs.contains(['t', 'e']);
            assert!(is_ended || !part.is_terminal, "{}", path.display());
            assert!(part.text.len() <= whole.text.len());
            assert!(!part.is_usage_final || whole.is_usage_final);
        }
    }
}

#[test]
fn bodies_table() {
    let is_reply = |name: &str| name.ends_with(".json") && !name.contains(".request.");
    for (api, path, bytes) in fixtures(is_reply) {
        let is_list = path.to_str().unwrap().ends_with(".list.json");
        let framing = if is_list {
            Framing::List
        } else {
            Framing::Whole
        };
        let reply = reply::whole(api, framing, &bytes).unwrap();
        expect(&path, &show("", &reply));
    }
    for body in ["", "<html>502</html>", "{\"a\":", "\u{feff}{}"] {
        assert!(reply::whole(Api::Chat, Framing::Whole, body.as_bytes()).is_err());
    }
    let empty = reply::whole(Api::Chat, Framing::Whole, b"{}").unwrap();
    assert_eq!(empty, Reply::default());
}

#[test]
fn a_reply_is_found_again_in_the_next_request() {
    let pairs = [
        (
            Api::Messages,
            "messages/thinking-tools.sse",
            "messages/next.request.json",
        ),
        (
            Api::Messages,
            "messages/crlf-comments.sse",
            "messages/next.request.json",
        ),
        (Api::Chat, "chat/tools.sse", "chat/next.request.json"),
        (
            Api::Responses,
            "responses/reasoning-tools.sse",
            "responses/next.request.json",
        ),
        (
            Api::Responses,
            "responses/codex-empty-output.sse",
            "responses/next.request.json",
        ),
        (
            Api::Gemini,
            "gemini/thought-calls-crlf.sse",
            "gemini/next.request.json",
        ),
    ];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire");
    for (api, stream, next) in pairs {
        let stream_bytes = std::fs::read(root.join(stream)).unwrap();
        let (_, _, reply) = read(api, &frames([stream_bytes.as_slice()]));
        let body = std::fs::read(root.join(next)).unwrap();
        let asked = request::read(api, &body).unwrap();
        let history: Vec<_> = asked
            .history()
            .into_iter()
            .filter_map(|said| said.hash)
            .collect();
        assert!(!reply.hashes.is_empty());
        let is_there = history
            .windows(reply.hashes.len())
            .any(|part| part == reply.hashes);
        assert!(is_there, "row: {stream}\n{:?}\n{history:?}", reply.hashes);
    }
}

#[test]
fn what_counts_as_content_table() {
    #[rustfmt::skip]
    let rows = [
        ("an unknown event of Messages streams on",  Api::Messages, r#"{"type":"new_kind","x":1}"#, 'c'),
        ("a tool block is content at its start",     Api::Messages, r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#, 'c'),
        ("an empty delta is not",                    Api::Messages, r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}"#, '.'),
        ("a role alone is not",                      Api::Chat,     r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}"#, '.'),
        ("Azure's filter results are not",           Api::Chat,     r#"{"choices":[],"prompt_filter_results":[{}]}"#, '.'),
        ("reasoning is",                             Api::Chat,     r#"{"choices":[{"index":0,"delta":{"reasoning_content":"h"}}]}"#, 'c'),
        ("usage beside the last choice is no extra", Api::Chat,     r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#, '.'),
        ("usage without choices is an extra",        Api::Chat,     r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#, 'u'),
        ("an opened message is not",                 Api::Responses, r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[]}}"#, '.'),
        ("an opened call is",                        Api::Responses, r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","name":"f"}}"#, 'c'),
        ("a keepalive is not",                       Api::Responses, r#"{"type":"keepalive","sequence_number":3}"#, '.'),
        ("a signature alone is not",                 Api::Gemini,   r#"{"candidates":[{"content":{"parts":[{"text":"","thoughtSignature":"x"}]}}]}"#, '.'),
        ("an error as a word is an error",           Api::Chat,     r#"{"error":"overloaded"}"#, 'e'),
        ("a null error is none",                     Api::Chat,     r#"{"error":null,"choices":[{"delta":{"content":"a"}}]}"#, 'c'),
        ("what is not JSON is passed on",            Api::Chat,     "garbage", 'c'),
    ];
    for (name, api, data, want) in rows {
        let frame = Frame {
            data: Some(data.to_owned()),
            ..Frame::default()
        };
        assert_eq!(sign(Reader::new(api).take(&frame)), want, "row: {name}");
    }
}

#[test]
fn a_call_changes_an_end_into_tool_use() {
    let body = br#"{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}]}"#;
    let reply = reply::whole(Api::Chat, Framing::Whole, body).unwrap();
    assert_eq!(reply.stop, Some(Stop::ToolUse));
}

#[test]
fn a_longer_history_begins_with_the_shorter_one() {
    for (api, path, bytes) in fixtures(|name| name.ends_with(".request.json")) {
        let hashes = |bytes: &[u8]| -> Vec<_> {
            let history = request::read(api, bytes).unwrap().history();
            history.into_iter().filter_map(|said| said.hash).collect()
        };
        let mut body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let list = ["messages", "input", "contents"]
            .into_iter()
            .find(|name| body[*name].is_array())
            .unwrap();
        let whole = hashes(&bytes);
        body[list].as_array_mut().unwrap().pop();
        let shorter = hashes(body.to_string().as_bytes());
        assert_eq!(shorter, whole[..shorter.len()], "{}", path.display());
        assert!(shorter.len() < whole.len());
    }
}
