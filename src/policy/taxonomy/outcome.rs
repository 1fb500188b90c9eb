//! What a result amounts to before it gets a class: items, a delivery, or a fault.

use serde_json::Value;

use super::fault::Fault;
use super::llm::Reply;

/// One of several things a result can be.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// Several items with an end each.
    Items(Items),
    /// A search or a comparison that looked and found nothing; the evidence.
    NothingFound(String),
    /// Something arrived and is no error.
    Delivered(Box<Delivery>),
    /// It failed.
    Failed(Box<Fault>),
}

/// The items of one answer.
#[derive(Debug, Clone)]
pub(super) struct Items {
    /// The items the answer names.
    pub list: Vec<Item>,
    /// The service names failures only; what it does not name went well.
    pub others_succeeded: bool,
}

/// Which item of a call an answer speaks of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Id {
    /// By its id as the caller knows it; null where the answer does not say.
    Named(Value),
    /// By its place among those that were sent, from 0.
    Position(usize),
}

impl Id {
    /// An item that the answer does not identify.
    pub const NONE: Self = Self::Named(Value::Null);

    /// Returns the id as it is shown: a position is its number.
    pub fn value(&self) -> Value {
        match self {
            Self::Named(id) => id.clone(),
            Self::Position(at) => Value::from(*at),
        }
    }
}

impl From<Value> for Id {
    fn from(id: Value) -> Self {
        Self::Named(id)
    }
}

/// One item of several.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Which one it is.
    pub id: Id,
    /// What went wrong, if anything.
    pub fault: Option<Fault>,
    /// What the service itself says about repeating the item, where its protocol has such a field.
    pub may_retry: Option<bool>,
}

/// Something that arrived.
#[derive(Debug, Clone, Default)]
pub(super) struct Delivery {
    /// The payload as text; empty if it is JSON only.
    pub text: String,
    /// The payload as JSON, where it came as JSON.
    pub json: Option<Value>,
    /// The reply of a model.
    pub reply: Option<Reply>,
    /// The transport promised JSON (a content type, `expect`, a schema).
    pub promises_json: bool,
    /// Nothing of the payload is ever read: the tool reads documents.
    pub is_document: bool,
    /// The transport says that bytes are missing, with the evidence.
    pub cut_off: Option<String>,
    /// An answer was due, so an empty one is none.
    pub must_not_be_empty: bool,
    /// What to show, e.g. `status 200`.
    pub evidence: String,
}

impl Delivery {
    /// Whether there is no payload at all.
    pub(super) fn is_empty(&self) -> bool {
        let has_json = self.json.as_ref().is_some_and(|json| !json.is_null());
        !has_json && is_blank_text(&self.text)
    }
}

/// Whether a text shows nothing: spaces, zero-width characters.
pub(super) fn is_blank_text(text: &str) -> bool {
    text.chars().take(10_000).all(|c| {
        c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{2060}')
    })
}
