//! The keys of a run, hidden wherever they come back.
//!
//! An upstream, or a proxy before it, may repeat a key in the text of an error, in
//! a header or in an event. The agent, its log and the journal get `***`.
//!
//! Not promised: encoded forms, and a key that is cut in two by the end of an
//! event.

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use regex::bytes::{NoExpand, Regex};

use super::wire::Frame;

/// Fewest bytes of a key; see [`is_key`].
const KEY_BYTES_MIN: usize = 12;

/// What stands in the place of a key.
const HIDDEN: &str = "***";

/// The keys to hide.
#[derive(Clone, Default)]
pub(super) struct Secrets(Option<Regex>);

impl Secrets {
    /// Makes them of the values of headers, `Bearer` left out.
    pub(super) fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut keys: Vec<String> = values
            .into_iter()
            .map(|value| value.strip_prefix("Bearer ").unwrap_or(value))
            .filter(|key| is_key(key))
            .map(regex::escape)
            .collect();
        // A key may begin another one: the longer one first.
        keys.sort_by_key(|key| std::cmp::Reverse(key.len()));
        let found = (!keys.is_empty()).then(|| Regex::new(&keys.join("|")));
        Self(found.and_then(Result::ok))
    }

    /// Returns a body without them.
    pub(super) fn hide(&self, body: Bytes) -> Bytes {
        match &self.0 {
            Some(keys) if keys.is_match(&body) => hidden(keys, &body).into(),
            _ => body,
        }
    }

    /// Returns the head of an answer without them.
    pub(super) fn hide_in_headers(&self, mut headers: HeaderMap) -> HeaderMap {
        let Some(keys) = &self.0 else { return headers };
        for value in headers.values_mut() {
            if keys.is_match(value.as_bytes()) {
                let nothing = HeaderValue::from_static(HIDDEN);
                *value =
                    HeaderValue::from_bytes(&hidden(keys, value.as_bytes())).unwrap_or(nothing);
            }
        }
        headers
    }

    /// Returns an event without them.
    pub(super) fn hide_in_frame(&self, mut frame: Frame) -> Frame {
        let Some(keys) = &self.0 else { return frame };
        if keys.is_match(&frame.raw) {
            let text =
                |text: &str| String::from_utf8_lossy(&hidden(keys, text.as_bytes())).into_owned();
            frame.raw = hidden(keys, &frame.raw);
            frame.event = text(&frame.event);
            frame.data = frame.data.as_deref().map(text);
        }
        frame
    }
}

/// Whether a value is a key, and not a word for servers that want none
/// (`lm-studio`, `sk-no-key-required`), which models write in earnest.
fn is_key(value: &str) -> bool {
    value.len() >= KEY_BYTES_MIN && value.bytes().any(|byte| byte.is_ascii_digit())
}

fn hidden(keys: &Regex, bytes: &[u8]) -> Vec<u8> {
    keys.replace_all(bytes, NoExpand(HIDDEN.as_bytes()))
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::wire::sse;
    use super::*;

    #[test]
    fn bodies_table() {
        let none = "sk-no-key-required";
        let secrets = Secrets::new([
            "sk-1.2+3(4-abcd",
            "Bearer sk-abc-123456",
            "sk-abc-12345678",
            "ok1",
            none,
        ]);
        #[rustfmt::skip]
        let rows = [
            ("in an error",         "{\"message\": \"sk-1.2+3(4-abcd is wrong\"}", "{\"message\": \"*** is wrong\"}"),
            ("twice",               "sk-abc-123456sk-abc-123456", "******"),
            ("one begins another",  "sk-abc-12345678",     "***"),
            ("a dot is a dot",      "sk-1-2+3(4-abcd",     "sk-1-2+3(4-abcd"),
            ("too short to hide",   "ok1",                 "ok1"),
            ("a word and no key",   none,                  none),
        ];
        for (name, body, want) in rows {
            let hidden = secrets.hide(Bytes::from_static(body.as_bytes()));
            assert_eq!(hidden, want, "row: {name}");
        }
        let none = Secrets::default();
        assert_eq!(
            none.hide(Bytes::from_static(b"sk-abc-123456")),
            "sk-abc-123456"
        );
    }

    #[test]
    fn heads_and_events() {
        let secrets = Secrets::new(["sk-abc-123456"]);
        let value = HeaderValue::from_static("Bearer sk-abc-123456");
        let head = secrets.hide_in_headers(HeaderMap::from_iter([(hyper::header::WARNING, value)]));
        assert_eq!(head[hyper::header::WARNING], "Bearer ***");
        let mut frames = sse::Reader::default();
        frames.feed(b"event: sk-abc-123456\ndata: got sk-abc-123456\n\n");
        let frame = secrets.hide_in_frame(frames.next_frame().unwrap().unwrap());
        assert_eq!(frame.raw, b"event: ***\ndata: got ***\n\n");
        assert_eq!(
            (frame.event.as_str(), frame.data.as_deref()),
            ("***", Some("got ***"))
        );
    }
}
