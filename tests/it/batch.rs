//! Batches: several items for one guarded tool, through the real binary.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Ran, Sandbox};

/// `mail` sends one mail: a line in the ledger. Addresses that begin with `bad` are
/// refused, those with `slow` fail below on their first try, those with `down` always.
const TASK: &str = r#"
name: batches
agent: {command: [sh, loop.sh], grace: 2s}
limits: {deadline: 2m, tool_calls: 1000}
retry: {base: 10ms, cap: 20ms}
tools:
  mail:
    command: [sh, mail.sh, "{to}"]
    input: {type: object, required: [to], properties: {to: {type: string}}}
    effect: irreversible
    probe: {command: [sh, -c, '[ -e ledger.txt ] && grep -q "^$1$" ledger.txt', probe, "{to}"]}
    retry: {attempts: 3}
    breaker: false
    batch: {concurrency: 4}
"#;

const MAIL: &str = r#"
echo "$1 $AGENTGUARD_IDEMPOTENCY_KEY" >> calls.txt
case "$1" in
    bad*) echo "invalid argument: no such address $1" >&2; exit 2 ;;
    slow*) mkdir "tried-$1" 2>/dev/null && { echo "connect: Connection refused" >&2; exit 7; } ;;
    down*) echo "connect: Connection refused" >&2; exit 7 ;;
esac
echo "$1" >> ledger.txt
echo "sent to $1"
"#;

fn sandbox(looped: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", TASK);
    sandbox.write("mail.sh", MAIL);
    sandbox.write("loop.sh", looped);
    sandbox
}

/// A loop that does the items of `items.jsonl` and keeps what it was told.
fn looped(flags: &str) -> String {
    format!(
        "agentguard batch mail items.jsonl {flags} > out.jsonl 2> summary.txt\n\
         code=$?\n\
         echo $code > code.txt\n\
         [ $code -lt 20 ] || exit $code\n\
         agentguard turn --done --result done\n"
    )
}

fn items(addresses: &[&str]) -> String {
    let lines = addresses.iter().enumerate();
    lines
        .map(|(at, to)| format!("{}\n", json!({"id": at, "args": {"to": to}})))
        .collect()
}

fn lines(sandbox: &Sandbox) -> Vec<Value> {
    let text = sandbox.read("out.jsonl");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

fn count(text: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    counts
}

fn statuses(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["status"].as_str().expect("a text"))
        .collect()
}

