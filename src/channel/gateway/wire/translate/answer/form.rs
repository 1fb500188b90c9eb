//! What is answered, in no API's words.

use serde_json::{Map, Value};

use super::super::super::api::Api;
use super::super::super::bounds::{FOLD_BYTES_MAX, PARTS_MAX, USAGE_BYTES_MAX, USAGE_FIELDS_MAX};
use super::super::super::json;
use super::super::super::reply::{Fault, Stop};
use super::super::super::usage::{self, Usage};
use super::super::{Error, refuse};

/// A reply, as far as it came.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) id: String,
    /// The model that answered; not the one that was asked.
    pub(super) model: String,
    /// Seconds since 1970, where the upstream says them.
    pub(super) created: u64,
    /// Texts and calls, in the order in which they began.
    pub(super) items: Vec<Item>,
    stop: Option<Stop>,
    pub(super) usage: Option<Usage>,
    /// Fields of the usage so far, the latest of each.
    usage_fields: Map<String, Value>,
    /// Bytes of all items.
    bytes: usize,
}

/// A text or a call.
#[derive(Debug)]
pub(super) struct Item {
    /// Its place in the upstream's own count.
    pub(super) key: Key,
    pub(super) kind: Kind,
    /// The text, or the arguments as the model writes them.
    pub(super) text: String,
    pub(super) is_closed: bool,
    /// The upstream ended a call before its arguments were whole: there were
    /// none, or the limit cut them off, which shows only in what follows.
    is_in_doubt: bool,
}

/// Index of a block, and of the part within it.
pub(super) type Key = (u64, u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Refusal,
    Call { id: String, name: String },
}

/// What an event means for the stream it is in.
#[derive(Debug)]
pub(super) enum Then {
    /// The answer may have grown.
    Go,
    /// Nothing that the client sees; it hears that we are alive.
    Quiet,
    /// The end mark.
    End,
    /// An error instead of the rest.
    Fail(Fault),
}

