//! JSON-RPC responses of MCP servers.
//!
//! A failure is a JSON-RPC `error`, a result with `isError`, or a result whose whole
//! text is an error, unless the tool reads documents. A failed process inside the result is
//! read as a process; a short answer of a tool that changes something may say in words
//! that it failed. Source: Model Context Protocol, "Tools: error handling"; JSON-RPC 2.0 §5.1.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::acting;
use super::batch;
use super::envelope;
use super::fault::Fault;
use super::http::{add_markup, parsed, tool_words};
use super::meaning::{Meaning, Weight};
use super::observation::{Kind, Observation, integer_of, is_blank};
use super::outcome::{Delivery, Outcome};
use super::text::{disarm, regex};
use super::words;

/// Finds out what an MCP response amounts to.
pub(super) fn outcome(observation: &Observation) -> Outcome {
    let unwrapped = match &observation.result {
        Value::String(text) => message_in(text),
        other => Some(other.clone()),
    };
    let response = unwrapped.unwrap_or(Value::Null);
    if let Some(error) = response.get("error").filter(|error| !error.is_null()) {
        return Outcome::Failed(Box::new(protocol_fault(error)));
    }
    let Some(result) = response.get("result").filter(|result| !result.is_null()) else {
        let delivery = Delivery {
            must_not_be_empty: true,
            evidence: "a response without result".to_owned(),
            ..Delivery::default()
        };
        return Outcome::Delivered(Box::new(delivery));
    };
    tool_outcome(observation, result)
}

/// Returns the process a tool that runs commands reports about, if it failed.
///
/// `{"exitCode": 1, "stdout": …, "stderr": …}` is told by its fields, under any tool name.
pub(super) fn failed_process(observation: &Observation) -> Option<Observation> {
    let result = observation.result.get("result")?;
    let json = result
        .get("structuredContent")
        .filter(|content| content.is_object())
        .cloned()
        .or_else(|| parsed(&content_text(result)))?;
    let of = |names: &[&str]| names.iter().find_map(|name| json.get(*name)).cloned();
    let stdout = of(&["stdout", "output"]);
    let stderr = of(&["stderr"]);
    stdout.as_ref().or(stderr.as_ref())?;
    let exit_code = of(&[
        "exitCode",
        "exit_code",
        "exitcode",
        "returncode",
        "return_code",
        "exitStatus",
        "exit_status",
    ]);
    let timed_out = of(&["timedOut", "timed_out", "timeout"]) == Some(Value::Bool(true));
    let is_failed = integer_of(exit_code.as_ref()).is_some_and(|code| code != 0) || timed_out;
    is_failed.then(|| Observation {
        kind: Kind::Exec,
        result: serde_json::json!({
            "exit_code": exit_code,
            "signal": of(&["signal"]),
            "stdout": stdout,
            "stderr": stderr,
            "timed_out": timed_out,
        }),
        ..observation.clone()
    })
}

/// A response that came as text: plain JSON, or the last event of a stream.
fn message_in(text: &str) -> Option<Value> {
    parsed(text).or_else(|| {
        let events = envelope::events(text)?;
        events
            .into_iter()
            .rev()
            .map(|event| event.data)
            .find(|data| data.get("result").or(data.get("error")).is_some())
    })
}

fn protocol_fault(error: &Value) -> Fault {
    let code = integer_of(error.get("code"));
    let mut fault = Fault::new(
        Kind::Mcp,
        code.map_or_else(
            || "JSON-RPC error".to_owned(),
            |code| format!("JSON-RPC error {code}"),
        ),
    );
    let evidence = fault.fallback.clone();
    let message = error
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // These two always carry a message, and it is always the same one: the code knows more.
    let reading = match code {
        // A server that restarted forgot its sessions; a new one is a call away.
        _ if names_lost_session(message) => Some((Meaning::Transient, Weight::Exact)),
        Some(-32_042) => Some((Meaning::Human, Weight::Exact)),
        Some(-32_700 | -32_600 | -32_601 | -32_602 | -32_002) => {
            Some((Meaning::Semantic, Weight::Broad))
        }
        Some(-32_802) => Some((Meaning::Transient, Weight::Exact)),
        Some(-32_603) if message.split_whitespace().count() <= 3 => {
            Some((Meaning::Transient, Weight::Status))
        }
        _ => None,
    };
    fault.add_reading(reading, evidence);
    match error {
        Value::Object(fields) => {
            // The number is JSON-RPC's own and no status of anything.
            let mut rest = fields.clone();
            if code.is_some_and(|code| code < 0) {
                rest.remove("code");
            }
            fault.add_json(&Value::Object(rest), "error", &Map::new());
        }
        other => fault.add_json(other, "error", &Map::new()),
    }
    fault
}

