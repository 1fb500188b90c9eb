//! What a request asks for.
//!
//! Reads the body once, one level deep; messages stay slices of it. The caller
//! reads them with [`Said::read`]. Agents send their whole history with every call:
//! the part that was read before is not read again ([`read_on`]).
//!
//! Only fields that money, routing or framing depend on are errors when they
//! cannot be read, and they must be given once: two parsers that disagree about
//! a key given twice would disagree about the cap. Everything else is the
//! upstream's to judge.

use std::ops::Range;

use serde_json::value::RawValue;

use super::api::Api;
use super::bounds::{BODY_BYTES_MAX, DEPTH_MAX, ITEMS_MAX};
use super::json::{self, Digest, Fields, Outline};
use super::said::Said;
use crate::channel::frame::deeper_than;
use crate::channel::raw::describe;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The wire format.
    pub api: Api,
    /// The model; absent where the path names it (Gemini) or nobody does.
    pub model: Option<String>,
    /// Events are asked for (not Gemini, whose path says it).
    pub is_stream: bool,
    /// Limit of the output of one choice, in tokens.
    pub max_output: Option<u64>,
    /// Tokens set aside for thinking; Messages wants `max_tokens` above it.
    pub thinking: Option<u64>,
    /// Answers asked for at once, each up to the limit; usually 1.
    pub choices: u64,
    /// A chat stream will end with its usage.
    pub asks_usage: bool,
    /// The history as written, in order, system messages inside it included.
    pub messages: Vec<&'a str>,
    /// The system prompt, where it stands apart from the history.
    pub system: Option<&'a RawValue>,
    /// Tools the model may call.
    pub tools: Vec<Offered<'a>>,
    /// What the answer must look like.
    pub expects: Expects<'a>,
    /// The history up to this response lies with the upstream.
    pub previous_response_id: Option<String>,
    /// Every other field as written, for [`super::extras`].
    pub(super) fields: Fields<'a>,
}

/// A tool the model may call.
#[derive(Clone, Debug)]
pub struct Offered<'a> {
    /// Its name, or its type where it is the upstream's own tool.
    pub name: String,
    /// How it is called.
    pub kind: ToolKind,
    /// JSON schema of its arguments, as written.
    pub schema: Option<&'a RawValue>,
}

/// How a tool is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolKind {
    /// With JSON arguments.
    Function,
    /// With free text.
    FreeText,
    /// Named by type alone (`web_search`, `bash_20250124`): its schema is the
    /// upstream's, and running it may cost extra.
    BuiltIn,
}

/// What the answer must look like.
#[derive(Clone, Copy, Debug)]
pub enum Expects<'a> {
    /// Nothing in particular.
    Text,
    /// Any JSON.
    Json,
    /// JSON of this schema, as written.
    Schema(&'a RawValue),
}

/// Why a body cannot be handled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body is longer than the bound.
    #[error("the request body has {bytes} bytes, expected at most {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The body is not UTF-8.
    #[error("the request body is not UTF-8 from byte {offset} on")]
    NotUtf8 {
        /// First byte that does not belong, from 0.
        offset: usize,
    },
    /// Objects and lists nest too deep.
    #[error("the request body nests deeper than {depth_max} levels")]
    TooDeep {
        /// The bound.
        depth_max: usize,
    },
    /// The body is not JSON.
    #[error("the request body is not JSON at line {line}, column {column}")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
    },
    /// A field is something else than it must be.
    #[error("{field} is {found}, expected {expected}")]
    Field {
        /// Which field, by its path.
        field: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A field that must be unambiguous is given twice.
    #[error("{field} is given more than once, expected once")]
    Twice {
        /// Which field, by its path.
        field: String,
    },
}

/// Reads a body.
///
/// Errors: every variant of [`Error`]; nothing is kept then.
pub fn read(api: Api, body: &[u8]) -> Result<Asked<'_>, Error> {
    read_on(api, body, |_| Vec::new())
}

