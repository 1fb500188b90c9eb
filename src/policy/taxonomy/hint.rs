//! How long the other side asks to wait, wherever it says so.
//!
//! Read in this order, first found wins: `retry-after-ms` and its relatives,
//! `Retry-After` (integer, float, HTTP date), fields of the error body (Google
//! `RetryInfo`, `retry_after`, `parameters.retry_after`, `estimated_time` …), words
//! ("try again in 1m30s"), and last the reset headers of an exhausted limit.
//!
//! There is no clock here. A point in time is measured against the response's
//! own `Date` header; without one it is no hint. Nonsense (negative, not a number,
//! above a year) is no hint either; a point in the past is a hint of 0.
//!
//! Sources: RFC 9110 §10.2.3; google.rpc.RetryInfo; the OpenAI, Anthropic, Azure,
//! GitHub, Discord and Telegram reference pages on rate limits; draft-ietf-httpapi-ratelimit-headers.

use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;
use serde_json::{Map, Value};

use super::observation::string_of;
use super::text::{head, regex};

/// Longest wait that is believed: a year. Anything above is nonsense.
const MS_MAX: f64 = 366.0 * 24.0 * 3_600.0 * 1_000.0;

/// A wait the other side asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hint {
    /// The wait, in milliseconds.
    pub ms: u64,
    /// Where it was found, e.g. `header retry-after = 5`.
    pub place: String,
}

impl Hint {
    fn new(ms: f64, place: String) -> Option<Self> {
        let is_sane = ms.is_finite() && (0.0..=MS_MAX).contains(&ms);
        is_sane.then_some(Self {
            ms: ms.ceil() as u64,
            place,
        })
    }
}

/// Returns the value of a header, whatever the case of its name; lists give their first value.
pub(super) fn header(headers: &Map<String, Value>, name: &str) -> Option<String> {
    let value = headers.get(name).or_else(|| {
        headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    })?;
    let value = match value {
        Value::Array(values) => values.first()?,
        other => other,
    };
    string_of(Some(value)).map(|text| head(text.trim(), 512).to_owned())
}

/// Returns the wait named by the retry headers (not by the reset headers).
pub(super) fn from_headers(headers: &Map<String, Value>) -> Option<Hint> {
    for name in ["retry-after-ms", "x-ms-retry-after-ms", "x-retry-after-ms"] {
        if let Some(text) = header(headers, name)
            && let Ok(ms) = text.parse::<f64>()
            && let Some(hint) = Hint::new(ms, format!("header {name} = {text}"))
        {
            return Some(hint);
        }
    }
    let now = now_of(headers);
    [
        "retry-after",
        "x-retry-after",
        "x-ratelimit-retry-after",
        "x-ratelimit-reset-after",
    ]
    .into_iter()
    .find_map(|name| {
        let text = header(headers, name)?;
        let ms = seconds_or_date_ms(&text, now)?;
        Hint::new(ms, format!("header {name} = {text}"))
    })
}

/// Returns the wait until an exhausted limit is reset, by the provider's reset headers.
///
/// A limit that still has something left is skipped; of several exhausted ones the longest wait counts.
pub(super) fn from_reset_headers(headers: &Map<String, Value>) -> Option<Hint> {
    let now = now_of(headers);
    let mut best: Option<Hint> = None;
    let mut consider = |hint: Option<Hint>| {
        if let Some(hint) = hint
            && best.as_ref().is_none_or(|best| hint.ms > best.ms)
        {
            best = Some(hint);
        }
    };
    for (name, value) in headers.iter().take(200) {
        let name = name.to_ascii_lowercase();
        let is_reset =
            name.contains("reset") && (name.contains("ratelimit") || name.contains("rate-limit"));
        let Some(text) = string_of(Some(value)) else {
            continue;
        };
        if is_reset && !has_some_left(headers, &name) {
            let ms = reset_ms(&text, now);
            consider(ms.and_then(|ms| Hint::new(ms, format!("header {name} = {text}"))));
        } else if name == "ratelimit" {
            consider(combined_reset(&text));
        }
    }
    best
}

/// `ratelimit: limit=100, remaining=0, reset=50` and `"default";r=0;t=50` of the IETF draft.
fn combined_reset(text: &str) -> Option<Hint> {
    static RESET: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:reset|\bt)\s*=\s*(\d+)"));
    static LEFT: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:remaining|\br)\s*=\s*(\d+)"));
    let left = LEFT
        .captures(text)
        .and_then(|found| found[1].parse::<u64>().ok());
    if left.is_some_and(|left| left > 0) {
        return None;
    }
    let seconds: f64 = RESET.captures(text)?[1].parse().ok()?;
    Hint::new(
        seconds * 1_000.0,
        format!("header ratelimit = {}", head(text, 80)),
    )
}

