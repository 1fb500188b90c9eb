//! What a model call costs besides its tokens, from the agent's request to the
//! report: held back, priced by the answer, or refused.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::http_server::{Reply, Server};
use crate::support::{Sandbox, finish};

/// What the agent below asks, one after the other.
const BODIES: &str = "TEST_BODIES";

#[test]
#[ignore = "the agent of the tests below"]
fn an_agent_that_asks() {
    let Ok(bodies) = std::env::var(BODIES) else {
        return;
    };
    let base = std::env::var("ANTHROPIC_BASE_URL").expect("an address");
    let token = std::env::var("ANTHROPIC_API_KEY").expect("a token");
    let address = base.trim_start_matches("http://");
    let bodies: Vec<Value> = serde_json::from_str(&bodies).expect("JSON");
    for body in bodies {
        let (path, body) = match body.get("input") {
            Some(_) => ("/v1/responses", body.to_string()),
            None => ("/v1/messages", body.to_string()),
        };
        let mut stream = TcpStream::connect(address).expect("the gateway listens");
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nx-api-key: {token}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        println!("ANSWER {answer}");
    }
}

/// What came of a run: its cost in USD, its log, and how often the upstream was
/// asked.
struct Came {
    cost: String,
    log: String,
    asked: usize,
}

fn came(rest: &str, bodies: &[Value], replies: Vec<Reply>) -> Came {
    let upstream = Server::start(replies);
    let sandbox = Sandbox::new();
    let argv = json!([
        std::env::current_exe().expect("this test binary"),
        "--exact",
        "gateway_money::an_agent_that_asks",
        "--ignored",
        "--nocapture"
    ]);
    sandbox.write(
        "task.yaml",
        &format!("agent: {{command: {argv}, protocol: gateway, grace: 1s}}\n{rest}\n"),
    );
    let mut run = sandbox.command(&["run", "task.yaml"]);
    run.env("ANTHROPIC_BASE_URL", upstream.url(""))
        .env("ANTHROPIC_API_KEY", "sk-ant-1")
        .env("OPENAI_BASE_URL", upstream.url("/v1"))
        .env("OPENAI_API_KEY", "sk-1")
        .env(BODIES, json!(bodies).to_string());
    let ran = finish(&mut run);
    let log = sandbox.run(&["logs", "latest"]).stdout;
    Came {
        cost: sandbox.report()["cost_usd"]
            .as_str()
            .unwrap_or_else(|| panic!("{ran:?}\n{log}"))
            .to_owned(),
        log,
        asked: upstream.received().len(),
    }
}

/// A request of 1,000 tokens of output at most, with `more` in it.
fn call(model: &str, more: Value) -> Value {
    let mut body = json!({
        "model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": "hello"}],
    });
    let Value::Object(more) = more else {
        panic!("an object")
    };
    body.as_object_mut().expect("an object").extend(more);
    body
}

fn answer(model: &str, usage: &Value) -> Reply {
    let answer = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": model,
        "content": [{"type": "text", "text": "ok"}], "stop_reason": "end_turn",
        "stop_sequence": null, "usage": usage,
    });
    Reply::json(200, &answer.to_string())
}

#[test]
fn an_answer_costs_what_it_says() {
    let listed = "limits: {cost_usd: 9}\nprices: {claude-sonnet-4-5: {input: 1, output: 2}}";
    let plain = "limits: {cost_usd: 9}";
    let (asked, dated) = ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929");
    let usual = json!({"input_tokens": 1000, "output_tokens": 100});
    let with = |more: Value| {
        let mut usage = usual.clone();
        let more = more.as_object().expect("an object").clone();
        usage.as_object_mut().expect("an object").extend(more);
        usage
    };
    #[rustfmt::skip]
    let rows = [
        ("the catalogue knows the dated name", plain, usual.clone(), "0.0045"),
        ("a listed price of the asked name goes first", listed, usual.clone(), "0.0012"),
        ("an hour in a cache is dearer", plain,
         with(json!({"cache_creation_input_tokens": 1000, "cache_creation": {"ephemeral_1h_input_tokens": 1000}})), "0.0105"),
        ("searches have a fee", plain, with(json!({"server_tool_use": {"web_search_requests": 2}})), "0.0245"),
        ("a region is a tenth dearer", plain, with(json!({"inference_geo": "us"})), "0.00495"),
        ("other models have their own price", plain,
         with(json!({"iterations": [{"type": "advisor_message", "model": "claude-opus-5", "input_tokens": 1000, "output_tokens": 100}]})), "0.012"),
    ];
    for (name, rest, usage, want) in rows {
        let came = came(rest, &[call(asked, json!({}))], vec![answer(dated, &usage)]);
        assert_eq!(came.cost, want, "row: {name}\n{}", came.log);
    }
}

