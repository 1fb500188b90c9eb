//! Requests: what is carried over, moved, dropped and refused.

use serde_json::{Value, json};

use super::super::super::request as wire_request;
use super::super::super::said::{Role, Said};
use super::super::{Api, MAX_TOKENS_DEFAULT, request};
use super::{APIS, fixtures, others, tree};
use Api::{Chat, Messages, Responses};

fn translated(from: Api, to: Api, body: &Value) -> Value {
    tree(&request(from, to, body.to_string().as_bytes(), "m").unwrap())
}

fn refusal(from: Api, to: Api, body: &Value) -> String {
    let error = request(from, to, body.to_string().as_bytes(), "m").unwrap_err();
    error.to_string()
}

/// Returns a request with one message of the user and `more`.
fn asking(api: Api, more: &Value) -> Value {
    let mut body = match api {
        Messages => json!({"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}),
        Chat => json!({"messages": [{"role": "user", "content": "Hi"}]}),
        _ => json!({"input": "Hi"}),
    };
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn fields_table() {
    let schema = json!({"type": "object", "properties": {"path": {"type": "string"}}});
    let tool = [
        json!({"tools": [{"name": "read", "description": "d", "input_schema": schema}]}),
        json!({"tools": [{"type": "function", "function": {"name": "read", "description": "d", "parameters": schema}}]}),
        json!({"tools": [{"type": "function", "name": "read", "description": "d", "parameters": schema, "strict": false}]}),
    ];
    let with = |at: usize, more: Value| {
        let mut all = tool[at].clone();
        for (name, value) in more.as_object().unwrap() {
            all[name] = value.clone();
        }
        all
    };
    // Each row: what each API says for the same; absent where it cannot say it.
    #[rustfmt::skip]
    let rows: Vec<(&str, [Option<Value>; 3])> = vec![
        ("a limit", [Some(json!({"max_tokens": 700})), Some(json!({"max_tokens": 700})), Some(json!({"max_output_tokens": 700}))]),
        ("a temperature keeps its digits", [Some(json!({"temperature": 0.70, "top_p": 1})), Some(json!({"temperature": 0.70, "top_p": 1})), Some(json!({"temperature": 0.70, "top_p": 1}))]),
        ("a tool", [Some(tool[0].clone()), Some(tool[1].clone()), Some(tool[2].clone())]),
        ("any tool", [Some(with(0, json!({"tool_choice": {"type": "any"}}))), Some(with(1, json!({"tool_choice": "required"}))), Some(with(2, json!({"tool_choice": "required"})))]),
        ("no tool", [Some(with(0, json!({"tool_choice": {"type": "none"}}))), Some(with(1, json!({"tool_choice": "none"}))), Some(with(2, json!({"tool_choice": "none"})))]),
        ("one tool", [Some(with(0, json!({"tool_choice": {"type": "tool", "name": "read"}}))),
                      Some(with(1, json!({"tool_choice": {"type": "function", "function": {"name": "read"}}}))),
                      Some(with(2, json!({"tool_choice": {"type": "function", "name": "read"}})))]),
        ("one call at a time", [Some(with(0, json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}))),
                                Some(with(1, json!({"tool_choice": "auto", "parallel_tool_calls": false}))),
                                Some(with(2, json!({"tool_choice": "auto", "parallel_tool_calls": false})))]),
        ("stop sequences", [Some(json!({"stop_sequences": ["a", "b"]})), Some(json!({"stop": ["a", "b"]})), None]),
        ("a stream", [Some(json!({"stream": true})), Some(json!({"stream": true, "stream_options": {"include_usage": true}})), Some(json!({"stream": true}))]),
        ("a user", [Some(json!({"metadata": {"user_id": "u"}})), Some(json!({"user": "u"})), Some(json!({"user": "u"}))]),
        ("JSON of a schema", [None, Some(json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": true}}})),
                              Some(json!({"text": {"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": true}}}))]),
        ("any JSON", [None, Some(json!({"response_format": {"type": "json_object"}})), Some(json!({"text": {"format": {"type": "json_object"}}}))]),
        ("effort and verbosity", [None, Some(json!({"reasoning_effort": "low", "verbosity": "high"})), Some(json!({"reasoning": {"effort": "low"}, "text": {"verbosity": "high"}}))]),
    ];
    for (name, words) in rows {
        for (from, to) in (0..3).flat_map(|from| (0..3).map(move |to| (from, to))) {
            let (Some(given), Some(want), true) = (&words[from], &words[to], from != to) else {
                continue;
            };
            let (from, to) = (APIS[from].0, APIS[to].0);
            let found = translated(from, to, &asking(from, given));
            for (field, want) in want.as_object().unwrap() {
                assert_eq!(
                    &found[field], want,
                    "row: {name}, {from:?} to {to:?}, {field}"
                );
            }
            assert_eq!(found["model"], "m");
        }
    }
}

#[test]
fn defaults_table() {
    let hi = json!({});
    let chat = translated(Messages, Chat, &asking(Messages, &hi));
    let want =
        json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9});
    assert_eq!(chat, want, "a bare request stays one");
    let messages = translated(Chat, Messages, &asking(Chat, &hi));
    assert_eq!(messages["max_tokens"], MAX_TOKENS_DEFAULT);
    let responses = translated(Chat, Responses, &asking(Chat, &hi));
    assert_eq!(responses["store"], false, "Chat keeps nothing either");
    let bare = json!({"tools": [{"type": "function", "function": {"name": "now"}}]});
    let empty = json!({"type": "object", "properties": {}});
    let messages = translated(Chat, Messages, &asking(Chat, &bare));
    assert_eq!(
        messages["tools"],
        json!([{"name": "now", "input_schema": empty}])
    );
    let long = json!({"metadata": {"user_id": "u".repeat(65)}});
    let chat = translated(Messages, Chat, &asking(Messages, &long));
    assert_eq!(
        chat.get("user"),
        None,
        "a name too long for others is left out"
    );
    let same = request(Chat, Chat, br#"{"model": "a", "n":2}"#, "b").unwrap();
    assert_eq!(
        same, br#"{"model": "b", "n":2}"#,
        "the same API keeps every byte"
    );
}