fn has_some_left(headers: &Map<String, Value>, reset_name: &str) -> bool {
    header(headers, &reset_name.replace("reset", "remaining"))
        .and_then(|text| text.parse::<f64>().ok())
        .is_some_and(|left| left > 0.0)
}

fn now_of(headers: &Map<String, Value>) -> Option<Timestamp> {
    header(headers, "date").and_then(|text| date(&text))
}

/// Reads an HTTP date or an RFC 3339 point in time.
fn date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    jiff::fmt::rfc2822::parse(text)
        .ok()
        .map(|at| at.timestamp())
}

fn until_ms(at: Timestamp, now: Option<Timestamp>) -> Option<f64> {
    let wait = at.as_millisecond() - now?.as_millisecond();
    Some(wait.max(0) as f64)
}

fn seconds_or_date_ms(text: &str, now: Option<Timestamp>) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        // A few services put a Unix time here; as a delay it would be decades.
        if seconds > 1e9 {
            return epoch_ms(seconds, now);
        }
        return Some(seconds * 1_000.0);
    }
    date(text)
        .and_then(|at| until_ms(at, now))
        .or_else(|| duration_ms(text))
}

/// A reset header: a duration, a number of seconds, a Unix time, or a date.
fn reset_ms(text: &str, now: Option<Timestamp>) -> Option<f64> {
    seconds_or_date_ms(text.trim(), now)
}

fn epoch_ms(value: f64, now: Option<Timestamp>) -> Option<f64> {
    let seconds = if value > 1e11 { value / 1_000.0 } else { value };
    let at = Timestamp::from_millisecond((seconds * 1_000.0) as i64).ok()?;
    until_ms(at, now)
}

static DURATION: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)(\d+(?:\.\d+)?)\s*(milliseconds?|msecs?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|秒|分钟?|小时|天|時間)",
    )
});

/// Reads `34s`, `1m30s`, `6m0s`, `20ms`, `1 hour 5 minutes`; all of it must be a duration.
pub(super) fn duration_ms(text: &str) -> Option<f64> {
    let text = head(text.trim(), 80);
    let mut total = 0.0;
    let mut end = 0;
    for found in DURATION.captures_iter(text) {
        let whole = found.get(0)?;
        let between = text[end..whole.start()].trim();
        if !(between.is_empty() || between == "and" || between == ",") {
            break;
        }
        total += found[1].parse::<f64>().ok()? * unit_ms(&found[2]);
        end = whole.end();
    }
    (end > 0 && text[end..].trim_matches(['.', ' ', ')']).is_empty()).then_some(total)
}

fn unit_ms(unit: &str) -> f64 {
    let unit = unit.to_lowercase();
    match unit.as_str() {
        "ms" => 1.0,
        _ if unit.starts_with("mil") || unit.starts_with("mse") => 1.0,
        _ if unit.starts_with('s') || unit == "秒" => 1_000.0,
        _ if unit.starts_with('m') || unit.starts_with('分') => 60_000.0,
        _ if unit.starts_with('h') || unit == "小时" || unit == "時間" => 3_600_000.0,
        _ => 86_400_000.0,
    }
}

static IN_WORDS: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"(?i)(?:(?:try|retry|again|available|reset|resets|expires?|unlocks?|wait|waiting|back ?off)\b[^.\d\n]{0,40}?\b(?:in|after|for)|retry[-_ ]?after[^\d\n]{0,12}|\bwait(?:ing)?(?: at least| for| about)?|réessayer (?:dans|après)|espere?|\bin)\s*:?\s*",
        r"((?:\d+(?:\.\d+)?\s*(?:milliseconds?|msecs?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|秒|分钟?|小时|天|時間)\b?\s*(?:and |, )?)+)",
    ))
});
static BARE_SECONDS: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?i)(?:retry[-_ ]?after(?:[-_ ]?(?:seconds?|secs?))?|flood_wait)[^\w\n.]{0,6}[_ ]?(?:(?:is|of) )?(\d+(?:\.\d+)?)\b"#,
    )
});
static BARE_MS: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?i)retry[-_ ]?after[-_ ]?ms[^\w\n.]{0,6}(\d+)\b"#));
static CJK_WAIT: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(\d+(?:\.\d+)?)\s*(秒|分钟?|小时|天|時間)\s*(?:后|後|之后|以后)"));

