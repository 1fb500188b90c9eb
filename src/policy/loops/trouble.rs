//! Tells an answer from an error, and an error from an infrastructure error.
//!
//! In a live run the classifier has already said so; past traces carry only
//! `is_error` and words. The words of stored content (files, search results)
//! are never read for errors: a file that contains one was read well.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::meaning::Call;
use super::print::{Kind, Outcome};

/// What the classifier said about the result of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Nothing: no error, or nobody asked. `is_error` and the words decide.
    #[default]
    None,
    /// An error the same call will meet again.
    Semantic,
    /// An infrastructure error: rate limit, time-out, reset, 5xx.
    Transport,
}

/// Bytes of the text that may name an infrastructure error.
const ERROR_TEXT_BYTES_MAX: usize = 600;

/// Returns how the call ended.
pub(super) fn judge(
    call: &Call,
    result: &Value,
    text: &str,
    is_error: bool,
    kind: ErrorKind,
) -> Outcome {
    match kind {
        // A search that finds nothing ends with 1.
        ErrorKind::None if is_error && is_search_negative(call, text) => Outcome::Ok,
        ErrorKind::Semantic => Outcome::Error,
        ErrorKind::Transport => Outcome::Transport,
        ErrorKind::None
            if is_error
                || has_error_envelope(result)
                || opens_with_error(call, text)
                || is_refused_change(call, text) =>
        {
            if is_transport(call, text) {
                Outcome::Transport
            } else {
                Outcome::Error
            }
        }
        ErrorKind::None => Outcome::Ok,
    }
}

#[rustfmt::skip]
fn is_search_negative(call: &Call, text: &str) -> bool {
    let bare = text
        .trim()
        .trim_matches(|c: char| !c.is_alphanumeric())
        .to_ascii_lowercase();
    let silent = matches!(
        bare.as_str(),
        "" | "exit code 1"
            | "exit code: 1" | "command exited with code 1" | "no matches found" | "(no output)" | "no output"
    );
    silent
        && call
            .shell
            .as_ref()
            .is_some_and(super::shell::Shell::looks_up)
}

/// Returns whether the result says in its structure that it is an error.
fn has_error_envelope(result: &Value) -> bool {
    let Value::Object(map) = result else {
        return false;
    };
    let is = |key: &str, wanted: &[&str]| {
        map.get(key)
            .and_then(Value::as_str)
            .is_some_and(|text| wanted.contains(&text.to_ascii_lowercase().as_str()))
    };
    let code = |key: &str| map.get(key).and_then(Value::as_i64);
    map.get("isError") == Some(&Value::Bool(true))
        || map.get("is_error") == Some(&Value::Bool(true))
        || map.get("ok") == Some(&Value::Bool(false))
        || map.get("success") == Some(&Value::Bool(false))
        || map.get("error").is_some_and(|error| match error {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            _ => true,
        })
        || is("status", &["error"])
        || ["exit_code", "exitCode", "returncode", "return_code"]
            .iter()
            .any(|key| code(key).is_some_and(|code| code != 0))
        || ["status", "status_code", "statusCode"]
            .iter()
            .any(|key| code(key).is_some_and(|code| (400..600).contains(&code)))
}

/// Returns whether a text that is no stored content begins as an error.
#[rustfmt::skip]
fn opens_with_error(call: &Call, text: &str) -> bool {
    if !text.trim_start().starts_with(['e', 'E', '<', 'f', 'F', 'h', 'H', '"']) {
        return false;
    }
    let start: String = text
        .trim_start()
        .chars()
        .take(48)
        .flat_map(char::to_lowercase)
        .collect();
    let opens = [
        "error:", "error -", "error calling", "<tool_use_error>", "failed:", "exception:", "http 4", "http 5",
        "http error", "\"error\"",
    ]
    .iter()
    .any(|head| start.starts_with(head));
    // A file or a page may begin so and still have been read well, if it goes on.
    opens && (!call.shows_content() || text.len() <= 240) && call.shell.is_none()
        || start.starts_with("<tool_use_error>")
}

/// Returns whether a short answer to a change says that it was not made.
///
/// Many tools say so without marking an error, and a change that was not made
/// must never count as progress.
#[rustfmt::skip]
fn is_refused_change(call: &Call, text: &str) -> bool {
    if call.kind != Kind::Write || call.shell.is_some() || text.len() > 240 {
        return false;
    }
    let text = text.to_ascii_lowercase();
    let refused = [
        "not found", "no replacement", "no match", "did not appear", "does not exist", "failed", "could not",
        "cannot ", "unable to", "denied", "rejected", "invalid", "not applied", "error:", "must be unique",
        "multiple matches", "refused", "not allowed", "forbidden",
    ];
    let made = ["success", "0 failed", "no error", "0 error", "ok"];
    refused.iter().any(|mark| text.contains(mark)) && !made.iter().any(|mark| text.contains(mark))
}

