//! Digests of a result: as it is, and without its volatile bytes.
//!
//! Masked are: terminal colours, ISO times and clocks, durations, hex
//! addresses, UUIDs, random ids with a known prefix or label, temporary paths,
//! ephemeral ports, process ids with a label, and bookkeeping fields of JSON.
//! Never masked: bare numbers. Where nothing but volatile bytes would remain
//! (a clock tool), the masked digest is the raw one.
//!
//! Must see results whole, before anything truncates them.

use std::borrow::Cow;

use serde_json::Value;

use super::digest::{Digest, Hasher};
use super::volatile::mask_text;

/// Bytes at each end of a long text that are masked; the middle counts as it is.
const END_BYTES: usize = 48 * 1024;
/// Nesting that is looked into.
const DEPTH_MAX: usize = 48;

/// Both digests of a result.
pub(super) struct Digests {
    /// The result as it is.
    pub raw: Digest,
    /// Without volatile bytes.
    pub masked: Digest,
}

/// Returns the digests of a result. With `creates`, every word with a digit is
/// volatile too: the answer names the new thing.
pub(super) fn digests(result: &Value, creates: bool) -> Digests {
    let mut raw = Hasher::new();
    hash_value(&mut raw, result, 0);
    let raw = raw.finish();
    let mut masker = Masker {
        out: String::new(),
        solid: false,
        creates,
    };
    masker.value(result, 0);
    let masked = if masker.solid {
        Digest::of(masker.out.as_bytes())
    } else {
        raw
    };
    Digests { raw, masked }
}

fn hash_value(hasher: &mut Hasher, value: &Value, depth: usize) {
    match value {
        Value::String(text) => hasher.write(text.as_bytes()),
        Value::Array(items) if depth < DEPTH_MAX => {
            hasher.write(b"[");
            items
                .iter()
                .for_each(|item| hash_value(hasher, item, depth + 1));
        }
        Value::Object(map) if depth < DEPTH_MAX => {
            hasher.write(b"{");
            for (key, value) in map {
                hasher.write(key.as_bytes());
                hash_value(hasher, value, depth + 1);
            }
        }
        Value::Array(_) | Value::Object(_) => hasher.write(b"~"),
        value => hasher.write(value.to_string().as_bytes()),
    }
}

struct Masker {
    out: String,
    /// Something remained that is not volatile.
    solid: bool,
    creates: bool,
}

impl Masker {
    fn value(&mut self, value: &Value, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        match value {
            Value::String(text) => self.string(text, depth),
            Value::Array(items) => {
                self.out.push('[');
                for item in items {
                    self.value(item, depth + 1);
                    self.out.push(',');
                }
                self.solid |= items.is_empty();
            }
            Value::Object(map) => {
                self.out.push('{');
                for (key, value) in map {
                    if is_bookkeeping(key) || self.creates && is_id(key) {
                        continue;
                    }
                    self.out.push_str(key);
                    self.out.push('=');
                    self.value(value, depth + 1);
                    self.out.push(',');
                }
                self.solid |= map.is_empty();
            }
            Value::Number(_) if self.creates => self.out.push('#'),
            value => {
                self.solid = true;
                self.out.push_str(&value.to_string());
            }
        }
    }

    fn string(&mut self, text: &str, depth: usize) {
        let start = text.trim_start();
        if start.starts_with(['{', '['])
            && text.len() <= 2 * END_BYTES
            && let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(start)
        {
            return self.value(&value, depth + 1);
        }
        if text.len() <= 2 * END_BYTES {
            self.solid |= mask_text(text, &mut self.out, self.creates) || text.is_empty();
            return;
        }
        let head = floor(text, END_BYTES);
        let tail = floor(text, text.len() - END_BYTES);
        self.solid |= mask_text(&text[..head], &mut self.out, self.creates);
        self.out
            .push_str(&Digest::of(&text.as_bytes()[head..tail]).to_string());
        self.solid |= mask_text(&text[tail..], &mut self.out, self.creates);
    }
}

pub(super) fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// Returns whether a field of a JSON result is about the answer, not its subject.
#[rustfmt::skip]
pub(super) fn is_bookkeeping(key: &str) -> bool {
    let compact: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .take(32)
        .collect();
    matches!(
        compact.as_str(),
        "timestamp" | "timestampms" | "ts" | "time" | "now" | "date" | "servertime" | "duration"
            | "durationms" | "durations" | "durationseconds" | "elapsed" | "elapsedms" | "elapsedseconds"
            | "elapseds" | "took" | "tookms" | "latency" | "latencyms" | "timems" | "walltime"
            | "walltimeseconds" | "executiontime" | "executiontimems" | "querytime" | "querytimems"
            | "responsetime" | "responsetimems" | "runtimems" | "requestid" | "xrequestid" | "reqid"
            | "traceid" | "spanid" | "correlationid" | "pid" | "ppid" | "processid" | "nonce" | "messageid"
            | "eventid" | "invocationid" | "executionid" | "fetchedat" | "checkedat" | "generatedat"
            | "retrievedat" | "lastchecked" | "lastcheckedat" | "asof" | "queriedat" | "respondedat"
            | "createdat" | "updatedat" | "sentat" | "polledat" | "etag" | "serverid" | "uptime"
            | "uptimeseconds" | "chunkid" | "seed" | "retrievedon" | "runid" | "logid" | "transactiontime"
    )
}

fn is_id(key: &str) -> bool {
    let lower = key.to_ascii_lowercase();
    lower == "id"
        || lower.ends_with("_id")
        || key.ends_with("Id")
        || lower == "number"
        || lower == "url"
        || lower == "uuid"
        || lower == "sid"
}

/// Returns the text of a result: a string as it is, the texts of content
/// blocks and of output fields one after the other, anything else as JSON.
pub(super) fn text_of(result: &Value) -> Cow<'_, str> {
    match result {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(items)
            if !items.is_empty()
                && items
                    .iter()
                    .all(|item| item.get("text").is_some_and(Value::is_string)) =>
        {
            let texts: Vec<&str> = items
                .iter()
                .filter_map(|item| item.get("text")?.as_str())
                .collect();
            Cow::Owned(texts.join("\n"))
        }
        Value::Object(map) if map.get("content").is_some_and(Value::is_array) => {
            text_of(&map["content"])
        }
        value => Cow::Owned(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn digests_table() {
        #[rustfmt::skip]
        let rows = [
            ("bookkeeping fields go", json!({"a": 1, "request_id": "x", "took_ms": 3}), json!({"a": 1, "request_id": "y", "took_ms": 4}), false, true),
            ("JSON in text is JSON", json!("{\"a\":1,\"ts\":1}"), json!("{\"a\":1,\"ts\":2}"), false, true),
            ("a process is not the answer", json!("FAIL\nProcess Group PGID: 5412"), json!("FAIL\nProcess Group PGID: 5431"), false, true),
            ("a clock stays a clock", json!("2026-01-31T12:00:00Z"), json!("2026-01-31T12:00:01Z"), false, false),
            ("an id is the answer", json!({"id": 17}), json!({"id": 18}), false, false),
            ("a new thing's id is not", json!({"status": "sent", "id": 17}), json!({"status": "sent", "id": 18}), true, true),
            ("a moving cursor is the answer", json!({"items": [], "cursor": "a"}), json!({"items": [], "cursor": "b"}), false, false),
        ];
        for (name, one, other, creates, want) in rows {
            let (a, b) = (digests(&one, creates), digests(&other, creates));
            assert_eq!(a.masked == b.masked, want, "row: {name}");
            assert_ne!(a.raw, b.raw, "row: {name}");
        }
    }
}