/// Returns the wait a line of text asks for.
pub(super) fn from_text(line: &str) -> Option<Hint> {
    if !line.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let place = |found: &str| format!("text \"{}\"", found.trim());
    if let Some(found) = BARE_MS.captures(line) {
        return Hint::new(found[1].parse().ok()?, place(&found[0]));
    }
    if let Some(found) = IN_WORDS.captures(line)
        && says_to_wait(line, found.get(0).map_or(0, |m| m.start()))
    {
        let ms = duration_ms(
            found[1]
                .trim_end_matches([' ', ','])
                .trim_end_matches("and"),
        )?;
        return Hint::new(ms, place(&found[0]));
    }
    if let Some(found) = BARE_SECONDS.captures(line) {
        return Hint::new(found[1].parse::<f64>().ok()? * 1_000.0, place(&found[0]));
    }
    let found = CJK_WAIT.captures(line)?;
    Hint::new(
        duration_ms(&format!("{}{}", &found[1], &found[2]))?,
        place(&found[0]),
    )
}

/// A bare "in 30s" is a hint only where the line speaks of waiting at all.
fn says_to_wait(line: &str, at: usize) -> bool {
    static WAITING: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)\b(try|retry|again|wait|available|reset|resets|back ?off|réessayer|espere|later|refill|renew)",
        )
    });
    let starts_with_in = line[at..].len() > 2
        && line.as_bytes()[at..]
            .to_ascii_lowercase()
            .starts_with(b"in");
    !starts_with_in || WAITING.is_match(&line[..at])
}

/// Names of body fields that hold a wait, and the milliseconds of their unit.
const FIELDS: [(&str, f64); 14] = [
    ("retry_after_ms", 1.0),
    ("retryafterms", 1.0),
    ("retry_after_millis", 1.0),
    ("retryaftermilliseconds", 1.0),
    ("backoff_ms", 1.0),
    ("retry_after", 1_000.0),
    ("retryafter", 1_000.0),
    ("retry-after", 1_000.0),
    ("retry_after_seconds", 1_000.0),
    ("retryafterseconds", 1_000.0),
    ("retry_after_secs", 1_000.0),
    ("retrydelay", 1_000.0),
    ("retry_delay", 1_000.0),
    ("estimated_time", 1_000.0),
];

/// Returns the wait named by a field of an error body, looking a few levels deep.
///
/// - `now`: the response's headers, for dates in the body.
pub(super) fn from_json(body: &Value, headers: &Map<String, Value>) -> Option<Hint> {
    let now = now_of(headers);
    let mut budget = 400;
    search(body, 0, &mut budget, now)
}

fn search(value: &Value, depth: usize, budget: &mut usize, now: Option<Timestamp>) -> Option<Hint> {
    if depth > 6 || *budget == 0 {
        return None;
    }
    *budget -= 1;
    match value {
        Value::Object(fields) => {
            let own = fields.iter().find_map(|(key, value)| {
                let lower = key.to_ascii_lowercase();
                let (_, unit) = FIELDS.iter().find(|(name, _)| *name == lower)?;
                let ms = field_ms(value, *unit, now)?;
                Hint::new(ms, format!("body.{key} = {}", short(value)))
            });
            let own = own.or_else(|| point_in(fields, now));
            own.or_else(|| {
                fields
                    .values()
                    .find_map(|value| search(value, depth + 1, budget, now))
            })
        }
        Value::Array(items) => items
            .iter()
            .take(50)
            .find_map(|item| search(item, depth + 1, budget, now)),
        _ => None,
    }
}

/// Names of body fields that hold a point in time.
const POINTS: [&str; 9] = [
    "retry_at",
    "retryat",
    "reset_at",
    "resetat",
    "resets_at",
    "resetsat",
    "available_at",
    "next_retry_at",
    "reset_time",
];

fn point_in(fields: &Map<String, Value>, now: Option<Timestamp>) -> Option<Hint> {
    fields.iter().find_map(|(key, value)| {
        let is_point = POINTS.contains(&key.to_ascii_lowercase().as_str());
        let ms = match value {
            Value::String(text) if is_point => until_ms(date(text)?, now)?,
            Value::Number(number) if is_point => {
                epoch_ms(number.as_f64().filter(|n| *n > 1e9)?, now)?
            }
            _ => return None,
        };
        Hint::new(ms, format!("body.{key} = {}", short(value)))
    })
}

fn field_ms(value: &Value, unit: f64, now: Option<Timestamp>) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64().map(|n| n * unit),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(number) => Some(number * unit),
            Err(_) => duration_ms(text).or_else(|| date(text).and_then(|at| until_ms(at, now))),
        },
        // google.rpc.RetryInfo in its protobuf-JSON object form.
        Value::Object(parts) => {
            let seconds = parts
                .get("seconds")
                .and_then(|v| string_of(Some(v)))?
                .parse::<f64>()
                .ok()?;
            let nanos = parts.get("nanos").and_then(Value::as_f64).unwrap_or(0.0);
            Some(seconds * 1_000.0 + nanos / 1e6)
        }
        _ => None,
    }
}

