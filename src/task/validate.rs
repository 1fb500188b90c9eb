//! The value against the published schema: every mismatch, in words.
//!
//! `jsonschema` finds the mismatches; here each becomes one [`Mismatch`] with
//! the key path, what was expected and found, and a fix. What the parser of a
//! unit knows better (`x-unit`, `x-positive`) comes from that parser, through
//! custom keywords, and replaces what the plain keywords said at the same key.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{Draft, Keyword, PatternOptions, ValidationError, Validator};
use serde_json::{Value, json};

use super::locate::{KeyPath, Part};
use super::parse::PROBLEMS_MAX;
use super::suggest::nearest;
use super::{schema, units};

/// A value that is not what its key asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The key.
    pub path: KeyPath,
    /// Whether the key or its value is meant.
    pub part: Part,
    /// What is wrong, to follow the key: "is -3".
    pub what: String,
    /// What was expected.
    pub expected: Option<String>,
    /// What is there.
    pub found: Option<String>,
    /// What to write instead.
    pub fix: Option<String>,
}

/// Compiled as draft 7, whose meta-schema is compiled in a third of the time; what
/// the schema says is the same in both drafts once no keyword stands beside a `$ref`.
static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let mut schema = schema::task().clone();
    if let Value::Object(root) = &mut schema {
        root.remove("$schema");
    }
    part_from_refs(&mut schema);
    jsonschema::options()
        .with_draft(Draft::Draft7)
        .with_pattern_options(PatternOptions::regex())
        .with_keyword("x-unit", |_, unit, _| {
            Ok(Box::new(UnitKeyword::new(unit, false)))
        })
        .with_keyword("x-positive", |_, unit, _| {
            Ok(Box::new(UnitKeyword::new(unit, true)))
        })
        .build(&schema)
        .expect("the schema made from our own types compiles, a test says so")
});

/// Draft 7 ignores what stands beside a `$ref`, so the link gets a node of its own.
fn part_from_refs(node: &mut Value) {
    match node {
        Value::Object(entries) => {
            entries.values_mut().for_each(part_from_refs);
            if entries.len() > 1
                && let Some(link @ Value::String(_)) = entries.remove("$ref")
            {
                entries.insert("allOf".to_owned(), json!([{"$ref": link}]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(part_from_refs),
        _ => {}
    }
}

/// Returns every mismatch of `value`, at most one per key and [`PROBLEMS_MAX`] in
/// all, by key path.
pub fn mismatches(value: &Value) -> Vec<Mismatch> {
    let mut by_key: BTreeMap<(KeyPath, String), (u8, Mismatch)> = BTreeMap::new();
    for error in VALIDATOR.iter_errors(value).take(PROBLEMS_MAX) {
        if by_key.len() >= PROBLEMS_MAX {
            break;
        }
        for (rank, mismatch) in described(&error, value) {
            // Each missing key is a slip of its own; anything else about one
            // key is the same slip seen by several keywords.
            let missing = matches!(error.kind(), ValidationErrorKind::Required { .. });
            let slip = if missing {
                mismatch.what.clone()
            } else {
                String::new()
            };
            let key = (mismatch.path.clone(), slip);
            match by_key.get(&key) {
                Some((known, _)) if *known >= rank => {}
                _ => {
                    by_key.insert(key, (rank, mismatch));
                }
            }
        }
    }
    by_key.into_values().map(|(_, mismatch)| mismatch).collect()
}

/// Checks a unit's own rules.
struct UnitKeyword {
    unit: String,
    positive: bool,
}

impl UnitKeyword {
    fn new(unit: &Value, positive: bool) -> Self {
        Self {
            unit: unit.as_str().unwrap_or_default().to_owned(),
            positive,
        }
    }

    /// Returns what the unit says against the value.
    fn refused(&self, value: &Value) -> Option<units::Refused> {
        let zero = || units::Refused {
            expected: units::expected_positive(&self.unit).to_owned(),
            fix: None,
        };
        match units::check(&self.unit, value)? {
            Ok(0) if self.positive => Some(zero()),
            Ok(_) => None,
            Err(_) if self.positive => is_negative(value).then(zero),
            Err(refused) => Some(refused),
        }
    }
}

fn is_negative(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| number < 0.0),
        Value::String(text) => {
            let mut chars = text.trim().chars();
            chars.next() == Some('-') && chars.next().is_some_and(|c| c.is_ascii_digit())
        }
        _ => false,
    }
}

impl<'i> Keyword<'i> for UnitKeyword {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        match self.refused(instance) {
            Some(refused) => Err(ValidationError::custom(refused.expected)),
            None => Ok(()),
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        self.refused(instance).is_none()
    }
}

/// Turns one error into mismatches with a rank; the highest rank at a key wins.
fn described(error: &ValidationError<'_>, root: &Value) -> Vec<(u8, Mismatch)> {
    let path = KeyPath::from_pointer(error.instance_path().as_str(), root);
    let value = error.instance().as_ref();
    let schema_path = error.schema_path().as_str();
    let node = schema_path
        .rsplit_once('/')
        .and_then(|(parent, _)| schema::node(parent))
        .unwrap_or(&Value::Null);
    let is = |expected: Option<String>, fix: Option<String>| wrong(&path, value, expected, fix);
    if value.is_null() {
        return vec![(9, no_value(path, node))];
    }
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .take(PROBLEMS_MAX)
            .map(|key| (1, unknown_key(&path, key, node, value)))
            .collect(),
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            vec![(1, missing_key(&path, key, node))]
        }
        ValidationErrorKind::Custom { keyword, message } => {
            let fix = node
                .get(keyword)
                .and_then(Value::as_str)
                .and_then(|unit| units::check(unit, value))
                .and_then(Result::err)
                .and_then(|refused| refused.fix);
            let rank = if keyword == "x-positive" { 6 } else { 5 };
            vec![(rank, is(Some(message.clone()), fix))]
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            choice(&path, node, value, context, root)
        }
        ValidationErrorKind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            vec![(2, is(Some(one_of(options)), meant(value, options)))]
        }
        ValidationErrorKind::Type { kind } => {
            vec![(
                3,
                is(Some(expected(node, Some(kind))), rewritten(value, node)),
            )]
        }
        _ => vec![(2, is(Some(expected(node, None)), None))],
    }
}

