//! A failure, taken apart: status, codes, texts and hint, each with its place.
//!
//! Every kind of result that failed becomes one [`Fault`]; from here on the rules
//! no longer care whether it came from HTTP, a process or a model. Nothing is
//! judged here, only collected: codes stay codes, words stay words.

use serde_json::{Map, Value};

use super::codes::{self, Reading};
use super::hint::{self, Hint};
use super::meaning::{Meaning, Weight};
use super::observation::{Kind, integer_of};
use super::text::{bounded, head};

/// JSON nodes of one body that are looked at.
const NODES_MAX: usize = 600;
/// Nesting of one body that is looked at.
const DEPTH_MAX: usize = 8;
/// Codes and texts kept of one body.
const FINDS_MAX: usize = 40;

/// What is known about one failure.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// Where the result came from.
    pub kind: Kind,
    /// HTTP status of the transport; 0 means that no response arrived.
    pub status: Option<u16>,
    /// Codes as written, with their place, e.g. `("insufficient_quota", "body.error.code")`.
    pub codes: Vec<(String, String)>,
    /// Codes already understood (exit codes, numbers of a known system), with evidence.
    pub readings: Vec<(Reading, String)>,
    /// Texts, with their place.
    pub texts: Vec<(String, String)>,
    /// How long the other side asked to wait.
    pub hint: Option<Hint>,
    /// When an exhausted limit is reset; only believed for a request rate.
    pub reset: Option<Hint>,
    /// What to show where nothing else is found, e.g. `status 500` or `exit 1`.
    pub fallback: String,
}

impl Fault {
    /// Makes a fault about which nothing is known yet.
    pub(super) fn new(kind: Kind, fallback: impl Into<String>) -> Self {
        Self {
            kind,
            status: None,
            codes: Vec::new(),
            readings: Vec::new(),
            texts: Vec::new(),
            hint: None,
            reset: None,
            fallback: fallback.into(),
        }
    }

    /// Adds a code as written.
    pub(super) fn add_code(&mut self, code: &str, place: &str) {
        if self.codes.len() < FINDS_MAX && !code.trim().is_empty() && code.len() <= 200 {
            self.codes.push((code.trim().to_owned(), place.to_owned()));
        }
    }

    /// Adds a text; long ones keep head and tail.
    pub(super) fn add_text(&mut self, text: &str, place: &str) {
        if self.texts.len() < FINDS_MAX && !text.trim().is_empty() {
            self.texts
                .push((bounded(text).into_owned(), place.to_owned()));
        }
    }

    /// Adds a reading that is already understood.
    pub(super) fn add_reading(&mut self, reading: Option<Reading>, evidence: impl Into<String>) {
        if let Some(reading) = reading {
            self.readings.push((reading, evidence.into()));
        }
    }

    /// Adds what the response headers say.
    pub(super) fn add_headers(&mut self, headers: &Map<String, Value>) {
        self.hint = self.hint.take().or_else(|| hint::from_headers(headers));
        self.reset = self
            .reset
            .take()
            .or_else(|| hint::from_reset_headers(headers));
        for name in [
            "x-amzn-errortype",
            "x-ms-error-code",
            "x-error-code",
            "x-goog-error-code",
        ] {
            if let Some(code) = hint::header(headers, name) {
                self.add_code(&code, &format!("header {name}"));
            }
        }
        if let Some(status) =
            hint::header(headers, "grpc-status").and_then(|text| text.parse().ok())
        {
            self.add_reading(
                codes::grpc(status),
                format!("header grpc-status = {status}"),
            );
        }
        if let Some(message) = hint::header(headers, "grpc-message") {
            self.add_text(&message.replace("%20", " "), "header grpc-message");
        }
        if hint::header(headers, "x-github-sso").is_some_and(|value| value.contains("required")) {
            self.add_reading(
                Some((Meaning::Human, Weight::Exact)),
                "header x-github-sso = required",
            );
        }
        let has_none_left = [
            "x-ratelimit-remaining",
            "x-rate-limit-remaining",
            "ratelimit-remaining",
        ]
        .iter()
        .any(|name| hint::header(headers, name).is_some_and(|left| left == "0"));
        let limit = ["x-ratelimit-limit", "x-rate-limit-limit", "ratelimit-limit"]
            .iter()
            .find_map(|name| hint::header(headers, name));
        if self.status == Some(429) && limit.is_some_and(|limit| limit == "0") {
            self.add_reading(
                Some((Meaning::Cost, Weight::Exact)),
                "the header of the limit says 0",
            );
        }
        if has_none_left && matches!(self.status, Some(403 | 503)) {
            self.add_reading(
                Some((Meaning::Rate, Weight::Exact)),
                "header x-ratelimit-remaining = 0",
            );
        }
    }

    /// Adds codes, texts and hint of an error body.
    ///
    /// - `place`: what the body is called in evidence, e.g. `body`.
    /// - `headers`: of the same response, for dates in the body.
    pub(super) fn add_json(&mut self, body: &Value, place: &str, headers: &Map<String, Value>) {
        let mut walk = Walk {
            fault: self,
            nodes: NODES_MAX,
        };
        walk.visit(body, place, 0);
        if self.hint.is_none() {
            self.hint = hint::from_json(body, headers);
        }
        self.add_numbers_of_known_systems(body, place);
    }

