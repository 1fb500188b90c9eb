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
use super::print::Talk;

/// Bytes at each end of a long text that are masked; the middle counts as it is.
const END_BYTES: usize = 48 * 1024;
/// Nesting that is looked into.
const DEPTH_MAX: usize = 48;
/// Bytes of an error that are compared.
const ERROR_BYTES_MAX: usize = 2048;
/// What stands for a masked word.
const HOLE: &str = "‹›";

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

fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// Returns whether a field of a JSON result is about the answer, not its subject.
fn is_bookkeeping(key: &str) -> bool {
    let compact: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .take(32)
        .collect();
    matches!(
        compact.as_str(),
        "timestamp"
            | "timestampms"
            | "ts"
            | "time"
            | "now"
            | "date"
            | "servertime"
            | "duration"
            | "durationms"
            | "durations"
            | "durationseconds"
            | "elapsed"
            | "elapsedms"
            | "elapsedseconds"
            | "elapseds"
            | "took"
            | "tookms"
            | "latency"
            | "latencyms"
            | "timems"
            | "walltime"
            | "walltimeseconds"
            | "executiontime"
            | "executiontimems"
            | "querytime"
            | "querytimems"
            | "responsetime"
            | "responsetimems"
            | "runtimems"
            | "requestid"
            | "xrequestid"
            | "reqid"
            | "traceid"
            | "spanid"
            | "correlationid"
            | "pid"
            | "ppid"
            | "processid"
            | "nonce"
            | "messageid"
            | "eventid"
            | "invocationid"
            | "executionid"
            | "fetchedat"
            | "checkedat"
            | "generatedat"
            | "retrievedat"
            | "lastchecked"
            | "lastcheckedat"
            | "asof"
            | "queriedat"
            | "respondedat"
            | "createdat"
            | "updatedat"
            | "sentat"
            | "polledat"
            | "etag"
            | "serverid"
            | "uptime"
            | "uptimeseconds"
            | "chunkid"
            | "seed"
            | "retrievedon"
            | "runid"
            | "logid"
            | "transactiontime"
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

/// Where the scanner stands between two words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    None,
    /// A word such as `request`, which an `id` may follow.
    Half,
    /// The next word with a digit is volatile.
    Full,
    /// `saved`, which `to` may follow.
    Saved,
    /// The next path is volatile if it holds a digit.
    SavedTo,
}

/// Writes `text` to `out` with volatile words masked and spaces collapsed.
/// Returns whether anything with a letter or digit remained.
pub(super) fn mask_text(text: &str, out: &mut String, creates: bool) -> bool {
    let bytes = text.as_bytes();
    let (mut at, mut solid, mut space) = (0, false, true);
    let mut label = Label::None;
    let mut number_at: Option<usize> = None;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte == 0x1b {
            at = end_of_escape(bytes, at);
            continue;
        }
        if !is_word_byte(byte) {
            at += 1;
            if byte.is_ascii_whitespace() {
                if !space {
                    out.push(' ');
                }
                space = true;
                continue;
            }
            space = false;
            number_at = number_at.filter(|_| matches!(byte, b'(' | b')'));
            if !matches!(byte, b'=' | b'#' | b'"' | b'\'' | b'(' | b'[' | b'<') {
                label = Label::None;
            }
            out.push(char::from(byte));
            continue;
        }
        let start = at;
        while at < bytes.len() && is_word_byte(bytes[at]) {
            at += 1;
        }
        space = false;
        // A trailing sign ends the sentence, not the word.
        let word = text[start..at].trim_end_matches(['.', ':']);
        let after = &text[start + word.len()..at];
        let written_at = out.len();
        let bracketed = start > 1
            && bytes[start - 1] == b'['
            && bytes[start - 2].is_ascii_alphanumeric()
            && bytes.get(at) == Some(&b']');
        if is_volatile(word, label, bracketed)
            || creates && word.bytes().any(|b| b.is_ascii_digit())
        {
            out.push_str(HOLE);
            number_at = None;
        } else if number_at.is_some() && is_time_unit(word) {
            out.truncate(number_at.unwrap_or(out.len()));
            out.push_str(HOLE);
            number_at = None;
        } else if let Some((name, value)) = labelled(word) {
            out.push_str(name);
            out.push('=');
            out.push_str(HOLE);
            solid = true;
            let _ = value;
            number_at = None;
        } else {
            out.push_str(word);
            solid |= word.bytes().any(|b| b.is_ascii_alphanumeric() || b >= 0x80);
            number_at = is_number(word).then_some(written_at);
        }
        out.push_str(after);
        label = next_label(label, word);
    }
    solid
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'_' | b'.' | b':' | b'/' | b'\\' | b'+' | b'-' | b'~')
        || byte >= 0x80
}

