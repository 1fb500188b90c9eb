//! Requests of Anthropic Messages.

use serde_json::value::RawValue;

use super::super::super::api::Api;
use super::super::super::bounds::DEPTH_MAX;
use super::super::super::said::Role;
use super::super::node::{Node, Object};
use super::super::out::{Out, object};
use super::super::{Error, fit_id, refuse};
use super::form::{
    self, Ask, Call, Choice, Format, Image, MAX_TOKENS_DEFAULT, Outcome, Part, Tool, foreign, role,
};
use super::open_ai;
use crate::channel::frame::deeper_than;

/// Fields without a meaning for the answer. The management of the context cuts
/// off what another model reads in full.
const DROPPED: &[&str] = &[
    "cache_control",
    "context_management",
    "diagnostics",
    "max_tokens",
    "service_tier",
    "speed",
    "thinking",
];

pub(super) fn read<'a>(body: &mut Object<'a>, ask: &mut Ask<'a>) -> Result<(), Error> {
    body.drop(DROPPED);
    if let Some(system) = body.take("system") {
        let parts = form::content(Some(system.clone()), block)?;
        ask.say(&system, Role::System, parts)?;
    }
    for node in body.need("messages")?.list()? {
        let mut message = node.object()?;
        let role = role(&mut message)?;
        let parts = form::content(message.take("content"), block)?;
        message.finish()?;
        ask.say(&node, role, parts)?;
    }
    for tool in body.list("tools")? {
        ask.tools.push(read_tool(&tool)?);
    }
    if let Some(node) = body.take("tool_choice") {
        let mut choice = node.object()?;
        ask.is_parallel = choice
            .flag("disable_parallel_tool_use")?
            .map(|is_off| !is_off);
        ask.choice = Some(match choice.need("type")?.text()?.as_str() {
            "auto" => Choice::Auto,
            "none" => Choice::Never,
            "any" => Choice::Any,
            "tool" => Choice::One(choice.need("name")?.text()?),
            kind => return Err(foreign(&node, kind)),
        });
        choice.finish()?;
    }
    for stop in body.list("stop_sequences")? {
        ask.stops.push(stop.text()?);
    }
    ask.temperature = body.take("temperature");
    ask.top_p = body.take("top_p");
    let mut metadata = body.object("metadata")?;
    ask.used_by(metadata.text("user_id")?);
    let mut config = body.object("output_config")?;
    config.drop(&["effort"]);
    // The older place of the same.
    let format = config.take("format").or(body.take("output_format"));
    config.finish()?;
    if let Some(node) = format {
        let mut fields = node.object()?;
        match fields.need("type")?.text()?.as_str() {
            "json_schema" => {}
            kind => return Err(foreign(&node, kind)),
        }
        ask.format = Format::Schema {
            name: "answer".to_owned(),
            description: None,
            schema: fields.need("schema")?.raw,
            is_strict: Some(true),
        };
        fields.finish()?;
    }
    Ok(())
}

fn read_tool<'a>(node: &Node<'a>) -> Result<Tool<'a>, Error> {
    let mut tool = node.object()?;
    match tool.text("type")?.as_deref() {
        None | Some("custom") => {}
        Some(kind) => return Err(foreign(node, kind)),
    }
    tool.drop(&["cache_control", "eager_input_streaming"]);
    tool.only("defer_loading", "false")?;
    tool.only("allowed_callers", "[\"direct\"]")?;
    let read = Tool {
        name: tool.need("name")?.text()?,
        description: tool.text("description")?,
        schema: Some(tool.need("input_schema")?.raw),
        is_strict: tool.flag("strict")?.unwrap_or(false),
    };
    tool.finish()?;
    Ok(read)
}

/// Reads a block; reasoning is dropped, and so are citations, whose sources are
/// documents that would have been refused.
fn block(kind: &str, node: &Node<'_>, fields: &mut Object<'_>) -> Result<Option<Part>, Error> {
    fields.drop(&["cache_control", "citations"]);
    let path = node.path.clone();
    Ok(Some(match kind {
        "text" => Part::Text(fields.need("text")?.text()?),
        "image" => Part::Image(read_image(fields, path)?),
        "tool_use" => {
            if let Some(caller) = fields.take("caller") {
                caller.object()?.only("type", "\"direct\"")?;
            }
            Part::Call(Call {
                path,
                id: fields.need("id")?.text()?,
                name: fields.need("name")?.text()?,
                arguments: fields.need("input")?.raw.get().to_owned(),
            })
        }
        "tool_result" => Part::Result(Outcome {
            id: fields.need("tool_use_id")?.text()?,
            is_error: fields.flag("is_error")?.unwrap_or(false),
            parts: form::content(fields.take("content"), |kind, node, fields| match kind {
                "text" | "image" => block(kind, node, fields),
                _ => Err(foreign(node, kind)),
            })?,
        }),
        "thinking" | "redacted_thinking" => {
            fields.drop(&["thinking", "signature", "data"]);
            return Ok(None);
        }
        _ => return Err(foreign(node, kind)),
    }))
}

fn read_image(fields: &mut Object<'_>, path: String) -> Result<Image, Error> {
    let node = fields.need("source")?;
    let mut source = node.object()?;
    let url = match source.need("type")?.text()?.as_str() {
        "base64" => {
            let media = source.need("media_type")?.text()?;
            format!("data:{media};base64,{}", source.need("data")?.text()?)
        }
        "url" => source.need("url")?.text()?,
        kind => return Err(foreign(&node, kind)),
    };
    source.finish()?;
    let detail = None;
    Ok(Image { path, url, detail })
}

