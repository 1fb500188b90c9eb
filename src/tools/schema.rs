//! JSON Schemas of tools: compiled once, and their complaints in words for a model.
//!
//! Pure. A complaint names the place, what was expected and what is there, so
//! that a model corrects the call instead of guessing. References to other
//! documents are not followed: nothing is fetched.

use std::fmt::Write as _;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError, Validator};
use serde_json::Value;

/// Complaints that are told; a model corrects no more of them at once.
const TOLD_MAX: usize = 5;

/// Complaints that are counted.
const COUNTED_MAX: usize = 100;

/// Names and choices that are listed.
const LISTED_MAX: usize = 12;

/// Longest part of a value that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// Deepest nesting of arguments.
pub(super) const DEPTH_MAX: usize = 64;

/// A compiled schema.
pub struct Schema {
    source: Value,
    validator: Validator,
}

impl Schema {
    /// Compiles a schema.
    ///
    /// Errors: what is wrong with it, as a fragment.
    pub fn compile(source: &Value) -> Result<Self, String> {
        let validator = jsonschema::validator_for(source).map_err(|error| error.to_string())?;
        Ok(Self {
            source: source.clone(),
            validator,
        })
    }

    /// Returns what is wrong with `value`, one item of a list a line; `None`
    /// when nothing is.
    ///
    /// - `whole`: what the value itself is called, such as `the output`.
    pub fn complaints(&self, value: &Value, whole: &str) -> Option<String> {
        let mut text = String::new();
        let mut count = 0;
        for error in self.validator.iter_errors(value).take(COUNTED_MAX) {
            count += 1;
            if count <= TOLD_MAX {
                let _ = writeln!(text, "- {}", self.described(&error, value, whole));
            }
        }
        if count > TOLD_MAX {
            let more = if count == COUNTED_MAX {
                "at least "
            } else {
                ""
            };
            let _ = writeln!(text, "- and {more}{} more", count - TOLD_MAX);
        }
        text.truncate(text.trim_end().len());
        (count > 0).then_some(text)
    }

    fn described(&self, error: &ValidationError<'_>, root: &Value, whole: &str) -> String {
        let steps = steps(error.instance_path().as_str(), root);
        let place = if steps.is_empty() {
            whole.to_owned()
        } else {
            format!("`{steps}`")
        };
        let value = error.instance().as_ref();
        let node = self.node_of(error);
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let expected = node
                    .and_then(|node| wanted(node.get("properties")?.get(name)?))
                    .map(|wanted| format!(", expected {wanted}"))
                    .unwrap_or_default();
                format!("`{}` is missing{expected}", joined(&steps, name))
            }
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let names: Vec<String> =
                    unexpected.iter().map(|name| joined(&steps, name)).collect();
                let known = node.and_then(|node| node.get("properties")?.as_object());
                let known: Vec<String> = known
                    .map(|known| known.keys().cloned().collect())
                    .unwrap_or_default();
                let is = if names.len() == 1 { "is" } else { "are" };
                let known = if known.is_empty() {
                    "nothing".to_owned()
                } else {
                    listed(&known, '`')
                };
                format!("{} {is} not known, expected {known}", listed(&names, '`'))
            }
            ValidationErrorKind::AnyOf { context }
            | ValidationErrorKind::OneOfNotValid { context } => {
                // The form that was meant is the one with the fewest mistakes.
                let nearest = context
                    .iter()
                    .filter(|errors| !errors.is_empty())
                    .min_by_key(|errors| errors.len());
                let nearest = nearest
                    .map(|errors| format!("; the nearest form expects {}", expected(&errors[0])))
                    .unwrap_or_default();
                format!(
                    "{place} is {}, which fits none of the allowed forms{nearest}",
                    shown(value)
                )
            }
            _ => format!("{place} is {}, expected {}", shown(value), expected(error)),
        }
    }

    /// Returns the schema object whose keyword failed, where its place is plain.
    fn node_of(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let (parent, _) = error.schema_path().as_str().rsplit_once('/')?;
        self.source.pointer(parent)
    }
}