fn end_of_escape(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) != Some(&b'[') {
        return at + 1;
    }
    let end = bytes[at + 2..]
        .iter()
        .take(24)
        .position(|b| b.is_ascii_alphabetic());
    end.map_or(at + 2, |end| at + 2 + end + 1)
}

fn next_label(label: Label, word: &str) -> Label {
    if word.len() > 16 {
        return Label::None;
    }
    let lower = word.to_ascii_lowercase();
    match lower.as_str() {
        "pid" | "ppid" | "request_id" | "request-id" | "x-request-id" | "requestid"
        | "trace_id" | "trace-id" | "traceid" | "span_id" | "correlation_id" | "correlation-id"
        | "message_id" | "message-id" | "messageid" | "nonce" | "timestamp" | "ts" | "took"
        | "elapsed" | "duration" | "latency" | "seed" | "epoch" | "session_id"
        | "invocation_id" | "uptime" => Label::Full,
        "request" | "trace" | "span" | "correlation" | "message" | "process" | "session"
        | "invocation" | "event" => Label::Half,
        "id" if label == Label::Half => Label::Full,
        "saved" | "stored" | "dumped" | "spilled" | "logged" | "written" | "output"
        | "screenshot" => Label::Saved,
        "to" | "at" | "in" | "as" | "path" if label == Label::Saved => Label::SavedTo,
        "is" | "of" | "=" | "" => label,
        _ => Label::None,
    }
}

fn is_volatile(word: &str, label: Label, bracketed: bool) -> bool {
    let bytes = word.as_bytes();
    if !bytes.iter().any(u8::is_ascii_digit) && !word.contains("/tmp") {
        return false;
    }
    match label {
        Label::Full => return bytes.len() >= 2 || is_number(word),
        Label::SavedTo if word.contains(['/', '.', '\\']) => return true,
        _ => {}
    }
    is_clock(bytes)
        || is_duration(word)
        || is_uuid(bytes)
        || is_address(word)
        || is_random_id(word)
        || is_temp_path(word)
        || is_ephemeral_port(word)
        || bracketed && bytes.len() >= 3 && bytes.iter().all(u8::is_ascii_digit)
}

/// `2026-01-31T12:00:00Z`, `12:00:01`, `12:00:01,123`, `12:00:01+02:00`.
fn is_clock(bytes: &[u8]) -> bool {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    if bytes.len() > 10
        && digit(0)
        && digit(3)
        && bytes[4] == b'-'
        && digit(5)
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't' | b'_' | b'-')
    {
        return digit(11);
    }
    let colon = bytes.iter().take(3).position(|b| *b == b':').unwrap_or(0);
    colon > 0
        && bytes[..colon].iter().all(u8::is_ascii_digit)
        && digit(colon + 1)
        && digit(colon + 2)
        && bytes.get(colon + 3) == Some(&b':')
        && digit(colon + 4)
        && digit(colon + 5)
        && bytes[colon + 6..]
            .iter()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b',' | b'Z' | b'+' | b'-' | b':'))
}

