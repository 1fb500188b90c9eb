//! JSON-RPC 2.0 frames: one line in, one request or one error out.
//!
//! Pure: text in, typed data out, and back. Every error of the protocol is a
//! variant of [`Error`], with its code, its sentence and its machine-readable
//! data side by side; nothing else in the channel words an error.
//!
//! Not here: what the methods take and give ([`super::method`]), where a line
//! ends ([`super::lines`]).

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::method;
use super::raw::{self, Fields, Verbatim};
use crate::ids::StepNo;

/// Deepest nesting of objects and arrays in a frame, the frame itself included.
pub const DEPTH_MAX: usize = 128;
/// Longest id of a request, in bytes of its JSON text.
pub const ID_BYTES_MAX: usize = 256;

/// The members of a request.
const MEMBERS: &[&str] = &["jsonrpc", "id", "method", "params"];

/// A request or a notification, its parameters still unread.
#[derive(Debug)]
pub struct Request<'a> {
    /// Absent in a notification, which is carried out and not answered.
    pub id: Option<Id>,
    /// The name as written; it may be unknown.
    pub method: String,
    /// The parameters as written, absent when missing or null.
    pub params: Option<&'a RawValue>,
}

/// The id of a request as JSON text: a string, a number or null. It is sent
/// back as it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id(Box<str>);

impl Id {
    /// Makes an id from a number.
    pub fn number(number: u64) -> Self {
        Self(number.to_string().into())
    }

    /// Returns the JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

/// A line that is not a request, with the id to answer under.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// Absent when the line did not show one; the answer then has a null id.
    pub id: Option<Id>,
    /// What is wrong.
    pub error: Error,
}

/// Reads one line, without its line end.
///
/// Errors: [`Error::TooDeep`], [`Error::NotJson`], [`Error::Nul`],
/// [`Error::Batch`], [`Error::NotObject`], [`Error::Envelope`].
pub fn parse(line: &str) -> Result<Request<'_>, Rejection> {
    let nameless = |error| Rejection { id: None, error };
    if deeper_than(line.as_bytes(), DEPTH_MAX) {
        return Err(nameless(Error::TooDeep {
            depth_max: DEPTH_MAX,
        }));
    }
    let fields: Fields<'_> =
        serde_json::from_str(line).map_err(|error| nameless(not_an_object(line, &error)))?;
    let id = match fields.get("id").map(|raw| raw.get()) {
        None => None,
        Some(json) if is_id(json) => Some(Id(json.into())),
        Some(json) => {
            let expected = "a string, a number or null of at most 256 bytes";
            return Err(nameless(envelope("id", expected, raw::describe(json))));
        }
    };
    match members(&fields) {
        Ok((method, params)) => Ok(Request { id, method, params }),
        Err(error) => Err(Rejection { id, error }),
    }
}

/// Reads the members other than the id.
fn members<'a>(fields: &Fields<'a>) -> Result<(String, Option<&'a RawValue>), Error> {
    let answers = fields.get("result").or(fields.get("error")).is_some();
    if answers && fields.get("method").is_none() {
        return Err(Error::Response);
    }
    if fields.overflow {
        return Err(envelope(
            "frame",
            "at most the members jsonrpc, id, method, params",
            "over 64".into(),
        ));
    }
    if let Some(name) = fields.duplicate() {
        return Err(envelope(name, "each member once", "given twice".into()));
    }
    if let Some(name) = fields.unknown(MEMBERS) {
        let known = "one of jsonrpc, id, method, params";
        let meant = super::suggest::nearest(name, MEMBERS);
        let found = match meant {
            Some(meant) => format!("an unknown member (did you mean `{meant}`?)"),
            None => "an unknown member".to_owned(),
        };
        return Err(envelope(name, known, found));
    }
    let version = fields.get("jsonrpc").map_or("missing", RawValue::get);
    if version != "\"2.0\"" {
        return Err(envelope("jsonrpc", "\"2.0\"", raw::describe(version)));
    }
    let name = fields.get("method").map_or("missing", RawValue::get);
    let Ok(method) = serde_json::from_str::<String>(name) else {
        return Err(envelope(
            "method",
            "the name of a method as a string",
            raw::describe(name),
        ));
    };
    let params = fields.get("params").filter(|raw| raw.get() != "null");
    Ok((method, params))
}

fn envelope(member: &str, expected: &str, found: String) -> Error {
    Error::Envelope {
        member: raw::excerpt(member),
        expected: expected.to_owned(),
        found,
    }
}

