//! What one message means, in the history of a request and in a reply alike.
//!
//! Each API writes a message in its own way, and clients write the same message
//! differently from call to call: text as a string or as one block, cache marks
//! that move along, reasoning left out, ids and statuses dropped, arguments
//! parsed and printed again. The [`Digest`] of a message is the same for all of
//! these, so that a longer history is recognised as the continuation of a
//! shorter one, and a reply as the message the next request contains.
//!
//! Not here: what a client puts into the text itself (dates, reminders); that
//! is for the preset of that client to declare.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};

use serde_json::{Map, Value};

use super::api::Api;
use super::json::{self, Canon, Digest};

/// Keys that carry no meaning for the conversation, dropped from blocks that
/// are hashed as they are.
const DROPPED: &[&str] = &[
    "cache_control",
    "status",
    "annotations",
    "logprobs",
    "thoughtSignature",
    "thought_signature",
    "encrypted_content",
];

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The user, and in Messages and Gemini also the tools.
    User,
    /// The model.
    Assistant,
    /// The operator: `system`, `developer`.
    System,
    /// A tool's result.
    Tool,
    /// A name we do not know, or none where one belongs.
    Other,
}

/// A tool call as the model wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The id results refer to; empty where the API has none (older Gemini).
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// The arguments as text: JSON, a program (custom tools), or a fragment if
    /// the reply was cut.
    pub arguments: String,
    /// The tool takes free text; its arguments need not be JSON.
    pub is_free_text: bool,
}

impl Call {
    /// Reports whether the arguments can be handed to the tool.
    pub fn is_whole(&self) -> bool {
        self.is_free_text || json::tree(&self.arguments).is_some_and(|tree| tree.is_object())
    }
}

/// What a tool answered, as the agent told the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The id of the call; empty where the API has none.
    pub id: String,
    /// The name of the tool; empty where the API refers by id alone.
    pub name: String,
    /// The text of the result; a result without text is its JSON.
    pub text: String,
    /// Whether the agent marked it as failed; absent where it cannot.
    pub is_error: Option<bool>,
}

/// One message, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Who speaks.
    pub role: Role,
    /// The meaning. Absent for what clients keep or drop at will (reasoning,
    /// empty messages): such a message takes no place in a chain.
    pub hash: Option<Digest>,
    /// All visible text, in order.
    pub text: String,
    /// The model's own refusal, where the API marks it.
    pub refusal: String,
    /// Calls for the agent to carry out.
    pub calls: Vec<Call>,
    /// Results of earlier calls.
    pub results: Vec<Outcome>,
    /// Blocks of other kinds: images, server tools, what is new.
    pub others: usize,
}

