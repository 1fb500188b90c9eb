//! Errors, in the words of each API.

use serde_json::Value;

use super::super::api::{Api, Framing};
use super::super::reply::{self as wire_reply, Fault};
use super::super::sse::Frame;
use super::out::{Out, object};

/// Most characters of an error page that are passed on.
const PAGE_CHARS: usize = 500;

/// One row of the table of errors.
struct Row {
    statuses: &'static [u16],
    anthropic: &'static str,
    openai: &'static str,
    /// OpenAI's finer word; clients of Responses look at no other.
    code: Option<&'static str>,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { statuses: &[401],      anthropic: "authentication_error",  openai: "authentication_error",  code: Some("invalid_api_key") },
    Row { statuses: &[402],      anthropic: "billing_error",         openai: "insufficient_quota",    code: Some("insufficient_quota") },
    Row { statuses: &[403],      anthropic: "permission_error",      openai: "permission_error",      code: None },
    Row { statuses: &[404],      anthropic: "not_found_error",       openai: "invalid_request_error", code: Some("model_not_found") },
    Row { statuses: &[413],      anthropic: "request_too_large",     openai: "invalid_request_error", code: None },
    Row { statuses: &[429],      anthropic: "rate_limit_error",      openai: "rate_limit_error",      code: Some("rate_limit_exceeded") },
    Row { statuses: &[503, 529], anthropic: "overloaded_error",      openai: "server_error",          code: Some("server_is_overloaded") },
    Row { statuses: &[504],      anthropic: "timeout_error",         openai: "server_error",          code: Some("server_error") },
];
/// All others from 400 to 499.
const BAD_REQUEST: Row = Row {
    statuses: &[],
    anthropic: "invalid_request_error",
    openai: "invalid_request_error",
    code: Some("invalid_prompt"),
};
/// All others.
const SERVER: Row = Row {
    statuses: &[],
    anthropic: "api_error",
    openai: "server_error",
    code: Some("server_error"),
};

/// How Anthropic and OpenAI say that a history is too long; agents look for it
/// before they make it shorter.
const TOO_LONG: (&str, &str) = ("prompt is too long", "context_length_exceeded");

/// Returns an error body of `from` in the words of `to`: the same message, with
/// the type that `to` has for `status`.
///
/// - `body`: whatever came; a page that is no JSON is quoted, shortened.
///
/// Errors: none; what cannot be read still becomes an error of `to`.
pub fn error(from: Api, to: Api, status: u16, body: &[u8]) -> Vec<u8> {
    if from == to {
        return body.to_vec();
    }
    let read = wire_reply::whole(from, Framing::Whole, body).ok();
    let mut fault = read.and_then(|reply| reply.error).unwrap_or_default();
    if fault.message.is_empty() {
        let page = String::from_utf8_lossy(body);
        fault.message = page.trim().chars().take(PAGE_CHARS).collect();
    }
    if fault.message.is_empty() {
        fault.message = format!("the upstream answered with status {status}");
    }
    fault.status = Some(status);
    written(to, &fault).print().into_bytes()
}

/// Reads the error of an event, if it is one.
///
/// - `event`: the data of `frame`.
pub(super) fn of_event(from: Api, event: &Value, frame: &Frame) -> Option<Fault> {
    let is_named = matches!(
        event.get("type").and_then(Value::as_str),
        Some("error" | "response.failed")
    );
    let has_error = event.get("error").is_some_and(|error| !error.is_null());
    if !is_named && !has_error {
        return None;
    }
    let mut reader = wire_reply::Reader::new(from);
    reader.take(frame);
    Some(reader.finish().error.unwrap_or_default())
}

/// Writes an error as a body, and as the data of an error event.
pub(super) fn written<'a>(to: Api, fault: &Fault) -> Out<'a> {
    let row = row(fault);
    if to == Api::Messages {
        let is_too_long = fault.code.as_deref() == Some(TOO_LONG.1);
        let message = match fault.message.as_str() {
            message if is_too_long => format!("{}: {message}", TOO_LONG.0),
            message => message.to_owned(),
        };
        let error = object! {"type": row.anthropic, "message": message};
        return object! {"type": "error", "error": error, "request_id": Out::Null};
    }
    let error = object! {
        "message": fault.message.clone(),
        "type": row.openai,
        "param": Out::Null,
        "code": code(fault),
    };
    object! {"error": error}
}

/// Returns OpenAI's finer word.
pub(super) fn code(fault: &Fault) -> Option<String> {
    let own = row(fault).code.map(str::to_owned);
    match &fault.code {
        _ if fault.message.starts_with(TOO_LONG.0) => Some(TOO_LONG.1.to_owned()),
        // A number is a status, which is told elsewhere.
        Some(code) if code.parse::<u16>().is_err() => Some(code.clone()),
        _ => own,
    }
}

fn row(fault: &Fault) -> &'static Row {
    let is_quota = ["insufficient_quota", "billing_error"].contains(&fault.kind.as_str());
    let status = if is_quota {
        402
    } else {
        fault.status.unwrap_or(500)
    };
    let rest = if (400..500).contains(&status) {
        &BAD_REQUEST
    } else {
        &SERVER
    };
    let row = ROWS.iter().find(|row| row.statuses.contains(&status));
    row.unwrap_or(rest)
}
