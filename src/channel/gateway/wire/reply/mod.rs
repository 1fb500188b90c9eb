//! What a model answered, read while it streams or from a whole body.
//!
//! A [`Reader`] takes frames and says of each what the gateway must know at
//! once ([`Seen`]): whether it is content, after which nothing may be retried;
//! whether it is the usage we asked for and the child did not. At the end it
//! gives the [`Reply`]. Each API has a fold of its own, which puts the pieces
//! together into the message as the client will send it back; text, calls and
//! the hash are then read from that by [`super::said`], as from any history.
//!
//! Missing is told from given: a reply without its end mark is not terminal,
//! usage so far is not final. Nothing here guesses.

mod chat;
mod gemini;
mod messages;
mod responses;

use serde_json::{Map, Value};

use super::api::{Api, Framing};
use super::bounds::{FOLD_BYTES_MAX, PARTS_MAX, USAGE_BYTES_MAX, USAGE_FIELDS_MAX};
use super::json::{self, Digest};
use super::said::{Call, Said};
use super::sse::Frame;
use super::usage::{self, Usage};

/// Why the model stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It said what it had to say.
    End,
    /// It waits for tools.
    ToolUse,
    /// It came to a limit: the output's, or the context's.
    Length,
    /// It, or a filter before it, refused; the API's word for why.
    Refusal(String),
    /// It is to be asked again with its own message at the end.
    Paused,
    /// Another word of the API.
    Other(String),
}

/// What each API's word means. The words of different APIs do not clash.
const STOPS: &[(Stop, &[&str])] = &[
    (
        Stop::End,
        &["end_turn", "stop_sequence", "stop", "STOP", "completed"],
    ),
    (Stop::ToolUse, &["tool_use", "tool_calls", "function_call"]),
    (
        Stop::Length,
        &[
            "max_tokens",
            "model_context_window_exceeded",
            "length",
            "MAX_TOKENS",
            "max_output_tokens",
        ],
    ),
    (
        Stop::Refusal(String::new()),
        &[
            "refusal",
            "content_filter",
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
        ],
    ),
    (Stop::Paused, &["pause_turn", "CONTINUATION"]),
];

impl Stop {
    fn from_word(word: &str) -> Self {
        let row = STOPS.iter().find(|(_, words)| words.contains(&word));
        match row.map(|(stop, _)| stop) {
            Some(Self::Refusal(_)) => Self::Refusal(word.to_owned()),
            Some(stop) => stop.clone(),
            None => Self::Other(word.to_owned()),
        }
    }
}

/// An error of the API inside a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// The API's type or status word (`overloaded_error`, `RESOURCE_EXHAUSTED`).
    pub kind: String,
    /// Its sentence.
    pub message: String,
    /// A finer code, if there is one.
    pub code: Option<String>,
    /// The HTTP status that says the same, if there is one.
    pub status: Option<u16>,
}

/// Statuses of errors that come in a stream and so have none.
const FAULT_STATUSES: &[(&str, u16)] = &[
    ("invalid_request_error", 400),
    ("invalid_prompt", 400),
    ("authentication_error", 401),
    ("billing_error", 402),
    ("permission_error", 403),
    ("not_found_error", 404),
    ("request_too_large", 413),
    ("rate_limit_error", 429),
    ("rate_limit_exceeded", 429),
    ("insufficient_quota", 429),
    ("api_error", 500),
    ("server_error", 500),
    ("server_is_overloaded", 503),
    ("timeout_error", 504),
    ("overloaded_error", 529),
];

/// What one frame means for the stream it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The child sees a part of the answer: from here on no other upstream can
    /// take over. Not pings, comments, openings, roles, usage, endings, errors.
    pub is_content: bool,
    /// The API's end mark.
    pub is_terminal: bool,
    /// An error instead of the rest.
    pub is_error: bool,
    /// Chat's extra chunk with nothing but usage; to be dropped if the child
    /// did not ask for it.
    pub is_usage_extra: bool,
}