impl Said {
    /// Reads a message as it stands in a request or in the journal; a bare text is one of
    /// the user.
    pub fn of_item(api: Api, json: &str) -> Self {
        match json.starts_with('"') {
            true => Self::read(api, &format!(r#"{{"role":"user","content":{json}}}"#)),
            false => Self::read(api, json),
        }
    }

    /// Reads one element of a history from its text. Total: what is broken or
    /// too large is opaque, hashed as it is written.
    pub fn read(api: Api, json: &str) -> Self {
        match json::tree(json) {
            Some(message) => Self::from_tree(api, &message),
            None => {
                let role = json::Fields::open(json).and_then(|fields| fields.text("role"));
                fold(role_of(role.as_deref()), vec![Part::Opaque(json)])
            }
        }
    }

    /// Reads one message from its tree.
    pub fn from_tree(api: Api, message: &Value) -> Self {
        let (role, parts) = match api {
            Api::Messages | Api::CountTokens => messages(message),
            Api::Chat => chat(message),
            Api::Responses => responses(message),
            Api::Gemini => gemini(message),
        };
        fold(role, parts)
    }
}

/// A piece of a message.
enum Part<'a> {
    Text(&'a str),
    Refusal(&'a str),
    Call(Call),
    Result {
        outcome: Outcome,
        media: Vec<&'a Value>,
    },
    Other(&'a Value),
    Opaque(&'a str),
}

/// Puts pieces together: pieces of text beside each other count as one, without
/// the space around them.
fn fold(role: Role, parts: Vec<Part<'_>>) -> Said {
    let mut said = Said {
        role,
        hash: None,
        text: String::new(),
        refusal: String::new(),
        calls: Vec::new(),
        results: Vec::new(),
        others: 0,
    };
    let mut canon = Canon::default();
    let mut run_start = 0;
    for part in parts {
        if let Part::Text(text) = part {
            said.text.push_str(text);
            continue;
        }
        put_text(&mut canon, &said.text[run_start..]);
        run_start = said.text.len();
        match part {
            Part::Text(_) => {}
            Part::Refusal(text) => {
                canon.put("refusal", text.trim());
                said.refusal.push_str(text);
            }
            Part::Call(call) => {
                canon.put("call", &call.id);
                canon.put("name", &call.name);
                match json::tree(&call.arguments) {
                    Some(tree) => canon.tree(&tree, &[]),
                    None => canon.put("arguments", &call.arguments),
                }
                said.calls.push(call);
            }
            Part::Result { outcome, media } => {
                canon.put("result", &outcome.id);
                canon.put("name", &outcome.name);
                canon.put("text", outcome.text.trim());
                canon.put(
                    "error",
                    if outcome.is_error == Some(true) {
                        "t"
                    } else {
                        "f"
                    },
                );
                media.iter().for_each(|block| canon.tree(block, DROPPED));
                said.results.push(outcome);
            }
            Part::Other(block) => {
                canon.put("other", "");
                canon.tree(block, DROPPED);
                said.others += 1;
            }
            Part::Opaque(json) => {
                canon.put("opaque", json);
                said.others += 1;
            }
        }
    }
    put_text(&mut canon, &said.text[run_start..]);
    if canon.has_any {
        canon.put("role", &format!("{role:?}"));
        said.hash = Some(canon.finish());
    }
    said
}

fn put_text(canon: &mut Canon, text: &str) {
    if !text.trim().is_empty() {
        canon.put("said", text.trim());
    }
}

fn role_of(role: Option<&str>) -> Role {
    match role {
        Some("user") => Role::User,
        Some("assistant" | "model") => Role::Assistant,
        Some("system" | "developer") => Role::System,
        Some("tool" | "function") => Role::Tool,
        _ => Role::Other,
    }
}

fn str_at<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list_at<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Content as a string, or as a list of blocks read by `block`.
fn content<'a>(
    content: Option<&'a Value>,
    block: impl Fn(&'a Value) -> Option<Part<'a>>,
) -> Vec<Part<'a>> {
    match content {
        Some(Value::String(text)) => vec![Part::Text(text)],
        Some(Value::Array(blocks)) => blocks.iter().filter_map(block).collect(),
        None | Some(Value::Null) => Vec::new(),
        Some(other) => vec![Part::Other(other)],
    }
}

/// A block that every API writes alike: text and its variants.
fn plain(block: &Value) -> Option<Part<'_>> {
    match str_at(block, "type") {
        "text" | "input_text" | "output_text" => Some(Part::Text(str_at(block, "text"))),
        "refusal" => Some(Part::Refusal(str_at(block, "refusal"))),
        "thinking" | "redacted_thinking" | "reasoning" | "reasoning_text" | "summary_text" => None,
        _ => match block {
            Value::String(text) => Some(Part::Text(text)),
            other => Some(Part::Other(other)),
        },
    }
}

/// What a tool gave back: a string, blocks, or any JSON.
fn outcome<'a>(
    result: Option<&'a Value>,
    id: &str,
    name: &str,
    is_error: Option<bool>,
) -> Part<'a> {
    let (mut text, mut media) = (String::new(), Vec::new());
    for part in content(result, plain) {
        match part {
            Part::Text(piece) | Part::Refusal(piece) => text.push_str(piece),
            Part::Other(block) => media.push(block),
            _ => {}
        }
    }
    if let (true, Some(Value::Object(object))) = (text.is_empty(), result) {
        text = Value::Object(object.clone()).to_string();
        media.clear();
    }
    let outcome = Outcome {
        id: id.to_owned(),
        name: name.to_owned(),
        text,
        is_error,
    };
    Part::Result { outcome, media }
}

/// Arguments written as a tree or as text.
fn arguments(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(tree) => tree.to_string(),
    }
}

