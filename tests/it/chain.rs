//! What becomes of a model call that fails: tried again, asked elsewhere, told.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::model::Upstream;
use crate::support::{Ran, Sandbox, finish};

pub(crate) const KEY: &str = "sk-ant-the-real-key-0123456789";

/// An agent that knows nothing of us: it asks until the model is done. Driven by
/// `TURNS` (most calls), `STREAM`, `TRIES` (what its client makes of a failure),
/// `HEADER` (one more) and `SESSION` (where it keeps its history, and takes it up).
#[test]
#[ignore = "the agent of the tests below"]
fn an_agent() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let Some(turns) = number("TURNS") else { return };
    let address = std::env::var("ANTHROPIC_BASE_URL").expect("an address");
    let address = address.trim_start_matches("http://");
    let session = std::env::var("SESSION").ok();
    let kept = session.as_ref().and_then(|it| std::fs::read(it).ok());
    let mut history = match kept {
        Some(kept) => serde_json::from_slice(&kept).expect("its own history"),
        None => vec![json!({"role": "user", "content": "do it"})],
    };
    let tools = json!([{"name": "bash", "description": "runs a command", "input_schema": {
        "type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}}]);
    for turn in 0..turns {
        let body = json!({"model": "claude-sonnet-4-5",
            "max_tokens": number("MAX_TOKENS").unwrap_or(1000), "tools": tools,
            "stream": number("STREAM") == Some(1), "messages": history});
        let mut tries = 0;
        let reply = loop {
            tries += 1;
            let (status, answer) = post(address, &body.to_string());
            let reply = read(&answer);
            println!("turn {turn} try {tries}: {status} {reply}");
            match reply {
                Value::Null if tries < number("TRIES").unwrap_or(1) => {}
                Value::Null => panic!("no answer"),
                reply => break reply,
            }
        };
        let calls: Vec<Value> = reply
            .as_array()
            .expect("blocks")
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .map(|call| {
                let output = std::process::Command::new("sh")
                    .args(["-c", call["input"]["command"].as_str().unwrap_or("true")])
                    .output()
                    .expect("a shell");
                json!({"type": "tool_result", "tool_use_id": call["id"],
                    "content": String::from_utf8_lossy(&output.stdout)})
            })
            .collect();
        if calls.is_empty() {
            return;
        }
        history.push(json!({"role": "assistant", "content": reply}));
        history.push(json!({"role": "user", "content": calls}));
        if let Some(session) = &session {
            let history = Value::from(history.clone()).to_string();
            std::fs::write(session, history).expect("its folder is there");
        }
    }
}

fn post(address: &str, body: &str) -> (u16, String) {
    let token = std::env::var("ANTHROPIC_API_KEY").expect("a token");
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    let more = std::env::var("HEADER").map_or(String::new(), |header| format!("{header}\r\n"));
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: {address}\r\nx-api-key: {token}\r\n{more}\
         Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .expect("it reads");
    let mut answer = Vec::new();
    // A broken answer is an error here, and what came before it counts.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    (status.unwrap_or(0), answer)
}

/// The blocks of an answer; null if it is none, or not whole.
fn read(answer: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    if !head.starts_with("HTTP/1.1 200") {
        return Value::Null;
    }
    let events: Vec<Value> = body
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .collect();
    if events.is_empty() {
        let whole: Value = serde_json::from_str(body).unwrap_or_default();
        return whole["content"].clone();
    }
    if !events.iter().any(|event| event["type"] == "message_stop") {
        return Value::Null;
    }
    let mut blocks: Vec<Value> = Vec::new();
    let mut arguments = String::new();
    for event in events {
        match event["type"].as_str() {
            Some("content_block_start") => blocks.push(event["content_block"].clone()),
            Some("content_block_delta") => {
                if let Some(piece) = event["delta"]["partial_json"].as_str() {
                    arguments.push_str(piece);
                }
                if let (Some(piece), Some(block)) =
                    (event["delta"]["text"].as_str(), blocks.last_mut())
                {
                    let text = format!("{}{piece}", block["text"].as_str().unwrap_or_default());
                    block["text"] = text.into();
                }
            }
            Some("content_block_stop") if !arguments.is_empty() => {
                let input = serde_json::from_str(&arguments).unwrap_or_default();
                arguments.clear();
                if let Some(block) = blocks.last_mut() {
                    block["input"] = input;
                }
            }
            _ => {}
        }
    }
    blocks.into()
}

/// How the agent is to behave.
#[derive(Clone, Copy)]
pub(crate) struct How {
    pub(crate) is_stream: bool,
    pub(crate) tries: u32,
}

pub(crate) const PLAIN: How = How {
    is_stream: false,
    tries: 1,
};
pub(crate) const STREAM: How = How {
    is_stream: true,
    tries: 1,
};

/// Runs the agent with `rest` in its task file.
pub(crate) fn run(upstream: &Upstream, how: How, rest: &str) -> (Sandbox, Ran) {
    run_with(upstream, how, rest, &[])
}

pub(crate) fn run_with(
    upstream: &Upstream,
    how: How,
    rest: &str,
    variables: &[(&str, &str)],
) -> (Sandbox, Ran) {
    let sandbox = Sandbox::new();
    task(&sandbox, how, rest);
    let ran = again(&sandbox, upstream, &["run", "task.yaml"], variables);
    (sandbox, ran)
}

/// Writes the task of the agent, with `rest` in it.
pub(crate) fn task(sandbox: &Sandbox, how: How, rest: &str) {
    let (stream, tries) = (u8::from(how.is_stream), how.tries);
    sandbox.write(
        "task.yaml",
        &format!(
            "agent: {{command: {}, protocol: gateway, grace: 1s, \
             env: {{TURNS: '60', STREAM: '{stream}', TRIES: '{tries}'}}}}\n{rest}",
            argv()
        ),
    );
}

/// The command line of the agent.
pub(crate) fn argv() -> Value {
    let own = std::env::current_exe().expect("this test binary");
    json!([
        own,
        "--exact",
        "chain::an_agent",
        "--ignored",
        "--nocapture"
    ])
}

/// Runs a command where the model is to be found.
pub(crate) fn again(
    sandbox: &Sandbox,
    upstream: &Upstream,
    args: &[&str],
    variables: &[(&str, &str)],
) -> Ran {
    let mut command = sandbox.command(args);
    command
        .env("ANTHROPIC_BASE_URL", upstream.url())
        .env("ANTHROPIC_API_KEY", KEY)
        .envs(variables.iter().copied());
    finish(&mut command)
}

pub(crate) fn actions(sandbox: &Sandbox) -> String {
    sandbox.run(&["why", "latest"]).stdout
}

pub(crate) const TWO_TURNS: &str = "turns:\n  - {say: I look., shell: echo hello}\n  - say: done\n";

#[test]
fn what_passes_by_itself_is_tried_again_unseen() {
    for how in [PLAIN, STREAM] {
        #[rustfmt::skip]
        let rows = [
            ("429 with Retry-After",   "{turn: 2, status: 429, retry_after: 1s, times: 2}", 2),
            ("an overload",            "{turn: 2, status: 529, times: 3}", 3),
            ("a server error",         "{turn: 1, status: 500, times: 1}", 1),
            ("a reset before a byte",  "{turn: 2, reset: true, times: 2}", 2),
            ("an empty reply",         "{turn: 2, empty: true, times: 1}", 1),
            ("a page of HTML",         "{turn: 2, garbage: true, times: 1}", 1),
        ];
        for (name, fault, failed) in rows {
            let upstream = Upstream::start(&format!("{TWO_TURNS}faults:\n  - {fault}\n"));
            let (sandbox, ran) = run(&upstream, how, "limits: {cost_usd: 1}\nretry: {base: 10ms}");
            let why = actions(&sandbox);
            assert_eq!(ran.code, 0, "{name}: {ran:?}\n{why}");
            assert_eq!(upstream.calls(), 2 + failed, "{name}: {why}");
            assert_eq!(
                ran.stdout.matches("try 2").count(),
                0,
                "{name}: {}",
                ran.stdout
            );
            assert_eq!(sandbox.report()["completed_steps"], json!(2), "{name}");
            assert!(why.contains("retry"), "{name}: {why}");
        }
    }
}

#[test]
fn what_the_agents_client_retries_does_not_reach_the_model() {
    let upstream = Upstream::start(&format!(
        "{TWO_TURNS}faults:\n  - {{turn: 1, status: 503, times: forever}}\n"
    ));
    let tries = How {
        is_stream: false,
        tries: 5,
    };
    let (sandbox, ran) = run(&upstream, tries, "retry: {attempts: 1}");
    assert_eq!(upstream.calls(), 1, "what we do not retry is asked once");
    assert_eq!(ran.stdout.matches(": 503 ").count(), 5, "{}", ran.stdout);
    assert_eq!(ran.code, 23, "{ran:?}\n{}", actions(&sandbox));
    let upstream = Upstream::start(&format!(
        "{TWO_TURNS}faults:\n  - {{turn: 1, status: 400, times: forever}}\n"
    ));
    let (_, ran) = run(&upstream, tries, "limits: {cost_usd: 1}");
    assert_eq!(upstream.calls(), 1, "a wrong request is never tried again");
    assert_eq!(ran.code, 1, "{ran:?}");
}

#[test]
fn an_answer_that_breaks_off_in_the_middle_breaks_off_here_too() {
    for fault in ["cut: 4", "end: 4", "error: 529, after: 4"] {
        let upstream = Upstream::start(&format!(
            "{TWO_TURNS}faults:\n  - {{turn: 2, {fault}, times: 1}}\n"
        ));
        let again = How {
            is_stream: true,
            tries: 2,
        };
        let (sandbox, ran) = run(&upstream, again, "limits: {cost_usd: 1}");
        let why = actions(&sandbox);
        assert_eq!(ran.code, 0, "{fault}: {ran:?}\n{why}");
        assert!(
            ran.stdout.contains("turn 1 try 1: 200 null"),
            "{fault}: {}",
            ran.stdout
        );
        assert_eq!(
            upstream.calls(),
            3,
            "{fault}: the agent's own second try is a call of its own"
        );
        assert_eq!(
            sandbox.report()["completed_steps"],
            json!(2),
            "{fault}: a broken answer is no turn: {why}"
        );
    }
}

#[test]
fn the_chain_is_walked_as_the_tree_says() {
    #[rustfmt::skip]
    let rows = [
        ("a hard limit takes the cheaper model",    "status: 429", "claude-haiku-4-5", "degrade.hard_limit"),
        ("a wrong key takes another provider",      "status: 401", "gpt-5-mini", "degrade.credentials"),
        ("a provider that fails takes another",     "status: 500", "gpt-5-mini", "degrade.server_error"),
        ("no such model takes the next",            "status: 404", "claude-haiku-4-5", "degrade.no_model"),
    ];
    for how in [PLAIN, STREAM] {
        for (name, fault, model, rule) in rows {
            let upstream = Upstream::start(&format!(
                "{TWO_TURNS}faults:\n  - {{model: claude-sonnet-4-5, {fault}, times: forever}}\n"
            ));
            let rest = format!(
                "retry: {{base: 1ms, attempts: 2}}\nlimits: {{cost_usd: 1}}\nfallbacks:\n  \
                 - {{model: claude-haiku-4-5}}\n  \
                 - {{url: '{}/v1', api: chat, key: k, model: gpt-5-mini, level: other}}\n",
                upstream.url()
            );
            let (sandbox, ran) = run(&upstream, how, &rest);
            let why = actions(&sandbox);
            assert_eq!(ran.code, 0, "{name}: {ran:?}\n{why}");
            assert!(why.contains(rule), "{name}: {why}");
            let ledger = upstream.ledger();
            let answered: Vec<&str> = ledger["requests"]
                .as_array()
                .expect("requests")
                .iter()
                .filter(|request| request["outcome"] == "answered")
                .filter_map(|request| request["model"].as_str())
                .collect();
            assert_eq!(answered, [model, model], "{name}: {ledger}");
            assert_eq!(sandbox.report()["completed_steps"], json!(2), "{name}");
            assert_eq!(sandbox.report()["degraded"]["link"], json!(model), "{name}");
        }
    }
}

#[test]
fn a_fallback_that_cannot_take_a_call_is_passed_by() {
    let upstream = Upstream::start(&format!(
        "{TWO_TURNS}faults:\n  - {{turn: 2, status: 429, times: 1}}\n"
    ));
    let rest = "retry: {base: 1ms}\nfallbacks: [{model: claude-haiku-4-5, lacks: [tools]}]\n";
    let (sandbox, ran) = run(&upstream, PLAIN, rest);
    assert_eq!(ran.code, 0, "{ran:?}\n{}", actions(&sandbox));
    assert_eq!(upstream.calls(), 3);
}

#[test]
fn an_unfit_reply_is_asked_for_twice_and_then_of_another_model() {
    let upstream = Upstream::start(&format!(
        "{TWO_TURNS}faults:\n  - {{model: claude-sonnet-4-5, empty: true, times: forever}}\n"
    ));
    for how in [PLAIN, STREAM] {
        let before = upstream.calls();
        let rest = "breaker: false\nfallbacks: [{model: claude-haiku-4-5}]\n";
        let (sandbox, ran) = run(&upstream, how, rest);
        assert_eq!(ran.code, 0, "{ran:?}\n{}", actions(&sandbox));
        assert_eq!(upstream.calls() - before, 6, "{}", actions(&sandbox));
    }
}

#[test]
fn a_price_of_a_link_goes_before_all_others() {
    let upstream = Upstream::start(TWO_TURNS);
    let rest = "limits: {cost_usd: 1}\nupstream: {model: house-1, price: {input: 1, output: 2}}\n";
    let (sandbox, ran) = run(&upstream, PLAIN, rest);
    assert_eq!(ran.code, 0, "{ran:?}\n{}", actions(&sandbox));
    // Twice 1,000 tokens in and 100 out.
    assert_eq!(sandbox.report()["cost_usd"], json!("0.0024"));
}

/// Kills the supervisor on each side of every save, goes on, and compares: every
/// answer was paid once, and what was paid is what was counted.
#[test]
fn cut_off_at_every_boundary_no_answer_is_paid_twice() {
    let script = "price: {input: 3, output: 15}\nturns:\n  \
        - {say: I look., shell: echo one}\n  - {say: And again., shell: echo two}\n  - say: done\n";
    let boundaries = [
        "reserved",
        "turn_reported",
        "tool_reported",
        "agent_exited",
        "swept",
    ];
    let sides = ["before_save", "after_save", "after_release"];
    for boundary in boundaries {
        for (number, side) in sides.into_iter().enumerate() {
            let nth = if boundary.ends_with("ed") && number < 2 {
                2
            } else {
                1
            };
            let nth = if ["agent_exited", "swept"].contains(&boundary) {
                1
            } else {
                nth
            };
            let fault = format!("{boundary}.{side}:{nth}");
            let upstream = Upstream::start(script);
            let how = How {
                is_stream: number == 1,
                tries: 1,
            };
            let (sandbox, ran) = run_with(
                &upstream,
                how,
                "limits: {cost_usd: 1}",
                &[("AGENTGUARD_FAULT", &fault)],
            );
            assert_eq!(ran.code, 128 + 9, "{fault}: {ran:?}");
            let resumed = again(&sandbox, &upstream, &["resume", "latest"], &[]);
            let why = actions(&sandbox);
            assert_eq!(resumed.code, 0, "{fault}: {resumed:?}\n{why}");
            let report = sandbox.report();
            assert_eq!(report["completed_steps"], json!(3), "{fault}: {why}");
            let ledger = upstream.ledger();
            let calls = ledger["calls"].as_u64().expect("a count");
            // A call that was under way is lost with its answer, and no other.
            assert!((3..=4).contains(&calls), "{fault}: {calls} calls\n{why}");
            let cost = |text: &Value| text.as_str().and_then(|it| it.parse::<f64>().ok());
            let counted = cost(&report["cost_usd"]).expect("a cost");
            let billed = ledger["cost_nano_usd"].as_u64().expect("a cost") as f64 / 1e9;
            assert!(
                counted + 1e-9 >= billed,
                "{fault}: {counted} counted, {billed} billed"
            );
        }
    }
}

#[test]
fn when_nobody_answers_the_fixed_text_does() {
    let upstream = Upstream::start(&format!(
        "{TWO_TURNS}faults:\n  - {{status: 529, times: forever}}\n"
    ));
    for how in [PLAIN, STREAM] {
        let rest = "retry: {base: 1ms, attempts: 2}\nfallbacks: [{reply: Nobody is there.}]\n";
        let (sandbox, ran) = run(&upstream, how, rest);
        assert_eq!(ran.code, 0, "{ran:?}\n{}", actions(&sandbox));
        assert!(ran.stdout.contains("Nobody is there."), "{}", ran.stdout);
    }
}

#[test]
fn the_chain_and_the_tree_can_be_printed() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "agent: {command: [claude, -p, hello]}\nfallbacks:\n  - {model: claude-haiku-4-5}\n  \
         - {provider: openai, model: gpt-5-mini}\n  - {url: 'http://localhost:11434/v1', api: chat, model: qwen3}\n  \
         - {reply: Nobody is there.}\n",
    );
    let ran = sandbox.run(&["chain", "task.yaml", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let printed: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let levels = ["primary", "cheaper", "other", "self_hosted", "fixed"];
    for (place, level) in levels.iter().enumerate() {
        assert_eq!(printed["chain"][place]["level"], json!(level), "{printed}");
    }
    assert_eq!(
        printed["chain"][0]["provider"],
        json!("anthropic"),
        "{printed}"
    );
    let text = sandbox.run(&["chain"]).stdout;
    for words in ["hard_limit", "credentials", "outage", "budget"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn a_fixed_text_does_not_answer_for_a_budget() {
    let upstream = Upstream::start(TWO_TURNS);
    let rest = "limits: {cost_usd: 0.02}\nfallbacks: [{reply: Nobody is there.}]\n";
    let (sandbox, ran) = run(&upstream, PLAIN, rest);
    assert_eq!(ran.code, 20, "{ran:?}\n{}", actions(&sandbox));
}

#[test]
fn a_script_that_cannot_be_read_starts_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("model.yaml", "turns:\n  - {sya: hello}\n");
    sandbox.write(
        "task.yaml",
        "agent: {command: ['true']}\nupstream: {script: model.yaml}\n",
    );
    for command in ["run", "check"] {
        let ran = sandbox.run(&[command, "task.yaml"]);
        assert_eq!(ran.code, 2, "{command}: {ran:?}");
        assert!(
            ran.stderr.contains("model.yaml:2:") && ran.stderr.contains("sya"),
            "{ran:?}"
        );
    }
}

/// Faults that have happened stay so over a resume, and the model answers where
/// the agent is.
#[test]
fn a_scripted_model_goes_on_over_a_crash() {
    let upstream = Upstream::start(TWO_TURNS);
    let sandbox = Sandbox::new();
    let argv = argv();
    sandbox.write(
        "model.yaml",
        "turns:\n  - {say: I look., shell: echo one, faults: [{status: 500, times: 1}]}\n  - say: done\n",
    );
    sandbox.write(
        "task.yaml",
        &format!(
            "agent: {{command: {argv}, env: {{TURNS: '9'}}}}\nupstream: {{script: model.yaml}}\n\
             retry: {{base: 1ms}}\n"
        ),
    );
    let cut = sandbox.run_with(
        ("AGENTGUARD_FAULT", "turn_reported.after_release:2"),
        &["run", "task.yaml"],
    );
    assert_eq!(cut.code, 128 + 9, "{cut:?}");
    let resumed = sandbox.run(&["resume", "latest"]);
    let why = actions(&sandbox);
    assert_eq!(resumed.code, 0, "{resumed:?}\n{why}");
    assert_eq!(why.matches("the turn: retry").count(), 1, "{why}");
    assert_eq!(sandbox.report()["replayed"], json!(1), "{why}");
    assert_eq!(upstream.calls(), 0, "offline");
}

/// Agents ask for many times what they use: none that stays within its cap is
/// refused, and the cap holds for what the model bills.
#[test]
fn a_large_limit_of_output_starves_nobody() {
    for max_tokens in [32_000, 128_000] {
        let turns: String = (0..39)
            .map(|n| format!("  - {{shell: echo {n}}}\n"))
            .collect();
        let script = format!("price: {{input: 3, output: 15}}\nturns:\n{turns}  - say: done\n");
        let upstream = Upstream::start(&script);
        let how = How {
            is_stream: true,
            tries: 1,
        };
        // Forty answers cost 0.18 USD; one of them could cost 1.92.
        let (sandbox, ran) = run_with(
            &upstream,
            how,
            "limits: {cost_usd: 0.25}\nloops: {enabled: false}\n",
            &[("MAX_TOKENS", &max_tokens.to_string())],
        );
        let why = actions(&sandbox);
        assert_eq!(ran.code, 0, "{max_tokens}: {ran:?}\n{why}");
        assert_eq!(upstream.ledger()["answered"], json!(40), "{max_tokens}");
    }
}
