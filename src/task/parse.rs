//! Text to a JSON value, within bounds.
//!
//! A task file is untrusted: at most [`BYTES_MAX`] bytes, [`DEPTH_MAX`] levels
//! and [`NODES_MAX`] values after aliases are expanded (serde_yaml alone lets
//! 43 KB of aliases grow to 20 million values). What JSON cannot hold (tags,
//! keys that are not text, infinities) is refused here, repeated keys too.
//!
//! The time is linear in the text; a mebibyte of `[` is the slowest at about a
//! thousand steps of the scanner for each.
//!
//! All problems below the syntax are collected; a syntax error ends the
//! reading, since nothing behind it can be trusted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::locate::{KeyPath, Position};

/// The largest task file, in bytes.
pub const BYTES_MAX: usize = 1 << 20;
/// The deepest nesting of lists and mappings.
pub const DEPTH_MAX: usize = 64;
/// The most keys and values, aliases counted each time they are used.
pub const NODES_MAX: usize = 200_000;

/// The most problems that are collected; a file with more is told these.
pub const PROBLEMS_MAX: usize = 200;

/// What is wrong with the text, before the keys are looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The place: of a key path, or of the text itself.
    pub at: At,
    /// What is wrong, to follow the name of the file or key.
    pub message: String,
    /// What would be right.
    pub expected: Option<String>,
    /// What to write instead.
    pub fix: Option<String>,
}

/// How the place of a fault is known.
#[derive(Clone, Debug, PartialEq)]
pub enum At {
    /// As a position in the text.
    Text(Position),
    /// As the path of a value.
    Value(KeyPath),
    /// As the path of a key; `occurrence` counts repeated keys from 0.
    Key {
        /// The key.
        path: KeyPath,
        /// Which of the keys with this name.
        occurrence: usize,
    },
}

/// The outcome: a value (`Null` if there is none) and what was wrong.
#[derive(Debug)]
pub struct Parsed {
    /// The value, without what was refused.
    pub value: Value,
    /// The faults, in the order of the text.
    pub faults: Vec<Fault>,
}

/// Returns the text without a leading byte order mark.
pub(crate) fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Checks the size and decodes UTF-8.
///
/// Errors: a fault with the position of the first bad byte.
pub fn decode(bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.len() > BYTES_MAX {
        return Err(too_large(bytes.len()));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        Fault {
            at: At::Text(end_of(&good)),
            message: "is not UTF-8 text".to_owned(),
            expected: Some("UTF-8".to_owned()),
            fix: Some("save the file with the encoding UTF-8".to_owned()),
        }
    })
}

/// Reads `text` within the bounds.
pub fn read(text: &str) -> Parsed {
    let failed = |fault| Parsed {
        value: Value::Null,
        faults: vec![fault],
    };
    if text.len() > BYTES_MAX {
        return failed(too_large(text.len()));
    }
    let text = without_bom(text);
    if let Some(fault) = control_character(text) {
        return failed(fault);
    }
    let walk = Walk::default();
    let document = serde_yaml::Deserializer::from_str(text);
    let seed = ValueSeed {
        walk: &walk,
        path: &KeyPath::root(),
        depth: 0,
    };
    match seed.deserialize(document) {
        Ok(value) => Parsed {
            value,
            faults: walk.faults.into_inner(),
        },
        Err(error) => {
            // What was found before has no position that could be told.
            failed(syntax(text, &error, walk.stopped.into_inner()))
        }
    }
}

fn too_large(len: usize) -> Fault {
    Fault {
        at: At::Text(Position::START),
        message: format!("has {len} bytes"),
        expected: Some(format!("at most {BYTES_MAX}")),
        fix: Some(
            "move long texts into files and name them: `prompt_file`, `script` as a command"
                .to_owned(),
        ),
    }
}