fn ran_well(ran: &Ran) {
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn each_item_ends_by_itself_and_the_answer_says_how() {
    let sandbox = sandbox(&looped(""));
    sandbox.write(
        "items.jsonl",
        &items(&["a", "bad1", "slow1", "down1", "b", "c"]),
    );
    ran_well(&sandbox.run(&["run", "task.yaml"]));
    assert_eq!(
        sandbox.read("code.txt").trim(),
        "1",
        "{}",
        sandbox.read("summary.txt")
    );
    let lines = lines(&sandbox);
    let want = [
        "succeeded",
        "dead",
        "succeeded",
        "dead",
        "succeeded",
        "succeeded",
    ];
    assert_eq!(statuses(&lines), want, "{lines:#?}");
    assert_eq!(lines[0]["content"], "sent to a\n");
    assert_eq!(lines[1]["class"], "semantic");
    assert_eq!(lines[1]["attempts"], 1);
    assert_eq!(lines[2]["attempts"], 2);
    assert_eq!(
        (&lines[3]["class"], &lines[3]["attempts"]),
        (&json!("persistent"), &json!(3))
    );
    assert!(
        lines[3]["why"].as_str().unwrap().contains("all attempts"),
        "{}",
        lines[3]
    );
    assert_eq!(
        sandbox.read("summary.txt"),
        "agentguard: batch: 6 items: 4 succeeded, 2 dead; required: not met\n"
    );
    let sent = count(&sandbox.read("ledger.txt"));
    assert_eq!(sent.len(), 4);
    assert!(sent.values().all(|times| *times == 1), "{sent:?}");
}

#[test]
fn the_policy_decides_what_is_enough() {
    for (flags, code, met) in [
        ("--policy optional", "0", "optional: met"),
        ("--policy 50%", "0", "50%: met"),
        ("--policy 2", "0", "2: met"),
        ("--policy 3", "1", "3: not met"),
        ("--policy 90%", "1", "90%: not met"),
    ] {
        let sandbox = sandbox(&looped(flags));
        sandbox.write("items.jsonl", &items(&["a", "bad1", "b", "bad2"]));
        ran_well(&sandbox.run(&["run", "task.yaml"]));
        assert_eq!(sandbox.read("code.txt").trim(), code, "row: {flags}");
        assert!(sandbox.read("summary.txt").contains(met), "row: {flags}");
    }
}

/// A loop that asks for the batch a second time when the first has ended.
const TWICE: &str = r#"
agentguard batch mail items.jsonl --policy optional > first.jsonl 2>/dev/null || exit
agentguard batch mail items.jsonl --policy optional > out.jsonl 2>/dev/null || exit
agentguard turn --done
"#;

#[test]
fn what_was_done_is_not_done_again_in_the_run() {
    let sandbox = sandbox(TWICE);
    let mut twice = items(&["a", "b", "bad1"]);
    twice.push_str(&items(&["a"]));
    sandbox.write("items.jsonl", &twice);
    ran_well(&sandbox.run(&["run", "task.yaml"]));
    assert_eq!(
        sandbox.read("first.jsonl").lines().count(),
        3,
        "the same item twice is one"
    );
    let second = lines(&sandbox);
    assert_eq!(statuses(&second), ["succeeded", "succeeded", "dead"]);
    assert_eq!(second[0]["from_record"], true);
    assert_eq!(second[0]["content"], "sent to a\n");
    let sent = count(&sandbox.read("ledger.txt"));
    assert!(sent.values().all(|times| *times == 1), "{sent:?}");
    // What failed for good may go the next time, so it is tried.
    assert_eq!(sandbox.read("calls.txt").matches("bad1 ").count(), 2);
}

#[test]
fn bad_input_is_refused_before_anything_is_done() {
    let rows = [
        (
            "{\"id\": 1, \"args\": {\"to\": \"a\"}}\n{\"id\": 1, \"args\": {\"to\": \"b\"}}\n",
            "",
            "`1` twice",
        ),
        ("{\"to\": \"a\"}\n", "", "items.jsonl:1 is no item"),
        (
            "{\"id\": 1, \"args\": {}}\nnot json\n",
            "",
            "items.jsonl:2 is not JSON",
        ),
        ("\n\n", "", "has no items"),
        (
            "{\"to\": \"a\"}\n",
            "--id-from invoice",
            "items.jsonl:1 gives no id",
        ),
        ("{\"to\": \"a\"}\n", "--id fixed", "the same for every item"),
        (
            "{\"id\": 1, \"args\": {\"to\": \"a\"}}\n",
            "--policy most",
            "`required`",
        ),
        ("{\"id\": true, \"args\": {}}\n", "", "items[0].id"),
    ];
    for (text, flags, want) in rows {
        let sandbox = sandbox(&format!(
            "agentguard batch mail items.jsonl {flags} 2> said.txt; echo $? > code.txt\n\
             agentguard turn --done\n"
        ));
        sandbox.write("items.jsonl", text);
        ran_well(&sandbox.run(&["run", "task.yaml"]));
        let said = sandbox.read("said.txt");
        assert!(said.contains(want), "row: {want}: {said}");
        assert_eq!(sandbox.read("code.txt").trim(), "2", "row: {want}");
        assert_eq!(sandbox.read("calls.txt"), "", "row: {want}");
    }
}

#[test]
fn ids_can_be_made_of_the_arguments() {
    let sandbox = sandbox(
        "printf '{\"to\": \"a\"}\\n{\"to\": \"b\"}\\n' | agentguard batch mail --id 'mail-{to}' \
         > out.jsonl 2>/dev/null || exit\nagentguard turn --done\n",
    );
    ran_well(&sandbox.run(&["run", "task.yaml"]));
    let ids: Vec<_> = lines(&sandbox)
        .iter()
        .map(|line| line["id"].clone())
        .collect();
    assert_eq!(ids, ["mail-a", "mail-b"]);
}

#[test]
fn fail_fast_and_limits_leave_items_untried_and_say_so() {
    let sandbox = sandbox(&looped("--fail-fast --concurrency 1"));
    sandbox.write("items.jsonl", &items(&["a", "bad1", "b", "c"]));
    ran_well(&sandbox.run(&["run", "task.yaml"]));
    let ended = lines(&sandbox);
    let want = ["succeeded", "dead", "not_attempted", "not_attempted"];
    assert_eq!(statuses(&ended), want, "{ended:#?}");
    assert_eq!(ended[2]["rule"], "batch.unreachable");

    let task = TASK.replace("tool_calls: 1000", "tool_calls: 2");
    let sandbox = self::sandbox(&looped("--concurrency 1"));
    sandbox.write("task.yaml", &task);
    sandbox.write("items.jsonl", &items(&["a", "b", "c"]));
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 20, "{ran:?}");
    let ended = lines(&sandbox);
    assert_eq!(
        statuses(&ended),
        ["succeeded", "succeeded", "not_attempted"]
    );
    assert_eq!(ended[2]["rule"], "limit.tool_calls");
    assert_eq!(sandbox.read("code.txt").trim(), "20");
    assert_eq!(sandbox.read("ledger.txt").lines().count(), 2);
}

