//! What is asked, in no API's words.

use serde_json::value::RawValue;

use super::super::super::said::Role;
use super::super::node::{Node, Object};
use super::super::out::{Out, object};
use super::super::{Error, refuse};

/// Limit of the output for Messages, which wants one, where a request has none,
/// in tokens: what every model since Claude 4 can write.
pub const MAX_TOKENS_DEFAULT: u64 = 32_000;
/// Longest name of an end user that every API takes, in bytes.
const USER_BYTES_MAX: usize = 64;

/// What is asked.
#[derive(Debug, Default)]
pub(super) struct Ask<'a> {
    /// The history in order, the system prompt first.
    pub(super) turns: Vec<Turn>,
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) choice: Option<Choice>,
    /// Several calls at once are welcome.
    pub(super) is_parallel: Option<bool>,
    /// Tokens.
    pub(super) max_output: Option<u64>,
    pub(super) temperature: Option<Node<'a>>,
    pub(super) top_p: Option<Node<'a>>,
    pub(super) stops: Vec<String>,
    pub(super) is_stream: bool,
    pub(super) format: Format<'a>,
    pub(super) user: Option<String>,
    /// How much to think, in OpenAI's words.
    pub(super) effort: Option<String>,
    /// How much to say, in OpenAI's words.
    pub(super) verbosity: Option<String>,
}

/// One message, or in Responses one item.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) path: String,
    /// The operator, the user (who brings results too) or the model.
    pub(super) role: Role,
    pub(super) parts: Vec<Part>,
}

/// A piece of a message.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Text(String),
    Refusal(String),
    Image(Image),
    Call(Call),
    Result(Outcome),
}

/// An image, by its address or as data within one.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) path: String,
    pub(super) url: String,
    /// How closely to look at it, in OpenAI's words, if not as usual.
    pub(super) detail: Option<String>,
}

/// A call in the history.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) path: String,
    pub(super) id: String,
    pub(super) name: String,
    /// JSON as the model wrote it.
    pub(super) arguments: String,
}

/// What a tool gave back: texts and images.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) id: String,
    pub(super) parts: Vec<Part>,
    pub(super) is_error: bool,
}

/// A tool that takes JSON.
#[derive(Debug)]
pub(super) struct Tool<'a> {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) schema: Option<&'a RawValue>,
    /// Arguments are bound to the schema.
    pub(super) is_strict: bool,
}

/// Which tool to call.
#[derive(Debug)]
pub(super) enum Choice {
    Auto,
    Never,
    Any,
    One(String),
}

/// What the answer must look like.
#[derive(Debug, Default)]
pub(super) enum Format<'a> {
    #[default]
    Text,
    Json,
    Schema {
        name: String,
        description: Option<String>,
        schema: &'a RawValue,
        is_strict: Option<bool>,
    },
}

