//! The published JSON Schema of the task file, made from the as-written types.
//!
//! Editors complete and check task files with it:
//! `# yaml-language-server: $schema=task.schema.json` as the first line, after
//! `agentguard schema > task.schema.json`. Keys are sorted, so that two builds
//! of one version write the same bytes.
//!
//! The same schema checks task files here (`validate`), plus what only `x-`
//! keywords say. An absent key is the only way to leave something out: `null`
//! is taken out of every type, since a limit without a value is more likely a
//! slip than a wish.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::written::Task;

/// The `$id` of the schema.
pub const ID: &str = "urn:agentguard:task:1";

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let mut schema = Value::from(generator.into_root_schema_for::<Task>());
    tidy(&mut schema);
    schema["$id"] = Value::from(ID);
    schema
});

/// Returns the schema.
pub fn task() -> &'static Value {
    &SCHEMA
}

/// Returns the schema as `agentguard schema` prints it: indented, one newline
/// at the end.
pub fn text() -> String {
    format!("{:#}\n", task())
}

/// Compiles a schema of a tool: nothing is fetched, and patterns run in linear
/// time. Whoever checks arguments and results does it with this, so that what
/// passed here means the same there.
///
/// Errors: the first thing that is wrong with the schema, with its place in it.
pub fn compile(schema: &Value) -> Result<jsonschema::Validator, jsonschema::ValidationError<'_>> {
    jsonschema::options()
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .offline()
        .build(schema)
}

/// Returns the schema node at `pointer`, following one `$ref`.
pub(crate) fn node(pointer: &str) -> Option<&'static Value> {
    task().pointer(pointer).map(followed)
}

/// Returns what a node refers to, or the node itself.
pub(crate) fn followed(node: &'static Value) -> &'static Value {
    let target = node
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|link| link.strip_prefix('#'));
    target
        .and_then(|pointer| task().pointer(pointer))
        .unwrap_or(node)
}

/// Takes `null` out of types and joins the lines of descriptions.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(node) => {
            without_null(node);
            if let Some(Value::String(text)) = node.get_mut("description") {
                *text = text
                    .split("\n\n")
                    .map(|part| part.replace('\n', " "))
                    .collect::<Vec<_>>()
                    .join("\n\n");
            }
            for (key, inner) in node.iter_mut() {
                match (key.as_str(), inner) {
                    // Data, not schema.
                    ("default" | "examples" | "enum" | "const", _) => {}
                    // A key of the task file may have any of these names.
                    ("properties" | "$defs", Value::Object(named)) => {
                        named.values_mut().for_each(tidy);
                    }
                    (_, inner) => tidy(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn without_null(node: &mut Map<String, Value>) {
    if node.get("default").is_some_and(Value::is_null) {
        node.remove("default");
    }
    if let Some(Value::Array(types)) = node.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            node.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(choices)) = node.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        node.remove("anyOf");
        for (key, value) in only {
            node.entry(key).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(node: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
        visit(path, node);
        match node {
            Value::Object(entries) => {
                entries
                    .iter()
                    .for_each(|(key, inner)| walk(inner, &format!("{path}/{key}"), visit));
            }
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(i, inner)| walk(inner, &format!("{path}/{i}"), visit));
            }
            _ => {}
        }
    }

    #[test]
    fn the_schema_is_valid_and_has_no_null() {
        assert!(jsonschema::meta::is_valid(task()));
        walk(task(), "", &mut |path, node| {
            assert!(!node.is_null() && node != "null", "{path}")
        });
        assert_eq!(task()["title"], "agentguard task file");
        assert_eq!(task()["$id"], ID);
        assert!(text().ends_with("}\n"));
    }

    #[test]
    fn every_key_has_a_description() {
        walk(task(), "", &mut |path, node| {
            let keys = node.get("properties").and_then(Value::as_object);
            for (key, inner) in keys.into_iter().flatten() {
                // Below the name there may be only a reference to a described type.
                let described = inner.get("description").is_some_and(|text| text != "");
                assert!(described, "{path}/properties/{key}");
            }
        });
    }

    #[test]
    fn mappings_of_our_own_refuse_unknown_keys() {
        walk(task(), "", &mut |path, node| {
            if node.get("properties").is_some() && node.get("type").is_some_and(|it| it == "object")
            {
                assert_eq!(node["additionalProperties"], false, "{path}");
            }
        });
    }

    #[test]
    fn defaults_are_visible() {
        #[rustfmt::skip]
        let rows = [
            ("/$defs/Agent/properties/grace/default", "\"10s\""),
            ("/$defs/Agent/properties/interpreter/default", "[\"sh\"]"),
            ("/$defs/Agent/properties/protocol/default", "\"auto\""),
            ("/$defs/Limits/properties/soft/default", "\"80%\""),
            ("/$defs/Limits/properties/model_call_timeout/default", "\"5m\""),
            ("/$defs/Tool/properties/timeout/default", "\"1m\""),
            ("/$defs/Tool/properties/effect/default", "\"write\""),
            ("/$defs/Breaker/properties/cool_down_max/default", "\"5m\""),
            ("/$defs/RetryBudget/properties/run/default", "\"60\""),
            ("/$defs/Thresholds/properties/density/default", "\"70%\""),
            ("/properties/version/default", "1"),
        ];
        for (pointer, want) in rows {
            let found = task().pointer(pointer).map(Value::to_string);
            assert_eq!(found.as_deref(), Some(want), "row: {pointer}");
        }
    }
}
