//! What a run did is taken back: the real binary, real programs, a real ledger.

use agentguard::drill::point::{Boundary, Point, Side, VARIABLE};
use serde_json::Value;

use crate::support::Sandbox;

const LOOP: &str = r#"
step=$(agentguard state --messages none --get step) || exit
agentguard state --messages none > state.json
while [ "$step" -lt 3 ]; do
    agentguard tool book --arg item=b$step >/dev/null || exit
    agentguard tool mail --arg item=m$step >/dev/null || exit
    agentguard report Bash --arg command=ls --exit-code 0 --result x >/dev/null || exit
    step=$((step + 1))
    agentguard turn --step $step --role assistant --content "step $step" || exit
done
[ ! -e again ] || agentguard tool book --arg item=b2 >/dev/null || exit
agentguard turn --done
"#;

/// Books once for each key; the answer has an id.
const BOOK: &str = r#"
echo "+$1" >> ledger.txt
echo "{\"id\": \"id-$1\", \"n\": 1}"
"#;

/// `fail` holds what cannot be undone, `flaky` makes the first try fail below.
const UNBOOK: &str = r#"
echo "$AGENTGUARD_IDEMPOTENCY_KEY" >> keys.txt
if grep -q "^$1\$" fail 2>/dev/null; then echo "invalid: $1 is closed" >&2; exit 22; fi
if [ -e flaky ] && mkdir "tried-$1" 2>/dev/null; then echo "connect: Connection refused" >&2; exit 7; fi
if ! grep -q "^-$1 $2\$" ledger.txt; then echo "-$1 $2" >> ledger.txt; fi
"#;

fn sandbox(more: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        &format!(
            r#"
name: saga
agent: {{command: [sh, loop.sh], grace: 1s}}
limits: {{deadline: 10m, steps: 30}}
tools:
  book:
    command: [sh, book.sh, "{{item}}"]
    key: "book:{{item}}"
    undo:
      command: [sh, unbook.sh, "{{item}}", "{{result.id}}"]
      idempotent: true
      retry: {{base: 10ms, cap: 20ms, attempts: 3}}
  mail:
    command: [sh, -c, "echo +$0 >> ledger.txt", "{{item}}"]
    effect: irreversible
    key: "mail:{{item}}"
{more}
"#
        ),
    );
    sandbox.write("loop.sh", LOOP);
    sandbox.write("book.sh", BOOK);
    sandbox.write("unbook.sh", UNBOOK);
    sandbox
}

fn ledger(sandbox: &Sandbox) -> Vec<String> {
    sandbox
        .read("ledger.txt")
        .lines()
        .map(str::to_owned)
        .collect()
}

/// What the ledger has after a whole run and a whole rollback.
const TAKEN_BACK: [&str; 9] = [
    "+b0",
    "+m0",
    "+b1",
    "+m1",
    "+b2",
    "+m2",
    "-b2 id-b2",
    "-b1 id-b1",
    "-b0 id-b0",
];

