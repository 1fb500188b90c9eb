//! People are told, and answer: real webhooks that are right, wrong, slow and down,
//! tokens, and real processes killed at each point of a question's life.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::http_server::{Received, Reply, Server};
use crate::support::{Ran, Sandbox, wait_until};

const TASK: &str = r#"
name: told
agent: {command: [sh, loop.sh], grace: 2s}
limits: {cost_usd: 50, steps: 30, deadline: 10m, idle: 1m}
tools:
  pay:
    command: [sh, -c, 'echo "$0" >> ledger.txt; echo "paid $0"', "{to}"]
    effect: irreversible
    key: "pay:{to}"
    probe: {command: [grep, -qx, "{to}", ledger.txt]}
    approve: always
"#;

const PAY: &str = "
agentguard tool pay --arg to=u1 > got.txt || exit
agentguard turn --done --result \"$(cat got.txt)\" || exit
";

fn sandbox(notify: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", &format!("{TASK}{notify}"));
    sandbox.write("loop.sh", PAY);
    // The probe looks into it.
    sandbox.write("ledger.txt", "");
    sandbox
}

fn hook(server: &Server, on: &str, format: &str) -> String {
    let url = server.url("/hook");
    format!("notify: [{{on: [{on}], webhook: \"{url}\", format: {format}}}]\n")
}

fn ok() -> Reply {
    Reply::Answer(200, vec![], vec![])
}