/// Names what a line that did not open as an object is instead.
fn not_an_object(line: &str, error: &serde_json::Error) -> Error {
    // The grammar first: `[1,` is broken JSON, not a batch.
    let grammar = serde_json::from_str::<&RawValue>(line);
    match grammar {
        Ok(json) if json.get().starts_with('[') => Error::Batch,
        Ok(json) if !json.get().starts_with('{') => Error::NotObject {
            found: raw::describe(json.get()),
        },
        Ok(_) => Error::NotJson {
            column: error.column(),
            why: raw::why(error),
        },
        Err(error) => match line.find('\0') {
            Some(offset) => Error::Nul { offset },
            None => Error::NotJson {
                column: error.column(),
                why: raw::why(&error),
            },
        },
    }
}

fn is_id(json: &str) -> bool {
    let kind_fits = matches!(
        json.as_bytes().first(),
        Some(b'"' | b'-' | b'0'..=b'9' | b'n')
    );
    kind_fits && json.len() <= ID_BYTES_MAX
}

/// Reports whether objects and arrays nest deeper than `depth_max`.
///
/// Looks at brackets outside strings only and needs no valid JSON, so that it
/// can stand before the parser.
pub fn deeper_than(line: &[u8], depth_max: usize) -> bool {
    let (mut rest, mut depth) = (line, 0_usize);
    while let [byte, behind @ ..] = rest {
        rest = behind;
        match byte {
            b'"' => rest = behind_string(rest),
            b'{' | b'[' => {
                depth += 1;
                if depth > depth_max {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Skips to what follows the string that has begun. Most of a long line is strings.
fn behind_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        if rest[at] == b'"' {
            return &rest[at + 1..];
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    &[]
}

/// Returns the line, line end included, that asks for `method`.
pub fn render_request(id: &Id, method: &str, params: &Verbatim) -> String {
    let (id, params) = (id.as_json(), params.get());
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{},\"params\":{params}}}\n",
        json!(method)
    )
}

/// Returns the line, line end included, that answers `id`.
///
/// An answer that cannot be written as JSON becomes [`Error::Internal`].
pub fn render_answer(id: Option<&Id>, answer: &Result<method::Answer, Error>) -> String {
    let id = id.map_or("null", Id::as_json);
    let written = match answer {
        Ok(answer) => serde_json::to_string(answer).map_err(|error| Error::Internal {
            what: error.to_string(),
        }),
        Err(error) => Err(error.clone()),
    };
    match written {
        Ok(result) => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}\n"),
        Err(error) => format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{}}}\n",
            error.to_json()
        ),
    }
}

/// The codes of the protocol. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
pub enum Code {
    /// The line is not JSON.
    Parse = -32700,
    /// The line is JSON and not a request.
    InvalidRequest = -32600,
    /// There is no such method.
    UnknownMethod = -32601,
    /// The parameters do not fit the method.
    InvalidParams = -32602,
    /// agentguard itself, or the machine below it, failed.
    Internal = -32603,
    /// The line is longer than the bound; the rest of it is skipped.
    TooLarge = -32001,
    /// Too much waits: large lines being received, or answers unread.
    TooMuchInFlight = -32002,
    /// The run is stopping and takes nothing more.
    Stopping = -32003,
    /// The turn has another number than the next one.
    WrongStep = -32004,
    /// Objects and arrays nest deeper than the bound.
    TooDeep = -32005,
    /// The connection is one too many, and is closed.
    TooManyConnections = -32006,
    /// Too many lines in a row were not requests; the connection is closed.
    TooMuchGarbage = -32007,
    /// The peer is another user, and the connection is closed.
    Foreign = -32008,
}

impl Code {
    /// Every code, in the order of the specification.
    pub const ALL: [Self; 13] = [
        Self::Parse,
        Self::InvalidRequest,
        Self::UnknownMethod,
        Self::InvalidParams,
        Self::Internal,
        Self::TooLarge,
        Self::TooMuchInFlight,
        Self::Stopping,
        Self::WrongStep,
        Self::TooDeep,
        Self::TooManyConnections,
        Self::TooMuchGarbage,
        Self::Foreign,
    ];

    /// Returns the number sent in a frame.
    pub fn number(self) -> i32 {
        self as i32
    }
}