/// A reply, whole or as far as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// The API's id of the reply.
    pub id: Option<String>,
    /// The model that answered, which is the one that is billed.
    pub model: Option<String>,
    /// The message as the client will send it back: one, in Responses one for
    /// each item of the output; none if there was no content.
    pub messages: Vec<Value>,
    /// The meaning of each message; they chain with the next request.
    pub hashes: Vec<Digest>,
    /// All visible text.
    pub text: String,
    /// Calls for the agent to carry out, in order.
    pub calls: Vec<Call>,
    /// Blocks of other kinds: images, server tools.
    pub others: usize,
    /// Why the model stopped; absent if it did not say.
    pub stop: Option<Stop>,
    /// The refusal in the model's words, if it is marked as one.
    pub refusal: String,
    /// What was used, as far as it was said.
    pub usage: Option<Usage>,
    /// The usage is of the whole reply.
    pub is_usage_final: bool,
    /// The API's own end mark was seen: the reply is whole.
    pub is_terminal: bool,
    /// An error instead of the reply, or of its rest.
    pub error: Option<Fault>,
    /// Too long to be kept: messages, text and calls are not all of it.
    pub is_clipped: bool,
}

impl Reply {
    /// Reports whether its usage can be what it took: no prompt is empty, and words are
    /// not made of nothing. Servers that do not count say 0.
    pub fn is_usage_believable(&self) -> bool {
        let says_nothing = self.text.is_empty() && self.calls.is_empty();
        let can_be = |usage: &Usage| usage.prompt() > 0 && (usage.output > 0 || says_nothing);
        self.usage.as_ref().is_none_or(can_be)
    }
}

/// A whole body that is not a reply of its API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reply is not JSON that can be read")]
pub struct Unreadable;

/// Reads a whole body, plain or (Gemini) a list of chunks.
///
/// Errors: [`Unreadable`] if it is not JSON, or too large to be looked into.
pub fn whole(api: Api, framing: Framing, body: &[u8]) -> Result<Reply, Unreadable> {
    let text = std::str::from_utf8(body).map_err(|_| Unreadable)?;
    let body = json::tree(text).ok_or(Unreadable)?;
    let mut reader = Reader::new(api);
    match body {
        Value::Array(chunks) if framing == Framing::List => {
            chunks.iter().for_each(|chunk| {
                reader.take_tree(chunk, text.len() / chunks.len());
            });
        }
        body => reader.take_whole(body),
    }
    Ok(reader.finish())
}

/// Reads a streamed reply, frame by frame.
#[derive(Debug)]
pub struct Reader {
    api: Api,
    facts: Facts,
    fold: Fold,
}

/// The part of a fold that differs between the APIs.
#[derive(Debug)]
enum Fold {
    Messages(messages::Fold),
    Chat(chat::Fold),
    Responses(responses::Fold),
    Gemini(gemini::Fold),
}

/// What every fold learns.
#[derive(Debug, Default)]
struct Facts {
    reply: Reply,
    /// The API's word for why it stopped.
    stop: Option<Stop>,
    /// Fields of the usage, the latest of each.
    usage: Map<String, Value>,
    /// Bytes of text, arguments and reasoning, over all choices.
    output_bytes: u64,
    /// Searches counted one by one, where the usage does not.
    searches: u64,
    /// Bytes that may still be folded.
    room: usize,
}

impl Reader {
    /// Makes a reader for replies of `api`.
    pub fn new(api: Api) -> Self {
        let fold = match api {
            Api::Messages | Api::CountTokens => Fold::Messages(messages::Fold::default()),
            Api::Chat => Fold::Chat(chat::Fold::default()),
            Api::Responses => Fold::Responses(responses::Fold::default()),
            Api::Gemini => Fold::Gemini(gemini::Fold::default()),
        };
        let facts = Facts {
            room: FOLD_BYTES_MAX,
            ..Facts::default()
        };
        Self { api, facts, fold }
    }

    /// Takes one frame.
    pub fn take(&mut self, frame: &Frame) -> Seen {
        let Some(data) = &frame.data else {
            return Seen::default();
        };
        if data.trim() == "[DONE]" {
            // Only Chat ends with it; others send it beside their own end mark.
            let is_terminal = self.api == Api::Chat;
            self.facts.reply.is_terminal |= is_terminal;
            return Seen {
                is_terminal,
                ..Seen::default()
            };
        }
        match json::tree(data) {
            Some(mut event) => {
                // Anthropic and OpenAI say the type twice; old proxies only once.
                if let (Value::Object(fields), false) = (&mut event, frame.event.is_empty()) {
                    fields
                        .entry("type")
                        .or_insert_with(|| frame.event.as_str().into());
                }
                self.take_tree(&event, data.len())
            }
            None => {
                // It is passed on all the same, so it counts as content; half a
                // frame at the end of a broken stream does not.
                self.facts.reply.is_clipped |= !frame.is_cut;
                Seen {
                    is_content: !frame.is_cut,
                    ..Seen::default()
                }
            }
        }
    }

