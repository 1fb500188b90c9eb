//! A try that somebody else carried out: an MCP server, behind `agentguard mcp proxy`.
//!
//! The response comes back as it came from the server, and is kept whole in a file:
//! a repeat of the call is answered with it, pictures and all.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Job;
use super::content::{self, Stream};
use super::home::Home;
use super::toolbox::Outcome;
use crate::machine::event::Delivery;
use crate::policy::taxonomy::Kind;

/// JSON-RPC codes for a call without an answer, as MCP clients use them.
const CONNECTION_CLOSED: i64 = -32_000;
const REQUEST_TIMED_OUT: i64 = -32_001;

/// Why there is no answer, where whoever asked wants none any more.
const CANCELLED: &str = "cancelled";

/// What came of a try that somebody else carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum GivenBack {
    /// The server answered: a JSON-RPC response, `result` or `error`.
    Response(Value),
    /// It was sent, and there is no answer.
    Lost {
        /// Why.
        why: String,
    },
    /// It was not answered within the time of the tool.
    Late {
        /// The time, in milliseconds.
        timeout_ms: u64,
    },
    /// It was never sent.
    Unsent {
        /// Why.
        why: String,
    },
}

/// Says what a try amounts to.
pub(super) fn ended(home: &Home, job: &Job, back: GivenBack, took_ms: u64) -> Outcome {
    let failed = |code: i64, message: String| json!({"error": {"code": code, "message": message}});
    let without_answer = |why: String| match why.as_str() {
        // Nobody's failure: neither the tool's nor the way's to it.
        CANCELLED => json!({"result": {
            "isError": true, "content": [{"type": "text", "text": "The call was cancelled."}],
        }}),
        _ => failed(CONNECTION_CLOSED, why),
    };
    let (response, delivery) = match back {
        GivenBack::Response(response) => (response, Delivery::Answered),
        GivenBack::Lost { why } => (without_answer(why), Delivery::Unknown),
        GivenBack::Unsent { why } => (without_answer(why), Delivery::NeverSent),
        GivenBack::Late { timeout_ms } => {
            let message = format!("Request timed out after {timeout_ms} ms");
            (failed(REQUEST_TIMED_OUT, message), Delivery::Unknown)
        }
    };
    let text = text_of(&response);
    let says_error = response.pointer("/result/isError") == Some(&Value::Bool(true));
    let succeeded = response.get("result").is_some() && !says_error;
    let path = (delivery == Delivery::Answered)
        .then(|| keep(home, job, &response).ok())
        .flatten();
    let stream = Stream {
        text: home.secrets.hide(&text).into_owned(),
        bytes_total: text.len() as u64,
        truncated: false,
        path,
    };
    Outcome {
        kind: Kind::Mcp,
        result: response,
        context: Map::new(),
        delivery,
        content: content::of_body(None, &stream, !succeeded),
        whole: succeeded.then_some(stream.text),
        succeeded,
        took_ms,
    }
}

/// Returns what a model reads of a response.
fn text_of(response: &Value) -> String {
    if let Some(error) = response.get("error") {
        let message = error.get("message").and_then(Value::as_str);
        return message.map_or_else(|| error.to_string(), str::to_owned);
    }
    let Some(result) = response.get("result") else {
        return String::new();
    };
    let blocks = result.get("content").and_then(Value::as_array);
    let texts = blocks.into_iter().flatten().map(|block| {
        let text = block
            .get("text")
            .or_else(|| block.pointer("/resource/text"));
        let kind = block.get("type").and_then(Value::as_str);
        match (text.and_then(Value::as_str), kind) {
            (Some(text), _) => text.to_owned(),
            (None, Some(kind)) => format!("[{kind}]"),
            (None, None) => block.to_string(),
        }
    });
    let text = texts.collect::<Vec<_>>().join("\n");
    match result.get("structuredContent") {
        Some(structured) if text.is_empty() => structured.to_string(),
        _ => text,
    }
}

fn keep(home: &Home, job: &Job, response: &Value) -> io::Result<PathBuf> {
    let path = home.file(job, "response.json");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(response.to_string().as_bytes())?;
    file.sync_data()?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_reads_of_a_response() {
        #[rustfmt::skip]
        let rows = [
            ("texts, one below the other", json!({"result": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}}), "a\nb"),
            ("a picture by its kind", json!({"result": {"content": [{"type": "image", "data": "AAAA"}]}}), "[image]"),
            ("a file that is given along", json!({"result": {"content": [{"type": "resource", "resource": {"uri": "a:b", "text": "t"}}]}}), "t"),
            ("structure without a text", json!({"result": {"content": [], "structuredContent": {"a": 1}}}), "{\"a\":1}"),
            ("a protocol error", json!({"error": {"code": -32602, "message": "no such tool"}}), "no such tool"),
            ("an error without words", json!({"error": 7}), "7"),
            ("nothing", json!({}), ""),
        ];
        for (name, response, want) in rows {
            assert_eq!(text_of(&response), want, "row: {name}");
        }
    }
}
