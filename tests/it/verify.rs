//! The work is checked when the agent says that it is done: the real binary, real
//! files, real signals.

use std::process::Stdio;

use agentguard::drill::point::{Boundary, Point, Side, VARIABLE};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Ran, Sandbox, wait_until};

/// A task with these checks whose agent is `loop.sh`.
fn sandbox(script: &str, verify: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let head = "name: v\nagent: {command: [sh, loop.sh], grace: 1s}\n";
    let limits = "limits: {deadline: 10m, steps: 40}\n";
    sandbox.write("task.yaml", &format!("{head}{limits}verify:\n{verify}\n"));
    sandbox.write("loop.sh", script);
    sandbox
}

/// Says done at once; the second time it does what it was told was missing.
const LEARNS: &str = r#"
echo started >> starts.txt
agentguard state --messages none > state.json
if grep -q '"note":"' state.json; then cp state.json told.json; echo good > out.txt; fi
agentguard turn --done --result '{"n":1}'
"#;

const DONE: &str = "echo started >> starts.txt; agentguard turn --done --result '{\"n\":1}'\n";

fn starts(sandbox: &Sandbox) -> usize {
    sandbox.read("starts.txt").lines().count()
}

/// The verdict of each check of the last round, with why.
fn verdicts(ran: &Ran) -> Vec<String> {
    let mut lines = ran
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let last = lines.rfind(|line| line["event"]["event"] == "verified");
    let last = last.unwrap_or_else(|| panic!("no checks ended: {ran:?}"));
    let checks = last["event"]["checks"].as_array().unwrap().iter();
    let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    checks
        .map(|it| {
            format!(
                "{} {}: {}",
                text(it, "name"),
                text(it, "verdict"),
                text(it, "why")
            )
        })
        .collect()
}

#[test]
fn every_kind_of_check_says_what_it_found() {
    let sandbox = sandbox(
        DONE,
        r#"
  rounds: 0
  checks:
  - {name: exit 0, command: [sh, -c, "exit 0"]}
  - {name: exit 3, script: "echo told; exit 3"}
  - {name: not there, command: [no-such-program]}
  - {name: not found, script: no-such-program}
  - {name: no program, command: [./data.json]}
  - {name: killed, script: "kill -9 $$"}
  - {name: crashed, script: "kill -SEGV $$"}
  - {name: slow, script: "sleep 600", timeout: 300ms}
  - {name: matches, file: data.json, must_match: ['^.*"n": 1', n], must_not_match: [TODO]}
  - {name: no match, files: "src/*.rs", must_match: [fn], must_not_match: [TODO]}
  - {name: is there, file: data.json}
  - {name: is not there, file: gone.txt}
  - {name: must not be there, file: data.json, exists: false}
  - {name: is gone, files: "**/*.tmp", exists: false}
  - {name: a name with stars, file: "[x]*.txt"}
  - {name: a pipe, file: pipe, must_match: [x]}
  - {name: meets, schema: {file: data.json, schema: {required: [n]}}}
  - {name: does not meet, schema: {file: data.json, schema: {properties: {n: {type: string}}}}}
  - {name: no json, schema: {file: src/a.rs, schema: {}}}
  - {name: in a file, schema: {result: true, schema_file: s.json}}
"#,
    );
    sandbox.write("data.json", "{\"n\": 1}");
    sandbox.write("src/a.rs", "fn a() {}\n// TODO: more\n");
    sandbox.write("[x]*.txt", "");
    sandbox.write("s.json", r#"{"type": "object", "required": ["n"]}"#);
    let pipe = sandbox.path().join("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(pipe)
            .status()
            .unwrap()
            .success()
    );
    let ran = sandbox.run(&["run", "--json", "task.yaml"]);
    assert_eq!(ran.code, 24, "{ran:?}");
    let want = [
        "exit 0 passed: exited with code 0",
        "exit 3 failed: exited with code 3",
        "not there unchecked: could not be started",
        "not found unchecked: was not found (code 127)",
        "no program unchecked: could not be started",
        "killed unchecked: was killed by signal 9",
        "crashed failed: crashed with signal 11",
        "slow unchecked: took longer than 300 ms, its time limit",
        "matches passed: looked at 1 files",
        "no match failed: is not as it should be",
        "is there passed: found 1 files",
        "is not there failed: found no file",
        "must not be there failed: found files that must not be there",
        "is gone passed: found no file, as it should be",
        "a name with stars passed: found 1 files",
        "a pipe failed: is not as it should be",
        "meets passed: meets its schema",
        "does not meet failed: does not meet its schema",
        "no json failed: is no JSON: expected ident at line 1 column 2",
        "in a file passed: meets its schema",
    ];
    assert_eq!(verdicts(&ran), want);
    // The same, without a run; it has no result.
    let now = sandbox.run(&["verify", "task.yaml", "--json"]);
    assert_eq!(now.code, 24, "{now:?}");
    let told: Value = serde_json::from_str(&now.stdout).unwrap();
    assert_eq!(told["checks"].as_array().unwrap().len(), want.len());
    let page = sandbox.run(&["verify", "task.yaml"]).stdout;
    assert!(
        page.contains("no match") && page.contains("  src/a.rs:2: matches `TODO`"),
        "{page}"
    );
    for finding in [
        "told",
        "src/a.rs:2: matches `TODO`: // TODO: more",
        "pipe is no regular file",
    ] {
        assert!(ran.stdout.contains(finding), "{finding}");
    }
}

#[test]
fn an_agent_whose_work_fails_is_told_and_tries_again() {
    let sandbox = sandbox(LEARNS, "- {file: out.txt, must_match: [good]}");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("done, verified"), "{ran:?}");
    assert!(sandbox.read("told.json").contains("out.txt found no file"));
    assert_eq!(starts(&sandbox), 2);
    let report = sandbox.report();
    assert_eq!(
        (&report["status"], &report["verified"]),
        (&"done".into(), &true.into())
    );
    let why = sandbox.run(&["why", "latest"]);
    assert!(why.stdout.contains("verify.failed") && why.stdout.contains("verify.passed"));
    assert!(sandbox.run(&["runs"]).stdout.contains("done, verified"));
}

