//! Tools that take many items at once, when their answer, or an item, is bad.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Ran, Sandbox};

/// One tool, `{TOOL}`, with what is said of it besides.
const TASK: &str = r#"
name: many
agent: {command: [sh, -c, 'agentguard batch {TOOL} items.jsonl --policy optional > out.jsonl || exit; agentguard turn --done'], grace: 2s}
limits: {deadline: 2m}
retry: {base: 10ms, cap: 20ms}
tools:
  {TOOL}:
    command: [sh, many.sh]
    retry: {attempts: 3}
    breaker: false
    {MORE}
"#;

/// What may be done again differs from tool to tool.
fn task(tool: &str) -> String {
    let batch = "batch: {size: 8, concurrency: 1}";
    let more = match tool {
        "read" => format!("effect: read\n    {batch}"),
        "keyed" => format!("native_key: {{env: KEY}}\n    {batch}"),
        "atomic" => "batch: {size: 8, concurrency: 1, atomic: true}".to_owned(),
        "probed" => format!(
            "probe: {{command: [sh, -c, '[ -e ledger.txt ] && grep -q \"^$1$\" ledger.txt', probe, \"{{to}}\"]}}\n    {batch}"
        ),
        _ => batch.to_owned(),
    };
    TASK.replace("{TOOL}", tool).replace("{MORE}", &more)
}

/// Keeps what it was given, one line a call, then does `act.sh` with the ids as arguments.
const MANY: &str = r#"
cat > asked.json
set -- $(grep -o '"to":"[^"]*"' asked.json | cut -d'"' -f4)
echo "$*" >> calls.txt
. ./act.sh
"#;

/// Writes down all, then answers for all; `poison` has it fail as a whole before.
fn act(poisoned: &str) -> String {
    format!(
        "case \" $* \" in *' poison '*) {poisoned} ;; esac\n\
         for id; do echo \"$id\" >> ledger.txt; done\n\
         printf '{{\"results\":['; comma=\n\
         for id; do printf '%s{{\"id\":\"%s\",\"ok\":true}}' \"$comma\" \"$id\"; comma=,; done\n\
         printf ']}}'\n"
    )
}

/// Lays out a batch of `ids` for one tool.
fn ready(tool: &str, act: &str, ids: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", &task(tool));
    sandbox.write("many.sh", MANY);
    sandbox.write("act.sh", act);
    let items = ids.iter().map(|id| json!({"id": id, "args": {"to": id}}));
    let items: String = items.map(|item| format!("{item}\n")).collect();
    sandbox.write("items.jsonl", &items);
    sandbox
}

/// What the batch answered, by id.
fn lines(sandbox: &Sandbox) -> BTreeMap<String, Value> {
    let text = sandbox.read("out.jsonl");
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        (line["id"].as_str().expect("an id").to_owned(), line)
    });
    lines.collect()
}

/// Runs a batch of `ids` with one tool; its lines by id, how it ended, and the sandbox.
fn done(tool: &str, act: &str, ids: &[&str]) -> (BTreeMap<String, Value>, Ran, Sandbox) {
    let sandbox = ready(tool, act, ids);
    let ran = sandbox.run(&["run", "task.yaml"]);
    (lines(&sandbox), ran, sandbox)
}

fn with_status<'a>(lines: &'a BTreeMap<String, Value>, status: &str) -> Vec<&'a str> {
    let having = lines.iter().filter(|(_, line)| line["status"] == status);
    having.map(|(id, _)| id.as_str()).collect()
}

/// What was done, each thing once.
fn ledger(sandbox: &Sandbox) -> Vec<String> {
    let text = std::fs::read_to_string(sandbox.path().join("ledger.txt")).unwrap_or_default();
    let mut done: Vec<String> = text.lines().map(str::to_owned).collect();
    done.sort();
    done
}

const IDS: [&str; 8] = ["a", "b", "c", "poison", "d", "e", "f", "g"];
const GOOD: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
const FAILS: &str = "echo 'invalid argument: no such address' >&2; exit 2";

