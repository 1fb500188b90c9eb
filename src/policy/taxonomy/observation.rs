//! What is classified: one result of one call, with what was known before the call.
//!
//! Tolerant by intent. Results come from tools nobody controls, so unknown keys
//! are ignored, missing ones have an empty meaning and a wrong type reads as
//! missing. Nothing here fails or panics; sizes are bounded where text is read
//! (see `text`), not where it is stored.
//!
//! # Meaning of the context fields
//!
//! | field | meaning |
//! |---|---|
//! | `command` | the shell command of an `exec`, string or argv; decides search-negative codes and readers |
//! | `request` | the HTTP or model request: `method`, `url`, `headers`, `body`/`max_tokens`/`tools`; its tools count as offered |
//! | `call` | the tool call `{name, arguments}` of an MCP or exec result; its name and arguments tell a reader |
//! | `tools_offered` | tools the model may call: names, or definitions with a schema that arguments must satisfy |
//! | `expect` | `"json"`: the payload must parse as JSON; `"nonempty"`: it must not be blank |
//! | `schema`, `output_schema` | a JSON Schema the payload must satisfy (implies `expect: "json"`) |
//! | `response_format` | the model request's own field; `json_object` and `json_schema` work as the two above |
//! | `task` | the prompt in words; a task about refusals or apologies switches the refusal gate off |
//! | `provider`, `model` | who answered; only used to read error text of that provider |

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Where a result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An HTTP exchange.
    Http,
    /// A child process.
    Exec,
    /// A JSON-RPC response of an MCP server.
    Mcp,
    /// An HTTP exchange with a model provider.
    Llm,
    /// Our own batch: items with an outcome each.
    Batch,
}

/// One result to classify.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Where the result comes from.
    pub kind: Kind,
    /// Name of the tool, empty if not known.
    pub tool: String,
    /// What the supervisor knew before the call; see the module header.
    pub context: Map<String, Value>,
    /// The raw result, shaped by `kind`.
    pub result: Value,
}

impl Observation {
    /// Reads an observation from JSON. Never fails; see the module header.
    pub fn from_value(value: Value) -> Self {
        let Value::Object(mut fields) = value else {
            return Self {
                kind: Kind::Http,
                tool: String::new(),
                context: Map::new(),
                result: value,
            };
        };
        let result = fields.remove("result").unwrap_or(Value::Null);
        let kind = match fields.get("kind").and_then(Value::as_str) {
            Some("http") => Kind::Http,
            Some("exec") => Kind::Exec,
            Some("mcp") => Kind::Mcp,
            Some("llm") => Kind::Llm,
            Some("batch") => Kind::Batch,
            _ => guess_kind(&result),
        };
        let context = match fields.remove("context") {
            Some(Value::Object(context)) => context,
            _ => Map::new(),
        };
        let tool = string_of(fields.get("tool")).unwrap_or_default();
        Self {
            kind,
            tool,
            context,
            result,
        }
    }

    /// Returns a field of the context.
    pub(super) fn known(&self, key: &str) -> Option<&Value> {
        self.context.get(key).filter(|value| !value.is_null())
    }

    /// Returns the shell command, as one string; argv is joined with quotes where needed.
    ///
    /// Taken from `context.command`, from the arguments of `context.call`, or the tool's name.
    pub(super) fn command(&self) -> String {
        let from_call = ["arguments", "args", "input"].into_iter().find_map(|key| {
            let arguments = self.known("call")?.get(key)?;
            ["command", "cmd", "script"]
                .into_iter()
                .find_map(|name| arguments.get(name))
        });
        match self.known("command").or(from_call) {
            Some(Value::String(command)) => command.clone(),
            Some(Value::Array(words)) => join_words(words),
            _ => self.tool.clone(),
        }
    }

    /// Returns a field of the context's request.
    pub(super) fn request(&self, key: &str) -> Option<&Value> {
        self.known("request")?.get(key)
    }

    /// Returns the HTTP method in upper case, if known.
    pub(super) fn method(&self) -> Option<String> {
        if let Some(method) = self.request("method").and_then(Value::as_str) {
            return Some(method.to_ascii_uppercase());
        }
        let first = self.known("request")?.as_str()?.split_whitespace().next()?;
        let is_method = first.len() <= 8 && first.chars().all(|c| c.is_ascii_uppercase());
        is_method.then(|| first.to_owned())
    }

    /// Returns the URL of the request or of the call's arguments, if known.
    pub(super) fn url(&self) -> Option<&str> {
        if let Some(url) = ["url", "uri", "path"]
            .into_iter()
            .find_map(|key| self.request(key))
        {
            return url.as_str();
        }
        if let Some(line) = self.known("request").and_then(Value::as_str) {
            return line.split_whitespace().find(|word| word.contains('/'));
        }
        let arguments = self.known("call")?.get("arguments")?;
        ["url", "uri"]
            .into_iter()
            .find_map(|key| arguments.get(key))?
            .as_str()
    }
}

impl<'de> Deserialize<'de> for Observation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from_value)
    }
}

fn guess_kind(result: &Value) -> Kind {
    let has = |key| result.get(key).is_some();
    if has("exit_code") || has("stderr") || has("stdout") || has("timed_out") {
        Kind::Exec
    } else if has("jsonrpc") {
        Kind::Mcp
    } else if has("items") && !has("status") {
        Kind::Batch
    } else {
        Kind::Http
    }
}

fn join_words(words: &[Value]) -> String {
    let words: Vec<String> = words
        .iter()
        .take(1_000)
        .filter_map(|word| string_of(Some(word)))
        .collect();
    let quoted: Vec<String> = words
        .iter()
        .map(|word| {
            let plain = word
                .chars()
                .all(|c| c.is_alphanumeric() || "-_./=:@%+,".contains(c));
            if plain {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', "'\\''"))
            }
        })
        .collect();
    quoted.join(" ")
}

/// Returns a scalar as text: strings as they are, numbers and booleans printed.
pub(super) fn string_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Returns a number that may have been written as a float or as text.
pub(super) fn integer_of(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            (float.fract() == 0.0 && float.abs() < 1e15).then_some(float as i64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Whether a JSON value carries nothing: null, blank text, an empty list or object.
pub(super) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reading_table() {
        #[rustfmt::skip]
        let rows = [
            ("a known kind is kept", json!({"kind": "llm", "result": {}}), Kind::Llm),
            ("an unknown kind is guessed from the result", json!({"kind": 7, "result": {"exit_code": 0}}), Kind::Exec),
            ("a bare list is no reason to fail", json!([1, 2]), Kind::Http),
            ("a wrong context reads as none", json!({"kind": "mcp", "context": "x", "tool": 5}), Kind::Mcp),
        ];
        for (name, value, want) in rows {
            assert_eq!(Observation::from_value(value).kind, want, "row: {name}");
        }
    }

    #[test]
    fn a_command_is_found_as_text_as_argv_and_in_the_call() {
        let command = |context: Value| {
            Observation::from_value(json!({"kind": "exec", "tool": "bash", "context": context}))
                .command()
        };
        assert_eq!(command(json!({"command": "ls -l"})), "ls -l");
        assert_eq!(
            command(json!({"command": ["grep", "a b", "f"]})),
            "grep 'a b' f"
        );
        assert_eq!(
            command(json!({"call": {"arguments": {"command": "make"}}})),
            "make"
        );
        assert_eq!(command(json!({})), "bash");
    }
}