#[test]
fn what_a_run_did_is_undone_last_first_and_can_be_done_again() {
    let sandbox = sandbox("");
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    let asked = sandbox.run(&["rollback", "latest"]);
    assert_eq!((asked.code, ledger(&sandbox).len()), (2, 6), "{asked:?}");
    assert!(asked.stderr.contains("--yes"), "{asked:?}");
    let dry = sandbox.run(&["rollback", "latest", "--dry-run"]);
    assert_eq!((dry.code, ledger(&sandbox).len()), (27, 6), "{dry:?}");
    sandbox.write("flaky", "");
    let ran = sandbox.run(&["rollback", "latest", "--yes", "--json"]);
    assert_eq!(ran.code, 27, "three mails have no undo: {ran:?}");
    assert_eq!(ledger(&sandbox), TAKEN_BACK);
    let keys = sandbox.read("keys.txt");
    let keys: Vec<&str> = keys.lines().collect();
    assert!(
        keys.len() == 6 && keys[0] == keys[1] && keys[0].starts_with("undo:r-"),
        "{keys:?}"
    );
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let stands: Vec<&str> = told["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["stands"].as_str().unwrap())
        .collect();
    assert_eq!(
        stands,
        [
            "no_undo", "undone", "no_undo", "undone", "no_undo", "undone"
        ]
    );
    assert_eq!(told["not_covered"]["Bash"], 3);
    assert_eq!(sandbox.report()["undone"], 3);
    let shown = sandbox.run(&["show", "latest"]).stdout;
    assert!(
        shown.contains("3 undone") && shown.contains("rolled back: 3 undone, 0 not"),
        "{shown}"
    );
    let why = sandbox.run(&["why", "latest"]).stdout;
    assert!(
        why.contains("undo") && why.contains("rollback.asked"),
        "{why}"
    );
    // Asked again there is nothing left to undo.
    assert_eq!(sandbox.run(&["rollback", "latest", "--yes"]).code, 27);
    assert_eq!(ledger(&sandbox), TAKEN_BACK);
    // Resumed, the agent is told, and what was undone may be done again.
    sandbox.write("again", "");
    let ran = sandbox.run(&["resume", "latest"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        sandbox
            .read("state.json")
            .contains("These calls were undone since")
    );
    assert_eq!(ledger(&sandbox).last().map(String::as_str), Some("+b2"));
}

#[test]
fn what_cannot_be_undone_is_listed_and_the_others_are_undone() {
    let sandbox = sandbox("");
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    sandbox.write("fail", "b1\n");
    let ran = sandbox.run(&["rollback", "latest", "--yes"]);
    assert_eq!(ran.code, 27, "{ran:?}");
    assert!(ran.stdout.contains("not undone"), "{ran:?}");
    assert_eq!(ledger(&sandbox)[6..], ["-b2 id-b2", "-b0 id-b0"]);
    // Once the reason is gone, asking again undoes it.
    std::fs::remove_file(sandbox.path().join("fail")).unwrap();
    let ran = sandbox.run(&["rollback", "latest", "--yes"]);
    assert_eq!(ran.code, 27, "{ran:?}");
    assert_eq!(
        ledger(&sandbox)[6..],
        ["-b2 id-b2", "-b0 id-b0", "-b1 id-b1"]
    );
}

#[test]
fn a_task_may_want_a_rejected_run_to_be_rolled_back() {
    let sandbox =
        sandbox("verify: {rounds: 0, checks: [{file: gone.txt}]}\nrollback: {on: [rejected]}");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 24, "{ran:?}");
    assert_eq!(ledger(&sandbox), TAKEN_BACK);
    let report = sandbox.report();
    assert_eq!(
        (&report["status"], &report["undone"]),
        (&"rejected".into(), &3.into())
    );
}

#[test]
fn killed_at_every_fault_point_of_a_rollback_each_undo_is_made_once() {
    let mut reached = 0;
    for boundary in [
        Boundary::RollbackStarted,
        Boundary::UndoStarted,
        Boundary::UndoEnded,
        Boundary::RolledBack,
    ] {
        for side in Side::ALL {
            let point = format!("{}:1", Point(boundary, side));
            let sandbox = sandbox("");
            assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
            let rollback = ["rollback", "latest", "--yes"];
            let first = sandbox.run_with((VARIABLE, &point), &rollback);
            if first.code == 27 {
                continue;
            }
            assert_eq!(first.code, 128 + 9, "{point}: {first:?}");
            reached += 1;
            let second = sandbox.run(&rollback);
            assert_eq!(second.code, 27, "{point}: {second:?}");
            assert_eq!(ledger(&sandbox), TAKEN_BACK, "{point}");
        }
    }
    assert!(reached >= 9, "only {reached} points were reached");
}

#[test]
fn an_undo_that_cannot_be_repeated_waits_for_a_human() {
    let sandbox = sandbox("");
    let task = sandbox
        .read("task.yaml")
        .replace("      idempotent: true\n", "");
    sandbox.write("task.yaml", &task);
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    let rollback = ["rollback", "latest", "--yes"];
    let point = (VARIABLE, "undo_started.after_release");
    assert_eq!(sandbox.run_with(point, &rollback).code, 128 + 9);
    let second = sandbox.run(&rollback);
    assert_eq!(second.code, 26, "{second:?}");
    assert!(
        sandbox
            .run(&["settle", "latest"])
            .stdout
            .contains("undo of book")
    );
    let settled = sandbox.run(&["settle", "latest", "--happened"]);
    assert_eq!(settled.code, 0, "{settled:?}");
    let third = sandbox.run(&rollback);
    assert_eq!(third.code, 27, "{third:?}");
    assert_eq!(ledger(&sandbox), TAKEN_BACK);
}

#[test]
fn a_rollback_that_the_task_wants_goes_on_after_a_kill() {
    let wants = "verify: {rounds: 0, checks: [{file: gone.txt}]}\nrollback: {on: [rejected]}";
    for point in [
        "verified.after_save",
        "undo_started.after_save",
        "undo_ended.after_save:2",
        "rolled_back.before_save",
    ] {
        let sandbox = sandbox(wants);
        let first = sandbox.run_with((VARIABLE, point), &["run", "task.yaml"]);
        assert_eq!(first.code, 128 + 9, "{point}: {first:?}");
        let second = sandbox.run(&["resume", "latest"]);
        assert_eq!(second.code, 24, "{point}: {second:?}");
        assert_eq!(ledger(&sandbox), TAKEN_BACK, "{point}");
    }
}

#[test]
fn what_was_committed_stays_and_undos_run_in_the_folder_itself() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "agent: {command: [sh, -c, 'agentguard tool book && echo x > made.txt && agentguard turn --done'], cwd: app}\n\
         workspace: {stage: app}\n\
         tools: {book: {command: ['true'], effect: write, undo: {command: [touch, undone.txt]}}}\n",
    );
    sandbox.write("app/a.txt", "a\n");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let undone = sandbox.run(&["rollback", "latest", "--yes"]);
    assert_eq!(undone.code, 0, "{undone:?}");
    assert!(
        undone
            .stderr
            .contains("not covered: what the run committed into"),
        "{undone:?}"
    );
    let app = sandbox.path().join("app");
    assert!(app.join("undone.txt").exists() && app.join("made.txt").exists());
}