/// Finds a character that YAML does not allow; the parser itself would name
/// neither line nor character.
fn control_character(text: &str) -> Option<Fault> {
    let forbidden = |c: char| {
        (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
            || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{feff}')
    };
    let (offset, c) = text.char_indices().find(|(_, c)| forbidden(*c))?;
    Some(Fault {
        at: At::Text(end_of(&text[..offset])),
        message: format!("has the control character U+{:04X}", u32::from(c)),
        expected: Some("text".to_owned()),
        fix: Some(format!(
            "remove it, or write `\"\\x{:02X}\"` in double quotes",
            u32::from(c) & 0xff
        )),
    })
}

/// Returns the position just behind `text`.
fn end_of(text: &str) -> Position {
    let lines = super::problem::lines(text);
    let last = lines.last().copied().unwrap_or("");
    Position {
        line: lines.len().max(1),
        column: last.chars().count() + 1,
    }
}

/// Words a parser error for a person who does not know YAML's terms.
fn syntax(text: &str, error: &serde_yaml::Error, stopped: Option<Stop>) -> Fault {
    let at = error
        .location()
        .map_or(Position::START, |location| Position {
            line: location.line(),
            column: location.column(),
        });
    let fault = |message: &str, expected: Option<&str>, fix: Option<&str>| Fault {
        at: At::Text(at),
        message: message.to_owned(),
        expected: expected.map(str::to_owned),
        fix: fix.map(str::to_owned),
    };
    match stopped {
        Some(Stop::Nodes) => {
            return fault(
                &format!("holds more than {NODES_MAX} values, with aliases expanded"),
                None,
                Some("use fewer aliases (`*name`)"),
            );
        }
        Some(Stop::Depth) => {
            return fault(
                &format!("is nested more than {DEPTH_MAX} levels deep"),
                None,
                None,
            );
        }
        Some(Stop::Tag(tag)) => {
            return fault(
                &format!("uses the YAML tag `!{tag}`"),
                Some("plain values without tags"),
                Some("remove the tag, or put the value in quotes if it begins with `!`"),
            );
        }
        None => {}
    }
    let words = error.to_string();
    if words.contains("more than one document") {
        let at = second_document(text).unwrap_or(at);
        return Fault {
            at: At::Text(at),
            ..fault(
                "has more than one YAML document",
                Some("one document"),
                Some("remove the line `---` and what follows, or make a second file"),
            )
        };
    }
    if words.starts_with("recursion limit") {
        return fault(
            &format!("is nested more than {DEPTH_MAX} levels deep"),
            None,
            None,
        );
    }
    if words.starts_with("repetition limit") {
        return fault(
            "repeats its aliases too often",
            None,
            Some("use fewer aliases (`*name`)"),
        );
    }
    let line = super::problem::lines(text)
        .get(at.line - 1)
        .copied()
        .unwrap_or("");
    let next = line.chars().nth(at.column - 1);
    let fix = if words.contains("cannot start any token") && next == Some('\t') {
        Some("indent with spaces, YAML allows no tabs there")
    } else if words.contains("cannot start any token") {
        Some("put the value in quotes")
    } else if words.contains("mapping values are not allowed") {
        Some("put a value that contains `: ` in quotes, and check the indentation")
    } else if words.contains("unknown anchor") {
        Some(
            "define the anchor (`&name`) before it is used, or put a value that begins with `*` in quotes",
        )
    } else if words.contains("expected ',' or ']'") || words.contains("expected ',' or '}'") {
        Some("close the bracket, or put a value that contains brackets in quotes")
    } else {
        None
    };
    fault(
        &format!("is not valid YAML: {}", without_positions(&words)),
        None,
        fix,
    )
}

/// Removes the positions that libyaml puts into its messages, but for the line
/// in which what it was reading began.
fn without_positions(words: &str) -> String {
    let (problem, context) = words.split_once(", ").unwrap_or((words, ""));
    let problem = problem.split(" at ").next().unwrap_or(problem);
    let Some((context, begun)) = context.split_once(" at line ") else {
        return problem.to_owned();
    };
    let line = begun.split(' ').next().unwrap_or("");
    format!("{problem}, {context} begun in line {line}")
}

/// Returns the line that starts a second document.
fn second_document(text: &str) -> Option<Position> {
    let mut content = false;
    for (index, line) in super::problem::lines(text).iter().enumerate() {
        let starts = *line == "---" || line.starts_with("--- ");
        if starts && content {
            return Some(Position {
                line: index + 1,
                column: 1,
            });
        }
        content |= !line.trim().is_empty() && !line.starts_with(['#', '%']);
    }
    None
}

/// Why the walk ended early.
enum Stop {
    Nodes,
    Depth,
    Tag(String),
}

/// What the seeds of one reading share.
#[derive(Default)]
struct Walk {
    nodes: Cell<usize>,
    faults: RefCell<Vec<Fault>>,
    stopped: RefCell<Option<Stop>>,
}

impl Walk {
    fn stop<E: de::Error>(&self, why: Stop) -> E {
        *self.stopped.borrow_mut() = Some(why);
        E::custom("stopped")
    }

    fn fault(&self, fault: Fault) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < PROBLEMS_MAX {
            faults.push(fault);
        }
    }

    fn count<E: de::Error>(&self) -> Result<(), E> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > NODES_MAX {
            Err(self.stop(Stop::Nodes))
        } else {
            Ok(())
        }
    }
}

