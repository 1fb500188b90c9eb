//! HTTP exchanges, with a service or with a model provider.
//!
//! Finds out whether the answer failed: by its status, or, under a good status, as a
//! whole (see `envelope`). A document that was fetched is never read for errors.

use serde_json::{Map, Value};

use super::acting;
use super::batch;
use super::codes;
use super::command::names_a_file;
use super::envelope::{self, TextError};
use super::fault::Fault;
use super::hint::header;
use super::llm;
use super::meaning::{Meaning, Weight};
use super::observation::{Kind, Observation, integer_of, is_blank, string_of};
use super::outcome::{Delivery, Outcome};
use super::text::head;

/// A response, as far as it was understood.
struct Response<'a> {
    status: u16,
    headers: Map<String, Value>,
    /// The body as JSON, parsed if it came as text.
    json: Option<Value>,
    /// The body as text, empty if it came as JSON.
    text: &'a str,
}

/// Finds out what an HTTP or model result amounts to.
pub(super) fn outcome(observation: &Observation) -> Outcome {
    let response = read(&observation.result);
    let is_document = observation.kind == Kind::Http && reads_document(observation);
    match response.status {
        // A status that cannot be read is no reason to call a good-looking body a failure.
        200..=299 => answered(observation, &response, is_document),
        300..=399 => redirected(observation, &response),
        status => {
            let items = (status >= 400)
                .then(|| many(observation, &response))
                .flatten();
            items.unwrap_or_else(|| failed(observation, &response))
        }
    }
}

fn read(result: &Value) -> Response<'_> {
    let body = result.get("body").unwrap_or(&Value::Null);
    let text = body.as_str().unwrap_or_default();
    let json = match body {
        Value::Null => None,
        Value::String(text) => parsed(text),
        other => Some(other.clone()),
    };
    let has_body = !is_blank(body);
    let status = integer_of(result.get("status")).and_then(|status| u16::try_from(status).ok());
    let status = status.unwrap_or(if has_body && result.get("error").is_none() {
        200
    } else {
        0
    });
    let headers = result
        .get("headers")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    Response {
        status,
        headers,
        json,
        text,
    }
}

