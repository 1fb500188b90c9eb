//! `agentguard mcp serve`: the task's guarded tools for an MCP client, over real pipes.

use serde_json::{Value, json};

use crate::support::Sandbox;
use crate::support::mcp_client::{Client, text};

const TASK: &str = r#"
name: served
agent: {command: [none]}
limits: {cost_usd: 2, tool_calls: 12, deadline: 5m}
retry: {base: 10ms, cap: 20ms}
tools:
  greet:
    description: Greets somebody.
    command: [printf, 'hello %s', "{name}"]
    effect: read
    input: {properties: {name: {type: string}}, required: [name]}
  price:
    description: Tells a price.
    command: [printf, '{{"price": 3}}']
    effect: read
    output: {type: object, properties: {price: {type: number}}, required: [price]}
  charge:
    description: Charges somebody.
    command: [sh, -c, 'echo "$0" >> ledger.txt; echo charged', "{who}"]
    effect: irreversible
    key: "charge:{who}"
  slow:
    command: [sh, -c, 'sleep 2; echo slept']
    effect: read
  down:
    description: Is down.
    command: [sh, -c, 'echo "connect: Connection refused" >&2; exit 7']
    effect: read
    retry: {attempts: 1}
    breaker: {failures: 2, cool_down: 1m}
"#;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", TASK);
    sandbox
}

fn serve(sandbox: &Sandbox) -> Client {
    Client::start(&mut sandbox.command(&["mcp", "serve", "--task", "task.yaml"]))
}

fn tool<'a>(list: &'a Value, name: &str) -> &'a Value {
    let tools = list["result"]["tools"].as_array().expect("a list");
    tools
        .iter()
        .find(|tool| tool["name"] == name)
        .expect("a tool of the task")
}

#[test]
fn a_client_gets_the_tools_and_calls_them_under_guard() {
    let sandbox = sandbox();
    let mut client = serve(&sandbox);
    let hello = client.initialize();
    assert_eq!(hello["protocolVersion"], "2025-11-25");
    assert_eq!(hello["serverInfo"]["name"], "agentguard");
    let list = client.ask("tools/list", &json!({}));
    assert_eq!(
        tool(&list, "greet")["inputSchema"]["required"],
        json!(["name"])
    );
    assert_eq!(tool(&list, "greet")["annotations"]["readOnlyHint"], true);
    assert_eq!(
        tool(&list, "charge")["annotations"]["destructiveHint"],
        true
    );
    assert_eq!(
        text(&client.call("greet", &json!({"name": "you"}))),
        "hello you"
    );
    let price = client.call("price", &json!({}));
    assert_eq!(price["structuredContent"], json!({"price": 3}));
    // What does not fit is the model's to correct.
    let wrong = client.call("greet", &json!({"nam": "you"}));
    assert_eq!(wrong["isError"], true);
    assert!(text(&wrong).contains("arguments do not fit"), "{wrong}");
    for _ in 0..2 {
        let charged = client.ask(
            "tools/call",
            &json!({"name": "charge", "arguments": {"who": "u1"},
            "_meta": {"claudecode/toolUseId": "toolu_7"}}),
        );
        assert_eq!(text(&charged["result"]), "charged\n");
    }
    assert_eq!(sandbox.read("ledger.txt"), "u1\n");
    let batch = json!({"tool": "charge", "items": [{"id": "1", "args": {"who": "u1"}}, {"id": "2", "args": {"who": "u2"}}]});
    let batch = client.call("agentguard_batch", &batch);
    assert_eq!(batch["isError"], false, "{batch}");
    assert!(text(&batch).contains("\"succeeded\":2"), "{batch}");
    let unasked = client.call("agentguard_escalate", &json!({}));
    assert!(text(&unasked).contains("question is missing"), "{unasked}");
    let state = client.call("agentguard_state", &json!({}));
    let state: Value = serde_json::from_str(text(&state)).unwrap();
    assert_eq!(state["limits"]["cost_usd"]["left"], 2);
    assert_eq!(client.ask("ping", &json!({}))["result"], json!({}));
    assert_eq!(client.end(), 0);
    assert_eq!(sandbox.report()["status"], "done");
    // The id of the model's call is in the journal.
    let events = sandbox.run(&["show", "latest", "--json"]);
    assert_eq!(events.code, 0);
}

