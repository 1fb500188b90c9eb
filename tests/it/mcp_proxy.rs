//! `agentguard mcp proxy` between a client and a server that are scripted, over real
//! pipes, in both eras of the protocol.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agentguard::drill::point::{Boundary, Point, Side, VARIABLE};
use serde_json::{Value, json};

use crate::support::Sandbox;
use crate::support::mcp_client::{Client, text};

/// The agent is the client's session; what is written here is not started.
const TASK: &str = r#"
name: proxied
agent: {command: [none]}
limits: {tool_calls: 100, deadline: 5m}
retry: {base: 10ms, cap: 20ms}
mcp:
  s:
    tools:
      echo: {effect: read}
      note: {key: "note:{text}"}
      picture: {key: "picture:{n}"}
      flaky: {effect: read, retry: {attempts: 4}}
      down: {effect: read, retry: {attempts: 2}, breaker: {failures: 2, cool_down: 1m}}
      bad: {effect: read}
      slow: {effect: read, timeout: 20s}
      late: {effect: read}
      keyed: {key: "keyed:{what}", native_key: {argument: request_id}}
      roots: {effect: read}
      input: {key: "input:{n}"}
      die: {key: "die:{text}"}
"#;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/mcp")
        .join(name)
}

fn server() -> String {
    fixture("server.py").to_string_lossy().into_owned()
}

fn sandbox(task: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", task);
    sandbox
}

/// Starts the proxy as a client would, in a run of its own.
fn proxy(sandbox: &Sandbox, server_args: &[&str]) -> Client {
    let server = server();
    let mut args = vec![
        "mcp",
        "proxy",
        "--task",
        "task.yaml",
        "--name",
        "s",
        "--",
        "python3",
        &server,
    ];
    args.extend(server_args);
    Client::start(&mut sandbox.command(&args))
}

