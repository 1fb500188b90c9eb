//! What requests of Chat and Responses have in common.

use super::super::Error;
use super::super::node::{Node, Object};
use super::super::out::{Out, object};
use super::form::{Ask, Choice, Format, Part, Tool, foreign};

/// Fields without a meaning for the answer: storage, caches, tiers, statistics,
/// whom to blame, and how to pack the stream.
const DROPPED: &[&str] = &[
    "client_metadata",
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "seed",
    "service_tier",
    "store",
    "stream_options",
];
/// Fields that ask for nothing with these values.
const HARMLESS: &[(&str, &str)] = &[
    ("background", "false"),
    ("frequency_penalty", "0"),
    ("logprobs", "false"),
    ("modalities", "[\"text\"]"),
    ("n", "1"),
    ("presence_penalty", "0"),
    ("top_logprobs", "0"),
];

/// Reads the fields that both write alike.
pub(super) fn read<'a>(body: &mut Object<'a>, ask: &mut Ask<'a>) -> Result<(), Error> {
    body.drop(DROPPED);
    for (name, harmless) in HARMLESS {
        body.only(name, harmless)?;
    }
    for tool in body.list("tools")? {
        ask.tools.push(read_tool(&tool)?);
    }
    ask.choice = body.take("tool_choice").map(read_choice).transpose()?;
    ask.is_parallel = body.flag("parallel_tool_calls")?;
    ask.temperature = body.take("temperature");
    ask.top_p = body.take("top_p");
    let user = body.text("user")?;
    ask.used_by(user);
    Ok(())
}

/// Reads a tool; Chat has its fields one level deeper.
pub(super) fn read_tool<'a>(node: &Node<'a>) -> Result<Tool<'a>, Error> {
    let mut outer = node.object()?;
    match outer.need("type")?.text()?.as_str() {
        "function" => {}
        "custom" => return Err(node.refuse("takes free text, which only its own API knows")),
        kind => return Err(foreign(node, kind)),
    }
    let mut tool = match outer.take("function") {
        Some(function) => {
            outer.finish()?;
            function.object()?
        }
        None => outer,
    };
    let read = Tool {
        name: tool.need("name")?.text()?,
        description: tool.text("description")?,
        schema: tool.take("parameters").map(|node| node.raw),
        is_strict: tool.flag("strict")?.unwrap_or(false),
    };
    tool.only("defer_loading", "false")?;
    tool.finish()?;
    Ok(read)
}

fn read_choice(node: Node<'_>) -> Result<Choice, Error> {
    if node.is_text() {
        return match node.text()?.as_str() {
            "auto" => Ok(Choice::Auto),
            "none" => Ok(Choice::Never),
            "required" => Ok(Choice::Any),
            _ => Err(node.refuse("is a choice that is not known")),
        };
    }
    let mut fields = node.object()?;
    let kind = fields.need("type")?.text()?;
    if kind != "function" {
        return Err(foreign(&node, &kind));
    }
    let mut function = match fields.take("function") {
        Some(function) => function.object()?,
        None => return Ok(Choice::One(fields.need("name")?.text()?)),
    };
    Ok(Choice::One(function.need("name")?.text()?))
}

/// Adds the fields that both write alike.
///
/// - `limit`: the name of the limit of the output.
/// - `tool`, `one`: write a tool, and the choice of one.
pub(super) fn write<'b>(
    ask: &'b Ask<'_>,
    written: Out<'b>,
    limit: &'static str,
    tool: impl Fn(&'b Tool<'_>) -> Out<'b>,
    one: impl Fn(&'b str) -> Out<'b>,
) -> Out<'b> {
    let choice = ask.choice.as_ref().map(|choice| match choice {
        Choice::Auto => "auto".into(),
        Choice::Never => "none".into(),
        Choice::Any => "required".into(),
        Choice::One(name) => one(name),
    });
    let tools: Vec<Out> = ask.tools.iter().map(tool).collect();
    // Without tools, neither of the other two is taken.
    let is_offered = !tools.is_empty();
    let is_parallel = ask.is_parallel.filter(|_| is_offered);
    written
        .with("tools", is_offered.then_some(tools))
        .with("tool_choice", choice.filter(|_| is_offered))
        .with("parallel_tool_calls", is_parallel)
        .with(limit, ask.max_output)
        .with("temperature", ask.temperature.as_ref().map(|node| node.raw))
        .with("top_p", ask.top_p.as_ref().map(|node| node.raw))
        .with("user", ask.user.as_ref())
        .with("stream", ask.is_stream.then_some(true))
}

/// Reads the form of the answer; Chat has its fields one level deeper.
pub(super) fn read_format<'a>(node: Option<Node<'a>>) -> Result<Format<'a>, Error> {
    let Some(node) = node else {
        return Ok(Format::Text);
    };
    let mut fields = node.object()?;
    match fields.need("type")?.text()?.as_str() {
        "text" => return Ok(Format::Text),
        "json_object" => return Ok(Format::Json),
        "json_schema" => {}
        kind => return Err(foreign(&node, kind)),
    }
    let mut schema = match fields.take("json_schema") {
        Some(inner) => inner.object()?,
        None => fields,
    };
    let format = Format::Schema {
        name: schema.need("name")?.text()?,
        description: schema.text("description")?,
        schema: schema.need("schema")?.raw,
        is_strict: schema.flag("strict")?,
    };
    schema.finish()?;
    Ok(format)
}

/// Writes a form with fields of `schema` beside each other.
pub(super) fn schema<'b>(format: &'b Format<'_>, kind: Option<&'b str>) -> Option<Out<'b>> {
    let Format::Schema {
        name,
        description,
        schema,
        is_strict,
    } = format
    else {
        return None;
    };
    let written = object! {}
        .with("type", kind)
        .with("name", Some(name))
        .with("description", description.as_ref())
        .with("schema", Some(*schema))
        .with("strict", *is_strict);
    Some(written)
}

/// Returns content as a text, if it is one text and nothing else.
pub(super) fn single<'b>(parts: &[&'b Part]) -> Option<&'b str> {
    match parts {
        [Part::Text(text)] => Some(text),
        _ => None,
    }
}

/// Writes content: one text as it is, else a list of blocks.
pub(super) fn content<'b>(parts: &[&'b Part], block: impl Fn(&'b Part) -> Out<'b>) -> Out<'b> {
    match single(parts) {
        Some(text) => text.into(),
        None => Out::List(parts.iter().map(|part| block(part)).collect()),
    }
}