/// Servers that do not count say 0, or leave it out.
#[test]
fn a_count_that_cannot_be_one_costs_what_was_held_back() {
    let rows = [
        (
            "nothing at all",
            json!({"input_tokens": 0, "output_tokens": 0}),
        ),
        (
            "less than nothing",
            json!({"input_tokens": -1, "output_tokens": -1}),
        ),
        (
            "words that came of nothing",
            json!({"input_tokens": 9, "output_tokens": 0}),
        ),
        (
            "an empty prompt",
            json!({"input_tokens": 0, "output_tokens": 9}),
        ),
        ("only what went in", json!({"input_tokens": 9})),
        ("only what came out", json!({"output_tokens": 9})),
        (
            "no number",
            json!({"input_tokens": "9", "output_tokens": "9"}),
        ),
    ];
    for (name, usage) in rows {
        let body = call("claude-sonnet-4-5", json!({}));
        let came = came(
            "limits: {cost_usd: 9}",
            &[body],
            vec![answer("claude-sonnet-4-5", &usage)],
        );
        let cost: f64 = came.cost.parse().expect("a number");
        // 1,000 tokens of output and some of input.
        assert!(cost > 0.015, "row: {name}: {cost} USD\n{}", came.log);
    }
}

#[test]
fn what_cannot_be_held_back_is_refused_under_a_cap() {
    let capped = "limits: {cost_usd: 9}";
    let model = "claude-opus-5";
    let search =
        json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}]});
    let file = json!({"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}]});
    let priority = json!({"model": "gpt-5.5", "input": "a", "service_tier": "ultra"});
    #[rustfmt::skip]
    let rows = [
        ("a speed without a price", capped, call(model, json!({"speed": "fast"})), "prices: {claude-opus-5/fast:"),
        ("a tier without one", capped, priority, "service_tier is `ultra`"),
        ("a region without one", capped, call(model, json!({"inference_geo": "moon"})), "inference_geo is `moon`"),
        ("a tool of the provider's", capped, call(model, search.clone()), "`tools: web_search_20250305` is run by the provider"),
        ("and where tokens are limited", "limits: {tokens: 100000}", call(model, search.clone()), "`tools: web_search_20250305`"),
        ("a file and a model of unknown size", "limits: {cost_usd: 9}\nprices: {house: {input: 1, output: 1}}",
         call("house", file.clone()), "document is input of a size that cannot be known"),
    ];
    for (name, rest, body, want) in rows {
        let came = came(rest, &[body], vec![]);
        let log = &came.log;
        assert!(log.contains("agentguard_unpriced"), "row: {name}\n{log}");
        assert!(log.contains(want), "row: {name}\n{log}");
        assert_eq!((came.asked, came.cost.as_str()), (0, "0.00"), "row: {name}");
    }
    // What a file holds is no more than the model reads at once: 1,000,000 tokens.
    let held = came(
        "limits: {cost_usd: 6}",
        &[call(model, file.clone())],
        vec![],
    );
    assert!(held.log.contains("agentguard_cap"), "{}", held.log);
    // Without a limit nothing has to be held back.
    let usage = json!({"input_tokens": 1000, "output_tokens": 100});
    for body in [
        call(model, search),
        call(model, file),
        call(model, json!({"speed": "fast"})),
    ] {
        let came = came("", &[body], vec![answer(model, &usage)]);
        assert_eq!(came.asked, 1, "{}", came.log);
    }
}

#[test]
fn an_hour_in_a_cache_is_held_back() {
    // 20,000 bytes are 10,000 tokens and a little: at 5 minutes 0.0375 USD, for an
    // hour 0.06, and 0.015 for the output, of which a tenth is enough.
    let text = "x".repeat(20_000);
    for (ttl, want) in [("5m", 1), ("1h", 0)] {
        let block = json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": ttl}});
        let body = call(
            "claude-sonnet-4-5",
            json!({"messages": [{"role": "user", "content": [block]}]}),
        );
        let usage = json!({"input_tokens": 1, "output_tokens": 1});
        let came = came(
            "limits: {cost_usd: 0.055}",
            &[body],
            vec![answer("claude-sonnet-4-5", &usage)],
        );
        assert_eq!(came.asked, want, "{ttl}: {}", came.log);
    }
}

#[test]
fn an_error_is_free_unless_the_model_may_have_worked() {
    let error =
        json!({"type": "error", "error": {"type": "api_error", "message": "no"}}).to_string();
    let rows = [
        (400, true),
        (429, true),
        (500, true),
        (503, true),
        (529, true),
        (408, false),
        (499, false),
        (502, false),
        (504, false),
        (524, false),
    ];
    for (status, is_free) in rows {
        let body = call("claude-sonnet-4-5", json!({}));
        let came = came(
            "limits: {cost_usd: 1}\nretry: {attempts: 1}",
            &[body],
            vec![Reply::json(status, &error)],
        );
        assert_eq!(came.asked, 1, "{status}: {}", came.log);
        assert_eq!(came.cost == "0.00", is_free, "{status}: {} USD", came.cost);
    }
}