/// Everything that can be wrong with a line or a request.
///
/// The text is one sentence: what, where, expected against found, the fix.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The line is not UTF-8.
    #[error("the line is not UTF-8 from byte {offset} on; send JSON as UTF-8")]
    NotUtf8 {
        /// First byte that does not belong, from 0.
        offset: usize,
    },

    /// The line has a zero byte.
    #[error("the line has a zero byte at byte {offset}; inside JSON strings write \\u0000")]
    Nul {
        /// Its place, from 0.
        offset: usize,
    },

    /// The line is not JSON.
    #[error("the line is not JSON at column {column}: {why}; send one JSON object a line")]
    NotJson {
        /// Where it stops being JSON, in bytes from 1.
        column: usize,
        /// What the parser says.
        why: String,
    },

    /// The input ended within a line.
    #[error(
        "the input ended after {bytes} bytes without a line end; the half line was not carried out"
    )]
    HalfLine {
        /// Bytes of the half line.
        bytes: usize,
    },

    /// The line is an array of requests.
    #[error(
        "the line is a batch (an array), which is not supported; send each request on a line of its own"
    )]
    Batch,

    /// The line is JSON and no object.
    #[error(
        "the line is {found}, expected a request: an object with jsonrpc, id, method and params"
    )]
    NotObject {
        /// What it is.
        found: String,
    },

    /// The line is a response.
    #[error(
        "the line is a response, and agentguard asks nothing; send requests, with method and params"
    )]
    Response,

    /// A member of the frame itself is wrong.
    #[error("the request's {member} is {found}, expected {expected}")]
    Envelope {
        /// Which member.
        member: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },

    /// There is no such method.
    #[error("there is no method `{found}`{meant}; methods are {methods}",
        meant = .meant.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default(),
        methods = method::NAMES.join(", "))]
    UnknownMethod {
        /// The name sent, shortened.
        found: String,
        /// The method it was probably meant to be.
        meant: Option<&'static str>,
    },

    /// A parameter is wrong.
    #[error(transparent)]
    Params(#[from] Box<Param>),

    /// agentguard itself, or the machine below it, failed.
    #[error("agentguard failed inside: {what}; nothing was promised for this request")]
    Internal {
        /// What failed.
        what: String,
    },

    /// The line is longer than the bound.
    #[error(
        "the line is longer than {bytes_max} bytes and was skipped; send only what is new (`messages`, not `history`)"
    )]
    TooLarge {
        /// The bound, in bytes.
        bytes_max: usize,
    },

    /// Too many large lines are being received or carried out at once.
    #[error(
        "{lines_max} lines over {small_bytes} bytes are in flight already and this one was skipped; send it again when answers have come"
    )]
    TooManyLargeLines {
        /// Large lines allowed at once, over all connections.
        lines_max: usize,
        /// Size from which a line counts as large, in bytes.
        small_bytes: usize,
    },

    /// The client does not read its answers.
    #[error(
        "the answer has no room: {unread_bytes} bytes of answers wait unread, at most {bytes_max} may; read them, then ask again"
    )]
    Unread {
        /// Bytes waiting, this answer not included.
        unread_bytes: usize,
        /// The bound, in bytes.
        bytes_max: usize,
    },

    /// The run is stopping.
    #[error("the run is stopping ({reason}) and takes nothing more; end the loop")]
    Stopping {
        /// Why, as in a stop verdict.
        reason: String,
        /// The exit code the run will have.
        exit_code: u8,
    },

    /// The turn has another number than the next one.
    #[error(
        "step is {found}, expected {expected}: the last committed step plus 1; ask `state` where the run is"
    )]
    WrongStep {
        /// The number that would be right.
        expected: StepNo,
        /// The number sent.
        found: StepNo,
    },

    /// Objects and arrays nest too deep.
    #[error("the frame nests deeper than {depth_max} objects and arrays; send deep data as text")]
    TooDeep {
        /// The bound, the frame itself included.
        depth_max: usize,
    },

    /// The connection is one too many.
    #[error(
        "{connections_max} connections are open already and this one is closed; use one connection for many requests"
    )]
    TooManyConnections {
        /// The bound.
        connections_max: usize,
    },

    /// Too many lines in a row were not requests.
    #[error(
        "{lines} lines in a row were not requests and the connection is closed; see docs/protocol.md"
    )]
    TooMuchGarbage {
        /// How many.
        lines: usize,
    },

    /// The peer is another user.
    #[error(
        "the connection comes from user {uid} and is closed; only the user of the run may connect"
    )]
    Foreign {
        /// The peer's user id.
        uid: u32,
    },
}

