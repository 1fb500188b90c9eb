//! Texts with placeholders: `{order_id}`, `{address.city}`, `{env.TOKEN}`.
//!
//! Parsed once, rendered against the JSON arguments of a call. `{{` and `}}`
//! stand for a brace. `{env.NAME}` is the supervisor's environment, allowed
//! only where the value neither shows in `ps` nor enters the journal; the
//! reader of the task file checks that with [`Template::variables`].
//!
//! One template gives one text: a value never becomes further words of a
//! command line, a path segment of a URL ends where its placeholder ends, and
//! a header has no second line. There is no escape from that in the values.
//!
//! # Keys
//!
//! [`Template::render_key`] makes the same key for what means the same:
//! white space around text goes, `10`, `10.0` and `1e1` are one number, `-0`
//! is `0`, lists and mappings become JSON with sorted keys. Upper and lower
//! case stay, and so do leading zeros of texts. The text `"10"` and the number
//! `10` give the same key, since models mix them up. A missing, null or empty
//! value gives no key: two unrelated calls would share it. Characters of the
//! literal parts (and `%`) are written as `%XX` inside values, so that
//! `{a}:{b}` never confuses `x:y`,`z` with `x`,`y:z`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A text with placeholders. Compared, stored and shown as it was written.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// The steps into the arguments, outermost first.
    Argument(Vec<String>),
    /// The name of an environment variable.
    Variable(String),
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A `{` without its `}`.
    #[error("has a `{{` without its `}}`")]
    Open,
    /// A `}` without its `{`.
    #[error("has a `}}` without its `{{`")]
    Close,
    /// What stands between the braces is no name.
    #[error("has the placeholder `{{{0}}}`, which is not a name")]
    Name(String),
}

impl Error {
    /// Returns the next thing the reader can do.
    pub fn hint(&self) -> String {
        match self {
            Self::Open => "close it with `}`, or write `{{` for a brace".to_owned(),
            Self::Close => "write `}}` for a brace".to_owned(),
            Self::Name(_) => {
                "write `{name}` or `{outer.inner}`, and `{{`, `}}` for braces".to_owned()
            }
        }
    }
}

/// Why a template could not be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The call has no such argument.
    #[error("`{{{placeholder}}}` is not among the arguments: {}", listed(.existing))]
    Missing {
        /// The placeholder, without braces.
        placeholder: String,
        /// The arguments that the call has.
        existing: Vec<String>,
    },
    /// The argument is there and has no value that could be written.
    #[error("`{{{placeholder}}}` is {what}")]
    Empty {
        /// The placeholder, without braces.
        placeholder: String,
        /// `null` or `empty`.
        what: &'static str,
    },
    /// The value has a character that cannot stand at this place.
    #[error("`{{{placeholder}}}` has {what}, which cannot stand in {place}")]
    Forbidden {
        /// The placeholder, without braces.
        placeholder: String,
        /// The character, in words.
        what: &'static str,
        /// The place, in words.
        place: &'static str,
    },
    /// The environment variable is not set.
    #[error("the environment variable `{0}` is not set")]
    Variable(String),
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "there are none".to_owned();
    }
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Where a rendered text goes; decides what values may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One word of a command line, or an environment variable: no NUL.
    Word,
    /// A URL: values are percent-encoded, unreserved characters excepted.
    Url,
    /// A header: no control characters.
    Header,
    /// A text body: anything.
    Body,
}