    fn take_tree(&mut self, event: &Value, bytes: usize) -> Seen {
        self.facts.room = self.facts.room.saturating_sub(bytes);
        self.facts.reply.is_clipped |= self.facts.room == 0;
        let was_terminal = self.facts.reply.is_terminal;
        if let Some(fault) = fault(event) {
            self.facts.reply.error = Some(fault);
            // What a failed response used is still billed.
            if let Fold::Responses(fold) = &mut self.fold {
                fold.take(event, &mut self.facts);
            }
            return Seen {
                is_error: true,
                is_terminal: self.facts.reply.is_terminal && !was_terminal,
                ..Seen::default()
            };
        }
        let is_content = match &mut self.fold {
            Fold::Messages(fold) => fold.take(event, &mut self.facts),
            Fold::Chat(fold) => fold.take(event, &mut self.facts),
            Fold::Responses(fold) => fold.take(event, &mut self.facts),
            Fold::Gemini(fold) => fold.take(event, &mut self.facts),
        };
        Seen {
            is_content,
            is_terminal: self.facts.reply.is_terminal && !was_terminal,
            is_error: false,
            is_usage_extra: self.api == Api::Chat && chat::is_usage_extra(event),
        }
    }

    fn take_whole(&mut self, body: Value) {
        if let Some(fault) = fault(&body) {
            self.facts.reply.error = Some(fault);
        }
        let facts = &mut self.facts;
        match &mut self.fold {
            Fold::Messages(fold) => fold.whole(body, facts),
            Fold::Chat(fold) => fold.whole(body, facts),
            Fold::Responses(fold) => fold.whole(body, facts),
            Fold::Gemini(fold) => {
                fold.take(&body, facts);
            }
        }
    }

    /// Returns the bytes of text, arguments and visible reasoning so far.
    pub fn output_bytes(&self) -> u64 {
        self.facts.output_bytes
    }

    /// Returns how many output tokens have been billed so far, estimated high:
    /// one for every two bytes, or what the API itself says if that is more.
    ///
    /// Reasoning that is not shown (OpenAI) is not in it before the end.
    pub fn output_tokens_so_far(&self) -> u64 {
        let said = self
            .facts
            .reply
            .usage
            .as_ref()
            .map_or(0, |usage| usage.output);
        said.max(self.facts.output_bytes.div_ceil(2))
    }

    /// Returns the usage as far as it was said.
    pub fn usage(&self) -> Option<&Usage> {
        self.facts.reply.usage.as_ref()
    }

    /// Reports whether the API's end mark was seen.
    pub fn is_terminal(&self) -> bool {
        self.facts.reply.is_terminal
    }

    /// Returns the reply, at the end of the stream or where it broke.
    pub fn finish(self) -> Reply {
        let Self { api, facts, fold } = self;
        let Facts {
            mut reply,
            stop,
            searches,
            ..
        } = facts;
        let mut raw_arguments = Vec::new();
        reply.messages = match fold {
            Fold::Messages(fold) => fold.finish(&mut raw_arguments),
            Fold::Chat(fold) => fold.finish(),
            Fold::Responses(fold) => fold.finish(),
            Fold::Gemini(fold) => fold.finish(),
        };
        for message in &reply.messages {
            let said = Said::from_tree(api, message);
            reply.text.push_str(&said.text);
            reply.refusal.push_str(&said.refusal);
            reply.calls.extend(said.calls);
            reply.others += said.others;
            reply.hashes.extend(said.hash);
        }
        if reply.is_clipped {
            // Half a message chains with nothing.
            reply.hashes.clear();
        }
        for (id, raw) in raw_arguments {
            let call = reply.calls.iter_mut().find(|call| call.id == id);
            if let Some(call) = call {
                call.arguments = raw;
            }
        }
        reply.stop = match stop {
            Some(Stop::End) if !reply.refusal.is_empty() => {
                Some(Stop::Refusal("refusal".to_owned()))
            }
            Some(Stop::End) if !reply.calls.is_empty() => Some(Stop::ToolUse),
            stop => stop,
        };
        if let Some(usage) = &mut reply.usage {
            usage.web_searches = usage.web_searches.max(searches);
        }
        reply
    }
}