#[test]
fn the_era_without_a_handshake_is_spoken_too() {
    let sandbox = sandbox();
    let mut client = serve(&sandbox);
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    client.say(&json!({"jsonrpc": "2.0", "id": "x", "method": "server/discover", "params": {"_meta": meta}}).to_string());
    let found = client.answer(&json!("x"));
    assert_eq!(found["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(found["result"]["resultType"], "complete");
    let list = client.ask("tools/list", &json!({"_meta": meta}));
    assert_eq!(list["result"]["resultType"], "complete");
    let called = client.ask(
        "tools/call",
        &json!({"name": "greet", "arguments": {"name": "n"}, "_meta": meta}),
    );
    assert_eq!(called["result"]["resultType"], "complete");
    assert_eq!(text(&called["result"]), "hello n");
    let other = json!({"io.modelcontextprotocol/protocolVersion": "2031-01-01"});
    let refused = client.ask("tools/list", &json!({"_meta": other}));
    assert_eq!(refused["error"]["code"], -32022);
    assert_eq!(refused["error"]["data"]["supported"], json!(["2026-07-28"]));
    assert_eq!(client.end(), 0);
}

#[test]
fn a_tool_that_goes_down_is_shown_before_it_is_met() {
    let sandbox = sandbox();
    let mut client = serve(&sandbox);
    client.initialize();
    client.ask("tools/list", &json!({}));
    for _ in 0..2 {
        assert_eq!(client.call("down", &json!({}))["isError"], true);
    }
    let list = client.ask("tools/list", &json!({}));
    let changed = r#""method":"notifications/tools/list_changed""#;
    assert!(
        client.besides.iter().any(|line| line.contains(changed)),
        "{:?}",
        client.besides
    );
    let description = tool(&list, "down")["description"]
        .as_str()
        .unwrap_or_default();
    assert!(
        description.starts_with("[`down` is unavailable"),
        "{description}"
    );
    assert!(
        !tool(&list, "greet")["description"]
            .to_string()
            .contains("unavailable")
    );
    assert_eq!(client.end(), 0);
}

#[test]
fn long_calls_are_told_of_and_do_not_hold_up_others() {
    let sandbox = sandbox();
    let mut client = serve(&sandbox);
    client.initialize();
    client.say(r#"{"jsonrpc":"2.0","id":"s","method":"tools/call","params":{"name":"slow","_meta":{"progressToken":9}}}"#);
    client.say(r#"{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"slow"}}"#);
    client
        .say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c"}}"#);
    assert_eq!(
        text(&client.call("greet", &json!({"name": "first"}))),
        "hello first"
    );
    let told = client.wait("progress", |it| it["method"] == "notifications/progress");
    assert_eq!(told["params"]["progressToken"], 9);
    assert_eq!(text(&client.answer(&json!("s"))["result"]), "slept\n");
    assert_eq!(client.end(), 0);
    assert!(
        !client
            .besides
            .iter()
            .any(|line| line.contains("\"id\":\"c\"")),
        "{:?}",
        client.besides
    );
}

#[test]
fn what_is_wrong_is_said_in_the_protocols_own_codes() {
    let sandbox = sandbox();
    let mut client = serve(&sandbox);
    client.initialize();
    #[rustfmt::skip]
    let rows = [
        ("no JSON", -32700),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nobody"}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{}}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, -32602),
    ];
    for (line, code) in rows {
        client.say(line);
        let answer = client.wait("an error", |it| it.get("error").is_some());
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
    }
    assert_eq!(client.end(), 0);
}

#[test]
fn the_end_of_the_run_is_told_as_a_result() {
    let sandbox = sandbox();
    let mut client = serve(&sandbox);
    client.initialize();
    let mut last = Value::Null;
    for number in 0..13 {
        last = client.call("greet", &json!({"name": format!("n{number}")}));
    }
    assert_eq!(last["isError"], true, "{last}");
    assert!(text(&last).contains("run is being ended"), "{last}");
    assert_eq!(client.end(), i32::from(agentguard::exit_code::BUDGET));
}

#[test]
fn a_tool_without_a_schema_shows_what_its_placeholders_name() {
    let sandbox = sandbox();
    let mut client = serve(&sandbox);
    client.initialize();
    let list = client.ask("tools/list", &json!({}));
    assert_eq!(
        tool(&list, "charge")["inputSchema"],
        json!({"type": "object", "properties": {"who": {}}, "required": ["who"]})
    );
    assert_eq!(
        tool(&list, "slow")["inputSchema"],
        json!({"type": "object"})
    );
    assert_eq!(client.end(), 0);
}