#[test]
fn an_open_breaker_leaves_the_rest_untried() {
    let task = TASK
        .replace(
            "breaker: false",
            "breaker: {failures: 2, cool_down: 10m, cool_down_max: 10m}",
        )
        .replace("retry: {attempts: 3}", "retry: {attempts: 1}");
    let sandbox = sandbox(&looped("--concurrency 1"));
    sandbox.write("task.yaml", &task);
    sandbox.write("items.jsonl", &items(&["a", "down1", "down2", "b", "c"]));
    ran_well(&sandbox.run(&["run", "task.yaml"]));
    let ended = lines(&sandbox);
    let want = [
        "succeeded",
        "dead",
        "dead",
        "not_attempted",
        "not_attempted",
    ];
    assert_eq!(statuses(&ended), want, "{ended:#?}");
    assert_eq!(ended[3]["rule"], "breaker.open");
    assert!(ended[3]["at"].is_string(), "{}", ended[3]);
}

#[test]
fn never_more_calls_are_out_than_the_task_allows() {
    let sandbox = sandbox(&looped(""));
    sandbox.write(
        "mail.sh",
        "mkdir -p out; touch out/$$; ls out | wc -l >> width.txt; sleep 0.2; rm out/$$; echo ok\n",
    );
    let many: Vec<String> = (0..12).map(|number| format!("n{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    sandbox.write("items.jsonl", &items(&many));
    ran_well(&sandbox.run(&["run", "task.yaml"]));
    let widths: Vec<u32> = sandbox
        .read("width.txt")
        .lines()
        .map(|line| line.trim().parse().expect("a number"))
        .collect();
    assert_eq!(widths.len(), 12);
    assert!(widths.iter().all(|width| *width <= 4), "{widths:?}");
    assert!(
        widths.iter().any(|width| *width > 1),
        "nothing ran side by side: {widths:?}"
    );
}

/// A tool that takes three items at once and answers for each, by the text it is sent:
/// `bad` for good, `slow` the first time not, `lost` is not mentioned.
const BULK: &str = r#"
read -r line
echo "$line" >> calls.txt
printf '{"results":['
first=1
echo "$line" | grep -o '"args":{"to":"[^"]*"},"id":"[^"]*"' | sed 's/"args":{"to":"\(.*\)"},"id":"\(.*\)"/\2 \1/' > asked.$$
while read -r id to; do
    case "$to" in
        lost*) continue ;;
        bad*) entry="\"ok\":false,\"error\":\"invalid argument: no such address\"" ;;
        slow*)
            if mkdir "tried-$to" 2>/dev/null; then
                entry="\"ok\":false,\"error\":{\"status\":503,\"message\":\"busy\"}"
            else
                echo "$to" >> ledger.txt; entry="\"ok\":true,\"result\":\"sent\""
            fi ;;
        *) echo "$to" >> ledger.txt; entry="\"ok\":true,\"result\":\"sent\"" ;;
    esac
    [ $first -eq 1 ] || printf ','
    first=0
    printf '{"id":"%s",%s}' "$id" "$entry"