/// Whether the transport's session is gone. Source: MCP, "Session management".
fn names_lost_session(message: &str) -> bool {
    static LOST: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)^(?:bad request: )?(?:(?:unknown|invalid|no valid|expired) session\b|session\b.{0,50}\b(?:not found|expired|terminated|closed|does not exist))",
        )
    });
    LOST.is_match(message)
}

fn tool_outcome(observation: &Observation, result: &Value) -> Outcome {
    let text = content_text(result);
    let structured = result
        .get("structuredContent")
        .filter(|content| !content.is_null());
    let json = structured.cloned().or_else(|| parsed(&text));
    if let Some(items) = json
        .as_ref()
        .and_then(|json| batch::foreign(json, 200, observation))
    {
        return Outcome::Items(items);
    }
    let is_document = reads_document(observation);
    if !is_document
        && json.is_none()
        && acting::acts(observation)
        && let Some(items) = batch::counted(&text)
    {
        return Outcome::Items(items);
    }
    if let Some(items) = batch::sections(&text) {
        return Outcome::Items(items);
    }
    let says_error = result.get("isError").and_then(Value::as_bool) == Some(true);
    let is_error = if is_document {
        fetches(observation) && is_own_error(&text, json.as_ref())
    } else {
        is_error_answer(observation, &text, json.as_ref())
    };
    if says_error || is_error {
        return Outcome::Failed(Box::new(tool_fault(says_error, &text, json.as_ref())));
    }
    let waits = result
        .get("resultType")
        .and_then(Value::as_str)
        .filter(|kind| *kind != "complete");
    let json = match waits {
        Some(kind) => Some(serde_json::json!({"resultType": kind})),
        None => structured
            .cloned()
            .or_else(|| (!is_document).then_some(json).flatten()),
    };
    let delivery = Delivery {
        json: json.or_else(|| text.is_empty().then(|| other_result(result)).flatten()),
        is_document,
        evidence: "a result without isError".to_owned(),
        must_not_be_empty: produces(observation),
        text,
        ..Delivery::default()
    };
    Outcome::Delivered(Box::new(delivery))
}

/// Results of other methods (`tools/list`, `resources/read` …) are JSON without `content`.
fn other_result(result: &Value) -> Option<Value> {
    (result.get("content").is_none() && !is_blank(result)).then(|| result.clone())
}

fn content_text(result: &Value) -> String {
    match result.get("content") {
        Some(Value::Array(blocks)) => {
            let texts = blocks.iter().take(1_000).filter_map(|block| {
                let text = block
                    .get("text")
                    .or_else(|| block.get("resource")?.get("text"));
                text.and_then(Value::as_str)
                    .or_else(|| block.as_str())
                    .or_else(|| block.get("data").map(|_| "[media]"))
            });
            texts.collect::<Vec<_>>().join("\n")
        }
        Some(Value::String(text)) => text.clone(),
        _ => result.as_str().unwrap_or_default().to_owned(),
    }
}

fn tool_fault(says_error: bool, text: &str, json: Option<&Value>) -> Fault {
    let fallback = if says_error {
        "isError"
    } else {
        "the whole result is an error"
    };
    let mut fault = Fault::new(Kind::Mcp, fallback);
    match json {
        Some(json) => fault.add_json(json, "result", &Map::new()),
        None if envelope::is_markup(text) => add_markup(&mut fault, text, "result"),
        None => {
            fault.add_text(text, "result");
            if let Some(inner) = json_inside(text) {
                fault.add_json(&inner, "result", &Map::new());
            }
        }
    }
    fault
}

/// `API error 429: {"error": …}`: JSON behind a few words.
pub(super) fn json_inside(text: &str) -> Option<Value> {
    let start = text.find('{')?;
    let end = text.rfind('}')?;
    (start < 400 && end > start && end - start < 32 * 1024)
        .then(|| serde_json::from_str(&text[start..=end]).ok())
        .flatten()
}

fn is_error_answer(observation: &Observation, text: &str, json: Option<&Value>) -> bool {
    if let Some(json) = json {
        return envelope::is_error(json) || acting::refuses(observation, json);
    }
    envelope::xml_error(text).is_some()
        || envelope::error_page(text).is_some()
        || !searches(observation)
            && (envelope::is_error_text(text) || is_failure_notice(observation, text))
}

