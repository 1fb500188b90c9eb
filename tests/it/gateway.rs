//! Agents that know nothing of us, supervised by their model calls alone.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http_server::{Reply, Server};
use crate::support::{Ran, Sandbox, finish, wait_until};

const MODEL: &str = "claude-sonnet-4-5";
const KEY: &str = "sk-ant-the-real-key-0123456789";

/// Runs this test binary's `name` as an agent behind the gateway.
fn run(name: &str, rest: &str, upstream: &Server) -> (Sandbox, Ran) {
    run_with(name, rest, upstream, &[])
}

fn run_with(
    name: &str,
    rest: &str,
    upstream: &Server,
    variables: &[(&str, &str)],
) -> (Sandbox, Ran) {
    let sandbox = Sandbox::new();
    let argv = json!([
        std::env::current_exe().expect("this test binary"),
        "--exact",
        format!("gateway::{name}"),
        "--ignored",
        "--nocapture"
    ]);
    sandbox.write(
        "task.yaml",
        &format!("agent: {{command: {argv}, protocol: gateway, grace: 1s}}\n{rest}"),
    );
    let mut run = command(&sandbox, &["run", "task.yaml"], upstream);
    let ran = finish(run.envs(variables.iter().copied()));
    (sandbox, ran)
}

/// A command whose environment names the provider.
fn command(sandbox: &Sandbox, args: &[&str], upstream: &Server) -> std::process::Command {
    let mut command = sandbox.command(args);
    command
        .env("ANTHROPIC_BASE_URL", upstream.url(""))
        .env("ANTHROPIC_API_KEY", KEY);
    command
}

/// Where the agent finds its model; `None` outside a run.
fn base() -> Option<String> {
    let base = std::env::var("ANTHROPIC_BASE_URL").ok()?;
    std::env::var("AGENTGUARD_ATTEMPT").ok()?;
    Some(base.trim_start_matches("http://").to_owned())
}

/// What an agent of ours is answered: the status and everything that came.
fn post(address: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    let mut head = format!(
        "POST /v1/messages HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
         anthropic-version: 2023-06-01\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream
        .write_all(format!("{head}\r\n{body}").as_bytes())
        .expect("it reads");
    let mut answer = Vec::new();
    // A broken answer is an error here, and what came before it counts.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    (status.unwrap_or(0), answer)
}

fn ask(address: &str, body: &Value) -> (u16, String) {
    let token = std::env::var("ANTHROPIC_API_KEY").expect("a token");
    let headers = [("Host", address), ("x-api-key", token.as_str())];
    post(address, &headers, &body.to_string())
}

/// Asks, and leaves the answer to be heard.
fn asked(address: &str, body: &Value) -> TcpStream {
    let token = std::env::var("ANTHROPIC_API_KEY").expect("a token");
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: {address}\r\nx-api-key: {token}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .expect("it reads");
    stream
}

fn said(role: &str, content: &Value) -> Value {
    json!({"role": role, "content": content})
}

fn call(messages: &[Value], is_stream: bool) -> Value {
    json!({"model": MODEL, "max_tokens": 1000, "stream": is_stream, "messages": messages})
}

/// A whole answer: 1,000 tokens in, 100 out, so 0.0045 USD.
fn answer(content: &Value, stop: &str) -> String {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL,
        "content": content, "stop_reason": stop, "stop_sequence": null,
        "usage": {"input_tokens": 1000, "output_tokens": 100},
    })
    .to_string()
}

fn text(text: &str) -> Value {
    json!([{"type": "text", "text": text}])
}

