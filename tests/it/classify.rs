//! `agentguard classify`

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use snapbox::{assert_data_eq, str};

use crate::cli_support::{said, titled};
use crate::support::Sandbox;

const RATE_LIMITED: &str = r#"{
  "kind": "http", "tool": "crm",
  "result": {"status": 429, "headers": {"retry-after": "12"}, "body": "slow down"}
}"#;

const TASK: &str = "\
agent: {command: [sh, agent.sh]}
rules:
  - id: asleep
    when: {tool: deploy, exit_code: 75}
    class: transient
    retry_after: 30s
    why: the cluster wakes up by itself
";

#[test]
fn one_result_is_explained_to_a_person() {
    let here = Sandbox::new();
    assert_data_eq!(
        said(&here, &["classify"], RATE_LIMITED),
        str![[r#"
status 0
--- stdout
tool      crm
class     transient
layer     transport: the supervisor deals with it
retry     yes
pattern   back off with full jitter, honour the hint, stay within the retry budget; the model does not see it
rule      rate.short_wait
why       a rate limit that lifts within a minute
evidence  status 429; body: slow down; header retry-after = 12
hint      the other side asks to wait 12s
--- stderr

"#]]
    );
}

#[test]
fn a_batch_names_the_items_worth_repeating() {
    let here = Sandbox::new();
    here.write(
        "batch.json",
        r#"{"kind":"batch","result":{"items":[
            {"id":"a","ok":true},
            {"id":"b","ok":false,"error":{"code":"Throttling","message":"rate exceeded","status":429,"retry_after":2}}]}}"#,
    );
    assert_data_eq!(
        said(&here, &["classify", "batch.json"], ""),
        str![[r#"
status 0
--- stdout
class     partial
layer     none
retry     only these items: "b"
pattern   commit the successes, queue the retryable slice, dead-letter the rest
rule      items.mixed
why       some items went well and some did not: only the retryable ones may be repeated
evidence  1 of 2 items failed, 1 worth repeating
hint      the other side asks to wait 2s
--- stderr

"#]]
    );
}

#[test]
fn lines_are_answered_in_order_and_a_broken_one_on_its_place() {
    let here = Sandbox::new();
    let lines = concat!(
        r#"{"id":"ok","kind":"exec","tool":"sh","result":{"exit_code":0,"stdout":"fine"}}"#,
        "\n\n",
        r#"{"id":"cut","kind":"#,
        "\n",
        r#"[1,2]"#,
        "\n",
        r#"{"id":9,"status":503}"#,
        "\n",
        r#"{"id":{"k":1},"kind":"http","result":{"status":503,"body":"half \ud83d of a pair"}}"#,
    );
    assert_data_eq!(
        said(&here, &["classify", "--json"], lines),
        str![[r#"
status 2
--- stdout
{"id":"ok","class":"success","layer":"none","retryable":false,"rule":"delivered","why":"the call went well; what its payload talks about is not looked at","evidence":"exit 0"}
{"id":null,"error":"line 3: EOF while parsing a value at column 19"}
{"id":null,"error":"line 4: expected an object, found a list"}
{"id":9,"error":"line 5: there is no `result`"}
{"id":{"k":1},"class":"transient","layer":"transport","retryable":true,"rule":"general.transient","why":"a broad code or the status says that it passes by itself","evidence":"status 503"}
--- stderr

"#]]
    );
}

#[test]
fn an_answer_comes_before_the_next_line_is_asked_for() {
    let here = Sandbox::new();
    let mut child = here
        .command(&["classify", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for id in 0..3 {
        writeln!(
            stdin,
            r#"{{"id":{id},"kind":"exec","result":{{"exit_code":0}}}}"#
        )
        .unwrap();
        let answer = answers.next().unwrap().unwrap();
        assert!(answer.starts_with(&format!("{{\"id\":{id},")), "{answer}");
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_line_of_65_mib_is_refused_and_the_next_one_is_answered() {
    let here = Sandbox::new();
    let mut lines = vec![b' '; 65 << 20];
    lines.extend_from_slice(b"\n{\"kind\":\"http\",\"result\":{\"status\":200,\"body\":\"x\"}}\n");
    assert_data_eq!(
        said(&here, &["classify", "--json"], lines),
        str![[r#"
status 2
--- stdout
{"id":null,"error":"line 1: longer than 64 MiB"}
{"id":null,"class":"success","layer":"none","retryable":false,"rule":"delivered","why":"the call went well; what its payload talks about is not looked at","evidence":"status 200"}
--- stderr

"#]]
    );
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let here = Sandbox::new();
    let line = "{\"kind\":\"http\",\"result\":{\"status\":200,\"body\":\"x\"}}\n";
    here.write("many.jsonl", &line.repeat(20_000));
    let mut child = here
        .command(&["classify", "--json", "many.jsonl"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_rules_of_a_task_file_come_first() {
    let here = Sandbox::new();
    here.write("task.yaml", TASK);
    let result = r#"{"kind":"exec","tool":"deploy","result":{"exit_code":75,"stderr":"zzz"}}"#;
    let args = ["classify", "--task", "task.yaml"];
    assert_data_eq!(
        said(&here, &args, result),
        str![[r#"
status 0
--- stdout
tool      deploy
class     transient
layer     transport: the supervisor deals with it
retry     yes
pattern   back off with full jitter, honour the hint, stay within the retry budget; the model does not see it
rule      asleep
why       the cluster wakes up by itself
evidence  tool deploy, exit 75
hint      the other side asks to wait 30s
--- stderr

"#]]
    );
}

#[test]
fn the_rules_are_listed_own_ones_first() {
    let here = Sandbox::new();
    here.write("task.yaml", TASK);
    let listed = said(&here, &["classify", "--rules", "--task", "task.yaml"], "");
    let begin: Vec<&str> = listed.lines().take(4).collect();
    assert_data_eq!(
        begin.join("\n"),
        str![[r#"
status 0
--- stdout
asleep                   transient: the cluster wakes up by itself
items.all_ok             every item of the batch went well
"#]]
    );
    let json = said(&here, &["classify", "--rules", "--json"], "");
    let rules = agentguard::policy::taxonomy::rules::table().len();
    assert_eq!(
        json.lines()
            .filter(|line| line.starts_with("{\"rule\""))
            .count(),
        rules
    );
}

#[test]
fn unusable_input_says_what_is_expected() {
    let here = Sandbox::new();
    #[rustfmt::skip]
    let shown = titled([
        ("nothing", said(&here, &["classify"], "")),
        ("no JSON", said(&here, &["classify"], "{\"kind\":")),
        ("two results", said(&here, &["classify"], "{\"result\":1} {\"result\":2}")),
        ("no result in it", said(&here, &["classify"], "{\"status\":503}")),
        ("no such file", said(&here, &["classify", "nope.json"], "")),
        ("a folder", said(&here, &["classify", "."], "")),
        ("a broken task file", said(&here, &["classify", "--task", "nope.yaml"], "{}")),
    ]);
    assert_data_eq!(
        shown,
        str![[r#"
== nothing
status 2
--- stdout
--- stderr
error: stdin is empty
hint: pipe in a result such as {"kind":"exec","result":{"exit_code":1,"stderr":"..."}}

== no JSON
status 2
--- stdout
--- stderr
error: stdin is not JSON
  because: EOF while parsing a value at line 1 column 8

== two results
status 2
--- stdout
--- stderr
error: expected one result, found 2
hint: `agentguard classify --json` reads many, one a line

== no result in it
status 2
--- stdout
--- stderr
error: there is no `result`
hint: pipe in a result such as {"kind":"exec","result":{"exit_code":1,"stderr":"..."}}

== no such file
status 2
--- stdout
--- stderr
error: cannot read `nope.json`
  because: No such file or directory (os error 2)

== a folder
status 2
--- stdout
--- stderr
error: cannot read `.`
  because: is a directory

== a broken task file
status 2
--- stdout
--- stderr
error: cannot read task file `nope.yaml`
  because: No such file or directory (os error 2)
hint: `agentguard init shell > task.yaml` writes one


"#]]
    );
}
