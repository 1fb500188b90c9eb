//! The format of a script: what may be written, and what is wrong with it.
//!
//! Unknown keys are refused, and what the parser finds is told with key, line
//! and column. A turn may hold `shell`, `call` and `calls` at once; they are
//! called in this order.
//!
//! Not here: which turn a request gets (`plan`), what it looks like (`render`).

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::channel::suggest::nearest;

/// The largest script, in bytes.
pub const BYTES_MAX: usize = 4 << 20;
/// The most keys and values, aliases counted each time they are used.
pub const NODES_MAX: usize = 200_000;
/// The longest time that a script may name: a day.
const SPAN_MS_MAX: f64 = 86_400_000.0;
/// Stands between the parts of an error of ours: serde carries one text only.
const SEPARATOR: char = '\u{1f}';

/// What a scripted model answers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a mapping with `turns`")]
pub struct Script {
    /// The model that answers; without it, the one that was asked.
    pub(super) model: Option<String>,
    /// What an answer uses unless its turn says otherwise.
    pub(super) usage: Used,
    pub(super) price: Option<Price>,
    /// The wait between two frames of a stream.
    pub(super) pace: Span,
    /// Commands are said as text even to an agent that has a shell tool.
    pub(super) shell_text: bool,
    /// The answers, in order; never empty.
    pub(super) turns: Vec<Turn>,
    pub(super) sides: Vec<Side>,
    /// Faults of the turn they name, or of every turn.
    pub(super) faults: Vec<Fault>,
    pub(super) otherwise: Otherwise,
}

/// One answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a turn such as `{say: done}`"
)]
pub(super) struct Turn {
    pub(super) say: String,
    /// Commands for whatever tool runs them.
    pub(super) shell: Commands,
    pub(super) call: Option<Call>,
    pub(super) calls: Vec<Call>,
    /// What the last tool results must contain for the answer to be given.
    pub(super) expect: Option<String>,
    pub(super) usage: Used,
    pub(super) pace: Option<Span>,
    pub(super) stop: Stop,
    /// How many turns of the conversation this one stands for.
    pub(super) repeat: Times,
    /// What goes wrong before the answer is given, in order.
    pub(super) faults: Vec<Fault>,
}

/// A command, or several for as many calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a command, or a list of them")]
pub(super) enum Commands {
    One(String),
    Many(Vec<String>),
}

/// A call of a tool by its name.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a call such as `{tool: read, args: {path: a}}`"
)]
pub(super) struct Call {
    pub(super) tool: String,
    #[serde(default)]
    pub(super) args: Args,
}

/// The arguments of a call: as JSON, or as written, for tools that take text or
/// to be wrong on purpose.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected arguments such as `{path: a}`, or text"
)]
pub(super) enum Args {
    Object(Map<String, Value>),
    Text(String),
}

/// Tokens as they are written: what is left out is the script's.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Used {
    input: Option<u32>,
    output: Option<u32>,
    cache_read: Option<u32>,
    cache_write: Option<u32>,
}

/// What one answer used. Nothing includes anything: the input is without what
/// went through the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Usage {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cache_read: u64,
    pub(super) cache_write: u64,
}

/// USD for a million tokens. A cache without a price of its own costs what the
/// input costs.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Price {
    input: Usd,
    output: Usd,
    cache_read: Option<Usd>,
    cache_write: Option<Usd>,
}

/// An answer to requests beside the conversation: titles, routers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Side {
    pub(super) when: When,
    pub(super) say: String,
    #[serde(default)]
    pub(super) usage: Used,
    #[serde(default)]
    pub(super) faults: Vec<Fault>,
}

/// Which requests are meant; all that is given must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct When {
    pub(super) tools: Option<Tools>,
    /// A part of the prompts, whatever its case.
    pub(super) contains: Option<String>,
    /// A part of the model's name, whatever its case.
    pub(super) model: Option<String>,
}

/// Whether a request offers tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tools {
    None,
    Some,
}

