//! A request taken apart field by field, so that nothing is overlooked.
//!
//! Every value knows its path. An object gives its fields away one by one;
//! those that are left at [`Object::finish`] are refused by name. Null is the
//! same as absent, everywhere.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::bounds::ITEMS_MAX;
use super::super::json::{self, List};
use super::super::request::{Error as BodyError, wrong};
use super::{Error, refuse};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) path: String,
    pub(super) raw: &'a RawValue,
}

impl<'a> Node<'a> {
    /// Opens the outermost object of a body that was checked before.
    pub(super) fn root(raw: &'a RawValue) -> Self {
        let path = String::new();
        Self { path, raw }
    }

    pub(super) fn is_text(&self) -> bool {
        self.raw.get().starts_with('"')
    }

    pub(super) fn text(&self) -> Result<String, Error> {
        let text = self.is_text().then(|| json::text(self.raw.get())).flatten();
        text.ok_or_else(|| self.wrong("a text"))
    }

    pub(super) fn flag(&self) -> Result<bool, Error> {
        match self.raw.get() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong("true or false")),
        }
    }

    pub(super) fn number(&self) -> Result<f64, Error> {
        serde_json::from_str(self.raw.get()).map_err(|_| self.wrong("a number"))
    }

    pub(super) fn list(&self) -> Result<Vec<Self>, Error> {
        let list = List::open(self.raw.get()).filter(|list| !list.is_cut);
        let items = list
            .ok_or_else(|| self.wrong("a list of at most 65536 elements"))?
            .items;
        let place = |(at, raw)| Self {
            path: format!("{}[{at}]", self.path),
            raw,
        };
        Ok(items.into_iter().enumerate().map(place).collect())
    }

    pub(super) fn object(&self) -> Result<Object<'a>, Error> {
        let fields: Pairs<'a> = serde_json::from_str(self.raw.get())
            .map_err(|_| self.wrong("an object of at most 65536 fields"))?;
        let path = self.path.clone();
        Ok(Object {
            path,
            fields: fields.0,
        })
    }

    /// Returns the error that this value is not what it must be.
    pub(super) fn wrong(&self, expected: &'static str) -> Error {
        let path = if self.path.is_empty() {
            "the request body"
        } else {
            &self.path
        };
        wrong(path, expected, self.raw).into()
    }

    /// Returns the error that this value has no words in the other API.
    pub(super) fn refuse(&self, why: impl fmt::Display) -> Error {
        refuse(format!("{} {why}", self.path))
    }
}

/// The fields of an object that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pub(super) path: String,
    fields: Vec<(String, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Takes a field; nothing if it is absent or null.
    pub(super) fn take(&mut self, name: &str) -> Option<Node<'a>> {
        let at = self.fields.iter().rposition(|(key, _)| key == name)?;
        let raw = self.fields[at].1;
        self.drop(&[name]);
        let path = self.path_of(name);
        (raw.get() != "null").then_some(Node { path, raw })
    }

    /// Takes a field that must be there.
    pub(super) fn need(&mut self, name: &str) -> Result<Node<'a>, Error> {
        let field = || self.path_of(name);
        let missing = BodyError::Field {
            field: field(),
            expected: "a value",
            found: "missing".to_owned(),
        };
        self.take(name).ok_or(missing.into())
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        self.take(name).map(|node| node.text()).transpose()
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Error> {
        self.take(name).map(|node| node.flag()).transpose()
    }

    /// Takes a list; an absent one is empty.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Node<'a>>, Error> {
        self.take(name).map_or(Ok(Vec::new()), |node| node.list())
    }

    /// Takes an object; an absent one is empty.
    pub(super) fn object(&mut self, name: &str) -> Result<Self, Error> {
        match self.take(name) {
            Some(node) => node.object(),
            None => Ok(Self {
                path: self.path_of(name),
                fields: Vec::new(),
            }),
        }
    }

    /// Takes fields that the other API can do without.
    pub(super) fn drop(&mut self, names: &[&str]) {
        self.fields
            .retain(|(key, _)| !names.contains(&key.as_str()));
    }

    /// Takes a field that is harmless with one value, and refuses any other.
    pub(super) fn only(&mut self, name: &str, harmless: &str) -> Result<(), Error> {
        let Some(node) = self.take(name) else {
            return Ok(());
        };
        let found: String = node.raw.get().split_whitespace().collect();
        // 0.0 is 0.
        let numbers = (found.parse::<f64>(), harmless.parse::<f64>());
        let is_same = matches!(numbers, (Ok(found), Ok(harmless)) if found == harmless);
        if is_same || found == harmless {
            return Ok(());
        }
        Err(node.refuse(format_args!(
            "has no counterpart; it can only be {harmless}"
        )))
    }

    /// Refuses what is left, unless it says nothing.
    pub(super) fn finish(self) -> Result<(), Error> {
        let is_blank = |raw: &RawValue| matches!(raw.get(), "null" | "[]" | "{}" | "\"\"");
        match self.fields.iter().find(|(_, raw)| !is_blank(raw)) {
            None => Ok(()),
            Some((name, _)) => {
                let path = self.path_of(&name.chars().take(60).collect::<String>());
                Err(refuse(format!("{path} has no counterpart")))
            }
        }
    }

    fn path_of(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }
}

/// The fields of an object as written, bounded.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    if fields.len() == ITEMS_MAX {
                        return Err(serde::de::Error::custom("too many fields"));
                    }
                    fields.push(field);
                }
                Ok(Pairs(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
