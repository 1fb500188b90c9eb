//! `docs/protocol.md` against the code: nothing left out, every example true.

use std::process::Stdio as Pipe;

use serde_json::{Map, Value, json};

use super::*;
use crate::channel::frame::{self, Code};
use crate::channel::method::{
    BatchAnswer, BatchCounts, Briefing, Cause, Count, Deadline, EscalateAnswer, Input, ItemAnswer,
    LentAnswer, Money, NAMES, NativeKey, Next, ReportAnswer, ReservationNo, ReserveAnswer,
    ToolAnswer, ToolInfo, Unfinished, Verbatim,
};
use crate::channel::params::FIELDS;
use crate::clock::UnixMs;
use crate::ids::{AttemptNo, BatchNo, CallId, EscalationId, RunId};

const PAGE: &str = include_str!("../../../docs/protocol.md");

/// Returns the lines of every block fenced with `language`.
fn blocks(language: &str) -> Vec<Vec<&'static str>> {
    let fence = format!("```{language}");
    let mut lines = PAGE.lines();
    let mut blocks = vec![];
    while lines.any(|line| line == fence) {
        blocks.push(lines.by_ref().take_while(|line| *line != "```").collect());
    }
    blocks
}

/// Returns the text of a section, from its heading to the next one.
fn section(heading: &str) -> &'static str {
    let start = PAGE
        .find(&format!("\n### {heading}\n"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    let text = &PAGE[start + 5..];
    &text[..text.find("\n##").unwrap_or(text.len())]
}

fn briefing() -> Briefing {
    let count = Some(Count {
        limit: 3,
        used: 1,
        left: 2,
    });
    Briefing {
        protocol: 1,
        run_id: RunId::from_bits(7),
        attempt: AttemptNo(1),
        step: StepNo(0),
        cause: Cause::Reflection,
        note: Some("n".into()),
        messages: vec![Verbatim::from_text("{\"a\": 1.0}").unwrap()],
        input: Input {
            prompt: Some("p".into()),
            params: Map::new(),
            dir: Some("d".into()),
        },
        tools: vec![ToolInfo {
            name: "t".into(),
            description: "d".into(),
            input_schema: json!({}),
            output_schema: Some(json!({})),
            effect: "read".into(),
            available: false,
            unavailable: Some("down".into()),
            back_at: Some(UnixMs(0)),
        }],
        limits: Left {
            cost_usd: Some(Money {
                limit_nano_usd: 2_500_000_000,
                used_nano_usd: 1,
                left_nano_usd: 2_499_999_999,
            }),
            tokens: count,
            steps: count,
            tool_calls: count,
            deadline: Some(Deadline {
                at: UnixMs(1_000),
                left_ms: 5,
            }),
        },
        unfinished: vec![Unfinished {
            call: CallId(1),
            tool: "t".into(),
            args: Verbatim::from_text("{}").unwrap(),
            content: "c".into(),
            is_error: false,
        }],
    }
}

fn batch() -> BatchAnswer {
    let item = ItemAnswer {
        id: "7".into(),
        status: "queued".into(),
        class: "transient".into(),
        rule: Some("r".into()),
        why: Some("w".into()),
        evidence: Some("e".into()),
        attempts: 3,
        from_record: true,
        call: CallId(1),
        content: "c".into(),
        json: Some(Verbatim::from_text("[1]").unwrap()),
        output_path: Some("p".into()),
        truncated: true,
        at: Some(UnixMs(0)),
    };
    BatchAnswer {
        batch: BatchNo(1),
        tool: "t".into(),
        policy: "95%".into(),
        met: false,
        counts: BatchCounts::default(),
        items: vec![item],
        verdict: Verdict::Go,
    }
}

/// Every answer with every field.
fn answers() -> Vec<(&'static str, Answer)> {
    let stop = Verdict::Stop {
        reason: "r".into(),
        exit_code: 20,
        text: Some("t".into()),
    };
    let steer = Verdict::Steer {
        text: "t".into(),
        reason: Some("r".into()),
    };
    let tool = ToolAnswer {
        call: CallId(1),
        content: "c".into(),
        json: Some(Verbatim::from_text("[1]").unwrap()),
        is_error: false,
        class: "success".into(),
        output_path: Some("p".into()),
        truncated: true,
        verdict: Verdict::Go,
    };
    let limits = Left::default();
    let turn = TurnAnswer {
        step: StepNo(1),
        verdict: stop.clone(),
        limits,
        warnings: vec!["w".into()],
        next: Next::Take,
    };
    vec![
        ("start", Answer::Briefing(Box::new(briefing()))),
        ("turn", Answer::Turn(turn)),
        (
            "reserve",
            Answer::Reserve(ReserveAnswer::Go {
                reservation: ReservationNo(1),
                max_tokens: 5,
                steer: None,
                link: 0,
                is_quiet: false,
            }),
        ),
        (
            "reserve",
            Answer::Reserve(ReserveAnswer::Stop {
                reason: "r".into(),
                exit_code: 20,
                text: Some("t".into()),
            }),
        ),
        ("tool", Answer::Tool(Box::new(tool))),
        ("batch", Answer::Batch(Box::new(batch()))),
        (
            "lend",
            Answer::Lent(LentAnswer {
                call: CallId(1),
                attempt: 1,
                timeout_ms: 5,
                key: Some("k".into()),
                native_key: Some(NativeKey::Argument("a".into())),
            }),
        ),
        (
            "report",
            Answer::Report(ReportAnswer {
                call: CallId(1),
                class: "success".into(),
                verdict: steer,
            }),
        ),
        (
            "escalate",
            Answer::Escalate(Box::new(EscalateAnswer {
                escalation: EscalationId::from_bits(7),
                option: "keep".into(),
                label: "keep it".into(),
                note: Some("n".into()),
                by: "anna".into(),
                at: UnixMs(0),
                source: "answer".into(),
                recorded: true,
                content: "c".into(),
                verdict: Verdict::Go,
            })),
        ),
    ]
}

#[test]
fn every_method_and_every_field_is_in_its_section() {
    let mut missing = vec![];
    let mut expect = |place: &str, field: &str| {
        if !section(place).contains(&format!("`{field}`")) {
            missing.push(format!("{place}: {field}"));
        }
    };
    for name in NAMES {
        assert!(
            PAGE.contains(&format!("\n### {name}\n")),
            "no section for {name}"
        );
    }
    for (place, fields) in FIELDS {
        fields.iter().for_each(|field| expect(place, field));
    }
    for (place, answer) in answers() {
        let Value::Object(fields) = serde_json::to_value(&answer).unwrap() else {
            panic!("an object")
        };
        fields.keys().for_each(|field| expect(place, field));
    }
    let whole = serde_json::to_value(briefing()).unwrap();
    for (pointer, place) in [
        ("/input", "start"),
        ("/unfinished/0", "start"),
        ("/tools/0", "tools"),
        ("/limits", "limits left"),
        ("/limits/cost_usd", "limits left"),
        ("/limits/deadline", "limits left"),
    ] {
        let Some(Value::Object(fields)) = whole.pointer(pointer) else {
            panic!("{pointer}")
        };
        fields.keys().for_each(|field| expect(place, field));
    }
    let whole = serde_json::to_value(batch()).unwrap();
    for (pointer, place) in [("/counts", "batch"), ("/items/0", "item")] {
        let Some(Value::Object(fields)) = whole.pointer(pointer) else {
            panic!("{pointer}")
        };
        fields.keys().for_each(|field| expect(place, field));
    }
    for status in crate::machine::batch::Status::ALL {
        expect("item", status.as_str());
    }
    for word in ["fresh", "verbatim", "reflection"] {
        expect("start", word);
    }
    assert!(missing.is_empty(), "not in docs/protocol.md: {missing:#?}");
}

#[test]
fn every_code_has_its_row_and_every_row_its_code() {
    let errors = PAGE
        .split("\n## Errors\n")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let row_code = |line: &str| {
        line.strip_prefix("| -")
            .and_then(|rest| rest.split(' ').next()?.parse::<i32>().ok())
    };
    let rows: Vec<i32> = errors
        .lines()
        .filter_map(row_code)
        .map(|code| -code)
        .collect();
    assert_eq!(rows, Code::ALL.map(Code::number));
}

#[test]
fn the_bounds_on_the_page_are_those_of_the_code() {
    let limits = Limits::default();
    let mib = |bytes: usize| format!("{} MiB", bytes >> 20);
    let page = PAGE.split("\n## Limits\n").nth(1).unwrap();
    for (what, bound) in [
        ("bytes of a line,", mib(limits.line_bytes_max)),
        ("nesting", frame::DEPTH_MAX.to_string()),
        ("connections", limits.connections_max.to_string()),
        ("requests of a connection", limits.in_flight_max.to_string()),
        (
            "bytes of lines up to 1 MiB",
            mib(limits.small_lines_bytes_max),
        ),
        ("lines over 1 MiB", limits.large_lines_max.to_string()),
        ("bytes of answers unread", mib(limits.unread_bytes_max)),
        ("lines in a row", limits.garbage_in_a_row_max.to_string()),
    ] {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| {what}")));
        let row = row.unwrap_or_else(|| panic!("no row for {what}"));
        assert_eq!(row.split('|').nth(2).unwrap().trim(), bound, "row: {what}");
    }
    assert_eq!(
        (limits.small_line_bytes, limits.large_line_wait),
        (1 << 20, Duration::from_secs(30))
    );
}

/// Checks one frame of an example: a request that is taken, or an answer.
fn check(line: &str) {
    let frame: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}\n{error}"));
    if frame.get("method").is_some() {
        let request =
            frame::parse(line).unwrap_or_else(|rejection| panic!("{line}\n{}", rejection.error));
        match Call::parse(&request.method, request.params) {
            Ok(_) => {}
            // The one mistake that the transcript shows.
            Err(error) => assert!(line.contains("mesages"), "{line}\n{error}"),
        }
    } else if let Some(error) = frame.get("error") {
        let known = |code: &Code| error["code"] == json!(code.number());
        assert!(Code::ALL.iter().any(known), "{line}");
    } else {
        let known = |fields: &Map<String, Value>| {
            let names = ["verdict", "run_id", "attempt"];
            names.iter().any(|name| fields.contains_key(*name))
        };
        assert!(frame["result"].as_object().is_some_and(known), "{line}");
    }
}

