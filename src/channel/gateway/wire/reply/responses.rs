//! OpenAI Responses, streamed and whole.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Api, Facts, index, is_blank, text};

/// Items of the output by their index, whole or still growing.
#[derive(Debug, Default)]
pub(super) struct Fold {
    items: BTreeMap<u64, Value>,
}

/// Events that show the child nothing of the answer.
const NOT_CONTENT: &[&str] = &[
    "response.created",
    "response.in_progress",
    "response.queued",
    "response.content_part.added",
    "response.reasoning_summary_part.added",
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.cancelled",
    "keepalive",
    "ping",
    "error",
];

impl Fold {
    /// Takes one event; returns whether it is content.
    pub(super) fn take(&mut self, event: &Value, facts: &mut Facts) -> bool {
        let kind = text(event, "type");
        if let Some(response) = event.get("response") {
            self.response(response, facts);
        }
        let (at, item) = (index(event, "output_index"), event.get("item"));
        match (kind, item) {
            ("response.output_item.added", Some(item)) => {
                self.put(at, item, facts);
                // Opened empty, they say nothing yet.
                return !matches!(text(item, "type"), "message" | "reasoning");
            }
            ("response.output_item.done", Some(item)) => {
                self.put(at, item, facts);
                return true;
            }
            ("error", _) => facts.reply.is_terminal = true,
            _ if kind.ends_with(".delta") => {
                self.grow(kind, at, text(event, "delta"), facts);
                return true;
            }
            _ => {}
        }
        !NOT_CONTENT.contains(&kind)
    }

    fn put(&mut self, at: u64, item: &Value, facts: &mut Facts) {
        let is_known = self.items.contains_key(&at) && !facts.reply.is_clipped;
        if is_known || facts.has_room(self.items.len()) {
            self.items.insert(at, item.clone());
        }
    }

    fn grow(&mut self, kind: &str, at: u64, piece: &str, facts: &mut Facts) {
        let mut stray = json!({});
        let item = self.items.get_mut(&at).unwrap_or(&mut stray);
        match kind {
            "response.function_call_arguments.delta" => facts.append_at(item, "arguments", piece),
            "response.custom_tool_call_input.delta" => facts.append_at(item, "input", piece),
            "response.output_text.delta" => {
                // One block is enough for a text that is cut; a whole one is
                // replaced by its finished item.
                if item.pointer("/content/0").is_none() && item.is_object() {
                    item["content"] = json!([{"type": "output_text", "text": ""}]);
                }
                match item.pointer_mut("/content/0") {
                    Some(block) => facts.append_at(block, "text", piece),
                    None => facts.output_bytes += piece.len() as u64,
                }
            }
            _ => facts.output_bytes += piece.len() as u64,
        }
    }

    /// Takes a response, from a body or inside an event.
    fn response(&mut self, response: &Value, facts: &mut Facts) {
        facts.opening(response, "id", "model");
        let status = text(response, "status");
        let reason = response
            .pointer("/incomplete_details/reason")
            .and_then(Value::as_str);
        match status {
            "completed" => facts.stopped(Some("completed")),
            "incomplete" => facts.stopped(Some(reason.unwrap_or("incomplete"))),
            "cancelled" => facts.stopped(Some("cancelled")),
            "failed" => {}
            _ => return,
        }
        facts.reply.is_terminal = true;
        facts.reply.is_usage_final = facts.used(Api::Responses, response.get("usage"));
        let tier = response.get("service_tier").and_then(Value::as_str);
        if let (Some(usage), Some(tier)) = (&mut facts.reply.usage, tier) {
            usage.service_tier = Some(tier.to_owned());
        }
        // Codex's own upstream leaves the output empty here.
        let output = response.get("output").and_then(Value::as_array);
        if let Some(output) = output.filter(|output| !output.is_empty()) {
            self.items.clear();
            for (at, item) in (0_u64..).zip(output) {
                self.put(at, item, facts);
            }
        }
        let is_search = |item: &&Value| text(item, "type") == "web_search_call";
        facts.searches = self.items.values().filter(is_search).count() as u64;
    }

    /// Takes a whole response.
    pub(super) fn whole(&mut self, body: Value, facts: &mut Facts) {
        facts.output_bytes += body
            .get("output")
            .map_or(0, |output| output.to_string().len() as u64);
        self.response(&body, facts);
    }

    pub(super) fn finish(self) -> Vec<Value> {
        self.items
            .into_values()
            .filter(|item| !is_blank(item))
            .collect()
    }
}