    /// Reads numeric codes whose system is told by the fields beside them.
    fn add_numbers_of_known_systems(&mut self, body: &Value, place: &str) {
        let inner = body
            .get("error")
            .filter(|error| error.is_object())
            .unwrap_or(body);
        let code = ["code", "errno", "errorNum"]
            .iter()
            .find_map(|key| integer_of(inner.get(*key)));
        let Some(code) = code else { return };
        let evidence = format!("{place} code {code}");
        let has = |key: &str| inner.get(key).is_some();
        let text = |key: &str| inner.get(key).and_then(Value::as_str).unwrap_or_default();
        if has("codeName") || has("errmsg") && has("ok") || text("name").starts_with("Mongo") {
            self.add_reading(codes::mongo(code), evidence);
        } else if has("fbtrace_id") || text("type").contains("OAuthException") {
            self.add_reading(codes::facebook(code), evidence);
        } else if text("more_info").contains("twilio")
            || (20_000..70_000).contains(&code) && has("more_info")
        {
            self.add_reading(codes::twilio(code), evidence);
        } else if has("sqlMessage") || has("sqlState") {
            self.add_reading(
                codes::mysql(integer_of(inner.get("errno")).unwrap_or(code)),
                evidence,
            );
        } else if (1..=16).contains(&code)
            && has("message")
            && (has("details") || inner.get("status").is_none())
        {
            self.add_reading(codes::grpc(code), evidence);
        }
    }
}

/// Fields that hold a code.
const CODE_FIELDS: &[&str] = &[
    "code",
    "type",
    "status",
    "reason",
    "errorcode",
    "errortype",
    "__type",
    "name",
    "errno",
    "sqlstate",
    "subcode",
    "errcode",
    "declinecode",
    "exception",
    "exceptiontype",
    "faultcode",
    "quotaid",
    "quotalimit",
    "codename",
    "error",
    "errorcodes",
    "errorlabels",
    "err",
    "rootcause",
    "causetype",
    "failurereason",
    "state",
    "category",
    "key",
    "errorname",
    "ec",
    "innererrorcode",
    "extendedcode",
    "limitname",
    "errortypename",
    "errorclass",
    "class_name",
    "statusreason",
    "failurecode",
    "errorid",
    "cls",
    ".tag",
    "issue",
];
/// Fields that hold a message.
const TEXT_FIELDS: &[&str] = &[
    "message",
    "msg",
    "detail",
    "details",
    "errordescription",
    "description",
    "title",
    "errormessage",
    "errmsg",
    "reason",
    "text",
    "hint",
    "faultstring",
    "error",
    "raw",
    "longmessage",
    "developermessage",
    "usermessage",
    "cause",
    "info",
    "errors",
    "failuremessage",
    "statusmessage",
    "summary",
    "err",
    "shortmessage",
    "explanation",
    "body",
    "messages",
    "errorinfo",
    "errortext",
    "response",
    "warning",
    "errormessages",
    "causedby",
    "nativeerror",
    "stderr",
    "output",
    "content",
    "note",
    "stoppedreason",
    "failurereason",
    "statusreason",
    "problem",
    "diagnostics",
    "desc",
    "errorsummary",
    "errormsg",
    "statusmsg",
];
/// Fields that hold an HTTP status.
const STATUS_FIELDS: &[&str] = &[
    "code",
    "status",
    "statuscode",
    "httpstatus",
    "httpstatuscode",
    "errorcode",
    "http_code",
    "httpcode",
    "upstreamstatus",
];
/// Fields that echo the request or describe the place; never evidence.
const ECHO_FIELDS: &[&str] = &[
    "request",
    "input",
    "param",
    "params",
    "parameters",
    "loc",
    "ctx",
    "value",
    "stack",
    "stacktrace",
    "trace",
    "documentation_url",
    "documentationurl",
    "help",
    "helpurl",
    "url",
    "path",
    "field",
    "headers",
    "query",
    "received",
    "submitted",
    "payload",
    "data_echo",
    "moreinfo",
    "instance",
    "links",
    "schema",
    "example",
    "rejectedvalue",
    "args",
    "arguments",
    "retrydelay",
    "retryafter",
    "metadata_echo",
    "requestbody",
    "original_request",
    "file",
    "line",
];

struct Walk<'a> {
    fault: &'a mut Fault,
    nodes: usize,
}