done < asked.$$
printf ']}\n'
"#;

const BULK_TOOL: &str = r#"
name: bulk
agent: {command: [sh, loop.sh], grace: 2s}
limits: {deadline: 2m}
retry: {base: 10ms, cap: 20ms}
tools:
  mail:
    command: [sh, bulk.sh]
    input: {type: object, required: [to], properties: {to: {type: string}}}
    effect: irreversible
    probe: {command: [sh, -c, '[ -e ledger.txt ] && grep -q "^$1$" ledger.txt', probe, "{to}"]}
    retry: {attempts: 3}
    batch: {size: 3, concurrency: 1}
"#;

#[test]
fn a_tool_that_takes_many_gets_only_the_retryable_slice_again() {
    let sandbox = sandbox(&looped("--policy optional"));
    sandbox.write("task.yaml", BULK_TOOL);
    sandbox.write("bulk.sh", BULK);
    sandbox.write("items.jsonl", &items(&["a", "slow1", "bad1", "b", "lost1"]));
    ran_well(&sandbox.run(&["run", "task.yaml"]));
    let ended = lines(&sandbox);
    let calls = sandbox.read("calls.txt");
    let want = ["succeeded", "succeeded", "dead", "succeeded", "dead"];
    assert_eq!(statuses(&ended), want, "{ended:#?}\n{calls}");
    assert_eq!(ended[1]["attempts"], 2);
    assert_eq!(ended[0]["content"], "sent");
    let calls: Vec<&str> = calls.lines().collect();
    let ids = |line: &str| {
        let sent: Value = serde_json::from_str(line).expect("what the tool read");
        let items = sent["items"].as_array().expect("a list").clone();
        items
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(calls[0]), ["0", "1", "2"]);
    assert_eq!(
        ids(calls[1]),
        ["1"],
        "only what is worth repeating goes again"
    );
    assert_eq!(ids(calls[2]), ["3", "4"]);
    let sent = count(&sandbox.read("ledger.txt"));
    assert_eq!(sent.len(), 3);
    assert!(sent.values().all(|times| *times == 1), "{sent:?}");
    // The probe said that the unmentioned one had not happened, so it was tried again.
    assert_eq!(ended[4]["attempts"], 3);
}

