//! Whether a delivered answer is, as a whole, an error.
//!
//! Many services say 200 (and many tools exit 0) and put the failure into the body.
//! Only shape counts here: a body is an error envelope when an error field is all
//! it is about. A ticket *about* an error, a list of log records, a job record with
//! an `error` column have other content beside it and are payload.
//!
//! Shapes known: an `error` object or text, `ok`/`success` false, GraphQL `errors`
//! without data, problem+json, `statusCode` of 400 and above, AWS `__type`, Lambda
//! `errorMessage`, `errcode`, Shopify `userErrors`, XML `<Error>` and SOAP faults, server
//! error pages in HTML, SSE error events.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::observation::{integer_of, is_blank};
use super::text::{bounded, head, regex};

/// Fields that may stand beside an error without making the answer a payload.
const COMPANIONS: &[&str] = &[
    "error",
    "errors",
    "ok",
    "success",
    "succeeded",
    "status",
    "code",
    "message",
    "msg",
    "type",
    "detail",
    "details",
    "title",
    "instance",
    "requestid",
    "request_id",
    "reqid",
    "traceid",
    "trace_id",
    "correlationid",
    "correlation_id",
    "timestamp",
    "time",
    "date",
    "path",
    "documentation_url",
    "errordescription",
    "error_description",
    "erroruri",
    "error_uri",
    "statuscode",
    "status_code",
    "httpstatus",
    "http_status",
    "httpcode",
    "jsonrpc",
    "id",
    "help",
    "meta",
    "metadata",
    "warning",
    "warnings",
    "extensions",
    "errorcode",
    "error_code",
    "errortype",
    "error_type",
    "errormessage",
    "error_message",
    "errormessages",
    "error_messages",
    "errmsg",
    "errcode",
    "reason",
    "retry_after",
    "retryafter",
    "retry_after_ms",
    "retryafterms",
    "hint",
    "description",
    "needed",
    "provided",
    "response_metadata",
    "param",
    "event_id",
    "eventid",
    "userid",
    "user_id",
    "moreinfo",
    "more_info",
    "stack",
    "stacktrace",
    "trace",
    "result",
    "messages",
    "parameters",
    "retryable",
    "suberror",
    "errorcodes",
    "error_codes",
    "error-codes",
    "claims",
    "fbtrace_id",
    "exception",
    "fault",
    "method",
    "url",
    "api_version",
    "apiversion",
    "version",
    "service",
    "host",
    "server",
    "region",
    "elapsed",
    "took_ms",
    "duration_ms",
    "correlation",
    "log_id",
    "logid",
    "sequence_number",
    "errorid",
    "error_id",
    "ref",
    "support_id",
    "classification",
    "class",
    "note",
    "action",
    "endpoint",
    "isretryable",
    "cause",
    "is_error",
    "tool",
    "exit_code",
];

/// Whether a JSON answer is an error envelope as a whole.
pub(super) fn is_error(value: &Value) -> bool {
    match value {
        Value::Object(fields) => is_error_object(fields),
        Value::Array(items) => {
            !items.is_empty()
                && items.len() <= 20
                && items
                    .iter()
                    .all(|item| item.as_object().is_some_and(is_error_row))
        }
        _ => false,
    }
}

/// Salesforce answers with a list of `{message, errorCode, fields?}`; Google's streams with `[{error}]`.
fn is_error_row(fields: &Map<String, Value>) -> bool {
    let only = |allowed: &[&str]| fields.keys().all(|key| allowed.contains(&key.as_str()));
    fields.contains_key("errorCode")
        && fields.contains_key("message")
        && only(&["message", "errorCode", "fields", "statusCode"])
        || fields.len() == 1 && fields.get("error").is_some_and(Value::is_object)
}

