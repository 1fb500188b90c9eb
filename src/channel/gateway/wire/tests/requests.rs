//! Requests: what is read of them, and patches.

use std::fmt::Write;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::patch::{self, Patch, PatchError};
use super::super::request::{self, Error, Expects};
use super::super::{Api, Said, said};
use super::{expect, fixtures};

#[test]
fn requests_table() {
    for (api, path, bytes) in fixtures(|name| name.ends_with(".request.json")) {
        let asked = request::read(api, &bytes).unwrap();
        let mut shown = format!(
            "model {:?} stream {} limit {:?} thinking {:?} choices {} usage {} previous {:?}\n",
            asked.model,
            asked.is_stream,
            asked.max_output,
            asked.thinking,
            asked.choices,
            asked.asks_usage,
            asked.previous_response_id
        );
        let expects = match asked.expects {
            Expects::Text => "text".to_owned(),
            Expects::Json => "json".to_owned(),
            Expects::Schema(schema) => schema.to_string(),
        };
        writeln!(
            shown,
            "expects {expects}, system {}",
            asked.system_hash().is_some()
        )
        .unwrap();
        for tool in &asked.tools {
            let schema = tool.schema.map_or(0, |schema| schema.get().len());
            writeln!(
                shown,
                "tool {} {:?}, schema of {schema} bytes",
                tool.name, tool.kind
            )
            .unwrap();
        }
        let history = asked.history();
        for Said {
            role,
            hash,
            text,
            others,
            ..
        } in &history
        {
            let place = if hash.is_some() {
                "in the chain"
            } else {
                "apart"
            };
            writeln!(shown, "said {role:?} {text:?} {others} others, {place}").unwrap();
        }
        for exchange in said::exchanges(&history) {
            let result = exchange
                .result
                .map(|result| (&result.text, result.is_error));
            writeln!(
                shown,
                "call {} {} {} -> {result:?}",
                exchange.call.id, exchange.call.name, exchange.call.arguments
            )
            .unwrap();
        }
        expect(&path, &shown);
    }
}