/// Words a wrong value. What may be a secret is not repeated.
fn wrong(path: &KeyPath, value: &Value, expected: Option<String>, fix: Option<String>) -> Mismatch {
    let secret = path.may_be_secret() && (value.is_string() || value.is_number());
    let found = match value {
        _ if !secret => shown(value),
        Value::Number(_) => "a number".to_owned(),
        _ => "another text".to_owned(),
    };
    Mismatch {
        path: path.clone(),
        part: Part::Value,
        what: format!("is {found}"),
        expected,
        found: Some(found),
        fix: if secret {
            fix.map(|_| "put it in quotes".to_owned())
        } else {
            fix
        },
    }
}

fn no_value(path: KeyPath, node: &'static Value) -> Mismatch {
    Mismatch {
        path,
        part: Part::Key,
        what: "has no value".to_owned(),
        expected: Some(expected(node, None)),
        found: Some("nothing".to_owned()),
        fix: Some("write a value, or remove the key".to_owned()),
    }
}

fn unknown_key(parent: &KeyPath, key: &str, node: &Value, value: &Value) -> Mismatch {
    let known: Vec<&str> = keys(node).collect();
    let free: Vec<&str> = known
        .iter()
        .copied()
        .filter(|name| value.get(name).is_none())
        .collect();
    let short: String = key.chars().take(60).collect();
    let fix = match nearest(key, free.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.contains(&"key") => format!("known keys: {}", known.join(", ")),
        None => match elsewhere(key) {
            Some(place) => format!("did you mean `{place}`?"),
            None => format!("known keys: {}", known.join(", ")),
        },
    };
    Mismatch {
        path: parent.key(key),
        part: Part::Key,
        what: "is not a known key".to_owned(),
        expected: None,
        found: Some(format!("`{short}`")),
        fix: Some(fix),
    }
}

/// Returns the section that has this key, for keys written a level too high
/// or too low.
fn elsewhere(key: &str) -> Option<String> {
    for section in ["agent", "input", "limits", "loops", "retry", "breaker"] {
        if section == key {
            return Some(format!("{section}:` at the top of the file, `{section}"));
        }
        let node = schema::node(&format!("/properties/{section}"))?;
        if keys(node).any(|name| name == key) {
            return Some(format!("{section}.{key}"));
        }
    }
    None
}

fn keys(node: &Value) -> impl Iterator<Item = &str> {
    node.get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, _)| &**key)
}

fn missing_key(path: &KeyPath, key: &str, node: &'static Value) -> Mismatch {
    let inner = node.get("properties").and_then(|keys| keys.get(key));
    Mismatch {
        path: path.clone(),
        part: Part::Key,
        what: format!("has no `{key}`"),
        expected: inner.map(|inner| expected(schema::followed(inner), None)),
        found: None,
        fix: Some(format!("add `{key}:`")),
    }
}

/// Explains a value that fits none of several forms: by the form it comes
/// nearest to, else by all of them.
fn choice(
    path: &KeyPath,
    node: &'static Value,
    value: &Value,
    context: &[Vec<ValidationError<'static>>],
    root: &Value,
) -> Vec<(u8, Mismatch)> {
    let options = constants(node);
    let at_top = |error: &ValidationError<'_>| {
        let here = KeyPath::from_pointer(error.instance_path().as_str(), root) == *path;
        let unfit = matches!(
            error.kind(),
            ValidationErrorKind::Type { .. }
                | ValidationErrorKind::Constant { .. }
                | ValidationErrorKind::Enum { .. }
                | ValidationErrorKind::Pattern { .. }
                | ValidationErrorKind::Minimum { .. }
                | ValidationErrorKind::Maximum { .. }
                | ValidationErrorKind::AnyOf { .. }
                | ValidationErrorKind::OneOfNotValid { .. }
        );
        here && unfit
    };
    let near: Vec<_> = context
        .iter()
        .filter(|errors| !errors.iter().any(at_top))
        .collect();
    if let [errors] = near.as_slice()
        && (value.is_array() || value.is_object())
    {
        return errors
            .iter()
            .flat_map(|error| described(error, root))
            .collect();
    }
    let said = node
        .get("x-expected")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let all_constant = !options.is_empty() && said.is_none();
    let expected = if all_constant {
        one_of(&options)
    } else {
        expected(node, None)
    };
    let fix = if all_constant {
        meant(value, &options)
    } else {
        rewritten(value, node)
    };
    vec![(4, wrong(path, value, Some(expected), fix))]
}

