//! The format, the turns, the words of each API, and faults over real HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::wire::{Api, Call, Framing, Reader, Reply, Stop, reply, request, sse};
use super::file::{self, Script, Usage};
use super::plan::{self, Choice};
use super::render::{self, Answer};
use super::{Model, parse};

const ALL: [Api; 4] = [Api::Messages, Api::Chat, Api::Responses, Api::Gemini];

fn script(text: &str) -> Script {
    parse(text, "s.yaml").unwrap()
}

fn fixture(name: &str) -> Script {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/model");
    let text = std::fs::read_to_string(root.join(name)).unwrap();
    parse(&text, name).unwrap()
}

// The format.

#[test]
fn mistakes_table() {
    #[rustfmt::skip]
    let rows = [
        ("an unknown key",             "turns: [{sya: hi}]",
         "s.yaml:1:10: turns[0] has the unknown key `sya`, expected one of `say`, `shell`, `call`, `calls`, `expect`, `usage`, `pace`, `stop`, `repeat`, `faults`", "write `say`"),
        ("an unknown key of a call",   "turns: [{call: {tool: a, arg: {a: 1}}}]",
         "s.yaml:1:26: turns[0].call has the unknown key `arg`, expected `tool` or `args`", "write `args`"),
        ("no turns",                   "usage: {input: 1}",
         "s.yaml: turns is empty, expected at least one turn", ""),
        ("nothing at all",             "",
         "s.yaml: turns is empty, expected at least one turn", ""),
        ("a list",                     "- say: hi",
         "s.yaml:1:1: the script is a list, expected a mapping with `turns`", ""),
        ("a turn that is a word",      "turns: [done]",
         "s.yaml:1:9: turns[0] is string \"done\", expected a turn such as `{say: done}`", ""),
        ("a call without a tool",      "turns: [{call: {args: {a: 1}}}]",
         "s.yaml:1:16: turns[0].call lacks the key `tool`", ""),
        ("arguments that are a list",  "turns: [{call: {tool: a, args: [1]}}]",
         "s.yaml:1:16: turns[0].call holds something else, expected arguments such as `{path: a}`, or text", ""),
        ("a command that is a number", "turns: [{shell: 5}]",
         "s.yaml:1:9: turns[0] holds something else, expected a command, or a list of them", ""),
        ("a time without a unit",      "pace: 5\nturns: [{say: a}]",
         "s.yaml:1:7: pace is `5`, expected a duration up to `24h`, such as `5ms`, `20s` or `1m30s`", "write the unit too: `20s`"),
        ("a time that is too long",    "pace: 25h\nturns: [{say: a}]",
         "s.yaml:1:7: pace is `25h`, expected a duration up to `24h`, such as `5ms`, `20s` or `1m30s`", "write the unit too: `20s`"),
        ("a negative count",           "usage: {input: -1}\nturns: [{say: a}]",
         "s.yaml:1:16: usage.input is integer `-1`, expected a whole number", ""),
        ("a negative price",           "price: {input: -1.5, output: 1}\nturns: [{say: a}]",
         "s.yaml:1:16: price.input is `-1.5`, expected USD for a million tokens, such as `0.25`", ""),
        ("a turn that says nothing",   "turns:\n  - say: hi\n  - pace: 1s",
         "s.yaml: turns[1] says nothing, expected `say`, `shell`, `call` or `calls`", ""),
        ("a side without conditions",  "turns: [{say: a}]\nsides: [{say: b}]",
         "s.yaml:2:9: sides[0] lacks the key `when`", ""),
        ("repeated no times",          "turns: [{say: a, repeat: 0}]",
         "s.yaml:1:26: turns[0].repeat is `0`, expected a number from 1, or `forever`", ""),
        ("an unknown ending",          "turns: [{say: a}]\notherwise: refused",
         "s.yaml:2:12: otherwise is `refused`, expected `repeat_last` or `refuse`", "write `refuse`"),
        ("a status that is no error",  "turns: [{say: a, faults: [{status: 200}]}]",
         "s.yaml:1:27: turns[0].faults[0] has the status 200, expected an HTTP status from 400 to 599", ""),
        ("an unknown word",            "turns: [{say: a}]\nfaults: [rest]",
         "s.yaml:2:10: faults[0] is string \"rest\", expected a fault such as `{status: 529}`, or `reset`, `garbage`, `empty`", ""),
        ("two faults in one",          "turns: [{say: a}]\nfaults: [{cut: 1, end: 1}]",
         "s.yaml:2:10: faults[0] names no fault, or two, expected one of `status`, `reset`, `cut`, `end`, `silence`, `slow`, `garbage`, `error`, `empty`", "write `{status: 529}`"),
        ("a key of another fault",     "turns: [{say: a}]\nfaults: [{cut: 1, retry_after: 1s}]",
         "s.yaml:2:10: faults[0] has a key that its fault does not use", "`retry_after` belongs to `status`"),
        ("a key given twice",          "turns: [{say: a, say: b}]",
         "s.yaml:1:9: turns[0] gives twice the field `say`", ""),
        ("no YAML",                    "turns: [",
         "s.yaml:2:1: the script is not valid YAML: did not find expected node content", ""),
    ];
    for (name, text, want, want_hint) in rows {
        let error = parse(text, "s.yaml").unwrap_err();
        assert_eq!(error.to_string(), want, "row: {name}");
        assert_eq!(error.hint().unwrap_or_default(), want_hint, "row: {name}");
    }
}

