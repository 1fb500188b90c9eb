//! One line of MCP: what kind of message it is, and the few things that are changed.
//!
//! Pure, and shallow: a message is looked at no deeper than whoever guards it must. What
//! is passed on is passed on as text; a change is a splice into that text.
//!
//! A line that two readers may read differently (a member given twice, a carriage
//! return that a reader may take for the end of a line) is where a guard is walked
//! around. [`read`] refuses the first, [`one_line`] takes away the second.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::channel::raw::{Fields, excerpt};

/// Longest line of either side, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// Deepest nesting of a call, and of a response that is judged.
pub const DEPTH_MAX: usize = 100;
/// Longest id of a request, in bytes of its JSON text.
const ID_BYTES_MAX: usize = 256;

/// The request's version, in the era without a handshake.
const VERSION_FIELD: &str = "io.modelcontextprotocol/protocolVersion";
/// Where Claude Code names the model's tool use that a call belongs to.
const TOOL_USE_FIELD: &str = "claudecode/toolUseId";

/// Codes of JSON-RPC errors.
pub mod code {
    /// The line is not JSON.
    pub const PARSE: i64 = -32_700;
    /// It is no request.
    pub const INVALID_REQUEST: i64 = -32_600;
    /// There is no such method.
    pub const UNKNOWN_METHOD: i64 = -32_601;
    /// The parameters do not fit.
    pub const INVALID_PARAMS: i64 = -32_602;
    /// The server is gone.
    pub const CONNECTION_CLOSED: i64 = -32_000;
    /// The version is none of ours.
    pub const UNSUPPORTED_VERSION: i64 = -32_022;
}

/// A message, as far as it is looked at.
#[derive(Debug)]
pub enum Message<'a> {
    /// Wants an answer.
    Request {
        /// Its id, as written.
        id: &'a RawValue,
        /// What is asked.
        method: String,
        /// With what.
        params: Option<&'a RawValue>,
    },
    /// Wants none.
    Notification {
        /// What is told.
        method: String,
        /// With what.
        params: Option<&'a RawValue>,
    },
    /// Answers a request of the other side.
    Response {
        /// Its id, as written.
        id: &'a RawValue,
        /// What came of it.
        result: Option<&'a RawValue>,
        /// Why nothing did.
        error: Option<&'a RawValue>,
    },
    /// Several messages in one line, as older versions had them.
    Batch,
}

/// Why a line is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code of the error.
    pub code: i64,
    /// What is wrong, and what is expected.
    pub why: String,
    /// The id to answer under, as JSON; absent where none was shown.
    pub id: Option<String>,
}

/// Reads a line, without its end.
pub fn read(line: &str) -> Result<Message<'_>, Refusal> {
    let refuse = |code, why: &str, id: Option<&RawValue>| Refusal {
        code,
        why: why.to_owned(),
        id: id.map(|id| id.get().to_owned()),
    };
    let fields: Fields<'_> = match serde_json::from_str(line) {
        Ok(fields) => fields,
        Err(_) if is_batch(line) => return Ok(Message::Batch),
        Err(error) if serde_json::from_str::<&RawValue>(line).is_err() => {
            let why = format!("the line is not JSON at column {}", error.column());
            return Err(refuse(code::PARSE, &why, None));
        }
        Err(_) => return Err(refuse(code::INVALID_REQUEST, "the line is no object", None)),
    };
    let id = fields.get("id");
    if let Some(name) = fields.duplicate() {
        let why = format!("`{}` is given twice", excerpt(name));
        return Err(refuse(code::INVALID_REQUEST, &why, None));
    }
    if fields.overflow {
        let why = "the message has more than 64 members";
        return Err(refuse(code::INVALID_REQUEST, why, None));
    }
    if let Some(id) = id.filter(|id| !is_id(id.get())) {
        let why = format!("id is {}, expected a string or a number", excerpt(id.get()));
        return Err(refuse(code::INVALID_REQUEST, &why, None));
    }
    let params = fields.get("params").filter(|raw| raw.get() != "null");
    match (fields.get("method"), id) {
        (Some(method), id) => {
            let Ok(method) = serde_json::from_str::<String>(method.get()) else {
                return Err(refuse(code::INVALID_REQUEST, "method is no text", id));
            };
            Ok(match id {
                Some(id) => Message::Request { id, method, params },
                None => Message::Notification { method, params },
            })
        }
        (None, Some(id)) => Ok(Message::Response {
            id,
            result: fields.get("result"),
            error: fields.get("error"),
        }),
        (None, None) => {
            let why = "the message has neither a method nor an id";
            Err(refuse(code::INVALID_REQUEST, why, None))
        }
    }
}