fn call<'a>(id: &str, name: &str, value: Option<&Value>, is_free_text: bool) -> Part<'a> {
    Part::Call(Call {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments(value),
        is_free_text,
    })
}

fn messages(message: &Value) -> (Role, Vec<Part<'_>>) {
    let block = |block| match str_at(block, "type") {
        "tool_use" => {
            let (id, name) = (str_at(block, "id"), str_at(block, "name"));
            Some(call(id, name, block.get("input"), false))
        }
        "tool_result" => {
            let is_error = block.get("is_error").and_then(Value::as_bool);
            let id = str_at(block, "tool_use_id");
            Some(outcome(block.get("content"), id, "", is_error))
        }
        _ => plain(block),
    };
    let role = role_of(message.get("role").and_then(Value::as_str));
    (role, content(message.get("content"), block))
}

fn chat(message: &Value) -> (Role, Vec<Part<'_>>) {
    let role = role_of(message.get("role").and_then(Value::as_str));
    if role == Role::Tool {
        let (id, name) = (str_at(message, "tool_call_id"), str_at(message, "name"));
        // Some clients repeat the tool's name beside the id, and not always.
        let name = if id.is_empty() { name } else { "" };
        return (role, vec![outcome(message.get("content"), id, name, None)]);
    }
    let mut parts = content(message.get("content"), plain);
    match str_at(message, "refusal") {
        "" => {}
        refusal => parts.push(Part::Refusal(refusal)),
    }
    for tool_call in list_at(message, "tool_calls") {
        let custom = tool_call.get("custom");
        let function = custom.or(tool_call.get("function")).unwrap_or(tool_call);
        let value = function.get("arguments").or(function.get("input"));
        let (id, name) = (str_at(tool_call, "id"), str_at(function, "name"));
        parts.push(call(id, name, value, custom.is_some()));
    }
    if let Some(function @ Value::Object(_)) = message.get("function_call") {
        let name = str_at(function, "name");
        parts.push(call("", name, function.get("arguments"), false));
    }
    (role, parts)
}

fn responses(item: &Value) -> (Role, Vec<Part<'_>>) {
    let (kind, id) = (str_at(item, "type"), str_at(item, "call_id"));
    let named = |value: &str, is_free_text| {
        let part = call(id, str_at(item, "name"), item.get(value), is_free_text);
        (Role::Assistant, vec![part])
    };
    match kind {
        "message" | "" => {
            let role = role_of(item.get("role").and_then(Value::as_str));
            (role, content(item.get("content"), plain))
        }
        "function_call" => named("arguments", false),
        "custom_tool_call" => named("input", true),
        "local_shell_call" | "shell_call" | "apply_patch_call" => {
            let value = item.get("action").or(item.get("operation"));
            let name = kind.trim_end_matches("_call");
            (Role::Assistant, vec![call(id, name, value, false)])
        }
        _ if kind.ends_with("_call_output") => {
            (Role::Tool, vec![outcome(item.get("output"), id, "", None)])
        }
        "reasoning" => (Role::Assistant, Vec::new()),
        _ if kind.ends_with("_call") => (Role::Assistant, vec![Part::Other(item)]),
        _ => (Role::Other, vec![Part::Other(item)]),
    }
}