/// Returns the constants among the choices of a node.
fn constants(node: &'static Value) -> Vec<Value> {
    let choices = ["oneOf", "anyOf"]
        .into_iter()
        .find_map(|key| node.get(key)?.as_array());
    let mut found = Vec::new();
    for choice in choices.into_iter().flatten() {
        let choice = schema::followed(choice);
        if let Some(value) = choice.get("const") {
            found.push(value.clone());
        }
        found.extend(
            choice
                .get("enum")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .cloned(),
        );
    }
    found
}

fn one_of(options: &[Value]) -> String {
    let names: Vec<String> = options.iter().map(|it| format!("`{}`", bare(it))).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

fn meant(value: &Value, options: &[Value]) -> Option<String> {
    let name = nearest(value.as_str()?, options.iter().filter_map(Value::as_str))?;
    Some(format!("did you mean `{name}`?"))
}

fn bare(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Says what a schema node wants, as a noun phrase.
fn expected(node: &'static Value, kind: Option<&TypeKind>) -> String {
    let node = schema::followed(node);
    if let Some(text) = node.get("x-expected").and_then(Value::as_str) {
        return text.to_owned();
    }
    if let Some(unit) = node.get("x-unit").and_then(Value::as_str)
        && let Some(Err(refused)) = units::check(unit, &Value::Null)
    {
        return refused.expected;
    }
    let options = constants(node);
    if !options.is_empty() {
        return one_of(&options);
    }
    if let Some(options) = node.get("enum").and_then(Value::as_array) {
        return one_of(options);
    }
    let name = match (node.get("type"), kind) {
        (Some(Value::String(name)), _) => name.as_str(),
        _ => "",
    };
    let bound = |key| node.get(key).and_then(Value::as_i64);
    match name {
        "string" if bound("minLength") == Some(1) => "a text that is not empty".to_owned(),
        "string" => "a text".to_owned(),
        "array" => match node.get("items").map(schema::followed) {
            Some(items) if items.get("type").is_some_and(|it| it == "string") => {
                "a list of texts such as `[sh, -c, \"...\"]`".to_owned()
            }
            _ => "a list".to_owned(),
        },
        "object" => "a mapping (lines of `key: value`)".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "integer" => match (bound("minimum"), bound("maximum")) {
            (Some(low), Some(high)) => format!("a whole number from {low} to {high}"),
            _ => "a whole number".to_owned(),
        },
        _ => "another value".to_owned(),
    }
}

/// Guesses what was meant where the type is wrong.
fn rewritten(value: &Value, node: &Value) -> Option<String> {
    let wants = |name: &str| node.get("type").is_some_and(|it| it == name);
    let items_text = node.pointer("/items/type").is_some_and(|it| it == "string");
    match value {
        Value::Number(_) | Value::Bool(_) if wants("string") => {
            Some(format!("put it in quotes: `\"{value}\"`"))
        }
        // `[x, {amount}]` without quotes is a mapping to YAML.
        Value::Object(entries) if wants("string") => match entries.iter().next() {
            Some((name, Value::Null)) if entries.len() == 1 => {
                Some(format!("put placeholders in quotes: `\"{{{name}}}\"`"))
            }
            _ => None,
        },
        Value::String(text) if wants("array") && items_text => Some(
            if text.contains(char::is_whitespace) && !text.contains(['\n', '`']) {
                let short: String = text.chars().take(60).collect();
                format!("write `[sh, -c, {short:?}]`, or one item for each word")
            } else {
                format!("write `[{}]`", text.chars().take(60).collect::<String>())
            },
        ),
        Value::Object(_) if wants("array") => Some("begin each entry with `- `".to_owned()),
        Value::String(text) if wants("boolean") => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" => Some("write `true`".to_owned()),
            "no" | "off" | "n" => Some("write `false`".to_owned()),
            _ => None,
        },
        _ => None,
    }
}

/// Shows a value in a few words.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => value.to_string(),
        Value::Number(number) => units::decimal(number),
        Value::String(text) if text.is_empty() => "an empty text".to_owned(),
        Value::String(text) => {
            let short: String = text.chars().take(40).collect();
            let rest = if short.len() < text.len() { "..." } else { "" };
            format!("{short:?}{rest}")
        }
        Value::Array(items) if items.is_empty() => "an empty list".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(entries) if entries.is_empty() => "an empty mapping".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// Returns the names of the top-level keys; a test compares them with what
/// `resolve` reads.
#[cfg(test)]
pub(crate) fn sections() -> Vec<String> {
    let top = schema::task()["properties"].as_object().unwrap();
    top.keys().cloned().collect()
}