#[test]
fn the_same_message_in_other_words_has_the_same_hash() {
    #[rustfmt::skip]
    let rows = [
        ("a text and a block",            Api::Messages, r#"{"role":"user","content":"Hi"}"#, r#"{"content":[{"type":"text","text":"Hi","cache_control":{"type":"ephemeral"}}],"role":"user"}"#, true),
        ("another text",                  Api::Messages, r#"{"role":"user","content":"Hi"}"#, r#"{"role":"user","content":"Ho"}"#, false),
        ("another role",                  Api::Messages, r#"{"role":"user","content":"Hi"}"#, r#"{"role":"assistant","content":"Hi"}"#, false),
        ("thinking left out",             Api::Messages, r#"{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"b"},{"type":"text","text":"x"}]}"#, r#"{"role":"assistant","content":"x"}"#, true),
        ("a mark inside a result",        Api::Messages, r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"a","cache_control":{}}]}]}"#, r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"a","is_error":false}]}"#, true),
        ("a mark on an image",            Api::Messages, r#"{"role":"user","content":[{"type":"image","source":{"data":"AA"},"cache_control":{}}]}"#, r#"{"role":"user","content":[{"source":{"data":"AA"},"type":"image"}]}"#, true),
        ("nulls that an SDK adds",        Api::Messages, r#"{"role":"user","content":[{"type":"image","source":{"data":"AA","x":null}}]}"#, r#"{"role":"user","content":[{"source":{"data":"AA"},"type":"image"}]}"#, true),
        ("another image",                 Api::Messages, r#"{"role":"user","content":[{"type":"image","source":{"data":"AA"}}]}"#, r#"{"role":"user","content":[{"type":"image","source":{"data":"AB"}}]}"#, false),
        ("a failed result is another",    Api::Messages, r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"a"}]}"#, r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"a","is_error":true}]}"#, false),
        ("an argument named like a mark", Api::Messages, r#"{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"status":1}}]}"#, r#"{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"status":2}}]}"#, false),
        ("a half emoji, two spellings",   Api::Messages, r#"{"role":"user","content":"a\ud83d"}"#, r#"{"role":"user","content":[{"type":"text","text":"a\uD83D"}]}"#, true),
        ("arguments printed again",       Api::Chat, r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"a\": 1.0, \"b\":2}"}}]}"#, r#"{"role":"assistant","content":"","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"b\":2,\"a\":1}"}}]}"#, true),
        ("other arguments",               Api::Chat, r#"{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"a\":1}"}}]}"#, r#"{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"a\":2}"}}]}"#, false),
        ("reasoning kept",                Api::Chat, r#"{"role":"assistant","content":"x"}"#, r#"{"role":"assistant","content":"x","reasoning_content":"y"}"#, true),
        ("ids and statuses dropped",      Api::Responses, r#"{"id":"fc_1","type":"function_call","status":"completed","call_id":"c","name":"f","arguments":"{}"}"#, r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}"#, true),
        ("a message without its type",    Api::Responses, r#"{"role":"user","content":[{"type":"input_text","text":"x"}]}"#, r#"{"type":"message","role":"user","content":"x"}"#, true),
        ("text in pieces",                Api::Gemini, r#"{"role":"model","parts":[{"text":"a"},{"text":"b"},{"thoughtSignature":"z"}]}"#, r#"{"role":"model","parts":[{"text":"t","thought":true},{"text":"ab"}]}"#, true),
        ("text around a call",            Api::Gemini, r#"{"role":"model","parts":[{"text":"a"},{"functionCall":{"name":"f"}}]}"#, r#"{"role":"model","parts":[{"functionCall":{"name":"f"}},{"text":"a"}]}"#, false),
    ];
    for (name, api, left, right, is_same) in rows {
        let hashes = [left, right].map(|json| Said::read(api, json).hash);
        assert!(hashes[0].is_some() && hashes[1].is_some(), "row: {name}");
        assert_eq!(hashes[0] == hashes[1], is_same, "row: {name}");
    }
    let reasoning = Said::read(
        Api::Responses,
        r#"{"type":"reasoning","id":"rs","summary":[]}"#,
    );
    assert_eq!(reasoning.hash, None);
}

#[test]
fn bad_bodies_table() {
    let deep = format!("{{\"messages\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    #[rustfmt::skip]
    let rows = [
        ("broken JSON",        Api::Messages, "{\"a\":", "the request body is not JSON at line 1, column 5"),
        ("a list",             Api::Messages, "[1]", "the request body is an array, expected an object"),
        ("deep",               Api::Messages, deep.as_str(), "the request body nests deeper than 128 levels"),
        ("an answer that is fetched later", Api::Responses, r#"{"background":true}"#, "background is true, expected false: an answer that is fetched later comes past what counts it"),
        ("a model that is no text", Api::Chat, r#"{"model":5}"#, "model is 5, expected a text"),
        ("a negative limit",   Api::Chat, r#"{"max_tokens":-1}"#, "max_tokens is -1, expected a whole number of at least 0"),
        ("half a token",       Api::Messages, r#"{"max_tokens":1.5}"#, "max_tokens is 1.5, expected a whole number of at least 0"),
        ("a limit given twice", Api::Responses, r#"{"max_output_tokens":1,"max_output_token\u0073":9}"#, "max_output_tokens is given more than once, expected once"),
        ("a model given twice", Api::Messages, r#"{"model":"a","model":"b"}"#, "model is given more than once, expected once"),
        ("settings in two spellings", Api::Gemini, r#"{"generationConfig":{},"generation_config":{}}"#, "generationConfig is given more than once, expected once"),
        ("a stream that is no flag", Api::Chat, r#"{"stream":"yes"}"#, "stream is \"yes\", expected true or false"),
        ("settings that are none", Api::Gemini, r#"{"generationConfig":[]}"#, "generationConfig is an array, expected an object"),
    ];
    for (name, api, body, want) in rows {
        let error = request::read(api, body.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), want, "row: {name}");
    }
    assert_eq!(
        request::read(Api::Chat, b"{\"a\":\"\xff\"}").unwrap_err(),
        Error::NotUtf8 { offset: 6 }
    );
    for odd in [
        r#"{"messages":5}"#,
        r#"{"messages":[null,[],"x"],"tools":{},"n":null}"#,
        "{}",
        " { } ",
    ] {
        assert!(
            request::read(Api::Chat, odd.as_bytes()).is_ok(),
            "row: {odd}"
        );
    }
}

#[test]
fn patches_table() {
    let limit = |max_output| Patch {
        max_output: Some(max_output),
        ..Patch::default()
    };
    let usage = Patch {
        include_usage: true,
        ..Patch::default()
    };
    let model = Patch {
        model: Some("b".to_owned()),
        ..Patch::default()
    };
    let steer = Patch {
        steer: Some("St\"op".to_owned()),
        ..Patch::default()
    };
    let all = Patch {
        max_output: Some(7),
        include_usage: true,
        model: Some("b".to_owned()),
        ..Patch::default()
    };
    #[rustfmt::skip]
    let rows = [
        ("a limit is written over",      Api::Messages, limit(7), r#"{ "max_tokens" : 32000 ,"x": 1.50}"#, r#"{ "max_tokens" : 7 ,"x": 1.50}"#),
        ("a limit is added in front",    Api::Messages, limit(7), " {\n\"x\":1}", " {\"max_tokens\":7,\n\"x\":1}"),
        ("a null limit is written over", Api::Responses, limit(7), r#"{"max_output_tokens":null}"#, r#"{"max_output_tokens":7}"#),
        ("chat has a new name",          Api::Chat, limit(7), r#"{"model":"gpt-5"}"#, r#"{"max_completion_tokens":7,"model":"gpt-5"}"#),
        ("others know the old one",      Api::Chat, limit(7), r#"{"model":"qwen3"}"#, r#"{"max_tokens":7,"model":"qwen3"}"#),
        ("chat's old name stays",        Api::Chat, limit(7), r#"{"max_tokens":9}"#, r#"{"max_tokens":7}"#),
        ("both names are lowered",       Api::Chat, limit(7), r#"{"max_tokens":9,"max_completion_tokens":8}"#, r#"{"max_tokens":7,"max_completion_tokens":7}"#),
        ("Gemini's settings are made",   Api::Gemini, limit(7), r#"{"contents":[]}"#, r#"{"generationConfig":{"maxOutputTokens":7},"contents":[]}"#),
        ("Gemini's settings are kept",   Api::Gemini, limit(7), r#"{"generationConfig":{"topK":1}}"#, r#"{"generationConfig":{"maxOutputTokens":7,"topK":1}}"#),
        ("Gemini in Python's spelling",  Api::Gemini, limit(7), r#"{"generation_config":{"max_output_tokens":9}}"#, r#"{"generation_config":{"max_output_tokens":7}}"#),
        ("usage is asked for",           Api::Chat, usage.clone(), r#"{"stream":true}"#, r#"{"stream_options":{"include_usage":true},"stream":true}"#),
        ("usage beside other options",   Api::Chat, usage.clone(), r#"{"stream_options":{"x":1}}"#, r#"{"stream_options":{"include_usage":true,"x":1}}"#),
        ("usage that was declined",      Api::Chat, usage, r#"{"stream_options":{"include_usage":false}}"#, r#"{"stream_options":{"include_usage":true}}"#),
        ("another model",                Api::Chat, model, r#"{"model":"a\u0061","x":"model"}"#, r#"{"model":"b","x":"model"}"#),
        ("an empty body",                Api::Chat, all, "{}", r#"{"max_tokens":7,"stream_options":{"include_usage":true},"model":"b"}"#),
        ("a steer in a text",            Api::Messages, steer.clone(), r#"{"messages":[{"role":"user","content":"Hi"}]}"#, r#"{"messages":[{"role":"user","content":"Hi\n\nSt\"op"}]}"#),
        ("a steer behind a result",      Api::Messages, steer.clone(), r#"{"messages":[{"role":"user","content":[{"type":"tool_result"} ]}],"x":1}"#, r#"{"messages":[{"role":"user","content":[{"type":"tool_result"} ,{"text":"St\"op","type":"text"}]}],"x":1}"#),
        ("a steer behind a tool",        Api::Chat, steer.clone(), r#"{"messages":[{"role":"user","content":"Hi"},{"role":"tool","content":"x"}]}"#, r#"{"messages":[{"role":"user","content":"Hi"},{"role":"tool","content":"x"},{"content":"St\"op","role":"user"}]}"#),
        ("a steer in a bare input",      Api::Responses, steer.clone(), r#"{"input":""}"#, r#"{"input":"St\"op"}"#),
        ("a steer behind an output",     Api::Responses, steer.clone(), r#"{"input":[{"type":"function_call_output","output":"x"}]}"#, r#"{"input":[{"type":"function_call_output","output":"x"},{"content":[{"text":"St\"op","type":"input_text"}],"role":"user","type":"message"}]}"#),
        ("a steer for Gemini",           Api::Gemini, steer.clone(), r#"{"contents":[{"parts":[]}]}"#, r#"{"contents":[{"parts":[{"text":"St\"op"}]}]}"#),
    ];
    for (name, api, patch, body, want) in rows {
        let want = want.replace("St\"op", "St\\\"op");
        let patched = patch::apply(api, body.as_bytes(), &patch).unwrap();
        assert_eq!(String::from_utf8_lossy(&patched), want, "row: {name}");
    }
    let prefilled = br#"{"messages":[{"role":"assistant","content":"{"}]}"#;
    let found = patch::apply(Api::Messages, prefilled, &steer);
    assert_eq!(
        found,
        Err(PatchError::NoPlace {
            found: "the model's own"
        })
    );
    let no_field = patch::apply(Api::CountTokens, b"{}", &limit(7)).unwrap_err();
    assert_eq!(
        no_field.to_string(),
        "CountTokens requests have no field for the limit of the output"
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-zé😀\"\\\\\n]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_patch_changes_exactly_its_field(
        extra in prop::collection::btree_map("x_[a-z]{1,3}", any_json(), 0..5),
        settings in prop::collection::btree_map("[a-c]{1,2}", any_json(), 0..3),
        content in any_json(),
        pretty: bool,
        has_limit: bool,
        limit: u32,
        which in 0..4_usize,
    ) {
        let api = [Api::Messages, Api::Chat, Api::Responses, Api::Gemini][which];
        let name = ["max_tokens", "max_tokens", "max_output_tokens", "generationConfig"][which];
        let list = ["messages", "messages", "input", "contents"][which];
        let mut body: Value = extra.into_iter().collect();
        body[list] = json!([{"role": "user", "content": content}]);
        body["model"] = "a".into();
        if has_limit {
            body[name] = if api == Api::Gemini { settings.clone().into_iter().collect() } else { json!(123_456) };
        }
        let text = if pretty { serde_json::to_string_pretty(&body).unwrap() } else { body.to_string() };
        let same = patch::apply(api, text.as_bytes(), &Patch::default()).unwrap();
        prop_assert_eq!(&*same, text.as_bytes());

        let is_gemini = api == Api::Gemini;
        let patch = Patch {
            max_output: Some(limit.into()),
            model: (!is_gemini).then(|| "b\"".to_owned()),
            include_usage: api == Api::Chat,
            ..Patch::default()
        };
        let patched = patch::apply(api, text.as_bytes(), &patch).unwrap();
        let found: Value = serde_json::from_slice(&patched).unwrap();
        let mut want = body;
        if is_gemini {
            if !has_limit {
                want[name] = json!({});
            }
            want[name]["maxOutputTokens"] = limit.into();
        } else {
            want[name] = limit.into();
            want["model"] = "b\"".into();
        }
        if api == Api::Chat {
            want["stream_options"] = json!({"include_usage": true});
        }
        prop_assert_eq!(found, want);
        prop_assert_eq!(request::read(api, &patched).unwrap().max_output, Some(limit.into()));
    }

    #[test]
    fn a_steer_adds_to_the_end_and_keeps_every_byte_before_it(
        before in prop::collection::vec("[a-zé\"\\\\\n]{0,8}", 0..4),
        last in 0..4_usize,
        text in "[a-zé😀\"\\\\\n]{1,20}",
        which in 0..4_usize,
    ) {
        let api = [Api::Messages, Api::Chat, Api::Responses, Api::Gemini][which];
        let (list, inner) = if api == Api::Gemini { ("contents", "parts") } else { (["messages", "messages", "input"][which], "content") };
        let mut messages: Vec<Value> = before.iter().map(|text| json!({"role": "assistant", (inner): [{"text": text}]})).collect();
        messages.push(match (last, api) {
            (0, Api::Gemini) | (1, _) => json!({"role": "user", (inner): [{"text": "x", "type": "text"}]}),
            (0, _) => json!({"role": "user", (inner): "x"}),
            (2, Api::Chat) => json!({"role": "tool", "tool_call_id": "c", "content": "x"}),
            (2, Api::Responses) => json!({"type": "function_call_output", "call_id": "c", "output": "x"}),
            _ => json!({"role": "user", (inner): []}),
        });
        let body = json!({(list): messages}).to_string();
        let patch = Patch { steer: Some(text.clone()), ..Patch::default() };
        let patched = patch::apply(api, body.as_bytes(), &patch).unwrap();
        let kept = patched.iter().zip(body.as_bytes()).take_while(|(new, old)| new == old).count();
        // Nothing but closing brackets and quotes stands behind the place.
        prop_assert!(body.len() - kept <= 60);
        let (old, new) = (request::read(api, body.as_bytes()).unwrap().history(), request::read(api, &patched).unwrap().history());
        let end = old.len() - 1;
        prop_assert_eq!(&old[..end], &new[..end]);
        prop_assert!(new.last().unwrap().text.ends_with(&text));
    }
}