fn start(sandbox: &Sandbox, args: &[&str], fault: Option<&str>) -> Child {
    let mut command = sandbox.command(args);
    if let Some(fault) = fault {
        command.env("AGENTGUARD_FAULT", fault);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the binary starts")
}

fn message(received: &Received) -> Value {
    serde_json::from_str(&received.body).expect("a message is JSON")
}

fn answer_by(sandbox: &Sandbox, token: &str) -> Ran {
    sandbox.run(&["answer", "--token", token])
}

#[test]
fn a_message_that_was_refused_comes_again_and_its_token_answers_once() {
    let server = Server::start(vec![Reply::Answer(500, vec![], vec![]), ok(), ok()]);
    let sandbox = sandbox(&hook(&server, "waiting, done", "json"));
    let run = start(&sandbox, &["run", "task.yaml"], None);
    wait_until(20, "the second try", || server.received().len() >= 2);
    let received = server.received();
    let ids: Vec<_> = received
        .iter()
        .map(|it| it.header("idempotency-key"))
        .collect();
    assert!(ids[0].is_some() && ids[0] == ids[1], "{ids:?}");
    let told = message(&received[1]);
    assert_eq!(told["id"].as_str(), ids[0]);
    assert_eq!(told["occasion"], "waiting");
    assert_eq!(told["escalation"]["kind"], "approval");
    assert_eq!(told["report"]["task_id"], "told");
    let token = |place: usize| {
        told["actions"][place]["token"]
            .as_str()
            .expect("a token")
            .to_owned()
    };
    let (approve, decline) = (token(0), token(1));
    for (name, token, words) in [
        (
            "another option",
            approve.replace("approve", "decline"),
            "signature does not fit",
        ),
        ("no token", "x.y".into(), "no token of agentguard"),
    ] {
        let ran = answer_by(&sandbox, &token);
        assert_eq!(ran.code, 2, "row: {name}: {ran:?}");
        assert!(ran.stderr.contains(words), "row: {name}: {ran:?}");
    }
    let ran = answer_by(&sandbox, &approve);
    assert_eq!(ran.code, 0, "{ran:?}");
    for (token, words) in [(&approve, "used already"), (&decline, "decided already")] {
        let ran = answer_by(&sandbox, token);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
    let mut run = run;
    assert_eq!(run.wait().expect("a child of ours").code(), Some(0));
    assert_eq!(sandbox.read("ledger.txt"), "u1\n");
    assert_eq!(message(&server.received()[2])["occasion"], "done");
    let secret = sandbox.state().join("answer.key");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(secret).expect("a file"));
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_expired_token_is_refused() {
    let server = Server::start(vec![ok()]);
    let escalation = "escalation: {types: {approval: {deadline: 500ms}}}\n";
    let sandbox = sandbox(&format!("{escalation}{}", hook(&server, "waiting", "json")));
    let ran = sandbox.run(&["run", "--detach", "task.yaml"]);
    assert_eq!(ran.code, 25, "{ran:?}");
    let told = message(&server.received()[0]);
    std::thread::sleep(Duration::from_millis(600));
    let ran = answer_by(
        &sandbox,
        told["actions"][0]["token"].as_str().expect("a token"),
    );
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("has expired"), "{ran:?}");
}

#[test]
fn slack_gets_text_blocks_and_the_commands() {
    let server = Server::start(vec![ok()]);
    let sandbox = sandbox(&hook(&server, "waiting", "slack"));
    let ran = sandbox.run(&["run", "--detach", "task.yaml"]);
    assert_eq!(ran.code, 25, "{ran:?}");
    let told = message(&server.received()[0]);
    assert!(
        told["text"]
            .as_str()
            .is_some_and(|it| it.contains("May `pay` be called?")),
        "{told}"
    );
    let blocks = told["blocks"].to_string();
    assert!(blocks.contains("agentguard answer --token e-"), "{blocks}");
    assert!(blocks.contains("decline"), "{blocks}");
    assert_eq!(told["blocks"][0]["type"], "section");
}

#[test]
fn a_receiver_that_is_down_delays_nobody_and_gets_it_later() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = gone.local_addr().expect("an address");
    drop(gone);
    let sandbox = sandbox("notify: [{on: [waiting], webhook: \"http://{env.HOOK}/x\"}]\n");
    let began = Instant::now();
    let down = address.to_string();
    let ran = sandbox.run_with(("HOOK", &down), &["run", "--detach", "task.yaml"]);
    assert_eq!(ran.code, 25, "{ran:?}");
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
    let list = sandbox.run(&["notify"]);
    assert_eq!(list.code, 1, "{list:?}");
    assert!(list.stdout.contains("May `pay` be called?"), "{list:?}");
    let still = sandbox.run_with(("HOOK", &down), &["notify", "--flush"]);
    assert_eq!(still.code, 1, "{still:?}");
    let server = Server::start(vec![ok()]);
    let up = server.address();
    let sent = sandbox.run_with(("HOOK", &up), &["notify", "--flush"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(server.received().len(), 1);
    assert_eq!(sandbox.run(&["notify"]).code, 0);
}

#[test]
fn a_receiver_that_never_answers_holds_the_end_up_for_ten_seconds_at_most() {
    let server = Server::start(vec![Reply::RawThenSilence(vec![])]);
    let sandbox = sandbox(&hook(&server, "waiting", "json"));
    let began = Instant::now();
    let ran = sandbox.run(&["run", "--detach", "task.yaml"]);
    assert_eq!(ran.code, 25, "{ran:?}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(sandbox.run(&["notify"]).code, 1, "it is still to be sent");
}

#[test]
fn killed_while_it_sends_a_message_is_sent_at_least_once_under_one_id() {
    for (point, times) in [
        ("letter_sent.before_save", 1),
        ("letter_sent.after_save", 2),
        ("letter_sent.after_release", 1),
    ] {
        let server = Server::start(vec![ok(), ok(), ok()]);
        let sandbox = sandbox(&hook(&server, "waiting", "json"));
        let ran = sandbox.run_with(
            ("AGENTGUARD_FAULT", point),
            &["run", "--detach", "task.yaml"],
        );
        assert_eq!(ran.code, 128 + 9, "{point}: {ran:?}");
        let flushed = sandbox.run(&["notify", "--flush"]);
        assert_eq!(flushed.code, 0, "{point}: {flushed:?}");
        let received = server.received();
        assert_eq!(received.len(), times, "{point}");
        let first = received[0].header("idempotency-key");
        assert!(
            received
                .iter()
                .all(|it| it.header("idempotency-key") == first),
            "{point}"
        );
    }
}

/// Sees a command through, and approves whatever is asked meanwhile.
fn approving(sandbox: &Sandbox, args: &[&str], fault: Option<&str>) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    let mut child = start(sandbox, args, fault);
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            let signal = || 128 + status.signal().unwrap_or(0);
            return status.code().unwrap_or_else(signal);
        }
        for question in sandbox.questions(&[]) {
            let id = question["id"].as_str().expect("an id");
            // It may have been answered, or be gone, by now.
            sandbox.run(&["answer", id, "--choose", "approve", "--by", "anna"]);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn killed_at_each_point_of_its_life_a_question_is_asked_once_and_the_call_made_once() {
    let points = [
        "tool_called.before_save",
        "tool_called.after_save",
        "tool_called.after_release",
        "decided.before_save",
        "decided.after_save",
        "decided.after_release",
        "tool_ended.before_save",
        "tool_ended.after_save",
    ];
    let detached = [
        "suspended.before_save",
        "suspended.after_save",
        "swept.after_save",
    ];
    let rows = points.iter().map(|it| (*it, &["run", "task.yaml"][..]));
    let rows = rows.chain(
        detached
            .iter()
            .map(|it| (*it, &["run", "--detach", "task.yaml"][..])),
    );
    for (point, args) in rows {
        let sandbox = sandbox("");
        let code = approving(&sandbox, args, Some(point));
        assert_eq!(code, 128 + 9, "{point}");
        let mut last = code;
        for _ in 0..5 {
            if last == 0 {
                break;
            }
            last = approving(&sandbox, &["resume", "latest"], None);
            // A run that was suspended before anybody answered.
            for question in sandbox.questions(&[]) {
                let id = question["id"].as_str().expect("an id");
                sandbox.run(&["answer", id, "--choose", "approve"]);
            }
        }
        assert_eq!(last, 0, "{point}");
        assert_eq!(sandbox.read("ledger.txt"), "u1\n", "{point}: made once");
        let all = sandbox.questions(&["--all"]);
        assert_eq!(all.len(), 1, "{point}: asked once: {all:?}");
        assert_eq!(all[0]["ruling"]["option"], "approve", "{point}");
    }
}

#[test]
fn an_answer_that_is_killed_was_given_or_was_not() {
    for (point, given) in [
        ("question_decided.before_save", false),
        ("question_decided.after_save", true),
    ] {
        let sandbox = sandbox("");
        let ran = sandbox.run(&["run", "--detach", "task.yaml"]);
        assert_eq!(ran.code, 25, "{ran:?}");
        let id = sandbox.questions(&[])[0]["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let killed = sandbox.run_with(
            ("AGENTGUARD_FAULT", point),
            &["answer", &id, "--choose", "decline", "--by", "bo"],
        );
        assert_eq!(killed.code, 128 + 9, "{point}: {killed:?}");
        let again = sandbox.run(&["answer", &id, "--choose", "approve", "--by", "anna"]);
        assert_eq!(again.code, if given { 2 } else { 0 }, "{point}: {again:?}");
        let ran = sandbox.run(&["resume", "latest"]);
        let paid = sandbox.read("ledger.txt");
        assert_eq!(
            (paid.as_str(), ran.code == 0),
            if given { ("", false) } else { ("u1\n", true) },
            "{point}: {ran:?}"
        );
    }
}

#[test]
fn a_run_that_is_done_withdraws_what_nobody_waits_for() {
    let sandbox = sandbox("");
    let script = "
        agentguard escalate --question 'Is anybody there?' > chosen.txt &
        until agentguard inbox | grep -q 'anybody'; do sleep 0.05; done
        agentguard turn --done --result out || exit
    ";
    sandbox.write("loop.sh", script);
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(sandbox.questions(&[]).is_empty());
    let all = sandbox.questions(&["--all"]);
    assert_eq!(all[0]["ruling"]["source"], "withdrawn", "{all:?}");
}

#[test]
fn a_signal_ends_the_wait_for_a_slow_receiver_and_the_message_is_sent_later() {
    let server = Server::start(vec![Reply::RawThenSilence(vec![]), ok()]);
    let sandbox = Sandbox::new();
    let task = format!(
        "agent: {{command: ['true'], protocol: none}}\n{}",
        hook(&server, "done", "json")
    );
    sandbox.write("task.yaml", &task);
    let mut run = start(&sandbox, &["run", "task.yaml"], None);
    wait_until(20, "the first try", || !server.received().is_empty());
    let began = Instant::now();
    let pid = i32::try_from(run.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let pid = pid.expect("a process of ours");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is alive");
    // The run was done, whatever became of the message.
    assert_eq!(run.wait().expect("a child of ours").code(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    let left = sandbox.run(&["notify", "--json"]).stdout;
    assert!(left.contains("n-r-"), "{left}");
}