#[test]
fn order_and_digits_are_kept() {
    let body = r#"{"max_tokens":1,"messages":[{"role":"user","content":"x"},
        {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"z":1.0,"a":12345678901234567890123}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"y"}]}],
        "tools":[{"name":"f","input_schema":{"type":"object","properties":{"z":{},"a":{}}}}]}"#;
    for to in others(Messages) {
        let out = request(Messages, to, body.as_bytes(), "m").unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains(r#""properties":{"z":{},"a":{}}"#), "{out}");
        assert!(
            out.contains(r#"{\"z\":1.0,\"a\":12345678901234567890123}"#),
            "{out}"
        );
        let back = request(to, Messages, out.as_bytes(), "m").unwrap();
        let back = String::from_utf8(back).unwrap();
        assert!(
            back.contains(r#""input":{"z":1.0,"a":12345678901234567890123}"#),
            "{back}"
        );
    }
}

#[test]
fn histories_table() {
    let png = "data:image/png;base64,AAAA";
    let rows = [
        (
            "system texts in front",
            json!([{"role": "user", "content": "Hi"}]),
            json!([{"role": "system", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
                   {"role": "user", "content": "Hi"}]),
            json!([{"type": "message", "role": "system", "content": [{"type": "input_text", "text": "A"}, {"type": "input_text", "text": "B"}]},
                   {"type": "message", "role": "user", "content": "Hi"}]),
        ),
        (
            "the operator speaks later",
            json!([{"role": "user", "content": "Hi"}, {"role": "system", "content": "C"}, {"role": "user", "content": "Go"}]),
            json!([{"role": "user", "content": "Hi"}, {"role": "system", "content": "C"}, {"role": "user", "content": "Go"}]),
            json!([{"type": "message", "role": "user", "content": "Hi"},
                   {"type": "message", "role": "system", "content": "C"},
                   {"type": "message", "role": "user", "content": "Go"}]),
        ),
        (
            "images",
            json!([{"role": "user", "content": [{"type": "text", "text": "See"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}]}]),
            json!([{"role": "user", "content": [{"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": png}},
                {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]}]),
            json!([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "See"},
                {"type": "input_image", "image_url": png, "detail": "auto"},
                {"type": "input_image", "image_url": "https://a.example/b.png", "detail": "auto"}]}]),
        ),
        (
            "text, two calls, two results, and more of the user",
            json!([{"role": "user", "content": "Hi"},
                {"role": "assistant", "content": [{"type": "text", "text": "Look"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                    {"type": "tool_use", "id": "t2", "name": "g", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "one"},
                    {"type": "tool_result", "tool_use_id": "t2", "content": "two"}, {"type": "text", "text": "Go"}]}]),
            json!([{"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Look", "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                    {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "t1", "content": "one"},
                {"role": "tool", "tool_call_id": "t2", "content": "two"},
                {"role": "user", "content": "Go"}]),
            json!([{"type": "message", "role": "user", "content": "Hi"},
                {"type": "message", "role": "assistant", "content": "Look"},
                {"type": "function_call", "call_id": "t1", "name": "f", "arguments": "{\"a\":1}"},
                {"type": "function_call", "call_id": "t2", "name": "g", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "t1", "output": "one"},
                {"type": "function_call_output", "call_id": "t2", "output": "two"},
                {"type": "message", "role": "user", "content": "Go"}]),
        ),
    ];
    for (name, messages, chat, responses) in rows {
        let mut bodies = [
            json!({"max_tokens": 9, "messages": messages}),
            json!({"max_tokens": 9, "messages": chat}),
            json!({"max_output_tokens": 9, "input": responses, "store": false}),
        ];
        if name == "system texts in front" {
            bodies[0]["system"] =
                json!([{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]);
        }
        for (from, to) in (0..3).flat_map(|from| (0..3).map(move |to| (from, to))) {
            if from == to {
                continue;
            }
            let found = translated(APIS[from].0, APIS[to].0, &bodies[from]);
            let mut want = bodies[to].clone();
            want["model"] = "m".into();
            let pair = (APIS[from].0, APIS[to].0);
            assert_eq!(found, want, "row: {name}, {pair:?}");
        }
    }
}

#[test]
fn moves_table() {
    let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]});
    let result = |content: Value, is_error: bool| {
        json!({"max_tokens": 9, "messages": [{"role": "user", "content": "x"}, call, {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t1", "content": content, "is_error": is_error}]}]})
    };
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});

    let failed = result(json!("no such file"), true);
    assert_eq!(
        translated(Messages, Chat, &failed)["messages"][2]["content"],
        "Error: no such file"
    );
    assert_eq!(
        translated(Messages, Responses, &failed)["input"][2]["output"],
        "Error: no such file"
    );
    let said = result(json!("Error: no such file"), true);
    assert_eq!(
        translated(Messages, Chat, &said)["messages"][2]["content"],
        "Error: no such file",
        "said once"
    );

    let seen = result(json!([{"type": "text", "text": "shot"}, image]), false);
    let chat = translated(Messages, Chat, &seen);
    let note = "[The images of this result follow in the next message.]";
    assert_eq!(
        chat["messages"][2]["content"],
        json!([{"type": "text", "text": note}, {"type": "text", "text": "shot"}])
    );
    assert_eq!(
        chat["messages"][3],
        json!({"role": "user", "content": [{"type": "text", "text": "Images in the result of call t1:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]})
    );
    let responses = translated(Messages, Responses, &seen);
    assert_eq!(
        responses["input"][2]["output"],
        json!([{"type": "input_text", "text": "shot"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}])
    );
    let back = translated(Responses, Messages, &responses);
    assert_eq!(
        back["messages"][2]["content"][0]["content"],
        json!([{"type": "text", "text": "shot"}, image])
    );

    let odd = json!({"messages": [{"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "y"}]});
    let messages = translated(Chat, Messages, &odd);
    let id = messages["messages"][1]["content"][0]["id"]
        .as_str()
        .unwrap();
    assert!(
        id.starts_with("call_") && id.len() == 29,
        "an id that Messages refuses: {id}"
    );
    assert_eq!(
        messages["messages"][2]["content"][0]["tool_use_id"], id,
        "the same for the result"
    );
    assert_eq!(
        messages["messages"][1]["content"].as_array().unwrap().len(),
        1,
        "an empty text is none"
    );
    assert_eq!(
        translated(Chat, Responses, &odd)["input"][1]["call_id"],
        "functions.f:0"
    );

    assert_eq!(
        translated(Chat, Responses, &odd)["input"][1]["arguments"],
        "{}"
    );

    let refused = json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "refusal": "No."}, {"role": "user", "content": "y"}]});
    assert_eq!(
        translated(Chat, Messages, &refused)["messages"][1]["content"][0]["text"],
        "No."
    );
    assert_eq!(
        translated(Chat, Responses, &refused)["input"][1]["content"],
        "No."
    );
}

#[test]
fn dropped_table() {
    #[rustfmt::skip]
    let rows = [
        ("thinking and caches", Messages, json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"effort": "high"}, "cache_control": {"type": "ephemeral"},
            "context_management": {"edits": []}, "service_tier": "auto", "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hidden", "signature": "s"}, {"type": "redacted_thinking", "data": "hidden"}, {"type": "text", "text": "y"}]},
            {"role": "user", "content": "z"}]})),
        ("reasoning of other servers", Chat, json!({"store": true, "seed": 1, "logit_bias": {}, "frequency_penalty": 0.0, "n": 1, "functions": [], "audio": null, "messages": [{"role": "user", "content": "x"},
            {"role": "assistant", "content": "y", "reasoning_content": "hidden", "annotations": [], "function_call": null}, {"role": "user", "content": "z"}]})),
        ("reasoning items", Responses, json!({"store": true, "include": ["reasoning.encrypted_content"], "truncation": "auto", "background": false, "input": [{"role": "user", "content": "x"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hidden"}], "encrypted_content": "hidden"},
            {"type": "message", "id": "msg_1", "status": "completed", "phase": "final_answer", "role": "assistant", "content": [{"type": "output_text", "text": "y", "annotations": []}]},
            {"role": "user", "content": "z"}]})),
    ];
    for (name, from, more) in rows {
        for to in others(from) {
            let found = translated(from, to, &asking(from, &more)).to_string();
            assert!(
                !found.contains("hidden") && !found.contains("cache"),
                "row: {name}, {found}"
            );
            assert!(!found.contains("effort"), "row: {name}, {found}");
        }
    }
}