#[test]
fn what_cannot_be_undone_is_put_before_a_human_once() {
    let sandbox = sandbox("");
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    sandbox.write("fail", "b1\n");
    let rollback = ["rollback", "latest", "--yes", "--json"];
    let ran = sandbox.run(&rollback);
    assert_eq!(ran.code, 27, "{ran:?}");
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let id = told["escalation"].as_str().expect("a question").to_owned();
    let page = sandbox.run(&["inbox", "show", &id]);
    for what in [
        "4 calls were not undone",
        "b1 is closed",
        "declares no undo",
    ] {
        assert!(page.stdout.contains(what), "{what}: {page:?}");
    }
    // The same again is the same question; when less is left, it is another.
    assert_eq!(sandbox.run(&rollback).code, 27);
    assert_eq!(sandbox.questions(&[]).len(), 1);
    std::fs::remove_file(sandbox.path().join("fail")).unwrap();
    let ran = sandbox.run(&rollback);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let second = told["escalation"].as_str().expect("a question").to_owned();
    assert_ne!(second, id);
    assert_eq!(
        sandbox.questions(&[]).len(),
        1,
        "the first one is not needed any more"
    );
    let answered = sandbox.run(&["answer", &second, "--choose", "leave"]);
    assert_eq!(answered.code, 0, "{answered:?}");
    let ran = sandbox.run(&rollback);
    assert_eq!(ran.code, 27, "{ran:?}");
    assert!(
        sandbox.questions(&[]).is_empty(),
        "what is decided is not asked again"
    );
    // It keeps nothing from going on.
    let resumed = sandbox.run(&["resume", "latest"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
}

#[test]
fn an_undo_in_doubt_is_asked_about_and_its_answer_goes_on() {
    let sandbox = sandbox("");
    let task = sandbox
        .read("task.yaml")
        .replace("      idempotent: true\n", "");
    sandbox.write("task.yaml", &task);
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    let rollback = ["rollback", "latest", "--yes"];
    let point = (VARIABLE, "undo_started.after_release");
    assert_eq!(sandbox.run_with(point, &rollback).code, 128 + 9);
    assert_eq!(sandbox.run(&rollback).code, 26);
    let asked = sandbox.questions(&[]);
    let text = Value::from(asked.clone()).to_string();
    assert!(text.contains("Did the undo of call"), "{text}");
    let page = sandbox.run(&["inbox"]);
    let id = page
        .stdout
        .split_whitespace()
        .find(|word| word.starts_with("e-"));
    let id = id.expect("a question").to_owned();
    let answered = sandbox.run(&["answer", &id, "--choose", "happened"]);
    assert!(
        answered.stderr.contains("agentguard rollback"),
        "{answered:?}"
    );
    let third = sandbox.run(&rollback);
    assert_eq!(third.code, 27, "{third:?}");
    assert_eq!(ledger(&sandbox), TAKEN_BACK);
}

#[test]
fn a_run_that_waits_for_a_human_can_be_stopped_and_is_rolled_back_then() {
    let sandbox = sandbox("rollback: {on: [interrupted]}");
    sandbox.write(
        "loop.sh",
        "agentguard tool book --arg item=b0 || exit\nagentguard escalate --question 'go on?' || exit\n\
         agentguard turn --done\n",
    );
    let ran = sandbox.run(&["run", "task.yaml", "--detach"]);
    assert_eq!(ran.code, 25, "{ran:?}");
    assert_eq!(ledger(&sandbox), ["+b0"]);
    let stopped = sandbox.run(&["stop", "latest"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(ledger(&sandbox), ["+b0", "-b0 id-b0"]);
    assert_eq!(sandbox.report()["status"], "interrupted");
    let again = sandbox.run(&["stop", "latest"]);
    assert!(again.stderr.contains("is not alive"), "{again:?}");
    assert_eq!(ledger(&sandbox), ["+b0", "-b0 id-b0"]);
}