#[test]
fn a_bad_item_that_fails_its_whole_call_ends_alone() {
    for tool in ["read", "keyed", "atomic", "probed"] {
        let (lines, ran, sandbox) = done(tool, &act(FAILS), &IDS);
        let calls = sandbox.read("calls.txt");
        assert_eq!(ran.code, 0, "{tool}: {ran:?}\n{calls}");
        assert_eq!(
            with_status(&lines, "dead"),
            ["poison"],
            "{tool}: {lines:#?}"
        );
        assert_eq!(with_status(&lines, "succeeded"), GOOD, "{tool}: {lines:#?}");
        assert_eq!(ledger(&sandbox), GOOD, "{tool}: each once: {calls}");
        assert_eq!(lines["poison"]["class"], "semantic", "{tool}");
        assert!(calls.lines().count() <= 2 * IDS.len(), "{tool}: {calls}");
    }
    // Why, for whoever looks.
    let (_, _, sandbox) = done("atomic", &act(FAILS), &IDS);
    let why = sandbox.run(&["why", "latest"]);
    assert!(why.stdout.contains("batch 1 atomic: split"), "{why:?}");
}

#[test]
fn a_write_that_may_be_half_done_is_not_made_again() {
    // It has done the first items when it comes to the bad one.
    let half = "echo a >> ledger.txt; echo b >> ledger.txt; echo 'invalid argument' >&2; exit 2";
    let (lines, ran, sandbox) = done("plain", &act(half), &IDS);
    assert_eq!(ran.code, 26, "{ran:?}");
    assert_eq!(with_status(&lines, "in_doubt").len(), 8, "{lines:#?}");
    assert_eq!(sandbox.read("calls.txt").lines().count(), 1);
    // A probe knows which were done, and the others are done then.
    let (lines, ran, sandbox) = done("probed", &act(half), &IDS);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(with_status(&lines, "dead"), ["poison"], "{lines:#?}");
    let twice = ["a", "b"].map(|id| ledger(&sandbox).iter().filter(|it| *it == id).count());
    assert_eq!(
        twice,
        [2, 2],
        "once when it failed, once when the bad one failed alone"
    );
}

#[test]
fn an_answer_that_cannot_be_read_is_no_success() {
    let cut = "printf '{\"results\":[{\"id\":\"a\",\"ok\":tr'; exit 0";
    let (lines, ran, sandbox) = done("read", &act(cut), &IDS);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(with_status(&lines, "dead"), ["poison"], "{lines:#?}");
    assert_eq!(ledger(&sandbox), GOOD);
    let (lines, ran, _) = done("plain", &act(cut), &IDS);
    assert_eq!(ran.code, 26, "{ran:?}");
    assert_eq!(with_status(&lines, "in_doubt").len(), 8, "{lines:#?}");
    assert_eq!(lines["a"]["rule"], "items.not_mentioned");
}

#[test]
fn a_long_answer_is_read_to_its_end() {
    // More than two megabytes, and what failed stands in the middle.
    let long = "printf '{\"results\":['\nfiller=$(head -c 300000 /dev/zero | tr '\\0' x)\ncomma=\n\
                for id; do case $id in poison) ok=false ;; *) ok=true ;; esac\n\
                printf '%s{\"id\":\"%s\",\"ok\":%s,\"result\":\"%s\",\"error\":\"%s\"}' \"$comma\" \"$id\" $ok \"$filler\" 'invalid argument'\ncomma=,\ndone\nprintf ']}'\n";
    let long = long.replace("\"result\"", "\"note\"");
    let long = long.replace(",\"error\":\"%s\"}' ", ",\"code\":\"%s\"}' ");
    let (lines, ran, _) = done("plain", &long, &IDS);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(with_status(&lines, "dead"), ["poison"], "{lines:#?}");
}

#[test]
fn results_without_ids_are_those_of_the_items_in_their_order() {
    let ids = ["1", "2", "3", "4"];
    let in_order = "echo '{\"results\":[{\"ok\":true},{\"ok\":true},{\"ok\":false,\"error\":\"invalid argument\"},{\"ok\":true}]}'";
    let (lines, ran, _) = done("plain", in_order, &ids);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(with_status(&lines, "dead"), ["3"], "{lines:#?}");
    assert_eq!(with_status(&lines, "succeeded"), ["1", "2", "4"]);
    let fewer =
        "echo '{\"results\":[{\"ok\":true},{\"ok\":false,\"error\":\"invalid argument\"}]}'";
    let (lines, ran, _) = done("plain", fewer, &ids);
    assert_eq!(ran.code, 26, "nobody knows which two: {ran:?}");
    assert_eq!(with_status(&lines, "in_doubt").len(), 4, "{lines:#?}");
}

