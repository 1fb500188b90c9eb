//! Requests of OpenAI Chat Completions.

use super::super::super::api::{Api, chat_limit};
use super::super::super::said::Role;
use super::super::node::{Node, Object};
use super::super::out::{Out, object};
use super::super::{Error, fit_id};
use super::form::{self, Ask, Call, Format, Image, Outcome, Part, foreign, role};
use super::open_ai;

/// The model's own reasoning, as servers other than OpenAI's send it back, and
/// sources that it cited.
const DROPPED: &[&str] = &[
    "annotations",
    "provider_specific_fields",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "thinking_blocks",
];

/// How much to think, and what to show of it, in the words of other servers;
/// and the limit, which is read elsewhere.
const SETTINGS: &[&str] = &[
    "enable_thinking",
    "include_reasoning",
    "max_completion_tokens",
    "max_tokens",
    "reasoning",
    "thinking",
    "usage",
];

pub(super) fn read<'a>(body: &mut Object<'a>, ask: &mut Ask<'a>) -> Result<(), Error> {
    open_ai::read(body, ask)?;
    body.drop(SETTINGS);
    ask.format = open_ai::read_format(body.take("response_format"))?;
    ask.effort = body.text("reasoning_effort")?;
    ask.verbosity = body.text("verbosity")?;
    match body.take("stop") {
        Some(stop) if stop.is_text() => ask.stops.push(stop.text()?),
        Some(stops) => {
            for stop in stops.list()? {
                ask.stops.push(stop.text()?);
            }
        }
        None => {}
    }
    for node in body.need("messages")?.list()? {
        read_message(&node, ask)?;
    }
    Ok(())
}

fn read_message(node: &Node<'_>, ask: &mut Ask<'_>) -> Result<(), Error> {
    let mut message = node.object()?;
    let role = role(&mut message)?;
    let mut parts = form::content(message.take("content"), block)?;
    if role == Role::Tool {
        // Some clients repeat the name of the tool.
        message.drop(&["name"]);
        let id = message.need("tool_call_id")?.text()?;
        message.finish()?;
        let is_error = false;
        let outcome = Outcome {
            id,
            parts,
            is_error,
        };
        return ask.say(node, Role::User, vec![Part::Result(outcome)]);
    }
    if role == Role::Assistant {
        message.drop(DROPPED);
        // Said beside a call, or instead of nothing, an empty text is none.
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        parts.extend(message.text("refusal")?.map(Part::Refusal));
        for call in message.list("tool_calls")? {
            parts.push(Part::Call(read_call(&call)?));
        }
    }
    message.finish()?;
    ask.say(node, role, parts)
}

fn read_call(node: &Node<'_>) -> Result<Call, Error> {
    let mut fields = node.object()?;
    // Some servers number the calls of a message.
    fields.drop(&["index"]);
    match fields.text("type")?.as_deref() {
        None | Some("function") => {}
        Some(kind) => return Err(foreign(node, kind)),
    }
    let mut function = fields.need("function")?.object()?;
    let call = Call {
        path: node.path.clone(),
        id: fields.need("id")?.text()?,
        name: function.need("name")?.text()?,
        arguments: form::arguments(function.text("arguments")?),
    };
    function.finish()?;
    fields.finish()?;
    Ok(call)
}

fn block(kind: &str, node: &Node<'_>, fields: &mut Object<'_>) -> Result<Option<Part>, Error> {
    fields.drop(&["cache_control", "prompt_cache_breakpoint"]);
    Ok(Some(match kind {
        "text" => Part::Text(fields.need("text")?.text()?),
        "refusal" => Part::Refusal(fields.need("refusal")?.text()?),
        "image_url" => {
            let mut image = fields.need("image_url")?.object()?;
            let read = Image {
                path: node.path.clone(),
                url: image.need("url")?.text()?,
                detail: image.text("detail")?.filter(|detail| detail != "auto"),
            };
            image.finish()?;
            Part::Image(read)
        }
        _ => return Err(foreign(node, kind)),
    }))
}

