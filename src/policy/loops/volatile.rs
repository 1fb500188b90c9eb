//! Tells the volatile words of a text from the rest.
//!
//! One pass over the text, word by word, with the word before in mind (`pid
//! 4711`, `Request ID: 88ab`). Only words with a digit can be volatile, so
//! plain text costs next to nothing.

use std::borrow::Cow;

/// What stands for a masked word.
const HOLE: &str = "‹›";

/// Where the scanner stands between two words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    None,
    /// A word such as `request`, which an `id` may follow.
    Half,
    /// The next word with a digit is volatile.
    Full,
    /// The next word is volatile if it is a fraction or a clock.
    Time,
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
        "pid" | "ppid" | "pgid" | "request_id" | "request-id" | "x-request-id" | "requestid"
        | "trace_id" | "trace-id" | "traceid" | "span_id" | "correlation_id" | "correlation-id"
        | "message_id" | "message-id" | "messageid" | "nonce" | "timestamp" | "ts" | "took"
        | "elapsed" | "duration" | "latency" | "seed" | "epoch" | "attempt" | "session_id"
        | "invocation_id" | "uptime" => Label::Full,
        "time" => Label::Time,
        "request" | "trace" | "chunk" | "span" | "correlation" | "message" | "process"
        | "session" | "invocation" | "event" => Label::Half,
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
        Label::Time if is_number(&word.replace(':', ".")) && word.contains(['.', ':']) => {
            return true;
        }
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
#[rustfmt::skip]
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
                | "µs" | "μs" | "ms" | "s" | "sec" | "secs" | "second" | "seconds" | "m" | "min" | "mins"
                    | "h" | "d"
        );
        if digits == 0 || !known {
            return false;
        }
        (rest, parts, last) = (&rest[unit_end..], parts + 1, unit);
    }
    parts > 1 || !matches!(last, "m" | "h" | "d")
}

#[rustfmt::skip]
fn is_time_unit(word: &str) -> bool {
    matches!(
        word,
        "ns" | "us"
            | "µs" | "ms" | "s" | "sec" | "secs" | "second" | "seconds" | "millisecond" | "milliseconds"
                | "minute" | "minutes" | "mins" | "hour" | "hours"
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
#[rustfmt::skip]
fn is_random_id(word: &str) -> bool {
    let Some(cut) = word.find(['_', '-']) else {
        return false;
    };
    let (head, tail) = (&word[..cut], &word[cut + 1..]);
    let known = matches!(
        head.to_ascii_lowercase().as_str(),
        "req" | "request" | "trace" | "span" | "msg" | "message" | "toolu" | "call" | "chatcmpl" | "resp"
            | "corr" | "evt" | "sess" | "nonce"
    );
    known
        && tail.len() >= 4
        && tail
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && tail.bytes().any(|b| b.is_ascii_digit())
}

/// A path under a temporary folder with a part that looks made up.
#[rustfmt::skip]
fn is_temp_path(word: &str) -> bool {
    if !word.contains(['/', '\\']) {
        return false;
    }
    let roots = [
        "/tmp/", "/var/folders/", "/private/tmp/", "/var/tmp/", "\\Temp\\", "/run/user/",
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
#[rustfmt::skip]
pub(super) fn is_labelled_id(word: &str) -> bool {
    let Some((name, value)) = word.split_once(['=', ':']) else {
        return false;
    };
    let name = name
        .trim_start_matches(['-', '"', '\''])
        .to_ascii_lowercase();
    let known = matches!(
        name.as_str(),
        "request_id" | "request-id" | "x-request-id" | "trace_id" | "trace-id" | "nonce" | "correlation_id"
            | "correlation-id" | "requestid"
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

#[cfg(test)]
mod tests {
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
    #[rustfmt::skip]
    fn odd_texts_do_not_panic() {
        for text in [
            "", "\u{1b}", "\u{1b}[", "é12:", "1µ", "12:", "0x", "''", "'é", "[1234]", "-", "1.2.3.4:99999",
        ] {
            masked(text);
            super::super::echo::error_without_echo(text, text);
            without_temp_name(text);
        }
    }
}
