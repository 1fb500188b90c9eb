//! What is promised about foreign bytes, as functions that panic when it is
//! not kept. The fuzz targets call them, and so does `tests/it/fuzz.rs`, which
//! takes this file as a module and needs no nightly.

use agentguard::channel::frame;
use agentguard::channel::gateway::script;
use agentguard::channel::gateway::wire::{
    Api, Asked, Frame, Framing, Patch, Reader, extras, patch, reply, request as asked, sse,
    translate as translated,
};
use agentguard::channel::lines::{Line, Splitter};
use agentguard::channel::mcp::message::{self, Message};
use agentguard::channel::method::Call;
use agentguard::policy::loops::trace::{Trace, judge};
use agentguard::policy::loops::{ErrorKind, Print, ToolTraits};
use agentguard::policy::taxonomy::{History, Observation, classify as classified, custom};
use agentguard::task::problem::Colour;
use agentguard::task::{self, resolved::Resolved};
use serde_json::Value;

/// Size of a small line and of the longest one; far below the real bounds, so
/// that both are met.
const LINE_BYTES: (usize, usize) = (256, 4096);
/// Calls of a trace that are looked at; long ones find nothing new.
const CALLS_MAX: usize = 200;
/// Longest print of a call, in bytes of JSON; its page says "about 600".
const PRINT_BYTES_MAX: usize = 1024;

/// Bytes of a connection: however they arrive in pieces, they mean the same,
/// and every refusal is one line of JSON with a code.
pub fn frame(bytes: &[u8]) {
    let whole = read(&[bytes]);
    let cut = bytes.first().map_or(0, |byte| usize::from(*byte)) % (bytes.len() + 1);
    let (start, end) = bytes.split_at(cut);
    assert_eq!(read(&[start, end]), whole, "cut at {cut}");
}

/// Returns what a connection would make of a stream, in order.
fn read(pieces: &[&[u8]]) -> Vec<String> {
    let mut splitter = Splitter::new(LINE_BYTES.0, LINE_BYTES.1);
    let mut lines = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (taken, line) = splitter.feed(rest);
            assert!(taken > 0 || line.is_some(), "a step forward");
            rest = &rest[taken..];
            lines.extend(line);
        }
    }
    lines.extend(splitter.end());
    lines.iter().map(answer).collect()
}

fn answer(line: &Line) -> String {
    let Line::Text(text) = line else {
        return format!("{line:?}");
    };
    let (id, error) = match frame::parse(text) {
        Ok(request) => match Call::parse(&request.method, request.params) {
            Ok(call) => return format!("{call:?}"),
            Err(error) => (request.id, error),
        },
        Err(rejection) => (rejection.id, rejection.error),
    };
    let answer = frame::render_answer(id.as_ref(), &Err(error));
    assert_eq!(
        answer.find('\n'),
        Some(answer.len() - 1),
        "one line: {answer}"
    );
    let value: Value = serde_json::from_str(&answer).expect("an answer is JSON");
    assert!(value["error"]["code"].is_i64(), "{answer}");
    answer
}

/// A line of MCP: a call of a tool that any reader may see is seen or refused, and
/// a change of one place changes nothing else.
pub fn mcp(bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else {
        return;
    };
    let tree = serde_json::from_str::<Value>(line);
    let calls = |value: &Value| value["method"] == "tools/call";
    let one = message::one_line(line);
    assert!(!one.contains('\r'));
    let read = message::read(line);
    match &read {
        Err(refusal) => {
            let error = message::error(refusal.id.as_deref(), refusal.code, &refusal.why);
            let error: Value = serde_json::from_str(&error).expect("a refusal is JSON");
            assert!(error["error"]["code"].is_i64(), "{error}");
        }
        Ok(Message::Request { id, method, params }) => {
            assert_eq!(
                tree.as_ref().map_or(method == "tools/call", calls),
                method == "tools/call"
            );
            let spliced = message::splice(line, id, "\"agentguard-1\"");
            if let (Ok(mut want), Ok(found)) = (tree, serde_json::from_str::<Value>(&spliced)) {
                want["id"] = "agentguard-1".into();
                assert_eq!(found, want);
            }
            if method == "tools/call"
                && let Ok(call) = message::tool_call(*params)
            {
                let args = call.args.map_or("{}", |args| args.get());
                let with = message::with_field(args, "agentguard", "7");
                let is_new = !args.contains("agentguard");
                if let (true, Ok(before)) = (is_new, serde_json::from_str::<Value>(args)) {
                    let mut want = before;
                    want["agentguard"] = 7.into();
                    let found: Value = serde_json::from_str(&with).expect("an object still");
                    assert_eq!(found, want);
                }
            }
        }
        Ok(Message::Batch) => {
            let has_call =
                tree.is_ok_and(|it| it.as_array().is_some_and(|it| it.iter().any(calls)));
            assert!(!has_call || message::batch_has_call(line));
        }
        Ok(Message::Notification { method, .. }) => {
            assert_eq!(
                tree.map_or(method == "tools/call", |it| calls(&it)),
                method == "tools/call"
            );
        }
        Ok(Message::Response { .. }) => assert!(!tree.is_ok_and(|it| calls(&it))),
    }
}