#[test]
fn a_small_text_may_not_grow() {
    let items = vec!["x"; 1000].join(", ");
    let refs = vec!["*a"; 300].join(", ");
    let error = parse(&format!("a: &a [{items}]\nb: [{refs}]"), "bomb.yaml").unwrap_err();
    assert!(error.what.contains("more than 200000 values"), "{error}");
    let levels = (1..9).map(|level| {
        let refs = vec![format!("*a{}", level - 1); 8].join(", ");
        format!("a{level}: &a{level} [{refs}]\n")
    });
    let bomb = format!("a0: &a0 [x]\n{}", levels.collect::<String>());
    let error = parse(&bomb, "bomb.yaml").unwrap_err();
    assert!(error.what.contains("repeats its aliases"), "{error}");
    let deep = format!("turns: {}{}", "[".repeat(999), "]".repeat(999));
    let error = parse(&deep, "deep.yaml").unwrap_err().to_string();
    assert!(error.contains("recursion limit"), "{error}");
    let long = " ".repeat(file::BYTES_MAX + 1);
    let error = parse(&long, "long.yaml").unwrap_err().to_string();
    assert_eq!(
        error,
        "long.yaml: the script has 4194305 bytes, expected at most 4194304"
    );
}

#[test]
fn json_is_a_script_too() {
    let text =
        r#"{"turns": [{"say": "a", "calls": [{"tool": "t", "args": {"n": 1}}, {"tool": "u"}]}]}"#;
    assert_eq!(script(text).turns[0].calls.len(), 2);
}

#[test]
fn every_fixture_is_valid() {
    for name in [
        "hello.yaml",
        "faults.yaml",
        "broken.yaml",
        "loop.yaml",
        "fix-tests.yaml",
    ] {
        fixture(name);
    }
}

// Which turn, which tool.

fn number(body: &Value, api: Api) -> u64 {
    let script = script("turns: [{say: hm, repeat: forever}]");
    let body = body.to_string();
    match plan::choose(&script, &request::read(api, body.as_bytes()).unwrap()) {
        Choice::Turn { number, .. } => number,
        other => panic!("{other:?}"),
    }
}

#[test]
fn turns_are_counted_in_the_history() {
    let user = json!({"role": "user", "content": "go"});
    let said = json!({"role": "assistant", "content": "hm"});
    let called = |id: &str| json!({"role": "assistant", "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "ok"});
    let system = json!({"role": "system", "content": "by the way"});
    let item = |kind: &str, id: &str| json!({"type": kind, "call_id": id, "name": "f", "arguments": "{}", "output": "ok"});
    let chat = |messages: Vec<&Value>| (Api::Chat, json!({"messages": messages}));
    let responses = |items: Vec<Value>| (Api::Responses, json!({"input": items}));
    #[rustfmt::skip]
    let rows = [
        ("the beginning",                        chat(vec![&user]), 1),
        ("no history at all",                    chat(vec![]), 1),
        ("after an answer",                      chat(vec![&user, &said, &user]), 2),
        ("more text of the user is no turn",     chat(vec![&user, &said, &user, &user]), 2),
        ("two messages of one answer",           chat(vec![&user, &said, &system, &said, &user]), 2),
        ("words put into its mouth",             chat(vec![&user, &json!({"role": "assistant", "content": "Got it!"}), &user]), 1),
        ("an empty answer is none",              chat(vec![&user, &json!({"role": "assistant", "content": ""}), &user]), 1),
        ("foreign ids count one by one",         chat(vec![&user, &called("x"), &result("x"), &called("y"), &result("y")]), 3),
        ("our ids say their number",             chat(vec![&user, &called("call_script_7_0"), &result("call_script_7_0")]), 8),
        ("one turn with results between",        chat(vec![&user, &called("call_script_1_0"), &result("x"), &called("call_script_1_1"), &result("y")]), 2),
        ("ids of an older conversation",         chat(vec![&user, &said, &user, &said, &user, &called("call_script_1_0"), &result("x")]), 4),
        ("items of one answer",                  responses(vec![user.clone(), json!({"type": "reasoning", "summary": []}), said.clone(), item("function_call", "a"), item("function_call", "b"), item("function_call_output", "a"), item("function_call_output", "b")]), 2),
        ("a bare text",                          (Api::Responses, json!({"input": "go"})), 1),
        ("behind a response of ours",            (Api::Responses, json!({"input": [item("function_call_output", "a")], "previous_response_id": "resp_script_4"})), 5),
        ("Messages",                             (Api::Messages, json!({"messages": [user, {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}, {"type": "text", "text": "steer"}]}]})), 2),
        ("Gemini",                               (Api::Gemini, json!({"contents": [{"role": "user", "parts": [{"text": "go"}]}, {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}, {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}]})), 2),
    ];
    for (name, (api, body), want) in rows {
        assert_eq!(number(&body, api), want, "row: {name}");
    }
}