impl Error {
    /// Returns the code sent in the frame.
    pub fn code(&self) -> Code {
        match self {
            Self::NotUtf8 { .. }
            | Self::Nul { .. }
            | Self::NotJson { .. }
            | Self::HalfLine { .. } => Code::Parse,
            Self::Batch | Self::Response | Self::NotObject { .. } | Self::Envelope { .. } => {
                Code::InvalidRequest
            }
            Self::UnknownMethod { .. } => Code::UnknownMethod,
            Self::Params(_) => Code::InvalidParams,
            Self::Internal { .. } => Code::Internal,
            Self::TooLarge { .. } => Code::TooLarge,
            Self::TooManyLargeLines { .. } | Self::Unread { .. } => Code::TooMuchInFlight,
            Self::Stopping { .. } => Code::Stopping,
            Self::WrongStep { .. } => Code::WrongStep,
            Self::TooDeep { .. } => Code::TooDeep,
            Self::TooManyConnections { .. } => Code::TooManyConnections,
            Self::TooMuchGarbage { .. } => Code::TooMuchGarbage,
            Self::Foreign { .. } => Code::Foreign,
        }
    }

    /// Returns the machine-readable part: the objects the sentence names.
    pub fn data(&self) -> Value {
        match self {
            Self::NotUtf8 { offset } | Self::Nul { offset } => json!({ "offset": offset }),
            Self::NotJson { column, why } => json!({ "column": column, "why": why }),
            Self::HalfLine { bytes } => json!({ "bytes": bytes }),
            Self::Batch => json!({ "found": "an array" }),
            Self::Response => json!({ "found": "a response" }),
            Self::NotObject { found } => json!({ "found": found }),
            Self::Envelope {
                member,
                expected,
                found,
            } => {
                json!({ "field": member, "expected": expected, "found": found })
            }
            Self::UnknownMethod { found, meant } => {
                json!({ "found": found, "methods": method::NAMES, "did_you_mean": meant })
            }
            Self::Params(param) => param.data(),
            Self::Internal { what } => json!({ "what": what }),
            Self::TooLarge { bytes_max } => json!({ "bytes_max": bytes_max }),
            Self::TooManyLargeLines {
                lines_max,
                small_bytes,
            } => {
                json!({ "lines_max": lines_max, "small_bytes": small_bytes })
            }
            Self::Unread {
                unread_bytes,
                bytes_max,
            } => {
                json!({ "unread_bytes": unread_bytes, "bytes_max": bytes_max })
            }
            Self::Stopping { reason, exit_code } => {
                json!({ "reason": reason, "exit_code": exit_code })
            }
            Self::WrongStep { expected, found } => json!({ "expected": expected, "found": found }),
            Self::TooDeep { depth_max } => json!({ "depth_max": depth_max }),
            Self::TooManyConnections { connections_max } => {
                json!({ "connections_max": connections_max })
            }
            Self::TooMuchGarbage { lines } => json!({ "lines": lines }),
            Self::Foreign { uid } => json!({ "uid": uid }),
        }
    }

    /// Returns the error object of a frame.
    fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Object {
            code: i32,
            message: String,
            data: Value,
        }
        let object = Object {
            code: self.code().number(),
            message: self.to_string(),
            data: self.data(),
        };
        serde_json::to_string(&object).expect("numbers and texts print as JSON")
    }
}

/// What is wrong with one parameter of a method.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{method}`: {field} is {found}, expected {expected}{fix}",
    fix = .fix.as_ref().map(|fix| format!("; {fix}")).unwrap_or_default())]
pub struct Param {
    /// The method asked for.
    pub method: &'static str,
    /// The field, with dots and brackets: `usage.cost_usd`, `messages[2]`.
    pub field: String,
    /// What it must be.
    pub expected: String,
    /// What it is.
    pub found: String,
    /// What to write instead, where there is one thing to write.
    pub fix: Option<String>,
    /// The known field that an unknown one was probably meant to be.
    pub meant: Option<&'static str>,
}

impl Param {
    fn data(&self) -> Value {
        let mut data = json!({
            "method": self.method, "field": self.field, "expected": self.expected, "found": self.found,
        });
        if let Some(meant) = self.meant {
            data["did_you_mean"] = json!(meant);
        }
        data
    }
}
