//! `agentguard loops`

use serde_json::{Value, json};
use snapbox::{assert_data_eq, str};

use crate::cli_support::{said, titled};
use crate::support::{BINARY, Sandbox, masked};

/// A trace with the same call and result `count` times.
fn same(id: &str, count: usize) -> Value {
    let call = json!({"tool": "read_file", "args": {"path": "a.txt"}, "result": "hello", "is_error": false});
    json!({"id": id, "calls": vec![call; count]})
}

/// A trace of three calls in turn, `laps` times.
fn cycle(id: &str, laps: usize) -> Value {
    let calls: Vec<Value> = (0..laps * 3)
        .map(|at| {
            let path = ["a.txt", "b.txt", "c.txt"][at % 3];
            json!({"tool": "read_file", "args": {"path": path}, "result": format!("text of {path}")})
        })
        .collect();
    json!({"id": id, "calls": calls, "resume_after": [2, 5]})
}

#[test]
fn lines_are_judged_in_order_and_a_broken_one_on_its_place() {
    let here = Sandbox::new();
    let lines = format!(
        "{}\n{}\nnot json\n{}\n{}\n",
        same("five", 5),
        same("two", 2),
        json!({"id": "no calls"}),
        cycle("round", 4)
    );
    assert_data_eq!(
        said(&here, &["loops", "--json"], lines),
        str![[r#"
status 2
--- stdout
{"id":"five","verdict":"loop","at_call":5,"rung":"same_call","first":1,"last":5,"why":"read_file(path=a.txt) was called 5 times in a row and answered the same each time"}
{"id":"two","verdict":"ok","at_call":null,"rung":null,"first":null,"last":null,"why":"no repetition worth a word"}
{"id":null,"error":"line 3: expected ident at column 2"}
{"id":"no calls","error":"line 4: missing field `calls`"}
{"id":"round","verdict":"loop","at_call":9,"rung":"cycle","period":3,"first":1,"last":9,"why":"a cycle of 3 calls ran 3 times with the same results: read_file(path=a.txt), read_file(path=b.txt), read_file(path=c.txt)"}
--- stderr

"#]]
    );
}

#[test]
fn traces_are_explained_to_a_person() {
    let here = Sandbox::new();
    let traces = format!("{:#}\n{:#}", cycle("round", 3), same("two", 2));
    here.write("traces.json", &traces);
    assert_data_eq!(
        said(&here, &["loops", "traces.json"], ""),
        str![[r#"
status 0
--- stdout
round: loop, stopped at call 9
  rung      cycle, 3 calls a lap
  evidence  calls 1 to 9
  why       a cycle of 3 calls ran 3 times with the same results: read_file(path=a.txt), read_file(path=b.txt), read_file(path=c.txt)
two: no loop
  why       no repetition worth a word
--- stderr

"#]]
    );
}

#[test]
fn a_threshold_can_be_set() {
    let here = Sandbox::new();
    let trace = same("five", 5).to_string();
    let args = [
        "loops",
        "--json",
        "--set",
        "same_result=8",
        "--set",
        "recurrence=9",
    ];
    assert_data_eq!(
        said(&here, &args, &trace),
        str![[r#"
status 0
--- stdout
{"id":"five","verdict":"ok","at_call":null,"rung":null,"first":null,"last":null,"why":"no stop; the loudest answer came at call 4: read_file(path=a.txt) was called 4 times in a row and answered the same each time"}
--- stderr

"#]]
    );
    let args = ["loops", "--set", "same_reslt=8"];
    assert_data_eq!(
        said(&here, &args, &trace),
        str![[r#"
status 2
--- stdout
--- stderr
error: invalid value 'same_reslt=8' for '--set <THRESHOLD=N>': unknown threshold `same_reslt`, expected one of same_result, same_error, tool_error, cycle_2, cycle, recurrence_error, recurrence, density, stagnation, stagnation_text, reversal, self_append, polls, deaths, window

For more information, try '--help'.

"#]]
    );
}

#[test]
fn a_stored_run_is_judged_again_with_other_thresholds() {
    let here = Sandbox::new();
    here.write(
        "agent.sh",
        &format!(
            "for i in 1 2 3 4 5 6 7; do\n  '{BINARY}' report ls --arg path=. --result a.txt >/dev/null || exit 9\ndone\n'{BINARY}' turn --done\n"
        ),
    );
    here.write(
        "task.yaml",
        "agent: {command: [sh, agent.sh], inherit_env: [PATH]}\nlimits: {deadline: 60s}\n",
    );
    let ran = said(&here, &["run", "task.yaml"], "");
    assert!(ran.starts_with("status 22\n"), "{ran}");
    let shown = titled([
        (
            "as it was",
            said(&here, &["loops", "--run", "latest", "--json"], ""),
        ),
        (
            "tighter",
            said(
                &here,
                &[
                    "loops",
                    "--run",
                    "latest",
                    "--json",
                    "--set",
                    "same_result=3",
                ],
                "",
            ),
        ),
        (
            "looser",
            said(
                &here,
                &["loops", "--run", "latest", "--set", "same_result=30"],
                "",
            ),
        ),
        (
            "no such run",
            said(&here, &["loops", "--run", "r-nope"], ""),
        ),
    ]);
    assert_data_eq!(
        masked(&here, &shown),
        str![[r#"
== as it was
status 0
--- stdout
{"id":"[RUN]","verdict":"loop","at_call":5,"rung":"same_call","first":1,"last":5,"why":"ls(path=.) was called 5 times in a row and answered the same each time"}
--- stderr

== tighter
status 0
--- stdout
{"id":"[RUN]","verdict":"loop","at_call":3,"rung":"same_call","first":1,"last":3,"why":"ls(path=.) was called 3 times in a row and answered the same each time"}
--- stderr

== looser
status 0
--- stdout
[RUN]: no loop
  why       no stop; the loudest answer came at call 5: ls(path=.) came back 5 times with the same answer, and nothing new was changed in between
--- stderr

== no such run
status 2
--- stdout
--- stderr
error: there is no run `r-nope`
hint: list the runs with `agentguard runs`


"#]]
    );
}
