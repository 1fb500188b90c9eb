//! Gemini, whose whole body and every chunk have the same shape.

use serde_json::{Map, Value, json};

use super::{Api, Facts, Stop, is_blank, text};

/// Parts of the first candidate.
#[derive(Debug, Default)]
pub(super) struct Fold {
    parts: Vec<Value>,
}

impl Fold {
    /// Takes one chunk; returns whether it is content.
    pub(super) fn take(&mut self, event: &Value, facts: &mut Facts) -> bool {
        facts.opening(event, "responseId", "modelVersion");
        let mut is_content = false;
        let candidates = event.get("candidates").and_then(Value::as_array);
        for candidate in candidates.into_iter().flatten() {
            let is_first = super::index(candidate, "index") == 0;
            let parts = candidate
                .pointer("/content/parts")
                .and_then(Value::as_array);
            for part in parts.into_iter().flatten() {
                let fields = part.as_object().into_iter().flatten();
                let is_said = |name: &str| !matches!(name, "thought" | "thoughtSignature");
                is_content |= fields
                    .into_iter()
                    .any(|(name, value)| is_said(name) && !is_blank(value));
                self.put(part, is_first, facts);
            }
            if is_first {
                self.ending(candidate, facts);
            }
        }
        if let Some(reason) = event
            .pointer("/promptFeedback/blockReason")
            .and_then(Value::as_str)
        {
            facts.stop = Some(Stop::Refusal(reason.to_owned()));
            facts.reply.is_terminal = true;
        }
        let has_usage = facts.used(Api::Gemini, event.get("usageMetadata"));
        facts.reply.is_usage_final |= has_usage && facts.reply.is_terminal;
        is_content
    }

    fn ending(&mut self, candidate: &Value, facts: &mut Facts) {
        let queries = candidate.pointer("/groundingMetadata/webSearchQueries");
        let queries = queries.and_then(Value::as_array).map_or(0, Vec::len);
        facts.searches = facts.searches.max(queries as u64);
        let reason = candidate.get("finishReason").and_then(Value::as_str);
        let reason = reason.filter(|word| *word != "FINISH_REASON_UNSPECIFIED");
        facts.reply.is_terminal |= reason.is_some();
        facts.stopped(reason);
    }

    fn put(&mut self, part: &Value, is_first: bool, facts: &mut Facts) {
        let piece = text(part, "text");
        if piece.is_empty() || !is_first {
            let call = part.get("functionCall").map(|call| call.to_string().len());
            facts.output_bytes += (call.unwrap_or(0) + piece.len()) as u64;
            let is_empty = piece.is_empty()
                && part
                    .as_object()
                    .is_some_and(|fields| fields.keys().all(|key| key == "text"));
            if is_first && !is_empty && facts.has_room(self.parts.len()) {
                self.parts.push(part.clone());
            }
            return;
        }
        let plain = |value: &Value| {
            let is_plain = |fields: &Map<String, Value>| {
                fields.keys().all(|key| key == "text" || key == "thought")
            };
            value.as_object().is_some_and(is_plain) && value.get("text").is_some()
        };
        let is_same = |last: &&mut Value| {
            plain(part) && plain(last) && last.get("thought") == part.get("thought")
        };
        if let Some(last) = self.parts.last_mut().filter(is_same) {
            facts.append_at(last, "text", piece);
            return;
        }
        facts.output_bytes += piece.len() as u64;
        if facts.has_room(self.parts.len()) {
            self.parts.push(part.clone());
        }
    }

    pub(super) fn finish(self) -> Vec<Value> {
        match self.parts.is_empty() {
            true => Vec::new(),
            false => vec![json!({"role": "model", "parts": self.parts})],
        }
    }
}