/// Source: AWS Lambda, "Implementing partial batch responses".
#[test]
fn what_lambda_answers_means_what_aws_says() {
    let ids = ["1", "2", "3"];
    let rows: [(&str, usize); 8] = [
        (r#"{"batchItemFailures":[]}"#, 3),
        (r#"{"batchItemFailures":null}"#, 3),
        ("{}", 3),
        ("null", 3),
        (r#"{"batchItemFailures":[{"itemIdentifier":"2"}]}"#, 2),
        (r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#, 0),
        (r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#, 0),
        (r#"{"batchItemFailures":[{"id":"2"}]}"#, 0),
    ];
    for (answer, succeeded) in rows {
        let (lines, ran, _) = done("plain", &format!("echo '{answer}'"), &ids);
        assert_eq!(ran.code, 0, "{answer}: {ran:?}");
        let went = with_status(&lines, "succeeded").len();
        assert_eq!(went, succeeded, "{answer}: {lines:#?}");
        let dead = with_status(&lines, "dead").len();
        assert_eq!(dead, 3 - succeeded, "{answer}: {lines:#?}");
    }
}

#[test]
fn each_item_has_its_tries_to_itself() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        r#"
name: own
agent: {command: [sh, -c, 'agentguard batch mail items.jsonl > out.jsonl || exit; agentguard turn --done'], grace: 2s}
limits: {deadline: 2m, tool_calls: 1000}
retry: {base: 1ms, cap: 5ms}
tools:
  mail:
    command: [sh, mail.sh, "{to}"]
    effect: write
    retry: {attempts: 2}
    breaker: false
    batch: {concurrency: 8}
"#,
    );
    sandbox.write(
        "mail.sh",
        "mkdir \"tried-$1\" 2>/dev/null && { echo 'connect: Connection refused' >&2; exit 7; }\n\
         echo \"$1\" >> ledger.txt\n",
    );
    let items =
        (0..80).map(|at| format!("{}\n", json!({"id": at, "args": {"to": at.to_string()}})));
    sandbox.write("items.jsonl", &items.collect::<String>());
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "all of them went at the second try: {ran:?}");
    assert_eq!(ledger(&sandbox).len(), 80);
    let out = sandbox.read("out.jsonl");
    assert_eq!(out.matches("\"status\":\"succeeded\"").count(), 80);
}

/// Whole calls fail and are halved; the supervisor dies around each of the parts.
#[test]
fn killed_between_the_parts_of_a_split_call_each_item_is_done_once() {
    let points = ["batch_due", "tool_ended"].map(|save| {
        ["before_save", "after_save", "after_release"].map(|side| format!("{save}.{side}"))
    });
    let mut died = 0;
    for point in points.iter().flatten() {
        for pass in [1, 2, 4] {
            let fault = format!("{point}:{pass}");
            let sandbox = ready("probed", &act(FAILS), &IDS);
            let variable = ("AGENTGUARD_FAULT", fault.as_str());
            let ran = sandbox.run_with(variable, &["run", "task.yaml"]);
            assert_eq!(ran.code, 137, "{fault}: {ran:?}");
            died += 1;
            let resumed = sandbox.run(&["resume", "latest"]);
            let calls = sandbox.read("calls.txt");
            assert_eq!(resumed.code, 0, "{fault}: {resumed:?}\n{calls}");
            let lines = lines(&sandbox);
            assert_eq!(
                with_status(&lines, "dead"),
                ["poison"],
                "{fault}: {lines:#?}"
            );
            assert_eq!(
                with_status(&lines, "succeeded"),
                GOOD,
                "{fault}: {lines:#?}"
            );
            assert_eq!(ledger(&sandbox), GOOD, "{fault}: each once: {calls}");
        }
    }
    assert_eq!(died, 18);
}