fn is_error_object(fields: &Map<String, Value>) -> bool {
    if has_user_errors(fields) {
        return true;
    }
    if !is_only_about_error(fields) {
        return false;
    }
    let get = |names: &[&str]| names.iter().find_map(|name| field(fields, name));
    if get(&["error", "fault", "exception"]).is_some_and(names_an_error) {
        return true;
    }
    let says_no = ["ok", "success", "succeeded"]
        .iter()
        .any(|name| field(fields, name) == Some(&Value::Bool(false)));
    let is_flagged = says_no || field(fields, "is_error") == Some(&Value::Bool(true));
    if is_flagged {
        return true;
    }
    let has_data = get(&["data", "result"]).is_some_and(|data| !is_empty_data(data));
    let errors =
        get(&["errors", "errormessages", "error_messages"]).is_some_and(|errors| match errors {
            Value::Array(items) => !items.is_empty(),
            Value::Object(items) => !items.is_empty(),
            Value::String(text) => !text.trim().is_empty(),
            _ => false,
        });
    if errors && !has_data {
        return true;
    }
    has_error_status(fields) || has_error_code(fields)
}

/// Whether nothing but an error and its companions is in the object.
fn is_only_about_error(fields: &Map<String, Value>) -> bool {
    fields.iter().take(60).all(|(key, value)| {
        let key = key.to_ascii_lowercase();
        let is_data = key == "data" || key == "result" || key == "body" || key == "payload";
        is_blank(value)
            || COMPANIONS.contains(&key.as_str()) && !(key == "result" && !is_empty_data(value))
            || key.starts_with('_')
            || key.starts_with("x-")
            || is_data && (is_empty_data(value) || value.is_string() && key == "body")
            || matches!(
                key.as_str(),
                "errmsg" | "errno" | "faultcode" | "faultstring" | "sqlstate" | "name"
            )
    })
}

fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).or_else(|| {
        fields
            .iter()
            .take(60)
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    })
}

fn names_an_error(error: &Value) -> bool {
    match error {
        Value::Bool(flag) => *flag,
        Value::String(text) => {
            let text = text.trim();
            !text.is_empty()
                && !matches!(
                    text.to_ascii_lowercase().as_str(),
                    "none" | "null" | "ok" | "false" | "0" | "success" | "no error"
                )
        }
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Null => false,
    }
}

/// GraphQL data whose every field is null, and null itself, is no data.
fn is_empty_data(data: &Value) -> bool {
    match data {
        Value::Object(fields) => fields.values().take(200).all(|value| is_blank(value)),
        other => is_blank(other),
    }
}

fn has_error_status(fields: &Map<String, Value>) -> bool {
    let numeric = [
        "statuscode",
        "status_code",
        "httpstatus",
        "http_status",
        "status",
        "httpcode",
        "code",
    ]
    .iter()
    .filter_map(|name| integer_of(field(fields, name)))
    .any(|status| (400..600).contains(&status));
    let has_words = [
        "message",
        "msg",
        "title",
        "detail",
        "error",
        "errormessage",
        "body",
        "reason",
        "description",
    ]
    .iter()
    .any(|name| field(fields, name).is_some());
    let status = field(fields, "status")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_worded = matches!(
        status.as_str(),
        "error" | "fail" | "failed" | "failure" | "err" | "ko"
    );
    numeric && has_words
        || is_worded && (has_words || fields.len() == 1 || field(fields, "code").is_some())
}

fn has_error_code(fields: &Map<String, Value>) -> bool {
    let text = |name: &str| field(fields, name).and_then(Value::as_str);
    let has_message = ["message", "msg", "errmsg", "errormessage", "error_message"]
        .iter()
        .any(|name| text(name).is_some());
    if fields.contains_key("__type") || text("errortype").is_some() && has_message {
        return true;
    }
    if integer_of(field(fields, "errcode")).is_some_and(|code| code != 0) {
        return true;
    }
    if ["errorcode", "error_code"]
        .iter()
        .any(|name| text(name).is_some_and(|code| !code.is_empty() && code != "0"))
        && has_message
    {
        return true;
    }
    // gRPC-gateway and the like: a number that is no success code, a message, nothing else.
    let numeric = integer_of(field(fields, "code"))
        .is_some_and(|code| !matches!(code, 0 | 1 | 200..=299 | 20000));
    let worded = text("code").is_some_and(|code| {
        let code = code.to_ascii_lowercase();
        !code.is_empty()
            && code
                .parse::<i64>()
                .is_ok_and(|code| !matches!(code, 0 | 1 | 200..=299))
                | code.parse::<i64>().is_err()
            && !matches!(
                code.as_str(),
                "ok" | "success" | "succeeded" | "done" | "accepted" | "created"
            )
    });
    let message = text("message")
        .or_else(|| text("msg"))
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_good_news = matches!(
        message.trim(),
        "" | "ok" | "success" | "done" | "created" | "updated" | "deleted" | "accepted"
    );
    (numeric || worded) && has_message && !is_good_news
}