#[test]
fn what_failed_is_listed_over_all_runs_and_can_be_tried_again() {
    let sandbox = sandbox(&looped("--policy optional"));
    sandbox.write("items.jsonl", &items(&["a", "bad1", "bad2", "down1"]));
    ran_well(&sandbox.run(&["run", "task.yaml"]));
    let json = |args: &[&str]| -> Value {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.stdout).expect("JSON")
    };
    let failed = json(&["failed", "--since", "1h", "--json"]);
    assert_eq!(failed["items"], 3, "{failed:#}");
    assert_eq!(failed["groups"][0]["count"], 2);
    assert_eq!(failed["groups"][0]["statuses"], json!({"dead": 2}));
    let by_tool = json(&["failed", "--by", "tool", "--json"]);
    assert_eq!(
        (&by_tool["groups"][0]["key"], &by_tool["groups"][0]["count"]),
        (&json!("mail"), &json!(3))
    );
    let shown = sandbox.run(&["failed"]);
    assert!(shown.stdout.contains("words.semantic"), "{shown:?}");

    let letters = json(&["dead-letters", "list", "--json"]);
    let letters = letters["letters"].as_array().unwrap().clone();
    assert_eq!(letters.len(), 3, "{letters:#?}");
    let of = |item: &str| {
        let found = letters.iter().find(|letter| letter["args"]["to"] == item);
        found.expect("it is listed")["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (bad1, down1) = (of("bad1"), of("down1"));
    let page = sandbox.run(&["dead-letters", "show", &down1]);
    assert!(
        page.stdout.contains("all attempts of this call are used"),
        "{page:?}"
    );

    // Somebody repairs the mail server and the first address.
    sandbox.write("mail.sh", "case $1 in bad2) echo 'invalid argument' >&2; exit 2;; esac\necho \"$1\" >> ledger.txt; echo \"sent to $1\"\n");
    let dry = sandbox.run(&["dlq", "retry", "--all", "--dry-run"]);
    assert_eq!(dry.stdout.lines().count(), 3, "{dry:?}");
    let ran = sandbox.run(&["dead-letters", "retry", &bad1, &down1]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout.matches("succeeded").count(), 2, "{ran:?}");
    let again = sandbox.run(&["dead-letters", "retry", &bad1]);
    assert_eq!(
        again.code, 0,
        "what was done is answered from the record: {again:?}"
    );
    let sent = count(&sandbox.read("ledger.txt"));
    assert_eq!(
        sent,
        BTreeMap::from([("a".into(), 1), ("bad1".into(), 1), ("down1".into(), 1)])
    );

    let ran = sandbox.run(&["dead-letters", "retry", "--all"]);
    assert_eq!(ran.code, 1, "the last one still fails: {ran:?}");
    let refused = sandbox.run(&["dead-letters", "drop", "--all"]);
    assert_eq!(
        refused.code, 2,
        "without a terminal it has to be said: {refused:?}"
    );
    ran_well(&sandbox.run(&["dead-letters", "drop", "--all", "--yes"]));
    let empty = sandbox.run(&["dead-letters", "list"]);
    assert!(empty.stderr.contains("no dead letters"), "{empty:?}");
    // The journal knows all of it.
    let shown = json(&["show", "latest", "--json"]);
    assert_eq!(shown["batches"].as_array().unwrap().len(), 4, "{shown:#}");
    assert_eq!(
        shown["batches"][0]["counts"],
        json!({"succeeded": 1, "dead": 3})
    );
    assert_eq!(shown["status"], "done");
}

#[test]
fn a_failed_run_is_a_dead_letter_too() {
    let sandbox =
        sandbox("[ -e repaired ] || { echo broken >&2; exit 3; }\nagentguard turn --done\n");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let listed = sandbox.run(&["dead-letters", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let letter = &listed["letters"][0];
    assert_eq!(
        (&letter["kind"], &letter["status"]),
        (&json!("run"), &json!("failed")),
        "{listed:#}"
    );
    let run = letter["id"].as_str().unwrap();
    ran_well(&sandbox.run(&["dead-letters", "drop", run, "--yes"]));
    let empty = sandbox.run(&["dead-letters", "list"]);
    assert!(empty.stderr.contains("no dead letters"), "{empty:?}");
    sandbox.write("repaired", "");
    ran_well(&sandbox.run(&["dead-letters", "retry", run]));
    assert_eq!(sandbox.report()["status"], "done");
}

#[test]
fn a_result_that_is_partly_good_names_what_is_worth_repeating() {
    let sandbox = sandbox("agentguard tool send_all --json > out.jsonl\nagentguard turn --done\n");
    sandbox.write(
        "task.yaml",
        "name: partial\nagent: {command: [sh, loop.sh]}\nlimits: {deadline: 1m}\ntools:\n  \
         send_all:\n    command: [sh, send.sh]\n    effect: write\n",
    );
    sandbox.write(
        "send.sh",
        r#"echo '{"Successful": [{"Id": "a"}], "Failed": [{"Id": "b", "SenderFault": false, "Code": "InternalError"}, {"Id": "c", "SenderFault": true, "Code": "InvalidMessageContents"}]}'"#,
    );
    ran_well(&sandbox.run(&["run", "task.yaml"]));
    let answer: Value = serde_json::from_str(sandbox.read("out.jsonl").trim()).unwrap();
    assert_eq!(
        (&answer["class"], &answer["is_error"]),
        (&json!("partial"), &json!(false))
    );
    let text = answer["content"].as_str().unwrap();
    assert!(
        text.contains("Only these are worth repeating: b."),
        "{text}"
    );
}

/// The loop of the crash tests: twenty items, two of them poisoned.
fn crash_items() -> String {
    let addresses: Vec<String> = (0..20)
        .map(|number| match number {
            3 | 11 => format!("bad{number}"),
            5 => format!("slow{number}"),
            _ => format!("ok{number}"),
        })
        .collect();
    items(&addresses.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Kills the supervisor at every fault point that a batch comes by, at its first and at
/// a later passing, and resumes: each item once, whatever happened.
#[test]
fn killed_at_every_boundary_no_item_is_done_twice() {
    let mut cut = 0;
    for boundary in [
        "batch_called",
        "batch_due",
        "tool_ended",
        "retry_due",
        "settled",
        "swept",
    ] {
        for side in ["before_save", "after_save", "after_release"] {
            for pass in [1, 6] {
                let sandbox = sandbox(&looped("--policy optional"));
                sandbox.write("items.jsonl", &crash_items());
                let point = format!("{boundary}.{side}:{pass}");
                let mut last =
                    sandbox.run_with(("AGENTGUARD_FAULT", &point), &["run", "task.yaml"]);
                cut += usize::from(last.code != 0);
                for _ in 0..5 {
                    if last.code != 0 {
                        last = sandbox.run(&["resume", "latest"]);
                    }
                }
                assert_eq!(last.code, 0, "{point}: {last:?}");
                let sent = count(&sandbox.read("ledger.txt"));
                assert_eq!(sent.len(), 18, "{point}: {sent:?}");
                assert!(sent.values().all(|times| *times == 1), "{point}: {sent:?}");
                let ended = lines(&sandbox);
                let dead = ended.iter().filter(|line| line["status"] == "dead").count();
                assert_eq!((ended.len(), dead), (20, 2), "{point}: {ended:#?}");
            }
        }
    }
    assert!(cut >= 20, "hardly any of these points is passed: {cut}");
}

/// Copies the invoice agent into a sandbox.
/// The fixture of a hundred invoices, with the task and the loop that are wanted.
pub fn invoices(files: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/invoices");
    let shared = ["invoices.jsonl", "tools/mail.sh", "tools/mailed.sh"];
    for name in files.iter().chain(&shared) {
        let text = std::fs::read_to_string(from.join(name)).expect("a fixture");
        sandbox.write(name, &text);
    }
    sandbox
}

#[test]
fn a_hundred_invoices_five_poisoned_and_a_crash() {
    let sandbox = invoices(&["task.yaml", "loop.sh"]);
    let killed = sandbox.run_with(
        ("AGENTGUARD_FAULT", "tool_ended.after_save:40"),
        &["run", "task.yaml"],
    );
    assert_ne!(killed.code, 0, "{killed:?}");
    let ran = sandbox.run(&["resume", "latest"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let mailed = count(&sandbox.read("outbox.txt"));
    assert_eq!(mailed.len(), 95);
    assert!(mailed.values().all(|times| *times == 1), "{mailed:?}");
    let listed = sandbox.run(&["dead-letters", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let mut dead: Vec<_> = listed["letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| {
            (
                letter["item"].as_str().unwrap(),
                letter["class"].as_str().unwrap(),
            )
        })
        .collect();
    dead.sort_unstable();
    let want = [
        ("2026-0017", "semantic"),
        ("2026-0034", "semantic"),
        ("2026-0051", "semantic"),
        ("2026-0068", "persistent"),
        ("2026-0085", "unrecoverable"),
    ];
    assert_eq!(dead, want, "{listed:#}");
}