/// Why an answer stops: it is said, it came to its limit, the model will not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stop {
    #[default]
    End,
    Length,
    Refusal,
}

/// What comes after the last turn: that turn again, or an error that says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Otherwise {
    #[default]
    RepeatLast,
    Refuse,
}

/// What goes wrong instead of an answer, or with it.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) words: Words,
    /// How often before it is over.
    pub(super) times: Times,
    /// Only at this turn of the conversation.
    pub(super) turn: Option<u64>,
    /// Only for this model.
    pub(super) model: Option<String>,
    /// Whether it is billed, where that is not the usual.
    pub(super) billed: Option<bool>,
}

/// How it goes wrong. A number of frames says after how many.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// An HTTP error.
    Status(u16),
    /// The connection is reset before a byte.
    Reset,
    /// The connection is reset in the middle.
    Cut(usize),
    /// A neat end without the end mark.
    End(usize),
    /// Nothing for that long, then a reset.
    Silence(Duration, usize),
    /// Nothing for that long, then the answer.
    Slow(Duration, usize),
    /// HTML with status 200.
    Garbage,
    /// An error event inside the stream.
    Error(u16, usize),
    /// An answer that says nothing.
    Empty,
}

/// What an error says where it is not the usual for its status.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    pub(super) kind: Option<String>,
    pub(super) message: Option<String>,
    pub(super) retry_after: Option<Span>,
    pub(super) headers: Map<String, Value>,
    pub(super) body: Option<String>,
}

/// A length of time: `5ms`, `20s`, `1m30s`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span(pub(super) Duration);

/// How often: a number from 1, or `forever`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times(pub(super) u64);

/// An amount of money, in nano-USD.
#[derive(Clone, Copy, Debug)]
struct Usd(u64);

impl Default for Times {
    fn default() -> Self {
        Self(1)
    }
}

impl Default for Args {
    fn default() -> Self {
        Self::Object(Map::new())
    }
}

impl Default for Commands {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Commands {
    /// Returns them as a list.
    pub(super) fn list(&self) -> &[String] {
        match self {
            Self::One(command) => std::slice::from_ref(command),
            Self::Many(commands) => commands,
        }
    }
}

impl Script {
    /// Returns the most input tokens of its answers.
    pub(super) fn most_input(&self) -> u64 {
        let turns = self.turns.iter().map(|turn| turn.usage);
        let sides = self.sides.iter().map(|side| side.usage);
        let inputs = turns
            .chain(sides)
            .map(|used| used.over(self.usage).prompt());
        inputs.max().unwrap_or(0)
    }
}

impl Turn {
    fn says_nothing(&self) -> bool {
        let has_calls = self.call.is_some() || !self.calls.is_empty();
        self.say.is_empty() && self.shell.list().is_empty() && !has_calls
    }
}

impl Span {
    /// Returns it in whole seconds, rounded up.
    pub(super) fn seconds(self) -> u64 {
        self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0)
    }
}

impl Usage {
    /// Returns all tokens of the prompt, however they were come by.
    pub(super) fn prompt(&self) -> u64 {
        self.input + self.cache_read + self.cache_write
    }
}

impl Used {
    /// Fills in from `base` what is left out here.
    pub(super) fn over(self, base: Self) -> Usage {
        let of = |own: Option<u32>, base: Option<u32>, usual| own.or(base).unwrap_or(usual).into();
        Usage {
            input: of(self.input, base.input, 1000),
            output: of(self.output, base.output, 100),
            cache_read: of(self.cache_read, base.cache_read, 0),
            cache_write: of(self.cache_write, base.cache_write, 0),
        }
    }
}

impl Price {
    /// Returns what `usage` costs, in millionths of a nano-USD.
    pub(super) fn cost(&self, usage: &Usage) -> u128 {
        let part = |tokens: u64, usd: Usd| u128::from(tokens) * u128::from(usd.0);
        part(usage.input, self.input)
            + part(usage.output, self.output)
            + part(usage.cache_read, self.cache_read.unwrap_or(self.input))
            + part(usage.cache_write, self.cache_write.unwrap_or(self.input))
    }
}

