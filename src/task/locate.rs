//! Where a key of the task file stands: key path to line and column.
//!
//! One pass over the text with the same parser that reads it. serde hands out
//! no positions, but serde_yaml writes the position of a scalar into any error
//! its visitor returns, and goes on behind the scalar afterwards. So a seed
//! lets every scalar (keys too) fail on purpose, reads the position from the
//! error, swallows it, and notes it in a tree. Lists and mappings cannot fail
//! without losing the place; they are found by their key or first scalar.
//!
//! Lines and columns count from 1; columns count characters, not bytes. A
//! value behind an alias has the position of the text it stands for. Without a
//! better answer the nearest known ancestor is given, at last 1:1.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::parse::{NODES_MAX, without_bom};

/// One step of a key path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A key of a mapping.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// The way from the top of the task file to a value: `tools.charge.command[2]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPath(Vec<Segment>);

impl KeyPath {
    /// Returns the path of the whole file.
    pub fn root() -> Self {
        Self::default()
    }

    /// Returns the path of `key` below this one.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    /// Returns the path of item `index` below this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// Returns the path one step below this one.
    #[must_use]
    pub fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }

    /// Returns the path that `pointer` (RFC 6901) takes through `value`.
    pub fn from_pointer(pointer: &str, value: &Value) -> Self {
        let mut path = Self::root();
        let mut here = Some(value);
        for part in pointer.split('/').skip(1) {
            let key = part.replace("~1", "/").replace("~0", "~");
            let segment = match (here, key.parse()) {
                (Some(Value::Array(_)), Ok(index)) => Segment::Index(index),
                _ => Segment::Key(key),
            };
            here = here.and_then(|value| child(value, &segment));
            path.0.push(segment);
        }
        path
    }

    /// Returns the steps, outermost first.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Tells whether this path is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Returns the value at this path.
    pub fn get<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(root, child)
    }

    /// Tells whether the path leads into an environment or headers, or to a
    /// webhook: what stands there may be a secret and is not repeated.
    pub fn may_be_secret(&self) -> bool {
        self.0.iter().any(|segment| {
            matches!(segment, Segment::Key(key) if matches!(key.as_str(), "env" | "headers" | "webhook"))
        })
    }

    /// Tells whether the value is itself the name of a variable or header:
    /// `native_key.env`, `native_key.header`.
    pub fn is_name_of_key(&self) -> bool {
        let above = self
            .0
            .len()
            .checked_sub(2)
            .and_then(|place| self.0.get(place));
        matches!(above, Some(Segment::Key(key)) if key == "native_key")
    }
}

fn child<'v>(value: &'v Value, segment: &Segment) -> Option<&'v Value> {
    match segment {
        Segment::Key(key) => value.get(key),
        Segment::Index(index) => value.get(index),
    }
}

