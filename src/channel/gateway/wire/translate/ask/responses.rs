//! Requests of OpenAI Responses.

use super::super::super::api::Api;
use super::super::super::said::Role;
use super::super::node::{Node, Object};
use super::super::out::{Out, object};
use super::super::{Error, fit_id, refuse};
use super::form::{self, Ask, Call, Format, Image, Outcome, Part, foreign, role};
use super::open_ai;

/// Fields that concern the upstream's own tools, which are refused, or its care
/// for a history that is too long; others refuse one, and the agent hears of it.
const DROPPED: &[&str] = &[
    "context_management",
    "max_output_tokens",
    "max_tool_calls",
    "truncation",
];

pub(super) fn read<'a>(body: &mut Object<'a>, ask: &mut Ask<'a>) -> Result<(), Error> {
    body.drop(DROPPED);
    open_ai::read(body, ask)?;
    for node in body.list("include")? {
        // The rest belongs to tools that are refused, and to reasoning.
        if node.text()?.contains("logprobs") {
            return Err(node.refuse("has no counterpart"));
        }
    }
    let mut text = body.object("text")?;
    ask.format = open_ai::read_format(text.take("format"))?;
    ask.verbosity = text.text("verbosity")?;
    text.finish()?;
    let mut reasoning = body.object("reasoning")?;
    ask.effort = reasoning.text("effort")?;
    reasoning.drop(&["context", "generate_summary", "summary"]);
    reasoning.finish()?;
    if let Some(node) = body.take("instructions") {
        let parts = vec![Part::Text(node.text()?)];
        ask.say(&node, Role::System, parts)?;
    }
    let input = body.need("input")?;
    if input.is_text() {
        let parts = vec![Part::Text(input.text()?)];
        return ask.say(&input, Role::User, parts);
    }
    for node in input.list()? {
        read_item(&node, ask)?;
    }
    Ok(())
}

fn read_item<'a>(node: &Node<'a>, ask: &mut Ask<'a>) -> Result<(), Error> {
    let mut item = node.object()?;
    item.drop(&["id", "status", "phase"]);
    let kind = item.text("type")?;
    match kind.as_deref().unwrap_or("message") {
        "message" => {
            let role = role(&mut item)?;
            let parts = form::content(item.take("content"), block)?;
            ask.say(node, role, parts)?;
        }
        "function_call" => {
            if let Some(caller) = item.take("caller") {
                caller.object()?.only("type", "\"direct\"")?;
            }
            let call = Call {
                path: node.path.clone(),
                id: item.need("call_id")?.text()?,
                name: item.need("name")?.text()?,
                arguments: form::arguments(item.text("arguments")?),
            };
            ask.say(node, Role::Assistant, vec![Part::Call(call)])?;
        }
        "function_call_output" => {
            let outcome = Outcome {
                id: item.need("call_id")?.text()?,
                parts: form::content(item.take("output"), block)?,
                is_error: false,
            };
            ask.say(node, Role::User, vec![Part::Result(outcome)])?;
        }
        // Codex hands tools in as an item.
        "additional_tools" => {
            item.drop(&["role"]);
            for tool in item.list("tools")? {
                ask.tools.push(open_ai::read_tool(&tool)?);
            }
        }
        "reasoning" => return Ok(()),
        kind => return Err(foreign(node, kind)),
    }
    item.finish()
}

fn block(kind: &str, node: &Node<'_>, fields: &mut Object<'_>) -> Result<Option<Part>, Error> {
    fields.drop(&["annotations", "logprobs", "prompt_cache_breakpoint"]);
    Ok(Some(match kind {
        "input_text" | "output_text" | "text" => Part::Text(fields.need("text")?.text()?),
        "refusal" => Part::Refusal(fields.need("refusal")?.text()?),
        "input_image" if fields.take("file_id").is_none() => Part::Image(Image {
            path: node.path.clone(),
            url: fields.need("image_url")?.text()?,
            detail: fields.text("detail")?.filter(|detail| detail != "auto"),
        }),
        _ => return Err(foreign(node, kind)),
    }))
}