#[test]
fn after_the_last_turn() {
    let ask = |script: &Script, turns: usize| {
        let said = json!({"role": "assistant", "content": "a"});
        let user = json!({"role": "user", "content": "x"});
        let messages = [said, user].into_iter().cycle().take(turns * 2);
        let body = json!({"messages": messages.collect::<Vec<_>>()}).to_string();
        let asked = request::read(Api::Chat, body.as_bytes()).unwrap();
        match plan::choose(script, &asked) {
            Choice::Turn { place, .. } => place.to_string(),
            Choice::Refused { why, .. } => why,
            other => panic!("{other:?}"),
        }
    };
    let text = "turns: [{say: a, repeat: 2}, {say: b}]";
    let places: Vec<String> = (0..5).map(|turns| ask(&script(text), turns)).collect();
    assert_eq!(places, ["0", "0", "1", "1", "1"]);
    let strict = script(&format!("{text}\notherwise: refuse"));
    let why = "the script has 3 turns, and was asked for turn 4";
    assert_eq!(ask(&strict, 3), why);
    let unknown = json!({"input": "x", "previous_response_id": "resp_other"}).to_string();
    let asked = request::read(Api::Responses, unknown.as_bytes()).unwrap();
    assert!(matches!(
        plan::choose(&strict, &asked),
        Choice::Refused { .. }
    ));
}