/// Shopify mutations: `data.X.userErrors` with entries.
fn has_user_errors(fields: &Map<String, Value>) -> bool {
    let Some(Value::Object(data)) = fields.get("data") else {
        return false;
    };
    !data.is_empty()
        && data.len() <= 20
        && data.values().all(|answer| {
            let entries = ["userErrors", "customerUserErrors", "mediaUserErrors"]
                .iter()
                .find_map(|name| answer.get(*name)?.as_array());
            entries.is_some_and(|entries| !entries.is_empty())
        })
}

/// What a text answer turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextError {
    /// Codes found in the markup.
    pub codes: Vec<String>,
    /// What a person would read.
    pub text: String,
    /// HTTP status named by an error page.
    pub status: Option<u16>,
}

/// Returns the error an XML answer is, if its root says so.
pub(super) fn xml_error(text: &str) -> Option<TextError> {
    static ROOT: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"^\s*(?:<\?xml[^>]*>\s*)?(?:<!--[^>]*-->\s*)*<(?:[\w-]+:)?([\w-]+)")
    });
    static FAULT: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?s)^.{0,2000}?<(?:[\w-]+:)?Body[^>]*>\s*<(?:[\w-]+:)?Fault\b"));
    let start = head(text, 16 * 1024);
    let root = ROOT.captures(start)?[1].to_owned();
    let is_fault = root == "Envelope" && FAULT.is_match(start);
    let is_root_error = matches!(
        root.as_str(),
        "Error"
            | "ErrorResponse"
            | "error"
            | "errors"
            | "Errors"
            | "Fault"
            | "fault"
            | "ServiceExceptionReport"
            | "ExceptionReport"
            | "exception"
            | "problem"
            | "ErrorMessage"
            | "OperationFailed"
            | "Response"
    ) && (root != "Response"
        || start.contains("<Errors>")
        || start.contains("<RestException>"));
    (is_fault || is_root_error).then(|| xml_parts(start))
}

/// Takes codes and messages out of XML.
pub(super) fn xml_parts(text: &str) -> TextError {
    static CODE: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)<(?:[\w-]+:)?(?:code|faultcode|errorcode|status|type|value)\b[^>]*>\s*([^<]{1,120}?)\s*</|\b(?:exceptionCode|code)=.([\w.:-]{1,80}).",
        )
    });
    let text = head(text, 16 * 1024);
    let codes: Vec<String> = CODE
        .captures_iter(text)
        .take(10)
        .filter_map(|found| found.get(1).or_else(|| found.get(2)))
        .map(|found| found.as_str().to_owned())
        .collect();
    let status = codes.iter().find_map(|code| {
        code.parse()
            .ok()
            .filter(|status| (400..600).contains(status))
    });
    TextError {
        codes,
        text: visible_text(text),
        status,
    }
}

/// Returns what a person would read of an HTML or XML text, one element a line.
pub(super) fn visible_text(markup: &str) -> String {
    static HIDDEN: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?is)<(script|style)\b.*?</(script|style)\s*>|<!--.*?-->"));
    static TAG: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)</?[A-Za-z!?][^>]*>"));
    let markup = head(markup, 16 * 1024);
    let shown = HIDDEN.replace_all(markup, " ");
    let text = TAG.replace_all(&shown, "\n");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.take(60).collect::<Vec<_>>().join("\n")
}