/// What the writer of an API is told.
#[derive(Debug)]
pub(super) enum Mark<'a> {
    Start,
    /// An item begins; its text is still empty.
    Open(usize),
    /// It grows.
    Piece(usize, &'a str),
    /// It is whole, or as whole as it will be.
    Close(usize),
    End,
    Fail(&'a Fault),
}

impl Answer {
    /// Notes who answers.
    pub(super) fn opening(&mut self, head: &Value, created: &str) {
        for (slot, name) in [(&mut self.id, "id"), (&mut self.model, "model")] {
            if slot.is_empty() {
                text(head, name).clone_into(slot);
            }
        }
        self.created = head
            .get(created)
            .and_then(Value::as_u64)
            .unwrap_or(self.created);
    }

    /// Begins an item.
    pub(super) fn open(&mut self, key: Key, kind: Kind) -> Result<(), Error> {
        if self.items.len() == PARTS_MAX {
            return Err(refuse(format!("a reply of more than {PARTS_MAX} parts")));
        }
        if let Kind::Call { id, name } = &kind {
            self.grow(id.len() + name.len())?;
        }
        // What is followed by more was not cut.
        for item in self.items.iter_mut().filter(|item| item.is_in_doubt) {
            item.close(false);
        }
        self.items.push(Item {
            key,
            kind,
            text: String::new(),
            is_closed: false,
            is_in_doubt: false,
        });
        Ok(())
    }

    /// Adds to an open item.
    pub(super) fn piece(&mut self, key: Key, piece: &str) -> Result<(), Error> {
        self.grow(piece.len())?;
        match self.items.iter_mut().rfind(|item| item.key == key) {
            Some(item) if !item.is_closed => item.text.push_str(piece),
            // Servers may send the line end behind the arguments late.
            _ if piece.trim().is_empty() => {}
            _ => return Err(refuse("a reply that goes on with a part that is not open")),
        }
        Ok(())
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > FOLD_BYTES_MAX {
            return Err(refuse(format!(
                "a reply of more than {FOLD_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.items.iter().any(|item| item.key == key)
    }

    /// Ends an item.
    pub(super) fn close(&mut self, key: Key) {
        if let Some(item) = self.items.iter_mut().rfind(|item| item.key == key) {
            // Looked at once: hostile streams end a part again and again.
            if item.is_closed || item.is_in_doubt {
                return;
            }
            item.is_in_doubt = !item.is_whole();
            if !item.is_in_doubt {
                item.close(false);
            }
        }
    }

    /// Ends what is still open, when it is known why the model stopped.
    pub(super) fn close_all(&mut self) {
        let is_cut = self.stop == Some(Stop::Length);
        self.items.iter_mut().for_each(|item| item.close(is_cut));
    }

    /// Ends the last item, if it cannot grow any more when another begins: a
    /// text, or a call whose arguments are whole.
    pub(super) fn close_last(&mut self) {
        let last = self.items.last_mut();
        if let Some(item) = last.filter(|item| !item.is_closed && item.is_whole()) {
            item.close(false);
        }
    }

    pub(super) fn stopped(&mut self, stop: Stop) {
        self.stop = Some(stop);
    }

    /// Returns why it stopped. Servers say `stop` beside calls; and a refusal
    /// in words is one.
    pub(super) fn stop(&self) -> Stop {
        let has = |is_it: fn(&Item) -> bool| self.items.iter().any(is_it);
        match &self.stop {
            Some(stop @ (Stop::Length | Stop::Refusal(_))) => stop.clone(),
            _ if has(Item::is_call) => Stop::ToolUse,
            _ if has(Item::is_refusal) => Stop::Refusal(String::new()),
            _ => Stop::End,
        }
    }

    /// Reports whether the model refused in words of its own.
    pub(super) fn has_refusal(&self) -> bool {
        self.items.iter().any(Item::is_refusal)
    }

    /// Takes usage so far.
    pub(super) fn used(&mut self, api: Api, usage: Option<&Value>) {
        let Some(Value::Object(fields)) = usage else {
            return;
        };
        if usage.is_some_and(|usage| usage.to_string().len() > USAGE_BYTES_MAX) {
            return;
        }
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            if self.usage_fields.len() < USAGE_FIELDS_MAX || self.usage_fields.contains_key(name) {
                self.usage_fields.insert(name.clone(), value.clone());
            }
        }
        let merged = Value::Object(self.usage_fields.clone());
        self.usage = usage::read(api, &merged, Some(&self.model)).or(self.usage.take());
    }

    /// Returns all texts of a kind, joined.
    pub(super) fn said(&self, kind: &Kind) -> Option<String> {
        let items = self.items.iter().filter(|item| item.kind == *kind);
        let texts: Vec<&str> = items.map(|item| item.text.as_str()).collect();
        (!texts.is_empty()).then(|| texts.concat())
    }
}

impl Item {
    pub(super) fn is_call(&self) -> bool {
        matches!(self.kind, Kind::Call { .. })
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        matches!(&self.kind, Kind::Call { name: own, .. } if own == name)
    }

    fn is_refusal(&self) -> bool {
        self.kind == Kind::Refusal
    }

    fn is_whole(&self) -> bool {
        !self.is_call() || json::tree(&self.text).is_some_and(|tree| tree.is_object())
    }

    /// Ends it; a call that was not cut and has no arguments has none.
    fn close(&mut self, is_cut: bool) {
        self.is_in_doubt = false;
        if self.is_call() && !self.is_closed && !is_cut && self.text.trim().is_empty() {
            self.text.push_str("{}");
        }
        self.is_closed = true;
    }
}

/// All input of OpenAI's count: the caches are part of it.
pub(super) fn input_tokens(usage: &Usage) -> u64 {
    let parts = [usage.input, usage.cache_read, written_tokens(usage)];
    parts.into_iter().fold(0, u64::saturating_add)
}

/// Input that was written to a cache.
pub(super) fn written_tokens(usage: &Usage) -> u64 {
    usage.cache_write_5m.saturating_add(usage.cache_write_1h)
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn index(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let list = value.get(name).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

/// Returns the error about a part of a reply that nobody asked for.
pub(super) fn foreign(kind: &str) -> Error {
    let kind: String = kind.chars().take(60).collect();
    refuse(format!("a reply with a part of type {kind:?}"))
}
