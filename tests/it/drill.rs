//! `agentguard drill`, as a user sees it: the matrix, its exit code, and that it
//! fails where a pattern does not fire.

use crate::support::Sandbox;

/// Three steps, one write each.
const LOOP: &str = r#"
step=$(agentguard state --messages none --get step) || exit
while [ "$step" -lt 3 ]; do
    agentguard tool mail --arg to=p$step >/dev/null || exit
    step=$((step + 1))
    agentguard turn --step $step --role assistant --content "sent $step" --cost-usd 0.01 || exit
done
agentguard turn --done --result sent || exit
"#;

const TASK: &str = r#"
name: mailing
agent: {command: [sh, loop.sh], grace: 2s}
limits: {cost_usd: 1, deadline: 1m}
verify: [{name: sent, command: [test, -e, really-sent]}]
tools:
  mail:
    command: [sh, -c, "echo really sent >> /dev/null; touch really-sent"]
    effect: irreversible
    key: "mail:{to}"
    probe: {command: [sh, -c, "exit 2", "{to}"]}
    input: {type: object, properties: {to: {type: string}}, required: [to]}
    output: {type: object, properties: {id: {type: integer}}, required: [id]}
    retry: {base: 10ms, attempts: 3}
"#;

/// Three calls of a model, each with the history of those before.
const CALLER: &str = r#"
messages='{"role":"user","content":"go"}'
for turn in 1 2 3; do
  curl -sS -f -o answer.json "$ANTHROPIC_BASE_URL/v1/messages" -H "x-api-key: $ANTHROPIC_API_KEY" \
    -H 'content-type: application/json' \
    -d "{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":1000,\"messages\":[$messages]}" || exit 1
  messages="$messages,{\"role\":\"assistant\",\"content\":\"turn $turn\"},{\"role\":\"user\",\"content\":\"go on\"}"
done
"#;

const CALLS: &str = r#"
name: calling
agent: {command: [sh, caller.sh], protocol: gateway}
limits: {cost_usd: 1, deadline: 1m}
"#;

fn drill(sandbox: &Sandbox, args: &[&str]) -> (i32, serde_json::Value) {
    let mut all = vec!["drill", "task.yaml", "--json"];
    all.extend(args);
    let ran = sandbox.run(&all);
    let document = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    (ran.code, document)
}

/// Name and verdict of every fault that was drilled.
fn verdicts(document: &serde_json::Value) -> Vec<(String, String)> {
    let rows = document["rows"].as_array().expect("rows");
    rows.iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().expect("a text").to_owned();
            (text("fault"), text("verdict"))
        })
        .collect()
}

fn mailing() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", TASK);
    sandbox.write("loop.sh", LOOP);
    sandbox
}

#[test]
fn every_fault_of_a_loop_is_answered_and_nothing_real_happens() {
    let sandbox = mailing();
    let (code, document) = drill(&sandbox, &[]);
    let verdicts = verdicts(&document);
    let failed: Vec<_> = verdicts.iter().filter(|(_, it)| it == "failed").collect();
    assert_eq!((code, failed.len()), (0, 0), "{document:#}");
    for wanted in [
        "tool.transient:mail",
        "tool.rate-limit:mail",
        "tool.persistent:mail",
        "tool.quality:mail",
        "tool.unrecoverable:mail",
        "tool.timeout:mail",
        "budget",
        "deadline",
        "verification",
        "crash.turn_reported",
        "crash.tool_called",
        "crash.tool_ended",
        "crash.verified",
    ] {
        let found = verdicts.iter().find(|(fault, _)| fault == wanted);
        assert_eq!(
            found.map(|it| it.1.as_str()),
            Some("passed"),
            "{wanted}: {document:#}"
        );
    }
    assert!(!sandbox.path().join("really-sent").exists());
    // The user's own journal knows nothing of it.
    assert_eq!(
        sandbox
            .run(&["runs", "--json"])
            .stdout
            .matches("run_id")
            .count(),
        0
    );
}

#[test]
fn every_fault_of_a_model_is_answered() {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", CALLS);
    sandbox.write("caller.sh", CALLER);
    let (code, document) = drill(&sandbox, &["--fault", "model", "--fault", "budget"]);
    let want: Vec<(String, String)> = [
        "model.transient",
        "model.rate-limit",
        "model.persistent",
        "model.credentials",
        "model.quality",
        "model.cut",
        "budget",
    ]
    .map(|fault| (fault.to_owned(), "passed".to_owned()))
    .into();
    assert_eq!((code, verdicts(&document)), (0, want), "{document:#}");
}

