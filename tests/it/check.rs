//! `agentguard check` and `agentguard schema`

use serde_json::Value;
use snapbox::{assert_data_eq, str};

use crate::cli_support::{said, titled};
use crate::support::Sandbox;

const READY: &str = "\
agent: {command: [sh, agent.sh], inherit_env: [PATH]}
limits: {deadline: 1h, cost_usd: 1, idle: 5m}
prices: {m: {input: 1, output: 2}}
notify: [{command: [notify-send]}]
verify: [{command: [make, test]}]
";

#[test]
fn a_ready_task_has_nothing_to_report() {
    let here = Sandbox::new();
    here.write("task.yaml", READY);
    assert_data_eq!(
        said(&here, &["check", "task.yaml"], ""),
        str![[r#"
status 0
--- stdout
task.yaml: ready, nothing to report
--- stderr

"#]]
    );
}

#[test]
fn all_problems_come_at_once() {
    let here = Sandbox::new();
    here.write(
        "task.yaml",
        "agent: {command: [sh]}\nlimits:\n  cost_usd: -3\n  dedline: 5m\n",
    );
    assert_data_eq!(
        said(&here, &["check", "task.yaml"], ""),
        str![[r#"
status 2
--- stdout
error: task file `task.yaml`: limits.cost_usd is -3, expected an amount above 0
 --> task.yaml:3:13
  |
3 |   cost_usd: -3
  |             ^^

error: task file `task.yaml`: limits.dedline is not a known key
 --> task.yaml:4:3
  |
4 |   dedline: 5m
  |   ^^^^^^^
hint: did you mean `deadline`?

task.yaml: 2 errors
--- stderr

"#]]
    );
}

#[test]
fn findings_name_their_rule_and_warnings_fail_only_a_strict_check() {
    let here = Sandbox::new();
    let text =
        "agent: {command: [sh, agent.sh], inherit_env: [PATH]}\nlimits: {deadline: 1h, idle: 5m}\n";
    here.write("task.yaml", text);
    assert_data_eq!(
        said(&here, &["check", "task.yaml"], ""),
        str![[r#"
status 0
--- stdout
warning[R202]: task file `task.yaml`: the run has no cost limit
 --> task.yaml:2:1
  |
2 | limits: {deadline: 1h, idle: 5m}
  | ^^^^^^
hint: add `cost_usd: 2.50` under `limits`

warning[R301]: task file `task.yaml`: nobody is told when a run fails
 --> task.yaml:1:1
  |
1 | agent: {command: [sh, agent.sh], inherit_env: [PATH]}
  | ^^^^^
hint: add `notify:` with `- command: [./notify.sh]` or `- webhook: "{env.SLACK_URL}"`

warning[R601]: task file `task.yaml`: nothing checks the work: the agent's word is all there is
 --> task.yaml:1:1
  |
1 | agent: {command: [sh, agent.sh], inherit_env: [PATH]}
  | ^^^^^
hint: add `verify:` with `- command: [make, test]`

task.yaml: can run; 3 warnings
--- stderr

"#]]
    );
    let strict = said(&here, &["check", "--strict", "-"], text);
    assert!(strict.starts_with("status 2\n"), "{strict}");
}

#[test]
fn the_examples_of_rules_are_tried() {
    let here = Sandbox::new();
    let rules = "\
rules:
  - id: asleep
    when: {tool: deploy, exit_code: 75}
    class: transient
    examples:
      - {kind: exec, tool: deploy, result: {exit_code: 75}}
      - {kind: exec, tool: deploy, result: {exit_code: 1}}
";
    here.write("task.yaml", &format!("{READY}{rules}"));
    assert_data_eq!(
        said(&here, &["check", "task.yaml"], ""),
        str![[r#"
status 2
--- stdout
error[R402]: task file `task.yaml`: the example of rule `asleep` is taken by rule `other`
  --> task.yaml:12:10
   |
12 |       - {kind: exec, tool: deploy, result: {exit_code: 1}}
   |          ^^^^
hint: correct `when` or the example; `agentguard classify` explains one result

task.yaml: 1 error
--- stderr

"#]]
    );
}

#[test]
fn json_is_one_object() {
    let here = Sandbox::new();
    here.write(
        "task.yaml",
        "agent: {command: [sh]}\nlimits: {cost_usd: -3}\n",
    );
    assert_data_eq!(
        said(&here, &["check", "--json", "task.yaml"], ""),
        str![[r#"
status 2
--- stdout
{"v":1,"file":"task.yaml","ok":false,"errors":1,"warnings":0,"infos":0,"problems":[{"file":"task.yaml","line":2,"column":20,"key":"limits.cost_usd","message":"limits.cost_usd is -3, expected an amount above 0","expected":"an amount above 0","found":"-3"}],"findings":[]}
--- stderr

"#]]
    );
    here.write("task.yaml", "agent: {command: [sh, a.sh], inherit_env: [PATH]}\nlimits: {deadline: 1h, idle: 5m, cost_usd: 1}\nprices: {m: {input: 1, output: 2}}\nverify: [{command: [v]}]\n");
    assert_data_eq!(
        said(&here, &["check", "--json", "task.yaml"], ""),
        str![[r#"
status 0
--- stdout
{"v":1,"file":"task.yaml","ok":true,"errors":0,"warnings":1,"infos":0,"problems":[],"findings":[{"rule":"R301","severity":"warning","file":"task.yaml","line":1,"column":1,"key":"","message":"nobody is told when a run fails","fix":"add `notify:` with `- command: [./notify.sh]` or `- webhook: /"{env.SLACK_URL}/"`"}]}
--- stderr

"#]]
    );
}

/// Scripts that read stdout get an object, whatever was refused; people get their text.
#[test]
fn a_refusal_is_an_object_for_programs_too() {
    let here = Sandbox::new();
    here.write("wrong.yaml", "agent: {comand: [sh]}\n");
    here.write(
        "lost.yaml",
        "agent: {command: [sh]}\nupstream: {script: lost}\n",
    );
    #[rustfmt::skip]
    let rows: [(&[&str], &str); 8] = [
        (&["run", "--json", "wrong.yaml"],     "comand"),
        (&["run", "--json", "nothing.yaml"],   "nothing.yaml"),
        (&["run", "--json", "lost.yaml"],      "lost"),
        (&["check", "--json", "lost.yaml"],    "lost"),
        (&["check", "--json", "nothing.yaml"], "nothing.yaml"),
        (&["chain", "--json", "wrong.yaml"],   "comand"),
        (&["resume", "--json", "latest"],      "run"),
        (&["resume", "--json", "r-00000000"],  "r-00000000"),
    ];
    for (args, word) in rows {
        let ran = here.run(args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(word), "{args:?}: {ran:?}");
        let told: Value = serde_json::from_str(&ran.stdout).expect("one object");
        let error = &told["error"];
        assert_eq!(error["exit_code"], 2, "{args:?}: {told}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(word), "{args:?}: {told}");
        let is_task = args[2] == "wrong.yaml";
        assert_eq!(
            error["problems"][0]["line"].is_u64(),
            is_task,
            "{args:?}: {told}"
        );
    }
    let ran = here.run(&["run", "wrong.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
}

#[test]
fn what_is_no_task_file_is_told() {
    let here = Sandbox::new();
    std::fs::write(here.path().join("bytes.yaml"), b"agent: \xff\xfe\n").unwrap();
    here.write("empty.yaml", "");
    let shown = titled([
        ("no such file", said(&here, &["check", "nope.yaml"], "")),
        ("no text", said(&here, &["check", "bytes.yaml"], "")),
        ("empty", said(&here, &["check", "empty.yaml"], "")),
        ("no file at all", said(&here, &["check"], "")),
    ]);
    assert_data_eq!(
        shown,
        str![[r#"
== no such file
status 2
--- stdout
--- stderr
error: cannot read task file `nope.yaml`
  because: No such file or directory (os error 2)
hint: `agentguard init shell > task.yaml` writes one

== no text
status 2
--- stdout
error: task file `bytes.yaml`: it is not UTF-8 text, expected UTF-8
 --> bytes.yaml:1:8
  |
1 | agent: ��
  |        ^^
hint: save the file with the encoding UTF-8

bytes.yaml: 1 error
--- stderr

== empty
status 2
--- stdout
error: task file `empty.yaml`: it is empty, expected at least an `agent:` section
 --> empty.yaml:1:1
hint: write a first one with `agentguard init`

empty.yaml: 1 error
--- stderr

== no file at all
status 2
--- stdout
--- stderr
error: the following required arguments were not provided:
  <TASK>

Usage: agentguard check --state <DIR> <TASK>

For more information, try '--help'.


"#]]
    );
}

#[test]
fn the_rules_are_listed() {
    let here = Sandbox::new();
    assert_data_eq!(
        said(&here, &["check", "--rules"], ""),
        str![[r#"
status 0
--- stdout
R101  warning  a tool has no timeout of its own
R102  warning  a write tool has no key
R103  warning  a write tool can be settled after a crash by a human only
R104  error    an irreversible tool is tried more than once
R105  warning  a tool does not say which arguments it takes
R106  warning  a tool does not say what it does to the world
R107  info     a tool has no description for the model
R108  info     an argument could be taken for an option
R109  warning  a tool calls another machine over plain HTTP
R110  warning  a key or command needs an argument that calls may leave out
R111  error    the agent cannot reach the tools
R112  info     a write tool has no undo
R201  warning  the run has no deadline
R202  warning  the run has no cost limit
R203  info     the run may hang unnoticed until its deadline
R204  warning  the idle limit is not below the deadline
R205  error    a limit cannot be seen with this protocol
R206  info     no price is known for a loop that reports tokens
R207  warning  one call may take longer than the whole run
R301  warning  nobody is told when a run fails
R302  warning  nobody is told of some ends that need a person
R303  warning  a human may have to decide, and nobody is told
R304  warning  a deadline is longer than the life of the tokens that answer
R401  warning  a rule has no examples
R402  error    an example does not match its rule
R403  error    an earlier rule takes everything
R404  warning  a rule is for a tool that does not exist
R501  error    a secret stands in the task file
R502  info     the agent sees every secret of the environment
R601  warning  nothing checks the work
R701  warning  tools write, and the folder is not staged
R702  warning  the agent works outside of the staged folder
--- stderr

"#]]
    );
    let json = said(&here, &["check", "--rules", "--json"], "");
    assert!(
        json.contains(r#"{"rule":"R201","severity":"warning","title":"the run has no deadline"}"#),
        "{json}"
    );
}

#[test]
fn the_schema_is_json_and_the_same_each_time() {
    let here = Sandbox::new();
    let output = here.command(&["schema"]).output().unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["$id"], "urn:agentguard:task:1");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        output.stdout,
        here.command(&["schema"]).output().unwrap().stdout
    );
}
