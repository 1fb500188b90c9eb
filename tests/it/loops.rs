//! Own labelled traces: loops are caught in time, good work is not stopped.
//!
//! `fixtures/loops/traces.jsonl` holds one trace a line in the input format of
//! `agentguard loops`, with `want` (`loop` or `ok`), for loops `want_by` (the
//! latest call at which the stop is in time), and a word on what it shows.
//! `LOOP_TRACES=FILE` judges another labelled set of the same form.

use agentguard::policy::loops::trace::{Answer, Trace, Verdict, judge};
use serde_json::Value;

struct Row {
    label: Value,
    answer: Answer,
}

impl Row {
    fn is_loop(&self) -> bool {
        self.label["want"] == "loop"
    }

    fn in_time(&self) -> bool {
        let by = self.label["want_by"].as_u64().unwrap_or(u64::MAX);
        self.answer.at_call.is_some_and(|at| at <= by)
    }
}

fn rows() -> Vec<Row> {
    let path = std::env::var("LOOP_TRACES").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/loops/traces.jsonl").to_owned()
    });
    let text = std::fs::read_to_string(path).expect("the labelled traces are there");
    text.lines()
        .map(|line| {
            let mut label: Value = serde_json::from_str(line).expect("each line is JSON");
            let trace: Trace = serde_json::from_str(line).expect("each line is a trace");
            label["calls"] = trace.calls.len().into();
            Row {
                label,
                answer: judge(&trace),
            }
        })
        .collect()
}

#[test]
fn own_set_is_judged_right() {
    let rows = rows();
    let (loops, good): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_loop());
    let missed: Vec<&&Row> = loops.iter().filter(|row| !row.in_time()).collect();
    let stopped: Vec<&&Row> = good
        .iter()
        .filter(|row| row.answer.verdict == Verdict::Loop)
        .collect();
    for row in missed.iter().chain(&stopped) {
        let Row { label, answer } = row;
        println!(
            "wrong: {} (by {}, of {}): {:?} {:?} {}",
            label["id"], label["want_by"], label["calls"], answer.at_call, answer.rung, answer.why
        );
    }
    let percent = |part: usize, whole: usize| part as f64 * 100.0 / whole.max(1) as f64;
    let caught = percent(loops.len() - missed.len(), loops.len());
    let false_stops = percent(stopped.len(), good.len());
    println!(
        "{} loops, caught in time {caught:.1} %; {} good runs, false stops {false_stops:.1} %",
        loops.len(),
        good.len()
    );
    assert!(rows.len() >= 120, "the set has {} traces", rows.len());
    assert!(caught >= 97.0, "caught in time: {caught:.1} %");
    assert!(stopped.is_empty(), "false stops: {false_stops:.1} %");
}

#[test]
fn answers_hold_the_contract() {
    for row in rows() {
        let json = serde_json::to_value(&row.answer).expect("an answer is plain data");
        for key in ["id", "verdict", "at_call", "rung", "first", "last", "why"] {
            assert!(json.get(key).is_some(), "{key} of {}", row.label["id"]);
        }
        assert_eq!(json["id"], row.label["id"]);
        assert_eq!(json["at_call"].is_null(), json["verdict"] == "ok");
        if let (Some(first), Some(last)) = (row.answer.first, row.answer.last) {
            assert!(0 < first && first <= last, "{}", row.label["id"]);
        }
    }
}
