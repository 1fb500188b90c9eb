//! A conversation as people read it: `role: text`, tool calls with their
//! arguments, results.
//!
//! Pure. Understands what the common chat formats have in common (OpenAI chat
//! and responses, Anthropic blocks); anything else is shown as JSON. What an
//! agent or a model said is made plain, and long bodies are cut.

use serde_json::Value;

use crate::observe::plain;

/// Longest body that is shown, in characters; the rest is counted.
pub const BODY_CHARS_MAX: usize = 4_000;
/// Longest arguments that are shown, in characters.
const ARGS_CHARS_MAX: usize = 400;

/// Returns one message, as lines that end with a line break.
///
/// - `number`: its place in the conversation, from 1.
/// - `body`: the message as stored, JSON.
pub fn message(number: usize, body: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(body) else {
        return format!("{number:>4} ?: {}\n", indented(body));
    };
    let role = ["role", "type"]
        .iter()
        .find_map(|key| value.get(key)?.as_str())
        .unwrap_or("?");
    let mut parts = Vec::new();
    item(&value, &mut parts);
    for call in array(&value, "tool_calls") {
        tool_call(call, &mut parts);
    }
    if parts.is_empty() {
        parts.push(plain::excerpt(body, ARGS_CHARS_MAX));
    }
    format!(
        "{number:>4} {}: {}\n",
        plain::excerpt(role, 20),
        parts.join("\n     ")
    )
}

/// Adds what one item says, by its `type` or its `content`.
fn item(value: &Value, parts: &mut Vec<String>) {
    match value.get("type").and_then(Value::as_str) {
        Some("tool_use" | "function_call" | "server_tool_use") => tool_call(value, parts),
        Some("tool_result") => parts.push(result(value.get("content"))),
        Some("function_call_output") => parts.push(result(value.get("output"))),
        Some("thinking" | "reasoning") => {
            let text = value.get("thinking").or_else(|| value.get("summary"));
            parts.push(format!("(thinking) {}", body(text)));
        }
        Some(kind @ ("image" | "image_url" | "document" | "input_audio" | "file")) => {
            parts.push(format!("({kind})"));
        }
        _ => match value.get("content").or_else(|| value.get("text")) {
            Some(Value::Array(items)) => items.iter().for_each(|inner| part(inner, parts)),
            Some(Value::Null) | None => {}
            text => parts.push(body(text)),
        },
    }
}

/// Adds one part of a content list. Parts do not nest further.
fn part(value: &Value, parts: &mut Vec<String>) {
    match value {
        Value::String(text) => parts.push(indented(text)),
        Value::Object(fields) if fields.get("content").is_some_and(Value::is_array) => {
            match fields.get("type").and_then(Value::as_str) {
                Some("tool_result") => parts.push(result(fields.get("content"))),
                _ => parts.push(plain::excerpt(&value.to_string(), ARGS_CHARS_MAX)),
            }
        }
        Value::Object(_) => {
            let before = parts.len();
            item(value, parts);
            if parts.len() == before {
                parts.push(plain::excerpt(&value.to_string(), ARGS_CHARS_MAX));
            }
        }
        other => parts.push(plain::excerpt(&other.to_string(), ARGS_CHARS_MAX)),
    }
}

fn tool_call(value: &Value, parts: &mut Vec<String>) {
    let function = value.get("function").unwrap_or(value);
    let name = function.get("name").and_then(Value::as_str).unwrap_or("?");
    let args = ["arguments", "input"]
        .iter()
        .find_map(|key| function.get(key));
    let args = match args {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    parts.push(format!(
        "-> {}({})",
        plain::excerpt(name, 80),
        plain::excerpt(&args, ARGS_CHARS_MAX)
    ));
}

fn result(value: Option<&Value>) -> String {
    format!("<- {}", body(value))
}

/// Returns the text of a value: a string itself, the texts of a list of parts,
/// anything else as JSON.
fn body(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => indented(text),
        Some(Value::Array(items)) => {
            let texts: Vec<_> = items
                .iter()
                .map(|item| match item.get("text").and_then(Value::as_str) {
                    Some(text) => text.to_owned(),
                    None => item.to_string(),
                })
                .collect();
            indented(&texts.join("\n"))
        }
        Some(other) => indented(&other.to_string()),
    }
}

/// Returns a text made plain, bounded, its further lines indented.
fn indented(text: &str) -> String {
    let kept: String = text.chars().take(BODY_CHARS_MAX).collect();
    let mut shown = plain::text(kept.trim_end()).replace('\n', "\n     ");
    let left = text.len() - kept.len();
    if left > 0 {
        shown.push_str(&format!("… ({left} more bytes; --json has them)"));
    }
    shown
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_table() {
        #[rustfmt::skip]
        let rows = [
            ("plain text", r#"{"role":"user","content":"hi\nthere"}"#,
             "   1 user: hi\n     there\n"),
            ("OpenAI tool calls",
             r#"{"role":"assistant","content":null,"tool_calls":[{"id":"x","function":{"name":"sum","arguments":"{\"a\":1}"}}]}"#,
             "   1 assistant: -> sum({\"a\":1})\n"),
            ("an OpenAI tool result", r#"{"role":"tool","tool_call_id":"x","content":"3"}"#,
             "   1 tool: 3\n"),
            ("Anthropic blocks",
             r#"{"role":"assistant","content":[{"type":"text","text":"so"},{"type":"tool_use","name":"sum","input":{"a":1}}]}"#,
             "   1 assistant: so\n     -> sum({\"a\":1})\n"),
            ("an Anthropic result",
             r#"{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"3"}]}]}"#,
             "   1 user: <- 3\n"),
            ("an item of the responses API", r#"{"type":"function_call","name":"f","arguments":"{}"}"#,
             "   1 function_call: -> f({})\n"),
            ("no known shape", r#"{"x":1}"#, "   1 ?: {\"x\":1}\n"),
            ("not JSON", "hey", "   1 ?: hey\n"),
            ("escape sequences", r#"{"role":"\u001b[2J","content":"a\u001b]0;b"}"#,
             "   1 \\x1b[2J: a\\x1b]0;b\n"),
        ];
        for (name, given, want) in rows {
            assert_eq!(message(1, given), want, "row: {name}");
        }
    }

    #[test]
    fn a_long_body_is_cut_and_says_so() {
        let body = format!(r#"{{"role":"user","content":"{}"}}"#, "x".repeat(10_000));
        let shown = message(1, &body);
        assert!(shown.len() < 4_100);
        assert!(shown.ends_with("… (6000 more bytes; --json has them)\n"));
    }
}