impl fmt::Display for KeyPath {
    /// Keys that are not plain words stand in quotes; the root shows nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => {
                    if place > 0 {
                        f.write_str(".")?;
                    }
                    let plain =
                        |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '<' | '*' | '?');
                    if !key.is_empty() && key.chars().all(plain) {
                        f.write_str(key)?;
                    } else {
                        let short: String = key.chars().take(60).collect();
                        write!(f, "{short:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A place in the text, from 1:1. Columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl Position {
    /// The first character of the file.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// What of a key path is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The key (or the list item): for what should not be there, or lacks something.
    Key,
    /// The value: for what is wrong itself.
    Value,
}

/// The positions of all keys and scalars of one task file.
#[derive(Debug, Default)]
pub struct Positions(Option<Node>);

#[derive(Debug)]
enum Node {
    Scalar(Position),
    List(Vec<Node>),
    Mapping(Vec<(String, Position, Node)>),
}

impl Positions {
    /// Reads the positions. Text that is not YAML, or passes the bounds of
    /// [`super::parse`], yields none; every lookup then answers 1:1.
    pub fn read(text: &str) -> Self {
        let nodes = Cell::new(0);
        let document = serde_yaml::Deserializer::from_str(without_bom(text));
        Self(
            ValueSeed {
                nodes: &nodes,
                depth: 0,
            }
            .deserialize(document)
            .ok()
            .flatten(),
        )
    }

    /// Returns where `path` stands.
    pub fn find(&self, path: &KeyPath, part: Part) -> Position {
        self.find_nth(path, part, 0)
    }

    /// Returns where the second value of a repeated key stands.
    pub fn find_repeated(&self, path: &KeyPath, occurrence: usize) -> Position {
        self.find_nth(path, Part::Key, occurrence)
    }

    fn find_nth(&self, path: &KeyPath, part: Part, occurrence: usize) -> Position {
        let Some(mut node) = self.0.as_ref() else {
            return Position::START;
        };
        let mut best = node.start().unwrap_or(Position::START);
        let last = path.segments().len();
        for (place, segment) in path.segments().iter().enumerate() {
            let is_last = place + 1 == last;
            match (node, segment) {
                (Node::Mapping(entries), Segment::Key(key)) => {
                    let skip = if is_last { occurrence } else { 0 };
                    let found = entries.iter().filter(|(name, ..)| name == key).nth(skip);
                    let Some((_, at, value)) = found else {
                        return best;
                    };
                    best = match (is_last, part, value) {
                        (true, Part::Value, Node::Scalar(at)) => *at,
                        _ => *at,
                    };
                    node = value;
                }
                (Node::List(items), Segment::Index(index)) => {
                    let Some(item) = items.get(*index) else {
                        return best;
                    };
                    best = item.start().unwrap_or(best);
                    node = item;
                }
                _ => return best,
            }
        }
        best
    }
}

impl Node {
    /// Returns the position of the first scalar in it.
    fn start(&self) -> Option<Position> {
        match self {
            Self::Scalar(at) => Some(*at),
            Self::List(items) => items.iter().find_map(Self::start),
            Self::Mapping(entries) => entries.first().map(|(_, at, _)| *at),
        }
    }
}

/// Reads a value's positions; `None` where there is nothing to point at.
#[derive(Clone, Copy)]
struct ValueSeed<'a> {
    nodes: &'a Cell<usize>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Option<Node>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > NODES_MAX {
            return Err(de::Error::custom("too many values"));
        }
        let failed = Cell::new(false);
        match deserializer.deserialize_any(Probe {
            seed: self,
            failed: &failed,
            text: None,
        }) {
            Ok(node) => Ok(Some(node)),
            Err(error) if failed.get() => Ok(Some(Node::Scalar(position_in(&error)))),
            Err(error) => Err(error),
        }
    }
}

/// Reads a key's text and position.
struct KeySeed<'a>(ValueSeed<'a>);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = (String, Position);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let failed = Cell::new(false);
        let text = RefCell::new(String::new());
        let probe = Probe {
            seed: self.0,
            failed: &failed,
            text: Some(&text),
        };
        match deserializer.deserialize_any(probe) {
            Err(error) if failed.get() => {
                let at = position_in(&error);
                Ok((text.into_inner(), at))
            }
            Err(error) => Err(error),
            // A list or mapping as a key; refused elsewhere, nothing to note.
            Ok(node) => Ok((String::new(), node.start().unwrap_or(Position::START))),
        }
    }
}

/// The last word of every error made here on purpose.
const MARK: &str = "here";

/// Reads the position that serde_yaml wrote behind the message. Without one
/// the scalar stands at the very start.
fn position_in(error: &impl fmt::Display) -> Position {
    let text = error.to_string();
    let numbers = || {
        let (line, column) = text.rsplit_once(" at line ")?.1.split_once(" column ")?;
        Some(Position {
            line: line.parse().ok()?,
            column: column.parse().ok()?,
        })
    };
    if text.ends_with(MARK) {
        Position::START
    } else {
        numbers().unwrap_or(Position::START)
    }
}

/// Fails on scalars, walks through the rest.
struct Probe<'a> {
    seed: ValueSeed<'a>,
    failed: &'a Cell<bool>,
    text: Option<&'a RefCell<String>>,
}