/// What reached the server, line by line.
fn log(sandbox: &Sandbox) -> Vec<String> {
    sandbox
        .read("server.log")
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn everything_but_calls_passes_byte_for_byte() {
    let sandbox = sandbox(TASK);
    let mut client = proxy(&sandbox, &["--old"]);
    let said = [
        r#"{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
        r#"{ "jsonrpc" : "2.0", "id":1.0 , "method":"initialize","params":{"protocolVersion":"2025-11-25","x":123456789012345678901234567890} }"#,
        r#"{"method":"notifications/initialized","jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"_meta":{"progressToken":"\u0041"}}}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"garbage"}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"nobody/knows","params":[1,2]}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"to":"nobody"}}"#,
    ];
    for line in said {
        client.say(line);
    }
    // An old server knows nothing of the newer era, and says so itself.
    assert_eq!(client.answer(&json!("d"))["error"]["code"], -32601);
    assert_eq!(
        client.answer(&json!(1.0))["result"]["serverInfo"]["name"],
        "scripted"
    );
    assert_eq!(
        client.answer(&json!(2))["result"]["tools"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    client.answer(&json!(3));
    assert_eq!(client.answer(&json!(4))["error"]["code"], -32601);
    let besides = client.besides.join("\n");
    assert!(besides.contains("no JSON"), "{besides}");
    let changed =
        r#"{"jsonrpc": "2.0",  "method":"notifications/tools/list_changed" , "big":1e400}"#;
    assert!(besides.contains(changed), "{besides}");
    assert_eq!(client.end(), 0);
    assert_eq!(log(&sandbox), said);
    assert_eq!(sandbox.report()["status"], "done");
}

#[test]
fn calls_are_guarded_in_both_eras() {
    for (era, version) in [("--old", None), ("--new", Some("2026-07-28"))] {
        let sandbox = sandbox(TASK);
        let mut client = proxy(&sandbox, &[era]);
        let call = |client: &mut Client, name: &str, args: Value| {
            let mut params = json!({"name": name, "arguments": args});
            if let Some(version) = version {
                params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": version});
            }
            client.ask("tools/call", &params)
        };
        if version.is_none() {
            client.initialize();
        }
        let first = call(&mut client, "note", json!({"text": "a"}));
        assert_eq!(text(&first["result"]), "noted a", "{first}");
        // The same again, whatever its id: answered from the record.
        let again = call(&mut client, "note", json!({"text": "a"}));
        assert_eq!(again["result"], first["result"]);
        let picture = call(&mut client, "picture", json!({"n": 1}));
        assert_eq!(picture["result"]["content"][0]["data"], "AAAA");
        assert_eq!(
            call(&mut client, "picture", json!({"n": 1}))["result"],
            picture["result"]
        );
        // A tool that nobody named is a write, whatever the server says of it.
        assert_eq!(
            text(&call(&mut client, "wipe", json!({}))["result"]),
            "wiped"
        );
        assert_eq!(client.end(), 0);
        assert_eq!(
            sandbox.read("ledger.txt"),
            "note a\npicture\nwipe\n",
            "{era}"
        );
        let report = sandbox.report();
        assert_eq!(report["status"], "done", "{report}");
        assert_eq!(report["tool_calls"], 3, "{report}");
    }
}

#[test]
fn what_fails_below_is_retried_and_what_is_down_is_left_alone() {
    let sandbox = sandbox(TASK);
    let mut client = proxy(&sandbox, &[]);
    client.initialize();
    assert_eq!(
        text(&client.call("flaky", &json!({"text": "x"}))),
        "there after 3"
    );
    // An error of the arguments is the model's, and comes as it is.
    let bad = client.call("bad", &json!({"text": "Atlantis"}));
    assert_eq!(
        (text(&bad), &bad["isError"]),
        ("no such city: Atlantis", &json!(true))
    );
    let unknown = client.ask("tools/call", &json!({"name": "nope"}));
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    let down = client.call("down", &json!({}));
    assert_eq!(down["isError"], true);
    assert!(text(&down).contains("not working at the moment"), "{down}");
    client.call("down", &json!({"n": 2}));
    let refused = client.call("down", &json!({"n": 3}));
    assert!(text(&refused).contains("is unavailable"), "{refused}");
    let tries = sandbox
        .read("ledger.txt")
        .lines()
        .filter(|line| *line == "down")
        .count();
    assert!(tries <= 4, "{tries}");
    // Its neighbour is well.
    assert_eq!(text(&client.call("echo", &json!({"text": "up"}))), "up");
    assert_eq!(client.end(), 0);
}

#[test]
fn both_sides_ask_each_other_under_the_same_ids() {
    let sandbox = sandbox(TASK);
    let mut client = proxy(&sandbox, &[]);
    client.initialize();
    client.say(r#"{"jsonrpc":"2.0","id":0,"method":"tools/call","params":{"name":"roots"}}"#);
    let asked = client.wait("a question of the server", |it| {
        it["method"] == "roots/list"
    });
    assert_eq!(asked["id"], 0);
    client.say(r#"{"jsonrpc":"2.0","id":0,"result":{"roots":[{"uri":"file:///r"}]}}"#);
    let answer = client.answer(&json!(0));
    assert!(text(&answer["result"]).contains("file:///r"), "{answer}");
    assert_eq!(client.end(), 0);
}

#[test]
fn progress_and_cancellation_pass() {
    let sandbox = sandbox(TASK);
    let mut client = proxy(&sandbox, &[]);
    client.initialize();
    client.say(r#"{"jsonrpc":"2.0","id":"s","method":"tools/call","params":{"name":"slow","arguments":{"s":30},"_meta":{"progressToken":"p"}}}"#);
    let told = client.wait("progress", |it| it["method"] == "notifications/progress");
    assert_eq!(told["params"]["progressToken"], "p");
    // Others are answered meanwhile.
    assert_eq!(
        text(&client.call("echo", &json!({"text": "meanwhile"}))),
        "meanwhile"
    );
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"s","reason":"r"}}"#;
    client.say(cancel);
    assert_eq!(
        text(&client.call("echo", &json!({"text": "after"}))),
        "after"
    );
    assert_eq!(client.end(), 0);
    assert!(log(&sandbox).contains(&cancel.to_owned()));
    let answered = client
        .besides
        .iter()
        .any(|line| line.contains("\"id\":\"s\"") && line.contains("result"));
    assert!(!answered, "{:?}", client.besides);
    assert_eq!(sandbox.report()["status"], "done");
}

#[test]
fn a_call_that_takes_too_long_is_cancelled_and_told() {
    let sandbox = sandbox(&TASK.replace("timeout: 20s", "timeout: 300ms, retry: {attempts: 1}"));
    let mut client = proxy(&sandbox, &[]);
    client.initialize();
    let late = client.call("slow", &json!({"s": 20}));
    assert!(text(&late).contains("timed out after 300 ms"), "{late}");
    assert_eq!(client.end(), 0);
    let is_told = |line: &String| line.contains("notifications/cancelled");
    assert!(log(&sandbox).iter().any(is_told));
}

#[test]
fn a_server_that_takes_a_key_gets_it() {
    let sandbox = sandbox(TASK);
    let mut client = proxy(&sandbox, &[]);
    client.initialize();
    let done = client.call(
        "keyed",
        &json!({"what": "w", "request_id": "the model's own"}),
    );
    assert!(text(&done).ends_with("/s/keyed/keyed:w"), "{done}");
    assert_eq!(client.end(), 0);
}

#[test]
fn a_result_that_asks_for_more_is_no_result_yet() {
    let sandbox = sandbox(TASK);
    let mut client = proxy(&sandbox, &[]);
    client.initialize();
    for _ in 0..2 {
        let answer = client.ask(
            "tools/call",
            &json!({"name": "input", "arguments": {"n": 1}}),
        );
        assert_eq!(answer["result"]["resultType"], "input_required", "{answer}");
    }
    client.end();
    let calls = log(&sandbox)
        .iter()
        .filter(|line| line.contains("tools/call"))
        .count();
    assert_eq!(calls, 2, "the second call went out as well");
}

#[test]
fn a_guard_is_not_walked_around() {
    let sandbox = sandbox(TASK);
    let mut client = proxy(&sandbox, &[]);
    client.initialize();
    let call = r#""method":"tools/call","params":{"name":"note","arguments":{"text":"unseen"}}"#;
    #[rustfmt::skip]
    let rows = [
        (format!("[{{\"jsonrpc\":\"2.0\",\"id\":1,{call}}}]"), -32600),
        (format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",{call}}}"), -32600),
        (format!("{{\"jsonrpc\":\"2.0\",{call}}}"), -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"name\":\"note\"}}".to_owned(), -32602),
        (format!("{{\"jsonrpc\":\"2.0\",\"id\":1,{call}"), -32700),
        (format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"a\":{}{}}}}}", "[".repeat(9), "}"), -32700),
    ];
    for (line, code) in rows {
        client.say(&line);
        let answer = client.wait("a refusal", |it| it.get("error").is_some());
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
    }
    // A carriage return ends a line for some readers: it does not reach them.
    client.say(&format!("{{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\",\"params\":\r{{\"jsonrpc\":\"2.0\",\"id\":3,{call}}}\r}}"));
    client.answer(&json!(2));
    assert_eq!(client.end(), 0);
    assert_eq!(sandbox.read("ledger.txt"), "");
    assert!(!sandbox.read("server.log").contains('\r'));
}

#[test]
fn a_server_that_dies_ends_the_proxy_alike_and_leaves_a_write_in_doubt() {
    let sandbox = sandbox(TASK);
    let mut client = proxy(&sandbox, &[]);
    client.initialize();
    client.say(r#"{"jsonrpc":"2.0","id":"d","method":"tools/call","params":{"name":"die","arguments":{"text":"x"}}}"#);
    let answer = client.answer(&json!("d"));
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert!(
        text(&answer["result"]).contains("run is being ended"),
        "{answer}"
    );
    assert_eq!(client.end(), i32::from(agentguard::exit_code::IN_DOUBT));
    assert_eq!(sandbox.read("ledger.txt"), "die x\n");
    // A human settles it, as for any tool.
    let settled = sandbox.run(&["settle", "latest", "1", "--happened"]);
    assert_eq!(settled.code, 0, "{settled:?}");
}

#[test]
fn outside_of_a_run_the_fix_is_said() {
    let sandbox = sandbox(TASK);
    for args in [&["mcp", "proxy", "--", "true"][..], &["mcp", "serve"]] {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, i32::from(agentguard::exit_code::USAGE), "{ran:?}");
        assert!(
            ran.stderr.contains("not inside a run") && ran.stderr.contains("--task"),
            "{ran:?}"
        );
        assert_eq!(ran.stdout, "");
    }
    let ran = sandbox.run(&[
        "mcp",
        "proxy",
        "--task",
        "task.yaml",
        "--",
        "no-such-server",
    ]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.contains("`no-such-server` does not start"),
        "{ran:?}"
    );
}

/// The agent is a program that speaks MCP; the supervisor is killed at every point
/// around its calls, and the run resumed.
#[test]
fn killed_at_every_point_each_effect_happens_once() {
    let task = json!({
        "name": "killed",
        "agent": {
            "command": ["python3", fixture("loop.py"), "3", "agentguard", "mcp", "proxy", "--name", "s", "--", "python3", server()],
            "protocol": "socket", "grace": "1s",
        },
        "limits": {"deadline": "5m"},
        "mcp": {"s": {"tools": {"note": {
            "key": "note:{text}",
            "probe": {"command": ["grep", "-qx", "note {text}", "ledger.txt"]},
        }}}},
    });
    let points = [Boundary::ToolCalled, Boundary::ToolEnded]
        .into_iter()
        .flat_map(|boundary| {
            Side::ALL
                .into_iter()
                .flat_map(move |side| [1, 3].map(|nth| format!("{}:{nth}", Point(boundary, side))))
        });
    for point in points {
        let sandbox = sandbox(&task.to_string());
        // What the probe looks at is there before the first call.
        sandbox.write("ledger.txt", "");
        let first = sandbox.run_with((VARIABLE, &point), &["run", "task.yaml"]);
        assert_eq!(first.code, 137, "{point}: {first:?}");
        let second = sandbox.run(&["resume", "latest"]);
        assert_eq!(second.code, 0, "{point}: {second:?}");
        let mut ledger = BTreeMap::<String, u32>::new();
        for line in sandbox.read("ledger.txt").lines() {
            *ledger.entry(line.to_owned()).or_default() += 1;
        }
        let want = ["note n1", "note n2", "note n3"].map(|line| (line.to_owned(), 1));
        assert_eq!(ledger, BTreeMap::from(want), "{point}");
        assert_eq!(sandbox.report()["status"], "done", "{point}");
    }
}

#[test]
fn a_server_that_the_task_does_not_name_is_warned_of() {
    let sandbox = sandbox(TASK);
    let server = server();
    let args = [
        "mcp",
        "proxy",
        "--task",
        "task.yaml",
        "--name",
        "t",
        "--",
        "python3",
        &server,
    ];
    let ran = sandbox.run(&args);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("it names: s"), "{ran:?}");
}

#[test]
fn calls_of_a_server_are_undone_and_a_session_that_was_cut_off_is_not_called_edited() {
    let task = "name: p\nagent: {command: [none]}\nmcp: {s: {tools: {note: {key: 'note:{text}', \
                undo: {command: [sh, -c, 'echo \"$0\" >> undone.txt', '{text}']}}}}}\n";
    let sandbox = sandbox(task);
    let mut client = proxy(&sandbox, &[]);
    client.initialize();
    client.call("note", &json!({"text": "a"}));
    client.call("note", &json!({"text": "b"}));
    client.child.kill().expect("it runs");
    client.end();
    let resumed = sandbox.run(&["resume", "latest"]);
    assert!(!resumed.stderr.contains("was edited"), "{resumed:?}");
    let undone = sandbox.run(&["rollback", "latest", "--yes"]);
    assert_eq!(undone.code, 0, "{undone:?}");
    assert_eq!(sandbox.read("undone.txt"), "b\na\n");
}
