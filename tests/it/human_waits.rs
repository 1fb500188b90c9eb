//! Who waits for a human, and what everybody sees meanwhile: suspended and crashed
//! runs, several that wait, an agent behind the gateway, tools of an MCP server, and
//! a terminal.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{BINARY, Ran, Sandbox, ended, wait_until};

const TASK: &str = r#"
name: waits
agent: {command: [sh, loop.sh], grace: 2s}
limits: {cost_usd: 50, steps: 60, deadline: 10m, idle: 1m}
tools:
  pay:
    command: [sh, -c, 'echo "$0" >> ledger.txt; echo "paid $0"', "{to}"]
    effect: irreversible
    key: "pay:{to}"
    approve: always
"#;

const PAY: &str = "
agentguard tool pay --arg to=u1 > got.txt; code=$?
[ $code -lt 20 ] || exit $code
agentguard turn --done --result \"$(cat got.txt)\" || exit
";

fn sandbox(task: &str, script: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", task);
    sandbox.write("loop.sh", script);
    sandbox
}

/// Waits until something is asked that is not `but`, and returns its number.
fn asked(sandbox: &Sandbox, but: &str) -> String {
    let mut id = String::new();
    wait_until(30, "a question", || {
        let ids = sandbox
            .questions(&[])
            .into_iter()
            .filter_map(|it| it["id"].as_str().map(str::to_owned));
        let next = ids.into_iter().find(|it| it != but);
        id = next.unwrap_or_default();
        !id.is_empty()
    });
    id
}