/// Looks up a variable of the supervisor's environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Template {
    /// Parses `text`.
    ///
    /// Errors: unbalanced braces, and placeholders that are not names.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            literal.push_str(&rest[..brace]);
            rest = &rest[brace..];
            if let Some(tail) = rest.strip_prefix("{{") {
                literal.push('{');
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix("}}") {
                literal.push('}');
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix('{') {
                let (name, tail) = tail.split_once('}').ok_or(Error::Open)?;
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(placeholder(name)?);
                rest = tail;
            } else {
                return Err(Error::Close);
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// Makes a template that is exactly `text`, braces and all.
    pub fn literal(text: &str) -> Self {
        Self {
            text: text.replace('{', "{{").replace('}', "}}"),
            parts: if text.is_empty() {
                Vec::new()
            } else {
                vec![Part::Literal(text.to_owned())]
            },
        }
    }

    /// Returns the text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the paths into the arguments, each as its steps.
    pub fn arguments(&self) -> impl Iterator<Item = &[String]> {
        self.parts.iter().filter_map(|part| match part {
            Part::Argument(steps) => Some(steps.as_slice()),
            _ => None,
        })
    }

    /// Returns the names of the environment variables.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Tells whether there is no placeholder.
    pub fn is_literal(&self) -> bool {
        self.parts
            .iter()
            .all(|part| matches!(part, Part::Literal(_)))
    }

    /// Returns the text, where there is no placeholder in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Tells whether the text begins with a value, which might then look like
    /// an option (`-rf`).
    pub fn begins_with_value(&self) -> bool {
        !matches!(self.parts.first(), None | Some(Part::Literal(_)))
    }

    /// Returns the path of the argument that the text begins with.
    pub fn first_argument(&self) -> Option<&[String]> {
        match self.parts.first() {
            Some(Part::Argument(steps)) => Some(steps),
            _ => None,
        }
    }

    /// Fills in the placeholders for `place`.
    ///
    /// Texts are taken as they are, numbers and booleans as JSON writes them,
    /// lists and mappings as compact JSON.
    ///
    /// Errors: a missing or null argument, an unset variable, a value that
    /// cannot stand at the place.
    pub fn render(
        &self,
        place: Place,
        arguments: &Value,
        environment: Environment<'_>,
    ) -> Result<String, RenderError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Argument(steps) => {
                    let value = plain(steps, find(steps, arguments)?)?;
                    text.push_str(&fitted(&value, steps, place)?);
                }
                Part::Variable(name) => {
                    let value =
                        environment(name).ok_or_else(|| RenderError::Variable(name.clone()))?;
                    // A variable may be a whole URL or hold its own encoding.
                    let place = if place == Place::Url {
                        Place::Header
                    } else {
                        place
                    };
                    let steps = [format!("env.{name}")];
                    text.push_str(&fitted(&value, &steps, place)?);
                }
            }
        }
        Ok(text)
    }

    /// Fills in the placeholders so that equal meanings give equal keys; see
    /// the head of this file.
    ///
    /// Errors: a missing, null or empty argument. Variables count as missing.
    pub fn render_key(&self, arguments: &Value) -> Result<String, RenderError> {
        let literals: String = self
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::Literal(literal) => Some(literal.as_str()),
                _ => None,
            })
            .collect();
        let mut key = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => key.push_str(literal),
                Part::Argument(steps) => {
                    let value = plain(steps, &normalised(find(steps, arguments)?))?;
                    if value.is_empty() {
                        return Err(RenderError::Empty {
                            placeholder: steps.join("."),
                            what: "empty",
                        });
                    }
                    escape_into(&mut key, &value, &literals);
                }
                Part::Variable(name) => return Err(RenderError::Variable(name.clone())),
            }
        }
        Ok(key)
    }
}

/// Fills in every text of a JSON value as a template, for request bodies. A
/// text that is one placeholder and nothing else becomes the argument itself,
/// so that numbers stay numbers and lists stay lists.
///
/// Errors: as [`Template::render`]. Texts that are no templates stay as they
/// are; the reader of the task file has refused them before.
pub fn render_json(
    shape: &Value,
    arguments: &Value,
    environment: Environment<'_>,
) -> Result<Value, RenderError> {
    Ok(match shape {
        Value::String(text) => match Template::parse(text) {
            Ok(template) => match template.parts.as_slice() {
                [Part::Argument(steps)] => find(steps, arguments)?.clone(),
                _ => Value::String(template.render(Place::Body, arguments, environment)?),
            },
            Err(_) => shape.clone(),
        },
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| render_json(item, arguments, environment))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, value)| Ok((key.clone(), render_json(value, arguments, environment)?)))
                .collect::<Result<_, RenderError>>()?,
        ),
        other => other.clone(),
    })
}

