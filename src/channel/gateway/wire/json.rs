//! JSON opened one level at a time, and hashed in one canonical form.
//!
//! Values stay slices of the body, so that a patch knows their places. Trees
//! are built for one message or frame at a time, bounded before they are.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::bounds::{ITEMS_MAX, NODES_MAX};

/// The fields of one object in the order written, values as text.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Opens an object; `None` if `json` is none, or has too many fields.
    pub(super) fn open(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Returns a field that is there and not null, the last one if given twice.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.all(name).last().filter(|raw| raw.get() != "null")
    }

    /// Returns the first of several spellings that is there and not null.
    pub(super) fn any(&self, names: &[&str]) -> Option<&'a RawValue> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Returns every value given under `name`, nulls too.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'a RawValue> {
        let fields = self.0.iter().filter(move |(key, _)| key == name);
        fields.map(|(_, raw)| *raw)
    }

    /// Returns the names, in the order written.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Returns every value, in the order written.
    pub(super) fn values(&self) -> impl Iterator<Item = &'a RawValue> {
        self.0.iter().map(|(_, raw)| *raw)
    }

    /// Returns a text field.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|raw| text(raw.get()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;
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
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A list whose surplus elements were counted but not kept.
pub(super) struct List<'a> {
    pub(super) items: Vec<&'a RawValue>,
    pub(super) is_cut: bool,
}

impl<'a> List<'a> {
    /// Opens a list; `None` if `json` is none.
    pub(super) fn open(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = List<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let (mut items, mut is_cut) = (Vec::new(), false);
                while items.len() < ITEMS_MAX {
                    let Some(item) = seq.next_element()? else {
                        return Ok(List { items, is_cut });
                    };
                    items.push(item);
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    is_cut = true;
                }
                Ok(List { items, is_cut })
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

/// An object one of whose fields is a list that may be long; of the list, only what is
/// new is read.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    /// All other fields.
    pub(super) fields: Fields<'a>,
    /// The elements, as written; or the one value, where it is no list. `null` is none.
    pub(super) items: Vec<&'a str>,
    /// So many of them were known.
    pub(super) known: usize,
    /// There were more than [`ITEMS_MAX`].
    pub(super) is_cut: bool,
    /// How often the list is given.
    pub(super) lists: usize,
}

impl<'a> Outline<'a> {
    /// Opens an object; `None` if `json` is none, or has too many fields.
    ///
    /// - `list`: the name of the list;
    /// - `known`: is given the text from the first element on, and returns where in it the first
    ///   elements stand that were read before, character for character, each an object.
    pub(super) fn open(
        json: &'a str,
        list: &str,
        known: impl FnOnce(&'a str) -> Vec<Range<usize>>,
    ) -> Option<Self> {
        let (mut scan, mut known) = (Scan { rest: json }, Some(known));
        let mut found = Self::default();
        scan.eat(b'{')?;
        let mut is_open = scan.eat(b'}').is_none();
        while is_open {
            let name: String = scan.value()?;
            scan.eat(b':')?;
            if name != list {
                if found.fields.0.len() == ITEMS_MAX {
                    return None;
                }
                found.fields.0.push((name, scan.value()?));
            } else {
                found.lists += 1;
                match (scan.eat(b'['), known.take()) {
                    (Some(()), Some(known)) => found.list(&mut scan, known)?,
                    (Some(()), None) => found.list(&mut scan, |_| Vec::new())?,
                    (None, _) => {
                        let raw: &RawValue = scan.value()?;
                        found
                            .items
                            .extend((raw.get() != "null").then_some(raw.get()));
                    }
                }
            }
            is_open = scan.goes_on(b'}')?;
        }
        scan.skip_blank();
        scan.rest.is_empty().then_some(found)
    }

    /// Reads a list behind its opening bracket.
    fn list(
        &mut self,
        scan: &mut Scan<'a>,
        known: impl FnOnce(&'a str) -> Vec<Range<usize>>,
    ) -> Option<()> {
        (self.items, self.is_cut) = (Vec::new(), false);
        scan.skip_blank();
        let text = scan.rest;
        let known = known(text);
        self.known = known.len();
        let mut is_open = match known.last() {
            None => scan.eat(b']').is_none(),
            Some(last) => {
                scan.rest = text.get(last.end..)?;
                let items = known.iter().map(|place| text.get(place.clone()));
                self.items = items.collect::<Option<_>>()?;
                scan.goes_on(b']')?
            }
        };
        while is_open {
            let item: &RawValue = scan.value()?;
            match self.items.len() < ITEMS_MAX {
                true => self.items.push(item.get()),
                false => self.is_cut = true,
            }
            is_open = scan.goes_on(b']')?;
        }
        Some(())
    }
}

/// What is left of a text that is read value by value.
struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    fn skip_blank(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Takes a mark, if it comes next.
    fn eat(&mut self, mark: u8) -> Option<()> {
        self.skip_blank();
        (self.rest.as_bytes().first() == Some(&mark)).then(|| self.rest = &self.rest[1..])
    }

    /// Whether another element follows; `None` where neither it nor the end does.
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        let follows = self.eat(b',').map(|()| true);
        follows.or_else(|| self.eat(end).map(|()| false))
    }

    fn value<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter();
        let value = values.next()?.ok()?;
        self.rest = self.rest.get(values.byte_offset()..)?;
        Some(value)
    }
}

/// Returns the elements of a list, none if it is not one.
pub(super) fn items(raw: Option<&RawValue>) -> Vec<&RawValue> {
    let list = raw.and_then(|raw| List::open(raw.get()));
    list.map_or_else(Vec::new, |list| list.items)
}

/// Returns the text of a JSON string.
pub(super) fn text(json: &str) -> Option<String> {
    serde_json::from_str(&mend(json)).ok()
}

/// Returns the tree of one value; `None` if it is broken, deeper than
/// serde_json goes, or has more than [`NODES_MAX`] values.
pub(super) fn tree(json: &str) -> Option<Value> {
    let is_mark = |byte: &&u8| matches!(byte, b',' | b':' | b'[' | b'{');
    // Marks inside texts count too; the bound leaves room for them.
    if json.len() > NODES_MAX && json.as_bytes().iter().filter(is_mark).count() > NODES_MAX {
        return None;
    }
    serde_json::from_str(&mend(json)).ok()
}

/// Replaces escapes of lone surrogates, which JavaScript writes for a text cut
/// in the middle of an emoji and which serde_json refuses.
fn mend(json: &str) -> Cow<'_, str> {
    if !json.contains("\\ud") && !json.contains("\\uD") {
        return Cow::Borrowed(json);
    }
    let mut mended = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let (taken, is_lone) = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (12, false),
            (Some(0xD800..=0xDFFF), _) => (6, true),
            (Some(_), _) => (6, false),
            (None, _) => (escape.len().min(2), false),
        };
        // Only broken JSON has part of a character after a backslash.
        let Some(kept) = escape.get(..taken) else {
            return Cow::Borrowed(json);
        };
        mended.push_str(if is_lone { "\\ufffd" } else { kept });
        rest = &escape[taken..];
    }
    mended.push_str(rest);
    Cow::Owned(mended)
}