/// Reads a body whose first messages may have been read before.
///
/// - `known`: is given the text from the first message on, and returns where in it the first ones
///   stand that were read before, character for character, each an object.
///
/// Errors: every variant of [`Error`]; nothing is kept then.
pub fn read_on<'a>(
    api: Api,
    body: &'a [u8],
    known: impl FnOnce(&'a str) -> Vec<Range<usize>>,
) -> Result<Asked<'a>, Error> {
    let spelling = spelling(api);
    let outline = outline(body, spelling.messages, known)?;
    if outline.lists > 1 {
        let field = spelling.messages.to_owned();
        return Err(Error::Twice { field });
    }
    if outline.is_cut {
        let found = format!("an array of more than {ITEMS_MAX}");
        let expected = "an array of at most 65536 elements";
        return Err(field(spelling.messages, expected, found));
    }
    let Outline {
        fields,
        items: messages,
        ..
    } = outline;
    for name in spelling.once {
        once(&fields, name, name)?;
    }
    let empty = Fields::default;
    let generation = match generation(&fields)? {
        Some(raw) if api == Api::Gemini => inner(raw, "generationConfig")?,
        _ => empty(),
    };
    let limits = if api == Api::Gemini {
        &generation
    } else {
        &fields
    };
    if api == Api::Responses && flag(&fields, "background")? {
        let expected = "false: an answer that is fetched later comes past what counts it";
        return Err(field("background", expected, "true".to_owned()));
    }
    let mut max_output = None;
    for name in spelling.max_output {
        once(limits, name, name)?;
        // Chat has an old and a new name; the larger one is what may be spent.
        max_output = max_output.max(whole(limits, name)?);
    }
    let stream_options = match fields.get("stream_options") {
        Some(raw) => inner(raw, "stream_options")?,
        None => empty(),
    };
    let mut tools = offered(api, &fields);
    if api == Api::Responses {
        tools.extend(messages.iter().flat_map(additional_tools));
    }
    let thinking = fields
        .get("thinking")
        .and_then(|raw| Fields::open(raw.get()));
    let thinking = thinking
        .map(|thinking| whole(&thinking, "budget_tokens"))
        .transpose()?;
    Ok(Asked {
        api,
        model: match fields.get("model") {
            None => None,
            Some(raw) => Some(json::text(raw.get()).ok_or_else(|| wrong("model", "a text", raw))?),
        },
        is_stream: flag(&fields, "stream")?,
        max_output,
        thinking: thinking.flatten(),
        choices: whole(limits, spelling.choices)?.unwrap_or(1).max(1),
        asks_usage: flag(&stream_options, "include_usage")?,
        messages,
        system: fields.any(spelling.system),
        tools,
        expects: expects(api, &fields, &generation),
        previous_response_id: fields.text("previous_response_id"),
        fields,
    })
}

impl Asked<'_> {
    /// Returns every message read, in order.
    pub fn history(&self) -> Vec<Said> {
        let read = |raw: &&str| self.said(raw);
        self.messages.iter().map(read).collect()
    }

    /// Returns one of the messages read.
    pub fn said(&self, raw: &str) -> Said {
        Said::of_item(self.api, raw)
    }

    /// Returns the meaning of the system prompt, cache marks ignored.
    pub fn system_hash(&self) -> Option<Digest> {
        let raw = self.system?.get();
        if self.api == Api::Gemini {
            return Said::read(self.api, raw).hash;
        }
        let message = format!(r#"{{"role":"system","content":{raw}}}"#);
        Said::read(self.api, &message).hash
    }
}

/// How an API names what others have too.
struct Spelling {
    /// Keys that must not be given twice.
    once: &'static [&'static str],
    max_output: &'static [&'static str],
    choices: &'static str,
    messages: &'static str,
    system: &'static [&'static str],
}

fn spelling(api: Api) -> Spelling {
    let once = &[
        "model",
        "stream",
        "stream_options",
        "n",
        "background",
        "service_tier",
        "speed",
        "inference_geo",
    ];
    match api {
        Api::Messages | Api::CountTokens => Spelling {
            once,
            max_output: &["max_tokens"],
            choices: "n",
            messages: "messages",
            system: &["system"],
        },
        Api::Chat => Spelling {
            once,
            max_output: &["max_completion_tokens", "max_tokens"],
            choices: "n",
            messages: "messages",
            system: &[],
        },
        Api::Responses => Spelling {
            once,
            max_output: &["max_output_tokens"],
            choices: "n",
            messages: "input",
            system: &["instructions"],
        },
        Api::Gemini => Spelling {
            once: &[
                "generationConfig",
                "generation_config",
                "serviceTier",
                "service_tier",
            ],
            max_output: &["maxOutputTokens", "max_output_tokens"],
            choices: "candidateCount",
            messages: "contents",
            system: &["systemInstruction", "system_instruction"],
        },
    }
}

