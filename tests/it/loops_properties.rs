//! Properties of the loop detector that hold for any history.

use agentguard::policy::loops::trace::{Call, Trace, Verdict, judge};
use agentguard::policy::loops::{Detector, ErrorKind, Finding, Print, ToolTraits};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A call out of a small world, so that repeats are common.
fn small_call() -> impl Strategy<Value = Call> {
    let tools = prop::sample::select(vec![
        "Read",
        "Edit",
        "Bash",
        "search",
        "check_status",
        "sleep",
        "click",
        "TodoWrite",
        "send_email",
        "exec",
    ]);
    let results = prop::sample::select(vec![
        json!("ok"),
        json!("No results found"),
        json!("1 failed in 0.2s"),
        json!("Error: no such file"),
        json!("503 Service Unavailable"),
        json!({"status": "running", "took_ms": 3}),
        json!("line one\nline two"),
        json!(null),
    ]);
    (tools, 0..4u8, results, any::<bool>()).prop_map(|(tool, no, result, is_error)| Call {
        tool: tool.into(),
        args: args(tool, no),
        result,
        is_error,
        ..Call::default()
    })
}

fn args(tool: &str, no: u8) -> Value {
    match tool {
        "Bash" => {
            let commands = ["pytest -q", "sed -i 's/a/b/' f", "ls", "sleep 5 && ls"];
            json!({"command": commands[usize::from(no) % 4]})
        }
        "Edit" => {
            json!({"file_path": "a", "old_string": format!("v{}", no % 2), "new_string": format!("v{}", (no + 1) % 2)})
        }
        "exec" => json!(format!(
            "const r = await tools.exec_command({{cmd: 'step {no}'}}); text(r)"
        )),
        _ => json!({"query": format!("word {no}"), "nonce": no}),
    }
}

fn histories() -> impl Strategy<Value = Vec<Call>> {
    // A random start, then a piece that repeats: loops and good work alike.
    (
        prop::collection::vec(small_call(), 0..20),
        prop::collection::vec(small_call(), 1..6),
        0..8usize,
    )
        .prop_map(|(mut calls, piece, laps)| {
            for _ in 0..laps {
                calls.extend(piece.iter().cloned());
            }
            calls
        })
}

fn print_of(call: &Call) -> Print {
    Print::of(
        &call.tool,
        &call.args,
        &call.result,
        call.is_error,
        ErrorKind::None,
        &ToolTraits::default(),
    )
}

fn findings(detector: &mut Detector, calls: &[Call]) -> Vec<Option<Finding>> {
    calls
        .iter()
        .map(|call| detector.observe(print_of(call), None, None))
        .collect()
}

fn save_and_restore(detector: Detector) -> Detector {
    serde_json::from_str(&serde_json::to_string(&detector).unwrap()).unwrap()
}