fn placeholder(name: &str) -> Result<Part, Error> {
    let refused = || Error::Name(name.chars().take(60).collect());
    let word = |step: &str| {
        !step.is_empty()
            && step
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
    };
    if let Some(variable) = name.strip_prefix("env.") {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if variable.is_empty() || !variable.chars().all(plain) {
            return Err(refused());
        }
        return Ok(Part::Variable(variable.to_owned()));
    }
    let steps: Vec<String> = name.split('.').map(str::to_owned).collect();
    if steps.iter().all(|step| word(step)) {
        Ok(Part::Argument(steps))
    } else {
        Err(refused())
    }
}

/// Walks `steps` into the arguments; a step into a list is a number from 0.
fn find<'v>(steps: &[String], arguments: &'v Value) -> Result<&'v Value, RenderError> {
    let mut here = arguments;
    for step in steps {
        let next = match here {
            Value::Object(entries) => entries.get(step),
            Value::Array(items) => step
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get(index)),
            _ => None,
        };
        here = next.ok_or_else(|| RenderError::Missing {
            placeholder: steps.join("."),
            existing: arguments
                .as_object()
                .map(|entries| entries.keys().take(20).cloned().collect())
                .unwrap_or_default(),
        })?;
    }
    Ok(here)
}

/// Returns a value as text.
fn plain(steps: &[String], value: &Value) -> Result<String, RenderError> {
    match value {
        Value::Null => Err(RenderError::Empty {
            placeholder: steps.join("."),
            what: "null",
        }),
        Value::String(text) => Ok(text.clone()),
        other => Ok(other.to_string()),
    }
}

fn fitted(value: &str, steps: &[String], place: Place) -> Result<String, RenderError> {
    let forbidden = |what, place| {
        Err(RenderError::Forbidden {
            placeholder: steps.join("."),
            what,
            place,
        })
    };
    match place {
        Place::Word if value.contains('\0') => forbidden("a NUL", "a command line"),
        Place::Header if value.chars().any(char::is_control) => {
            forbidden("a control character", "a header or URL")
        }
        // A lone dot segment would be resolved away and change the path.
        Place::Url if matches!(value, "." | "..") => forbidden("only dots", "a URL"),
        Place::Url => {
            let mut encoded = String::new();
            for byte in value.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    encoded.push(char::from(byte));
                } else {
                    encoded.push_str(&format!("%{byte:02X}"));
                }
            }
            Ok(encoded)
        }
        _ => Ok(value.to_owned()),
    }
}

/// Returns the value with trimmed texts and one form per number.
fn normalised(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.trim().to_owned()),
        Value::Number(number) => whole(number).map_or_else(|| value.clone(), Value::from),
        Value::Array(items) => Value::Array(items.iter().map(normalised).collect()),
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), normalised(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// Returns a float that is a whole number as an integer. Beyond 2^53 floats
/// no longer count in ones, and the text form is kept.
fn whole(number: &serde_json::Number) -> Option<i64> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    let exact = float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0;
    exact.then_some(float as i64)
}

/// Writes `value` with `%` and the punctuation of `literals` as `%XX`.
fn escape_into(key: &mut String, value: &str, literals: &str) {
    for c in value.chars() {
        if c == '%' || c.is_control() || (!c.is_alphanumeric() && literals.contains(c)) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                key.push_str(&format!("%{byte:02X}"));
            }
        } else {
            key.push(c);
        }
    }
}

