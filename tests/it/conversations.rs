//! Conversations of their own: sub-agents, titles, summaries and forks through the
//! gateway, with real HTTP and real kills.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::http_server::{Reply, Server};
use crate::support::model::Upstream;
use crate::support::{Ran, Sandbox, finish};

const MODEL: &str = "claude-sonnet-4-5";

/// Runs this test binary's `name` as an agent behind the gateway.
fn run(name: &str, rest: &str, url: &str, variables: &[(&str, &str)]) -> (Sandbox, Ran) {
    let sandbox = Sandbox::new();
    let argv = json!([
        std::env::current_exe().expect("this test binary"),
        "--exact",
        format!("conversations::{name}"),
        "--ignored",
        "--nocapture"
    ]);
    let task = format!("agent: {{command: {argv}, protocol: gateway, grace: 1s}}\n{rest}");
    sandbox.write("task.yaml", &task);
    let mut run = command(&sandbox, &["run", "task.yaml"], url);
    let ran = finish(run.envs(variables.iter().copied()));
    (sandbox, ran)
}

fn command(sandbox: &Sandbox, args: &[&str], url: &str) -> std::process::Command {
    let mut command = sandbox.command(args);
    command.env("ANTHROPIC_BASE_URL", url);
    command.env("ANTHROPIC_API_KEY", "sk-ant-test");
    command
}

/// One who talks to the model, as the agent has several.
#[derive(Clone)]
struct Speaker {
    system: &'static str,
    has_tools: bool,
    /// The header that names a sub-agent.
    agent: Option<&'static str>,
    messages: Vec<Value>,
}

impl Speaker {
    fn new(system: &'static str, first: &str) -> Self {
        Self {
            system,
            has_tools: true,
            agent: None,
            messages: vec![json!({"role": "user", "content": first})],
        }
    }

    /// Asks once; returns the calls of the answer, by id and arguments.
    fn ask(&mut self) -> Vec<(String, Value)> {
        let base = std::env::var("ANTHROPIC_BASE_URL").expect("an address");
        let token = std::env::var("ANTHROPIC_API_KEY").expect("a token");
        let address = base.trim_start_matches("http://");
        let mut body = json!({"model": MODEL, "max_tokens": 1000, "system": self.system, "messages": self.messages});
        if self.has_tools {
            body["tools"] = json!([{"name": "read", "input_schema": {"type": "object"}}]);
        }
        let agent = self.agent.map(|agent| {
            format!("x-claude-code-session-id: s\r\nx-claude-code-agent-id: {agent}\r\n")
        });
        let (agent, body) = (agent.unwrap_or_default(), body.to_string());
        let mut stream = TcpStream::connect(address).expect("the gateway listens");
        let request = format!(
            "POST /v1/messages HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             x-api-key: {token}\r\n{agent}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        // A broken answer is an error here, and what came before it counts.
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200"), "refused: {answer}");
        let (_, answer) = answer.split_once("\r\n\r\n").expect("a head");
        let answer: Value = serde_json::from_str(answer).expect("an answer");
        let content = answer["content"].clone();
        self.messages
            .push(json!({"role": "assistant", "content": content}));
        let calls = content.as_array().into_iter().flatten();
        let calls = calls.filter(|block| block["type"] == "tool_use");
        calls
            .map(|call| {
                (
                    call["id"].as_str().expect("an id").to_owned(),
                    call["input"].clone(),
                )
            })
            .collect()
    }

    /// Tells the results of calls.
    fn tell(&mut self, calls: &[(String, Value)], result: &str) {
        let results: Vec<Value> = calls
            .iter()
            .map(|(id, _)| json!({"type": "tool_result", "tool_use_id": id, "content": result}))
            .collect();
        self.messages
            .push(json!({"role": "user", "content": results}));
    }

    /// Talks until the model calls no more tools.
    fn talk(&mut self) {
        loop {
            let calls = self.ask();
            if calls.is_empty() {
                return;
            }
            let told = format!("result for {}", self.system);
            self.tell(&calls, &told);
        }
    }
}

fn is_inside() -> bool {
    std::env::var("AGENTGUARD_ATTEMPT").is_ok()
}

/// A whole answer: 1,000 tokens in, 100 out, so 0.0045 USD.
fn answer(content: &Value) -> Reply {
    let stop = match content.to_string().contains("tool_use") {
        true => "tool_use",
        false => "end_turn",
    };
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL,
        "content": content, "stop_reason": stop, "stop_sequence": null,
        "usage": {"input_tokens": 1000, "output_tokens": 100},
    });
    Reply::json(200, &body.to_string())
}