fn is_batch(line: &str) -> bool {
    line.trim_start().starts_with('[') && serde_json::from_str::<&RawValue>(line).is_ok()
}

fn is_id(json: &str) -> bool {
    let is_kind = matches!(
        json.as_bytes().first(),
        Some(b'"' | b'-' | b'0'..=b'9' | b'n')
    );
    is_kind && json.len() <= ID_BYTES_MAX
}

/// Whether a batch has a call of a tool in it; a batch that cannot be read may.
pub fn batch_has_call(line: &str) -> bool {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(line) else {
        return true;
    };
    items.iter().any(|item| match read(item.get()) {
        Ok(Message::Request { method, .. } | Message::Notification { method, .. }) => {
            method == "tools/call"
        }
        Ok(Message::Response { .. }) => false,
        Ok(Message::Batch) | Err(_) => true,
    })
}

/// Returns the same line for readers that take a carriage return for a line's end:
/// outside of texts it is mere space, and within a text JSON has it escaped.
pub fn one_line(line: &str) -> std::borrow::Cow<'_, str> {
    match line.contains('\r') {
        true => line.replace('\r', " ").into(),
        false => line.into(),
    }
}

/// Returns an id so that two spellings of it are equal.
pub fn id_key(id: &RawValue) -> String {
    match serde_json::from_str::<Value>(id.get()) {
        Ok(Value::Number(number)) => match number.as_f64() {
            // What JavaScript sends back for `1.0`.
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => {
                format!("{float:.0}")
            }
            _ => number.to_string(),
        },
        Ok(other) => other.to_string(),
        Err(_) => id.get().to_owned(),
    }
}

/// The call of a tool.
#[derive(Debug)]
pub struct ToolCall<'a> {
    /// The tool.
    pub name: String,
    /// Its arguments, an object.
    pub args: Option<&'a RawValue>,
    /// The call's `_meta`.
    pub meta: Meta<'a>,
}

/// What a request says about itself.
#[derive(Debug, Default)]
pub struct Meta<'a> {
    /// The model's tool use.
    pub tool_use: Option<String>,
    /// Under which progress is told.
    pub progress_token: Option<&'a RawValue>,
    /// The version, where the request carries it.
    pub version: Option<String>,
}

impl Meta<'_> {
    /// Whether the request is of the era without a handshake.
    pub fn is_modern(&self) -> bool {
        self.version.is_some()
    }
}

/// Reads the parameters of `tools/call`.
///
/// Errors: what is wrong, and what is expected.
pub fn tool_call(params: Option<&RawValue>) -> Result<ToolCall<'_>, String> {
    let fields = object(params, "params")?;
    let name = fields.get("name").map(RawValue::get).unwrap_or_default();
    let name = serde_json::from_str::<String>(name).unwrap_or_default();
    if name.is_empty() {
        return Err("params.name is missing, expected the name of a tool".to_owned());
    }
    let args = fields.get("arguments").filter(|raw| raw.get() != "null");
    if args.is_some_and(|args| !args.get().starts_with('{')) {
        return Err("params.arguments is no object of arguments".to_owned());
    }
    Ok(ToolCall {
        name,
        args,
        meta: meta(params)?,
    })
}