/// Whether `value` is nested deeper than `levels`.
pub(super) fn is_deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => {
            levels == 0 || items.iter().any(|item| is_deeper_than(item, levels - 1))
        }
        Value::Object(fields) => {
            levels == 0
                || fields
                    .values()
                    .any(|field| is_deeper_than(field, levels - 1))
        }
        _ => false,
    }
}

/// Says what a failed keyword wants.
fn expected(error: &ValidationError<'_>) -> String {
    use ValidationErrorKind as Kind;
    match error.kind() {
        Kind::Type {
            kind: TypeKind::Single(kind),
        } => noun(*kind).to_owned(),
        Kind::Type {
            kind: TypeKind::Multiple(kinds),
        } => kinds.iter().map(noun).collect::<Vec<_>>().join(" or "),
        Kind::Enum { options } => {
            let options: Vec<String> = options
                .as_array()
                .into_iter()
                .flatten()
                .map(shown_json)
                .collect();
            match options.as_slice() {
                [one] => one.clone(),
                many => format!("one of {}", listed(many, ' ')),
            }
        }
        Kind::Constant { expected_value } => shown_json(expected_value),
        Kind::Required { property } => {
            format!("an object with `{}`", property.as_str().unwrap_or_default())
        }
        Kind::Minimum { limit } => format!("at least {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        Kind::Maximum { limit } => format!("at most {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        Kind::MinLength { limit } => format!("at least {limit} characters"),
        Kind::MaxLength { limit } => format!("at most {limit} characters"),
        Kind::MinItems { limit } => format!("at least {limit} items"),
        Kind::MaxItems { limit } => format!("at most {limit} items"),
        Kind::AdditionalItems { limit } => format!("at most {limit} items"),
        Kind::MinProperties { limit } => format!("at least {limit} entries"),
        Kind::MaxProperties { limit } => format!("at most {limit} entries"),
        Kind::MultipleOf { multiple_of } => format!("a multiple of {multiple_of}"),
        Kind::Pattern { pattern } => format!("a text that matches `{}`", clipped(pattern)),
        Kind::Format { format } => format!("the format `{format}`"),
        Kind::UniqueItems => "items that are all different".to_owned(),
        Kind::Contains => "an item of the kind the schema asks for".to_owned(),
        Kind::FalseSchema => "nothing here".to_owned(),
        Kind::OneOfMultipleValid { .. } => "exactly one of the allowed forms".to_owned(),
        Kind::Not { .. } => "something else".to_owned(),
        _ => format!("what `{}` asks for", error.kind().keyword()),
    }
}

/// Says what a schema wants, where one word says it.
fn wanted(schema: &Value) -> Option<String> {
    match schema.get("type")? {
        Value::String(name) => Some(noun(name.parse().ok()?).to_owned()),
        _ => None,
    }
}

fn noun(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Null => "null",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "a string",
        JsonType::Array => "an array",
        JsonType::Object => "an object",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(fields) if fields.len() > 3 => {
            format!("an object of {} entries", fields.len())
        }
        Value::Array(items) if items.len() > 5 => format!("an array of {} items", items.len()),
        Value::String(_) => format!("the string {}", shown_json(value)),
        other => shown_json(other),
    }
}

fn shown_json(value: &Value) -> String {
    clipped(&value.to_string())
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn listed(names: &[String], quote: char) -> String {
    let mut list: Vec<String> = names
        .iter()
        .take(LISTED_MAX)
        .map(|name| match quote {
            ' ' => clipped(name),
            quote => format!("{quote}{}{quote}", clipped(name)),
        })
        .collect();
    if names.len() > LISTED_MAX {
        list.push(format!("{} more", names.len() - LISTED_MAX));
    }
    list.join(", ")
}

fn joined(steps: &str, name: &str) -> String {
    let name = clipped(name);
    if steps.is_empty() {
        name
    } else {
        format!("{steps}.{name}")
    }
}

/// Writes a JSON pointer as people write a path: `items[2].price`.
fn steps(pointer: &str, root: &Value) -> String {
    let mut text = String::new();
    let mut here = Some(root);
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let inside_list = here.is_some_and(Value::is_array);
        here = here.and_then(|here| match here {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            other => other.get(&step),
        });
        text = match inside_list {
            true => format!("{text}[{step}]"),
            false => joined(&text, &step),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaints(schema: Value, value: Value) -> String {
        let schema = Schema::compile(&schema).unwrap();
        schema
            .complaints(&value, "the whole")
            .unwrap_or_else(|| "fits".to_owned())
    }

    #[test]
    fn complaints_table() {
        let order = json!({
            "type": "object",
            "required": ["id", "items"],
            "additionalProperties": false,
            "properties": {
                "id": {"type": "string", "minLength": 2},
                "items": {"type": "array", "items": {"type": "object", "required": ["price"],
                    "properties": {"price": {"type": "number", "minimum": 0}}}},
                "unit": {"enum": ["kg", "g"]},
                "when": {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9-]+$"}]},
                "n": {"type": ["integer", "null"]},
            }
        });
        let base = |more: Value| {
            let mut order = json!({"id": "o1", "items": []});
            order
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            order
        };
        #[rustfmt::skip]
        let rows = [
            ("what fits", base(json!({})), "fits"),
            ("a missing field, with its type", json!({"items": []}), "- `id` is missing, expected a string"),
            ("a wrong type", base(json!({"id": 7})), "- `id` is 7, expected a string"),
            ("too short", base(json!({"id": "x"})), "- `id` is the string \"x\", expected at least 2 characters"),
            ("a place in a list", base(json!({"items": [{"price": 1}, {"price": "2"}]})),
             "- `items[1].price` is the string \"2\", expected a number"),
            ("a missing field in a list", base(json!({"items": [{}]})), "- `items[0].price` is missing, expected a number"),
            ("a bound", base(json!({"items": [{"price": -1}]})), "- `items[0].price` is -1, expected at least 0"),
            ("a choice", base(json!({"unit": "lb"})), "- `unit` is the string \"lb\", expected one of \"kg\", \"g\""),
            ("an unknown field", base(json!({"idd": 1})), "- `idd` is not known, expected `id`, `items`, `n`, `unit`, `when`"),
            ("several types", base(json!({"n": "x"})), "- `n` is the string \"x\", expected null or a whole number"),
            ("several forms", base(json!({"when": true})),
             "- `when` is true, which fits none of the allowed forms; the nearest form expects a whole number"),
            ("not even an object", json!([1]), "- the whole is [1], expected an object"),
        ];
        for (name, value, want) in rows {
            assert_eq!(complaints(order.clone(), value), want, "row: {name}");
        }
    }

    #[test]
    fn five_are_told_and_the_rest_counted() {
        let schema = json!({"items": {"type": "string"}});
        let text = complaints(schema.clone(), json!([1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(text.lines().count(), 6);
        assert!(text.ends_with("- and 2 more"), "{text}");
        let many: Vec<u32> = (0..10_000).collect();
        assert!(complaints(schema, json!(many)).ends_with("- and at least 95 more"));
    }

    #[test]
    fn long_values_and_names_are_clipped() {
        let long = "x".repeat(100_000);
        let text = complaints(
            json!({"additionalProperties": false, "properties": {"a": {"type": "integer"}}}),
            json!({"a": long, &long: 1}),
        );
        assert!(text.len() < 400, "{}", text.len());
    }

    #[test]
    fn depth_is_counted_in_containers() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(!is_deeper_than(&nested(3), 3));
        assert!(is_deeper_than(&nested(4), 3));
        assert!(!is_deeper_than(&json!(1), 0));
    }

    #[test]
    fn a_schema_that_asks_for_another_document_is_refused() {
        assert!(Schema::compile(&json!({"$ref": "https://example.com/schema.json"})).is_err());
        assert!(Schema::compile(&json!({"type": "strin"})).is_err());
    }
}
