//! Server-sent events, and the error among them. Source: WHATWG HTML, "Server-sent events".

use serde_json::Value;

use super::json::names_an_error;
use crate::policy::taxonomy::observation::is_blank;
use crate::policy::taxonomy::text::{bounded, head};

/// One event of a server-sent stream.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Event {
    /// Its name, empty if none was given.
    pub name: String,
    /// Its data: JSON where it parses, else text.
    pub data: Value,
}

/// Splits a text into server-sent events; `None` if it is no such stream.
///
/// Long streams keep their first and last part; each event is one JSON value at most.
pub(in super::super) fn events(text: &str) -> Option<Vec<Event>> {
    let start = text.trim_start_matches(['\u{feff}', '\n', '\r', ' ']);
    let is_stream = ["data:", "event:", ":", "id:", "retry:"]
        .iter()
        .any(|mark| start.starts_with(mark))
        && start.contains("data:");
    if !is_stream {
        return None;
    }
    let mut events = Vec::new();
    let (mut name, mut data) = (String::new(), String::new());
    for line in stream_part(text).lines().chain(std::iter::once("")) {
        if line.trim().is_empty() {
            if !data.is_empty() {
                let value =
                    serde_json::from_str(&data).unwrap_or_else(|_| Value::from(data.clone()));
                events.push(Event {
                    name: name.clone(),
                    data: value,
                });
            }
            name.clear();
            data.clear();
        } else if let Some(rest) = line.strip_prefix("data:") {
            if !data.is_empty() {
                data.push('\n');
            }
            data.push_str(rest.strip_prefix(' ').unwrap_or(rest));
        } else if let Some(rest) = line.strip_prefix("event:") {
            name = head(rest.trim(), 80).to_owned();
        }
    }
    Some(events)
}

/// Streams are read further than plain text: tool arguments are spread over many events.
fn stream_part(text: &str) -> std::borrow::Cow<'_, str> {
    const STREAM_BYTES_MAX: usize = 2 * 1024 * 1024;
    if text.len() <= STREAM_BYTES_MAX {
        std::borrow::Cow::Borrowed(text)
    } else {
        bounded(text)
    }
}

/// Returns the data of the first event that reports an error.
pub(in super::super) fn error_event(events: &[Event]) -> Option<&Value> {
    events.iter().find_map(|event| {
        let data = &event.data;
        let kind = data.get("type").and_then(Value::as_str).unwrap_or_default();
        let has_error = data.get("error").is_some_and(names_an_error);
        let is_error = event.name == "error"
            || kind == "error"
            || kind == "response.failed"
            || has_error && data.get("choices").is_none_or(is_blank);
        is_error.then_some(data)
    })
}
