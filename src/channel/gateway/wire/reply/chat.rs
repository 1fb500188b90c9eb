//! OpenAI Chat Completions and everything compatible, streamed and whole.

use serde_json::{Map, Value, json};

use super::{Api, Facts, index, is_blank, text};

/// The first choice; of others only the bytes are counted.
#[derive(Debug, Default)]
pub(super) struct Fold {
    content: String,
    refusal: String,
    calls: Vec<(u64, Value)>,
    /// Fields of the message that we do not put together: audio, images.
    others: Map<String, Value>,
    /// The message of a whole body, as it is.
    message: Option<Value>,
    has_finished: bool,
}

/// Reports whether a chunk has no choice and carries usage.
pub(super) fn is_usage_extra(event: &Value) -> bool {
    let no_choice = event.get("choices").is_none_or(is_blank);
    no_choice && event.get("usage").is_some_and(|usage| !is_blank(usage))
}

impl Fold {
    /// Takes one chunk; returns whether it is content.
    pub(super) fn take(&mut self, event: &Value, facts: &mut Facts) -> bool {
        facts.opening(event, "id", "model");
        let mut is_content = false;
        let choices = event.get("choices").and_then(Value::as_array);
        for choice in choices.into_iter().flatten() {
            let is_first = index(choice, "index") == 0;
            if let Some(Value::Object(delta)) = choice.get("delta") {
                is_content |= delta
                    .iter()
                    .any(|(name, value)| name != "role" && !is_blank(value));
                if is_first {
                    self.grow(delta, facts);
                } else {
                    facts.output_bytes += Value::Object(delta.clone()).to_string().len() as u64;
                }
            }
            // Text completions of old servers.
            is_content |= !text(choice, "text").is_empty();
            if is_first {
                let reason = choice.get("finish_reason").and_then(Value::as_str);
                self.has_finished |= reason.is_some();
                facts.stopped(reason);
            }
        }
        self.used(event, facts);
        is_content
    }

    fn used(&mut self, event: &Value, facts: &mut Facts) {
        // It stands beside the usage, and not in every chunk.
        if let Some(tier @ Value::String(_)) = event.get("service_tier") {
            facts.usage.insert("service_tier".to_owned(), tier.clone());
        }
        // Some servers send usage so far with every chunk.
        facts.reply.is_usage_final |=
            facts.used(Api::Chat, event.get("usage")) && self.has_finished;
    }

    fn grow(&mut self, delta: &Map<String, Value>, facts: &mut Facts) {
        for (name, value) in delta {
            match (name.as_str(), value) {
                ("content", Value::String(piece)) => facts.append(&mut self.content, piece),
                ("refusal", Value::String(piece)) => facts.append(&mut self.refusal, piece),
                ("reasoning_content" | "reasoning", Value::String(piece)) => {
                    facts.output_bytes += piece.len() as u64;
                }
                ("tool_calls", Value::Array(calls)) => {
                    calls.iter().for_each(|call| self.call(call, facts));
                }
                // The form before tools had one call and no id.
                ("function_call", function) => self.call(&json!({"function": function}), facts),
                ("role" | "reasoning_details", _) => {}
                (_, value) if is_blank(value) => {}
                (_, value) => {
                    if facts.has_room(self.others.len()) {
                        self.others.insert(name.clone(), value.clone());
                    }
                }
            }
        }
    }

    fn call(&mut self, delta: &Value, facts: &mut Facts) {
        let (at, id) = (index(delta, "index"), text(delta, "id"));
        // Some servers number every call 0; a new id is a new call.
        let is_same = |(place, call): &(u64, Value)| {
            let known = text(call, "id");
            *place == at && (id.is_empty() || known.is_empty() || known == id)
        };
        let found = self.calls.iter().rposition(is_same);
        if found.is_none() {
            if !facts.has_room(self.calls.len()) {
                return;
            }
            let opened = json!({"id": "", "type": "function"});
            self.calls.push((at, opened));
        }
        let last = self.calls.len() - 1;
        let call = &mut self.calls[found.unwrap_or(last)].1;
        if !id.is_empty() && !facts.reply.is_clipped {
            call["id"] = id.into();
        }
        for (kind, arguments) in [("function", "arguments"), ("custom", "input")] {
            let Some(piece) = delta.get(kind) else {
                continue;
            };
            if call.get(kind).is_none() {
                call["type"] = kind.into();
                call[kind] = json!({"name": "", (arguments): ""});
            }
            facts.append_at(&mut call[kind], "name", text(piece, "name"));
            facts.append_at(&mut call[kind], arguments, text(piece, arguments));
        }
    }

    /// Takes a whole completion.
    pub(super) fn whole(&mut self, body: Value, facts: &mut Facts) {
        facts.opening(&body, "id", "model");
        let first = body.pointer("/choices/0").unwrap_or(&Value::Null);
        let reason = first.get("finish_reason").and_then(Value::as_str);
        facts.stopped(reason);
        self.has_finished = reason.is_some();
        facts.reply.is_terminal = reason.is_some();
        for choice in body
            .get("choices")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let message = choice.get("message").unwrap_or(&Value::Null);
            facts.output_bytes += message.to_string().len() as u64;
        }
        self.message = first
            .get("message")
            .filter(|message| message.is_object())
            .cloned();
        self.used(&body, facts);
    }

    pub(super) fn finish(self) -> Vec<Value> {
        if let Some(message) = self.message {
            return vec![message];
        }
        let calls: Vec<Value> = self.calls.into_iter().map(|(_, call)| call).collect();
        let mut message = self.others;
        let mut put = |name: &str, value: Value| {
            if !is_blank(&value) {
                message.insert(name.to_owned(), value);
            }
        };
        put("content", self.content.into());
        put("refusal", self.refusal.into());
        put("tool_calls", calls.into());
        if message.is_empty() {
            return Vec::new();
        }
        message.insert("role".to_owned(), "assistant".into());
        vec![Value::Object(message)]
    }
}
