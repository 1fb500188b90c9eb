//! Changes a few bytes of a request body and leaves all others as they are.
//!
//! Providers cache prompts by their beginning and clients sign what they sent:
//! a body that was parsed and printed again is another body. So a patch finds
//! the place of one value and writes over it, or adds one field at the front or
//! one element at the end.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::json;
use serde_json::value::RawValue;

use super::api::{Api, chat_limit};
use super::json::{self, Fields, List};
use super::request::{self, Error};
use super::said::{Role, Said};

/// What to change; the default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Sets the limit of the output, in tokens.
    pub max_output: Option<u64>,
    /// Lowers what is set aside for thinking, in tokens (Messages).
    pub thinking: Option<u64>,
    /// Asks a chat stream for its usage.
    pub include_usage: bool,
    /// Asks another model (not Gemini: [`super::api::gemini_path`]).
    pub model: Option<String>,
    /// Adds a text of the user behind the last message, never before it.
    pub steer: Option<String>,
}

/// Why a body was not patched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The body cannot be read.
    #[error(transparent)]
    Body(#[from] Error),
    /// The API has no such field.
    #[error("{api:?} requests have no field for {what}")]
    NoField {
        /// The API.
        api: Api,
        /// What was to be set.
        what: &'static str,
    },
    /// A text of the user cannot follow: the model is to continue its own
    /// message, or there is no message.
    #[error(
        "no place for a steer: the last message is {found}, expected one of the user or a tool"
    )]
    NoPlace {
        /// What is there.
        found: &'static str,
    },
}

/// Returns `body` with `patch` applied; borrowed, so the very same bytes, if
/// there is nothing to change.
///
/// Errors: see [`PatchError`].
pub fn apply<'a>(api: Api, body: &'a [u8], patch: &Patch) -> Result<Cow<'a, [u8]>, PatchError> {
    if *patch == Patch::default() {
        return Ok(Cow::Borrowed(body));
    }
    let fields = request::open(body)?;
    let mut edits = Edits {
        body,
        list: Vec::new(),
    };
    if let Some(limit) = patch.max_output {
        max_output(api, &fields, limit, patch.model.as_deref(), &mut edits)?;
    }
    if let Some(budget) = patch.thinking
        && let Some(raw) = fields.get("thinking")
    {
        let inner = request::inner(raw, "thinking")?;
        let span = edits.span(raw);
        edits.set(&inner, span, "budget_tokens", &budget.to_string());
    }
    if patch.include_usage {
        include_usage(api, &fields, &mut edits)?;
    }
    if let Some(model) = &patch.model {
        if api == Api::Gemini {
            let what = "the model";
            return Err(PatchError::NoField { api, what });
        }
        edits.set(&fields, body_span(body), "model", &json!(model).to_string());
    }
    if let Some(text) = &patch.steer {
        steer(api, &fields, text, &mut edits)?;
    }
    Ok(edits.finish())
}

/// Changes collected, each a range of the old body and what takes its place.
struct Edits<'a> {
    body: &'a [u8],
    list: Vec<(Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    /// Returns where a value of the body stands in it.
    fn span(&self, raw: &RawValue) -> Range<usize> {
        // Values are slices of the body, so the difference of addresses is the
        // place; a value from elsewhere would be a bug and is changed nowhere.
        let start = (raw.get().as_ptr() as usize).wrapping_sub(self.body.as_ptr() as usize);
        let end = start.saturating_add(raw.get().len());
        if end <= self.body.len() {
            start..end
        } else {
            0..0
        }
    }

    fn replace(&mut self, raw: &RawValue, value: &str) {
        let span = self.span(raw);
        self.list.push((span, value.to_owned()));
    }

    /// Adds `text` just inside the closing bracket or quote of a value.
    fn append(&mut self, raw: &RawValue, text: String) {
        let end = self.span(raw).end.saturating_sub(1);
        self.list.push((end..end, text));
    }

    /// Sets a field of the object at `span`, wherever and as often as it is
    /// given, or adds it at the front.
    fn set(&mut self, fields: &Fields<'a>, span: Range<usize>, name: &str, value: &str) {
        let mut is_set = false;
        for raw in fields.all(name) {
            self.replace(raw, value);
            is_set = true;
        }
        if !is_set {
            let place = span.start + 1;
            let is_first = !self.list.iter().any(|(span, _)| *span == (place..place));
            let (before, after) = match fields.is_empty() {
                true if is_first => ("", ""),
                true => (",", ""),
                false => ("", ","),
            };
            let added = format!("{before}\"{name}\":{value}{after}");
            self.list.push((place..place, added));
        }
    }

    fn finish(mut self) -> Cow<'a, [u8]> {
        // Stable: fields added at the same place keep their order.
        self.list.sort_by_key(|(span, _)| span.start);
        let mut patched = Vec::with_capacity(self.body.len() + 256);
        let mut done = 0;
        for (span, text) in &self.list {
            debug_assert!(done <= span.start, "two edits of one place");
            if done > span.start {
                continue;
            }
            patched.extend_from_slice(&self.body[done..span.start]);
            patched.extend_from_slice(text.as_bytes());
            done = span.end;
        }
        patched.extend_from_slice(&self.body[done..]);
        Cow::Owned(patched)
    }
}