impl Facts {
    /// Notes who answers.
    fn opening(&mut self, body: &Value, id: &str, model: &str) {
        for (slot, name) in [(&mut self.reply.id, id), (&mut self.reply.model, model)] {
            let word = body.get(name).and_then(Value::as_str);
            if let Some(word) = word.filter(|word| !word.is_empty()) {
                *slot = Some(word.to_owned());
            }
        }
    }

    fn stopped(&mut self, word: Option<&str>) {
        if let Some(word) = word {
            self.stop = Some(Stop::from_word(word));
        }
    }

    /// Takes usage so far: the latest of each field counts. Returns whether it counts
    /// both what went in and what came out.
    fn used(&mut self, api: Api, usage: Option<&Value>) -> bool {
        let Some(Value::Object(fields)) = usage else {
            return false;
        };
        // Its own bound: usage is read on when nothing else of a reply is kept.
        let is_huge = usage.is_some_and(|usage| usage.to_string().len() > USAGE_BYTES_MAX);
        for (name, value) in fields
            .iter()
            .filter(|(_, value)| !value.is_null() && !is_huge)
        {
            if self.usage.len() < USAGE_FIELDS_MAX || self.usage.contains_key(name) {
                self.usage.insert(name.clone(), value.clone());
            }
        }
        let merged = Value::Object(std::mem::take(&mut self.usage));
        let read = usage::read(api, &merged, self.reply.model.as_deref());
        let is_whole = usage::is_whole(api, &merged);
        if let Value::Object(fields) = merged {
            self.usage = fields;
        }
        if read.is_some() {
            self.reply.usage = read;
        }
        is_whole
    }

    /// Appends a piece of output, as long as there is room, and counts it.
    fn append(&mut self, target: &mut String, piece: &str) {
        self.output_bytes = self.output_bytes.saturating_add(piece.len() as u64);
        if !self.reply.is_clipped {
            target.push_str(piece);
        }
    }

    /// Appends to a text field of an object, which it makes if need be.
    fn append_at(&mut self, object: &mut Value, key: &str, piece: &str) {
        let Value::Object(fields) = object else {
            return;
        };
        let slot = fields
            .entry(key)
            .or_insert_with(|| Value::String(String::new()));
        if !slot.is_string() {
            *slot = Value::String(String::new());
        }
        if let Value::String(text) = slot {
            self.append(text, piece);
        }
    }

    /// Reports whether another block fits beside `held`, and notes if not.
    fn has_room(&mut self, held: usize) -> bool {
        self.reply.is_clipped |= held >= PARTS_MAX;
        !self.reply.is_clipped
    }
}

/// Reads the error of a body or an event, in any API's shape.
fn fault(event: &Value) -> Option<Fault> {
    let kind = text(event, "type");
    let error = match kind {
        "response.failed" => event.pointer("/response/error"),
        // Flat in Responses, nested in Messages and some proxies.
        "error" => event
            .get("error")
            .filter(|error| !error.is_null())
            .or(Some(event)),
        _ => event.get("error"),
    };
    let error = error.filter(|error| !error.is_null());
    if error.is_none() && kind != "response.failed" {
        return None;
    }
    let error = error.unwrap_or(&Value::Null);
    let code = error.pointer("/details/error_code").or(error.get("code"));
    let code_text = code.and_then(|code| match code {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    let own_kind = [text(error, "type"), text(error, "status")];
    let kind = own_kind
        .into_iter()
        .find(|word| !matches!(*word, "" | "error"));
    let kind = kind
        .map(str::to_owned)
        .or_else(|| code_text.clone())
        .unwrap_or_default();
    let number = code_text.as_deref().and_then(|code| code.parse().ok());
    let known = |word: &str| {
        FAULT_STATUSES
            .iter()
            .find(|(name, _)| *name == word)
            .map(|row| row.1)
    };
    Some(Fault {
        status: number
            .filter(|status| (400..600).contains(status))
            .or_else(|| code_text.as_deref().and_then(known))
            .or_else(|| known(&kind)),
        message: match error {
            Value::String(message) => message.clone(),
            error => text(error, "message").to_owned(),
        },
        kind,
        code: code_text,
    })
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn index(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// Reports whether a value says nothing: null, or empty.
fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