/// Returns the server's error page a text answer is, if its title or heading says so.
///
/// Web servers and proxies write `502 Bad Gateway` there; an article about it has a longer title.
pub(super) fn error_page(text: &str) -> Option<TextError> {
    static TITLE: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"(?is)<(?:title|h1)[^>]*>\s*(?:[\w.-]+ \| )?(?:http |http status |error |status )*([45]\d\d)\b[\s:–|-]{0,4}",
            r"(?:http )?(?:error|bad request|unauthori[sz]ed|payment required|forbidden|(?:page )?not found|request time-?out|gone|too many requests|internal server error|bad gateway|service (?:temporarily )?unavailable|gateway time-?out|origin[\w ]*|web server[\w ]*|a timeout occurred|)",
            r"\s*(?:\| [\w.-]+\s*|[–-] [\w. ]+)?</(?:title|h1)>",
        ))
    });
    if !is_markup(text) || text.len() > 64 * 1024 {
        return None;
    }
    let found = TITLE.captures(head(text, 8 * 1024))?;
    let shown = visible_text(text);
    let is_short = shown.len() <= 1_500;
    is_short.then(|| TextError {
        codes: Vec::new(),
        status: found[1].parse().ok(),
        text: shown,
    })
}

/// Whether a text begins like HTML or XML.
pub(super) fn is_markup(text: &str) -> bool {
    let start = head(
        text.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']),
        15,
    )
    .to_ascii_lowercase();
    start.starts_with("<!doctype")
        || start.starts_with("<html")
        || start.starts_with("<?xml")
        || start.starts_with("<head")
        || start.starts_with("<title")
        || start.starts_with("<body")
        || start.starts_with("<center")
        || start.starts_with("<h1")
}

/// One event of a server-sent stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// Its name, empty if none was given.
    pub name: String,
    /// Its data: JSON where it parses, else text.
    pub data: Value,
}