/// Opens a body as an object.
pub(super) fn open(body: &[u8]) -> Result<Fields<'_>, Error> {
    let text = text(body)?;
    if deeper_than(body, DEPTH_MAX) {
        return Err(TOO_DEEP);
    }
    Fields::open(text).ok_or_else(|| no_object(text))
}

/// Opens a body, but what is known of its messages.
fn outline<'a>(
    body: &'a [u8],
    messages: &str,
    known: impl FnOnce(&'a str) -> Vec<Range<usize>>,
) -> Result<Outline<'a>, Error> {
    let text = text(body)?;
    let Some(outline) = Outline::open(text, messages, known) else {
        return Err(match deeper_than(body, DEPTH_MAX) {
            true => TOO_DEEP,
            false => no_object(text),
        });
    };
    let is_deep = |text: &str, around| deeper_than(text.as_bytes(), DEPTH_MAX - around);
    let new = &outline.items[outline.known..];
    if outline.fields.values().any(|raw| is_deep(raw.get(), 1))
        || new.iter().any(|message| is_deep(message, 2))
    {
        return Err(TOO_DEEP);
    }
    Ok(outline)
}

const TOO_DEEP: Error = Error::TooDeep {
    depth_max: DEPTH_MAX,
};

fn text(body: &[u8]) -> Result<&str, Error> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Error::TooLarge {
            bytes: body.len(),
            bytes_max: BODY_BYTES_MAX,
        });
    }
    std::str::from_utf8(body).map_err(|error| Error::NotUtf8 {
        offset: error.valid_up_to(),
    })
}

/// Why a text cannot be opened as an object.
fn no_object(text: &str) -> Error {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => wrong("the request body", "an object", raw),
        Err(error) => Error::NotJson {
            line: error.line(),
            column: error.column(),
        },
    }
}

/// Returns Gemini's settings, in the one spelling that is there.
pub(super) fn generation<'a>(fields: &Fields<'a>) -> Result<Option<&'a RawValue>, Error> {
    match ["generationConfig", "generation_config"].map(|name| fields.get(name)) {
        [Some(_), Some(_)] => Err(Error::Twice {
            field: "generationConfig".to_owned(),
        }),
        [camel, snake] => Ok(camel.or(snake)),
    }
}

/// Opens a field as an object.
pub(super) fn inner<'a>(raw: &'a RawValue, name: &str) -> Result<Fields<'a>, Error> {
    Fields::open(raw.get()).ok_or_else(|| wrong(name, "an object", raw))
}

fn field(name: &str, expected: &'static str, found: String) -> Error {
    Error::Field {
        field: name.to_owned(),
        expected,
        found,
    }
}

pub(super) fn wrong(name: &str, expected: &'static str, raw: &RawValue) -> Error {
    field(name, expected, describe(raw.get()))
}

pub(super) fn once(fields: &Fields<'_>, name: &str, path: &str) -> Result<(), Error> {
    match fields.all(name).count() {
        0 | 1 => Ok(()),
        _ => Err(Error::Twice {
            field: path.to_owned(),
        }),
    }
}

fn flag(fields: &Fields<'_>, name: &str) -> Result<bool, Error> {
    match fields.get(name).map(|raw| (raw, raw.get())) {
        None | Some((_, "false")) => Ok(false),
        Some((_, "true")) => Ok(true),
        Some((raw, _)) => Err(wrong(name, "true or false", raw)),
    }
}

/// Reads a count of tokens; `4096.0` and, in Gemini, `"4096"` are counts too.
fn whole(fields: &Fields<'_>, name: &str) -> Result<Option<u64>, Error> {
    let Some(raw) = fields.get(name) else {
        return Ok(None);
    };
    let text = raw.get().trim_matches('"');
    let (digits, fraction) = text.split_once('.').unwrap_or((text, "0"));
    match digits.parse() {
        Ok(count) if fraction.bytes().all(|byte| byte == b'0') => Ok(Some(count)),
        _ => Err(wrong(name, "a whole number of at least 0", raw)),
    }
}