/// A model call, a mail that the loop sends by itself, and another call.
#[test]
fn a_write_without_a_probe_is_put_before_a_human_and_a_loop_of_its_own_is_none() {
    let sandbox = Sandbox::new();
    let call = CALLER.replace("for turn in 1 2 3", "for turn in 1");
    let mail = "agentguard tool mail --arg to=ann >/dev/null || exit\n";
    sandbox.write("caller.sh", &format!("{call}{mail}{call}"));
    let mail = "tools: {mail: {command: [\"true\"], effect: write, key: 'mail:{to}'}}\n";
    sandbox.write("task.yaml", &format!("{CALLS}{mail}"));
    let faults = ["--fault", "crash.tool_called", "--fault", "loop"];
    let (code, document) = drill(&sandbox, &faults);
    let want = [("loop", "not_reached"), ("crash.tool_called", "passed")];
    let want: Vec<_> = want.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    assert_eq!((code, verdicts(&document)), (0, want), "{document:#}");
    let evidence = document["rows"][1]["evidence"].to_string();
    assert!(evidence.contains("asks whether it happened"), "{evidence}");
}

#[test]
fn a_chain_that_has_no_other_provider_is_told_apart_from_one_that_has() {
    let sandbox = Sandbox::new();
    sandbox.write("caller.sh", CALLER);
    let fallbacks = "fallbacks: [{provider: openai, model: gpt-5-mini}]\n";
    sandbox.write("task.yaml", &format!("{CALLS}{fallbacks}"));
    let (code, document) = drill(&sandbox, &["--fault", "model.persistent"]);
    assert_eq!(code, 0, "{document:#}");
    let fired = document["rows"][0]["fired"].as_str().expect("a text");
    assert!(fired.contains("fall_back"), "{document:#}");
}

#[test]
fn a_rule_that_retries_what_never_works_fails_the_drill() {
    let sandbox = mailing();
    let rules = "
rules:
  - {id: stubborn, when: {tool: mail, pattern: '401'}, class: transient}
";
    sandbox.write("task.yaml", &format!("{TASK}{rules}"));
    let ran = sandbox.run(&[
        "drill",
        "task.yaml",
        "--fault",
        "tool.persistent",
        "--junit",
        "drill.xml",
    ]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("FAIL"), "{ran:?}");
    assert!(ran.stdout.contains("expected: no retry"), "{ran:?}");
    let xml = sandbox.read("drill.xml");
    assert!(xml.contains("failures=\"1\""), "{xml}");
    assert!(
        xml.contains("<failure message=\"expected: no retry"),
        "{xml}"
    );
}

#[test]
fn a_fault_that_does_not_exist_is_named_with_the_nearest() {
    let sandbox = mailing();
    let ran = sandbox.run(&["drill", "task.yaml", "--fault", "tool.transent:mail"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.stderr.contains("did you mean `tool.transient:mail`?"),
        "{ran:?}"
    );
    let listed = sandbox.run(&["drill", "task.yaml", "--list"]);
    assert_eq!(listed.code, 0);
    assert!(listed.stdout.contains("crash.tool_ended"), "{listed:?}");
}

#[test]
fn a_task_that_fails_without_a_fault_is_said_to_and_nothing_is_played() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "name: broken\nagent: {command: [sh, -c, 'echo \"<oops>\" >&2; exit 3']}\n",
    );
    let (code, document) = drill(&sandbox, &["--junit", "drill.xml"]);
    let want = vec![("none".to_owned(), "failed".to_owned())];
    assert_eq!((code, verdicts(&document)), (1, want), "{document:#}");
    let evidence = document["rows"][0]["evidence"].to_string();
    assert!(evidence.contains("exited with code 3"), "{evidence}");
    let xml = sandbox.read("drill.xml");
    assert!(
        xml.contains("failures=\"1\"") && xml.contains("&lt;oops&gt;"),
        "{xml}"
    );
    // So is one that never ends.
    sandbox.write(
        "task.yaml",
        "name: hanging\nagent: {command: [sleep, '600'], grace: 1s}\n",
    );
    let (code, document) = drill(&sandbox, &["--timeout", "1s"]);
    assert_eq!(code, 1, "{document:#}");
    let evidence = document["rows"][0]["evidence"].to_string();
    assert!(evidence.contains("longer than 1s"), "{evidence}");
}

#[test]
fn a_loop_that_does_not_listen_fails_the_drill() {
    let sandbox = mailing();
    sandbox.write(
        "loop.sh",
        &LOOP.replace(">/dev/null || exit", ">/dev/null || true"),
    );
    let (code, document) = drill(&sandbox, &["--fault", "tool.persistent"]);
    assert_eq!(code, 1, "{document:#}");
    let evidence = document["rows"][0]["evidence"].to_string();
    assert!(evidence.contains("without 3 of its effects"), "{evidence}");
}

