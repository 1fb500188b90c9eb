use serde_json::{Value, json};

use super::super::request;
use super::*;

/// What a body asks for, with `seen` of its messages answered before.
fn extras(api: Api, body: &str, seen: usize) -> Extras {
    let asked = request::read(api, body.as_bytes()).unwrap();
    let model = asked.model.clone().unwrap_or_default();
    read(&asked, &model, &notable(&asked), seen)
}

fn shown(api: Api, body: &Value) -> String {
    let found = extras(api, &body.to_string(), 0);
    let mut words = vec![];
    words.extend(found.long_cache.map(|field| format!("long {field}")));
    words.extend((found.hidden_tokens > 0).then(|| format!("hidden {}", found.hidden_tokens)));
    words.extend(found.unbounded.map(|part| format!("unbounded {part}")));
    match found.uncounted {
        Some(it) => format!("uncounted {}", it.field),
        None => words.join(", "),
    }
}

fn user(block: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, block]}]})
}

fn result(block: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [block]}]}]})
}

fn item(item: &Value) -> Value {
    json!({"input": [item]})
}

fn part(part: &Value) -> Value {
    json!({"contents": [{"role": "user", "parts": [part]}]})
}

#[test]
fn what_is_asked_for_table() {
    use Api::{Chat, Gemini, Messages, Responses};
    let hour = json!({"type": "ephemeral", "ttl": "1h"});
    let minutes = json!({"type": "ephemeral", "ttl": "5m"});
    let pdf = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}});
    let picture = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}});
    #[rustfmt::skip]
    let rows = [
        ("nothing", Messages, user(&json!({"type": "text", "text": "an \"image\" of a \"document\""})), ""),
        ("a cache of minutes", Messages, user(&json!({"type": "text", "text": "a", "cache_control": minutes})), ""),
        ("an hour, in a message", Messages, user(&json!({"type": "text", "text": "a", "cache_control": hour})), "long cache_control.ttl"),
        ("in a result", Messages, result(&json!({"type": "text", "text": "a", "cache_control": hour})), "long cache_control.ttl"),
        ("in the system prompt", Messages, json!({"system": [{"type": "text", "text": "a", "cache_control": hour}]}), "long cache_control.ttl"),
        ("in a tool", Messages, json!({"tools": [{"name": "f", "input_schema": {}, "cache_control": hour}]}), "long cache_control.ttl, hidden 1000"),
        ("for all of it", Messages, json!({"messages": [], "cache_control": hour}), "long cache_control.ttl"),
        ("OpenAI's twelve hours", Responses, json!({"input": "a", "prompt_cache_retention": "12h"}), "long prompt_cache_retention"),
        ("arguments of a call are no blocks", Messages, user(&json!({"type": "tool_use", "id": "t", "name": "f", "input": {"content": [picture], "type": "document"}})), ""),
        ("a picture is larger than its bytes", Messages, user(&picture), "hidden 5000"),
        ("in a result too", Messages, result(&picture), "hidden 5000"),
        ("by its address", Chat, user(&json!({"type": "image_url", "image_url": {"url": "https://a/b.png"}})), "hidden 12000"),
        ("in an old model", Chat, json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]}), "hidden 50000"),
        ("by its number", Responses, item(&json!({"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]})), "hidden 12000"),
        ("of the screen", Responses, item(&json!({"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "image_url": "data:"}})), "hidden 12000"),
        ("Gemini's", Gemini, part(&json!({"inlineData": {"mimeType": "image/png", "data": "iVBO"}})), "hidden 10000"),
        ("in another spelling", Gemini, part(&json!({"file_data": {"mime_type": "image/png", "file_uri": "gs://b/o"}})), "hidden 10000"),
        ("a document's pages are packed", Messages, user(&pdf), "unbounded document"),
        ("in a result too", Messages, result(&pdf), "unbounded document"),
        ("or lie elsewhere", Messages, user(&json!({"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}})), "unbounded document"),
        ("or are text", Messages, user(&json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}})), ""),
        ("or hold pictures", Messages, user(&json!({"type": "document", "source": {"type": "content", "content": [picture]}})), "hidden 5000"),
        ("a file", Chat, user(&json!({"type": "file", "file": {"file_id": "file-1"}})), "unbounded file"),
        ("a file by its address", Responses, item(&json!({"role": "user", "content": [{"type": "input_file", "file_url": "https://a/b"}]})), "unbounded input_file"),
        ("an item kept by the provider", Responses, item(&json!({"type": "item_reference", "id": "msg_1"})), "unbounded item_reference"),
        ("an item by its id alone", Responses, item(&json!({"id": "msg_1"})), "unbounded item_reference"),
        ("a conversation", Responses, json!({"input": "a", "conversation": "conv_1"}), "unbounded conversation"),
        ("Gemini's cache", Gemini, json!({"contents": [], "cachedContent": "cachedContents/1"}), "unbounded cachedContent"),
        ("Gemini's pages", Gemini, part(&json!({"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}})), "unbounded inlineData"),
        ("Gemini's files", Gemini, part(&json!({"fileData": {"mimeType": "text/plain", "fileUri": "gs://b/o"}})), "unbounded fileData"),
        ("text in disguise is its bytes", Gemini, part(&json!({"inlineData": {"mimeType": "text/plain", "data": "YQ=="}})), ""),
        ("in what a function gave", Gemini, part(&json!({"functionResponse": {"name": "f", "response": {}, "parts": [{"inlineData": {"mimeType": "image/png", "data": "i"}}]}})), "hidden 10000"),
        ("sound", Gemini, part(&json!({"inlineData": {"mimeType": "audio/wav", "data": "UklG"}})), "uncounted `audio/wav`"),
        ("OpenAI's sound", Chat, user(&json!({"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}})), "uncounted `input_audio`"),
        ("an answer in sound", Chat, json!({"messages": [], "modalities": ["text", "audio"]}), "uncounted `modalities`"),
        ("in text", Chat, json!({"messages": [], "modalities": ["text"]}), ""),
        ("Gemini's pictures", Gemini, json!({"contents": [], "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}), "uncounted `modalities`"),
        ("Anthropic's search", Messages, json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}]}), "uncounted `tools: web_search_20250305`"),
        ("Anthropic's sandbox", Messages, json!({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}), "uncounted `tools: code_execution_20250825`"),
        ("tools that the agent runs", Messages, json!({"tools": [{"name": "f"}, {"type": "custom", "name": "g"}, {"type": "bash_20250124", "name": "bash"}, {"type": "text_editor_20250728", "name": "e"}, {"type": "computer_20251124", "name": "c"}, {"type": "memory_20250818", "name": "m"}]}), "hidden 9000"),
        ("servers of tools", Messages, json!({"messages": [], "mcp_servers": [{"type": "url", "url": "https://a"}]}), "uncounted `mcp_servers`"),
        ("none of them", Messages, json!({"messages": [], "mcp_servers": []}), ""),
        ("OpenAI's search", Responses, json!({"input": "a", "tools": [{"type": "web_search"}]}), "uncounted `tools: web_search`"),
        ("and its files", Responses, json!({"input": "a", "tools": [{"type": "function", "name": "f"}, {"type": "file_search"}]}), "uncounted `tools: file_search`"),
        ("a shell at home", Responses, json!({"input": "a", "tools": [{"type": "local_shell"}, {"type": "shell"}, {"type": "apply_patch"}]}), "hidden 7000"),
        ("a shell elsewhere", Responses, json!({"input": "a", "tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}), "uncounted `tools: shell`"),
        ("among functions of one name", Responses, json!({"input": "a", "tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}, {"type": "mcp"}]}]}), "uncounted `tools: mcp`"),
        ("Codex's way", Responses, item(&json!({"type": "additional_tools", "tools": [{"type": "web_search"}]})), "uncounted `tools: web_search`"),
        ("Chat's search", Chat, json!({"messages": [], "web_search_options": {"search_context_size": "low"}}), "uncounted `web_search_options`"),
        ("turned on by nothing", Chat, json!({"messages": [], "web_search_options": {}}), "uncounted `web_search_options`"),
        ("a model that searches", Chat, json!({"model": "gpt-4o-search-preview", "messages": []}), "uncounted `model: gpt-4o-search-preview`"),
        ("Gemini's search", Gemini, json!({"contents": [], "tools": [{"googleSearch": {}}]}), "uncounted `tools: googleSearch`"),
        ("Gemini's maps", Gemini, json!({"contents": [], "tools": [{"functionDeclarations": []}, {"google_maps": {}}]}), "uncounted `tools: google_maps`"),
        ("Gemini's functions", Gemini, json!({"contents": [], "tools": [{"functionDeclarations": [{"name": "f"}]}, {"computerUse": {}}]}), "hidden 1000"),
        ("other models", Chat, json!({"model": "a", "models": ["b", "c"], "messages": []}), "uncounted `models`"),
        ("a template", Responses, json!({"input": "a", "prompt": {"id": "pmpt_1"}}), "uncounted `prompt`"),
        ("a prediction", Chat, json!({"messages": [], "prediction": {"type": "content", "content": "a"}}), "uncounted `prediction`"),
        ("a summary by Anthropic", Messages, json!({"messages": [], "context_management": {"edits": [{"type": "compact_20260112"}]}}), "uncounted `context_management: compact`"),
        ("one by OpenAI", Responses, json!({"input": "a", "context_management": [{"type": "compaction"}]}), "uncounted `context_management: compact`"),
        ("old results taken out", Messages, json!({"messages": [], "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}), ""),
    ];
    for (name, api, body, want) in rows {
        assert_eq!(shown(api, &body), want, "row: {name}");
    }
}

#[test]
fn a_word_in_disguise_is_seen() {
    let body = r#"{"messages": [{"role": "user", "content": [{"t\u0079pe": "doc\u0075ment", "source": {"type": "url", "url": "x"}}]}]}"#;
    assert_eq!(
        extras(Api::Messages, body, 0).unbounded.as_deref(),
        Some("document")
    );
    // The upstream may take either.
    let body = r#"{"messages": [{"role": "user", "content": [{"type": "image", "type": "text", "source": {}}]}]}"#;
    assert_eq!(extras(Api::Messages, body, 0).hidden_tokens, 5_000);
}

#[test]
fn what_was_answered_is_known_unless_it_may_have_changed() {
    let body = |source: Value| user(&json!({"type": "document", "source": source})).to_string();
    let inside = body(json!({"type": "base64", "data": "JVBE"}));
    assert_eq!(extras(Api::Messages, &inside, 1), Extras::default());
    let remote = body(json!({"type": "url", "url": "https://a/b.pdf"}));
    assert!(extras(Api::Messages, &remote, 1).unbounded.is_some());
}

#[test]
fn terms_table() {
    let of = |api, body: Value| {
        let body = body.to_string();
        let asked = request::read(api, body.as_bytes()).unwrap();
        let Terms {
            service_tier,
            speed,
            region,
            ..
        } = terms(&asked);
        [service_tier, speed, region]
            .map(Option::unwrap_or_default)
            .join(" ")
    };
    #[rustfmt::skip]
    let rows = [
        ("nothing", Api::Messages, json!({}), "  "),
        ("a tier", Api::Chat, json!({"service_tier": "priority"}), "priority  "),
        ("Gemini's", Api::Gemini, json!({"serviceTier": "PRIORITY"}), "PRIORITY  "),
        ("a cheaper one is only what the answer says", Api::Chat, json!({"service_tier": "flex"}), "  "),
        ("a speed", Api::Messages, json!({"speed": "fast"}), " fast "),
        ("a region", Api::Messages, json!({"inference_geo": "us"}), "  us"),
    ];
    for (name, api, body, want) in rows {
        assert_eq!(of(api, body), want, "row: {name}");
    }
    let twice = br#"{"service_tier": "priority", "service_tier": "default"}"#;
    assert!(
        request::read(Api::Chat, twice).is_err(),
        "two readers, two prices"
    );
}

#[test]
fn bytes_of_pictures_are_no_text() {
    let data = "A".repeat(10_000);
    let picture = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}});
    let bytes = |body: &Value, seen| extras(Api::Messages, &body.to_string(), seen).image_bytes;
    assert_eq!(bytes(&user(&picture), 0), picture.to_string().len() as u64);
    assert_eq!(bytes(&user(&picture), 1), 0, "they were counted");
    // Whatever may be read as text is.
    let both = r#"{"messages": [{"role": "user", "content": [{"type": "image", "type": "text", "text": "long"}]}]}"#;
    assert_eq!(extras(Api::Messages, both, 0).image_bytes, 0);
    let body = part(&json!({"inlineData": {"mimeType": "image/png", "data": data}})).to_string();
    assert_eq!(extras(Api::Gemini, &body, 0).image_bytes, 10_002);
}