/// Why a script cannot be used.
///
/// Reads as `FILE:LINE:COLUMN: KEY WHAT, expected EXPECTED`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Error {
    /// The name of the file, as it was given.
    pub file: String,
    /// Line and column, from 1; absent for the file as a whole.
    pub place: Option<(usize, usize)>,
    /// The key path, such as `turns[0].faults[1]`; empty for the file itself.
    pub key: String,
    /// What is wrong there: "has the unknown key `sya`".
    pub what: String,
    /// What would be right, as a noun phrase.
    pub expected: Option<String>,
    /// What to write instead, if that can be guessed.
    pub fix: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        let whole = "the script";
        let key = if self.key.is_empty() {
            whole
        } else {
            &self.key
        };
        write!(f, ": {key} {}", self.what)?;
        match &self.expected {
            Some(expected) => write!(f, ", expected {expected}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// What serde says, and what we say.
const SAID: &[(&str, &str)] = &[
    ("unknown field ", "has the unknown key "),
    ("unknown variant ", "is "),
    ("missing field ", "lacks the key "),
    ("duplicate ", "gives twice the "),
    ("invalid type: ", "is "),
    ("invalid value: ", "is "),
    ("expected ", "holds something else, expected "),
    ("repetition limit exceeded", "repeats its aliases too often"),
];

/// What serde calls a type, and what a person does.
const TYPES: &[(&str, &str)] = &[
    ("u16", "a whole number"),
    ("u32", "a whole number"),
    ("u64", "a whole number"),
    ("usize", "a whole number"),
    ("a string", "text"),
    ("a sequence", "a list"),
    ("a boolean", "`true` or `false`"),
    ("is sequence", "is a list"),
    ("is map", "is a mapping"),
    ("is unit value", "is empty"),
];

impl Error {
    /// Returns the next thing the reader can do, if there is one.
    pub fn hint(&self) -> Option<&str> {
        self.fix.as_deref()
    }

    /// Takes an error of the parser apart.
    fn from_yaml(file: &str, error: &serde_yaml::Error) -> Box<Self> {
        let text = error.to_string();
        let place = error.location().map(|at| (at.line(), at.column()));
        let end = text.find(" at line ").filter(|_| place.is_some());
        let text = &text[..end.unwrap_or(text.len())];
        let is_path = |path: &str| {
            path.chars()
                .all(|c| c.is_alphanumeric() || "_[].".contains(c))
        };
        let split = text.split_once(": ").filter(|(path, _)| is_path(path));
        let (key, text) = split.unwrap_or(("", text));
        let mut parts = text.split(SEPARATOR);
        let is_ours = text.contains(SEPARATOR);
        let words = parts.next().unwrap_or_default();
        let said = SAID
            .iter()
            .find_map(|(from, to)| Some(format!("{to}{}", words.strip_prefix(from)?)));
        let words = match said {
            Some(said) => said,
            None if is_ours => words.to_owned(),
            None => format!("is not valid YAML: {words}"),
        };
        let (what, expected) = match words.split_once(", expected ") {
            Some((what, expected)) => (what, Some(expected)),
            None => (words.as_str(), parts.next().filter(|text| !text.is_empty())),
        };
        let plain = |text: &str| {
            let known = TYPES.iter().find(|(name, _)| *name == text);
            known.map_or(text, |(_, plain)| plain).to_owned()
        };
        let word = what.split('`').nth(1).unwrap_or_default();
        let known: Vec<&str> = expected
            .unwrap_or_default()
            .split('`')
            .skip(1)
            .step_by(2)
            .collect();
        let meant = nearest(word, &known).filter(|_| !is_ours && !word.is_empty());
        let meant = meant.map(|meant| format!("write `{meant}`"));
        Box::new(Self {
            file: file.to_owned(),
            place,
            key: key.to_owned(),
            what: plain(what),
            expected: expected.map(plain),
            fix: parts
                .next()
                .filter(|fix| !fix.is_empty())
                .map(str::to_owned)
                .or(meant),
        })
    }
}

/// Parses a script.
///
/// - `name`: the file, as the user gave it; shown in messages.
///
/// Errors: the first thing that is wrong, in the order of the text.
pub fn parse(text: &str, name: &str) -> Result<Script, Box<Error>> {
    let refused = |key: &str, what: String, expected: &str| {
        Box::new(Error {
            file: name.to_owned(),
            key: key.to_owned(),
            what,
            expected: Some(expected.to_owned()),
            ..Error::default()
        })
    };
    if text.len() > BYTES_MAX {
        let what = format!("has {} bytes", text.len());
        return Err(refused("", what, &format!("at most {BYTES_MAX}")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let of_yaml = |error| Error::from_yaml(name, &error);
    // Aliases can make a small text a huge tree, so the tree is counted first.
    let counted = Count(&Cell::new(0)).deserialize(serde_yaml::Deserializer::from_str(text));
    counted.map_err(of_yaml)?;
    let script: Script = serde_yaml::from_str(text).map_err(of_yaml)?;
    if script.turns.is_empty() {
        return Err(refused("turns", "is empty".to_owned(), "at least one turn"));
    }
    let silent = script.turns.iter().position(Turn::says_nothing);
    silent.map_or(Ok(script), |at| {
        let (key, what) = (format!("turns[{at}]"), "says nothing".to_owned());
        Err(refused(&key, what, "`say`, `shell`, `call` or `calls`"))
    })
}

/// Makes an error whose parts [`Error::from_yaml`] finds again.
fn refuse<E: de::Error>(what: &str, expected: &str, fix: &str) -> E {
    E::custom(format!("{what}{SEPARATOR}{expected}{SEPARATOR}{fix}"))
}

/// Walks a document and keeps nothing but the number of its values.
#[derive(Clone, Copy)]
struct Count<'c>(&'c Cell<usize>);

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.set(self.0.get() + 1);
        if self.0.get() > NODES_MAX {
            let what = format!("holds more than {NODES_MAX} values, aliases expanded");
            return Err(refuse(&what, "", "use fewer aliases (`*name`)"));
        }
        deserializer.deserialize_any(self)
    }
}

/// Visits that take any value and keep nothing of it.
macro_rules! passed_over {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, _: $kind) -> Result<(), E> { Ok(()) })*
    };
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value")
    }

    passed_over!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry_seed(self, self)?.is_some() {}
        Ok(())
    }
}