#[test]
fn sides_and_expectations() {
    let script = script(
        "sides:\n  - {when: {tools: none, contains: TITLE}, say: t}\n  - {when: {model: Haiku}, say: m}\n\
         turns:\n  - {say: a, shell: ls}\n  - {say: b, expect: PASS}",
    );
    let tool = json!([{"name": "bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}]);
    let ask = |body: Value| {
        let body = body.to_string();
        let asked = request::read(Api::Messages, body.as_bytes()).unwrap();
        match plan::choose(&script, &asked) {
            Choice::Turn { number, .. } => format!("turn {number}"),
            Choice::Side { place, .. } => format!("side {place}"),
            Choice::Schema(value) => value.to_string(),
            Choice::Refused { why, .. } => why,
        }
    };
    let go = json!([{"role": "user", "content": "give it a title"}]);
    let done = |result: &str| {
        json!([{"role": "user", "content": "go"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "bash", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": result}]}])
    };
    let schema = json!({"format": {"type": "json_schema", "schema": {"type": "object", "required": ["title", "kind"], "properties": {"title": {"type": "string"}, "kind": {"enum": ["x", "y"]}}}}});
    #[rustfmt::skip]
    let rows = [
        ("a title",                     json!({"messages": go}), "side 0"),
        ("with tools it is the task",   json!({"messages": go, "tools": tool}), "turn 1"),
        ("words of the system prompt",  json!({"system": "Make a Title.", "messages": done("x")}), "side 0"),
        ("a small model",               json!({"model": "claude-haiku-9", "messages": done("x")}), "side 1"),
        ("JSON of a schema",            json!({"messages": done("x"), "output_config": schema}), r#"{"kind":"x","title":"scripted"}"#),
        ("the result that is expected", json!({"messages": done("3 PASSED")}), "turn 2"),
        ("another result",              json!({"messages": done("FAIL")}), r#"turn 2 expects "PASS" in the last tool results"#),
    ];
    for (name, body, want) in rows {
        assert_eq!(ask(body), want, "row: {name}");
    }
}

#[test]
fn a_command_finds_its_tool() {
    let script = script("turns: [{say: go, shell: ls}]");
    let fit = |api: Api, tools: Value, body_says: &str| {
        let body = json!({"tools": tools, "metadata": body_says}).to_string();
        let asked = request::read(api, body.as_bytes()).unwrap();
        let (text, calls) = plan::fit(&script, &script.turns[0], 3, &asked, body.as_bytes());
        match calls.as_slice() {
            [] => text,
            [call] => format!("{} {} {}", call.id, call.name, call.arguments),
            more => panic!("{more:?}"),
        }
    };
    let tool = |name: &str, properties: Value, required: &[&str]| {
        json!({"type": "function", "name": name, "parameters":
               {"type": "object", "properties": properties, "required": required}})
    };
    let text = json!({"type": "string"});
    let list = json!({"type": "array", "items": text});
    let edit = tool(
        "file_editor",
        json!({"command": {"type": "string", "enum": ["view"]}, "path": text}),
        &["command"],
    );
    let gemini = json!([{"functionDeclarations": [{"name": "run_shell_command", "parameters":
        {"type": "OBJECT", "properties": {"command": {"type": "STRING"}}, "required": ["command"]}}]}]);
    #[rustfmt::skip]
    let rows = [
        ("a text",                     Api::Responses, json!([edit, tool("bash", json!({"command": text}), &["command"])]), "", r#"call_script_3_0 bash {"command":"ls"}"#),
        ("the one that is named so",   Api::Responses, json!([tool("note", json!({"code": text}), &[]), tool("exec_command", json!({"cmd": text}), &[])]), "", r#"call_script_3_0 exec_command {"cmd":"ls"}"#),
        ("a list of words",            Api::Responses, json!([tool("shell", json!({"command": list}), &[])]), "", r#"call_script_3_0 shell {"command":["bash","-lc","ls"]}"#),
        ("a list of commands",         Api::Responses, json!([tool("run_commands", json!({"commands": list}), &[])]), "", r#"call_script_3_0 run_commands {"commands":["ls"]}"#),
        ("what else it wants",         Api::Responses, json!([tool("terminal", json!({"command": text, "risk": {"enum": ["LOW"]}, "quiet": {"type": "boolean"}, "workdir": text, "why": {"type": ["null", "string"]}}), &["command", "risk", "quiet", "workdir", "why"])]), "", r#"call_script_3_0 terminal {"command":"ls","quiet":false,"risk":"LOW","why":"scripted","workdir":"."}"#),
        ("the provider's own shell",   Api::Messages, json!([{"type": "bash_20250124", "name": "bash"}]), "", r#"toolu_script_3_0 bash {"command":"ls"}"#),
        ("free text",                  Api::Responses, json!([{"type": "custom", "name": "apply_patch"}, {"type": "custom", "name": "shell"}]), "", "call_script_3_0 shell ls"),
        ("a program",                  Api::Responses, json!([{"type": "custom", "name": "exec"}]), "send JavaScript", r#"call_script_3_0 exec text(JSON.stringify(await tools.exec_command({"cmd":"ls"})));"#),
        ("inside a namespace",         Api::Responses, json!([{"type": "namespace", "name": "functions", "tools": [tool("shell", json!({"command": text}), &[])]}]), "", r#"call_script_3_0 shell {"command":"ls"}"#),
        ("Gemini has no ids",          Api::Gemini, gemini, "", r#" run_shell_command {"command":"ls"}"#),
        ("a verb is no command",       Api::Responses, json!([edit]), "", "go\n\n```bash\nls\n```"),
        ("no tools",                   Api::Responses, json!([]), "", "go\n\n```bash\nls\n```"),
    ];
    for (name, api, tools, says, want) in rows {
        assert_eq!(fit(api, tools, says), want, "row: {name}");
    }
}

#[test]
fn a_tool_is_found_behind_the_name_of_its_server() {
    let script = script("turns: [{calls: [{tool: search, args: {q: 1}}, {tool: gone}]}]");
    let body =
        r#"{"tools": [{"name": "research"}, {"name": "mcp__notes__search"}], "messages": []}"#;
    let asked = request::read(Api::Messages, body.as_bytes()).unwrap();
    let (_, calls) = plan::fit(&script, &script.turns[0], 1, &asked, body.as_bytes());
    let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
    assert_eq!(names, ["mcp__notes__search", "gone"]);
}

// The words of each API.

fn sample(api: Api) -> Answer {
    let call = |index: usize, arguments: &str, is_free_text: bool| Call {
        id: match api {
            Api::Gemini => String::new(),
            _ => format!("call_script_3_{index}"),
        },
        name: format!("tool_{index}"),
        arguments: arguments.to_owned(),
        is_free_text,
    };
    let mut calls = vec![
        call(
            0,
            r#"{"command":"printf 'grüße, 世界' > hello.txt"}"#,
            false,
        ),
        call(1, "{}", false),
    ];
    if matches!(api, Api::Chat | Api::Responses) {
        calls.push(call(2, "*** Begin Patch\n\"no JSON\"", true));
    }
    Answer {
        api,
        model: "m".to_owned(),
        label: "3".to_owned(),
        text: "Ich schreibe 🙂 die Datei, in mehr als einem Stück, mit Umlauten: äöü.".to_owned(),
        calls,
        usage: Usage {
            input: 70,
            output: 9,
            cache_read: 20,
            cache_write: if api == Api::Gemini { 0 } else { 5 },
        },
        stop: file::Stop::End,
        shows_usage: true,
    }
}

fn read_back(api: Api, framing: Framing, frames: &[String]) -> Reply {
    if framing != Framing::Events {
        return reply::whole(api, framing, frames.concat().as_bytes()).unwrap();
    }
    let (mut bytes, mut reader) = (sse::Reader::default(), Reader::new(api));
    for frame in frames {
        bytes.feed(frame.as_bytes());
        let read = bytes.next_frame().unwrap().unwrap();
        assert_eq!(read.raw, frame.as_bytes(), "one frame at a time");
        reader.take(&read);
    }
    reader.finish()
}

fn framings(api: Api) -> Vec<Framing> {
    let list = (api == Api::Gemini).then_some(Framing::List);
    [Framing::Whole, Framing::Events]
        .into_iter()
        .chain(list)
        .collect()
}

#[test]
fn answers_read_back_as_they_were_meant() {
    for api in ALL {
        let mut hashes = Vec::new();
        for framing in framings(api) {
            let answer = sample(api);
            let reply = read_back(api, framing, &render::frames(&answer, framing));
            let row = format!("{api:?} {framing:?}");
            assert_eq!(reply.text, answer.text, "{row}");
            assert_eq!(reply.calls, answer.calls, "{row}");
            assert_eq!(reply.model.as_deref(), Some("m"), "{row}");
            assert_eq!(reply.stop, Some(Stop::ToolUse), "{row}");
            assert!(reply.is_terminal && reply.is_usage_final, "{row}");
            assert_eq!((reply.error, reply.others), (None, 0), "{row}");
            let used = reply.usage.unwrap();
            let want = answer.usage;
            let cache = [used.cache_read, used.cache_write_5m, used.cache_write_1h];
            assert_eq!(cache, [want.cache_read, want.cache_write, 0], "{row}");
            assert_eq!((used.input, used.output), (70, 9), "{row}");
            hashes.push(reply.hashes);
        }
        assert!(hashes.iter().all(|other| *other == hashes[0]), "{api:?}");
    }
}

#[test]
fn answers_stop_as_they_were_meant() {
    for api in ALL {
        for framing in framings(api) {
            for (stop, want) in [
                (file::Stop::End, "End"),
                (file::Stop::Length, "Length"),
                (file::Stop::Refusal, "Refusal"),
            ] {
                let mut answer = sample(api);
                answer.calls.clear();
                answer.stop = stop;
                let reply = read_back(api, framing, &render::frames(&answer, framing));
                let found = format!("{:?}", reply.stop.unwrap());
                assert!(found.starts_with(want), "{api:?} {framing:?}: {found}");
                assert!(reply.is_terminal);
            }
        }
    }
}

#[test]
fn a_stream_without_its_end_is_not_terminal() {
    for api in ALL {
        let answer = sample(api);
        let frames = render::frames(&answer, Framing::Events);
        for sent in 0..frames.len() {
            let reply = read_back(api, Framing::Events, &frames[..sent]);
            assert!(!reply.is_terminal, "{api:?} after {sent}");
            let mut failed = frames[..sent].to_vec();
            failed.push(render::error_frame(&answer, 529, None, sent));
            let reply = read_back(api, Framing::Events, &failed);
            let status = reply.error.and_then(|error| error.status);
            assert!(
                matches!(status, Some(500 | 529)),
                "{api:?} after {sent}: {status:?}"
            );
        }
    }
}

#[test]
fn an_empty_answer_ends_and_says_nothing() {
    for api in ALL {
        for framing in framings(api) {
            let mut answer = sample(api);
            answer.calls.clear();
            answer.text.clear();
            let reply = read_back(api, framing, &render::frames(&answer, framing));
            assert!(reply.text.is_empty() && reply.calls.is_empty(), "{api:?}");
            assert!(reply.is_terminal, "{api:?} {framing:?}");
        }
    }
}

#[test]
fn the_same_turn_is_the_same_bytes() {
    for api in ALL {
        for framing in framings(api) {
            let twice = [(); 2].map(|()| render::frames(&sample(api), framing));
            assert_eq!(twice[0], twice[1]);
        }
    }
}

#[test]
fn responses_are_numbered_and_chat_shows_usage_when_asked() {
    let events = render::frames(&sample(Api::Responses), Framing::Events);
    for (number, event) in events.iter().enumerate() {
        let data = event.split_once("data: ").unwrap().1;
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["sequence_number"], number);
    }
    let mut answer = sample(Api::Chat);
    answer.shows_usage = false;
    let quiet = render::frames(&answer, Framing::Events).concat();
    assert!(!quiet.contains("usage"));
}

#[test]
fn wrong_arguments_stay_wrong() {
    for api in ALL {
        let mut answer = sample(api);
        answer.calls.truncate(1);
        answer.calls[0].arguments = r#"{"path": "#.to_owned();
        let framing = Framing::Events;
        let reply = read_back(api, framing, &render::frames(&answer, framing));
        assert!(!reply.calls[0].is_whole(), "{api:?}");
    }
}

// Over HTTP.

async fn open(text: &str) -> Model {
    Model::open(script(text), None, None).await.unwrap()
}

/// What a client saw: status, head, body, and whether the connection was reset.
struct Heard {
    status: u16,
    head: String,
    body: String,
    was_reset: bool,
}

async fn send(address: SocketAddr, head: &str, body: &str) -> Heard {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes));
    let was_reset = read.await.unwrap().is_err();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let is_chunked = head.contains("transfer-encoding: chunked");
    Heard {
        status: status.unwrap_or(0),
        head: head.to_owned(),
        body: if is_chunked {
            unchunk(body)
        } else {
            body.to_owned()
        },
        was_reset,
    }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        let Some(piece) = tail.get(..size) else { break };
        body.push_str(piece);
        rest = tail[size..].trim_start_matches("\r\n");
    }
    body
}

const STREAMED: &str = r#"{"model": "m", "stream": true, "max_tokens": 900, "messages": [{"role": "user", "content": "go"}]}"#;
const PLAIN: &str =
    r#"{"model": "m", "max_tokens": 900, "messages": [{"role": "user", "content": "go"}]}"#;

async fn ask(model: &Model, body: &str) -> Heard {
    send(model.address(), "POST /v1/messages", body).await
}

async fn ledger(model: &Model) -> Value {
    let heard = send(model.address(), "GET /_script/ledger", "").await;
    serde_json::from_str(&heard.body).unwrap()
}

fn frames_in(body: &str) -> usize {
    body.matches("\n\n").count()
}

#[tokio::test]
async fn faults_of_a_stream_table() {
    #[rustfmt::skip]
    let rows = [
        ("a status, with what it says",       "{status: 429, retry_after: 1500ms, headers: {x-note: hi}}", 429, false, 0, 0),
        ("a reset before a byte",             "reset", 0, true, 0, 0),
        ("a cut after two frames",            "{cut: 2}", 200, true, 2, 1),
        ("a cut leaves out the end at least", "{cut: 99}", 200, true, 6, 1),
        ("a neat end after three",            "{end: 3}", 200, false, 3, 1),
        ("a silence, then a reset",           "{silence: 50ms}", 0, true, 0, 0),
        ("a silence in the middle",           "{silence: 50ms, after: 2}", 200, true, 2, 1),
        ("garbage",                           "garbage", 200, false, 0, 0),
        ("an error in the stream",            "{error: 529, after: 2}", 200, false, 3, 0),
        ("an empty answer",                   "empty", 200, false, 3, 1),
        ("a slow answer is one",              "{slow: 50ms}", 200, false, 7, 1),
        ("slow in the middle",                "{slow: 50ms, after: 3}", 200, false, 7, 1),
        ("a cut that is not billed",          "{cut: 2, billed: false}", 200, true, 2, 0),
    ];
    for (name, fault, status, was_reset, frames, billed) in rows {
        let text = format!(
            "usage: {{input: 10, output: 5}}\nturns: [{{say: a few words, faults: [{fault}]}}]"
        );
        let model = open(&text).await;
        let heard = ask(&model, STREAMED).await;
        assert_eq!(heard.status, status, "row: {name}: {}", heard.body);
        assert_eq!(heard.was_reset, was_reset, "row: {name}");
        assert_eq!(
            frames_in(&heard.body),
            frames,
            "row: {name}: {}",
            heard.body
        );
        let shown = ledger(&model).await;
        assert_eq!(shown["tokens"]["input"], 10 * billed, "row: {name}");
        let is_slow = fault.contains("slow");
        assert_eq!(shown["faults"], u64::from(!is_slow), "row: {name}");
        assert_eq!(shown["requests"][0]["fault"], "turns[0].faults[0]");
        // It is over after one time.
        let again = ask(&model, STREAMED).await;
        assert!(again.body.contains("message_stop"), "row: {name}");
        if status == 429 {
            for line in ["retry-after: 2", "retry-after-ms: 1500", "x-note: hi"] {
                assert!(heard.head.contains(line), "{line} in {}", heard.head);
            }
        }
    }
}

#[tokio::test]
async fn faults_of_a_whole_answer_table() {
    #[rustfmt::skip]
    let rows = [
        ("a cut stands in the middle",      "{cut: 1}", 200, true, false),
        ("a cut before anything",           "{cut: 0}", 200, true, false),
        ("an end that is no JSON",          "{end: 1}", 200, false, false),
        ("an error has its status",         "{error: 529}", 529, false, true),
        ("the words of the script",         "{status: 402, type: insufficient_quota, message: No money.}", 402, false, true),
        ("a body as it is",                 "{status: 502, body: '[\"bad gateway\"]'}", 502, false, true),
        ("an empty answer",                 "empty", 200, false, true),
    ];
    for (name, fault, status, was_reset, is_json) in rows {
        let model = open(&format!("turns: [{{say: hi}}]\nfaults: [{fault}]")).await;
        let heard = ask(&model, PLAIN).await;
        assert_eq!(heard.status, status, "row: {name}");
        assert_eq!(heard.was_reset, was_reset, "row: {name}");
        let parsed = serde_json::from_str::<Value>(&heard.body);
        assert_eq!(parsed.is_ok(), is_json, "row: {name}: {}", heard.body);
        if let Some(kind) = fault.contains("type:").then_some("insufficient_quota") {
            assert_eq!(parsed.unwrap()["error"]["type"], kind);
        }
    }
}

#[tokio::test]
async fn faults_come_in_order_and_as_often_as_they_say() {
    let model = open(
        "price: {input: 2, output: 10}\nusage: {input: 1000, output: 100}\n\
         turns: [{say: hi, faults: [{status: 500, times: 2}]}]\n\
         faults: [{turn: 1, status: 529}, {turn: 2, status: 401, times: forever}]",
    )
    .await;
    let mut found = Vec::new();
    for _ in 0..5 {
        found.push(ask(&model, PLAIN).await.status);
    }
    assert_eq!(found, [529, 500, 500, 200, 200]);
    let second = r#"{"messages": [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "go"}]}"#;
    for _ in 0..3 {
        assert_eq!(ask(&model, second).await.status, 401);
    }
    let shown = ledger(&model).await;
    assert_eq!(shown["calls"], 8);
    assert_eq!(shown["answered"], 2);
    assert_eq!(shown["faults"], 6);
    // Two answers at 1000 * 2 + 100 * 10 USD for a million.
    assert_eq!(shown["cost_nano_usd"], 6_000_000);
    assert_eq!(shown["requests"][7]["turn"], 2);
}

#[tokio::test]
async fn a_fault_may_be_of_one_model() {
    let model =
        open("turns: [{say: hi}]\nfaults: [{status: 529, model: big, times: forever}]").await;
    let of = |name: &str| PLAIN.replace("\"m\"", &format!("\"{name}\""));
    let statuses = [
        ask(&model, &of("big")).await.status,
        ask(&model, &of("small")).await.status,
    ];
    assert_eq!(statuses, [529, 200]);
}

#[test]
fn a_fixed_text_reads_back() {
    for api in ALL {
        for framing in framings(api) {
            let (content_type, body) = super::say(api, framing, "m", "Nothing to do.");
            let text = String::from_utf8(body).unwrap();
            let cut = |text: &str| text.split_inclusive("\n\n").map(str::to_owned).collect();
            let frames: Vec<String> = match framing {
                Framing::Events => cut(&text),
                Framing::Whole | Framing::List => vec![text],
            };
            assert_eq!(
                content_type == "text/event-stream",
                framing == Framing::Events
            );
            assert_eq!(read_back(api, framing, &frames).text, "Nothing to do.");
        }
    }
}

#[tokio::test]
async fn the_rest_of_the_api() {
    let model =
        open("usage: {input: 70, cache_read: 7}\nturns: [{say: hi}]\notherwise: refuse").await;
    let address = model.address();
    let list = r#"{"contents": [{"parts": [{"text": "go"}]}]}"#;
    let after = r#"{"messages": [{"role": "assistant", "content": "hi"}]}"#;
    #[rustfmt::skip]
    let rows = [
        ("a probe",             "HEAD /", "", 200, ""),
        ("another",             "HEAD /api/hello", "", 200, ""),
        ("models",              "GET /v1/models?limit=3", "", 200, r#""id":"scripted-1""#),
        ("one model",           "GET /v1/models/gpt-x", "", 200, r#""id":"gpt-x""#),
        ("models of Gemini",    "GET /v1beta/models", "", 200, r#""name":"models/scripted-1""#),
        ("tokens",              "POST /v1/messages/count_tokens", PLAIN, 200, r#"{"input_tokens":77}"#),
        ("tokens of Gemini",    "POST /v1beta/models/g:countTokens", list, 200, r#""totalTokens":77"#),
        ("a list of chunks",    "POST /v1beta/models/g:streamGenerateContent", list, 200, r#""finishReason":"STOP""#),
        ("events",              "POST /v1beta/models/g:streamGenerateContent?alt=sse", list, 200, "data: {"),
        ("chat",                "POST /v1/chat/completions", PLAIN, 200, r#""content":"hi""#),
        ("responses",           "POST /v1/responses", r#"{"input": "go"}"#, 200, r#""text":"hi""#),
        ("the script is over",  "POST /v1/chat/completions", after, 400, "the script has 1 turns, and was asked for turn 2"),
        ("no JSON",             "POST /v1/messages", "{", 400, "not JSON at line 1"),
        ("an unknown path",     "POST /v1/embeddings", "{}", 404, "POST /v1/embeddings is not served"),
    ];
    for (name, head, body, status, part) in rows {
        let heard = send(address, head, body).await;
        assert_eq!(heard.status, status, "row: {name}");
        assert!(heard.body.contains(part), "row: {name}: {}", heard.body);
        let is_final = heard.head.contains("x-should-retry: false");
        assert_eq!(is_final, status >= 400, "row: {name}");
    }
    let upgrade = "GET /v1/responses HTTP/1.1\r\nupgrade: websocket\r\nx-rest:";
    assert_eq!(send(address, upgrade, "").await.status, 426);
    let shown = ledger(&model).await;
    assert_eq!((&shown["calls"], &shown["counted"]), (&json!(5), &json!(1)));
    assert_eq!(shown["refused"], 1);
}

#[tokio::test]
async fn no_more_is_said_than_was_asked_for() {
    let model =
        open("usage: {input: 10, output: 100}\nturns: [{say: four little words here, shell: ls}]")
            .await;
    let body = r#"{"max_tokens": 50, "messages": [{"role": "user", "content": "go"}]}"#;
    let heard = ask(&model, body).await;
    let reply = reply::whole(Api::Messages, Framing::Whole, heard.body.as_bytes()).unwrap();
    assert_eq!(reply.stop, Some(Stop::Length));
    assert_eq!(reply.usage.unwrap().output, 50);
    assert_eq!(ledger(&model).await["tokens"]["output"], 50);
}

#[tokio::test]
async fn a_stream_comes_frame_by_frame_at_its_pace() {
    let model = open("pace: 30ms\nturns: [{say: hi}]").await;
    let begun = Instant::now();
    let heard = ask(&model, STREAMED).await;
    let waits = frames_in(&heard.body) - 1;
    assert!(begun.elapsed() >= Duration::from_millis(30) * u32::try_from(waits).unwrap());
}

#[tokio::test]
async fn a_client_that_hangs_up_is_noted() {
    let model = open("turns: [{say: hi, faults: [{slow: 10s}]}]").await;
    let mut stream = TcpStream::connect(model.address()).await.unwrap();
    let length = PLAIN.len();
    let request =
        format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{PLAIN}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let wait_for = async |name: &'static str| {
        while ledger(&model).await[name] != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let patience = Duration::from_secs(5);
    tokio::time::timeout(patience, wait_for("answered"))
        .await
        .unwrap();
    drop(stream);
    tokio::time::timeout(patience, wait_for("hung_up"))
        .await
        .unwrap();
    assert_eq!(ledger(&model).await["answered"], 0);
}

/// A file of this test process, removed in the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_ledger_outlives_its_model() {
    let name = format!("agentguard-ledger-{}.jsonl", std::process::id());
    let file = Scratch(std::env::temp_dir().join(name));
    let text =
        "turns: [{say: hi, faults: [{status: 529, times: 2}]}]\nprice: {input: 1, output: 1}";
    let open = || Model::open(script(text), None, Some(&file.0));
    let first = open().await.unwrap();
    assert_eq!(ask(&first, PLAIN).await.status, 529);
    drop(first);
    // Killed in the middle of a line.
    let mut lines = std::fs::read_to_string(&file.0).unwrap();
    lines.push_str("{\"nth\":2,\"at");
    std::fs::write(&file.0, &lines).unwrap();
    let second = open().await.unwrap();
    let statuses = [
        ask(&second, PLAIN).await.status,
        ask(&second, PLAIN).await.status,
    ];
    // The fault has one time left.
    assert_eq!(statuses, [529, 200]);
    let shown = ledger(&second).await;
    assert_eq!((&shown["calls"], &shown["faults"]), (&json!(3), &json!(2)));
    assert_eq!(shown["cost_nano_usd"], 1_100_000);
    let lines = std::fs::read_to_string(&file.0).unwrap();
    let numbers: Vec<u64> = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["nth"].as_u64())
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test]
async fn a_dropped_model_is_gone() {
    let model = open("turns: [{say: hi}]").await;
    let address = model.address();
    drop(model);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(TcpStream::connect(address).await.is_err());
    let again = Model::open(script("turns: [{say: hi}]"), Some(address.port()), None).await;
    assert_eq!(again.unwrap().address(), address);
}
