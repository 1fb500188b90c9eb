//! Whether a payload is the JSON it should be, and satisfies its schema.

use jsonschema::PatternOptions;
use serde_json::Value;

use crate::policy::taxonomy::observation::{Observation, is_blank, string_of};
use crate::policy::taxonomy::outcome::Delivery;
use crate::policy::taxonomy::text::clip;

/// Returns why the payload is not the JSON it should be, or breaks its schema.
pub(in super::super) fn not_json(observation: &Observation, delivery: &Delivery) -> Option<String> {
    let wants = wants_json(observation) || schema(observation).is_some() || delivery.promises_json;
    if !wants || has_calls(delivery) {
        return None;
    }
    payload(delivery).err()
}

/// Returns how the payload breaks the schema it should satisfy.
pub(in super::super) fn breaks_schema(
    observation: &Observation,
    delivery: &Delivery,
) -> Option<String> {
    let schema = schema(observation)?;
    if has_calls(delivery) {
        return None;
    }
    violation(&schema, &payload(delivery).ok()?)
}

fn has_calls(delivery: &Delivery) -> bool {
    delivery
        .reply
        .as_ref()
        .is_some_and(|reply| !reply.calls.is_empty())
}

/// Returns the payload as JSON, or why it is none.
fn payload(delivery: &Delivery) -> Result<Value, String> {
    let text = match (&delivery.reply, &delivery.json) {
        (Some(reply), _) => reply.text.as_str(),
        (None, Some(json)) => return Ok(json.clone()),
        (None, None) => delivery.text.as_str(),
    };
    serde_json::from_str(text.trim_start_matches('\u{feff}').trim()).map_err(|error| {
        format!(
            "payload is not JSON ({error}): \"{}\"",
            clip(text.trim(), 80)
        )
    })
}

fn wants_json(observation: &Observation) -> bool {
    let expects = observation
        .known("expect")
        .and_then(Value::as_str)
        .is_some_and(|expect| expect.eq_ignore_ascii_case("json"));
    let format = response_format(observation);
    let kind = format
        .and_then(|format| string_of(format.get("type")).or_else(|| string_of(Some(format))))
        .unwrap_or_default();
    expects || kind.contains("json")
}

fn response_format(observation: &Observation) -> Option<&Value> {
    observation
        .known("response_format")
        .or_else(|| observation.request("response_format"))
        .or_else(|| observation.request("text")?.get("format"))
}

/// Returns the schema the payload should satisfy.
fn schema(observation: &Observation) -> Option<Value> {
    let own = ["schema", "output_schema", "outputSchema"]
        .iter()
        .find_map(|name| observation.known(name));
    let schema = own.cloned().or_else(|| {
        let format = response_format(observation)?;
        let wrapped = format.get("json_schema").unwrap_or(format);
        wrapped.get("schema").cloned()
    })?;
    (schema.is_object() && !is_blank(&schema)).then_some(schema)
}

/// Returns the first violation of `schema`; a schema that cannot be compiled is no gate.
///
/// Patterns run on the linear engine; references to other documents are not followed.
pub(super) fn violation(schema: &Value, value: &Value) -> Option<String> {
    let validator = jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .ok()?;
    let error = validator.iter_errors(value).next()?;
    let place = error.instance_path().to_string();
    let place = if place.is_empty() {
        "/".to_owned()
    } else {
        place
    };
    Some(format!(
        "schema: at {place}: {}",
        clip(&error.to_string(), 160)
    ))
}
