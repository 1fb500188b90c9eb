//! Everything a fault says, as weighed single statements.
//!
//! A signal is one meaning with its weight and its evidence. The rules then only
//! ask "is there one?". What a status forbids is decided here: the words of a 404
//! cannot make it transient, those of a 502 cannot make it the caller's mistake.

use std::sync::LazyLock;

use regex::Regex;

use super::codes;
use super::fault::Fault;
use super::hint::{self, Hint};
use super::meaning::{Meaning, Weight};
use super::observation::Kind;
use super::text::{clip, error_lines, regex};
use super::words;

/// Lines of one text in which a human step or a spent budget is looked for.
const GRAVE_LINES_MAX: usize = 60;

/// One statement about a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signal {
    /// What it says.
    pub meaning: Meaning,
    /// How much it weighs.
    pub weight: Weight,
    /// What was seen and where.
    pub evidence: String,
}

/// All statements about one fault, in the order they were found.
#[derive(Debug, Clone)]
pub(super) struct Signals {
    /// The statements.
    pub list: Vec<Signal>,
    /// How long the other side asked to wait.
    pub hint: Option<Hint>,
    /// When an exhausted limit is reset; for rates only.
    pub reset: Option<Hint>,
    /// All text of the fault, bounded and disarmed, for rules that need numbers from it.
    pub text: String,
    /// A structured quota entry says the window is a minute.
    pub is_minute_quota: bool,
    /// Status of the transport.
    pub status: Option<u16>,
    /// Shown where no signal is the evidence.
    pub fallback: String,
}

impl Signals {
    /// Returns the first statement with this meaning and weight.
    pub(super) fn first(&self, meaning: Meaning, weight: Weight) -> Option<&Signal> {
        self.list
            .iter()
            .find(|signal| signal.meaning == meaning && signal.weight == weight)
    }
}

/// Reads all statements of a fault.
pub(super) fn read(fault: &Fault) -> Signals {
    let mut signals = Signals {
        list: Vec::new(),
        hint: fault.hint.clone(),
        reset: fault.reset.clone(),
        text: String::new(),
        is_minute_quota: false,
        status: fault.status,
        fallback: fault.fallback.clone(),
    };
    for ((meaning, weight), evidence) in &fault.readings {
        signals.push(*meaning, *weight, evidence.clone());
    }
    signals.read_codes(fault);
    for (text, place) in &fault.texts {
        signals.read_text(text, place, fault);
    }
    if let Some(status) = fault.status
        && let Some((meaning, weight)) = codes::status(status)
    {
        signals.push(meaning, weight, format!("status {status}"));
    }
    signals
}

impl Signals {
    fn push(&mut self, meaning: Meaning, weight: Weight, evidence: String) {
        self.list.push(Signal {
            meaning,
            weight,
            evidence,
        });
    }

    fn read_codes(&mut self, fault: &Fault) {
        for (code, place) in &fault.codes {
            let evidence = || format!("{place} = \"{}\"", clip(code, 100));
            let field = place.to_lowercase().replace('_', "");
            if field.ends_with(".quotaid") || field.ends_with(".quotalimit") {
                self.read_quota_id(code, evidence());
                continue;
            }
            // At a payment provider it is the card's owner who has to authenticate.
            if code == "authentication_required" && fault.status == Some(402) {
                self.push(Meaning::Human, Weight::Exact, evidence());
                continue;
            }
            let reading = codes::lookup(code)
                .or_else(|| codes::sqlstate(code))
                .or_else(|| is_sqlite(code).then(|| codes::sqlite(1)).flatten());
            if let Some((meaning, weight)) = reading {
                self.push(meaning, weight, evidence());
            } else if let Some(meaning) = words::read(&spelled_out(code))
                && is_believable(meaning, Weight::Words, code, fault)
            {
                // An unknown code is still a phrase: `PUBLIC_API_BILLING_LIMIT_EXCEEDED`.
                self.push(meaning, Weight::Words, evidence());
            }
        }
    }

    /// Google's `QuotaFailure` names the window in the id of the quota.
    fn read_quota_id(&mut self, id: &str, evidence: String) {
        if words::names_long_window(id) {
            self.push(Meaning::Cost, Weight::Exact, evidence);
        } else if id.contains("PerMinute") || id.contains("PerSecond") {
            self.is_minute_quota = true;
            self.push(Meaning::Rate, Weight::Exact, evidence);
        }
    }

    /// Reads a text line by line, last one first: what is said last is the reason,
    /// but a human step or a spent budget counts wherever it is said.
    fn read_text(&mut self, text: &str, place: &str, fault: &Fault) {
        let mut has_reason = false;
        for (at, line) in error_lines(text).iter().enumerate() {
            if self.text.len() < 16 * 1024 {
                self.text.push_str(line);
                self.text.push('\n');
            }
            if self.hint.is_none() {
                self.hint = hint::from_text(line);
            }
            let Some((meaning, weight)) = read_line(line) else {
                continue;
            };
            if !is_believable(meaning, weight, line, fault) {
                continue;
            }
            let is_grave = meaning <= Meaning::Cost && at < GRAVE_LINES_MAX;
            if is_grave || !has_reason {
                has_reason |= !is_grave;
                self.push(
                    meaning,
                    weight,
                    format!("{place}: {}", clip(line.trim(), 180)),
                );
            }
        }
    }
}