/// Splits a text into server-sent events; `None` if it is no such stream.
///
/// Long streams keep their first and last part; each event is one JSON value at most.
pub(super) fn events(text: &str) -> Option<Vec<Event>> {
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
pub(super) fn error_event(events: &[Event]) -> Option<&Value> {
    events.iter().find_map(|event| {
        let data = &event.data;
        let kind = data.get("type").and_then(Value::as_str).unwrap_or_default();
        let has_error = data.get("error").is_some_and(names_an_error);
        let is_error = event.name == "error"
            || kind == "error"
            || kind == "response.failed"
            || has_error && !data.get("choices").is_some_and(|c| !is_blank(c));
        is_error.then_some(data)
    })
}

/// Whether a short text answer is nothing but an error message.
///
/// It begins as one, and it is short: `Error: connection refused`.
pub(super) fn is_error_text(text: &str) -> bool {
    static START: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"^\s*(?:\x1b\[[0-9;]*m)*(?:[❌✗⚠️]+\s*)?(?:(?:[A-Z]\w*(?:\.\w+)*(?:Error|Exception|Timeout))\b\s*(?::|$)|(?:error|fatal|failure|err|fatal error|error executing tool \S+|mcp error[ -]*\d*|tool error|api error|http error \d+|request failed|internal error|panic)\b\s*[:\[(!-]|ERROR\b|FATAL\b",
            r"|(?:Failed|Unable|Could not|Cannot) (?:to )?(?:connect|fetch|reach|load|open|read|write|execute|call|authenticate|retrieve|resolve|process|create|update|delete|send)\b|\(error\) |curl: \(\d+\)|fatal: |psql: |ERR |WRONGTYPE |NOAUTH |READONLY |LOADING |MISCONF |CLUSTERDOWN |-ERR |エラー[:：]|错误[:：]|Fehler:|Erreur\s?:|Ошибка:)",
        ))
    });
    static INSENSITIVE: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)^\s*(error|fatal|failure|fatal error|tool error|api error|mcp error)( \S+){0,3}\s?:",
        )
    });
    text.len() <= 1_500
        && text.lines().filter(|line| !line.trim().is_empty()).count() <= 12
        && (START.is_match(text) || INSENSITIVE.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_table() {
        #[rustfmt::skip]
        let rows = [
            ("an error object", json!({"error": {"code": 500, "message": "x"}}), true),
            ("an error beside a request id", json!({"error": "boom", "request_id": "r1"}), true),
            ("Slack", json!({"ok": false, "error": "ratelimited"}), true),
            ("Cloudflare", json!({"success": false, "errors": [{"code": 10000}], "messages": [], "result": null}), true),
            ("GraphQL without data", json!({"errors": [{"message": "x"}], "data": null}), true),
            ("GraphQL whose data is all null", json!({"errors": [{"message": "x"}], "data": {"user": null}}), true),
            ("GraphQL with data", json!({"errors": [{"message": "x"}], "data": {"user": {"id": 1}}}), false),
            ("problem+json", json!({"type": "about:blank", "title": "Not Found", "status": 404, "detail": "x"}), true),
            ("a Lambda proxy answer", json!({"statusCode": 502, "body": "{\"message\":\"x\"}"}), true),
            ("AWS", json!({"__type": "com.x#ThrottlingException", "message": "Rate exceeded"}), true),
            ("WeChat", json!({"errcode": 40001, "errmsg": "invalid credential"}), true),
            ("WeChat fine", json!({"errcode": 0, "errmsg": "ok"}), false),
            ("Shopify's user errors", json!({"data": {"productCreate": {"product": null, "userErrors": [{"message": "x"}]}}}), true),
            ("Salesforce", json!([{"message": "x", "errorCode": "INVALID_FIELD"}]), true),
            ("a ticket about an error", json!({"id": 7, "title": "Crash", "error": "500", "assignee": "kim"}), false),
            ("a list of log records", json!([{"level": "error", "message": "timeout"}]), false),
            ("search hits", json!({"results": [{"error": "x"}], "total": 1}), false),
            ("no error", json!({"error": null, "data": [1]}), false),
            ("a plain message", json!({"message": "deleted"}), false),
            ("a success code", json!({"code": 0, "msg": "success", "data": {}}), false),
            ("an empty object", json!({}), false),
        ];
        for (name, value, want) in rows {
            assert_eq!(is_error(&value), want, "row: {name}");
        }
    }

    #[test]
    fn markup_table() {
        assert!(
            xml_error("<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code></Error>")
                .is_some_and(|e| e.codes == ["SlowDown"])
        );
        assert!(xml_error("<soap:Envelope xmlns:soap=\"x\"><soap:Body><soap:Fault><faultcode>soap:Server</faultcode></soap:Fault></soap:Body></soap:Envelope>").is_some());
        assert!(xml_error("<ListBucketResult><Name>errors</Name></ListBucketResult>").is_none());
        let page = "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body></html>";
        assert_eq!(error_page(page).and_then(|page| page.status), Some(502));
        assert!(
            error_page("<html><title>429 errors: how to fix them</title><body>…</body></html>")
                .is_none()
        );
    }

    #[test]
    fn streams_are_split_and_searched() {
        let stream = "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
        let events = events(stream).expect("a stream");
        assert_eq!(events.len(), 2);
        assert!(error_event(&events).is_some());
        assert_eq!(super::events("{\"data\": 1}"), None);
    }

    #[test]
    fn error_text_table() {
        #[rustfmt::skip]
        let rows = [
            ("a message", "Error: connection refused", true),
            ("an exception", "TimeoutError: page.goto: Timeout 30000ms exceeded.", true),
            ("prose about errors", "Errors of this kind are common.", false),
            ("a report", "The build finished. Error: none", false),
            ("redis", "(error) NOAUTH Authentication required.", true),
        ];
        for (name, text, want) in rows {
            assert_eq!(is_error_text(text), want, "row: {name}");
        }
    }
}