/// The same as events; `is_whole`: with its end mark.
fn events(words: &str, is_whole: bool) -> String {
    let mut events = vec![
        json!({"type": "message_start", "message": {"id": "msg_2", "type": "message", "role": "assistant", "model": MODEL, "content": [], "stop_reason": null, "usage": {"input_tokens": 1000, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": words}}),
    ];
    if is_whole {
        events.extend([
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 100}}),
            json!({"type": "message_stop"}),
        ]);
    }
    let frame = |event: &Value| {
        let name = event["type"].as_str().expect("a type");
        format!("event: {name}\ndata: {event}\n\n")
    };
    events.iter().map(frame).collect()
}

fn stream(body: &str) -> Reply {
    let head = vec![("Content-Type", "text/event-stream".to_owned())];
    Reply::Answer(200, head, body.into())
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_of_two_calls() {
    let Some(address) = base() else { return };
    assert_ne!(std::env::var("ANTHROPIC_API_KEY").expect("a token"), KEY);
    let hello = said("user", &json!("hello"));
    // Nobody else may ask.
    let host = ("Host", address.as_str());
    let body = call(&[], false).to_string();
    assert_eq!(post(&address, &[host], &body).0, 401);
    assert_eq!(
        post(&address, &[host, ("x-api-key", "guess")], &body).0,
        401
    );
    assert_eq!(
        post(
            &address,
            &[("Host", "evil.example"), ("x-api-key", "guess")],
            &body
        )
        .0,
        401
    );
    // A plain call, then a streamed one with the history.
    let (status, first) = ask(&address, &call(std::slice::from_ref(&hello), false));
    assert!(status == 200 && first.contains("Who is there?"), "{first}");
    let history = [
        hello,
        said("assistant", &text("Who is there?")),
        said("user", &json!("me")),
    ];
    let (status, second) = ask(&address, &call(&history, true));
    assert!(status == 200 && second.contains("message_stop"), "{second}");
}

#[test]
fn an_agent_is_supervised_by_its_model_calls() {
    let upstream = Server::start(vec![
        Reply::json(200, &answer(&text("Who is there?"), "end_turn")),
        stream(&events("Ah, you.", true)),
    ]);
    let (sandbox, ran) = run("an_agent_of_two_calls", "limits: {cost_usd: 1}", &upstream);
    assert_eq!(
        ran.code,
        0,
        "{ran:?}\n{}",
        sandbox.run(&["logs", "latest"]).stdout
    );
    let report = sandbox.report();
    assert_eq!(
        (
            &report["completed_steps"],
            &report["cost_usd"],
            &report["tokens_used"]
        ),
        (&json!(2), &json!("0.009"), &json!(2200)),
        "{report}"
    );
    let shown = sandbox.run(&["show", "latest", "--conversation"]).stdout;
    for words in ["hello", "Who is there?", "Ah, you."] {
        assert_eq!(shown.matches(words).count(), 1, "{words}: {shown}");
    }
    let received = upstream.received();
    assert_eq!(received.len(), 2, "strangers never got through");
    assert_eq!(received[0].header("x-api-key"), Some(KEY));
    assert_eq!(received[0].header("anthropic-version"), Some("2023-06-01"));
    let sent = call(&[said("user", &json!("hello"))], false).to_string();
    assert_eq!(received[0].body, sent, "byte for byte");
    // The real key is in nothing that is kept.
    let kept = std::process::Command::new("grep")
        .args(["-rl", KEY])
        .arg(sandbox.state())
        .output()
        .expect("grep");
    assert_eq!(String::from_utf8_lossy(&kept.stdout), "");
}

#[test]
fn after_a_crash_no_answer_is_paid_twice() {
    for at in ["turn_reported.after_save", "turn_reported.after_release"] {
        let upstream = Server::start(vec![
            Reply::json(200, &answer(&text("Who is there?"), "end_turn")),
            stream(&events("Ah, you.", true)),
        ]);
        let fault = format!("{at}:2");
        let (sandbox, ran) = run_with(
            "an_agent_of_two_calls",
            "limits: {cost_usd: 1}",
            &upstream,
            &[("AGENTGUARD_FAULT", &fault)],
        );
        assert_eq!(ran.code, 128 + 9, "{at}: {ran:?}");
        let ran = finish(&mut command(&sandbox, &["resume", "latest"], &upstream));
        let log = sandbox.run(&["logs", "latest"]).stdout;
        assert_eq!(ran.code, 0, "{at}: {ran:?}\n{log}");
        assert_eq!(upstream.received().len(), 2, "{at}: asked once each");
        let report = sandbox.report();
        assert_eq!(
            (&report["completed_steps"], &report["cost_usd"]),
            (&json!(2), &json!("0.009")),
            "{at}: {report}"
        );
    }
}

/// A reservation does not wait for the disk where the run makes up for it. Here the
/// power went before it was there: the answer was paid, and nothing tells of it.
#[test]
fn what_a_power_cut_hides_counts_as_spent() {
    let second = || stream(&events("Ah, you.", true));
    let first = Reply::json(200, &answer(&text("Who is there?"), "end_turn"));
    let upstream = Server::start(vec![first, second(), second()]);
    let (sandbox, ran) = run_with(
        "an_agent_of_two_calls",
        "limits: {cost_usd: 1}",
        &upstream,
        &[("AGENTGUARD_FAULT", "turn_reported.before_save:2")],
    );
    assert_eq!(ran.code, 128 + 9, "{ran:?}");
    let journal = rusqlite::Connection::open(sandbox.state().join("journal.db")).unwrap();
    let cut = "DROP TRIGGER events_are_never_changed; DROP TRIGGER events_go_only_with_their_run;
         UPDATE events SET body = json_set(body, '$.boot', 'an earlier one')
         WHERE kind = 'agent_spawned';";
    journal.execute_batch(cut).unwrap();
    let last = "DELETE FROM events WHERE kind = 'reserved'
         AND id = (SELECT max(id) FROM events) RETURNING json_extract(body, '$.worst.cost')";
    let held: u64 = journal.query_row(last, [], |row| row.get(0)).unwrap();
    let first = "SELECT json_extract(body, '$.worst.cost') FROM events WHERE kind = 'reserved'";
    let before: u64 = journal.query_row(first, [], |row| row.get(0)).unwrap();
    drop(journal);
    let ran = finish(&mut command(&sandbox, &["resume", "latest"], &upstream));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(upstream.received().len(), 3, "the second was asked again");
    let cost: f64 = sandbox.report()["cost_usd"]
        .as_str()
        .and_then(|cost| cost.parse().ok())
        .expect("a cost");
    let hidden = before + before / 2;
    assert!(
        held <= hidden,
        "{held} was not waited for, {hidden} makes up"
    );
    let spent = 0.009 + hidden as f64 / 1e9;
    assert!((cost - spent).abs() < 1e-9, "{cost}, expected {spent}");
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_of_many_calls_at_once() {
    let Some(address) = base() else { return };
    std::thread::scope(|threads| {
        for number in 0..32 {
            let address = &address;
            threads.spawn(move || {
                let message = said("user", &json!(format!("task {number}")));
                let (status, answer) = ask(address, &call(&[message], false));
                assert!([200, 402, 0].contains(&status), "{answer}");
                if status == 402 {
                    assert!(answer.contains("x-should-retry: false"), "{answer}");
                }
            });
        }
    });
}

#[test]
fn calls_at_once_never_pass_the_cap() {
    let replies = (0..32).map(|_| Reply::json(200, &answer(&text("ok"), "end_turn")));
    let upstream = Server::start(replies.collect());
    let (sandbox, ran) = run(
        "an_agent_of_many_calls_at_once",
        "limits: {cost_usd: 0.10}",
        &upstream,
    );
    assert_eq!(
        ran.code,
        20,
        "{ran:?}\n{}",
        sandbox.run(&["logs", "latest"]).stdout
    );
    // Each costs 0.0045 USD and holds back 0.015 and a little.
    let calls = upstream.received().len();
    assert!(
        (18..=22).contains(&calls),
        "{calls} calls: the cap is held, and used"
    );
}

/// A server may add what no byte of a request shows. What the first call was billed
/// counts for those beside it.
#[test]
fn calls_at_once_never_pass_the_cap_where_more_is_billed_than_was_sent() {
    let dear = answer(&text("ok"), "end_turn").replace("1000", "20000");
    let replies = (0..32).map(|_| Reply::json(200, &dear));
    let upstream = Server::start(replies.collect());
    let (_sandbox, ran) = run(
        "an_agent_of_many_calls_at_once",
        "limits: {cost_usd: 0.30}",
        &upstream,
    );
    assert_eq!(ran.code, 20, "{ran:?}");
    // Each costs 0.0615 USD; by its bytes it would hold back 0.0155.
    let calls = upstream.received().len();
    assert!((3..=4).contains(&calls), "{calls} calls of 0.0615 USD each");
}

/// So does the first call of a model that they move to.
#[test]
fn calls_at_once_never_pass_the_cap_where_they_move_to_another_model() {
    let usual = answer(&text("ok"), "end_turn");
    let dear = usual.replace("1000", "20000");
    let limits = (0..31).map(|_| Reply::json(429, "{}"));
    let replies = std::iter::once(Reply::json(200, &usual)).chain(limits);
    let upstream = Server::start(replies.collect());
    let other = Server::start((0..32).map(|_| Reply::json(200, &dear)).collect());
    let rest = format!(
        "limits: {{cost_usd: 0.30}}\nfallbacks:\n  - {{url: '{}', api: messages, key: k, \
         model: other, price: {{input: 3, output: 15}}}}\n",
        other.url("/v1")
    );
    let (_sandbox, ran) = run("an_agent_of_many_calls_at_once", &rest, &upstream);
    assert_eq!(ran.code, 20, "{ran:?}");
    let calls = other.received().len();
    assert!((3..=4).contains(&calls), "{calls} calls of 0.0615 USD each");
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_of_three_tasks() {
    let Some(address) = base() else { return };
    for task in ["buy now", "win money", "free pills"] {
        let mut body = call(
            &[said("user", &json!(format!("Is it spam? {task}")))],
            false,
        );
        body["tools"] = json!([{"name": "label", "input_schema": {"type": "object"}}]);
        body["tool_choice"] = json!({"type": "tool", "name": "label"});
        assert_eq!(ask(&address, &body).0, 200);
    }
}

/// Structured output is a call that nobody carries out; the same answer to other
/// questions is no circle.
#[test]
fn the_same_call_in_other_conversations_is_not_one_left_undone() {
    let label = json!([{"type": "tool_use", "id": "t", "name": "label", "input": {"spam": true}}]);
    let replies = (0..3).map(|_| Reply::json(200, &answer(&label, "tool_use")));
    let upstream = Server::start(replies.collect());
    let (sandbox, ran) = run("an_agent_of_three_tasks", "", &upstream);
    let why = sandbox.run(&["why", "latest"]).stdout;
    assert_eq!(ran.code, 0, "{ran:?}\n{why}");
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_with_a_tool() {
    let Some(address) = base() else { return };
    let is_stream = std::env::var_os("TEST_STREAM").is_some();
    let mut body = call(&[said("user", &json!("read it"))], is_stream);
    body["tools"] = json!([{"name": "read", "input_schema": {"type": "object"}}]);
    let (status, answer) = ask(&address, &body);
    println!("{status} {answer}");
}

#[test]
fn a_reply_that_is_no_use_is_asked_for_again_unseen() {
    let as_text = r#"<tool_call>{"name": "read", "arguments": {}}</tool_call>"#;
    let invented = json!({"type": "tool_use", "id": "t1", "name": "raed", "input": {}});
    let started = json!({"type": "content_block_start", "index": 1, "content_block": invented});
    let blank_before_it = events("\n\n", true).replace(
        "event: message_delta",
        &format!("event: content_block_start\ndata: {started}\n\nevent: message_delta"),
    );
    let whole = |content: &Value| Reply::json(200, &answer(content, "end_turn"));
    #[rustfmt::skip]
    let rows = [
        ("a call written as text", whole(&text(as_text)), whole(&text("good")), None),
        ("blank space before a call of no tool", stream(&blank_before_it), stream(&events("good", true)), Some(("TEST_STREAM", "1"))),
    ];
    for (name, unfit, good, variable) in rows {
        let upstream = Server::start(vec![unfit, good]);
        let variables: Vec<_> = variable.into_iter().collect();
        let (sandbox, ran) = run_with("an_agent_with_a_tool", "", &upstream, &variables);
        let why = sandbox.run(&["why", "latest"]).stdout;
        assert_eq!(upstream.received().len(), 2, "row: {name}\n{why}");
        assert!(ran.stdout.contains("good"), "row: {name}\n{ran:?}");
        let is_seen = ran.stdout.contains("tool_call") || ran.stdout.contains("raed");
        assert!(!is_seen, "row: {name}\n{ran:?}");
    }
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_that_thinks() {
    let Some(address) = base() else { return };
    let mut body = call(&[said("user", &json!("think"))], false);
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 950});
    assert_eq!(ask(&address, &body).0, 200);
    let (status, answer) = ask(&address, &body);
    assert!(
        status == 402 && answer.contains("agentguard_cap"),
        "{answer}"
    );
}

#[test]
fn a_limit_is_not_lowered_below_what_is_set_aside_for_thinking() {
    let upstream = Server::start(vec![Reply::json(200, &answer(&text("ok"), "end_turn"))]);
    let (sandbox, ran) = run(
        "an_agent_that_thinks",
        "limits: {cost_usd: 0.018}",
        &upstream,
    );
    let log = sandbox.run(&["logs", "latest"]).stdout;
    assert_eq!(ran.code, 20, "{ran:?}\n{log}");
    assert_eq!(upstream.received().len(), 1);
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_that_sets_no_limit() {
    let Some(address) = base() else { return };
    let messages = [said("user", &json!("hello"))];
    let body = json!({"model": MODEL, "messages": messages});
    assert_eq!(ask(&address, &body).0, 200);
}

#[test]
fn a_call_without_a_limit_gets_one_where_money_is_limited() {
    for (limits, want) in [("limits: {cost_usd: 1}", Some(16_384)), ("", None)] {
        let upstream = Server::start(vec![Reply::json(200, &answer(&text("ok"), "end_turn"))]);
        let (sandbox, ran) = run("an_agent_that_sets_no_limit", limits, &upstream);
        let log = sandbox.run(&["logs", "latest"]).stdout;
        assert_eq!(ran.code, 0, "{ran:?}\n{log}");
        let sent: Value = serde_json::from_str(&upstream.received()[0].body).expect("JSON");
        assert_eq!(sent["max_tokens"].as_u64(), want, "{limits}");
    }
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_whose_answer_breaks_off() {
    let Some(address) = base() else { return };
    let (status, answer) = ask(&address, &call(&[said("user", &json!("hello"))], true));
    assert_eq!(status, 200);
    assert!(
        answer.contains("half of") && answer.contains("event: error"),
        "{answer}"
    );
    assert!(
        !answer.contains("\r\n0\r\n\r\n"),
        "it is not ended neatly: {answer}"
    );
}

#[test]
fn an_answer_that_breaks_off_is_broken_off_and_paid() {
    let upstream = Server::start(vec![stream(&events("half of", false))]);
    let (sandbox, ran) = run(
        "an_agent_whose_answer_breaks_off",
        "limits: {cost_usd: 1}",
        &upstream,
    );
    assert_eq!(
        ran.code,
        23,
        "{ran:?}\n{}",
        sandbox.run(&["logs", "latest"]).stdout
    );
    assert!(ran.stderr.contains("without its end mark"), "{ran:?}");
    let cost = sandbox.report()["cost_usd"]
        .as_str()
        .and_then(|cost| cost.parse().ok());
    let cost: f64 = cost.expect("a cost");
    assert!(
        cost >= 0.015,
        "what is not known counts as all that was held back: {cost}"
    );
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_that_hangs_up() {
    let Some(address) = base() else { return };
    let mut stream = asked(&address, &call(&[said("user", &json!("hello"))], true));
    stream.read_exact(&mut [0]).expect("an answer begins");
    drop(stream);
    // Oversized and endless requests do nobody any harm.
    let mut slow = TcpStream::connect(&address).expect("the gateway listens");
    slow.write_all(b"POST /v1/messages HTTP/1.1\r\nHost: ")
        .expect("it reads");
    let huge = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let mut wide = TcpStream::connect(&address).expect("the gateway listens");
    let _ = wide.write_all(huge.as_bytes());
    // Leaves once the call is settled, as the supervisor sees it.
    wait_until(30, "the call to be settled", || {
        let state = std::process::Command::new("agentguard")
            .args(["state", "--messages", "none", "--get", "step"])
            .output()
            .expect("it is on the path");
        state.stdout.trim_ascii() == b"1"
    });
}

#[test]
fn a_call_whose_client_hung_up_costs_what_it_used() {
    let upstream = Server::start(vec![stream(&events("too late", true))]);
    let (sandbox, ran) = run("an_agent_that_hangs_up", "limits: {cost_usd: 1}", &upstream);
    let log = sandbox.run(&["logs", "latest"]).stdout;
    assert_eq!(ran.code, 0, "{ran:?}\n{log}");
    assert_eq!(sandbox.report()["cost_usd"], json!("0.0045"), "{log}");
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_that_is_impatient() {
    let Some(address) = base() else { return };
    let warm = said("user", &json!("are you there?"));
    assert_eq!(ask(&address, &call(&[warm], false)).0, 200);
    let body = call(&[said("user", &json!("hello"))], false);
    for _ in 0..2 {
        let _stream = asked(&address, &body);
        std::thread::sleep(Duration::from_millis(400));
    }
    println!("{}", ask(&address, &body).1);
}

/// A client that gives up and asks again hears what is under way, not another answer.
#[test]
fn what_is_under_way_is_not_asked_again_by_an_impatient_client() {
    let late = Reply::json(200, &answer(&text("at last"), "end_turn"));
    let more = || Reply::json(200, &answer(&text("once more"), "end_turn"));
    let upstream = Server::start(vec![
        Reply::json(200, &answer(&text("yes"), "end_turn")),
        Reply::Late(Duration::from_secs(3), Box::new(late)),
        more(),
        more(),
    ]);
    let (sandbox, ran) = run("an_agent_that_is_impatient", "", &upstream);
    let why = sandbox.run(&["why", "latest"]).stdout;
    assert_eq!(ran.code, 0, "{ran:?}\n{why}");
    assert!(ran.stdout.contains("at last"), "{ran:?}\n{why}");
    assert_eq!(upstream.received().len(), 2, "{why}");
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_behind_a_proxy() {
    let Some(address) = base() else { return };
    println!("{}", std::env::var("no_proxy").expect("it is set"));
    let answer = ask(&address, &call(&[said("user", &json!("hello"))], false));
    assert_eq!(answer.0, 200, "{}", answer.1);
}

#[test]
fn what_is_on_this_machine_is_reached_past_a_proxy() {
    let proxy = Server::start(vec![]);
    let upstream = Server::start(vec![Reply::json(200, &answer(&text("ok"), "end_turn"))]);
    let proxy_url = proxy.url("/");
    let variables = [
        ("http_proxy", proxy_url.as_str()),
        ("no_proxy", "intranet.example"),
    ];
    let (_sandbox, ran) = run_with("an_agent_behind_a_proxy", "", &upstream, &variables);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(proxy.received().len(), 0);
    let told = "127.0.0.1,localhost,intranet.example";
    assert!(ran.stdout.contains(told), "what is yours is kept: {ran:?}");
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_that_wants_a_title() {
    let Some(address) = base() else { return };
    let mut work = call(&[said("user", &json!("hello"))], false);
    work["tools"] = json!([{"name": "read", "input_schema": {"type": "object"}}]);
    assert_eq!(ask(&address, &work).0, 200);
    std::thread::spawn(move || ask(&address, &call(&[said("user", &json!("a title"))], false)));
    std::thread::sleep(Duration::from_millis(500));
}

/// Its work is done; a call beside it that it does not wait for changes nothing.
#[test]
fn an_agent_need_not_wait_for_a_title() {
    let reply = || Reply::json(200, &answer(&text("ok"), "end_turn"));
    let late = Reply::Late(Duration::from_secs(5), Box::new(reply()));
    let upstream = Server::start(vec![reply(), late]);
    let (sandbox, ran) = run(
        "an_agent_that_wants_a_title",
        "limits: {cost_usd: 1}",
        &upstream,
    );
    let why = sandbox.run(&["why", "latest"]).stdout;
    assert_eq!(ran.code, 0, "{ran:?}\n{why}");
    assert_eq!(upstream.received().len(), 2);
    let cost: f64 = sandbox.report()["cost_usd"]
        .as_str()
        .expect("a cost")
        .parse()
        .expect("a number");
    assert!(cost > 0.0045 + 0.015, "what was under way counts: {cost}");
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_in_a_loop() {
    let Some(address) = base() else { return };
    let mut history = vec![said("user", &json!("fix it"))];
    for turn in 0..40 {
        let (status, answer) = ask(&address, &call(&history, false));
        if status != 200 {
            assert!(
                status == 402 && answer.contains("agentguard_loop"),
                "{answer}"
            );
            panic!("stopped, as it should be");
        }
        let id = format!("toolu_{turn}");
        let tool =
            json!([{"type": "tool_use", "id": id, "name": "bash", "input": {"command": "make"}}]);
        let result =
            json!([{"type": "tool_result", "tool_use_id": id, "content": "make: nothing to do"}]);
        history.extend([said("assistant", &tool), said("user", &result)]);
    }
}

#[test]
fn a_loop_is_seen_and_steered_against_and_stopped() {
    let tool =
        json!([{"type": "tool_use", "id": "toolu", "name": "bash", "input": {"command": "make"}}]);
    let replies = (0..40).map(|_| Reply::json(200, &answer(&tool, "tool_use")));
    let upstream = Server::start(replies.collect());
    let (sandbox, ran) = run("an_agent_in_a_loop", "", &upstream);
    assert_eq!(
        ran.code,
        22,
        "{ran:?}\n{}",
        sandbox.run(&["logs", "latest"]).stdout
    );
    let received = upstream.received();
    assert!(received.len() < 20, "{} calls", received.len());
    let steered = received
        .iter()
        .filter(|it| it.body.contains("agentguard") || it.body.contains("in a row"));
    let last = received.last().map(|it| it.body.as_str());
    assert!(steered.count() >= 1, "the model was told: {last:?}");
}

#[test]
fn a_model_without_a_price_is_refused_under_a_cap() {
    for model in ["house-model-9", "@cf/meta/llama-4", "vendor/model:free"] {
        let upstream = Server::start(vec![]);
        let (sandbox, ran) = run_with(
            "an_agent_of_an_unknown_model",
            "limits: {cost_usd: 1}\n",
            &upstream,
            &[("TEST_MODEL", model)],
        );
        assert_eq!(ran.code, 1, "{ran:?}");
        let log = sandbox.run(&["logs", "latest"]).stdout;
        assert!(log.contains("402") && log.contains("prices:"), "{log}");
        assert!(ran.stderr.contains("agentguard_unpriced"), "{ran:?}");
        assert_eq!(upstream.received().len(), 0);
        // The line that it names can be taken as it is.
        let line = log
            .split("add `")
            .nth(1)
            .and_then(|it| it.split('`').next());
        let line = line.unwrap_or_else(|| panic!("{log}")).replace('…', "1");
        sandbox.write(
            "task.yaml",
            &format!("{}\n{line}\n", sandbox.read("task.yaml")),
        );
        let read = sandbox.run(&["chain", "task.yaml"]);
        assert_eq!(read.code, 0, "{line}: {read:?}");
    }
}

#[test]
#[ignore = "the agent of the test above"]
fn an_agent_of_an_unknown_model() {
    let Some(address) = base() else { return };
    let mut body = call(&[said("user", &json!("hello"))], false);
    body["model"] = json!(std::env::var("TEST_MODEL").expect("a model"));
    let (status, answer) = ask(&address, &body);
    panic!("{status} {answer}");
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_of_one_call() {
    let Some(address) = base() else { return };
    let (status, answer) = ask(&address, &call(&[said("user", &json!("build it"))], false));
    assert!(status == 200, "{answer}");
}

#[test]
fn what_the_checks_found_reaches_the_model() {
    let answer = answer(&text("Built."), "end_turn");
    let upstream = Server::start(vec![Reply::json(200, &answer), Reply::json(200, &answer)]);
    let check =
        "verify: [{name: moon, script: '[ -e once ] || { touch once; echo no moon; exit 1; }'}]";
    let (sandbox, ran) = run("an_agent_of_one_call", check, &upstream);
    assert_eq!(ran.code, 0, "{ran:?}");
    let received = upstream.received();
    assert_eq!(
        received.len(),
        2,
        "the second answer is not from the record"
    );
    assert!(!received[0].body.contains("no moon"));
    let told = "moon exited with code 1\\n    no moon";
    assert!(received[1].body.contains(told), "{}", received[1].body);
    assert_eq!(sandbox.report()["verified"], true);
}
