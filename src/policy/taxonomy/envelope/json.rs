//! JSON answers that are an error as a whole.

use serde_json::{Map, Value};

use crate::policy::taxonomy::meaning::Meaning;
use crate::policy::taxonomy::observation::{integer_of, is_blank};
use crate::policy::taxonomy::words;

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
    "error_msg",
    "errormsg",
    "err_msg",
    "err_code",
    "base_resp",
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
    "object",
    "issuccess",
    "is_success",
    "haserror",
    "has_error",
];

/// Whether a JSON answer is an error envelope as a whole.
pub(in super::super) fn is_error(value: &Value) -> bool {
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
    if is_record(fields) || is_check(fields) {
        return false;
    }
    if is_failed_exchange(fields) || is_bare_message(fields) || is_marked(fields) {
        return true;
    }
    if fields.len() == 1
        && let Some(Value::Object(inner)) = fields.get("response")
    {
        return is_error_object(inner);
    }
    if !is_only_about_error(fields) {
        return false;
    }
    let get = |names: &[&str]| names.iter().find_map(|name| field(fields, name));
    if get(&["error", "fault", "exception"]).is_some_and(names_an_error) {
        return true;
    }
    let says_no = ["ok", "success", "succeeded", "issuccess", "is_success"]
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

/// Whether the object is an HTTP answer of status 400 or above, as a tool that makes requests hands it on.
fn is_failed_exchange(fields: &Map<String, Value>) -> bool {
    const STATUS: [&str; 3] = ["statuscode", "status_code", "status"];
    const OTHERS: [&str; 9] = [
        "headers",
        "body",
        "data",
        "statustext",
        "status_text",
        "url",
        "method",
        "ok",
        "error",
    ];
    let status = STATUS
        .iter()
        .find_map(|name| integer_of(field(fields, name)));
    let is_exchange = ["headers", "body"]
        .iter()
        .any(|name| field(fields, name).is_some())
        && fields.keys().all(|key| {
            let key = key.to_ascii_lowercase();
            STATUS.contains(&key.as_str()) || OTHERS.contains(&key.as_str())
        });
    is_exchange && status.is_some_and(|status| (400..600).contains(&status))
}

/// Marks of two services: Lambda's `FunctionError`, GitHub's message with a link to its manual.
fn is_marked(fields: &Map<String, Value>) -> bool {
    let is_github = ["message", "documentation_url"]
        .iter()
        .all(|name| fields.get(*name).is_some_and(Value::is_string))
        && fields.len() <= 4;
    is_github || fields.get("FunctionError").is_some_and(Value::is_string)
}

/// Whether nothing but a message is there, and it is one that gateways and frameworks answer with.
fn is_bare_message(fields: &Map<String, Value>) -> bool {
    const WORDS_MAX: usize = 5;
    let mut message = None;
    for (key, value) in fields.iter().take(10).filter(|(_, value)| !is_blank(value)) {
        match (key.to_ascii_lowercase().as_str(), value) {
            ("message" | "msg" | "detail", Value::String(text)) => message = Some(text),
            ("status" | "code", Value::Number(_)) => {}
            _ => return false,
        }
    }
    let text = message.map_or("", |text| text.trim());
    let is_known = text.trim_end_matches('.').eq_ignore_ascii_case("not found")
        || words::read(text).is_some_and(|meaning| {
            matches!(
                meaning,
                Meaning::Persistent | Meaning::Transient | Meaning::Rate | Meaning::Cost
            )
        });
    text.split_whitespace().count() <= WORDS_MAX && is_known
}

/// Fields a record has and an error has not.
const RECORD_FIELDS: &[&str] = &[
    "title",
    "name",
    "created_at",
    "createdat",
    "created",
    "updated_at",
    "updatedat",
    "labels",
    "assignee",
    "items",
    "author",
    "state",
    "score",
    "count",
    "total",
];
/// Plain fields beyond the companions that an error may bring along.
const EXTRAS_MAX: usize = 2;

/// Whether little but an error and its companions is in the object.
fn is_only_about_error(fields: &Map<String, Value>) -> bool {
    let mut extras = 0;
    let has_error = ["error", "errors"]
        .iter()
        .any(|name| field(fields, name).is_some_and(names_an_error));
    fields.iter().take(60).all(|(key, value)| {
        if is_companion(key, value) {
            return true;
        }
        extras += 1;
        let is_plain = !value.is_object() && !value.is_array();
        has_error
            && is_plain
            && extras <= EXTRAS_MAX
            && !RECORD_FIELDS.contains(&key.to_ascii_lowercase().as_str())
    })
}

fn is_companion(key: &str, value: &Value) -> bool {
    let key = key.to_ascii_lowercase();
    let is_data = matches!(key.as_str(), "data" | "result" | "body" | "payload");
    is_blank(value)
        || COMPANIONS.contains(&key.as_str())
            && (key != "result" || is_empty_data(value) || value.is_string())
        || key.starts_with('_')
        || key.starts_with("x-")
        || is_data && (is_empty_data(value) || value.is_string() && key == "body")
        || matches!(
            key.as_str(),
            "errno" | "faultcode" | "faultstring" | "sqlstate"
        )
}

/// Whether the object is a record of something that may have failed, such as a job.
fn is_record(fields: &Map<String, Value>) -> bool {
    let is_job = field(fields, "id").is_some_and(|id| !is_blank(id))
        && ["status", "state"]
            .iter()
            .any(|name| field(fields, name).is_some_and(Value::is_string));
    is_job && !fields.contains_key("jsonrpc")
}

/// Whether the object answers a question of validity: its errors are those of what was checked.
fn is_check(fields: &Map<String, Value>) -> bool {
    ["valid", "isvalid", "is_valid"]
        .iter()
        .any(|name| field(fields, name).is_some_and(Value::is_boolean))
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

pub(in super::super) fn names_an_error(error: &Value) -> bool {
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
        Value::Object(fields) => fields.values().take(200).all(is_blank),
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
        "error_message",
        "error_description",
        "body",
        "reason",
        "description",
    ]
    .iter()
    .any(|name| field(fields, name).is_some());
    let status = field(fields, "status")
        .or_else(|| field(fields, "result"))
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let explains = ["error_message", "errormessage"].iter().any(|name| {
        let text = field(fields, name).and_then(Value::as_str);
        text.is_some_and(|text| !text.trim().is_empty())
    });
    let is_fine = matches!(
        status.as_str(),
        "" | "ok" | "success" | "succeeded" | "done" | "zero_results"
    );
    let is_worded = explains && !is_fine
        || matches!(
            status.as_str(),
            "error" | "fail" | "failed" | "failure" | "err" | "ko"
        );
    let is_shouted = field(fields, "status")
        .and_then(Value::as_str)
        .is_some_and(|status| shouts_failure(status) && others_are_blank(fields));
    numeric && has_words
        || is_shouted
        || is_worded && (has_words || fields.len() == 1 || field(fields, "code").is_some())
}

/// `INVALID_REQUEST`, `UNKNOWN_ERROR`: a constant with a word of failure in it.
fn shouts_failure(status: &str) -> bool {
    const WORDS: [&str; 10] = [
        "ERROR",
        "INVALID",
        "DENIED",
        "FAILED",
        "FAILURE",
        "EXCEEDED",
        "LIMIT",
        "FORBIDDEN",
        "UNAUTHORIZED",
        "UNAVAILABLE",
    ];
    status.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        && status.split('_').any(|word| WORDS.contains(&word))
}

/// Whether nothing but the status and words about it is filled in.
fn others_are_blank(fields: &Map<String, Value>) -> bool {
    fields.iter().take(20).all(|(name, value)| {
        is_blank(value)
            || value.is_string() && COMPANIONS.contains(&name.to_ascii_lowercase().as_str())
    })
}

fn has_error_code(fields: &Map<String, Value>) -> bool {
    let text = |name: &str| field(fields, name).and_then(Value::as_str);
    let has_message = ["message", "msg", "errmsg", "errormessage", "error_message"]
        .iter()
        .any(|name| text(name).is_some());
    if fields.contains_key("__type") || text("errortype").is_some() && has_message {
        return true;
    }
    let own_code = ["errcode", "err_code", "errorcode", "error_code"];
    if own_code
        .iter()
        .any(|name| integer_of(field(fields, name)).is_some_and(|code| code != 0))
    {
        return true;
    }
    // A status object of its own beside the answer, which then is empty.
    let own_status = field(fields, "base_resp").and_then(|status| status.get("status_code"));
    if integer_of(own_status).is_some_and(|code| code != 0) {
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

/// Mutations of GraphQL services that report the caller's mistakes inside their data:
/// Shopify's `userErrors`, Rails' `errors` beside nothing else.
fn has_user_errors(fields: &Map<String, Value>) -> bool {
    let Some(Value::Object(data)) = fields.get("data") else {
        return false;
    };
    !data.is_empty() && data.len() <= 20 && data.values().all(mutation_failed)
}

fn mutation_failed(answer: &Value) -> bool {
    let Some(fields) = answer.as_object() else {
        return false;
    };
    let has_entries = |name: &&str| {
        fields
            .get(*name)
            .and_then(Value::as_array)
            .is_some_and(|entries| !entries.is_empty())
    };
    let is_otherwise_empty = fields.iter().all(|(name, value)| {
        name == "errors"
            || name.ends_with("serErrors")
            || is_blank(value)
            || value == &Value::Bool(false)
    });
    let names_user_errors = fields.iter().any(|(name, value)| {
        name.ends_with("serErrors") && value.as_array().is_some_and(|list| !list.is_empty())
    });
    let says_no = fields.get("success") == Some(&Value::Bool(false));
    names_user_errors
        || says_no && is_otherwise_empty
        || fields.len() > 1 && has_entries(&"errors") && is_otherwise_empty
}