/// Returns the UTF-16 unit of an escape that `text` starts with.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

/// Names a message by its meaning: SHA-256 of a canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What comes before everything.
    pub const NONE: Self = Self([0; 32]);

    /// Names what has this meaning, with what follows it.
    pub fn then(self, next: Self) -> Self {
        let both = Sha256::new().chain_update(self.0).chain_update(next.0);
        Self(both.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Writes a canonical form: every value with its kind and length, so that two
/// different messages never write the same bytes.
#[derive(Default)]
pub(super) struct Canon {
    sha: Sha256,
    /// Something was written.
    pub(super) has_any: bool,
}

impl Canon {
    /// Writes one text under its kind.
    pub(super) fn put(&mut self, kind: &str, text: &str) {
        self.has_any = true;
        for part in [kind, text] {
            self.sha.update((part.len() as u64).to_le_bytes());
            self.sha.update(part.as_bytes());
        }
    }

    /// Writes a tree: keys in order, whole numbers without a fraction. With keys
    /// in `dropped`, they and nulls (which the Python SDKs add) are left out at
    /// every depth.
    pub(super) fn tree(&mut self, value: &Value, dropped: &[&str]) {
        match value {
            Value::Null => self.put("null", ""),
            Value::Bool(flag) => self.put("bool", if *flag { "t" } else { "f" }),
            Value::Number(number) => self.put("number", &number_text(number)),
            Value::String(text) => self.put("text", text),
            Value::Array(items) => {
                self.put("list", &items.len().to_string());
                items.iter().for_each(|item| self.tree(item, dropped));
            }
            Value::Object(fields) => {
                let is_kept = |(key, value): &(&String, &Value)| {
                    dropped.is_empty() || !(value.is_null() || dropped.contains(&key.as_str()))
                };
                let mut kept: Vec<_> = fields.iter().filter(is_kept).collect();
                // The map keeps the order of writing if any crate asks for that.
                kept.sort_by_key(|(key, _)| key.as_str());
                self.put("object", &kept.len().to_string());
                for (key, value) in kept {
                    self.put("key", key);
                    self.tree(value, dropped);
                }
            }
        }
    }

    /// Returns the digest.
    pub(super) fn finish(self) -> Digest {
        Digest(self.sha.finalize().into())
    }
}

/// JavaScript writes 1.0 back as 1.
fn number_text(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if !number.is_i64() && !number.is_u64() => {
            if float.fract() == 0.0 && float.abs() < 9e15 {
                format!("{float:.0}")
            } else {
                format!("{float:e}")
            }
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        #[rustfmt::skip]
        let rows = [
            ("a pair stays",                  r#""\ud83d\ude00""#,    "😀"),
            ("a lone high one",               r#""a\ud83db""#,        "a\u{fffd}b"),
            ("a lone low one",                r#""a\uDE00""#,         "a\u{fffd}"),
            ("two high ones",                 r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            ("an escaped backslash is none",  r#""\\ud83d""#,         "\\ud83d"),
            ("others beside it stay",         r#""\n\u00e4\ud800é""#, "\nä\u{fffd}é"),
        ];
        for (name, json, want) in rows {
            assert_eq!(text(json).as_deref(), Some(want), "row: {name}");
        }
        for broken in [r#""\ud8"#, r#""\ud8é"#, "\"\\ud800\\", "\"\\ud800\\é"] {
            assert_eq!(text(broken), None);
        }
    }

    #[test]
    fn trees_with_too_many_values_are_not_built() {
        let wide = format!("[0{}]", ",0".repeat(NODES_MAX));
        assert!(tree(&wide).is_none());
        assert!(tree("[0,1]").is_some());
        assert!(List::open(&wide).is_some_and(|list| list.is_cut));
    }
}