/// Returns what one line says by its codes, words and statuses.
fn read_line(line: &str) -> Option<(Meaning, Weight)> {
    // `psql:load.sql:4: ERROR:` is no compiler's diagnostic: what follows is the server's own.
    static PSQL_PLACE: LazyLock<Regex> = LazyLock::new(|| regex(r"^psql:[^:\s]+:\d+: "));
    let line = &line[PSQL_PLACE.find(line).map_or(0, |place| place.end())..];
    let code = words::codes_in(line).map(|(reading, _)| reading);
    let phrase = words::smtp(line).or_else(|| words::read(line));
    let status = words::status_in(line)
        .and_then(codes::status)
        .map(|(meaning, _)| meaning);
    // A compiler's diagnostic quotes the code it complains about; a tool's headline knows better.
    if phrase.is_some() && words::is_told_by_names(line) {
        return phrase.map(|meaning| (meaning, Weight::Words));
    }
    if let Some(grave) = [code.map(|(meaning, _)| meaning), phrase, status]
        .into_iter()
        .flatten()
        .min()
        && grave <= Meaning::Cost
    {
        return Some((grave, Weight::Words));
    }
    match (code, phrase, status) {
        (Some((meaning, Weight::Exact)), _, _) => Some((meaning, Weight::Exact)),
        (_, _, Some(Meaning::Rate)) => Some((Meaning::Rate, Weight::Words)),
        (_, Some(Meaning::Transient), Some(status)) => Some((status, Weight::Words)),
        (_, Some(phrase), _) => Some((phrase, Weight::Words)),
        (_, None, Some(status)) => Some((status, Weight::Words)),
        (Some((meaning, weight)), None, None) => Some((meaning, weight)),
        (None, None, None) => None,
    }
}

/// Whether the transport's status leaves room for what the words say.
fn is_believable(meaning: Meaning, weight: Weight, line: &str, fault: &Fault) -> bool {
    static GONE: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)no longer|deprecat|retired|\bmodel|decommission|sunset|suspend|disabled|deleted|archived|permanent|deactivat",
        )
    });
    // Services that hide what a caller may not see: for the caller it is a wrong name.
    static NOT_FOUND_OR_HIDDEN: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)(not found|n.t exist|not exist|cannot be found|could not be found|no such)\b.{0,40}\bor\b.{0,40}(permission|access|authori[sz]ed|visible|login|log in)",
        )
    });
    if weight == Weight::Exact {
        return true;
    }
    if meaning == Meaning::Persistent && NOT_FOUND_OR_HIDDEN.is_match(line) && !GONE.is_match(line)
    {
        return false;
    }
    match (fault.status, meaning) {
        (Some(400 | 404..=408 | 411..=418 | 421 | 422 | 428 | 431), Meaning::Transient) => {
            fault.status == Some(408)
        }
        (Some(404), Meaning::Lock) => false,
        (
            Some(401 | 403 | 407 | 410 | 419 | 440 | 451 | 494..=498),
            Meaning::Transient | Meaning::Semantic,
        ) => false,
        (Some(404), Meaning::Persistent) => GONE.is_match(line),
        (Some(502..=504 | 520..=530), Meaning::Semantic) => false,
        (Some(402), Meaning::Transient | Meaning::Semantic | Meaning::Persistent) => false,
        (Some(200..=299), Meaning::Transient) if fault.kind == Kind::Batch => true,
        _ => true,
    }
}

/// Returns a code as words: `rateLimitHit` and `RATE_LIMIT_HIT` as `rate limit hit`.
pub(super) fn spelled_out(code: &str) -> String {
    let mut words = String::with_capacity(code.len() + 8);
    let mut was_lower = false;
    for c in code.chars().take(160) {
        if !c.is_alphanumeric() || c.is_uppercase() && was_lower {
            words.push(' ');
        }
        if c.is_alphanumeric() {
            words.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words
}

fn is_sqlite(code: &str) -> bool {
    code.starts_with("SQLITE_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn of_text(status: Option<u16>, text: &str) -> Vec<Meaning> {
        let mut fault = Fault::new(Kind::Http, "x");
        fault.status = status;
        fault.add_text(text, "body");
        read(&fault)
            .list
            .into_iter()
            .map(|signal| signal.meaning)
            .collect()
    }

    #[test]
    fn text_table() {
        use Meaning::{Human, Persistent, Semantic, Transient};
        #[rustfmt::skip]
        let rows = [
            ("the last line is the reason", None, "connection refused\nPermission denied", vec![Persistent]),
            ("a human step counts wherever it is said", None, "approval required\nPermission denied", vec![Persistent, Human]),
            ("words of a 404 do not make it transient", Some(404), "gateway timeout", vec![Semantic]),
            ("words of a 503 do not make it the caller's mistake", Some(503), "could not parse upstream reply", vec![Transient]),
            ("words of a 500 may", Some(500), "duplicate key value violates unique constraint", vec![Semantic, Transient]),
            ("an unlisted text says nothing", None, "hm", vec![]),
        ];
        for (name, status, text, want) in rows {
            assert_eq!(of_text(status, text), want, "row: {name}");
        }
    }

    #[test]
    fn a_structured_quota_names_its_window() {
        let quota = |id: &str| {
            let mut fault = Fault::new(Kind::Llm, "x");
            fault.add_json(
                &json!({"details": [{"violations": [{"quotaId": id}]}]}),
                "body",
                &Map::new(),
            );
            let signals = read(&fault);
            (signals.list[0].meaning, signals.is_minute_quota)
        };
        assert_eq!(
            quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
            (Meaning::Cost, false)
        );
        assert_eq!(
            quota("GenerateRequestsPerMinutePerProjectPerModel"),
            (Meaning::Rate, true)
        );
    }
}
