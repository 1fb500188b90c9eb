//! What the supervisor answered, in the words of MCP.
//!
//! Pure. A result of a server goes to the client as it was, unless the supervisor has
//! something to add; what the supervisor says itself becomes a result with `isError`,
//! since that is what a model gets to read.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::message::{self, field, with_field};
use crate::channel::client::Error;
use crate::channel::frame::Code;

/// An answer to `tool`, `lend` or `lend_end`, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    /// The call's number in the run.
    pub(super) call: u64,
    /// A try to carry out; absent in the answer of the call.
    pub(super) attempt: Option<u64>,
    /// How long it may take.
    pub(super) timeout_ms: u64,
    /// The key of a write.
    pub(super) key: Option<String>,
    /// Where the tool takes it.
    pub(super) native_key: Option<NativeKey>,
    content: String,
    json: Option<Box<RawValue>>,
    is_error: bool,
    /// Of a batch: whether what had to succeed did.
    met: Option<bool>,
    class: String,
    /// The file with the whole response.
    pub(super) output_path: Option<String>,
    verdict: String,
    text: Option<String>,
    reason: Option<String>,
    exit_code: Option<u8>,
}

/// Where a lent tool takes its key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NativeKey {
    Argument(String),
    Meta(String),
}

impl Answer {
    /// Reads it.
    pub(super) fn read(json: &str) -> Result<Self, String> {
        let mut answer: Self = serde_json::from_str(json).map_err(|error| {
            format!("agentguard's own answer cannot be read ({error}); its versions may differ")
        })?;
        // A batch is told as it is: each item with its end.
        if let Some(met) = answer.met {
            (answer.content, answer.is_error) = (json.to_owned(), !met);
        }
        Ok(answer)
    }

    /// Whether what a server said is what the client gets: what kept failing below is
    /// told in the supervisor's words instead.
    pub(super) fn is_servers_own(&self) -> bool {
        matches!(
            self.class.as_str(),
            "success" | "partial" | "semantic" | "unrecoverable"
        )
    }

    /// Returns what the model is told besides, and whether the run is ending.
    fn added(&self) -> Option<(String, bool)> {
        match self.verdict.as_str() {
            "steer" => self.text.clone().map(|text| (text, false)),
            "stop" => {
                let reason = self.text.as_ref().or(self.reason.as_ref());
                let reason = reason.map(String::as_str).unwrap_or("its limits");
                Some((ending(reason, self.exit_code), true))
            }
            _ => None,
        }
    }

    /// Makes a result of the supervisor's own words.
    ///
    /// - `has_schema`: the tool declares what its JSON looks like.
    pub(super) fn result(&self, has_schema: bool, is_modern: bool) -> String {
        let mut content = vec![text_block(&self.content)];
        let added = self.added();
        let is_ending = added.as_ref().is_some_and(|(_, ends)| *ends);
        content.extend(added.map(|(text, _)| text_block(&text)));
        let is_error = self.is_error || is_ending;
        let result = json!({"content": content, "isError": is_error}).to_string();
        let object = |raw: &&RawValue| raw.get().starts_with('{');
        let structured = self.json.as_deref().filter(object);
        let result = match structured.filter(|_| has_schema && !is_error) {
            Some(json) => with_field(&result, "structuredContent", json.get()),
            None => result,
        };
        in_era(result, is_modern)
    }

    /// Fits the `result` of a server to what the supervisor says of it.
    pub(super) fn fit(&self, result: &RawValue) -> String {
        let Some((text, is_ending)) = self.added() else {
            return result.get().to_owned();
        };
        let block = text_block(&text).to_string();
        let content = match field(Some(result), "content").map(RawValue::get) {
            Some(list) if list.starts_with('[') => {
                let inside = list[1..list.len() - 1].trim();
                match inside {
                    "" => format!("[{block}]"),
                    inside => format!("[{inside},{block}]"),
                }
            }
            _ => format!("[{block}]"),
        };
        let fitted = with_field(result.get(), "content", &content);
        match is_ending {
            true => with_field(&fitted, "isError", "true"),
            false => fitted,
        }
    }
}

/// Makes the result of a call that was not carried out because of `error`.
pub(super) fn refused(error: &Error, is_modern: bool) -> String {
    let text = match error {
        Error::Refused { code, data, .. } if *code == i64::from(Code::Stopping.number()) => {
            let reason = data.get("reason").and_then(Value::as_str);
            let exit_code = data.get("exit_code").and_then(Value::as_u64);
            let exit_code = exit_code.and_then(|code| u8::try_from(code).ok());
            ending(reason.unwrap_or("its limits"), exit_code)
        }
        Error::Gone { .. } | Error::Unanswered { .. } => {
            "The supervisor of this run is gone, so no tool is called any more. Stop here.".into()
        }
        other => format!("agentguard did not take the call: {other}."),
    };
    failed(&text, is_modern)
}