/// Reads what a request says about itself.
///
/// Errors: what is wrong.
pub fn meta(params: Option<&RawValue>) -> Result<Meta<'_>, String> {
    if params.is_none_or(|params| !params.get().starts_with('{')) {
        return Ok(Meta::default());
    }
    let fields = object(params, "params")?;
    let Some(meta) = fields.get("_meta").filter(|raw| raw.get().starts_with('{')) else {
        return Ok(Meta::default());
    };
    let fields = object(Some(meta), "params._meta")?;
    let text = |name| {
        let raw = fields.get(name)?;
        serde_json::from_str::<String>(raw.get()).ok()
    };
    Ok(Meta {
        tool_use: text(TOOL_USE_FIELD),
        progress_token: fields.get("progressToken").filter(|raw| is_id(raw.get())),
        version: text(VERSION_FIELD),
    })
}

/// Returns one field of an object; `None` also where it is none.
pub fn field<'a>(json: Option<&'a RawValue>, name: &str) -> Option<&'a RawValue> {
    let fields = serde_json::from_str::<Fields<'a>>(json?.get()).ok()?;
    fields.get(name)
}

fn object<'a>(json: Option<&'a RawValue>, what: &str) -> Result<Fields<'a>, String> {
    let text = json.map(RawValue::get).unwrap_or("nothing");
    let fields = serde_json::from_str::<Fields<'a>>(text)
        .map_err(|_| format!("{what} is {}, expected an object", excerpt(text)))?;
    match fields.duplicate() {
        Some(name) => Err(format!("{what}.{} is given twice", excerpt(name))),
        None if fields.overflow => Err(format!("{what} has more than 64 members")),
        None => Ok(fields),
    }
}

/// Returns `line` with `new` in the place of `part`, which is a part of it.
pub fn splice(line: &str, part: &RawValue, new: &str) -> String {
    let (start, part) = (part.get().as_ptr() as usize, part.get());
    let at = start.wrapping_sub(line.as_ptr() as usize);
    match line.get(at..at.wrapping_add(part.len())) {
        Some(there) if there == part => {
            format!("{}{new}{}", &line[..at], &line[at + part.len()..])
        }
        // Not of this line; a caller's mistake, and the line stays as it is.
        _ => line.to_owned(),
    }
}

/// Returns the object `json` with the field `name` set to `value`, which is JSON.
pub fn with_field(json: &str, name: &str, value: &str) -> String {
    let fields = serde_json::from_str::<Fields<'_>>(json).unwrap_or_default();
    if let Some(old) = fields.get(name) {
        return splice(json, old, value);
    }
    let inside = json
        .trim()
        .trim_start_matches('{')
        .trim_end_matches(|c: char| c.is_whitespace());
    let name = Value::from(name);
    match inside.trim_start().strip_prefix('}') {
        Some(_) => format!("{{{name}:{value}}}"),
        None => format!("{{{name}:{value},{inside}"),
    }
}

/// Returns the answer to `id`, without a line end.
pub fn result(id: &str, result: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}")
}

/// Returns the error that answers `id`, without a line end.
pub fn error(id: Option<&str>, code: i64, message: &str) -> String {
    let error = json!({"code": code, "message": message});
    error_as_it_is(id.unwrap_or("null"), &error.to_string())
}

/// Returns the error that answers `id`, without a line end; `error` is JSON.
pub fn error_as_it_is(id: &str, error: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}")
}