impl Probe<'_> {
    fn fail<E: de::Error>(self, text: &str) -> Result<Node, E> {
        self.failed.set(true);
        if let Some(slot) = self.text {
            slot.borrow_mut().push_str(text);
        }
        Err(E::custom(MARK))
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        self.fail(text)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.fail(&value.to_string())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.fail(&value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.fail(&value.to_string())
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        self.fail(&value.to_string())
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        self.fail(&value.to_string())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        self.fail(&value.to_string())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.fail("null")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let seed = ValueSeed {
            depth: self.seed.depth + 1,
            ..self.seed
        };
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(seed)? {
            list.push(item.unwrap_or(Node::List(Vec::new())));
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let seed = ValueSeed {
            depth: self.seed.depth + 1,
            ..self.seed
        };
        let mut mapping = Vec::new();
        while let Some((key, at)) = entries.next_key_seed(KeySeed(seed))? {
            let value = entries.next_value_seed(seed)?;
            mapping.push((key, at, value.unwrap_or(Node::List(Vec::new()))));
        }
        Ok(Node::Mapping(mapping))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, pointer: &str, part: Part) -> (usize, usize) {
        let value: Value = super::super::parse::read(text).value;
        let position = Positions::read(text).find(&KeyPath::from_pointer(pointer, &value), part);
        (position.line, position.column)
    }

    #[test]
    fn position_table() {
        use Part::{Key, Value};
        #[rustfmt::skip]
        let rows = [
            ("a value on the first line", "a: 1\n", "/a", Value, (1, 4)),
            ("a key on the first line", "a: 1\n", "/a", Key, (1, 1)),
            ("a nested mapping", "a:\n  b:\n    c: x\n", "/a/b/c", Value, (3, 8)),
            ("a mapping is found by its key", "a:\n  b:\n    c: x\n", "/a/b", Value, (2, 3)),
            ("a list item", "a:\n  - x\n  - y\n", "/a/1", Value, (3, 5)),
            ("a list in a list", "a:\n- - 1\n  - 2\n- [3, 4]\n", "/a/0/1", Value, (3, 5)),
            ("a flow list in a list", "a:\n- - 1\n  - 2\n- [3, 4]\n", "/a/1/1", Value, (4, 7)),
            ("a mapping in a list", "a:\n  - b: 1\n    c: 2\n", "/a/0/c", Value, (3, 8)),
            ("flow style", "a: {b: 1, c: [x, y]}\n", "/a/c/1", Value, (1, 18)),
            ("flow style over lines", "a: {b: 1,\n    c: 2}\n", "/a/c", Value, (2, 8)),
            ("columns count characters", "ключ: {ä: \"日本\", b: 2}\n", "/ключ/b", Value, (1, 20)),
            ("CRLF", "a: 1\r\nb:\r\n  c: 2\r\n", "/b/c", Value, (3, 6)),
            ("a byte order mark is no column", "\u{feff}a: 1\n", "/a", Value, (1, 4)),
            ("behind an alias stands its anchor", "a: &x\n  b: 1\nc: *x\n", "/c/b", Value, (2, 6)),
            ("after an alias the place is kept", "a: &x [1, 2]\nb: *x\nc: 3\n", "/c", Value, (3, 4)),
            ("an anchored scalar", "a: &x 1\nb: [*x, 2]\n", "/b/1", Value, (2, 9)),
            ("after comments and a document start", "# hi\n---\n# ho\na: 1\n", "/a", Value, (4, 4)),
            ("a quoted key", "\"a b\": 1\n", "/a b", Key, (1, 1)),
            ("a block text", "a: |\n  x\nb: 1\n", "/b", Value, (3, 4)),
            ("a missing key is found by its parent", "a:\n  b: 1\n", "/a/z", Value, (1, 1)),
            ("an empty mapping is found by its key", "x: 1\na: {}\n", "/a", Value, (2, 1)),
            ("an empty value", "x: 1\na:\nb: 2\n", "/b", Value, (3, 4)),
            ("a key that imitates the message", "\"x at line 9 column 9\": 1\n", "/x at line 9 column 9", Value, (1, 25)),
            ("not YAML", "a: [", "/a", Value, (1, 1)),
        ];
        for (name, text, pointer, part, want) in rows {
            assert_eq!(at(text, pointer, part), want, "row: {name}");
        }
    }

    #[test]
    fn paths_read_as_people_write_them() {
        let path = KeyPath::root()
            .key("tools")
            .key("my tool")
            .key("command")
            .index(2);
        assert_eq!(path.to_string(), "tools.\"my tool\".command[2]");
        assert_eq!(KeyPath::root().to_string(), "");
    }
}