/// `0.53s`, `12ms`, `1m30s`, `0m1.2s`; not `5m`, which may be metres or bytes.
fn is_duration(word: &str) -> bool {
    let (mut rest, mut parts, mut last) = (word, 0, "");
    if !rest.as_bytes()[0].is_ascii_digit() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |end| digits + end);
        let unit = &rest[digits..unit_end];
        let known = matches!(
            unit,
            "ns" | "us"
                | "µs"
                | "μs"
                | "ms"
                | "s"
                | "sec"
                | "secs"
                | "second"
                | "seconds"
                | "m"
                | "min"
                | "mins"
                | "h"
                | "d"
        );
        if digits == 0 || !known {
            return false;
        }
        (rest, parts, last) = (&rest[unit_end..], parts + 1, unit);
    }
    parts > 1 || !matches!(last, "m" | "h" | "d")
}

fn is_time_unit(word: &str) -> bool {
    matches!(
        word,
        "ns" | "us"
            | "µs"
            | "ms"
            | "s"
            | "sec"
            | "secs"
            | "second"
            | "seconds"
            | "millisecond"
            | "milliseconds"
            | "minute"
            | "minutes"
            | "mins"
            | "hour"
            | "hours"
    )
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

fn is_address(word: &str) -> bool {
    word.strip_prefix("0x")
        .is_some_and(|hex| hex.len() >= 5 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `req_8f3a2b1c`, `msg-01ABCDEF`: a known head, then something random.
fn is_random_id(word: &str) -> bool {
    let Some(cut) = word.find(['_', '-']) else {
        return false;
    };
    let (head, tail) = (&word[..cut], &word[cut + 1..]);
    let known = matches!(
        head.to_ascii_lowercase().as_str(),
        "req"
            | "request"
            | "trace"
            | "span"
            | "msg"
            | "message"
            | "toolu"
            | "call"
            | "chatcmpl"
            | "resp"
            | "corr"
            | "evt"
            | "sess"
            | "nonce"
    );
    known
        && tail.len() >= 4
        && tail
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && tail.bytes().any(|b| b.is_ascii_digit())
}

/// A path under a temporary folder with a part that looks made up.
fn is_temp_path(word: &str) -> bool {
    let roots = [
        "/tmp/",
        "/var/folders/",
        "/private/tmp/",
        "/var/tmp/",
        "\\Temp\\",
        "/run/user/",
    ];
    roots
        .iter()
        .find_map(|root| word.find(root).map(|at| &word[at + root.len()..]))
        .is_some_and(is_made_up)
}

fn is_made_up(rest: &str) -> bool {
    rest.split(['/', '\\']).any(|part| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        let mixed = part.bytes().any(|b| b.is_ascii_uppercase())
            && part.bytes().any(|b| b.is_ascii_lowercase());
        digits >= 2
            || digits == 1 && part.contains('-')
            || part.starts_with("tmp") && part.len() > 5
            || mixed && part.len() >= 8 && !part.contains('_')
    })
}

fn is_ephemeral_port(word: &str) -> bool {
    let Some((host, port)) = word.rsplit_once(':') else {
        return false;
    };
    let local = host.ends_with("localhost") || host.bytes().filter(|b| *b == b'.').count() == 3;
    local && port.len() == 5 && port.parse::<u32>().is_ok_and(|port| port >= 32_768)
}

/// `pid:1234` and the like, written as one word.
fn labelled(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once(':')?;
    let full = next_label(Label::None, name) == Label::Full;
    (full && value.bytes().any(|b| b.is_ascii_digit())).then_some((name, value))
}

/// Returns whether a word of a command is an id with its label, `request_id=8f3a`.
pub(super) fn is_labelled_id(word: &str) -> bool {
    let Some((name, value)) = word.split_once(['=', ':']) else {
        return false;
    };
    let name = name
        .trim_start_matches(['-', '"', '\''])
        .to_ascii_lowercase();
    let known = matches!(
        name.as_str(),
        "request_id"
            | "request-id"
            | "x-request-id"
            | "trace_id"
            | "trace-id"
            | "nonce"
            | "correlation_id"
            | "correlation-id"
            | "requestid"
    );
    known && !value.is_empty()
}

/// Returns a word of a command with a random temporary name masked.
pub(super) fn without_temp_name(word: &str) -> Cow<'_, str> {
    let Some(at) = word.find("/tmp/") else {
        return Cow::Borrowed(word);
    };
    let rest = &word[at + 5..];
    let name = rest.split(['/', '"', '\'']).next().unwrap_or("");
    let (stem, random) = name.split_once(['.', '-', '_']).unwrap_or((name, ""));
    let varied = |text: &str| {
        let (mut upper, mut lower, mut digit) = (false, false, false);
        for byte in text.bytes() {
            upper |= byte.is_ascii_uppercase();
            lower |= byte.is_ascii_lowercase();
            digit |= byte.is_ascii_digit();
        }
        text.len() >= 6 && [upper, lower, digit].iter().filter(|has| **has).count() >= 2
    };
    let made_up = stem == "tmp" && random.len() >= 5
        || stem
            .strip_prefix("tmp")
            .is_some_and(|tail| tail.len() >= 6 && varied(tail));
    if made_up {
        Cow::Owned(format!("{}‹tmp›{}", &word[..at + 5], &rest[name.len()..]))
    } else {
        Cow::Borrowed(word)
    }
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

/// Returns the digest of an error without volatile bytes and without what it
/// repeats of the arguments (`words`, one a line).
pub(super) fn error_without_echo(text: &str, words: &str) -> Digest {
    let mut text = text[..floor(text, ERROR_BYTES_MAX)].to_owned();
    let mut echoes: Vec<&str> = words.lines().filter(|line| line.len() >= 3).collect();
    let names: Vec<&str> = echoes
        .iter()
        .filter_map(|line| line.rsplit('/').next())
        .filter(|name| name.len() >= 3)
        .collect();
    echoes.extend(names);
    echoes.sort_by_key(|line| std::cmp::Reverse(line.len()));
    for echo in echoes.iter().take(16) {
        if text.contains(echo) {
            text = text.replace(echo, "@");
        }
    }
    let text = without_quoted_echo(&text, words);
    let mut out = String::with_capacity(text.len());
    mask_text(&text, &mut out, false);
    Digest::of(out.as_bytes())
}

/// Replaces quoted pieces that also stand in the arguments.
fn without_quoted_echo(text: &str, words: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '"', '`']) {
        let quote = rest.as_bytes()[at];
        let inner = &rest[at + 1..];
        let Some(len) = inner.bytes().take(80).position(|b| b == quote) else {
            out.push_str(&rest[..at + 1]);
            rest = inner;
            continue;
        };
        let piece = &inner[..len];
        out.push_str(&rest[..at]);
        out.push_str(if len >= 2 && words.contains(piece) {
            "@"
        } else {
            piece
        });
        rest = &inner[len + 1..];
    }
    out.push_str(rest);
    out
}