impl Ask<'_> {
    /// Adds a message; one without anything in it is none.
    ///
    /// Errors: a part that cannot be said by `role`.
    pub(super) fn say(&mut self, at: &Node<'_>, role: Role, parts: Vec<Part>) -> Result<(), Error> {
        if role == Role::Tool {
            return Err(at.refuse("is of a role that its API does not have"));
        }
        let odd = |part: &&Part| {
            let may = match part {
                Part::Text(_) => true,
                Part::Refusal(_) | Part::Call(_) => role == Role::Assistant,
                Part::Image(_) => role == Role::User,
                Part::Result(outcome) => role == Role::User && outcome.is_plain(),
            };
            !may
        };
        if let Some(part) = parts.iter().find(odd) {
            let kind = match part {
                Part::Text(_) | Part::Refusal(_) => "a refusal",
                Part::Image(_) => "an image",
                Part::Call(_) => "a call",
                Part::Result(outcome) if outcome.is_plain() => "a result",
                Part::Result(_) => "a result of more than texts and images",
            };
            return Err(at.refuse(format_args!("has {kind} in a message of the {role:?}")));
        }
        if !parts.is_empty() {
            let path = at.path.clone();
            self.turns.push(Turn { path, role, parts });
        }
        Ok(())
    }

    /// Notes who the end user is, if the name fits everywhere.
    pub(super) fn used_by(&mut self, user: Option<String>) {
        self.user = user.filter(|user| user.len() <= USER_BYTES_MAX);
    }

    /// Returns the system prompt in front of the history, and the rest with
    /// messages of one speaker behind each other joined, results first.
    pub(super) fn joined(&self) -> (Vec<&Part>, Vec<(Role, Vec<&Part>)>) {
        let is_system = |turn: &&Turn| turn.role == Role::System;
        let lead = self.turns.iter().take_while(is_system).count();
        let system = self.turns[..lead].iter().flat_map(|turn| &turn.parts);
        let mut rest: Vec<(Role, Vec<&Part>)> = Vec::new();
        for turn in &self.turns[lead..] {
            match rest.last_mut() {
                Some((role, parts)) if *role == turn.role => parts.extend(&turn.parts),
                _ => rest.push((turn.role, turn.parts.iter().collect())),
            }
        }
        for (_, parts) in &mut rest {
            // Stable: everything else keeps its order.
            parts.sort_by_key(|part| !matches!(part, Part::Result(_)));
        }
        (system.collect(), rest)
    }
}

impl Outcome {
    fn is_plain(&self) -> bool {
        let is_plain = |part: &Part| matches!(part, Part::Text(_) | Part::Image(_));
        self.parts.iter().all(is_plain)
    }

    /// Returns the texts and images, with the mark of a failure as a text for
    /// APIs that have no other.
    pub(super) fn told(&self) -> Vec<Part> {
        let mut parts = self.parts.clone();
        let prefix = "Error: ";
        match parts.first_mut() {
            _ if !self.is_error => {}
            Some(Part::Text(text)) if text.starts_with(prefix) => {}
            Some(Part::Text(text)) => text.insert_str(0, prefix),
            _ => parts.insert(0, Part::Text("Error".to_owned())),
        }
        parts
    }
}

impl<'a> Tool<'a> {
    /// Returns the schema; where there is none, the one of no arguments.
    pub(super) fn schema(&self) -> Out<'a> {
        let given = self.schema.filter(|raw| raw.get() != "{}");
        given.map_or_else(
            || object! {"type": "object", "properties": object! {}},
            Out::from,
        )
    }
}

/// Reads who speaks.
pub(super) fn role(message: &mut Object<'_>) -> Result<Role, Error> {
    let node = message.need("role")?;
    match node.text()?.as_str() {
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        "system" | "developer" => Ok(Role::System),
        "tool" => Ok(Role::Tool),
        _ => Err(node.refuse("is a role that is not known")),
    }
}

/// Reads the arguments of a call as text; no text means none.
pub(super) fn arguments(text: Option<String>) -> String {
    let text = text.filter(|text| !text.trim().is_empty());
    text.unwrap_or_else(|| "{}".to_owned())
}

/// Reads content: a text, or blocks that `block` reads by their type.
pub(super) fn content(
    content: Option<Node<'_>>,
    block: impl Fn(&str, &Node<'_>, &mut Object<'_>) -> Result<Option<Part>, Error>,
) -> Result<Vec<Part>, Error> {
    let Some(content) = content else {
        return Ok(Vec::new());
    };
    if content.is_text() {
        return Ok(vec![Part::Text(content.text()?)]);
    }
    let mut parts = Vec::new();
    for node in content.list()? {
        let mut fields = node.object()?;
        let kind = fields.need("type")?.text()?;
        parts.extend(block(&kind, &node, &mut fields)?);
        fields.finish()?;
    }
    Ok(parts)
}

/// Returns the error about a block of an unknown or foreign kind.
pub(super) fn foreign(node: &Node<'_>, kind: &str) -> Error {
    let kind: String = kind.chars().take(60).collect();
    refuse(format!(
        "{} is of type {kind:?}, which only its own API knows",
        node.path
    ))
}