fn short(value: &Value) -> String {
    head(&value.to_string(), 60).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn header_table() {
        const NOW: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
        #[rustfmt::skip]
        let rows = [
            ("whole seconds", json!({"retry-after": "5"}), Some(5_000)),
            ("a number instead of text", json!({"retry-after": 7}), Some(7_000)),
            ("a float", json!({"retry-after": "0.65"}), Some(650)),
            ("milliseconds win over seconds", json!({"retry-after-ms": "1200", "retry-after": "2"}), Some(1_200)),
            ("a date against Date", json!({"date": NOW, "retry-after": "Wed, 21 Oct 2015 07:28:40 GMT"}), Some(40_000)),
            ("a date in the past is now", json!({"date": NOW, "retry-after": "Wed, 21 Oct 2015 07:00:00 GMT"}), Some(0)),
            ("a date without Date is no hint", json!({"retry-after": NOW}), None),
            ("a Unix time against Date", json!({"date": NOW, "retry-after": "1445412500"}), Some(20_000)),
            ("a negative wait is nonsense", json!({"retry-after": "-5"}), None),
            ("infinity is nonsense", json!({"retry-after": "1e309"}), None),
            ("words are nonsense", json!({"retry-after": "soon"}), None),
            ("the name's case does not matter", json!({"Retry-After": "3"}), Some(3_000)),
        ];
        for (name, headers, want) in rows {
            assert_eq!(
                from_headers(&map(headers)).map(|hint| hint.ms),
                want,
                "row: {name}"
            );
        }
    }

    #[test]
    fn reset_header_table() {
        const NOW: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
        #[rustfmt::skip]
        let rows = [
            ("OpenAI durations, the exhausted one counts",
             json!({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s",
                    "x-ratelimit-remaining-tokens": "900", "x-ratelimit-reset-tokens": "6m0s"}), Some(90_000)),
            ("Anthropic points in time",
             json!({"date": NOW, "anthropic-ratelimit-requests-remaining": "0",
                    "anthropic-ratelimit-requests-reset": "2015-10-21T07:28:30Z"}), Some(30_000)),
            ("GitHub's Unix time", json!({"date": NOW, "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1445416080"}), Some(3_600_000)),
            ("a Unix time without Date is no hint", json!({"x-ratelimit-reset": "1445416080"}), None),
            ("seconds of the IETF draft", json!({"ratelimit-reset": "50"}), Some(50_000)),
            ("the combined field", json!({"ratelimit": "limit=100, remaining=0, reset=50"}), Some(50_000)),
        ];
        for (name, headers, want) in rows {
            assert_eq!(
                from_reset_headers(&map(headers)).map(|hint| hint.ms),
                want,
                "row: {name}"
            );
        }
    }

    #[test]
    fn text_table() {
        #[rustfmt::skip]
        let rows = [
            ("OpenAI seconds", "Rate limit reached. Please try again in 20s. Visit https://example.com", Some(20_000)),
            ("OpenAI minutes", "Please try again in 1m30s.", Some(90_000)),
            ("OpenAI milliseconds", "Please try again in 350ms.", Some(350)),
            ("Groq fractions", "Please try again in 7m12.345s. Need more?", Some(432_345)),
            ("Gemini", "Please retry in 34.074824224s.", Some(34_075)),
            ("plain words", "Retry after 30 seconds", Some(30_000)),
            ("a header printed by curl", "Retry-After: 12", Some(12_000)),
            ("a field printed by Python", "{'retry_after': 12.5}", Some(12_500)),
            ("waiting first", "wait 2 minutes before you try again", Some(120_000)),
            ("Telegram", "FLOOD_WAIT_33", Some(33_000)),
            ("Chinese", "请求过于频繁，请在30秒后重试", Some(30_000)),
            ("hours", "Please try again in 2 hours", Some(7_200_000)),
            ("a duration that is no request", "timed out in 30s", None),
            ("a date is no duration", "error in 2024", None),
        ];
        for (name, line, want) in rows {
            assert_eq!(from_text(line).map(|hint| hint.ms), want, "row: {name}");
        }
    }

    #[test]
    fn body_table() {
        #[rustfmt::skip]
        let rows = [
            ("google.rpc.RetryInfo", json!({"error": {"details": [{"@type": "x", "retryDelay": "34s"}]}}), Some(34_000)),
            ("RetryInfo as an object", json!({"details": [{"retryDelay": {"seconds": "3", "nanos": 500000000}}]}), Some(3_500)),
            ("Telegram", json!({"parameters": {"retry_after": 35}}), Some(35_000)),
            ("Discord", json!({"retry_after": 0.65}), Some(650)),
            ("milliseconds", json!({"retryAfterMs": 1500}), Some(1_500)),
            ("nonsense", json!({"retry_after": "later"}), None),
        ];
        for (name, body, want) in rows {
            assert_eq!(
                from_json(&body, &Map::new()).map(|hint| hint.ms),
                want,
                "row: {name}"
            );
        }
    }
}