/// Returns how much an answer says.
pub(super) fn talk(result: &Value, text: &str) -> Talk {
    if is_empty(result) {
        return Talk::Empty;
    }
    if text.len() > 200 {
        return Talk::Long;
    }
    let lower = text.trim().to_lowercase();
    let bare = lower.trim_matches(|c: char| !c.is_alphanumeric());
    let negative = [
        "no match",
        "no result",
        "not found",
        "no files found",
        "nothing found",
        "0 results",
        "0 matches",
        "no data",
        "0 rows",
        "no records",
        "no items",
        "no documents",
        "no relevant",
        "found 0",
        "no hits",
        "empty",
        "did not match",
        "no such",
        "returned no",
        "no entries",
        "\"results\":[]",
        "\"items\":[]",
        "\"hits\":[]",
        "\"total\":0",
        "\"count\":0",
        "\"matches\":[]",
        "\"documents\":[]",
        "\"rows\":[]",
        "\"data\":[]",
        "\"messages\":[]",
    ];
    if bare.is_empty() || negative.iter().any(|mark| lower.contains(mark)) {
        return Talk::Empty;
    }
    if is_ack(bare, result) {
        Talk::Ack
    } else {
        Talk::Content
    }
}

fn is_empty(result: &Value) -> bool {
    match result {
        Value::Null => true,
        Value::String(text) => matches!(text.trim(), "" | "[]" | "{}" | "null" | "None" | "0"),
        Value::Array(items) => items
            .iter()
            .all(|item| is_empty(item) || item.get("text").is_some_and(is_empty)),
        Value::Object(map) => {
            map.is_empty()
                || map
                    .iter()
                    .all(|(key, value)| is_bookkeeping(key) || is_empty(value) || value == 0)
        }
        Value::Number(_) | Value::Bool(_) => false,
    }
}