fn gemini(message: &Value) -> (Role, Vec<Part<'_>>) {
    // One turn of a single user needs no role.
    let role = message
        .get("role")
        .and_then(Value::as_str)
        .unwrap_or("user");
    let part = |part| gemini_part(part);
    let parts = list_at(message, "parts").iter().filter_map(part).collect();
    (role_of(Some(role)), parts)
}

fn gemini_part(part: &Value) -> Option<Part<'_>> {
    if part.get("thought").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let either = |camel, snake| part.get(camel).or(part.get(snake));
    if let Some(function) = either("functionCall", "function_call") {
        let (id, name) = (str_at(function, "id"), str_at(function, "name"));
        return Some(call(id, name, function.get("args"), false));
    }
    if let Some(function) = either("functionResponse", "function_response") {
        let (id, name) = (str_at(function, "id"), str_at(function, "name"));
        let response = function.get("response");
        let field = |name| response.and_then(|response| response.get(name));
        let is_error = field("error").is_some_and(|error| !error.is_null());
        let only_text = field("output").filter(|output| output.is_string());
        return Some(outcome(only_text.or(response), id, name, Some(is_error)));
    }
    match part.get("text").and_then(Value::as_str) {
        Some(text) => Some(Part::Text(text)),
        // A part with nothing but a signature closes a thought.
        None if part.as_object().is_some_and(is_signature) => None,
        None => Some(Part::Other(part)),
    }
}

fn is_signature(part: &Map<String, Value>) -> bool {
    part.keys().all(|key| DROPPED.contains(&key.as_str()))
}

/// A call of the history with the result that answered it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exchange<'a> {
    /// The call.
    pub call: &'a Call,
    /// The result; absent while it is not in the history.
    pub result: Option<&'a Outcome>,
    /// The message of the result.
    pub answered_in: usize,
}

/// As what a call and its result are known for the same: by id, or by name where there
/// is no id.
fn key<'a>(id: &'a str, name: &'a str) -> (&'a str, &'a str) {
    (id, if id.is_empty() { name } else { "" })
}

/// Returns the message from which on all calls stand whose results stand from `first` on.
///
/// - `history`: with places, from 0.
pub fn calls_from<'a>(
    history: impl DoubleEndedIterator<Item = (usize, &'a Said)>,
    first: usize,
) -> usize {
    let mut missing: HashMap<(&str, &str), usize> = HashMap::new();
    for (index, said) in history.rev() {
        if index < first && missing.is_empty() {
            return index + 1;
        }
        for call in &said.calls {
            if let Entry::Occupied(mut results) = missing.entry(key(&call.id, &call.name)) {
                *results.get_mut() -= 1;
                if *results.get() == 0 {
                    results.remove();
                }
            }
        }
        let results = said.results.iter().filter(|_| index >= first);
        for result in results {
            *missing.entry(key(&result.id, &result.name)).or_default() += 1;
        }
    }
    0
}

/// Joins the calls of a history to their results, in the order of the calls: by
/// id, or by name in order where there is no id.
pub fn exchanges<'a>(history: impl IntoIterator<Item = &'a Said>) -> Vec<Exchange<'a>> {
    let mut open: HashMap<(&str, &str), VecDeque<usize>> = HashMap::new();
    let mut found: Vec<Exchange<'_>> = Vec::new();
    for (index, said) in history.into_iter().enumerate() {
        for result in &said.results {
            let waiting = open.get_mut(&key(&result.id, &result.name));
            if let Some(place) = waiting.and_then(VecDeque::pop_front) {
                found[place].result = Some(result);
                found[place].answered_in = index;
            }
        }
        for call in &said.calls {
            let waiting = open.entry(key(&call.id, &call.name)).or_default();
            waiting.push_back(found.len());
            found.push(Exchange {
                call,
                result: None,
                answered_in: index,
            });
        }
    }
    found
}