fn offered<'a>(api: Api, fields: &Fields<'a>) -> Vec<Offered<'a>> {
    let tools = json::items(fields.get("tools")).into_iter();
    let tools = tools.filter_map(|raw| Fields::open(raw.get()));
    if api == Api::Gemini {
        return tools.flat_map(|tool| gemini_tools(&tool)).collect();
    }
    let old = json::items(fields.get("functions")).into_iter();
    let old = old.filter_map(|raw| Fields::open(raw.get()));
    tools.chain(old).map(|tool| one_tool(&tool)).collect()
}

/// Codex carries the tools of its own models in an item of the input.
fn additional_tools<'a>(raw: &&'a str) -> Vec<Offered<'a>> {
    let found = raw.contains("additional_tools");
    let Some(item) = found.then(|| Fields::open(raw)).flatten() else {
        return Vec::new();
    };
    match item.text("type").as_deref() {
        Some("additional_tools") => offered(Api::Responses, &item),
        _ => Vec::new(),
    }
}

fn one_tool<'a>(tool: &Fields<'a>) -> Offered<'a> {
    let nested = |name| tool.get(name).and_then(|raw| Fields::open(raw.get()));
    let kind = tool.text("type").unwrap_or_default();
    let custom = nested("custom");
    let is_free_text = kind == "custom" && tool.get("input_schema").is_none();
    let function = custom.or_else(|| nested("function"));
    let function = function.as_ref().unwrap_or(tool);
    let schema = function.any(&["input_schema", "parameters"]);
    let kind_is_name = !matches!(kind.as_str(), "" | "function" | "custom");
    Offered {
        kind: match (is_free_text, kind_is_name) {
            (true, _) => ToolKind::FreeText,
            (_, true) => ToolKind::BuiltIn,
            _ => ToolKind::Function,
        },
        name: function.text("name").unwrap_or(kind),
        schema,
    }
}

fn gemini_tools<'a>(tool: &Fields<'a>) -> Vec<Offered<'a>> {
    let declared = tool.any(&["functionDeclarations", "function_declarations"]);
    let function = |raw: &'a RawValue| {
        let fields = Fields::open(raw.get())?;
        Some(Offered {
            name: fields.text("name")?,
            kind: ToolKind::Function,
            schema: fields.any(&[
                "parametersJsonSchema",
                "parameters_json_schema",
                "parameters",
            ]),
        })
    };
    let built_in = [
        "googleSearch",
        "google_search",
        "codeExecution",
        "urlContext",
        "googleSearchRetrieval",
    ];
    let built_in = built_in.iter().filter(|name| tool.get(name).is_some());
    let built_in = built_in.map(|name| Offered {
        name: (*name).to_owned(),
        kind: ToolKind::BuiltIn,
        schema: None,
    });
    json::items(declared)
        .into_iter()
        .filter_map(function)
        .chain(built_in)
        .collect()
}

fn expects<'a>(api: Api, fields: &Fields<'a>, generation: &Fields<'a>) -> Expects<'a> {
    let nested = |raw: Option<&'a RawValue>| raw.and_then(|raw| Fields::open(raw.get()));
    if api == Api::Gemini {
        let schema = [
            "responseJsonSchema",
            "response_json_schema",
            "responseSchema",
            "response_schema",
        ];
        let is_json = generation.text("responseMimeType").as_deref() == Some("application/json");
        return match generation.any(&schema) {
            Some(schema) => Expects::Schema(schema),
            None if is_json => Expects::Json,
            None => Expects::Text,
        };
    }
    let format = match api {
        Api::Chat => nested(fields.get("response_format")),
        Api::Responses => nested(fields.get("text")).and_then(|text| nested(text.get("format"))),
        _ => nested(fields.get("output_config"))
            .and_then(|config| nested(config.get("format")))
            .or_else(|| nested(fields.get("output_format"))),
    };
    let Some(format) = format else {
        return Expects::Text;
    };
    match format.text("type").as_deref() {
        Some("json_object") => Expects::Json,
        Some("json_schema") => {
            let chat = nested(format.get("json_schema"));
            let schema = chat.as_ref().unwrap_or(&format).get("schema");
            schema.map_or(Expects::Json, Expects::Schema)
        }
        _ => Expects::Text,
    }
}
