//! What is promised about foreign bytes, as functions that panic when it is
//! not kept. The fuzz targets call them, and so does `tests/it/fuzz.rs`, which
//! takes this file as a module and needs no nightly.

use agentguard::channel::frame;
use agentguard::channel::lines::{Line, Splitter};
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
