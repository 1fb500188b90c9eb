//! An HTTP answer, or its absence, as the taxonomy and the model see it.
//!
//! Nothing is sent or read here; see [`super::http`] for what is.

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value, json};

use crate::machine::event::Delivery;
use crate::policy::taxonomy::Kind;

use super::content::{self, Stream};
use super::download::{BODY_BYTES_MAX, Downloaded};
use super::home::Home;
use super::http::Shown;
use super::toolbox::Outcome;

/// Longest header value in an observation, in bytes.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// Tells the taxonomy about a redirect that was not followed.
const NOT_FOLLOWED: &str = "invalid_request_url";

/// The start of an answer.
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Where it redirects to, and why that was not followed.
    pub(super) not_followed: Option<String>,
}

/// Describes an answer.
///
/// - `is_whole`: the body came to its end.
pub(super) fn answered(
    home: &Home,
    head: &Head,
    body: Downloaded,
    is_whole: bool,
    shown: &Shown,
) -> Outcome {
    let status = head.status.as_u16();
    let delivery = match status {
        502 | 504 | 520..=524 => Delivery::Unknown,
        _ => Delivery::Answered,
    };
    let is_error = !head.status.is_success() && head.status != StatusCode::NOT_MODIFIED;
    let is_text = body.is_utf8 || !is_binary(&head.headers);
    let whole = is_whole && !body.truncated && !body.is_too_long && is_text;
    let stream = as_stream(home, head, body, is_text);
    let reason = head
        .status
        .canonical_reason()
        .map(|reason| format!(" {reason}"))
        .unwrap_or_default();
    let note = head
        .not_followed
        .iter()
        .map(|why| format!(": {}", home.secrets.hide(why)));
    let first_line = format!("HTTP {status}{reason}{}", note.collect::<String>());
    let first_line = (!head.status.is_success()).then_some(first_line.as_str());
    let headers = shown_headers(home, &head.headers);
    let result = match first_line.filter(|_| head.not_followed.is_some()) {
        // What the request asked for did not come, and an HTTP client that
        // does not follow has no status for that. The task file is at fault,
        // and a repeat would be no better.
        Some(why) => {
            let error = json!({"error": {"code": NOT_FOLLOWED, "message": why}});
            json!({"status": 0, "headers": headers, "body": error})
        }
        None => {
            let json: Option<Value> = serde_json::from_str(&stream.text).ok().filter(|_| whole);
            let body = json.unwrap_or_else(|| Value::from(stream.text.as_str()));
            json!({"status": status, "headers": headers, "body": body})
        }
    };
    Outcome {
        kind: Kind::Http,
        result,
        context: context(home, shown),
        delivery,
        content: content::of_body(first_line, &stream, is_error),
        whole: whole.then(|| stream.text.clone()),
        succeeded: head.status.is_success(),
        took_ms: 0,
    }
}

fn as_stream(home: &Home, head: &Head, body: Downloaded, is_text: bool) -> Stream {
    let mut text = if is_text {
        home.secrets.hide(&body.text).into_owned()
    } else {
        let kind = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let place = body
            .path
            .as_ref()
            .map(|path| format!(", in {}", path.display()));
        format!(
            "[{} bytes of {}{}]",
            body.bytes_total,
            kind.unwrap_or("an unknown kind"),
            place.unwrap_or_default()
        )
    };
    if body.is_too_long {
        text.push_str(&format!(
            "\n[the answer goes on after {BODY_BYTES_MAX} bytes; that was not read]"
        ));
    }
    Stream {
        text,
        bytes_total: if is_text { body.bytes_total } else { 0 },
        truncated: body.truncated || body.is_too_long || !is_text,
        path: body.path,
    }
}

/// Whether the answer says that it is no text.
fn is_binary(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let families = ["image/", "audio/", "video/", "font/"];
    let kinds = [
        "octet-stream",
        "/zip",
        "/gzip",
        "/x-gzip",
        "/pdf",
        "/x-tar",
        "/wasm",
        "/zstd",
    ];
    families.iter().any(|family| kind.starts_with(family))
        || kinds.iter().any(|end| kind.ends_with(end))
}

/// Describes a request without an answer.
///
/// - `words`: what went wrong.
pub(super) fn no_answer(home: &Home, words: &str, delivery: Delivery, shown: &Shown) -> Outcome {
    let words = home.secrets.hide(words);
    Outcome {
        kind: Kind::Http,
        result: json!({"status": 0, "headers": {}, "body": words}),
        context: context(home, shown),
        delivery,
        content: content::of_nothing(&words),
        whole: None,
        succeeded: false,
        took_ms: 0,
    }
}

fn context(home: &Home, shown: &Shown) -> Map<String, Value> {
    let url = home.secrets.hide(&shown.url);
    let request = json!({"method": shown.method, "url": url});
    Map::from_iter([("request".to_owned(), request)])
}

/// Returns the headers of an answer: names in small letters, repeated ones
/// joined with a comma, secrets and cookies hidden.
fn shown_headers(home: &Home, headers: &HeaderMap) -> Map<String, Value> {
    let mut shown = Map::new();
    for name in headers.keys() {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        let mut text = home.secrets.hide(&values.join(", ")).into_owned();
        if name.as_str() == "set-cookie" {
            text = "***".to_owned();
        }
        text.truncate(text.floor_char_boundary(HEADER_BYTES_MAX));
        shown.insert(name.as_str().to_owned(), Value::from(text));
    }
    shown
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn binary_kinds() {
        let rows = [
            ("image/png", true),
            ("application/octet-stream", true),
            ("application/pdf; x=1", true),
            ("application/json", false),
            ("text/html; charset=latin1", false),
            ("", false),
        ];
        for (kind, want) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_binary(&headers), want, "row: {kind}");
        }
    }
}