pub(super) fn write<'b>(ask: &'b Ask<'_>, model: &'b str) -> Result<Out<'b>, Error> {
    let (system, turns) = ask.joined();
    let mut messages = Vec::with_capacity(turns.len() + 1);
    if !system.is_empty() {
        messages.push(write_texts("system", &system));
    }
    for (role, parts) in turns {
        match role {
            Role::Assistant => messages.push(write_answer(&parts)),
            Role::System => messages.push(write_texts("system", &parts)),
            _ => write_user(&parts, &mut messages),
        }
    }
    let stops: Vec<Out> = ask.stops.iter().map(Out::from).collect();
    let format = match &ask.format {
        Format::Text => None,
        Format::Json => Some(object! {"type": "json_object"}),
        format => {
            Some(object! {"type": "json_schema", "json_schema": open_ai::schema(format, None)})
        }
    };
    let one = |name| object! {"type": "function", "function": object! {"name": name}};
    let usage = object! {"include_usage": true};
    let written = object! {"model": model, "messages": messages};
    Ok(
        open_ai::write(ask, written, chat_limit(model), write_tool, one)
            .with("stop", (!stops.is_empty()).then_some(stops))
            .with("response_format", format)
            .with("reasoning_effort", ask.effort.as_ref())
            .with("verbosity", ask.verbosity.as_ref())
            .with("stream_options", ask.is_stream.then_some(usage)),
    )
}

fn write_tool<'b>(tool: &'b form::Tool<'_>) -> Out<'b> {
    let function = object! {"name": &tool.name}
        .with("description", tool.description.as_ref())
        .with("parameters", Some(tool.schema()))
        .with("strict", tool.is_strict.then_some(true));
    object! {"type": "function", "function": function}
}

fn write_texts<'b>(role: &'b str, parts: &[&'b Part]) -> Out<'b> {
    object! {"role": role, "content": open_ai::content(parts, write_block)}
}

fn write_answer<'b>(parts: &[&'b Part]) -> Out<'b> {
    let (mut said, mut refusal, mut calls) = (Vec::new(), None, Vec::new());
    for part in parts {
        match part {
            Part::Call(call) => calls.push(object! {
                "id": fit_id(Api::Chat, &call.id),
                "type": "function",
                "function": object! {"name": &call.name, "arguments": &call.arguments},
            }),
            Part::Refusal(text) if refusal.is_none() => refusal = Some(text),
            part => said.push(*part),
        }
    }
    let said = (!said.is_empty()).then(|| open_ai::content(&said, write_block));
    object! {"role": "assistant", "content": said}
        .with("refusal", refusal)
        .with("tool_calls", (!calls.is_empty()).then_some(calls))
}

/// Stands in a result whose images are in the next message.
const NOTE: &str = "[The images of this result follow in the next message.]";

/// Writes the results, one message each, and then what the user says. A result
/// here is text alone, so its images go to the user's message.
fn write_user<'b>(parts: &[&'b Part], messages: &mut Vec<Out<'b>>) {
    let (mut images, mut said) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Result(outcome) => messages.push(write_result(outcome, &mut images)),
            part => said.push(*part),
        }
    }
    if !images.is_empty() {
        images.extend(said.into_iter().map(write_block));
        messages.push(object! {"role": "user", "content": images});
    } else if !said.is_empty() {
        messages.push(write_texts("user", &said));
    }
}

fn write_result<'b>(outcome: &Outcome, images: &mut Vec<Out<'b>>) -> Out<'b> {
    let id = fit_id(Api::Chat, &outcome.id);
    let (mut texts, told) = (Vec::new(), outcome.told());
    if told.iter().any(|part| matches!(part, Part::Image(_))) {
        let label = format!("Images in the result of call {id}:");
        images.push(object! {"type": "text", "text": label});
        texts.push(NOTE.to_owned());
    }
    for part in told {
        match part {
            Part::Image(image) => images.push(write_image(image.url, image.detail)),
            Part::Text(text) => texts.push(text),
            _ => {}
        }
    }
    let content = if texts.len() > 1 {
        let block = |text| object! {"type": "text", "text": Out::from(text)};
        Out::List(texts.into_iter().map(block).collect())
    } else {
        texts.pop().unwrap_or_default().into()
    };
    object! {"role": "tool", "tool_call_id": id, "content": content}
}

fn write_block(part: &Part) -> Out<'_> {
    match part {
        Part::Text(text) | Part::Refusal(text) => object! {"type": "text", "text": text},
        Part::Image(image) => write_image(image.url.as_str(), image.detail.as_deref()),
        // Calls and results are written apart from the content.
        Part::Call(_) | Part::Result(_) => Out::Null,
    }
}

fn write_image<'b>(url: impl Into<Out<'b>>, detail: Option<impl Into<Out<'b>>>) -> Out<'b> {
    let image = object! {"url": url.into()}.with("detail", detail);
    object! {"type": "image_url", "image_url": image}
}
