//! What a reply used, in one count for all APIs.
//!
//! The APIs disagree about what includes what; here nothing includes anything
//! except `output`, which includes `reasoning`. Sums saturate, and a part larger
//! than its whole makes the rest 0: foreign numbers never wrap.

use serde_json::Value;

use super::api::Api;

/// Tokens and extras of one reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens that were neither read from nor written to a cache.
    pub input: u64,
    /// Prompt tokens read from a cache.
    pub cache_read: u64,
    /// Prompt tokens written to a cache for 5 minutes, or for a time the API
    /// does not say.
    pub cache_write_5m: u64,
    /// Prompt tokens written to a cache for one hour.
    pub cache_write_1h: u64,
    /// All tokens billed as output, reasoning included.
    pub output: u64,
    /// The part of the output that was reasoning.
    pub reasoning: u64,
    /// Searches by the upstream, each with a fee.
    pub web_searches: u64,
    /// The tier that was billed, if it is said.
    pub service_tier: Option<String>,
    /// The speed that was billed, if it is said (Anthropic fast mode).
    pub speed: Option<String>,
    /// Where it ran, if it is said (Anthropic `inference_geo`).
    pub region: Option<String>,
    /// Work of other models within the same reply, at their own prices.
    pub others: Vec<(String, Usage)>,
}

impl Usage {
    /// Returns all tokens together, other models' too.
    pub fn tokens(&self) -> u64 {
        let own = [
            self.input,
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
            self.output,
        ];
        let others = self.others.iter().map(|(_, usage)| usage.tokens());
        own.into_iter().chain(others).fold(0, u64::saturating_add)
    }

    /// Returns the tokens that went in.
    pub fn prompt(&self) -> u64 {
        let parts = [self.cache_read, self.cache_write_5m, self.cache_write_1h];
        parts.into_iter().fold(self.input, u64::saturating_add)
    }

    fn add(&mut self, more: &Self) {
        let pairs = [
            (&mut self.input, more.input),
            (&mut self.cache_read, more.cache_read),
            (&mut self.cache_write_5m, more.cache_write_5m),
            (&mut self.cache_write_1h, more.cache_write_1h),
            (&mut self.output, more.output),
            (&mut self.reasoning, more.reasoning),
            (&mut self.web_searches, more.web_searches),
        ];
        for (own, more) in pairs {
            *own = own.saturating_add(more);
        }
    }
}

/// Reads a usage object; `None` if it counts nothing.
///
/// - `model`: the model that answered, to tell its own work from others'.
pub(super) fn read(api: Api, usage: &Value, model: Option<&str>) -> Option<Usage> {
    match api {
        Api::Messages => messages(usage, model),
        Api::CountTokens => None,
        Api::Chat => open_ai(usage, "prompt_tokens", "completion_tokens"),
        Api::Responses => open_ai(usage, "input_tokens", "output_tokens"),
        Api::Gemini => gemini(usage),
    }
}

fn count(value: &Value, path: &str) -> Option<u64> {
    let found = value.pointer(path)?;
    // Some gateways count in floats.
    let float = || found.as_f64().filter(|float| *float >= 0.0);
    found
        .as_u64()
        .or_else(|| float().map(|float| float.ceil() as u64))
}

/// Reports whether a usage object counts what went in and what came out: what it leaves
/// out, or gives as no number, is not known.
pub(super) fn is_whole(api: Api, usage: &Value) -> bool {
    let has = |name: &str| count(usage, name).is_some();
    match api {
        Api::Messages => has("/input_tokens") && has("/output_tokens"),
        Api::CountTokens => false,
        Api::Chat => has("/prompt_tokens") && (has("/completion_tokens") || has("/total_tokens")),
        Api::Responses => has("/input_tokens") && (has("/output_tokens") || has("/total_tokens")),
        // It leaves out what is 0.
        Api::Gemini => {
            let came_out = ["/candidatesTokenCount", "/thoughtsTokenCount"];
            has("/promptTokenCount") && (has("/totalTokenCount") || came_out.into_iter().any(has))
        }
    }
}

