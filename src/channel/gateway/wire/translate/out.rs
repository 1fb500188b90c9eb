//! JSON being written: fields in the order given, foreign values as they were.
//!
//! A tree of serde_json sorts its keys and counts in its own numbers; the order
//! of a schema's fields is the order in which models fill them in.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// One value.
#[derive(Debug)]
pub(super) enum Out<'a> {
    Null,
    Flag(bool),
    Count(u64),
    Text(Cow<'a, str>),
    /// A value of the body it came from, as written.
    Raw(Cow<'a, RawValue>),
    List(Vec<Out<'a>>),
    Object(Vec<(&'static str, Out<'a>)>),
}

/// Makes an object: `object! {"type": "text", "text": text}`.
macro_rules! object {
    ($($name:literal: $value:expr),* $(,)?) => {
        $crate::channel::gateway::wire::translate::out::Out::Object(vec![
            $(($name, $crate::channel::gateway::wire::translate::out::Out::from($value))),*
        ])
    };
}
pub(super) use object;

impl<'a> Out<'a> {
    /// Adds a field to an object, unless there is no value.
    pub(super) fn with(mut self, name: &'static str, value: Option<impl Into<Out<'a>>>) -> Self {
        if let (Self::Object(fields), Some(value)) = (&mut self, value) {
            fields.push((name, value.into()));
        }
        self
    }

    /// Returns the text.
    pub(super) fn print(&self) -> String {
        serde_json::to_string(self).expect("plain values always print")
    }

    /// Returns an event of a stream.
    pub(super) fn event(&self, name: &str) -> String {
        format!("event: {name}\ndata: {}\n\n", self.print())
    }
}

impl Serialize for Out<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Raw(raw) => raw.serialize(serializer),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
            }
        }
    }
}

impl<'a> From<&'a str> for Out<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for Out<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Out<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<bool> for Out<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Out<'_> {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl<'a> From<&'a RawValue> for Out<'a> {
    fn from(raw: &'a RawValue) -> Self {
        Self::Raw(Cow::Borrowed(raw))
    }
}

impl From<Box<RawValue>> for Out<'_> {
    fn from(raw: Box<RawValue>) -> Self {
        Self::Raw(Cow::Owned(raw))
    }
}

impl<'a> From<Vec<Out<'a>>> for Out<'a> {
    fn from(items: Vec<Out<'a>>) -> Self {
        Self::List(items)
    }
}

impl<'a, T: Into<Out<'a>>> From<Option<T>> for Out<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