/// Words of which an acknowledgement is made.
fn is_ack(bare: &str, result: &Value) -> bool {
    if matches!(result, Value::Bool(_))
        || matches!(result, Value::Object(map) if map.len() <= 3 && map.values().all(says_ok))
    {
        return true;
    }
    let first = bare
        .split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or("");
    let heads = [
        "ok",
        "okay",
        "done",
        "success",
        "successfully",
        "true",
        "valid",
        "200",
        "201",
        "204",
        "passed",
        "pass",
        "saved",
        "sent",
        "updated",
        "created",
        "deleted",
        "written",
        "wrote",
        "accepted",
        "added",
        "removed",
        "clicked",
        "scrolled",
        "pressed",
        "typed",
        "moved",
        "complete",
        "completed",
        "applied",
        "inserted",
        "queued",
        "processed",
        "uploaded",
        "acknowledged",
        "ack",
        "set",
        "selected",
        "navigated",
        "archived",
        "labeled",
        "marked",
        "slept",
        "waited",
        "yes",
        "filled",
        "submitted",
        "resized",
        "converted",
        "indexed",
        "stored",
        "back",
        "went",
        "copied",
        "renamed",
        "clean",
    ];
    bare.len() <= 60
        && (heads.contains(&first)
            || bare.ends_with(" ok")
            || bare.ends_with("successfully")
            || bare.ends_with(" done")
            || bare.starts_with("no issues")
            || bare.starts_with("no errors")
            || bare.starts_with("no problems")
            || bare.starts_with("all checks passed")
            || bare.contains("success")
            || bare.starts_with("file ") && bare.contains("success"))
}

fn says_ok(value: &Value) -> bool {
    match value {
        Value::Bool(_) | Value::Null => true,
        Value::String(text) => text.len() <= 24 && is_ack(&text.to_lowercase(), &Value::Null),
        Value::Number(number) => number.as_i64().is_some_and(|n| (0..300).contains(&n)),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    }
}