/// Returns a notification, without a line end.
pub fn notification(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_table() {
        #[rustfmt::skip]
        let rows = [
            ("a request",                    r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#, Ok("request")),
            ("a request with a null id",     r#"{"id":null,"method":"ping"}"#, Ok("request")),
            ("a notification",               r#"{"method":"notifications/x","params":{}}"#, Ok("notification")),
            ("a response",                   r#"{"id":0,"result":{}}"#, Ok("response")),
            ("an error",                     r#"{"id":0,"error":{}}"#, Ok("response")),
            ("unknown members are no matter", r#"{"id":0,"method":"x","new":1}"#, Ok("request")),
            ("a batch",                      r#" [{"id":0,"method":"x"}]"#, Ok("batch")),
            ("no JSON",                      "hello", Err(code::PARSE)),
            ("half of it",                   r#"{"id":0"#, Err(code::PARSE)),
            ("a number",                     "7", Err(code::INVALID_REQUEST)),
            ("nothing in it",                "{}", Err(code::INVALID_REQUEST)),
            ("a method twice",               r#"{"id":0,"method":"ping","method":"tools/call"}"#, Err(code::INVALID_REQUEST)),
            ("a method twice, once escaped", r#"{"id":0,"method":"ping","m\u0065thod":"tools/call"}"#, Err(code::INVALID_REQUEST)),
            ("a method that is no text",     r#"{"id":0,"method":["ping"]}"#, Err(code::INVALID_REQUEST)),
            ("an id that is none",           r#"{"id":{},"method":"ping"}"#, Err(code::INVALID_REQUEST)),
        ];
        for (name, line, want) in rows {
            let found = read(line).map(|message| match message {
                Message::Request { .. } => "request",
                Message::Notification { .. } => "notification",
                Message::Response { .. } => "response",
                Message::Batch => "batch",
            });
            assert_eq!(found.map_err(|refusal| refusal.code), want, "row: {name}");
        }
        let deep = format!(
            "{{\"id\":0,\"method\":\"x\",\"params\":{}",
            "[".repeat(100_000)
        );
        assert_eq!(read(&deep).unwrap_err().code, code::PARSE);
        let whole = format!("{deep}{}}}", "]".repeat(100_000));
        assert!(matches!(read(&whole), Ok(Message::Request { .. })));
    }

    #[test]
    fn what_two_readers_may_read_differently_is_refused() {
        let call = |params: &str| {
            let params = RawValue::from_string(params.to_owned()).unwrap();
            tool_call(Some(&params)).map(|call| call.name)
        };
        assert_eq!(call(r#"{"name":"a","arguments":{}}"#), Ok("a".to_owned()));
        assert!(call(r#"{"name":"a","name":"b"}"#).is_err());
        assert!(call(r#"{"name":"a","arguments":[]}"#).is_err());
        assert!(call(r#"{"name":""}"#).is_err());
        assert!(call("[]").is_err());
        let smuggled = "{\"id\":1,\"method\":\"x\",\"params\":\r{\"method\":\"tools/call\"}\r}";
        assert!(!one_line(smuggled).contains('\r'));
        assert!(batch_has_call(r#"[{"id":1,"method":"tools\/call"}]"#));
        assert!(batch_has_call(r#"[[1]]"#));
        assert!(!batch_has_call(
            r#"[{"id":1,"method":"ping"},{"id":2,"result":{}}]"#
        ));
    }

    #[test]
    fn ids_are_equal_however_they_are_spelt() {
        let key = |json: &str| id_key(&RawValue::from_string(json.to_owned()).unwrap());
        assert_eq!(key(r#""\u0041""#), key(r#""A""#));
        assert_eq!(key("1.0"), key("1"));
        assert_ne!(key("1"), key(r#""1""#));
        assert_ne!(key("1.5"), key("1"));
    }

    #[test]
    fn splices_change_one_place() {
        let line = r#"{"id": 7, "method":"tools/call","params":{"name":"a","arguments":{"id":7}}}"#;
        let Ok(Message::Request { id, .. }) = read(line) else {
            panic!("a request")
        };
        let new = splice(line, id, "\"x\"");
        assert_eq!(new, line.replacen("7", "\"x\"", 1));
        let other = RawValue::from_string("7".to_owned()).unwrap();
        assert_eq!(splice(line, &other, "8"), line);
        assert_eq!(with_field("{}", "k", "1"), r#"{"k":1}"#);
        assert_eq!(
            with_field(r#"{ "a": {} }"#, "k", "1"),
            r#"{"k":1, "a": {} }"#
        );
        assert_eq!(
            with_field(r#"{"k":"own","a":1}"#, "k", "1"),
            r#"{"k":1,"a":1}"#
        );
    }

    #[test]
    fn meta_is_read_where_it_is_there() {
        let params = r#"{"_meta":{"claudecode/toolUseId":"toolu_1","progressToken":3,
            "io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
        let params = RawValue::from_string(params.to_owned()).unwrap();
        let meta = meta(Some(&params)).unwrap();
        assert_eq!(meta.tool_use.as_deref(), Some("toolu_1"));
        assert_eq!(meta.progress_token.map(RawValue::get), Some("3"));
        assert!(meta.is_modern());
        assert!(!super::meta(None).unwrap().is_modern());
    }
}