/// It asks, needs an approval, works on a staged folder, and tells people.
const ASKING: &str = r#"
name: asking
agent: {command: [sh, loop.sh], cwd: app, grace: 1s}
limits: {deadline: 1m}
workspace: {stage: app, commit: files}
notify: [{on: [waiting], command: [sh, -c, "touch really-told"]}]
tools:
  pay: {command: ["false"], effect: irreversible, key: "pay:{to}", approve: always}
"#;

const ASKING_LOOP: &str = r#"
echo changed > story.txt
who=$(agentguard escalate --question 'Whom?' --option a=Ann --option b=Bo --default b) || exit
agentguard tool pay --arg to=$who >/dev/null
agentguard turn --done --role assistant --content "asked" || exit
"#;

#[test]
fn humans_and_a_staged_folder_go_wrong_too() {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", ASKING);
    sandbox.write("app/loop.sh", ASKING_LOOP);
    sandbox.write("app/story.txt", "once");
    let faults = ["human", "staging", "crash.commit.half", "crash.escalated"];
    let faults: Vec<&str> = faults.iter().flat_map(|it| ["--fault", it]).collect();
    let (code, document) = drill(&sandbox, &faults);
    let want = [
        "human.deadline",
        "human.early",
        "human.webhook",
        "staging.conflict",
        "crash.escalated",
        "crash.commit.half",
    ];
    let want: Vec<_> = want.map(|it| (it.to_owned(), "passed".to_owned())).into();
    assert_eq!((code, verdicts(&document)), (0, want), "{document:#}");
    assert_eq!(sandbox.read("app/story.txt"), "once");
    assert!(!sandbox.path().join("app/really-told").exists());
    // A default that pays by itself is what the task says, and is shown to pass; an agent
    // that is not told by default is not asked twice.
    let silent = &document["rows"][0];
    let fired = silent["fired"].as_str().expect("a text");
    assert!(fired.contains("escalation."), "{silent:#}");
}

#[test]
fn a_drill_asks_nobody_also_where_ci_is_set() {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", ASKING);
    sandbox.write("app/loop.sh", ASKING_LOOP);
    let ran = sandbox.run_with(
        ("CI", "true"),
        &["drill", "task.yaml", "--fault", "human.early", "--json"],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_drill_that_is_stopped_leaves_nothing() {
    let sandbox = mailing();
    let temporary = sandbox.path().join("tmp");
    std::fs::create_dir(&temporary).expect("a folder");
    let mut command = sandbox.command(&["drill", "task.yaml"]);
    let child = command
        .env("TMPDIR", &temporary)
        .spawn()
        .expect("it starts");
    let entries = || std::fs::read_dir(&temporary).expect("a folder").count();
    crate::support::wait_until(20, "a rehearsal", || entries() > 0);
    let pid = i32::try_from(child.id()).expect("a number");
    let pid = rustix::process::Pid::from_raw(pid).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is there");
    let ran = crate::support::ended(child);
    assert_eq!(ran.code, 143, "{ran:?}");
    assert_eq!(entries(), 0);
}

#[test]
fn a_tool_that_takes_many_is_handed_what_failed_again_and_nothing_else() {
    let sandbox = Sandbox::new();
    let item = |n: u8| format!("{{\"id\":\"i{n}\",\"args\":{{\"to\":\"p{n}\"}}}}\n");
    sandbox.write("items.jsonl", &(1..=5).map(item).collect::<String>());
    sandbox.write(
        "task.yaml",
        "
name: batch
agent: {command: [sh, loop.sh], grace: 1s}
limits: {deadline: 1m}
tools:
  index: {command: ['false'], effect: write, key: 'i:{to}', batch: {size: 3}, retry: {base: 10ms}}
",
    );
    sandbox.write(
        "loop.sh",
        "agentguard batch index items.jsonl >ended.jsonl || exit\n\
         agentguard turn --done --role assistant --content done\n",
    );
    let faults = ["--fault", "tool.partial", "--fault", "crash.batch_due"];
    let (code, document) = drill(&sandbox, &faults);
    let want = [
        ("tool.partial:index", "passed"),
        ("crash.batch_due", "passed"),
    ];
    let want: Vec<_> = want.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    assert_eq!((code, verdicts(&document)), (0, want), "{document:#}");
    let fired = document["rows"][0]["fired"].to_string();
    assert!(fired.contains("retry"), "{document:#}");
}
