//! Whether a reply calls tools that exist, with arguments they take.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::shape::violation;
use crate::policy::taxonomy::llm::Call;
use crate::policy::taxonomy::observation::Observation;
use crate::policy::taxonomy::outcome::Delivery;
use crate::policy::taxonomy::text::clip;

/// Returns the tool a reply calls though it was not offered.
pub(in super::super) fn unknown_tool(
    observation: &Observation,
    delivery: &Delivery,
) -> Option<String> {
    let reply = delivery.reply.as_ref()?;
    let offered = offered_tools(observation)?;
    let stray = reply
        .calls
        .iter()
        .find(|call| !offered.contains_key(&call.name))?;
    Some(format!(
        "tool call \"{}\" is not among the {} offered",
        clip(&stray.name, 80),
        offered.len()
    ))
}

/// Returns the tool call a reply holds as text, where nobody will carry it out.
pub(in super::super) fn call_as_text(
    observation: &Observation,
    delivery: &Delivery,
) -> Option<String> {
    const MARKS: [&str; 6] = [
        "<tool_call>",
        "<function=",
        "<function_call",
        "<|tool_call",
        "<|python_tag|>",
        "[TOOL_CALLS]",
    ];
    let reply = delivery.reply.as_ref()?;
    let offered = offered_tools(observation)?;
    let text = reply.text.trim();
    if !reply.calls.is_empty() || text.is_empty() {
        return None;
    }
    let is_marked = MARKS.iter().any(|mark| text.starts_with(mark));
    let is_bare = || {
        let call: Value = serde_json::from_str(text).ok()?;
        call.get("arguments").or_else(|| call.get("parameters"))?;
        offered.get(call.get("name")?.as_str()?).map(|_| ())
    };
    (is_marked || text.starts_with('{') && is_bare().is_some())
        .then(|| format!("text: \"{}\"", clip(text, 120)))
}

/// Returns what is wrong with the arguments of a tool call, if anything.
pub(in super::super) fn bad_arguments(
    observation: &Observation,
    delivery: &Delivery,
) -> Option<String> {
    let reply = delivery.reply.as_ref()?;
    let offered = offered_tools(observation).unwrap_or_default();
    reply.calls.iter().find_map(|call| {
        let wrong = arguments_problem(call, offered.get(&call.name).and_then(Option::as_ref))?;
        Some(format!("tool call \"{}\": {wrong}", clip(&call.name, 80)))
    })
}

fn arguments_problem(call: &Call, schema: Option<&Value>) -> Option<String> {
    let arguments = match &call.arguments {
        Value::String(text) if text.trim().is_empty() => Value::Object(Map::new()),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(value) => value,
            Err(error) => return Some(format!("arguments are not JSON: {error}")),
        },
        Value::Null => Value::Object(Map::new()),
        other => other.clone(),
    };
    if !arguments.is_object() {
        return Some("arguments are not a JSON object".to_owned());
    }
    violation(schema?, &arguments)
}

/// Returns the offered tools: name and, where known, the schema of the arguments.
fn offered_tools(observation: &Observation) -> Option<BTreeMap<String, Option<Value>>> {
    let tools = observation
        .known("tools_offered")
        .or_else(|| observation.request("tools"))
        .or_else(|| observation.request("body")?.get("tools"))?;
    let mut offered = BTreeMap::new();
    match tools {
        Value::Array(tools) => tools
            .iter()
            .take(2_000)
            .for_each(|tool| offer(tool, &mut offered)),
        Value::Object(tools) => offered.extend(
            tools
                .iter()
                .map(|(name, tool)| (name.clone(), schema_of(tool))),
        ),
        _ => return None,
    }
    Some(offered)
}

fn offer(tool: &Value, offered: &mut BTreeMap<String, Option<Value>>) {
    if let Some(name) = tool.as_str() {
        offered.insert(name.to_owned(), None);
        return;
    }
    let nested = ["functionDeclarations", "function_declarations"]
        .iter()
        .find_map(|name| tool.get(*name)?.as_array());
    if let Some(declarations) = nested {
        declarations.iter().for_each(|tool| offer(tool, offered));
        return;
    }
    let definition = tool
        .get("function")
        .or_else(|| tool.get("toolSpec"))
        .unwrap_or(tool);
    if let Some(name) = definition.get("name").and_then(Value::as_str) {
        offered.insert(name.to_owned(), schema_of(definition));
    }
}

fn schema_of(definition: &Value) -> Option<Value> {
    let schema = ["input_schema", "parameters", "inputSchema", "schema"]
        .iter()
        .find_map(|name| definition.get(*name))?;
    let schema = schema.get("json").unwrap_or(schema);
    schema.is_object().then(|| schema.clone())
}