struct ValueSeed<'a> {
    walk: &'a Walk,
    path: &'a KeyPath,
    depth: usize,
}

impl ValueSeed<'_> {
    fn fault(&self, message: String, expected: &str, fix: &str) {
        self.walk.fault(Fault {
            at: At::Value(self.path.clone()),
            message,
            expected: Some(expected.to_owned()),
            fix: Some(fix.to_owned()),
        });
    }

    fn deeper<E: de::Error>(&self) -> Result<usize, E> {
        if self.depth >= DEPTH_MAX {
            Err(self.walk.stop(Stop::Depth))
        } else {
            Ok(self.depth + 1)
        }
    }

    fn number_out_of_range(&self, number: &str) -> Value {
        self.fault(
            format!("is {number}"),
            "a number that JSON can hold",
            "put it in quotes if it is meant as text",
        );
        Value::Null
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.walk.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
        Ok(self.number_out_of_range(&value.to_string()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        Ok(self.number_out_of_range(&value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(serde_json::Number::from_f64(value).map_or_else(
            || self.number_out_of_range(&value.to_string()),
            Value::Number,
        ))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut list = Vec::new();
        loop {
            let path = self.path.index(list.len());
            let seed = ValueSeed {
                walk: self.walk,
                path: &path,
                depth,
            };
            match items.next_element_seed(seed)? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut mapping = Map::new();
        let mut seen = BTreeSet::new();
        while let Some(key) = entries.next_key_seed(KeySeed { walk: self.walk })? {
            let path = self.path.key(key.text());
            let at = |occurrence| At::Key {
                path: path.clone(),
                occurrence,
            };
            match &key {
                Key::Other(text, kind) => self.walk.fault(Fault {
                    at: at(0),
                    message: format!("has {kind} as its key"),
                    expected: Some("text".to_owned()),
                    fix: text.as_ref().map(|text| format!("write `\"{text}\":`")),
                }),
                Key::Text(text) if text == "<<" => self.walk.fault(Fault {
                    at: at(0),
                    message: "is a YAML merge key, which is not supported".to_owned(),
                    expected: None,
                    fix: Some(
                        "write the keys out, or use an alias for a whole value: `key: *name`"
                            .to_owned(),
                    ),
                }),
                Key::Text(text) => {
                    if !seen.insert(text.clone()) {
                        self.walk.fault(Fault {
                            at: at(1),
                            message: "is there twice".to_owned(),
                            expected: Some("each key once".to_owned()),
                            fix: Some("keep one of the two".to_owned()),
                        });
                    }
                }
            }
            let value = entries.next_value_seed(ValueSeed {
                walk: self.walk,
                path: &path,
                depth,
            })?;
            if let Key::Text(text) = key
                && text != "<<"
            {
                mapping.entry(text).or_insert(value);
            }
        }
        Ok(Value::Object(mapping))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (tag, _) = data.variant::<String>()?;
        Err(self.walk.stop(Stop::Tag(tag.chars().take(40).collect())))
    }
}

/// A key of a mapping: text, or something else with its text form and kind.
enum Key {
    Text(String),
    Other(Option<String>, &'static str),
}

impl Key {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Other(Some(text), _) => text,
            Self::Other(None, _) => "?",
        }
    }
}

struct KeySeed<'a> {
    walk: &'a Walk,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        let path = KeyPath::root();
        // Faults inside a key that is a list or mapping are not worth a word:
        // the key itself is refused.
        let inner = Walk {
            nodes: Cell::new(self.walk.nodes.get()),
            ..Walk::default()
        };
        let seed = ValueSeed {
            walk: &inner,
            path: &path,
            depth: DEPTH_MAX / 2,
        };
        let value = seed.deserialize(deserializer);
        self.walk.nodes.set(inner.nodes.get());
        if let Some(stop) = inner.stopped.into_inner() {
            *self.walk.stopped.borrow_mut() = Some(stop);
        }
        Ok(match value? {
            Value::String(text) => Key::Text(text),
            Value::Number(number) => Key::Other(Some(number.to_string()), "a number"),
            Value::Bool(value) => Key::Other(Some(value.to_string()), "true or false"),
            Value::Null => Key::Other(Some("null".to_owned()), "nothing"),
            Value::Array(_) => Key::Other(None, "a list"),
            Value::Object(_) => Key::Other(None, "a mapping"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shown(text: &str) -> String {
        let faults = read(text).faults.into_iter().map(|fault| {
            let at = match fault.at {
                At::Text(at) => format!("{}:{}", at.line, at.column),
                At::Value(path) => path.to_string(),
                At::Key { path, occurrence } => format!("{path}#{occurrence}"),
            };
            let expected = fault
                .expected
                .map_or(String::new(), |it| format!(", expected {it}"));
            format!("{at} {}{expected}", fault.message)
        });
        faults.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn fault_table() {
        #[rustfmt::skip]
        let rows = [
            ("a sound file", "a: 1\nb: [x]\n", ""),
            ("a repeated key", "a:\n  b: 1\n  b: 2\n", "a.b#1 is there twice, expected each key once"),
            ("two faults are both told", "a: 1\na: 2\n3: x\n", "a#1 is there twice, expected each key once; 3#0 has a number as its key, expected text"),
            ("a list as a key", "? [a, b]\n: 1\n", "?#0 has a list as its key, expected text"),
            ("a merge key", "a: &x {b: 1}\nc:\n  <<: *x\n", "c.<<#0 is a YAML merge key, which is not supported"),
            ("a tag", "a: !secret x\n", "1:4 uses the YAML tag `!secret`, expected plain values without tags"),
            ("a tag that asks for an object", "a: !!python/object:os.system x\n", ""),
            ("infinity", "a: .inf\n", "a is inf, expected a number that JSON can hold"),
            ("an integer past 64 bits", "a: [99999999999999999999]\n", "a[0] is 99999999999999999999, expected a number that JSON can hold"),
            ("a second document", "a: 1\n---\nb: 2\n", "2:1 has more than one YAML document, expected one document"),
            ("a tab as indentation", "a:\n\tb: 1\n", "2:1 is not valid YAML: found character that cannot start any token"),
            ("a colon in a plain value", "a: b: c\n", "1:5 is not valid YAML: mapping values are not allowed in this context"),
            ("an open bracket", "a: [1, 2\nb: 3\n", "2:2 is not valid YAML: did not find expected ',' or ']', while parsing a flow sequence begun in line 1"),
            ("an alias to nothing", "a: *x\n", "1:4 is not valid YAML: unknown anchor"),
            ("a NUL", "a: 1\nb: \0\n", "2:4 has the control character U+0000, expected text"),
            ("an escape sequence of a terminal", "a: \u{1b}[31m\n", "1:4 has the control character U+001B, expected text"),
        ];
        for (name, text, want) in rows {
            assert_eq!(shown(text), want, "row: {name}");
        }
    }

    #[test]
    fn bounds_hold() {
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(shown(&deep(DEPTH_MAX)), "");
        assert!(shown(&deep(DEPTH_MAX + 1)).ends_with("is nested more than 64 levels deep"));
        assert!(shown(&deep(20_000)).ends_with("is nested more than 64 levels deep"));
        assert!(shown(&"- ".repeat(20_000)).ends_with("is nested more than 64 levels deep"));
        assert!(shown(&"? ".repeat(20_000)).ends_with("is nested more than 64 levels deep"));
        let large = "#".repeat(BYTES_MAX + 1);
        assert_eq!(
            shown(&large),
            "1:1 has 1048577 bytes, expected at most 1048576"
        );
        assert_eq!(shown(&"#".repeat(BYTES_MAX)), "");
    }

    #[test]
    fn alias_bombs_end_at_the_bound() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let previous = format!("*a{}, ", level - 1).repeat(10);
            laughs.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
        }
        let quadratic = format!(
            "a: &a [{}]\nb: [{}]\n",
            "x,".repeat(20_000),
            "*a,".repeat(1000)
        );
        for bomb in [laughs, quadratic] {
            let faults = shown(&bomb);
            let told = [
                "holds more than 200000 values",
                "repeats its aliases too often",
            ];
            assert!(told.iter().any(|it| faults.contains(it)), "{faults}");
        }
    }

    #[test]
    fn aliases_expand_to_values() {
        assert_eq!(
            read("a: &x [1]\nb: *x\n").value,
            json!({"a": [1], "b": [1]})
        );
    }

    #[test]
    fn bytes_that_are_not_text_are_refused_with_their_place() {
        let fault = decode(b"a: 1\nb: \xff\n").unwrap_err();
        assert_eq!(fault.at, At::Text(Position { line: 2, column: 4 }));
        assert_eq!(decode("é".as_bytes()), Ok("é"));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "(?s).{0,200}") {
            let _ = read(&text);
            let _ = super::super::locate::Positions::read(&text);
        }

        #[test]
        fn yaml_like_garbage_never_panics(text in "([a-c]: |- |\\[|\\]|\\{|\\}|, |\n|  |&a |\\*a|\"|'|\\||>|!|\\?|#|é|[0-9]|~|\r|---\n|<<: ){0,60}") {
            let _ = read(&text);
            let _ = super::super::locate::Positions::read(&text);
        }
    }
}