fn answer(sandbox: &Sandbox, id: &str, option: &str) {
    let ran = sandbox.run(&["answer", id, "--choose", option, "--by", "anna"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// A run whose supervisor was killed while it asked.
fn crashed(task: &str) -> Sandbox {
    let sandbox = sandbox(task, PAY);
    let mut run = sandbox.start(&["run", "task.yaml"]);
    asked(&sandbox, "");
    run.kill().expect("a child of ours");
    run.wait().expect("a child of ours");
    sandbox
}

#[test]
fn a_crashed_run_is_waited_for_until_the_answer_or_the_deadline() {
    let sandbox = crashed(TASK);
    let wait = sandbox.start(&["wait", "latest"]);
    let id = asked(&sandbox, "");
    std::thread::sleep(std::time::Duration::from_millis(400));
    answer(&sandbox, &id, "approve");
    let ran = ended(wait);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read("ledger.txt"), "u1\n");

    let task = format!("{TASK}escalation: {{types: {{approval: {{deadline: 2s}}}}}}\n");
    let sandbox = crashed(&task);
    let ran = sandbox.run(&["wait", "latest"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(sandbox.read("got.txt").contains("the deadline passed"));
    assert_eq!(sandbox.read("ledger.txt"), "");

    // Answered while nobody was there.
    let sandbox = crashed(TASK);
    answer(&sandbox, &asked(&sandbox, ""), "approve");
    let ran = sandbox.run(&["wait", "latest"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read("ledger.txt"), "u1\n");
}

#[test]
fn of_several_that_wait_one_goes_on_and_all_say_how_it_ended() {
    let sandbox = sandbox(TASK, PAY);
    assert_eq!(sandbox.run(&["run", "--detach", "task.yaml"]).code, 25);
    let waits: Vec<Child> = (0..4).map(|_| sandbox.start(&["wait", "latest"])).collect();
    answer(&sandbox, &asked(&sandbox, ""), "approve");
    for wait in waits {
        let ran = ended(wait);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(sandbox.read("ledger.txt"), "u1\n");
    assert_eq!(sandbox.report()["attempts"], 2);
}

#[test]
fn what_humans_did_is_shown_before_the_run_goes_on() {
    let sandbox = sandbox(TASK, PAY);
    assert_eq!(sandbox.run(&["run", "--detach", "task.yaml"]).code, 25);
    let id = asked(&sandbox, "");
    let report = sandbox.report();
    assert_eq!(report["status"], "waiting");
    assert_eq!(report["last_error"], Value::Null, "to wait is no error");
    assert_eq!(report["tools"][0]["tries"], 0, "nothing was tried");
    let ran = sandbox.run(&["answer", &id, "--ack", "--by", "kim"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let shown = sandbox.run(&["show", "latest"]).stdout;
    assert!(shown.contains("open, seen by kim"), "{shown}");
    answer(&sandbox, &id, "approve");
    let shown = sandbox.run(&["show", "latest"]).stdout;
    assert!(shown.contains("approve, by anna"), "{shown}");
    for args in [&["show", "latest", "--json"][..], &["runs", "--json"]] {
        let told = sandbox.run(args).stdout;
        assert!(told.contains(r#""option":"approve","by":"anna""#), "{told}");
    }
    assert_eq!(sandbox.run(&["resume", "latest"]).code, 0);
    assert_eq!(sandbox.report()["last_error"], Value::Null);
}

#[test]
fn a_run_that_is_alive_and_waits_says_so() {
    let sandbox = sandbox(TASK, PAY);
    let run = sandbox.start(&["run", "task.yaml"]);
    let id = asked(&sandbox, "");
    assert_eq!(sandbox.report()["status"], "waiting");
    let listed = |status: &str| {
        let ran = sandbox.run(&["runs", "--status", status, "--json"]);
        ran.stdout.matches("\"run_id\"").count()
    };
    assert_eq!((listed("waiting"), listed("running")), (1, 0));
    answer(&sandbox, &id, "decline");
    assert_eq!(ended(run).code, 0);
}

/// Four circles of one call, through the gateway; the whole history each time.
const WIRED: &str = r#"
msgs='[{"role":"user","content":"go"}]'
for turn in 1 2 3 4 5 6 7 8 9; do
    body="{\"model\":\"gpt-4o\",\"max_tokens\":200,\"messages\":$msgs,\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"shell\",\"parameters\":{\"type\":\"object\",\"properties\":{\"command\":{\"type\":\"string\"}}}}}]}"
    answer=$(curl -sS -f "$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $OPENAI_API_KEY" -H 'content-type: application/json' -d "$body") || exit 1
    echo "$turn" >> calls.txt
    said=$(printf '%s' "$answer" | python3 -c 'import json,sys; m=json.load(sys.stdin)["choices"][0]["message"]; print(json.dumps(m)); print((m.get("tool_calls") or [{"id":"none"}])[0]["id"])')
    id=$(printf '%s\n' "$said" | tail -1)
    [ "$id" != none ] || exit 0
    said=$(printf '%s\n' "$said" | head -1)
    msgs="${msgs%]},$said,{\"role\":\"tool\",\"tool_call_id\":\"$id\",\"content\":\"as before\"}]"
done
"#;

fn wired(more: &str, turns: &str) -> Sandbox {
    let task = format!(
        "name: wired\nagent: {{command: [sh, loop.sh], protocol: gateway, grace: 2s}}\n\
         limits: {{cost_usd: 5, steps: 60, deadline: 10m, idle: 1m}}\n\
         upstream: {{script: model.yaml}}\n{more}"
    );
    let sandbox = sandbox(&task, WIRED);
    let head = "usage: {input: 2000, output: 60}\nturns:\n";
    sandbox.write("model.yaml", &format!("{head}{turns}"));
    sandbox
}

const SAME_CALL: &str = "- {say: Again., shell: python fix.py --all, repeat: forever}\n";

#[test]
fn an_agent_behind_the_gateway_that_loops_is_ended_and_started_again_with_the_answer() {
    let sandbox = wired("loops: {on_stop: pause}\n", SAME_CALL);
    let run = sandbox.start(&["run", "task.yaml"]);
    let first = asked(&sandbox, "");
    assert_eq!(sandbox.report()["status"], "waiting");
    answer(&sandbox, &first, "continue");
    let second = asked(&sandbox, &first);
    answer(&sandbox, &second, "stop");
    let ran = ended(run);
    assert_eq!(ran.code, 22, "{ran:?}");
    assert!(ran.stderr.contains("escalation.impatient"), "{ran:?}");
    let report = sandbox.report();
    assert_eq!(report["attempts"], 2, "{report}");
    assert_eq!(report["cost_usd"], "0.056", "ten calls: {report}");
    let why = sandbox.run(&["why", "latest"]).stdout;
    assert!(why.contains("anna chose `continue`"), "{why}");
}

#[test]
fn an_agent_behind_the_gateway_that_is_about_to_spend_more_asks_and_pays_nothing_twice() {
    let turns = "- {say: On., shell: python a.py}\n- {say: On., shell: python b.py}\n\
                 - {say: On., shell: python c.py}\n- {say: Done.}\n";
    let sandbox = wired("escalation: {cost_usd: 0.02}\n", turns);
    let run = sandbox.start(&["run", "task.yaml"]);
    let id = asked(&sandbox, "");
    assert_eq!(sandbox.questions(&[])[0]["kind"], "cost");
    answer(&sandbox, &id, "continue");
    let ran = ended(run);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = sandbox.report();
    assert_eq!(report["cost_usd"], "0.0224", "four calls: {report}");
    assert_eq!(report["replayed"], 2, "{report}");
    // In CI it ends for now, and goes on by `resume`.
    let sandbox = wired("escalation: {cost_usd: 0.02}\n", turns);
    let ran = sandbox.run(&["run", "--detach", "task.yaml"]);
    assert_eq!(ran.code, 25, "{ran:?}");
    answer(&sandbox, &asked(&sandbox, ""), "stop");
    assert_eq!(sandbox.run(&["resume", "latest"]).code, 20);
}

#[test]
fn a_loop_of_batches_waits_for_a_human() {
    let script = "
        for turn in 1 2 3 4 5 6 7; do
            printf '%s\\n' '{\"id\":\"a\",\"args\":{\"q\":1}}' | agentguard batch get > out.txt 2>> told.txt || exit
            echo \"$turn\" >> batches.txt
        done
        agentguard turn --done --result out || exit
    ";
    let tools = "tools:\n  get: {command: [echo, same], effect: read}\n";
    let head = TASK.split("tools:").next().unwrap_or_default();
    let task = format!("{head}{tools}loops: {{on_stop: pause, steer: false}}\n");
    for (option, code, batches) in [("continue", 0, 7), ("stop", 22, 4)] {
        let sandbox = sandbox(&task, script);
        let run = sandbox.start(&["run", "task.yaml"]);
        let id = asked(&sandbox, "");
        assert_eq!(sandbox.questions(&[])[0]["kind"], "loop");
        answer(&sandbox, &id, option);
        let ran = ended(run);
        assert_eq!(ran.code, code, "{option}: {ran:?}");
        assert_eq!(
            sandbox.read("batches.txt").lines().count(),
            batches,
            "{option}"
        );
    }
}

/// An MCP session as a client has it, with one call that needs an approval.
const CLIENT: &str = r#"
i='{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}'
call='{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"send","arguments":{"x":1}}}'
mkfifo in 2> /dev/null
agentguard mcp proxy --name s -- python3 server.py < in > out.txt &
exec 3> in
printf '%s\n%s\n%s\n' "$i" '{"jsonrpc":"2.0","method":"notifications/initialized"}' "$call" >&3
until grep -q '"id": *2' out.txt; do sleep 0.05; done
exec 3>&-
wait
agentguard turn --done --result sent
"#;

const SERVER: &str = r#"
import json, sys
for line in sys.stdin:
    said = json.loads(line)
    if "id" not in said:
        continue
    result = {}
    if said["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
    if said["method"] == "tools/call":
        open("mails.txt", "a").write("sent\n")
        result = {"content": [{"type": "text", "text": "sent"}]}
    print(json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": result}), flush=True)
"#;

#[test]
fn a_call_of_an_mcp_server_waits_for_its_approval() {
    let head = TASK.split("tools:").next().unwrap_or_default();
    let tool = "{effect: irreversible, approve: always, key: \"send:{x}\"}";
    let task = format!("{head}mcp: {{s: {{tools: {{send: {tool}}}}}}}\n");
    for (option, mails) in [("approve", "sent\n"), ("decline", "")] {
        let sandbox = sandbox(&task, CLIENT);
        sandbox.write("server.py", SERVER);
        let run = sandbox.start(&["run", "task.yaml"]);
        let id = asked(&sandbox, "");
        assert_eq!(
            sandbox.questions(&[])[0]["question"],
            "May `s/send` be called?"
        );
        assert_eq!(sandbox.read("mails.txt"), "", "nothing before the answer");
        answer(&sandbox, &id, option);
        let ran = ended(run);
        assert_eq!(ran.code, 0, "{option}: {ran:?}");
        assert_eq!(sandbox.read("mails.txt"), mails, "{option}");
        let told = sandbox.read("out.txt");
        assert_eq!(
            told.contains("Declined by anna"),
            option == "decline",
            "{told}"
        );
    }
}

/// Runs a command on a terminal of its own, and types.
fn on_a_terminal(sandbox: &Sandbox, args: &[&str], typed: &str) -> Option<Ran> {
    let line: Vec<String> = [BINARY]
        .iter()
        .chain(args)
        .map(|it| format!("'{it}'"))
        .collect();
    let mut command = Command::new("script");
    command
        .args(["-qec", &line.join(" "), "/dev/null"])
        .env("AGENTGUARD_STATE", sandbox.state())
        .env("NO_COLOR", "1")
        .env_remove("AGENTGUARD_SOCKET")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("skipped: there is no `script` that makes a terminal");
        return None;
    };
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(typed.as_bytes()).expect("it reads");
    let ran = ended(child);
    drop(stdin);
    Some(ran)
}

#[test]
fn on_a_terminal_the_answer_is_asked_for() {
    let sandbox = sandbox(TASK, PAY);
    assert_eq!(sandbox.run(&["run", "--detach", "task.yaml"]).code, 25);
    let id = asked(&sandbox, "");
    // Without one it says what is missing.
    let ran = sandbox.run(&["answer", &id]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("--choose with one of approve, decline"));
    let typed = "perhaps\napprove\nas agreed\n";
    let Some(ran) = on_a_terminal(&sandbox, &["answer", &id], typed) else {
        return;
    };
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("May `pay` be called?"), "{ran:?}");
    assert!(
        ran.stdout.contains("write one of approve, decline"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("`approve` is recorded"), "{ran:?}");
    let shown = sandbox.run(&["inbox", "show", &id, "--json"]).stdout;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["ruling"]["note"], json!("as agreed"));
    let ran = on_a_terminal(&sandbox, &["answer", &id], "").expect("there was one before");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.stdout.contains("was decided already: `approve`"),
        "{ran:?}"
    );
}

#[test]
fn a_turn_said_again_while_money_is_asked_for_waits_too_and_counts_once() {
    let script = "
        agentguard turn --step 1 --cost-usd 6 > first.txt & first=$!
        until [ -e asked.txt ]; do sleep 0.05; done
        touch again.txt
        agentguard turn --step 1 --cost-usd 6; echo $? > again-code.txt
        wait $first; echo $? > first-code.txt
        agentguard turn --done --result out || exit
    ";
    let task = format!("{TASK}escalation: {{cost_usd: 5}}\n");
    let sandbox = sandbox(&task, script);
    let run = sandbox.start(&["run", "task.yaml"]);
    let id = asked(&sandbox, "");
    sandbox.write("asked.txt", "");
    wait_until(30, "the turn said again", || {
        sandbox.path().join("again.txt").exists()
    });
    std::thread::sleep(std::time::Duration::from_millis(800));
    assert_eq!(
        sandbox.read("again-code.txt"),
        "",
        "it goes round the question"
    );
    answer(&sandbox, &id, "continue");
    let ran = ended(run);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read("first-code.txt"), "0\n");
    assert_eq!(sandbox.read("again-code.txt"), "0\n");
    assert_eq!(sandbox.report()["cost_usd"], "6.00");
}