#[test]
fn refused_table() {
    let user = |block: Value| json!([{"role": "user", "content": [block]}]);
    #[rustfmt::skip]
    let rows = [
        (Messages, json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}), "tools[0] is of type \"web_search_20250305\", which only its own API knows"),
        (Messages, json!({"messages": user(json!({"type": "document", "source": {}}))}), "messages[0].content[0] is of type \"document\", which only its own API knows"),
        (Messages, json!({"messages": user(json!({"type": "image", "source": {"type": "file", "file_id": "f"}}))}), "messages[0].content[0].source is of type \"file\", which only its own API knows"),
        (Messages, json!({"messages": user(json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "search_result"}]}))}), "messages[0].content[0].content[0] is of type \"search_result\", which only its own API knows"),
        (Messages, json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "{"}]}), "messages[1] is the model's own and the last: Messages goes on with it, others answer it"),
        (Messages, json!({"top_k": 5}), "top_k has no counterpart"),
        (Messages, json!({"container": "c"}), "container has no counterpart"),
        (Messages, json!({"inference_geo": "us"}), "inference_geo has no counterpart"),
        (Messages, json!({"mcp_servers": [{"url": "x"}]}), "mcp_servers has no counterpart"),
        (Messages, json!({"messages": user(json!({"type": "text", "text": "x", "odd": 1}))}), "messages[0].content[0].odd has no counterpart"),
        (Messages, json!({"messages": user(json!({"type": "tool_use", "id": "t", "name": "f", "input": {}}))}), "messages[0] has a call in a message of the User"),
        (Chat, json!({"n": 2}), "n has no counterpart; it can only be 1"),
        (Chat, json!({"logprobs": true}), "logprobs has no counterpart; it can only be false"),
        (Chat, json!({"presence_penalty": 0.5}), "presence_penalty has no counterpart; it can only be 0"),
        (Chat, json!({"logit_bias": {"5": 1}}), "logit_bias has no counterpart"),
        (Chat, json!({"modalities": ["text", "audio"]}), "modalities has no counterpart; it can only be [\"text\"]"),
        (Chat, json!({"functions": [{"name": "f"}]}), "functions has no counterpart"),
        (Chat, json!({"web_search_options": {"x": 1}}), "web_search_options has no counterpart"),
        (Chat, json!({"tools": [{"type": "custom", "custom": {"name": "sh"}}]}), "tools[0] takes free text, which only its own API knows"),
        (Chat, json!({"tool_choice": {"type": "allowed_tools"}}), "tool_choice is of type \"allowed_tools\", which only its own API knows"),
        (Chat, json!({"messages": user(json!({"type": "input_audio", "input_audio": {}}))}), "messages[0].content[0] is of type \"input_audio\", which only its own API knows"),
        (Chat, json!({"messages": user(json!({"type": "file", "file": {}}))}), "messages[0].content[0] is of type \"file\", which only its own API knows"),
        (Chat, json!({"messages": [{"role": "user", "name": "bob", "content": "x"}]}), "messages[0].name has no counterpart"),
        (Chat, json!({"messages": [{"role": "tool", "tool_call_id": "c", "content": [{"type": "refusal", "refusal": "x"}]}]}), "messages[0] has a result of more than texts and images in a message of the User"),
        (Chat, json!({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}), "messages[0].audio has no counterpart"),
        (Responses, json!({"previous_response_id": "r"}), "previous_response_id has no counterpart"),
        (Responses, json!({"conversation": "c"}), "conversation has no counterpart"),
        (Responses, json!({"include": ["message.output_text.logprobs"]}), "include[0] has no counterpart"),
        (Responses, json!({"tools": [{"type": "web_search"}]}), "tools[0] is of type \"web_search\", which only its own API knows"),
        (Responses, json!({"input": [{"type": "item_reference", "id": "x"}]}), "input[0] is of type \"item_reference\", which only its own API knows"),
        (Responses, json!({"input": [{"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"}]}), "input[0] is of type \"custom_tool_call\", which only its own API knows"),
        (Responses, json!({"input": user(json!({"type": "input_file", "file_id": "f"}))}), "input[0].content[0] is of type \"input_file\", which only its own API knows"),
        (Responses, json!({"input": user(json!({"type": "input_image", "file_id": "f"}))}), "input[0].content[0] is of type \"input_image\", which only its own API knows"),
    ];
    for (from, more, want) in rows {
        for to in others(from) {
            let found = refusal(from, to, &asking(from, &more));
            assert_eq!(found, format!("cannot be translated: {want}"), "to {to:?}");
        }
    }
    let call = |arguments: &str| json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": arguments}}]}, {"role": "tool", "tool_call_id": "c", "content": ""}]});
    #[rustfmt::skip]
    let rows = [
        (Chat, Messages, json!({"temperature": 1.5}), "temperature is above 1, the most that Messages takes"),
        (Chat, Messages, json!({"response_format": {"type": "json_object"}}), "the form of the answer (JSON) is not asked of Messages"),
        (Chat, Responses, json!({"stop": "x"}), "stop sequences have no counterpart in Responses"),
        (Chat, Messages, call("{\"a\":"), "messages[1].tool_calls[0] has arguments that are no JSON object, as Messages wants them"),
        (Chat, Messages, call("[1]"), "messages[1].tool_calls[0] has arguments that are no JSON object, as Messages wants them"),
        (Chat, Messages, json!({"messages": user(json!({"type": "image_url", "image_url": {"url": "data:image/svg+xml,<svg>"}}))}), "messages[0].content[0] has data that is not base64"),
        (Chat, Messages, json!({"messages": user(json!({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}))}), "messages[0].content[0] has an address that is none of the web"),
        (Chat, Messages, json!({"messages": [{"role": "assistant", "content": "x"}, {"role": "user", "content": " "}]}), "a history that ends with the model's own message"),
        (Chat, Api::Gemini, json!({}), "a request for Gemini"),
        (Chat, Api::CountTokens, json!({}), "a request for CountTokens"),
    ];
    for (from, to, more, want) in rows {
        let found = refusal(from, to, &asking(from, &more));
        assert_eq!(found, format!("cannot be translated: {want}"));
    }
    #[rustfmt::skip]
    let broken = [
        (Chat, json!({"messages": 5}), "messages is 5, expected a list of at most 65536 elements"),
        (Chat, json!({"messages": [{"role": "user", "content": 5}]}), "messages[0].content is 5, expected a list of at most 65536 elements"),
        (Chat, json!({"messages": [{"content": "x"}]}), "messages[0].role is missing, expected a value"),
        (Chat, json!({"tools": [7]}), "tools[0] is 7, expected an object of at most 65536 fields"),
        (Messages, json!({"stream": "yes"}), "stream is \"yes\", expected true or false"),
    ];
    for (from, more, want) in broken {
        assert_eq!(refusal(from, Responses, &asking(from, &more)), want);
    }
}