/// Whether the short answer of a tool that changes something says that it did not.
///
/// Its first words decide, before any colon: behind it stand names, such as a title.
fn is_failure_notice(observation: &Observation, text: &str) -> bool {
    static FAILS: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"(?i)^\W*(?:sorry,? )?(?:[\w'.-]+ ){0,6}?(?:failed|error|exception|could not|couldn't|cannot|can't|unable to|not (?:been )?(?:found|sent|done|made|\w{2,}ed)|(?:don't|doesn't|do not|does not) have (?:the )?(?:permission|access|rights)|denied|forbidden|went wrong|(?:limit|quota) (?:exceeded|reached)|timed out|unavailable)\b",
            r"|\b(?:please (?:re-?try|try again)|try again (?:later|in))\b|^\W*http [45]\d\d\s*(?:[:(-]|$)",
        ))
    });
    static DENIES: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)\b(no|0|zero|without|fixed|resolved|last|any|if|when|not (needed|required|changed|modified|used|affected|installed))\b",
        )
    });
    let text = text.trim();
    let first = text.split(": ").next().unwrap_or_default();
    text.len() <= 300
        && text.lines().count() <= 3
        && acting::acts(observation)
        && !acting::reports(first)
        && (words::read(disarm(first)) == Some(Meaning::Cost)
            || FAILS
                .find(first)
                .is_some_and(|found| !DENIES.is_match(found.as_str())))
}

/// Whether a tool that hands out documents speaks for itself: a flag that says no, or one line.
fn is_own_error(text: &str, json: Option<&Value>) -> bool {
    if let Some(json) = json {
        let says_no = ["ok", "success"]
            .iter()
            .any(|name| json.get(*name) == Some(&Value::Bool(false)));
        return says_no && envelope::is_error(json);
    }
    text.len() <= 300 && text.trim().lines().count() == 1 && envelope::is_error_text(text)
}

fn words_of(observation: &Observation) -> Vec<String> {
    let called = observation
        .known("call")
        .and_then(|call| call.get("name"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut words = tool_words(&observation.tool);
    words.extend(tool_words(called));
    words
}

/// Whether the tool hands out documents: their content is nobody's error.
fn reads_document(observation: &Observation) -> bool {
    words_of(observation).iter().any(|word| {
        matches!(
            word.as_str(),
            "read"
                | "cat"
                | "grep"
                | "log"
                | "logs"
                | "tail"
                | "head"
                | "view"
                | "file"
                | "files"
                | "download"
                | "fetch"
                | "open"
                | "document"
                | "page"
                | "snippet"
                | "journal"
                | "transcript"
                | "scrape"
                | "crawl"
                | "message"
                | "messages"
                | "email"
                | "emails"
                | "comment"
                | "comments"
        )
    }) && !acting::does(observation)
}

/// Whether the documents come from elsewhere, so that getting them is a task of its own.
fn fetches(observation: &Observation) -> bool {
    words_of(observation).iter().any(|word| {
        matches!(
            word.as_str(),
            "fetch" | "download" | "scrape" | "crawl" | "page" | "open"
        )
    })
}

/// Whether the tool is there to make a text, so that nothing is no answer.
fn produces(observation: &Observation) -> bool {
    words_of(observation).iter().any(|word| {
        matches!(
            word.as_str(),
            "transcribe"
                | "summarise"
                | "summarize"
                | "translate"
                | "generate"
                | "describe"
                | "explain"
                | "analyse"
                | "analyze"
                | "extract"
                | "ocr"
                | "caption"
        )
    })
}

/// Whether the tool hands out finds, which may begin like an error.
fn searches(observation: &Observation) -> bool {
    words_of(observation).iter().any(|word| {
        matches!(
            word.as_str(),
            "search"
                | "find"
                | "list"
                | "lookup"
                | "issue"
                | "issues"
                | "ticket"
                | "tickets"
                | "echo"
                | "translate"
                | "docs"
        )
    }) && !acting::does(observation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fails(tool: &str, response: Value) -> bool {
        let observation =
            Observation::from_value(json!({"kind": "mcp", "tool": tool, "result": response}));
        matches!(outcome(&observation), Outcome::Failed(_))
    }

    fn saying(text: &str) -> Value {
        json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": text}]}})
    }

    #[test]
    fn failure_table() {
        #[rustfmt::skip]
        let rows = [
            ("a protocol error", "x", json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "bad"}}), true),
            ("isError", "x", json!({"result": {"isError": true, "content": []}}), true),
            ("a text that is an error", "create_issue", saying("Error: 403 Forbidden"), true),
            ("a JSON text that is an error", "create_issue", saying("{\"error\": {\"code\": 403}}"), true),
            ("a file that holds an error", "read_file", saying("{\"error\": {\"code\": 403}}"), false),
            ("a find that begins like an error", "search_docs", saying("Error: what it means"), false),
            ("a plain answer", "add", saying("3"), false),
        ];
        for (name, tool, response, want) in rows {
            assert_eq!(fails(tool, response), want, "row: {name}");
        }
    }
}