#[test]
fn tries_are_bounded_and_a_resume_grants_new_ones() {
    let sandbox = sandbox(DONE, "  rounds: 1\n  checks: [{file: out.txt}]");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!((ran.code, starts(&sandbox)), (24, 2), "{ran:?}");
    assert_eq!(sandbox.report()["status"], "rejected");
    assert_eq!(sandbox.report()["checks"][0]["why"], "found no file");
    let shown = sandbox.run(&["show", "latest"]).stdout;
    assert!(
        shown.contains("\nchecks\n") && shown.contains("found no file"),
        "{shown}"
    );
    assert_eq!(
        sandbox
            .run(&["runs", "--status", "rejected"])
            .stdout
            .lines()
            .count(),
        2
    );
    sandbox.write("loop.sh", LEARNS);
    let ran = sandbox.run(&["resume", "latest"]);
    assert_eq!((ran.code, starts(&sandbox)), (0, 3), "{ran:?}");
    assert!(sandbox.read("told.json").contains("out.txt found no file"));
}

#[test]
fn what_could_not_be_checked_is_checked_again_without_the_agent() {
    let sandbox = sandbox(DONE, "- {command: [./check.sh]}");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!((ran.code, starts(&sandbox)), (24, 1), "{ran:?}");
    assert!(ran.stderr.contains("could not be checked"), "{ran:?}");
    let check = sandbox.write("check.sh", "#!/bin/sh\nexit 0\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(check, mode).unwrap();
    let ran = sandbox.run(&["resume", "latest"]);
    assert_eq!((ran.code, starts(&sandbox)), (0, 1), "{ran:?}");
    assert_eq!(sandbox.report()["verified"], true);
}

#[test]
fn a_stop_or_the_deadline_ends_the_checks_and_a_resume_makes_them_again() {
    let slow = "- {script: 'echo $$ >> checks.txt; [ -e go ] || sleep 600'}";
    let sandbox = sandbox(DONE, slow);
    let mut supervisor = sandbox
        .command(&["run", "task.yaml"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until(60, "the check", || !sandbox.read("checks.txt").is_empty());
    let pid = i32::try_from(supervisor.id())
        .ok()
        .and_then(Pid::from_raw)
        .unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(supervisor.wait().unwrap().code(), Some(130));
    let check = sandbox.read("checks.txt").trim().to_owned();
    assert!(
        !std::path::Path::new(&format!("/proc/{check}")).exists(),
        "it runs on"
    );
    sandbox.write("go", "");
    let ran = sandbox.run(&["resume", "latest"]);
    assert_eq!((ran.code, starts(&sandbox)), (0, 1), "{ran:?}");
    assert_eq!(sandbox.read("checks.txt").lines().count(), 2);

    let late = sandbox
        .read("task.yaml")
        .replace("deadline: 10m", "deadline: 3s");
    sandbox.write("task.yaml", &late);
    std::fs::remove_file(sandbox.path().join("go")).unwrap();
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 21, "{ran:?}");
    assert_eq!(sandbox.run(&["resume", "latest"]).code, 21);
    sandbox.write("go", "");
    let ran = sandbox.run(&["resume", "latest", "--raise", "deadline=+10m"]);
    assert_eq!((ran.code, starts(&sandbox)), (0, 2), "{ran:?}");
}

#[test]
fn killed_at_every_fault_point_of_the_checks_a_run_ends_verified() {
    let mut reached = 0;
    for boundary in [Boundary::VerifyStarted, Boundary::Verified] {
        for side in Side::ALL {
            for pass in [1, 2] {
                let point = format!("{}:{pass}", Point(boundary, side));
                let sandbox = sandbox(LEARNS, "- {file: out.txt, must_match: [good]}");
                let first = sandbox.run_with((VARIABLE, &point), &["run", "task.yaml"]);
                if first.code == 0 {
                    continue;
                }
                assert_eq!(first.code, 128 + 9, "{point}: {first:?}");
                reached += 1;
                let second = sandbox.run(&["resume", "latest"]);
                assert_eq!(second.code, 0, "{point}: {second:?}");
                assert_eq!(
                    starts(&sandbox),
                    2,
                    "{point}: an attempt was lost or doubled"
                );
                assert_eq!(sandbox.report()["verified"], true, "{point}");
            }
        }
    }
    assert!(reached >= 9, "only {reached} points were reached");
}