/// A task file: it is read the same twice, a good one survives the journal, a
/// bad one is told why.
pub fn task_file(bytes: &[u8]) {
    let loaded = task::load_bytes(bytes, "task.yaml");
    match &loaded {
        Ok(task) => {
            let stored = serde_json::to_string(task).expect("a task is stored as JSON");
            let back: Resolved = serde_json::from_str(&stored).expect("and read back");
            assert_eq!(&back, task, "the same after the journal");
        }
        Err(problems) => {
            assert!(!problems.0.is_empty(), "a refusal says why");
            assert!(!problems.render(Colour::Never).is_empty());
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let (checked, problems, _) = task::check(text, "task.yaml");
        assert_eq!(checked.is_some(), loaded.is_ok(), "check and run agree");
        assert_eq!(problems.is_empty(), loaded.is_ok());
    }
}

/// One result, with rules of the user's beside it: one verdict, always the
/// same, small enough to keep.
pub fn classify(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let written = value.get("rules").cloned().unwrap_or_default();
    let written: Vec<custom::AsWritten> = serde_json::from_value(written).unwrap_or_default();
    let rules = custom::compile(&written).unwrap_or_default();
    let observation = Observation::from_value(value);
    let mut history = History::default();
    let first = classified(&observation, &rules, &history);
    assert_eq!(
        classified(&observation, &rules, &history),
        first,
        "the same twice"
    );
    assert!(
        first.evidence.len() <= 300,
        "{} bytes of evidence",
        first.evidence.len()
    );
    assert_eq!(first.layer, first.class.layer());
    for _ in 0..8 {
        history.record(classified(&observation, &rules, &history).class);
    }
    let line = serde_json::to_string(&first).expect("a verdict is JSON");
    assert!(!line.contains('\n'));
}

/// A past run: the verdict is the same when the detector is stored and read
/// back after every call, and prints stay small.
pub fn loops(bytes: &[u8]) {
    let Ok(mut trace) = serde_json::from_slice::<Trace>(bytes) else {
        return;
    };
    trace.calls.truncate(CALLS_MAX);
    trace.resume_after.clear();
    let uncut = judge(&trace);
    trace.resume_after = (1..=trace.calls.len() as u64).collect();
    assert_eq!(judge(&trace), uncut, "the same after a resume");
    let none = ToolTraits::default();
    for call in &trace.calls {
        let traits = trace.tools.get(&call.tool).unwrap_or(&none);
        let (args, result) = (&call.args, &call.result);
        let print = Print::of(
            &call.tool,
            args,
            result,
            call.is_error,
            ErrorKind::None,
            traits,
        );
        let stored = serde_json::to_string(&print).expect("a print is stored as JSON");
        assert!(
            stored.len() <= PRINT_BYTES_MAX,
            "{} bytes: {stored}",
            stored.len()
        );
        let back: Print = serde_json::from_str(&stored).expect("and read back");
        assert_eq!(back, print);
    }
}

/// APIs that are read, and those of them that are translated.
const APIS: [Api; 5] = [
    Api::Messages,
    Api::CountTokens,
    Api::Chat,
    Api::Responses,
    Api::Gemini,
];
const TRANSLATED: [Api; 3] = [Api::Messages, Api::Chat, Api::Responses];

/// Who knows how a request begins reads the same as who does not.
fn goes_on(api: Api, bytes: &[u8], read: &Asked<'_>) {
    let is_object = |raw: &&&str| raw.ends_with('}');
    let known = read.messages.iter().take_while(is_object).count() / 2;
    let again = asked::read_on(api, bytes, |text| {
        let place = |raw: &&str| {
            let start = raw.as_ptr() as usize - text.as_ptr() as usize;
            start..start + raw.len()
        };
        let known = known * usize::from(text.starts_with('{'));
        read.messages[..known].iter().map(place).collect()
    });
    let again = again.expect("it was read before");
    assert_eq!(again.messages, read.messages);
    assert_eq!(again.model, read.model);
    assert_eq!(again.max_output, read.max_output);
    assert_eq!(again.tools.len(), read.tools.len());
}

/// A model call: whatever can be read can be patched into what can be read again,
/// and then says what was patched: money depends on it.
pub fn request(bytes: &[u8]) {
    for api in APIS {
        let Ok(read) = asked::read(api, bytes) else {
            continue;
        };
        assert_eq!(read.history().len(), read.messages.len());
        goes_on(api, bytes, &read);
        let _ = (read.system_hash(), extras::terms(&read));
        let seen = read.messages.len() / 2;
        let _ = extras::read(&read, "claude-sonnet-4-5", &extras::notable(&read), seen);
        let none = patch::apply(api, bytes, &Patch::default()).expect("nothing is changed");
        assert_eq!(none, bytes, "the very same bytes");
        let limited = Patch {
            max_output: Some(17),
            ..Patch::default()
        };
        if let Ok(limited) = patch::apply(api, bytes, &limited) {
            let again = asked::read(api, &limited).expect("it is read again");
            assert_eq!(again.max_output, Some(17), "{api:?}: {}", shown(&limited));
            assert_eq!(again.messages.len(), read.messages.len());
        }
        let more = Patch {
            include_usage: api == Api::Chat,
            model: (api != Api::Gemini).then(|| "other".to_owned()),
            ..Patch::default()
        };
        if let Ok(patched) = patch::apply(api, bytes, &more) {
            let again = asked::read(api, &patched).expect("it is read again");
            assert!(api == Api::Gemini || again.model.as_deref() == Some("other"));
            assert!(api != Api::Chat || again.asks_usage, "{}", shown(&patched));
        }
        let steered = Patch {
            steer: Some("Try \"another\" way.".to_owned()),
            ..Patch::default()
        };
        if let Ok(steered) = patch::apply(api, bytes, &steered) {
            let again = asked::read(api, &steered).expect("it is read again");
            assert!(again.messages.len() >= read.messages.len());
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A streamed answer: however it arrives in pieces, it means the same, and every
/// byte of it is passed on.
pub fn stream(bytes: &[u8]) {
    let cut = bytes.first().map_or(0, |byte| usize::from(*byte) * 7) % (bytes.len() + 1);
    let (start, end) = bytes.split_at(cut);
    let whole = frames(&[bytes]);
    assert_eq!(frames(&[start, end]), whole, "cut at {cut}");
    let raw: Vec<u8> = whole.iter().flat_map(|frame| frame.raw.clone()).collect();
    assert_eq!(raw, bytes, "every byte");
    for api in APIS {
        let mut reader = Reader::new(api);
        let mut is_terminal = false;
        for frame in &whole {
            is_terminal |= reader.take(frame).is_terminal;
            let _ = (reader.output_bytes(), reader.output_tokens_so_far());
        }
        assert!(!is_terminal || reader.is_terminal());
        let usage = reader.usage().map(|usage| usage.tokens());
        let read = reader.finish();
        // Reasoning is sent again and has no meaning of its own.
        assert!(
            read.hashes.len() <= read.messages.len(),
            "{api:?}: {read:?}"
        );
        assert!(usage.is_none() || read.usage.is_some());
        for framing in [Framing::Whole, Framing::List] {
            let _ = reply::whole(api, framing, bytes);
        }
    }
}

fn frames(pieces: &[&[u8]]) -> Vec<Frame> {
    let mut reader = sse::Reader::default();
    let mut found = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        while let Ok(Some(frame)) = reader.next_frame() {
            found.push(frame);
        }
    }
    found.extend(reader.finish());
    found
}

/// What one API says, in another's words: it can be read there, asks for no more
/// output, and a stream is made of whole events.
pub fn translate(bytes: &[u8]) {
    let whole = frames(&[bytes]);
    for (from, to) in APIS.into_iter().flat_map(|from| APIS.map(|to| (from, to))) {
        let can = from != to && TRANSLATED.contains(&from) && TRANSLATED.contains(&to);
        let text = translated::error(from, to, 500, bytes);
        if can {
            is_json(&text);
        }
        if let Ok(body) = translated::reply(from, to, bytes)
            && can
        {
            is_json(&body);
            reply::whole(to, Framing::Whole, &body).expect("it is read there");
        }
        if let Ok(body) = translated::request(from, to, bytes, "other")
            && can
        {
            let here = asked::read(from, bytes).expect("it was read");
            let there = asked::read(to, &body).expect("it is read there");
            assert_eq!(there.model.as_deref(), Some("other"));
            assert_eq!(there.is_stream, here.is_stream);
            if let Some(limit) = here.max_output {
                assert_eq!(there.max_output, Some(limit), "{from:?} to {to:?}");
            }
        }
        if !can {
            continue;
        }
        let mut stream = translated::Stream::new(from, to);
        let out: Vec<u8> = whole.iter().flat_map(|frame| stream.take(frame)).collect();
        for frame in frames(&[&out]) {
            assert!(!frame.is_cut, "{from:?} to {to:?}: {}", shown(&out));
            let data = frame.data.unwrap_or_default();
            if !data.is_empty() && data != "[DONE]" {
                is_json(data.as_bytes());
            }
        }
    }
}

fn is_json(bytes: &[u8]) {
    let read = serde_json::from_slice::<Value>(bytes);
    assert!(read.is_ok(), "{read:?}: {}", shown(bytes));
}

/// The script of a model: what is wrong with it is said in one line.
pub fn script(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = script::parse(&text, "model.yaml") {
        let said = error.to_string();
        assert!(said.starts_with("model.yaml:"), "{said}");
        assert!(error.hint().is_none_or(|hint| !hint.is_empty()));
        let (line, column) = error.place.unwrap_or((1, 1));
        assert!(line > 0 && column > 0, "{said}");
    }
}