pub(super) fn write<'b>(ask: &'b Ask<'_>, model: &'b str) -> Result<Out<'b>, Error> {
    if !matches!(ask.format, Format::Text) {
        return Err(refuse(
            "the form of the answer (JSON) is not asked of Messages",
        ));
    }
    if let Some(node) = &ask.temperature
        && node.number()? > 1.0
    {
        return Err(node.refuse("is above 1, the most that Messages takes"));
    }
    let (system, turns) = ask.joined();
    let (mut messages, mut role_of_last) = (Vec::with_capacity(turns.len()), "");
    for (role, parts) in turns {
        let role = match role {
            Role::Assistant => "assistant",
            Role::System => "system",
            _ => "user",
        };
        if let Some(content) = content(&parts)? {
            messages.push(object! {"role": role, "content": content});
            role_of_last = role;
        }
    }
    if role_of_last == "assistant" {
        return Err(refuse("a history that ends with the model's own message"));
    }
    let mut tools = Vec::with_capacity(ask.tools.len());
    for tool in &ask.tools {
        let written = object! {"name": &tool.name}
            .with("description", tool.description.as_ref())
            .with("input_schema", Some(tool.schema()))
            .with("strict", tool.is_strict.then_some(true));
        tools.push(written);
    }
    let is_offered = !tools.is_empty();
    let stops: Vec<Out> = ask.stops.iter().map(Out::from).collect();
    let written = object! {
        "model": model,
        "max_tokens": ask.max_output.unwrap_or(MAX_TOKENS_DEFAULT),
    };
    Ok(written
        .with("system", content(&system)?)
        .with("messages", Some(messages))
        .with("tools", is_offered.then_some(tools))
        .with("tool_choice", choice(ask).filter(|_| is_offered))
        .with("temperature", ask.temperature.as_ref().map(|node| node.raw))
        .with("top_p", ask.top_p.as_ref().map(|node| node.raw))
        .with("stop_sequences", (!stops.is_empty()).then_some(stops))
        .with(
            "metadata",
            ask.user.as_ref().map(|user| object! {"user_id": user}),
        )
        .with("stream", ask.is_stream.then_some(true)))
}

fn choice<'b>(ask: &'b Ask<'_>) -> Option<Out<'b>> {
    let one_by_one = (ask.is_parallel == Some(false)).then_some(true);
    let kind = match (&ask.choice, one_by_one) {
        (None, None) => return None,
        (Some(Choice::Never), _) => return Some(object! {"type": "none"}),
        (Some(Choice::Any), _) => object! {"type": "any"},
        (Some(Choice::One(name)), _) => object! {"type": "tool", "name": name},
        (Some(Choice::Auto) | None, _) => object! {"type": "auto"},
    };
    Some(kind.with("disable_parallel_tool_use", one_by_one))
}

/// Writes content, if there is any: Messages takes no text without a letter.
fn content<'b>(parts: &[&'b Part]) -> Result<Option<Out<'b>>, Error> {
    let is_said = |part: &&&Part| !matches!(part, Part::Text(text) | Part::Refusal(text) if text.trim().is_empty());
    let parts: Vec<&Part> = parts.iter().filter(is_said).copied().collect();
    if let Some(text) = open_ai::single(&parts) {
        return Ok(Some(text.into()));
    }
    let blocks: Result<Vec<Out>, Error> = parts.iter().map(|part| write_block(part)).collect();
    Ok(Some(blocks?)
        .filter(|blocks| !blocks.is_empty())
        .map(Out::List))
}

fn write_block(part: &Part) -> Result<Out<'_>, Error> {
    Ok(match part {
        Part::Text(text) | Part::Refusal(text) => object! {"type": "text", "text": text},
        Part::Image(image) => object! {"type": "image", "source": write_source(image)?},
        Part::Call(call) => object! {
            "type": "tool_use",
            "id": fit_id(Api::Messages, &call.id),
            "name": &call.name,
            "input": write_input(call)?,
        },
        Part::Result(outcome) => {
            let parts: Vec<&Part> = outcome.parts.iter().collect();
            object! {"type": "tool_result", "tool_use_id": fit_id(Api::Messages, &outcome.id)}
                .with("content", content(&parts)?)
                .with("is_error", outcome.is_error.then_some(true))
        }
    })
}

/// Writes the arguments of a call, which are an object here.
fn write_input(call: &Call) -> Result<Out<'_>, Error> {
    let text = call.arguments.trim();
    let is_object = text.starts_with('{') && !deeper_than(text.as_bytes(), DEPTH_MAX);
    match RawValue::from_string(text.to_owned()) {
        Ok(input) if is_object => Ok(input.into()),
        _ => {
            let why = "has arguments that are no JSON object, as Messages wants them";
            Err(refuse(format!("{} {why}", call.path)))
        }
    }
}

fn write_source(image: &Image) -> Result<Out<'_>, Error> {
    let url = image.url.as_str();
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    let why = match url
        .strip_prefix("data:")
        .map(|data| data.split_once(";base64,"))
    {
        Some(Some((media, data))) => {
            return Ok(object! {"type": "base64", "media_type": media, "data": data});
        }
        None if is_web => return Ok(object! {"type": "url", "url": url}),
        Some(None) => "has data that is not base64",
        None => "has an address that is none of the web",
    };
    Err(refuse(format!("{} {why}", image.path)))
}