/// Returns a fixture without what is refused in it.
fn tamed(api: Api, bytes: &[u8]) -> Value {
    let mut body = tree(bytes);
    let fields = body.as_object_mut().unwrap();
    for name in [
        "n",
        "previous_response_id",
        "output_config",
        "response_format",
        "text",
    ] {
        fields.remove(name);
    }
    let is_function = |tool: &Value| {
        let is_known = matches!(tool["type"].as_str(), None | Some("function"));
        is_known || tool.get("input_schema").is_some()
    };
    fields["tools"].as_array_mut().unwrap().retain(is_function);
    if api == Responses {
        let is_plain = |item: &Value| !item["type"].as_str().unwrap_or("").starts_with("custom");
        fields["input"].as_array_mut().unwrap().retain(is_plain);
    }
    body
}

/// Returns what a request says: texts by speaker, calls, results.
fn history(api: Api, body: &[u8]) -> (Vec<(Role, String)>, Vec<Value>, Vec<Value>) {
    let asked = wire_request::read(api, body).unwrap();
    let (mut texts, mut calls, mut results) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(system) = asked.system {
        let system: Value = serde_json::from_str(system.get()).unwrap();
        let said = Said::from_tree(Chat, &json!({"role": "system", "content": system}));
        texts.push((Role::System, said.text));
    }
    for said in asked.history() {
        assert_eq!(said.others, usize::from(said.role == Role::Other));
        if !said.text.is_empty() {
            texts.push((said.role, said.text));
        }
        for call in said.calls {
            let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
            calls.push(json!([call.id, call.name, arguments]));
        }
        for result in said.results {
            let is_error = result.is_error == Some(true);
            let is_marked = result.text.starts_with("Error: ");
            let mark = if is_error && !is_marked {
                "Error: "
            } else {
                ""
            };
            results.push(json!([result.id, format!("{mark}{}", result.text)]));
        }
    }
    (texts, calls, results)
}

#[test]
fn histories_read_alike_after_every_translation() {
    for (from, path, bytes) in fixtures(|name| name.ends_with(".request.json")) {
        let whole = request(from, others(from).next().unwrap(), &bytes, "m");
        assert!(whole.is_err(), "{} asks for too much", path.display());
        let body = tamed(from, &bytes).to_string();
        let want = history(from, body.as_bytes());
        for to in others(from) {
            let once = request(from, to, body.as_bytes(), "m").unwrap();
            assert_eq!(history(to, &once), want, "{} to {to:?}", path.display());
            for back in others(to) {
                let twice = request(to, back, &once, "m").unwrap();
                assert_eq!(
                    history(back, &twice),
                    want,
                    "{} to {to:?} to {back:?}",
                    path.display()
                );
            }
        }
    }
}