fn word(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// Anthropic: the input is without what went through the cache.
fn messages(usage: &Value, model: Option<&str>) -> Option<Usage> {
    let mut total = one_iteration(usage)?;
    // The list is bounded with the frame it came in.
    let iterations = usage.get("iterations").and_then(Value::as_array);
    for entry in iterations.into_iter().flatten() {
        let Some(part) = one_iteration(entry) else {
            continue;
        };
        let kind = entry
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or("message");
        let other = entry
            .get("model")
            .and_then(Value::as_str)
            .filter(|name| Some(*name) != model);
        match (kind, other) {
            // The sum of these is what stands outside the list.
            ("message", None) => {}
            (_, Some(other)) => total.others.push((other.to_owned(), part)),
            // Compactions, and what is new, are not in the numbers outside.
            (_, None) => total.add(&part),
        }
    }
    Some(total)
}

fn one_iteration(usage: &Value) -> Option<Usage> {
    let (input, output) = (
        count(usage, "/input_tokens"),
        count(usage, "/output_tokens"),
    );
    if input.is_none() && output.is_none() {
        return None;
    }
    let hour = count(usage, "/cache_creation/ephemeral_1h_input_tokens").unwrap_or(0);
    let five = count(usage, "/cache_creation/ephemeral_5m_input_tokens").unwrap_or(0);
    let written = count(usage, "/cache_creation_input_tokens");
    Some(Usage {
        input: input.unwrap_or(0),
        cache_read: count(usage, "/cache_read_input_tokens").unwrap_or(0),
        // In streams the split may cover the first iteration only.
        cache_write_5m: written.map_or(five, |total| total.saturating_sub(hour)),
        cache_write_1h: hour,
        output: output.unwrap_or(0),
        reasoning: count(usage, "/output_tokens_details/thinking_tokens").unwrap_or(0),
        web_searches: count(usage, "/server_tool_use/web_search_requests").unwrap_or(0),
        service_tier: word(usage, "service_tier"),
        speed: word(usage, "speed"),
        region: word(usage, "inference_geo"),
        others: Vec::new(),
    })
}

/// OpenAI: the input includes the cache, the output the reasoning.
fn open_ai(usage: &Value, input: &str, output: &str) -> Option<Usage> {
    let at = |name: &str, detail: &str| count(usage, &format!("/{name}{detail}"));
    let (prompt, answer) = (at(input, ""), at(output, ""));
    if prompt.is_none() && answer.is_none() {
        return None;
    }
    // Some servers count reasoning in the total alone.
    let total = count(usage, "/total_tokens").unwrap_or(0);
    let beyond = total.saturating_sub(prompt.unwrap_or(total));
    let cache_read = at(input, "_details/cached_tokens").unwrap_or(0);
    let cache_write = at(input, "_details/cache_write_tokens").unwrap_or(0);
    Some(Usage {
        input: prompt
            .unwrap_or(0)
            .saturating_sub(cache_read)
            .saturating_sub(cache_write),
        cache_read,
        cache_write_5m: cache_write,
        output: answer.unwrap_or(0).max(beyond),
        reasoning: at(output, "_details/reasoning_tokens").unwrap_or(0),
        service_tier: word(usage, "service_tier"),
        ..Usage::default()
    })
}

/// Gemini: thoughts stand beside the candidates, tool prompts beside the prompt.
fn gemini(usage: &Value) -> Option<Usage> {
    let at = |name: &str| count(usage, &format!("/{name}"));
    let prompt = at("promptTokenCount")?;
    let cache_read = at("cachedContentTokenCount").unwrap_or(0);
    let reasoning = at("thoughtsTokenCount").unwrap_or(0);
    let tool_prompt = at("toolUsePromptTokenCount").unwrap_or(0);
    let read = prompt.saturating_add(tool_prompt);
    let beyond = at("totalTokenCount").unwrap_or(0).saturating_sub(read);
    Some(Usage {
        input: prompt
            .saturating_sub(cache_read)
            .saturating_add(tool_prompt),
        cache_read,
        output: at("candidatesTokenCount")
            .unwrap_or(0)
            .saturating_add(reasoning)
            .max(beyond),
        reasoning,
        service_tier: word(usage, "serviceTier").or_else(|| word(usage, "trafficType")),
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn usage(input: u64, cache: [u64; 3], output: u64, reasoning: u64) -> Usage {
        let [cache_read, cache_write_5m, cache_write_1h] = cache;
        Usage {
            input,
            cache_read,
            cache_write_5m,
            cache_write_1h,
            output,
            reasoning,
            ..Usage::default()
        }
    }

    #[test]
    fn usage_table() {
        #[rustfmt::skip]
        let rows = [
            ("Anthropic's input is without the cache", Api::Messages,
             json!({"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 30, "output_tokens": 5}),
             usage(10, [100, 30, 0], 5, 0)),
            ("what the split leaves out is priced at 5 minutes", Api::Messages,
             json!({"input_tokens": 1, "cache_creation_input_tokens": 100, "output_tokens": 1,
                    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 40}}),
             usage(1, [0, 60, 40], 1, 0)),
            ("a split without a total counts", Api::Messages,
             json!({"input_tokens": 1, "output_tokens": 1, "cache_creation": {"ephemeral_5m_input_tokens": 7}}),
             usage(1, [0, 7, 0], 1, 0)),
            ("thinking is part of the output", Api::Messages,
             json!({"input_tokens": 1, "output_tokens": 90, "output_tokens_details": {"thinking_tokens": 80}}),
             usage(1, [0, 0, 0], 90, 80)),
            ("a compaction is not in the sum, a message is", Api::Messages,
             json!({"input_tokens": 20, "output_tokens": 30, "iterations": [
                {"type": "compaction", "input_tokens": 1000, "output_tokens": 50},
                {"type": "message", "input_tokens": 20, "output_tokens": 30}]}),
             usage(1020, [0, 0, 0], 80, 0)),
            ("OpenAI's input includes the cache", Api::Chat,
             json!({"prompt_tokens": 100, "completion_tokens": 20,
                    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
                    "completion_tokens_details": {"reasoning_tokens": 15, "rejected_prediction_tokens": 2}}),
             usage(30, [60, 10, 0], 20, 15)),
            ("Responses likewise", Api::Responses,
             json!({"input_tokens": 100, "output_tokens": 20, "input_tokens_details": {"cached_tokens": 60},
                    "output_tokens_details": {"reasoning_tokens": 15}}),
             usage(40, [60, 0, 0], 20, 15)),
            ("reasoning that only the total counts is output", Api::Chat,
             json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 920}),
             usage(100, [0, 0, 0], 820, 0)),
            ("Gemini's total counts what its parts leave out", Api::Gemini,
             json!({"promptTokenCount": 50, "candidatesTokenCount": 7, "totalTokenCount": 90}),
             usage(50, [0, 0, 0], 40, 0)),
            ("a cache larger than the prompt wraps nothing", Api::Chat,
             json!({"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}}),
             usage(0, [9, 0, 0], 1, 0)),
            ("Gemini's thoughts are billed beside the candidates", Api::Gemini,
             json!({"promptTokenCount": 50, "cachedContentTokenCount": 20, "candidatesTokenCount": 7,
                    "thoughtsTokenCount": 9, "toolUsePromptTokenCount": 3, "totalTokenCount": 69}),
             usage(33, [20, 0, 0], 16, 9)),
        ];
        for (name, api, value, want) in rows {
            assert_eq!(read(api, &value, Some("m")), Some(want), "row: {name}");
        }
        assert_eq!(read(Api::Chat, &json!({"total": 1}), None), None);
    }

    #[test]
    fn half_a_count_is_none() {
        #[rustfmt::skip]
        let rows = [
            ("both",                      Api::Messages,  json!({"input_tokens": 1, "output_tokens": 0}), true),
            ("nothing came out",          Api::Messages,  json!({"input_tokens": 1}), false),
            ("less than nothing",         Api::Messages,  json!({"input_tokens": 1, "output_tokens": -1}), false),
            ("no number",                 Api::Chat,      json!({"prompt_tokens": 1, "completion_tokens": "1"}), false),
            ("the total says the rest",   Api::Chat,      json!({"prompt_tokens": 1, "total_tokens": 2}), true),
            ("nothing went in",           Api::Responses, json!({"output_tokens": 1}), false),
            ("Gemini leaves out a 0",     Api::Gemini,    json!({"promptTokenCount": 1, "totalTokenCount": 1}), true),
            ("but not everything",        Api::Gemini,    json!({"promptTokenCount": 1}), false),
        ];
        for (name, api, usage, want) in rows {
            assert_eq!(is_whole(api, &usage), want, "row: {name}");
        }
    }

    #[test]
    fn other_models_keep_their_own_count() {
        let value = json!({"input_tokens": 5, "output_tokens": 6, "iterations": [
            {"type": "message", "model": "m", "input_tokens": 5, "output_tokens": 6},
            {"type": "advisor_message", "model": "large", "input_tokens": 70, "output_tokens": 8}]});
        let read = read(Api::Messages, &value, Some("m")).unwrap();
        assert_eq!((read.input, read.output), (5, 6));
        assert_eq!(
            read.others,
            [("large".to_owned(), usage(70, [0, 0, 0], 8, 0))]
        );
        assert_eq!(read.tokens(), 89);
    }
}