/// A JSON value of any shape, for calls that make no sense.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        "[ -~\\n\u{e9}\u{1b}'\"<>|&;/0-9a-z]{0,60}".prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "command",
        "cmd",
        "path",
        "url",
        "query",
        "sql",
        "patch",
        "content",
        "old_string",
        "new_string",
        "text",
        "id",
        "_",
        "x",
    ]);
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(keys.clone().prop_map(String::from), inner, 0..5)
                .prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replay_equals_live(calls in histories()) {
        let mut live = Detector::default();
        let (mut journal, mut heard) = (Vec::new(), Vec::new());
        for call in &calls {
            let print = print_of(call);
            journal.push(serde_json::to_string(&print).unwrap());
            heard.push(live.observe(print, None, None));
        }
        let mut replayed = Detector::default();
        let again: Vec<_> = journal.iter().map(|line| replayed.observe(serde_json::from_str(line).unwrap(), None, None)).collect();
        prop_assert_eq!(heard, again);
        prop_assert_eq!(live, replayed);
    }

    #[test]
    fn split_anywhere_equals_unsplit(calls in histories(), at in any::<prop::sample::Index>()) {
        let at = at.index(calls.len() + 1);
        let mut whole = Detector::default();
        let want = findings(&mut whole, &calls);
        let mut part = Detector::default();
        let mut got = findings(&mut part, &calls[..at]);
        let mut rest = save_and_restore(part);
        got.extend(findings(&mut rest, &calls[at..]));
        prop_assert_eq!(want, got);
        prop_assert_eq!(whole, rest);
    }

    #[test]
    fn all_unique_results_never_fire(tools in prop::collection::vec(prop::sample::select(vec!["Read", "Bash", "search", "click", "next", "poll"]), 1..120)) {
        let mut detector = Detector::default();
        for (no, tool) in tools.iter().enumerate() {
            let call = Call { tool: (*tool).into(), args: args(tool, 0), result: json!(format!("answer {no}: {}", no * 7919)), ..Call::default() };
            prop_assert_eq!(detector.observe(print_of(&call), None, None), None);
        }
    }

    #[test]
    fn rotating_a_cycle_keeps_its_identity(period in 2..8usize, by in 0..8usize) {
        let calls: Vec<Call> = (0..period)
            .map(|no| Call { tool: "Read".into(), args: json!({"file_path": format!("f{no}")}), result: json!(format!("text {no}")), ..Call::default() })
            .collect();
        let stop = |from: usize| {
            let mut detector = Detector::default();
            let tour = calls.iter().cycle().skip(from).take(period * 6);
            tour.filter_map(|call| detector.observe(print_of(call), None, None)).last().map(|finding| (finding.identity, finding.period))
        };
        prop_assert!(stop(0).is_some());
        prop_assert_eq!(stop(0), stop(by % period));
    }

    #[test]
    fn bookkeeping_changes_no_verdict(calls in histories(), at in any::<prop::sample::Index>(), tool in prop::sample::select(vec!["TodoWrite", "update_plan", "think", "note"])) {
        let calls: Vec<Call> = calls.into_iter().filter(|call| call.tool != "TodoWrite").collect();
        let mut with = calls.clone();
        let at = at.index(calls.len() + 1);
        with.insert(at, Call { tool: tool.into(), args: json!({"text": "on we go"}), result: json!("noted"), ..Call::default() });
        let trace = |calls| Trace { id: json!(1), calls, resume_after: vec![], tools: Default::default() };
        let (without, with) = (judge(&trace(calls)), judge(&trace(with)));
        prop_assert_eq!(without.verdict, with.verdict);
        prop_assert_eq!(without.rung, with.rung);
        if let (Some(one), Some(other)) = (without.at_call, with.at_call) {
            prop_assert_eq!(other, one + u64::from((at as u64) < one));
        }
    }

    #[test]
    fn any_input_has_a_small_print(tool in "\\PC{0,80}", args in any_value(), result in any_value(), is_error in any::<bool>()) {
        for tool in [tool.as_str(), "Bash", "exec", "Edit", "apply_patch", "run_sql"] {
            let print = Print::of(tool, &args, &result, is_error, ErrorKind::None, &ToolTraits::default());
            let json = serde_json::to_string(&print).unwrap();
            prop_assert!(json.len() < 900, "{} bytes: {}", json.len(), json);
            prop_assert_eq!(&serde_json::from_str::<Print>(&json).unwrap(), &print);
            let mut detector = Detector::default();
            for at_ms in 0..8 {
                detector.observe(print.clone(), Some(at_ms), Some(at_ms as u32 * 20));
            }
            detector.died_in(&print);
        }
    }
}

#[test]
fn a_resume_does_not_steer_twice() {
    let call = Call {
        tool: "Read".into(),
        args: json!({"file_path": "a"}),
        result: json!("text of a"),
        ..Call::default()
    };
    let mut detector = Detector::default();
    let mut steers = 0;
    for _ in 0..4 {
        steers += findings(&mut detector, std::slice::from_ref(&call))
            .into_iter()
            .flatten()
            .filter(|finding| finding.steer.is_some())
            .count();
        detector = save_and_restore(detector);
    }
    assert_eq!(steers, 1);
    detector.human_input();
    assert!(
        findings(&mut detector, &vec![call.clone(); 4])
            .into_iter()
            .flatten()
            .all(|finding| finding.steer.is_none())
    );
    assert!(
        detector
            .observe(print_of(&call), None, None)
            .is_some_and(|finding| finding.level == agentguard::policy::loops::Level::Stop)
    );
}

#[test]
fn the_fourth_death_stops() {
    let print = Print::of(
        "Bash",
        &json!({"command": "make all"}),
        &Value::Null,
        false,
        ErrorKind::None,
        &ToolTraits::default(),
    );
    let mut detector = Detector::default();
    let levels: Vec<_> = (0..4)
        .map(|_| {
            detector
                .died_in(&print)
                .map(|finding| format!("{:?}", finding.level))
        })
        .collect();
    assert_eq!(
        levels,
        [
            None,
            Some("Warn".into()),
            Some("Steer".into()),
            Some("Stop".into())
        ]
    );
    detector.observe(print.clone(), None, None);
    assert_eq!(detector.died_in(&print), None);
}

#[test]
fn a_poll_is_given_its_time() {
    let calls = |gap_ms: i64| -> Trace {
        let call = |no: i64| Call {
            tool: "check_status".into(),
            args: json!({"job": 1}),
            result: json!({"status": "running"}),
            at_ms: Some(no * gap_ms),
            ..Call::default()
        };
        Trace {
            id: json!("p"),
            calls: (0..59).map(call).collect(),
            resume_after: vec![],
            tools: Default::default(),
        }
    };
    assert_eq!(judge(&calls(60_000)).at_call, Some(20));
    assert_eq!(
        judge(&calls(20_000)).at_call,
        Some(31),
        "ten minutes must pass"
    );
    assert_eq!(
        judge(&calls(1_000)).verdict,
        Verdict::Ok,
        "a minute is not long"
    );
}