fn says(text: &str) -> Reply {
    answer(&json!([{"type": "text", "text": text}]))
}

fn calls(id: &str, path: &str) -> Reply {
    answer(&json!([{"type": "tool_use", "id": id, "name": "read", "input": {"path": path}}]))
}

/// The conversations of the latest run, by name.
fn conversations(sandbox: &Sandbox) -> BTreeMap<String, Value> {
    let ran = sandbox.run(&["show", "latest", "--json", "--conversation"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let document: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let all = document["conversations"].as_array().expect("a list").iter();
    all.map(|it| (it["name"].as_str().expect("a name").to_owned(), it.clone()))
        .collect()
}

fn turns(all: &BTreeMap<String, Value>) -> Vec<(&str, u64)> {
    let turns = |it: &Value| it["turns"].as_u64().expect("a count");
    all.iter()
        .map(|(name, it)| (name.as_str(), turns(it)))
        .collect()
}

/// A title first; then two sub-agents at once, who make the same calls; then more.
const FAMILY: &str = r"
usage: {input: 1000, output: 100}
sides: [{when: {tools: none}, say: A good title}]
turns:
  - {say: I look., call: {tool: read, args: {path: a}}}
  - {say: Once more., call: {tool: read, args: {path: a}}}
  - say: Done.
";

#[test]
#[ignore = "the agent of the tests below"]
fn an_agent_with_a_family() {
    if !is_inside() {
        return;
    }
    let mut title = Speaker::new("titles", "Name it");
    title.has_tools = false;
    title.ask();
    let mut main = Speaker::new("main", "Do it");
    let asked = main.ask();
    std::thread::scope(|threads| {
        for agent in ["one", "two"] {
            threads.spawn(move || {
                let mut helper = Speaker::new("helper", &format!("Help with {agent}"));
                helper.agent = (agent == "two").then_some(agent);
                helper.talk();
            });
        }
    });
    main.tell(&asked, "they helped");
    main.talk();
}

#[test]
fn a_title_and_sub_agents_are_told_apart() {
    let upstream = Upstream::start(FAMILY);
    let (sandbox, ran) = run(
        "an_agent_with_a_family",
        "limits: {cost_usd: 1}",
        &upstream.url(),
        &[],
    );
    let log = sandbox.run(&["logs", "latest"]).stdout;
    assert_eq!(ran.code, 0, "{ran:?}\n{log}");
    let report = sandbox.report();
    // Three turns each; the title is paid, and no step.
    assert_eq!(
        (
            &report["completed_steps"],
            &report["tokens_used"],
            &report["cost_usd"]
        ),
        (&json!(9), &json!(11_000), &json!("0.045")),
        "{report}"
    );
    let all = conversations(&sandbox);
    assert_eq!(
        turns(&all),
        [("main", 3), ("side-1", 1), ("sub-3", 3), ("sub-4", 3)]
    );
    assert_eq!(all["main"]["cost_usd"], "0.0135");
    assert_eq!(all["side-1"]["tokens"], 1100);
    let agents = ["sub-3", "sub-4"].map(|name| all[name]["agent"].as_str());
    assert!(agents.contains(&Some("two")), "{agents:?}");
    assert_eq!(all["main"]["messages"].as_array().map(Vec::len), Some(6));

    let shown = sandbox.run(&["show", "latest", "--conversation"]).stdout;
    let headings: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains(" tokens, "))
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(headings, ["main", "sub-3", "sub-4", "side-1"], "{shown}");
    let one = sandbox
        .run(&["show", "latest", "--conversation=two"])
        .stdout;
    assert!(
        one.contains("Help with two") && !one.contains("Help with one"),
        "{one}"
    );
    let none = sandbox.run(&["show", "latest", "--conversation=sub-9"]);
    assert_eq!(none.code, 2, "{none:?}");
    assert!(
        none.stderr.contains("main, sub-3, sub-4, side-1"),
        "{none:?}"
    );
    let overview = sandbox.run(&["show", "latest"]).stdout;
    assert!(
        overview.contains("conversations") && overview.contains("side-1"),
        "{overview}"
    );
}

#[test]
fn killed_with_sub_agents_under_way_a_resume_pays_nothing_twice() {
    for at in [
        "turn_reported.after_save:4",
        "turn_reported.after_release:6",
        "reserved.after_release:5",
    ] {
        let upstream = Upstream::start(FAMILY);
        let fault = [("AGENTGUARD_FAULT", at)];
        let limits = "limits: {cost_usd: 1}";
        let (sandbox, ran) = run("an_agent_with_a_family", limits, &upstream.url(), &fault);
        assert_eq!(ran.code, 128 + 9, "{at}: {ran:?}");
        let before = upstream.calls();
        let ran = finish(&mut command(
            &sandbox,
            &["resume", "latest"],
            &upstream.url(),
        ));
        let log = sandbox.run(&["logs", "latest"]).stdout;
        assert_eq!(ran.code, 0, "{at}: {ran:?}\n{log}");
        let report = sandbox.report();
        let all = conversations(&sandbox);
        assert_eq!(
            turns(&all),
            [("main", 3), ("side-1", 1), ("sub-3", 3), ("sub-4", 3)],
            "{at}: {report}"
        );
        assert_eq!(report["completed_steps"], 9, "{at}: {report}");
        let rewrites: u64 = all
            .values()
            .map(|it| it["rewrites"].as_u64().unwrap_or(1))
            .sum();
        assert_eq!(rewrites, 0, "{at}: {all:?}");
        // Ten calls, and those that were under way at the kill.
        let replayed = report["replayed"].as_u64().expect("a count");
        assert!(replayed >= 3, "{at}: {report}");
        assert_eq!(upstream.calls() - before, 10 - replayed, "{at}: {report}");
    }
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_of_two_one_of_whom_goes_in_circles() {
    if !is_inside() {
        return;
    }
    let mut circling = Speaker::new("circling", "Read a");
    let mut busy = Speaker::new("busy", "Read them all");
    for round in 0..12 {
        let asked = circling.ask();
        circling.tell(&asked, "the same as ever");
        let asked = busy.ask();
        busy.tell(
            &asked,
            &format!("page {round}: {}", "new words ".repeat(round + 1)),
        );
    }
}

#[test]
fn a_loop_is_found_in_its_conversation_though_others_interleave() {
    let replies = (0..12).flat_map(|round| {
        let (path, id) = (format!("page-{round}.txt"), format!("toolu_{round}"));
        [
            calls(&format!("{id}a"), "a"),
            calls(&format!("{id}b"), &path),
        ]
    });
    let upstream = Server::start(replies.collect());
    let name = "an_agent_of_two_one_of_whom_goes_in_circles";
    let (sandbox, ran) = run(name, "limits: {cost_usd: 1}", &upstream.url(""), &[]);
    assert_eq!(
        ran.code,
        22,
        "{ran:?}\n{}",
        sandbox.run(&["logs", "latest"]).stdout
    );
    let steered: Vec<String> = upstream
        .received()
        .iter()
        .filter(|request| request.body.contains("You are repeating yourself"))
        .map(|request| request.body.clone())
        .collect();
    assert_eq!(steered.len(), 1, "one call is told");
    assert!(
        steered[0].contains("circling"),
        "whose loop it is: {}",
        steered[0]
    );
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_that_goes_back_and_sums_up() {
    if !is_inside() {
        return;
    }
    let mut main = Speaker::new("main", "Do it");
    let asked = main.ask();
    main.tell(&asked, "one");
    let before = main.clone();
    main.ask();
    // Another way, from the same place.
    main = before;
    main.messages.pop();
    main.tell(&asked, "another");
    main.ask();
    main.messages
        .push(json!({"role": "user", "content": "Sum it up"}));
    main.ask();
    main.messages = vec![json!({"role": "user", "content": format!("So far:\n{SUMMARY}\nGo on.")})];
    main.ask();
    // Reminders that an agent moves about are no change.
    main.messages[0]["content"] = json!([
        {"type": "text", "text": format!("So far:\n{SUMMARY}\nGo on.")},
        {"type": "text", "text": "<system-reminder>\nBe quick.\n</system-reminder>"},
    ]);
    main.messages
        .push(json!({"role": "user", "content": "And now?"}));
    main.ask();
}

const SUMMARY: &str = "We read the file a and found that all of it is good as it stands.";

#[test]
fn forks_and_summaries_stay_in_their_conversation() {
    let upstream = Server::start(vec![
        calls("toolu_1", "a"),
        says("The first way."),
        says("The other way."),
        says(SUMMARY),
        says("Gone on."),
        says("All done."),
    ]);
    let rest = "limits: {cost_usd: 1}";
    let (sandbox, ran) = run(
        "an_agent_that_goes_back_and_sums_up",
        rest,
        &upstream.url(""),
        &[],
    );
    let log = sandbox.run(&["logs", "latest"]).stdout;
    assert_eq!(ran.code, 0, "{ran:?}\n{log}");
    let all = conversations(&sandbox);
    assert_eq!(turns(&all), [("main", 6)], "{all:?}");
    let main = &all["main"];
    assert_eq!(
        (&main["branches"], &main["rewrites"]),
        (&json!(1), &json!(1)),
        "{main}"
    );
    assert_eq!(main["messages"].as_array().map(Vec::len), Some(4), "{main}");
    assert_eq!(main["left"][0]["kept"], 2, "{main}");
    assert_eq!(
        main["left"][0]["messages"].as_array().map(Vec::len),
        Some(2),
        "{main}"
    );
    let shown = sandbox.run(&["show", "latest", "--conversation"]).stdout;
    for words in [
        "before it went back to message 2",
        "The first way.",
        "before its history was rewritten",
    ] {
        assert_eq!(shown.matches(words).count(), 1, "{words}: {shown}");
    }
    let timeline = sandbox.run(&["show", "latest", "--timeline"]).stdout;
    assert!(
        timeline.contains("back at message 2") && timeline.contains("history rewritten"),
        "{timeline}"
    );
}

/// How many turns the agent below makes.
const TURNS: &str = "TEST_TURNS";

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_of_many_turns() {
    if !is_inside() {
        return;
    }
    let count = std::env::var(TURNS)
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1);
    let mut main = Speaker::new("main", "Do it");
    let mut took = Vec::new();
    for turn in 0..count {
        let began = Instant::now();
        let asked = main.ask();
        took.push(began.elapsed().as_micros());
        if asked.is_empty() {
            break;
        }
        main.tell(
            &asked,
            &format!("line {turn}: {}", "words of a result ".repeat(50)),
        );
    }
    let part = (count / 10).max(1);
    let mean = |took: &[u128]| took.iter().sum::<u128>() / took.len() as u128;
    let (early, late) = (mean(&took[..part]), mean(&took[count - part..]));
    println!("EARLY {early} us a turn, LATE {late} us a turn");
}

/// `TEST_TURNS=3000 cargo test --release --test it -- conversations::each_message` is
/// the long one.
#[test]
fn each_message_is_stored_once_however_long_it_gets() {
    let count = std::env::var(TURNS).unwrap_or_else(|_| "150".to_owned());
    let before: u64 = count.parse::<u64>().expect("a number") - 1;
    let upstream = Upstream::start(&format!(
        "turns: [{{say: I read on., call: {{tool: read, args: {{path: a}}}}, repeat: {before}}}, {{say: Done.}}]"
    ));
    let rest = "limits: {cost_usd: 1000}\nloops: {enabled: false}";
    let (sandbox, ran) = run(
        "an_agent_of_many_turns",
        rest,
        &upstream.url(),
        &[(TURNS, &count)],
    );
    let log = sandbox.run(&["logs", "latest"]).stdout;
    assert_eq!(ran.code, 0, "{ran:?}\n{log}");
    let all = conversations(&sandbox);
    let main = &all["main"];
    assert_eq!(main["turns"].to_string(), count);
    assert_eq!(main["rewrites"], 0);
    let said = main["messages"].as_array().expect("messages").iter();
    let said: usize = said.map(|message| message.to_string().len()).sum();
    let database = sandbox.state().join("journal.db");
    let connection = rusqlite::Connection::open(&database).expect("the journal");
    let one = |sql: &str| -> i64 {
        connection
            .query_row(sql, [], |row| row.get(0))
            .expect("a row")
    };
    let kept = one("SELECT sum(length(body)) FROM messages");
    let ratio = kept as f64 / said as f64;
    assert!(ratio <= 1.5, "{kept} bytes are kept of {said}");
    // What a turn adds to the journal does not grow.
    let of_events = |from: &str| {
        one(&format!(
            "SELECT sum(length(body)) FROM (SELECT body FROM events WHERE kind = 'turn_reported' \
             ORDER BY id {from} LIMIT 20)"
        ))
    };
    let (early, late) = (of_events("ASC"), of_events("DESC"));
    assert!(
        late < early * 2,
        "{early} bytes of events early, {late} late"
    );
    let times = log
        .lines()
        .find(|line| line.contains("EARLY"))
        .unwrap_or_default();
    let size = std::fs::metadata(&database).expect("a file").len();
    println!("{count} turns: {kept} of {said} bytes ({ratio:.2}), journal {size} bytes; {times}");
}
