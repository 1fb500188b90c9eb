//! Anthropic Messages, streamed and whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::json;
use super::{Api, Facts, index, is_blank, text};

/// Blocks by index; arguments as text until their block ends.
#[derive(Debug, Default)]
pub(super) struct Fold {
    blocks: BTreeMap<u64, Block>,
}

#[derive(Debug)]
struct Block {
    value: Value,
    arguments: String,
}

impl Fold {
    /// Takes one event; returns whether it is content.
    pub(super) fn take(&mut self, event: &Value, facts: &mut Facts) -> bool {
        match text(event, "type") {
            "message_start" => {
                let message = event.get("message").unwrap_or(&Value::Null);
                facts.opening(message, "id", "model");
                facts.used(Api::Messages, message.get("usage"));
                false
            }
            "content_block_start" => self.open(event, facts),
            "content_block_delta" => self.grow(event, facts),
            "message_delta" => {
                let delta = event.get("delta").unwrap_or(&Value::Null);
                let has_usage = facts.used(Api::Messages, event.get("usage"));
                if let Some(word) = delta.get("stop_reason").and_then(Value::as_str) {
                    facts.stopped(Some(word));
                    refine(delta, facts);
                    // The count at its beginning is not yet of all that came out.
                    let counts_output = event.pointer("/usage/output_tokens").is_some();
                    facts.reply.is_usage_final = has_usage && counts_output;
                }
                false
            }
            "message_stop" => {
                facts.reply.is_terminal = true;
                false
            }
            "ping" | "content_block_stop" | "error" => false,
            // What is new may be content; streaming goes on.
            _ => true,
        }
    }

    fn open(&mut self, event: &Value, facts: &mut Facts) -> bool {
        let block = event.get("content_block").unwrap_or(&Value::Null);
        if let Value::Object(fields) = block
            && facts.has_room(self.blocks.len())
        {
            let opened = Block {
                value: Value::Object(fields.clone()),
                arguments: String::new(),
            };
            self.blocks.insert(index(event, "index"), opened);
        }
        let said = [text(block, "text"), text(block, "thinking")];
        facts.output_bytes += said.map(str::len).iter().sum::<usize>() as u64;
        let opens_empty = matches!(text(block, "type"), "text" | "thinking");
        !opens_empty || said.iter().any(|piece| !piece.is_empty())
    }

    fn grow(&mut self, event: &Value, facts: &mut Facts) -> bool {
        let delta = event.get("delta").unwrap_or(&Value::Null);
        // A delta without its start still counts as output.
        let mut stray = Block {
            value: Value::Null,
            arguments: String::new(),
        };
        let block = self
            .blocks
            .get_mut(&index(event, "index"))
            .unwrap_or(&mut stray);
        let piece = |name| text(delta, name);
        match text(delta, "type") {
            "text_delta" => facts.append_at(&mut block.value, "text", piece("text")),
            "thinking_delta" => facts.append_at(&mut block.value, "thinking", piece("thinking")),
            "input_json_delta" => facts.append(&mut block.arguments, piece("partial_json")),
            "signature_delta" => {
                if let (Value::Object(fields), false) = (&mut block.value, facts.reply.is_clipped) {
                    fields.insert("signature".to_owned(), piece("signature").into());
                }
            }
            "citations_delta" => {
                if let (Value::Object(fields), Some(citation), true) = (
                    &mut block.value,
                    delta.get("citation"),
                    !facts.reply.is_clipped,
                ) {
                    let list = fields.entry("citations").or_insert_with(|| json!([]));
                    match list {
                        Value::Array(list) => list.push(citation.clone()),
                        other => *other = json!([citation]),
                    }
                }
            }
            _ => return true,
        }
        let fields = delta.as_object().into_iter().flatten();
        let has_any = |(name, value): (&String, &Value)| name != "type" && !is_blank(value);
        fields.into_iter().any(has_any)
    }

    /// Takes a whole message.
    pub(super) fn whole(&mut self, body: Value, facts: &mut Facts) {
        facts.opening(&body, "id", "model");
        let has_usage = facts.used(Api::Messages, body.get("usage"));
        let stop = body.get("stop_reason").and_then(Value::as_str);
        facts.stopped(stop);
        refine(&body, facts);
        facts.reply.is_terminal = stop.is_some();
        facts.reply.is_usage_final = has_usage && stop.is_some();
        // A token count is a whole answer too.
        facts.reply.is_terminal |= body.get("input_tokens").is_some();
        let content = body.get("content").and_then(Value::as_array);
        for (at, value) in (0_u64..).zip(content.into_iter().flatten()) {
            if !facts.has_room(self.blocks.len()) {
                break;
            }
            facts.output_bytes += value.to_string().len() as u64;
            let block = Block {
                value: value.clone(),
                arguments: String::new(),
            };
            self.blocks.insert(at, block);
        }
    }

    /// Returns the message; `raw_arguments` gets the arguments by call id as
    /// the model wrote them.
    pub(super) fn finish(self, raw_arguments: &mut Vec<(String, String)>) -> Vec<Value> {
        let mut content = Vec::with_capacity(self.blocks.len());
        for mut block in self.blocks.into_values() {
            if !block.arguments.is_empty() {
                let id = text(&block.value, "id").to_owned();
                // A cut call stays as text: it is in no next request.
                let input = json::tree(&block.arguments);
                let input = input.unwrap_or_else(|| Value::String(block.arguments.clone()));
                if let Value::Object(fields) = &mut block.value {
                    fields.insert("input".to_owned(), input);
                }
                raw_arguments.push((id, block.arguments));
            }
            content.push(block.value);
        }
        if content.is_empty() {
            return Vec::new();
        }
        let mut message = Map::new();
        message.insert("role".to_owned(), "assistant".into());
        message.insert("content".to_owned(), Value::Array(content));
        vec![Value::Object(message)]
    }
}

/// Takes the category of a refusal, where it is given.
fn refine(body: &Value, facts: &mut Facts) {
    let category = body
        .pointer("/stop_details/category")
        .and_then(Value::as_str);
    if let (Some(super::Stop::Refusal(word)), Some(category)) = (&mut facts.stop, category) {
        *word = category.to_owned();
    }
}