#[test]
fn every_example_is_a_valid_frame() {
    let examples = blocks("json").concat();
    assert!(examples.len() > 10);
    examples.into_iter().for_each(check);
}

#[test]
fn the_transcript_is_what_the_code_answers() {
    let lines = blocks("transcript").concat();
    assert!(lines.len() >= 8);
    for line in &lines {
        check(
            line.strip_prefix("> ")
                .or(line.strip_prefix("< "))
                .expect("a direction"),
        );
    }
    let (asked, answered) = (&lines[4][2..], &lines[5][2..]);
    let request = frame::parse(asked).unwrap();
    let error = Call::parse(&request.method, request.params).unwrap_err();
    let frame = frame::render_answer(request.id.as_ref(), &Err(error));
    assert_eq!(frame.trim_end(), answered);
}

#[test]
fn answers_are_written_as_the_page_says() {
    let text = frame::render_answer(
        Some(&frame::Id::number(1)),
        &Ok(Answer::Briefing(Box::new(briefing()))),
    );
    assert!(
        text.contains(r#""messages":[{"a": 1.0}]"#),
        "kept byte for byte: {text}"
    );
    assert!(
        text.contains(r#""limit":2.5,"used":0.000000001,"left":2.499999999"#),
        "exact money: {text}"
    );
    assert!(
        text.contains(r#""at":"1970-01-01T00:00:01Z""#),
        "RFC 3339: {text}"
    );
}

#[tokio::test]
async fn the_python_example_runs() {
    let python = std::process::Command::new("python3")
        .arg("--version")
        .stdout(Pipe::null())
        .status();
    if !python.is_ok_and(|status| status.success()) {
        println!("skipped: there is no python3 here");
        return;
    }
    let mut bench = Bench::new(Limits::default());
    let folder = Folder::new();
    let script = folder.path().join("example.py");
    // Its model asks for a tool first, so that every line of the loop runs.
    let asks = r#"return ({"role": "assistant"}, {"cost_usd": 1.2e-05}, [{"name": "now", "args": {}, "id": "t1"}]) if len(messages) < 3 else ("#;
    let example = blocks("python").concat().join("\n");
    let example = example
        .replacen("return {\"role\"", &format!("{asks}{{\"role\""), 1)
        .replacen(", []\n", ", [])\n", 1);
    std::fs::write(&script, example).unwrap();
    let mut child = tokio::process::Command::new("python3")
        .arg(&script)
        .env(crate::channel::SOCKET_ENV, bench.socket.path())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut seen = vec![];
    let mut fresh = briefing();
    fresh.messages.clear();
    let status = loop {
        let incoming = tokio::select! {
            status = soon(child.wait()) => break status.unwrap(),
            incoming = bench.request() => incoming,
        };
        seen.push(incoming.call.name());
        let answer = match incoming.call {
            Call::Start(_) => Answer::Briefing(Box::new(fresh.clone())),
            Call::Turn(_) => go(seen.len() as u64),
            _ => answers().swap_remove(4).1,
        };
        bench.answers.send(incoming.request, Ok(answer));
    };
    assert!(status.success());
    assert_eq!(seen, ["start", "tool", "turn", "turn"]);
}

#[test]
fn the_shell_example_is_a_script() {
    let script = blocks("sh").concat().join("\n");
    let status = std::process::Command::new("sh")
        .args(["-n", "-c", &script])
        .status()
        .unwrap();
    assert!(status.success());
    for command in ["turn", "tool", "report", "state"] {
        assert!(
            script.contains(&format!("agentguard {command}")),
            "{command}"
        );
    }
}