impl TryFrom<String> for Template {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "TOKEN" => Some("t0ken".to_owned()),
            "SPLIT" => Some("a\r\nb".to_owned()),
            _ => None,
        }
    }

    fn rendered(text: &str, place: Place, arguments: &Value) -> String {
        match Template::parse(text) {
            Ok(template) => template
                .render(place, arguments, &environment)
                .unwrap_or_else(|error| format!("ERROR {error}")),
            Err(error) => format!("REFUSED {error}"),
        }
    }

    #[test]
    fn render_table() {
        use Place::{Body, Header, Url, Word};
        let args = json!({
            "id": "a b; rm -rf /", "n": 10, "f": 2.5, "ok": true, "none": null,
            "to": {"city": "Zürich"}, "list": ["x", 2], "nul": "a\u{0}b", "two": "a\nb", "dots": "..",
        });
        #[rustfmt::skip]
        let rows = [
            ("a word keeps its spaces and stays one word", "{id}", Word, "a b; rm -rf /"),
            ("literals and numbers", "n={n} f={f} ok={ok}", Word, "n=10 f=2.5 ok=true"),
            ("a nested field", "{to.city}", Word, "Zürich"),
            ("a place in a list", "{list.0}{list.1}", Word, "x2"),
            ("a list is compact JSON", "{list}", Word, "[\"x\",2]"),
            ("braces", "{{{n}}} {{n}}", Word, "{10} {n}"),
            ("no placeholder", "plain", Word, "plain"),
            ("nothing", "", Word, ""),
            ("a URL value is one segment", "https://api.test/o/{id}?c={to.city}", Url, "https://api.test/o/a%20b%3B%20rm%20-rf%20%2F?c=Z%C3%BCrich"),
            ("a variable", "Bearer {env.TOKEN}", Header, "Bearer t0ken"),
            ("a body may hold lines", "{two}", Body, "a\nb"),
            ("a missing argument names those that exist", "{nope}", Word, "ERROR `{nope}` is not among the arguments: `dots`, `f`, `id`, `list`, `n`, `none`, `nul`, `ok`, `to`, `two`"),
            ("a missing inner field", "{to.street}", Word, "ERROR `{to.street}` is not among the arguments: `dots`, `f`, `id`, `list`, `n`, `none`, `nul`, `ok`, `to`, `two`"),
            ("past the end of a list", "{list.2}", Word, "ERROR `{list.2}` is not among the arguments: `dots`, `f`, `id`, `list`, `n`, `none`, `nul`, `ok`, `to`, `two`"),
            ("null", "{none}", Word, "ERROR `{none}` is null"),
            ("a NUL cannot be passed on", "{nul}", Word, "ERROR `{nul}` has a NUL, which cannot stand in a command line"),
            ("a header has one line", "{two}", Header, "ERROR `{two}` has a control character, which cannot stand in a header or URL"),
            ("a variable has one line too", "{env.SPLIT}", Header, "ERROR `{env.SPLIT}` has a control character, which cannot stand in a header or URL"),
            ("dots would climb the path", "https://api.test/a/{dots}", Url, "ERROR `{dots}` has only dots, which cannot stand in a URL"),
            ("an unset variable", "{env.NOPE}", Header, "ERROR the environment variable `NOPE` is not set"),
            ("an open brace", "a {id", Word, "REFUSED has a `{` without its `}`"),
            ("a lone closing brace", "a } b", Word, "REFUSED has a `}` without its `{`"),
            ("an empty name", "{}", Word, "REFUSED has the placeholder `{}`, which is not a name"),
            ("an empty step", "{a..b}", Word, "REFUSED has the placeholder `{a..b}`, which is not a name"),
            ("a format of another language", "{id:>5}", Word, "REFUSED has the placeholder `{id:>5}`, which is not a name"),
            ("a brace in a name", "{a{b}", Word, "REFUSED has the placeholder `{a{b}`, which is not a name"),
            ("a variable without a name", "{env.}", Word, "REFUSED has the placeholder `{env.}`, which is not a name"),
        ];
        for (name, text, place, want) in rows {
            assert_eq!(rendered(text, place, &args), want, "row: {name}");
        }
        assert_eq!(
            rendered("{x}", Word, &json!({})),
            "ERROR `{x}` is not among the arguments: there are none"
        );
    }

    #[test]
    fn key_table() {
        let key = |args: Value| {
            let template = Template::parse("charge:{user}:{amount}").unwrap();
            template
                .render_key(&args)
                .unwrap_or_else(|error| format!("ERROR {error}"))
        };
        #[rustfmt::skip]
        let rows = [
            ("text and number", json!({"user": "u1", "amount": 10}), "charge:u1:10"),
            ("white space around text goes", json!({"user": " u1\n", "amount": 10}), "charge:u1:10"),
            ("10.0 is 10", json!({"user": "u1", "amount": 10.0}), "charge:u1:10"),
            ("a number as text is the number", json!({"user": "u1", "amount": "10"}), "charge:u1:10"),
            ("-0 is 0", json!({"user": "u1", "amount": -0.0}), "charge:u1:0"),
            ("cents stay", json!({"user": "u1", "amount": 10.25}), "charge:u1:10.25"),
            ("other arguments do not count", json!({"user": "u1", "amount": 10, "why": "x"}), "charge:u1:10"),
            ("case stays", json!({"user": "U1", "amount": 10}), "charge:U1:10"),
            ("leading zeros of text stay", json!({"user": "007", "amount": 10}), "charge:007:10"),
            ("a separator in a value is escaped", json!({"user": "a:b", "amount": 10}), "charge:a%3Ab:10"),
            ("so is the escape itself", json!({"user": "a%3Ab", "amount": 10}), "charge:a%253Ab:10"),
            ("mappings have sorted keys", json!({"user": {"b": 1.0, "a": " x "}, "amount": 10}), "charge:{\"a\"%3A\"x\",\"b\"%3A1}:10"),
            ("a missing part", json!({"user": "u1"}), "ERROR `{amount}` is not among the arguments: `user`"),
            ("a null part", json!({"user": null, "amount": 1}), "ERROR `{user}` is null"),
            ("an empty part", json!({"user": "  ", "amount": 1}), "ERROR `{user}` is empty"),
        ];
        for (name, args, want) in rows {
            assert_eq!(key(args), want, "row: {name}");
        }
    }

    #[test]
    fn bodies_keep_the_types_of_lone_placeholders() {
        let shape = json!({"order": "{id}", "note": "for {id}", "items": ["{list}", 1], "x": null});
        let args = json!({"id": 7, "list": [1, 2]});
        assert_eq!(
            render_json(&shape, &args, &environment),
            Ok(json!({"order": 7, "note": "for 7", "items": [[1, 2], 1], "x": null}))
        );
    }

    #[test]
    fn literals_survive_storing() {
        let template = Template::literal("{\"a\": 1}");
        let stored = serde_json::to_string(&template).unwrap();
        let read: Template = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, template);
        assert_eq!(
            read.render(Place::Word, &json!({}), &environment).unwrap(),
            "{\"a\": 1}"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[{}a-z.é ]{0,30}") {
            if let Ok(template) = Template::parse(&text) {
                let _ = template.render(Place::Url, &json!({"a": 1}), &environment);
                let _ = template.render_key(&json!({"a": "é"}));
            }
        }

        #[test]
        fn different_values_have_different_keys(a in "[a:%b]{1,4}", b in "[a:%b]{1,4}", c in "[a:%b]{1,4}", d in "[a:%b]{1,4}") {
            let template = Template::parse("{x}:{y}").unwrap();
            let left = template.render_key(&json!({"x": a, "y": b})).unwrap();
            let right = template.render_key(&json!({"x": c, "y": d})).unwrap();
            prop_assert_eq!(left == right, a == c && b == d);
        }
    }
}