/// Returns whether an error text speaks of the infrastructure.
#[rustfmt::skip]
fn is_transport(call: &Call, text: &str) -> bool {
    if text.len() > ERROR_TEXT_BYTES_MAX {
        return false;
    }
    let text = text.to_lowercase();
    // A failing test may be about time-outs; it is still a failing test.
    let verdict = [
        "assert", "failed,", "passed", "panicked", "--- fail", "failures:", "traceback",
    ];
    if call.shell.is_some() && verdict.iter().any(|mark| text.contains(mark)) {
        return false;
    }
    let timed_out = [
        "timed out", "timeout", "time-out", "deadline exceeded", "timedout",
    ]
    .iter()
    .any(|mark| text.contains(mark));
    // A browser that waits for something that is not on the page is no outage.
    if [
        "waiting for selector", "waiting for locator", "waiting for element", "waiting for getby",
        "element not found",
    ]
    .iter()
    .any(|mark| text.contains(mark))
    {
        return false;
    }
    // A local command that runs into its own limit will do so again.
    if timed_out && !call.may_be_network() {
        return false;
    }
    timed_out || PHRASES.iter().any(|phrase| text.contains(phrase)) || names_status(&text)
}

/// What infrastructure errors say, in lower case.
#[rustfmt::skip]
const PHRASES: &[&str] = &[
    "too many requests", "rate limit", "rate-limit", "ratelimit", "throttl", "service unavailable",
    "bad gateway", "internal server error", "temporarily unavailable", "temporary failure", "overloaded",
    "connection reset", "connection refused", "connection aborted", "connection closed", "connection error",
    "econnreset", "econnrefused", "epipe", "eai_again", "enetunreach", "ehostunreach", "socket hang up",
    "network is unreachable", "no route to host", "broken pipe", "could not resolve host",
    "remote end closed", "server disconnected", "stream error", "upstream connect error", "network error",
    "fetch failed", "etimedout", "tls handshake", "could not connect", "database is locked", "deadlock",
    "lock wait timeout", "could not get lock", "lock is held", "held by process", "resource busy",
    "try again in", "try again later", "retry after", "retry later", "retry in ", "resource_exhausted",
    "deadline_exceeded", "code = unavailable", "service is unavailable", "currently unavailable",
    "not ready yet", "resource temporarily unavailable",
];

/// Returns whether a transport status stands where a status stands: first, or
/// after a word such as `status`.
#[rustfmt::skip]
fn names_status(text: &str) -> bool {
    let bytes = text.as_bytes();
    [
        "408", "425", "429", "500", "502", "503", "504", "520", "522", "524", "529",
    ]
    .iter()
    .any(|status| {
        text.match_indices(status).any(|(at, _)| {
            let digit = |at: Option<usize>| {
                at.and_then(|at| bytes.get(at))
                    .is_some_and(u8::is_ascii_digit)
            };
            if digit(at.checked_sub(1)) || digit(Some(at + 3)) {
                return false;
            }
            let before = text[..at].trim_end_matches(|c: char| !c.is_alphanumeric());
            before.is_empty()
                || [
                    "http", "status", "code", "error", "http/1.1", "http/2", "statuscode", "returned", "got",
                    "server",
                ]
                .iter()
                .any(|word| before.ends_with(word))
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config::ToolTraits;
    use super::*;

    #[test]
    fn judge_table() {
        let (ok, error, transport) = (Outcome::Ok, Outcome::Error, Outcome::Transport);
        #[rustfmt::skip]
        let rows = [
            ("a rate limit is infrastructure", "search", json!("429 Too Many Requests"), true, transport),
            ("a status is infrastructure", "search", json!("request failed with status code 503"), true, transport),
            ("a reset is infrastructure", "WebFetch", json!("ECONNRESET"), true, transport),
            ("a line number is not a status", "lint", json!("line 503: unexpected token"), true, error),
            ("a missing file is an error", "Read", json!("File not found: a"), true, error),
            ("an envelope is an error", "call", json!({"ok": false, "message": "no"}), false, error),
            ("a file about errors was read well", "Read", json!("Error: handling\n").as_str().map(|s| json!(s.repeat(40))).unwrap(), false, ok),
            ("a text that opens with an error is one", "edit_file", json!("Error: old_string not found"), false, error),
            ("plain words are an answer", "edit_file", json!("done, 0 errors"), false, ok),
        ];
        for (name, tool, result, is_error, want) in rows {
            let args = json!({"x": 1});
            let call = Call::read(tool, &args, &ToolTraits::default());
            let text = super::super::mask::text_of(&result);
            assert_eq!(
                judge(&call, &result, &text, is_error, ErrorKind::None),
                want,
                "row: {name}"
            );
        }
    }

    #[test]
    fn a_local_command_out_of_time_is_an_error() {
        let (local, network) = (
            json!({"command": "make test"}),
            json!({"command": "curl https://example.com"}),
        );
        let text = "Command timed out after 120s";
        let outcome = |args| {
            judge(
                &Call::read("Bash", args, &ToolTraits::default()),
                &json!(text),
                text,
                true,
                ErrorKind::None,
            )
        };
        assert_eq!(outcome(&local), Outcome::Error);
        assert_eq!(outcome(&network), Outcome::Transport);
    }
}