/// Makes a result that says why there is none.
pub(super) fn failed(text: &str, is_modern: bool) -> String {
    let result = json!({"content": [text_block(text)], "isError": true});
    in_era(result.to_string(), is_modern)
}

/// In the era without a handshake every result says what it is.
pub(super) fn in_era(result: String, is_modern: bool) -> String {
    match is_modern {
        true => with_field(&result, "resultType", "\"complete\""),
        false => result,
    }
}

fn ending(reason: &str, exit_code: Option<u8>) -> String {
    let code = exit_code.map_or_else(String::new, |code| format!(" (exit code {code})"));
    format!("The run is being ended{code}: {reason}. Stop here; further calls are not carried out.")
}

fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// Returns the answer line for a kept response, which has a `result` or an `error`.
pub(super) fn again(id: &str, response: &str, answer: &Answer) -> Option<String> {
    let response = serde_json::from_str::<&RawValue>(response).ok()?;
    if let Some(error) = field(Some(response), "error") {
        return Some(message::error_as_it_is(id, error.get()));
    }
    let result = field(Some(response), "result")?;
    Some(message::result(id, &answer.fit(result)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: Value) -> Answer {
        Answer::read(&json.to_string()).unwrap()
    }

    #[test]
    fn results_table() {
        let plain = json!({"call": 1, "content": "{\"a\":1}", "json": {"a": 1}, "class": "success", "verdict": "go"});
        let stop = json!({"content": "x", "class": "success", "verdict": "stop", "reason": "loop", "exit_code": 22});
        let steer =
            json!({"content": "x", "class": "success", "verdict": "steer", "text": "another way"});
        #[rustfmt::skip]
        let rows = [
            ("text only, without a schema", &plain, false, false, r#"{"content":[{"text":"{\"a\":1}","type":"text"}],"isError":false}"#),
            ("with structure, under one", &plain, true, false, r#"{"structuredContent":{"a":1},"content":[{"text":"{\"a\":1}","type":"text"}],"isError":false}"#),
            ("of the era without a handshake", &json!({"content": "x", "is_error": true}), false, true, r#"{"resultType":"complete","content":[{"text":"x","type":"text"}],"isError":true}"#),
            ("a steer is one text more", &steer, false, false, r#"{"content":[{"text":"x","type":"text"},{"text":"another way","type":"text"}],"isError":false}"#),
        ];
        for (name, json, has_schema, is_modern, want) in rows {
            assert_eq!(
                answer(json.clone()).result(has_schema, is_modern),
                want,
                "row: {name}"
            );
        }
        let stopped = answer(stop).result(true, false);
        assert!(stopped.contains("(exit code 22): loop.") && stopped.contains("\"isError\":true"));
    }

    #[test]
    fn a_batch_is_told_with_each_of_its_items() {
        let whole = json!({"batch": 1, "met": false, "items": [{"id": "7", "status": "dead"}], "verdict": "go"});
        let result: Value = serde_json::from_str(&answer(whole).result(false, false)).unwrap();
        assert_eq!(result["isError"], true);
        assert!(
            result["content"][0]["text"]
                .as_str()
                .unwrap()
                .contains("\"status\":\"dead\"")
        );
    }

    #[test]
    fn what_a_server_said_stays_as_it_was() {
        let result = r#"{ "content": [ {"type":"image","data":"AA=="} ], "big": 123456789012345678901234567890 }"#;
        let raw = RawValue::from_string(result.to_owned()).unwrap();
        assert_eq!(answer(json!({"verdict": "go"})).fit(&raw), result);
        let fitted = answer(json!({"verdict": "steer", "text": "t"})).fit(&raw);
        assert!(
            fitted.contains(r#"{"type":"image","data":"AA=="},{"text":"t","type":"text"}]"#),
            "{fitted}"
        );
        assert!(fitted.contains("123456789012345678901234567890"));
        let fitted = answer(json!({"verdict": "stop", "reason": "budget"})).fit(&raw);
        assert!(fitted.contains("\"isError\":true") && fitted.contains("budget"));
        for odd in ["{}", r#"{"content":[]}"#, r#"{"content":7}"#] {
            let raw = RawValue::from_string(odd.to_owned()).unwrap();
            let fitted = answer(json!({"verdict": "steer", "text": "t"})).fit(&raw);
            assert!(serde_json::from_str::<Value>(&fitted).unwrap()["content"][0]["text"] == "t");
        }
    }

    #[test]
    fn a_kept_response_answers_again() {
        let go = answer(json!({"verdict": "go"}));
        let line = again("\"x\"", r#"{"jsonrpc":"2.0","id":3,"result":{"a":1}}"#, &go);
        assert_eq!(
            line.as_deref(),
            Some(r#"{"jsonrpc":"2.0","id":"x","result":{"a":1}}"#)
        );
        let line = again("1", r#"{"error":{"code":1,"message":"m"}}"#, &go).unwrap();
        assert_eq!(
            line,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}"#
        );
        assert_eq!(again("1", "{}", &go), None);
        assert_eq!(again("1", "no JSON", &go), None);
    }
}