/// Reads text, or a number as its text, with a function.
struct Scalar<T>(fn(&str) -> Option<T>, &'static str, &'static str);

impl<T> Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let what = format!("is `{}`", text.chars().take(60).collect::<String>());
        (self.0)(text).ok_or_else(|| refuse(&what, self.1, self.2))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a duration up to `24h`, such as `5ms`, `20s` or `1m30s`";
        deserializer.deserialize_any(Scalar(span, expected, "write the unit too: `20s`"))
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| {
            let usd = text.parse::<f64>().ok();
            let usd = usd.filter(|usd| (0.0..=1e6).contains(usd))?;
            Some(Self((usd * 1e9).round() as u64))
        };
        deserializer.deserialize_any(Scalar(read, "USD for a million tokens, such as `0.25`", ""))
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| match text.parse() {
            Ok(count @ 1..) => Some(Self(count)),
            _ => (text == "forever").then_some(Self(u64::MAX)),
        };
        deserializer.deserialize_any(Scalar(read, "a number from 1, or `forever`", ""))
    }
}

/// Reads parts such as `1m30s`, the larger unit first.
fn span(text: &str) -> Option<Span> {
    let units = [("h", 3.6e6), ("m", 6e4), ("s", 1e3), ("ms", 1.0)];
    let (mut rest, mut total_ms, mut next) = (text.trim(), 0.0, 0);
    while !rest.is_empty() || next == 0 {
        let (number, tail) = rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic())?);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic());
        let (unit, tail) = tail.split_at(letters.unwrap_or(tail.len()));
        let place = units[next..].iter().position(|(name, _)| *name == unit)?;
        let number = number.parse::<f64>().ok().filter(|number| *number >= 0.0)?;
        total_ms += number * units[next + place].1;
        next += place + 1;
        rest = tail;
    }
    let whole_ms = total_ms.round() as u64;
    (total_ms <= SPAN_MS_MAX).then(|| Span(Duration::from_millis(whole_ms)))
}