pub(super) fn write<'b>(ask: &'b Ask<'_>, model: &'b str) -> Result<Out<'b>, Error> {
    if !ask.stops.is_empty() {
        return Err(refuse("stop sequences have no counterpart in Responses"));
    }
    let (mut instructions, mut input) = (None, Vec::new());
    for turn in &ask.turns {
        let parts: Vec<&Part> = turn.parts.iter().collect();
        match open_ai::single(&parts) {
            Some(text)
                if turn.role == Role::System && input.is_empty() && instructions.is_none() =>
            {
                instructions = Some(text);
            }
            _ => write_items(turn.role, &parts, &mut input),
        }
    }
    let format = match &ask.format {
        Format::Text => None,
        Format::Json => Some(object! {"type": "json_object"}),
        format => open_ai::schema(format, Some("json_schema")),
    };
    let text = (format.is_some() || ask.verbosity.is_some()).then(|| {
        object! {}
            .with("format", format)
            .with("verbosity", ask.verbosity.as_ref())
    });
    let one = |name| object! {"type": "function", "name": name};
    let effort = ask.effort.as_ref();
    let written = object! {"model": model}
        .with("instructions", instructions)
        .with("input", Some(input));
    Ok(
        open_ai::write(ask, written, "max_output_tokens", write_tool, one)
            .with("text", text)
            .with("reasoning", effort.map(|effort| object! {"effort": effort}))
            // The other APIs keep nothing either.
            .with("store", Some(false)),
    )
}

fn write_tool<'b>(tool: &'b form::Tool<'_>) -> Out<'b> {
    object! {"type": "function", "name": &tool.name}
        .with("description", tool.description.as_ref())
        .with("parameters", Some(tool.schema()))
        // Left out, it would be true here and false elsewhere.
        .with("strict", Some(tool.is_strict))
}

/// Writes results and calls as items of their own. So is every text of the
/// model: a list of its texts is taken with the id of an earlier response only.
fn write_items<'b>(role: Role, parts: &[&'b Part], input: &mut Vec<Out<'b>>) {
    let role = match role {
        Role::Assistant => "assistant",
        Role::System => "system",
        _ => "user",
    };
    let message = |content: Out<'b>| object! {"type": "message", "role": role, "content": content};
    let mut said = Vec::new();
    for part in parts {
        match part {
            Part::Result(outcome) => input.push(write_result(outcome)),
            Part::Call(call) => input.push(object! {
                "type": "function_call",
                "call_id": fit_id(Api::Responses, &call.id),
                "name": &call.name,
                "arguments": &call.arguments,
            }),
            Part::Text(text) | Part::Refusal(text) if role == "assistant" => {
                input.push(message(text.as_str().into()));
            }
            part => said.push(*part),
        }
    }
    if !said.is_empty() {
        input.push(message(open_ai::content(&said, write_block)));
    }
}

fn write_block(part: &Part) -> Out<'_> {
    match part {
        Part::Image(image) => write_image(image.url.as_str(), image.detail.as_deref()),
        Part::Text(text) | Part::Refusal(text) => object! {"type": "input_text", "text": text},
        // Calls and results are items of their own.
        Part::Call(_) | Part::Result(_) => Out::Null,
    }
}

fn write_result<'b>(outcome: &Outcome) -> Out<'b> {
    let mut told = outcome.told();
    let output = match told.as_mut_slice() {
        [] => "".into(),
        [Part::Text(text)] => Out::from(std::mem::take(text)),
        _ => Out::List(told.into_iter().filter_map(write_told).collect()),
    };
    object! {
        "type": "function_call_output",
        "call_id": fit_id(Api::Responses, &outcome.id),
        "output": output,
    }
}

fn write_told<'b>(part: Part) -> Option<Out<'b>> {
    match part {
        Part::Text(text) => Some(object! {"type": "input_text", "text": text}),
        Part::Image(image) => Some(write_image(image.url, image.detail)),
        _ => None,
    }
}

fn write_image<'b>(url: impl Into<Out<'b>>, detail: Option<impl Into<Out<'b>>>) -> Out<'b> {
    let detail = detail.map_or("auto".into(), Into::into);
    object! {"type": "input_image", "image_url": url.into(), "detail": detail}
}