impl Walk<'_> {
    fn visit(&mut self, value: &Value, place: &str, depth: usize) {
        if depth > DEPTH_MAX || self.nodes == 0 {
            return;
        }
        self.nodes -= 1;
        match value {
            Value::Object(fields) => {
                for (key, value) in fields.iter().take(100) {
                    self.field(key, value, place, depth);
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter().take(50).enumerate() {
                    match item {
                        Value::String(text) => self.text(text, place, depth),
                        other => self.visit(other, &format!("{place}[{at}]"), depth + 1),
                    }
                }
            }
            Value::String(text) => self.text(text, place, depth),
            _ => {}
        }
    }

    fn field(&mut self, key: &str, value: &Value, place: &str, depth: usize) {
        let plain: String = key
            .chars()
            .filter(|c| *c != '-' && (*c != '_' || key.starts_with("__")))
            .collect();
        let plain = plain.to_lowercase();
        if ECHO_FIELDS.contains(&plain.as_str()) && plain != "parameters" {
            return;
        }
        let place = format!("{place}.{}", head(key, 60));
        match value {
            Value::String(text) => self.text_field(&plain, text, &place, depth),
            Value::Number(_) => self.number_field(&plain, value, &place),
            Value::Array(_) | Value::Object(_) => self.visit(value, &place, depth + 1),
            _ => {}
        }
    }

    fn text_field(&mut self, key: &str, text: &str, place: &str, depth: usize) {
        let is_word = text.len() <= 120
            && !text
                .trim()
                .contains(|c: char| c.is_whitespace() || c == '{');
        if is_word && (CODE_FIELDS.contains(&key) || TEXT_FIELDS.contains(&key)) {
            self.fault.add_code(text, place);
            if let Ok(number) = text.trim().parse::<i64>() {
                self.number_field(key, &Value::from(number), place);
            }
            // `RateLimited.` or a CJK sentence has no spaces either.
            if TEXT_FIELDS.contains(&key) {
                self.text(text, place, depth);
            }
        } else if TEXT_FIELDS.contains(&key) {
            self.text(text, place, depth);
        }
    }

    fn number_field(&mut self, key: &str, value: &Value, place: &str) {
        if (key == "responsecode" || key == "smtpcode") && self.smtp_field(value, place) {
            return;
        }
        if !STATUS_FIELDS.contains(&key) {
            return;
        }
        let Some(number) = integer_of(Some(value)) else {
            return;
        };
        if let Ok(status) = u16::try_from(number)
            && (400..600).contains(&status)
            && let Some((meaning, _)) = codes::status(status)
        {
            self.fault
                .readings
                .push(((meaning, Weight::Broad), format!("{place} = {status}")));
        }
    }

    /// Mail libraries put the SMTP reply code into a field of its own.
    ///
    /// Returns false for a number that is no SMTP reply; it may be an HTTP status.
    fn smtp_field(&mut self, value: &Value, place: &str) -> bool {
        let reading = match integer_of(Some(value)) {
            Some(421 | 450 | 451 | 452 | 454 | 455) => Meaning::Transient,
            Some(530 | 535 | 538) => Meaning::Persistent,
            Some(534) => Meaning::Human,
            Some(550..=556) => Meaning::Semantic,
            _ => return false,
        };
        self.fault
            .readings
            .push(((reading, Weight::Exact), format!("{place} = {value}")));
        true
    }

    /// Keeps a text; one that is itself JSON, as gateways wrap it, is taken apart too.
    fn text(&mut self, text: &str, place: &str, depth: usize) {
        let trimmed = text.trim();
        let looks_like_json =
            trimmed.starts_with('{') && trimmed.len() <= 32 * 1024 && depth < DEPTH_MAX;
        if looks_like_json && let Ok(inner) = serde_json::from_str::<Value>(trimmed) {
            self.visit(&inner, place, depth + 1);
            return;
        }
        self.fault.add_text(text, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn taken_apart(body: &Value) -> Fault {
        let mut fault = Fault::new(Kind::Http, "status 400");
        fault.add_json(body, "body", &Map::new());
        fault
    }

    #[test]
    fn codes_keep_their_place() {
        let fault = taken_apart(
            &json!({"error": {"code": "insufficient_quota", "message": "You exceeded it"}}),
        );
        assert_eq!(
            fault.codes,
            [(
                "insufficient_quota".to_owned(),
                "body.error.code".to_owned()
            )]
        );
        assert_eq!(
            fault.texts,
            [(
                "You exceeded it".to_owned(),
                "body.error.message".to_owned()
            )]
        );
    }

    #[test]
    fn an_echo_of_the_request_is_no_evidence() {
        let fault = taken_apart(
            &json!({"detail": [{"type": "missing", "input": {"message": "connection timed out"}}]}),
        );
        assert!(fault.texts.is_empty(), "{:?}", fault.texts);
    }

    #[test]
    fn an_error_wrapped_as_text_is_taken_apart() {
        let fault = taken_apart(
            &json!({"error": {"metadata": {"raw": "{\"error\":{\"code\":\"context_length_exceeded\"}}"}}}),
        );
        assert_eq!(fault.codes.len(), 1);
    }

    #[test]
    fn deep_and_wide_bodies_are_bounded() {
        let mut body = json!({"message": "x"});
        for _ in 0..60 {
            body = json!({"error": body, "errors": vec![json!({"message": "m"}); 60]});
        }
        let fault = taken_apart(&body);
        assert!(fault.texts.len() <= FINDS_MAX);
    }
}