/// Returns where the outermost object begins.
fn body_span(body: &[u8]) -> Range<usize> {
    let start = body.iter().position(|byte| *byte == b'{').unwrap_or(0);
    start..body.len()
}

fn max_output<'a>(
    api: Api,
    fields: &Fields<'a>,
    limit: u64,
    model: Option<&str>,
    edits: &mut Edits<'a>,
) -> Result<(), PatchError> {
    let (limit, top) = (limit.to_string(), body_span(edits.body));
    match api {
        Api::CountTokens => {
            let what = "the limit of the output";
            return Err(PatchError::NoField { api, what });
        }
        Api::Messages => edits.set(fields, top, "max_tokens", &limit),
        Api::Responses => edits.set(fields, top, "max_output_tokens", &limit),
        Api::Chat => {
            let is_given = |name: &&str| fields.get(name).is_some();
            let mut names: Vec<&str> = ["max_completion_tokens", "max_tokens"]
                .into_iter()
                .filter(is_given)
                .collect();
            if names.is_empty() {
                let named = fields.text("model").unwrap_or_default();
                names.push(chat_limit(model.unwrap_or(&named)));
            }
            for name in names {
                edits.set(fields, top.clone(), name, &limit);
            }
        }
        Api::Gemini => match request::generation(fields)? {
            None => {
                let value = format!("{{\"maxOutputTokens\":{limit}}}");
                edits.set(fields, top, "generationConfig", &value);
            }
            Some(raw) => {
                let inner = request::inner(raw, "generationConfig")?;
                let has_snake = inner.all("max_output_tokens").next().is_some();
                if has_snake {
                    edits.set(&inner, edits.span(raw), "max_output_tokens", &limit);
                }
                if !has_snake || inner.all("maxOutputTokens").next().is_some() {
                    edits.set(&inner, edits.span(raw), "maxOutputTokens", &limit);
                }
            }
        },
    }
    Ok(())
}

fn include_usage<'a>(
    api: Api,
    fields: &Fields<'a>,
    edits: &mut Edits<'a>,
) -> Result<(), PatchError> {
    if api != Api::Chat {
        let what = "usage in streams";
        return Err(PatchError::NoField { api, what });
    }
    match fields.get("stream_options") {
        None => {
            let top = body_span(edits.body);
            edits.set(fields, top, "stream_options", "{\"include_usage\":true}");
        }
        Some(raw) => {
            let inner = request::inner(raw, "stream_options")?;
            edits.set(&inner, edits.span(raw), "include_usage", "true");
        }
    }
    Ok(())
}

/// Adds to the last message if it is the user's, else a message behind it.
fn steer<'a>(
    api: Api,
    fields: &Fields<'a>,
    text: &str,
    edits: &mut Edits<'a>,
) -> Result<(), PatchError> {
    let (list_name, content_name, block, message) = match api {
        Api::Messages | Api::CountTokens => {
            let block = json!({"type": "text", "text": text});
            let message = json!({"role": "user", "content": text});
            ("messages", "content", block, message)
        }
        Api::Chat => {
            let block = json!({"type": "text", "text": text});
            let message = json!({"role": "user", "content": text});
            ("messages", "content", block, message)
        }
        Api::Responses => {
            let block = json!({"type": "input_text", "text": text});
            let message = json!({"type": "message", "role": "user", "content": [block]});
            ("input", "content", block, message)
        }
        Api::Gemini => {
            let block = json!({"text": text});
            let message = json!({"role": "user", "parts": [block]});
            ("contents", "parts", block, message)
        }
    };
    let nothing = PatchError::NoPlace { found: "missing" };
    let list = fields.get(list_name).ok_or(nothing.clone())?;
    if list.get().starts_with('"') {
        add_to(list, text, &block.to_string(), edits);
        return Ok(());
    }
    let last = List::open(list.get()).and_then(|list| list.items.last().copied());
    let last = last.ok_or(nothing)?;
    // Only who speaks is wanted; reading the whole message is cheap enough.
    match Said::read(api, last.get()).role {
        Role::User => {
            let message = Fields::open(last.get());
            let content = message.and_then(|message| message.get(content_name));
            let content = content.ok_or(PatchError::NoPlace { found: "empty" })?;
            add_to(content, text, &block.to_string(), edits);
        }
        Role::Assistant => {
            let found = "the model's own";
            return Err(PatchError::NoPlace { found });
        }
        Role::System | Role::Tool | Role::Other => edits.append(list, format!(",{message}")),
    }
    Ok(())
}

/// Adds to content, which is a text or a list of blocks.
fn add_to(content: &RawValue, text: &str, block: &str, edits: &mut Edits<'_>) {
    if content.get().starts_with('"') {
        let is_empty = content.get() == "\"\"";
        let quoted = json!(if is_empty {
            text.to_owned()
        } else {
            format!("\n\n{text}")
        })
        .to_string();
        edits.append(content, quoted[1..quoted.len() - 1].to_owned());
    } else {
        let is_empty = json::items(Some(content)).is_empty();
        let comma = if is_empty { "" } else { "," };
        edits.append(content, format!("{comma}{block}"));
    }
}