/// Parses a text that looks like JSON.
pub(super) fn parsed(text: &str) -> Option<Value> {
    let text = text.trim_start_matches('\u{feff}').trim();
    (text.starts_with(['{', '[']))
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

/// Whether the call fetched a document whose content is nobody's error.
fn reads_document(observation: &Observation) -> bool {
    let reads_file = tool_words(&observation.tool).iter().any(|word| {
        matches!(
            word.as_str(),
            "read"
                | "cat"
                | "grep"
                | "log"
                | "logs"
                | "tail"
                | "view"
                | "file"
                | "download"
                | "raw"
                | "blob"
                | "object"
                | "attachment"
                | "artifact"
                | "document"
                | "page"
                | "web"
                | "scrape"
                | "crawl"
        )
    });
    let method = observation.method();
    let is_get = method.as_deref().is_none_or(|method| method == "GET");
    let url = observation.url();
    is_get
        && (reads_file && url.is_none_or(|url| !looks_like_api(url))
            || url.is_some_and(names_a_file))
}

fn looks_like_api(url: &str) -> bool {
    (url.contains("//api.")
        || url.contains("/api/")
        || url.contains("/v1/")
        || url.contains("/graphql"))
        && !names_a_file(url)
}

/// Splits the name of a tool into lower-case words: `mcp__fs__readFile` has `read` and `file`.
pub(super) fn tool_words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in head(name, 200).chars() {
        if !c.is_alphanumeric() || c.is_uppercase() && was_lower {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn answered(observation: &Observation, response: &Response<'_>, is_document: bool) -> Outcome {
    if let Some(items) = many(observation, response) {
        return items;
    }
    if let Some(fault) = hidden_fault(observation, response, is_document) {
        return Outcome::Failed(Box::new(fault));
    }
    Outcome::Delivered(Box::new(delivery(observation, response, is_document)))
}

fn many(observation: &Observation, response: &Response<'_>) -> Option<Outcome> {
    let items = match &response.json {
        Some(json) => batch::foreign(json, response.status, observation)?,
        None => batch::foreign_text(response.text, response.status)?,
    };
    Some(Outcome::Items(items))
}

/// Returns the fault of an answer with a good status, if the answer is an error as a whole.
fn hidden_fault(
    observation: &Observation,
    response: &Response<'_>,
    is_document: bool,
) -> Option<Fault> {
    let place = format!("status {}, but the answer is an error", response.status);
    let mut fault = Fault::new(observation.kind, place);
    if let Some(kind) = header(&response.headers, "x-amz-function-error") {
        fault.add_headers(&response.headers);
        fault.fallback = format!("header x-amz-function-error = {kind}");
        fill(&mut fault, response);
        return Some(fault);
    }
    if header(&response.headers, "grpc-status").is_some_and(|status| status != "0") {
        fault.add_headers(&response.headers);
        return Some(fault);
    }
    let is_error = !is_document && is_error_answer(observation, response);
    is_error.then(|| {
        fault.add_headers(&response.headers);
        fill(&mut fault, response);
        fault
    })
}

fn is_error_answer(observation: &Observation, response: &Response<'_>) -> bool {
    if let Some(json) = &response.json {
        return envelope::is_error(json)
            || observation.kind == Kind::Llm && is_model_error(json)
            || observation.kind == Kind::Http && acting::refuses(observation, json);
    }
    if let Some(events) = envelope::events(response.text) {
        return envelope::error_event(&events).is_some();
    }
    let is_plain =
        header(&response.headers, "content-type").is_none_or(|kind| kind.starts_with("text/plain"));
    envelope::xml_error(response.text).is_some()
        || envelope::error_page(response.text).is_some()
        || is_plain && response.text.len() < 400 && envelope::is_error_text(response.text)
}

/// A model's answer object that says it failed: Responses `failed`, OpenRouter's choice errors.
fn is_model_error(json: &Value) -> bool {
    let text = |value: Option<&Value>| {
        value
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let has_failed = text(json.get("object")) == "response"
        && matches!(text(json.get("status")).as_str(), "failed" | "cancelled");
    let choice = json.get("choices").and_then(|choices| choices.get(0));
    let stop = text(choice.and_then(|choice| choice.get("finish_reason")));
    let stop_reason = text(
        json.get("stop_reason")
            .or_else(|| json.get("finish_reason")),
    );
    let has_error = json
        .get("error")
        .is_some_and(|error| error.is_object() && !is_blank(error));
    // Gateways explain themselves in one field, where a reply should be.
    let explains = llm::reply(json).is_none()
        && json.as_object().is_some_and(|fields| {
            fields.len() <= 3
                && ["detail", "message", "msg"]
                    .iter()
                    .any(|name| fields.get(*name).is_some_and(|text| text.is_string()))
        });
    has_failed
        || has_error
        || explains
        || choice.is_some_and(|choice| choice.get("error").is_some_and(|error| !is_blank(error)))
        || matches!(
            stop.as_str(),
            "error" | "insufficient_system_resource" | "network_error"
        )
        || matches!(
            stop_reason.as_str(),
            "model_context_window_exceeded" | "error"
        )
        || stop == "model_context_window_exceeded"
}

/// Puts the body of a failed answer into the fault.
fn fill(fault: &mut Fault, response: &Response<'_>) {
    if let Some(json) = &response.json {
        fault.add_json(narrowed(json), "body", &response.headers);
        add_stop_reason(fault, json);
        return;
    }
    if let Some(events) = envelope::events(response.text) {
        match envelope::error_event(&events) {
            Some(data) => fault.add_json(data, "event", &response.headers),
            None => fault.add_text(response.text, "body"),
        }
        return;
    }
    if envelope::is_markup(response.text) || response.text.trim_start().starts_with('<') {
        add_markup(fault, response.text, "body");
    } else {
        fault.add_text(response.text, "body");
    }
}

/// Of a model's answer only the error counts, not the text it wrote before it failed.
fn narrowed(json: &Value) -> &Value {
    let choice = json.get("choices").and_then(|choices| choices.get(0));
    let of_choice = choice
        .and_then(|choice| choice.get("error"))
        .filter(|error| !is_blank(error));
    let has = |name: &str| json.get(name).is_some_and(|value| !is_blank(value));
    let is_reply =
        has("choices") || has("output") || json.get("content").is_some_and(Value::is_array);
    match of_choice.or_else(|| {
        json.get("error")
            .filter(|error| is_reply && !is_blank(error))
    }) {
        Some(error) => error,
        None if is_reply => &Value::Null,
        None => json,
    }
}

fn add_stop_reason(fault: &mut Fault, json: &Value) {
    let choice = json.get("choices").and_then(|choices| choices.get(0));
    let stop = choice
        .and_then(|choice| string_of(choice.get("finish_reason")))
        .or_else(|| string_of(json.get("stop_reason")))
        .or_else(|| string_of(json.get("finish_reason")));
    match stop.as_deref() {
        Some("error" | "ERROR" | "network_error") => {
            fault.add_reading(
                Some((Meaning::Transient, Weight::Status)),
                "stop reason \"error\"",
            );
        }
        Some(stop) => fault.add_code(stop, "body.finish_reason"),
        None => {}
    }
}

/// Puts an HTML or XML body into the fault.
pub(super) fn add_markup(fault: &mut Fault, text: &str, place: &str) {
    let found: TextError = envelope::xml_error(text)
        .or_else(|| envelope::error_page(text))
        .unwrap_or_else(|| envelope::xml_parts(text));
    for code in &found.codes {
        fault.add_code(code, place);
    }
    if let Some(status) = found.status.and_then(codes::status) {
        fault.add_reading(
            Some((status.0, Weight::Broad)),
            format!(
                "{place}: page of status {}",
                found.status.unwrap_or_default()
            ),
        );
    }
    fault.add_text(&found.text, place);
}

fn delivery(observation: &Observation, response: &Response<'_>, is_document: bool) -> Delivery {
    let is_model = observation.kind == Kind::Llm;
    let stream = is_model.then(|| envelope::events(response.text)).flatten();
    let reply = match (&response.json, &stream) {
        (Some(json), _) if is_model => llm::reply(json),
        (None, Some(events)) => llm::stream(events),
        _ => None,
    };
    let content_type = header(&response.headers, "content-type").unwrap_or_default();
    let is_no_content = matches!(response.status, 204 | 205);
    let promises_json = reply.is_none()
        && !is_no_content
        && stream.is_none()
        && !is_document
        && (is_model && !response.text.is_empty()
            || is_json_type(&content_type)
                && (!response.text.is_empty() || answer_is_due(observation)));
    Delivery {
        text: response.text.to_owned(),
        json: response.json.clone(),
        promises_json: promises_json && response.json.is_none() && !is_json_scalar(response.text),
        must_not_be_empty: !is_no_content
            && (is_model || response.status == 200 && answer_is_due(observation)),
        cut_off: cut_off(response),
        is_document,
        evidence: format!("status {}", response.status),
        reply,
    }
}

fn is_json_type(content_type: &str) -> bool {
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json") || kind == "text/json"
}

fn is_json_scalar(text: &str) -> bool {
    !text.trim().is_empty() && serde_json::from_str::<Value>(text.trim()).is_ok()
}

/// Whether an empty answer would be none: a GET, or a tool that gets something.
fn answer_is_due(observation: &Observation) -> bool {
    match observation.method() {
        Some(method) => method == "GET",
        None => tool_words(&observation.tool)
            .iter()
            .any(|word| matches!(word.as_str(), "get" | "fetch" | "query" | "search" | "list")),
    }
}

/// A text body shorter than its `Content-Length` was cut off.
fn cut_off(response: &Response<'_>) -> Option<String> {
    if response.text.is_empty() || header(&response.headers, "content-encoding").is_some() {
        return None;
    }
    let promised: usize = header(&response.headers, "content-length")?.parse().ok()?;
    (response.text.len() < promised)
        .then(|| format!("{} of {promised} bytes arrived", response.text.len()))
}

fn redirected(observation: &Observation, response: &Response<'_>) -> Outcome {
    let location = header(&response.headers, "location")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let mut fault = Fault::new(observation.kind, format!("status {}", response.status));
    let is_login = [
        "login", "signin", "sign-in", "sign_in", "/sso", "oauth", "/auth", "saml",
    ]
    .iter()
    .any(|word| location.contains(word));
    if is_login {
        fault.add_reading(
            Some((Meaning::Persistent, Weight::Exact)),
            format!("redirected to a login page: {}", head(&location, 100)),
        );
        return Outcome::Failed(Box::new(fault));
    }
    if matches!(response.status, 301 | 308) {
        fault.add_reading(
            codes::status(response.status),
            format!(
                "status {}, now at {}",
                response.status,
                head(&location, 100)
            ),
        );
        return Outcome::Failed(Box::new(fault));
    }
    let delivery = Delivery {
        evidence: format!("status {}", response.status),
        is_document: true,
        ..Delivery::default()
    };
    Outcome::Delivered(Box::new(delivery))
}

fn failed(observation: &Observation, response: &Response<'_>) -> Outcome {
    let mut fault = Fault::new(observation.kind, format!("status {}", response.status));
    fault.status = Some(response.status);
    fault.add_headers(&response.headers);
    fill(&mut fault, response);
    if response.status == 0 {
        fault.add_reading(Some((Meaning::Transient, Weight::Status)), "no response");
        if let Some(text) = observation.result.get("error") {
            fault.add_json(text, "error", &response.headers);
        }
    }
    if observation.kind == Kind::Llm {
        add_model_readings(&mut fault, response);
    }
    Outcome::Failed(Box::new(fault))
}

/// What a status means only at a model provider.
fn add_model_readings(fault: &mut Fault, response: &Response<'_>) {
    let text: String = fault
        .texts
        .iter()
        .map(|(text, _)| text.to_ascii_lowercase())
        .collect::<Vec<_>>()
        .join("\n");
    let is_other_object = [
        "previous_response",
        "file",
        "batch",
        "thread",
        "assistant",
        "conversation",
        "vector",
        "run ",
        "message",
        "container",
        "cachedcontent",
        "cached content",
    ]
    .iter()
    .any(|word| text.contains(word));
    let has_exact = fault
        .codes
        .iter()
        .any(|(code, _)| codes::lookup(code).is_some_and(|(_, weight)| weight == Weight::Exact));
    match response.status {
        404 if !has_exact
            && (text.contains("model") || text.contains("deployment") || !is_other_object) =>
        {
            fault.add_reading(
                Some((Meaning::Persistent, Weight::Exact)),
                "status 404: the provider does not serve this model or path",
            );
        }
        413 => fault.add_reading(
            Some((Meaning::Cost, Weight::Exact)),
            "status 413: the request is larger than the model takes",
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn outcome_of(tool: &str, context: Value, result: Value) -> &'static str {
        let observation = Observation::from_value(
            json!({"kind": "http", "tool": tool, "context": context, "result": result}),
        );
        match outcome(&observation) {
            Outcome::Items(_) => "items",
            Outcome::NothingFound(_) => "nothing",
            Outcome::Delivered(_) => "delivered",
            Outcome::Failed(_) => "failed",
        }
    }

    #[test]
    fn outcome_table() {
        #[rustfmt::skip]
        let rows = [
            ("a good answer", "http", json!({}), json!({"status": 200, "body": {"a": 1}}), "delivered"),
            ("an error under 200", "http", json!({}), json!({"status": 200, "body": {"ok": false, "error": "x"}}), "failed"),
            ("a fetched document that is an error", "read_file", json!({}), json!({"status": 200, "body": {"error": "x"}}), "delivered"),
            ("a fetched file by its address", "fetch", json!({"request": {"method": "GET", "url": "https://example.com/fixtures/error.json"}}),
             json!({"status": 200, "body": {"error": "x"}}), "delivered"),
            ("a function error", "invoke", json!({}), json!({"status": 200, "headers": {"x-amz-function-error": "Unhandled"}, "body": {"a": 1}}), "failed"),
            ("gRPC trailers", "rpc", json!({}), json!({"status": 200, "headers": {"grpc-status": "14"}, "body": ""}), "failed"),
            ("no response", "http", json!({}), json!({"status": 0, "body": "connect ECONNREFUSED"}), "failed"),
            ("not modified", "http", json!({}), json!({"status": 304}), "delivered"),
            ("a redirect to the login", "http", json!({}), json!({"status": 302, "headers": {"location": "https://example.com/login"}}), "failed"),
        ];
        for (name, tool, context, result, want) in rows {
            assert_eq!(outcome_of(tool, context, result), want, "row: {name}");
        }
    }

    #[test]
    fn tool_names_are_split() {
        assert_eq!(
            tool_words("mcp__fs__readFile"),
            ["mcp", "fs", "read", "file"]
        );
        assert_eq!(tool_words("get-logs"), ["get", "logs"]);
    }
}
