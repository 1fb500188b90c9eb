//! Prints what one call costs the loop detector at a full window.
//!
//! `cargo run --release --example loop_speed`
//!
//! The best of many batches is printed, so that a busy machine matters little.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it prints figures"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use agentguard::policy::loops::{Detector, ErrorKind, Print, ToolTraits};
use serde_json::{Value, json};

const BATCHES: usize = 60;
const BATCH: usize = 500;

fn main() {
    let traits = ToolTraits::default();
    for (name, calls) in workloads() {
        let mut detector = Detector::default();
        let (mut best_print, mut best_observe) = (Duration::MAX, Duration::MAX);
        for batch in 0..BATCHES {
            let calls = (0..BATCH).map(|no| &calls[(batch * BATCH + no) % calls.len()]);
            let start = Instant::now();
            let prints: Vec<Print> = calls
                .map(|(tool, args, result)| {
                    Print::of(tool, args, result, false, ErrorKind::None, &traits)
                })
                .collect();
            best_print = best_print.min(start.elapsed());
            let start = Instant::now();
            for print in prints {
                black_box(detector.observe(print, None, None));
            }
            best_observe = best_observe.min(start.elapsed());
        }
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / BATCH as f64;
        let (print, observe) = (micros(best_print), micros(best_observe));
        println!(
            "{name}: print {print:.2} us, observe {observe:.2} us, together {:.2} us",
            print + observe
        );
    }
}

type Work = (&'static str, Vec<(&'static str, Value, Value)>);

/// Good work, and loops that go on long after the stop.
fn workloads() -> Vec<Work> {
    let reads = |no| {
        let result = format!("line {no} of the file\nand another one");
        (
            "Read",
            json!({"file_path": format!("/repo/src/m{no}.py"), "offset": no}),
            json!(result),
        )
    };
    let searches = |no| {
        (
            "web_search",
            json!({"query": format!("policy of refunds case {no}")}),
            json!("No results found."),
        )
    };
    let commands = |no| {
        let command = format!("cd /repo && pytest -q tests/test_{no}.py");
        (
            "Bash",
            json!({"command": command}),
            json!(format!("{no} failed, 3 passed in 0.{no}3s")),
        )
    };
    let one = (
        "Grep",
        json!({"pattern": "refund", "path": "src"}),
        json!("src/a.py:12: refund"),
    );
    vec![
        ("distinct reads", (0..500).map(reads).collect()),
        ("distinct commands", (0..500).map(commands).collect()),
        ("loop of one call", vec![one]),
        (
            "loop of rephrased searches",
            (0..500).map(searches).collect(),
        ),
        ("loop of twelve commands", (0..12).map(commands).collect()),
    ]
}
