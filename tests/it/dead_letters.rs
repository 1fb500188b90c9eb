//! `dead-letters retry` when it is killed, refused, or in the way of others.

use std::collections::BTreeMap;

use agentguard::drill::point::{Boundary, Point, Side, VARIABLE};
use serde_json::{Value, json};

use crate::support::{Sandbox, wait_until};

const TASK: &str = r#"
name: letters
agent: {command: [sh, loop.sh], grace: 2s}
limits: {deadline: 2m}
retry: {base: 10ms, cap: 20ms}
tools:
  mail:
    command: [sh, mail.sh, "{to}"]
    effect: irreversible
    retry: {attempts: 3}
    breaker: false
    probe: {command: [sh, -c, '[ -e ledger.txt ] && grep -q "^$1$" ledger.txt', probe, "{to}"]}
    batch: {concurrency: 2}
"#;

const LOOP: &str = r"
agentguard batch mail items.jsonl --policy optional > out.jsonl || exit
[ ! -e hang ] || { touch hanging; sleep 60; }
agentguard turn --done
";

/// Nobody can be mailed until `fixed` is there; then some need two tries.
const MAIL: &str = r#"
[ -e fixed ] || { echo "invalid argument: no such address $1" >&2; exit 2; }
case $1 in slow*) mkdir "tried-$1" 2>/dev/null && { echo "connect: Connection refused" >&2; exit 7; } ;; esac
echo "$1" >> ledger.txt
echo "sent to $1"
"#;

const NAMES: [&str; 4] = ["a", "slow1", "b", "c"];

/// A run that is done, with four dead letters.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", TASK);
    sandbox.write("loop.sh", LOOP);
    sandbox.write("mail.sh", MAIL);
    let items = NAMES.map(|name| format!("{}\n", json!({"id": name, "args": {"to": name}})));
    sandbox.write("items.jsonl", &items.concat());
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    sandbox.write("fixed", "");
    sandbox
}

fn sent(sandbox: &Sandbox) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(sandbox.path().join("ledger.txt")).unwrap_or_default();
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    counts
}

fn letters(sandbox: &Sandbox) -> usize {
    let listed = sandbox.run(&["dead-letters", "list", "--queued", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    listed["letters"].as_array().expect("a list").len()
}

/// Kills the retry at every fault point that it comes by, then asks again: no item
/// twice, none lost.
#[test]
fn killed_in_the_middle_of_a_retry_no_item_is_done_twice_and_none_is_lost() {
    let mut cut = 0;
    for boundary in [
        Boundary::BatchCalled,
        Boundary::BatchDue,
        Boundary::ToolEnded,
        Boundary::RetryDue,
    ] {
        for side in Side::ALL {
            for pass in [1, 3] {
                let point = format!("{}:{pass}", Point(boundary, side));
                let sandbox = sandbox();
                let retry = ["dead-letters", "retry", "--all", "--queued"];
                let first = sandbox.run_with((VARIABLE, &point), &retry);
                cut += usize::from(first.code == 128 + 9);
                // What was in the middle is asked about by the probe; what is left goes.
                for _ in 0..2 {
                    let again = sandbox.run(&retry);
                    assert_eq!(again.code, 0, "{point}: {again:?}");
                }
                let sent = sent(&sandbox);
                assert_eq!(sent.len(), NAMES.len(), "{point}: {sent:?}");
                assert!(sent.values().all(|times| *times == 1), "{point}: {sent:?}");
                assert_eq!(letters(&sandbox), 0, "{point}");
            }
        }
    }
    assert!(cut >= 12, "hardly any of these points is passed: {cut}");
}

#[test]
fn the_trouble_of_one_run_does_not_keep_others_from_being_tried() {
    let sandbox = sandbox();
    std::fs::remove_file(sandbox.path().join("fixed")).unwrap();
    sandbox.write("hang", "");
    let mut alive = sandbox
        .command(&["run", "task.yaml"])
        .spawn()
        .expect("it starts");
    wait_until(30, "the second run has its batch", || {
        sandbox.path().join("hanging").exists()
    });
    sandbox.write("fixed", "");
    let held = sandbox.run(&["dead-letters", "retry", "--all", "--run", "latest"]);
    assert_eq!(held.code, 2, "a run that is alive is refused: {held:?}");
    assert!(held.stderr.contains("is held by"), "{held:?}");
    let ran = sandbox.run(&["dead-letters", "retry", "--all", "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let told: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let with = |status: &str| {
        let rows = told["letters"].as_array().expect("a list").iter();
        rows.filter(|row| row["status"] == status).count()
    };
    assert_eq!((with("succeeded"), with("refused")), (4, 4), "{told:#}");
    assert_eq!(sent(&sandbox).len(), 4);
    let stopped = sandbox.run(&["stop", "latest"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    alive.wait().expect("it ends");
}

#[test]
fn an_item_may_be_named_by_its_own_id() {
    let sandbox = sandbox();
    let shown = sandbox.run(&["dead-letters", "show", "slow1"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains("no such address slow1"), "{shown:?}");
    let ran = sandbox.run(&["dead-letters", "retry", "a"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let again = sandbox.run(&["dead-letters", "retry", "a"]);
    assert!(again.stdout.contains("its record answers"), "{again:?}");
    assert_eq!(sent(&sandbox).len(), 1);
    let wrong = sandbox.run(&["dead-letters", "show", "nobody"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("dead-letters list"), "{wrong:?}");
}