/// A fault as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    status: Option<u16>,
    reset: bool,
    cut: Option<usize>,
    end: Option<usize>,
    silence: Option<Span>,
    slow: Option<Span>,
    garbage: bool,
    error: Option<u16>,
    empty: bool,
    retry_after: Option<Span>,
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<String>,
    headers: Map<String, Value>,
    body: Option<String>,
    after: Option<usize>,
    times: Times,
    turn: Option<u64>,
    model: Option<String>,
    billed: Option<bool>,
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Fault;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a fault such as `{status: 529}`, or `reset`, `garbage`, `empty`")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Fault, E> {
                let mut written = Written::default();
                match word {
                    "reset" => written.reset = true,
                    "garbage" => written.garbage = true,
                    "empty" => written.empty = true,
                    _ => return Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
                written.check()
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fault, A::Error> {
                Written::deserialize(MapAccessDeserializer::new(map))?.check()
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl Written {
    /// Checks the rules about several keys.
    fn check<E: de::Error>(self) -> Result<Fault, E> {
        let after = self.after.unwrap_or(0);
        let kinds = [
            self.status.map(Kind::Status),
            self.reset.then_some(Kind::Reset),
            self.cut.map(Kind::Cut),
            self.end.map(Kind::End),
            self.silence.map(|span| Kind::Silence(span.0, after)),
            self.slow.map(|span| Kind::Slow(span.0, after)),
            self.garbage.then_some(Kind::Garbage),
            self.error
                .map(|status| Kind::Error(status, self.after.unwrap_or(1))),
            self.empty.then_some(Kind::Empty),
        ];
        let mut kinds = kinds.into_iter().flatten();
        let (Some(kind), None) = (kinds.next(), kinds.next()) else {
            let expected = "one of `status`, `reset`, `cut`, `end`, `silence`, `slow`, `garbage`, `error`, `empty`";
            return Err(refuse(
                "names no fault, or two",
                expected,
                "write `{status: 529}`",
            ));
        };
        if let Kind::Status(status) | Kind::Error(status, _) = kind
            && !(400..600).contains(&status)
        {
            let what = format!("has the status {status}");
            return Err(refuse(&what, "an HTTP status from 400 to 599", ""));
        }
        let is_status = matches!(kind, Kind::Status(_));
        let has_words = is_status || matches!(kind, Kind::Error(..));
        let can_wait = matches!(kind, Kind::Error(..) | Kind::Silence(..) | Kind::Slow(..));
        let strays = [
            (
                is_status,
                self.retry_after.is_some(),
                "`retry_after` belongs to `status`",
            ),
            (
                is_status,
                !self.headers.is_empty(),
                "`headers` belong to `status`",
            ),
            (is_status, self.body.is_some(), "`body` belongs to `status`"),
            (
                has_words,
                self.kind.is_some(),
                "`type` belongs to `status` and `error`",
            ),
            (
                has_words,
                self.message.is_some(),
                "`message` belongs to `status` and `error`",
            ),
            (
                can_wait,
                self.after.is_some(),
                "`after` belongs to `error`, `silence` and `slow`",
            ),
        ];
        if let Some((_, _, rule)) = strays
            .iter()
            .find(|(is_fit, is_given, _)| *is_given && !is_fit)
        {
            return Err(refuse("has a key that its fault does not use", "", rule));
        }
        Ok(Fault {
            kind,
            words: Words {
                kind: self.kind,
                message: self.message,
                retry_after: self.retry_after,
                headers: self.headers,
                body: self.body,
            },
            times: self.times,
            turn: self.turn,
            model: self.model,
            billed: self.billed,
        })
    }
}