/// Returns whether a short answer says that something is still going on.
pub(super) fn says_pending(result: &Value, text: &str) -> bool {
    let waiting = |text: &str| {
        let lower = text.to_lowercase();
        [
            "pending",
            "running",
            "in progress",
            "in_progress",
            "queued",
            "processing",
            "provisioning",
            "not ready",
            "still ",
            "waiting",
            "starting",
            "initializing",
            "deploying",
            "building",
            "creating",
            "no new",
            "scheduled",
            "in-progress",
            "not yet",
            "unchanged",
            "training",
        ]
        .iter()
        .any(|mark| lower.contains(mark))
    };
    let fields = |map: &serde_json::Map<String, Value>| {
        ["status", "state", "phase", "stage", "conclusion"]
            .iter()
            .any(|key| map.get(*key).and_then(Value::as_str).is_some_and(waiting))
    };
    match result {
        Value::Object(map) if fields(map) => true,
        Value::String(text) if text.trim_start().starts_with('{') && text.len() < 2048 => {
            serde_json::from_str::<Value>(text)
                .is_ok_and(|value| value.as_object().is_some_and(fields))
        }
        _ => text.len() <= 120 && waiting(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn masked(text: &str) -> String {
        let mut out = String::new();
        mask_text(text, &mut out, false);
        out
    }

    #[test]
    fn mask_table() {
        #[rustfmt::skip]
        let rows = [
            ("durations", "1 failed in 0.53s", "1 failed in 9.1s", true),
            ("durations in words", "Ran 3 tests in 0.002 seconds", "Ran 3 tests in 1 seconds", true),
            ("ISO times", "at 2026-01-31T12:00:00Z", "at 2026-02-01T12:00:00.123Z", true),
            ("clocks", "[12:00:01] start", "[12:00:09] start", true),
            ("hex addresses", "object at 0x7f3a2b10", "object at 0x7f3a2b99", true),
            ("UUIDs", "job 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "job 3f2504e0-4f89-11d3-9a0c-0305e82c3302", true),
            ("process ids", "started, pid 4711", "started, pid 4712", true),
            ("process ids in brackets", "sshd[4711]: closed", "sshd[4712]: closed", true),
            ("request ids", "Request ID: 88ab1 failed", "Request ID: 99cd2 failed", true),
            ("prefixed ids", "error (req_88ab12)", "error (req_99cd34)", true),
            ("temporary paths", "see /tmp/pytest-12/log", "see /tmp/pytest-13/log", true),
            ("saved paths", "Screenshot saved to out/shot_17.png", "Screenshot saved to out/shot_18.png", true),
            ("colours", "\u{1b}[31mred\u{1b}[0m", "red", true),
            ("bare numbers stay", "3 failed", "2 failed", false),
            ("percent stays", "45% done", "46% done", false),
            ("lines stay", "a.py:12: error", "a.py:13: error", false),
            ("dates stay", "due 2026-01-31", "due 2026-02-28", false),
            ("sizes stay", "512m", "256m", false),
        ];
        for (name, one, other, want) in rows {
            assert_eq!(
                masked(one) == masked(other),
                want,
                "row: {name}: {} {}",
                masked(one),
                masked(other)
            );
        }
    }

    #[test]
    fn digests_table() {
        #[rustfmt::skip]
        let rows = [
            ("bookkeeping fields go", json!({"a": 1, "request_id": "x", "took_ms": 3}), json!({"a": 1, "request_id": "y", "took_ms": 4}), false, true),
            ("JSON in text is JSON", json!("{\"a\":1,\"ts\":1}"), json!("{\"a\":1,\"ts\":2}"), false, true),
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

    #[test]
    fn echoes_are_taken_out() {
        #[rustfmt::skip]
        let rows = [
            ("a path", "No such file: src/a.rs", "src/a.rs", "No such file: src/bb.rs", "src/bb.rs", true),
            ("a quoted column", "column \"foo\" does not exist", "select foo from t", "column \"bar\" does not exist", "select bar from t", true),
            ("another error", "No such file: src/a.rs", "src/a.rs", "Permission denied: src/a.rs", "src/a.rs", false),
        ];
        for (name, one, one_words, other, other_words, want) in rows {
            assert_eq!(
                error_without_echo(one, one_words) == error_without_echo(other, other_words),
                want,
                "row: {name}"
            );
        }
    }

    #[test]
    fn talk_table() {
        #[rustfmt::skip]
        let rows = [
            (json!("ok"), Talk::Ack), (json!("Done."), Talk::Ack), (json!({"ok": true}), Talk::Ack), (json!("File updated successfully"), Talk::Ack),
            (json!("No matches found"), Talk::Empty), (json!([]), Talk::Empty), (json!({"results": []}), Talk::Empty), (json!(""), Talk::Empty),
            (json!("the third paragraph"), Talk::Content), (json!("x".repeat(300)), Talk::Long),
        ];
        for (result, want) in rows {
            assert_eq!(talk(&result, &text_of(&result)), want, "row: {result}");
        }
    }

    #[test]
    fn odd_texts_do_not_panic() {
        for text in [
            "",
            "\u{1b}",
            "\u{1b}[",
            "é12:",
            "1µ",
            "12:",
            "0x",
            "''",
            "'é",
            "[1234]",
            "-",
            "1.2.3.4:99999",
        ] {
            masked(text);
            error_without_echo(text, text);
            without_temp_name(text);
        }
    }
}
