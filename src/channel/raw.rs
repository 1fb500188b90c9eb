//! JSON kept as text: values passed on byte for byte, and objects opened one
//! level deep.
//!
//! Pure. A message of the conversation is the loop's own; it is stored and
//! handed back as it was written, so nothing here turns it into a tree and
//! back. What is read is read from the text: numbers keep all their digits.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Most fields an object of the protocol itself may have; the widest has nine.
const FIELDS_MAX: usize = 64;
/// Most characters of foreign text that an error message repeats.
const EXCERPT_CHARS: usize = 60;

/// One JSON value as the client wrote it, without the space around it.
///
/// The text is valid JSON in its grammar. Two things that the grammar allows
/// and a tree may refuse can be inside: numbers beyond 64 bits, and escapes of
/// lone surrogates. Both survive storing and sending back.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Verbatim(Box<RawValue>);

impl Verbatim {
    /// Keeps `text`, which must be one JSON value.
    ///
    /// Line ends between the values become spaces, so that the text fits into
    /// one line of the protocol; inside strings JSON has them escaped anyway.
    ///
    /// Errors: what serde_json says when the text is not one JSON value.
    pub fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        let line = text.trim().replace(['\n', '\r'], " ");
        RawValue::from_string(line).map(Self)
    }

    /// Keeps a value that is a tree already.
    pub fn from_value(value: &serde_json::Value) -> Self {
        let text = value.to_string();
        Self(RawValue::from_string(text).expect("a tree prints as JSON"))
    }

    /// Returns the text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Returns the text as serde_json's own kind of it.
    pub fn raw(&self) -> &RawValue {
        &self.0
    }
}

impl From<&RawValue> for Verbatim {
    fn from(raw: &RawValue) -> Self {
        Self(raw.to_owned())
    }
}

impl PartialEq for Verbatim {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Verbatim {}

impl fmt::Debug for Verbatim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&excerpt(self.get()))
    }
}

/// The fields of one JSON object, in the order written, values as text.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    entries: Vec<(String, &'a RawValue)>,
    /// There were more than [`FIELDS_MAX`]; the rest was not kept.
    pub(super) overflow: bool,
}

impl<'a> Fields<'a> {
    /// Returns the value of a field, also when it is null.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.entries
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, raw)| *raw)
    }

    /// Returns the first field that is written twice.
    pub(super) fn duplicate(&self) -> Option<&str> {
        let twice = |(index, (key, _)): (usize, &(String, _))| {
            self.entries[..index]
                .iter()
                .any(|(earlier, _)| earlier == key)
        };
        let found = self.entries.iter().enumerate().find(|entry| twice(*entry));
        found.map(|(_, (key, _))| key.as_str())
    }

    /// Returns the first field that is not among `known`.
    pub(super) fn unknown(&self, known: &[&str]) -> Option<&str> {
        let keys = self.entries.iter().map(|(key, _)| key.as_str());
        keys.into_iter().find(|key| !known.contains(key))
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
                let mut fields = Fields::default();
                while fields.entries.len() < FIELDS_MAX {
                    let Some(entry) = map.next_entry::<String, &'de RawValue>()? else {
                        return Ok(fields);
                    };
                    fields.entries.push(entry);
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    fields.overflow = true;
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// Returns the first integer in JSON text that does not fit 64 bits; a tree
/// would silently round it.
pub(super) fn integer_beyond_64_bits(json: &str) -> Option<&str> {
    let bytes = json.as_bytes();
    let mut place = 0;
    while place < bytes.len() {
        match bytes[place] {
            b'"' => place += string_bytes(&bytes[place..]),
            b'-' | b'0'..=b'9' => {
                let is_number =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let length = bytes[place..]
                    .iter()
                    .take_while(|byte| is_number(byte))
                    .count();
                let number = &json[place..place + length];
                let whole = !number.contains(['.', 'e', 'E']);
                if whole && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some(number);
                }
                place += length;
            }
            _ => place += 1,
        }
    }
    None
}

/// Returns the length of the JSON string that `bytes` starts with, quotes
/// included.
fn string_bytes(bytes: &[u8]) -> usize {
    let mut escaped = false;
    for (index, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    bytes.len()
}

/// Returns how a message names a JSON value it did not expect: a scalar as it
/// is written, shortened, anything else by its kind.
pub(super) fn describe(json: &str) -> String {
    match json.trim_start().as_bytes().first() {
        Some(b'{') => "an object".into(),
        Some(b'[') => "an array".into(),
        Some(_) => excerpt(json.trim()),
        None => "nothing".into(),
    }
}

/// Returns the beginning of foreign text, harmless to print: control
/// characters escaped, length bounded.
pub(super) fn excerpt(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(EXCERPT_CHARS)
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    if text.chars().nth(EXCERPT_CHARS).is_some() {
        short.push('…');
    }
    short
}

/// Returns serde_json's words without the place, which is told separately.
pub(super) fn why(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    excerpt(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_that_a_tree_would_round_are_found() {
        #[rustfmt::skip]
        let rows = [
            ("the largest that fits",            r#"{"a":18446744073709551615}"#, None),
            ("one more",                         r#"{"a":18446744073709551616}"#, Some("18446744073709551616")),
            ("the smallest that fits",           r#"[-9223372036854775808]"#, None),
            ("one less",                         r#"[-9223372036854775809]"#, Some("-9223372036854775809")),
            ("digits in a text are text",        r#"{"a":"99999999999999999999"}"#, None),
            ("digits after an escaped quote too", r#"["\"99999999999999999999"]"#, None),
            ("a fraction is a float anyway",     r#"[1.99999999999999999999]"#, None),
        ];
        for (name, json, want) in rows {
            assert_eq!(integer_beyond_64_bits(json), want, "row: {name}");
        }
    }

    #[test]
    fn what_is_kept_fits_into_one_line() {
        let pretty = Verbatim::from_text("{\n  \"a\": 1.50\r\n}\n").unwrap();
        assert_eq!(pretty.get(), "{   \"a\": 1.50  }");
        assert!(Verbatim::from_text("{").is_err());
    }

    #[test]
    fn excerpts_are_short_and_printable() {
        assert_eq!(excerpt("a\u{1b}[31m\n"), "a\\u{1b}[31m\\n");
        assert_eq!(
            excerpt(&"x".repeat(1000)).chars().count(),
            EXCERPT_CHARS + 1
        );
    }
}
