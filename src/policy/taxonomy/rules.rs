//! The decision table: rules in order, the first match wins.
//!
//! A rule is an id, a sentence and a function that returns its finding or nothing.
//! The table is data ([`table`]), so that it can be printed and every decision
//! can name its line. What the functions look at is prepared once, in [`Case`].

use serde_json::Value;

use super::class::Class;
use super::fault::Fault;
use super::gates;
use super::hint::Hint;
use super::meaning::{Meaning, Weight};
use super::observation::Observation;
use super::outcome::{Delivery, Items, Outcome};
use super::signals::{self, Signals};
use super::words;

/// Longest wait that is a short one: up to here a rate limit is worth waiting for.
pub(super) const SHORT_WAIT_MS_MAX: u64 = 60_000;

/// One line of the decision table.
pub struct Rule {
    /// Stable name, e.g. `cost.words`.
    pub id: &'static str,
    /// What it says, in one sentence.
    pub sentence: &'static str,
    find: fn(&Case<'_>) -> Option<Finding>,
}

/// Returns the built-in rules in the order in which they are tried.
pub fn table() -> &'static [Rule] {
    &TABLE
}

/// What a rule found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finding {
    pub class: Class,
    pub evidence: String,
    pub hint_ms: Option<u64>,
    pub retry_items: Option<Vec<Value>>,
}

/// How a process ended, beyond its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub kind: MarkKind,
    pub evidence: String,
}

/// The endings that decide by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkKind {
    /// The program used up its own memory.
    OwnMemory,
    /// The time allowed ran out.
    TimedOut,
    /// A signal from outside ended it.
    Killed,
    /// Its tests ran and some failed.
    FailedTests,
    /// An earlier line than the last says that it passes by itself.
    Passing,
    /// An earlier line than the last says that a certificate is not trusted.
    Untrusted,
}

/// One result, prepared for the rules.
pub(super) struct Case<'a> {
    observation: &'a Observation,
    outcome: &'a Outcome,
    marks: &'a [Mark],
    signals: Option<Signals>,
}

impl<'a> Case<'a> {
    /// Prepares a result.
    pub(super) fn new(
        observation: &'a Observation,
        outcome: &'a Outcome,
        marks: &'a [Mark],
    ) -> Self {
        let signals = match outcome {
            Outcome::Failed(fault) => Some(signals::read(fault)),
            _ => None,
        };
        Self {
            observation,
            outcome,
            marks,
            signals,
        }
    }

    fn delivery(&self) -> Option<&Delivery> {
        match self.outcome {
            Outcome::Delivered(delivery) => Some(delivery),
            _ => None,
        }
    }

    fn items(&self) -> Option<&Items> {
        match self.outcome {
            Outcome::Items(items) => Some(items),
            _ => None,
        }
    }

    fn mark(&self, kind: MarkKind) -> Option<&Mark> {
        self.marks.iter().find(|mark| mark.kind == kind)
    }

    /// A finding from the first signal of this meaning and weight.
    fn signal(&self, class: Class, meaning: Meaning, weight: Weight) -> Option<Finding> {
        let signals = self.signals.as_ref()?;
        let signal = signals.first(meaning, weight)?;
        Some(signals.finding(class, &signal.evidence))
    }

    /// A finding about a failed test run hides what the tests printed.
    fn has_failed_tests(&self) -> bool {
        self.mark(MarkKind::FailedTests).is_some()
            && self.mark(MarkKind::TimedOut).is_none()
            && self.mark(MarkKind::Killed).is_none()
    }
}

impl Signals {
    fn finding(&self, class: Class, evidence: &str) -> Finding {
        Finding {
            class,
            evidence: evidence.to_owned(),
            hint_ms: self.hint.as_ref().map(|hint| hint.ms),
            retry_items: None,
        }
    }
}

/// Returns the first rule that matches, with what it found. The last rule matches everything.
pub(super) fn first_match(case: &Case<'_>) -> (&'static Rule, Finding) {
    for rule in &TABLE {
        if let Some(finding) = (rule.find)(case) {
            return (rule, finding);
        }
    }
    let rule = &TABLE[TABLE.len() - 1];
    (rule, plain(Class::Semantic, "nothing known"))
}

fn plain(class: Class, evidence: impl Into<String>) -> Finding {
    Finding {
        class,
        evidence: evidence.into(),
        hint_ms: None,
        retry_items: None,
    }
}

#[rustfmt::skip]
static TABLE: [Rule; 48] = [
    // 1. several items
    Rule { id: "items.all_ok", sentence: "every item of the batch went well", find: all_ok },
    Rule { id: "items.mixed", sentence: "some items went well and some did not: only the retryable ones may be repeated", find: mixed },
    Rule { id: "items.one_cause", sentence: "every item failed in the same way: the batch has that class", find: one_cause },
    Rule { id: "items.many_causes", sentence: "every item failed, in several ways", find: many_causes },
    // 3. delivered
    Rule { id: "exec.nothing_found", sentence: "this exit code of this program says: looked, found nothing or a difference", find: nothing_found },
    Rule { id: "delivered.asks_human", sentence: "the answer waits for an approval or for facts only a human has", find: |case| gate(case, Class::Unrecoverable, gates::asks_human) },
    Rule { id: "delivered.unknown_tool", sentence: "the model called a tool that was not offered", find: |case| gate(case, Class::Quality, gates::unknown_tool) },
    Rule { id: "delivered.truncated", sentence: "the answer was cut off", find: |case| gate(case, Class::Quality, gates::truncated) },
    Rule { id: "delivered.call_as_text", sentence: "the model wrote a tool call into its text instead of making it", find: |case| gate(case, Class::Quality, gates::call_as_text) },
    Rule { id: "delivered.bad_arguments", sentence: "the model's tool call has arguments that are not JSON or break the tool's schema", find: |case| gate(case, Class::Quality, gates::bad_arguments) },
    Rule { id: "delivered.refused", sentence: "the model refused, or its answer was filtered", find: |case| gate(case, Class::Quality, gates::refused) },
    Rule { id: "delivered.empty", sentence: "an answer was due and nothing came", find: |case| gate(case, Class::Quality, gates::empty) },
    Rule { id: "delivered.degenerate", sentence: "the model repeats itself without end", find: |case| gate(case, Class::Quality, |_, delivery| gates::degenerate(delivery)) },
    Rule { id: "delivered.not_json", sentence: "JSON was promised and something else came", find: |case| gate(case, Class::Quality, gates::not_json) },
    Rule { id: "delivered.breaks_schema", sentence: "the answer breaks the schema it should satisfy", find: |case| gate(case, Class::Quality, gates::breaks_schema) },
    Rule { id: "delivered", sentence: "the call went well; what its payload talks about is not looked at", find: delivered },
    // 4. a human step
    Rule { id: "exec.failed_tests", sentence: "tests ran and failed: whatever they printed, the code under test is at fault", find: failed_tests },
    Rule { id: "human.code", sentence: "a code names a step only a human can take", find: |case| case.signal(Class::Unrecoverable, Meaning::Human, Weight::Exact) },
    Rule { id: "human.words", sentence: "the message names a step only a human can take", find: |case| case.signal(Class::Unrecoverable, Meaning::Human, Weight::Words) },
    Rule { id: "human.status", sentence: "the status names a step only a human can take", find: |case| case.signal(Class::Unrecoverable, Meaning::Human, Weight::Status) },
    Rule { id: "quality.code", sentence: "a code says that a model's answer was cut off, filtered or refused", find: |case| case.signal(Class::Quality, Meaning::Unfit, Weight::Exact) },
    // how a process ended
    Rule { id: "exec.own_memory", sentence: "the command ran out of memory by its own doing", find: |case| marked(case, MarkKind::OwnMemory, Class::Semantic) },
    Rule { id: "exec.timed_out", sentence: "the time allowed for the command ran out", find: |case| marked(case, MarkKind::TimedOut, Class::Transient) },
    Rule { id: "exec.killed", sentence: "somebody else ended the command", find: |case| marked(case, MarkKind::Killed, Class::Transient) },
    Rule { id: "exec.passing", sentence: "the tool's last line misleads: an earlier one says that it passes by itself", find: |case| marked(case, MarkKind::Passing, Class::Transient) },
    Rule { id: "exec.untrusted", sentence: "the tool's last line misleads: an earlier one says that a certificate is not trusted", find: |case| marked(case, MarkKind::Untrusted, Class::Persistent) },
    // 5. money and quota
    Rule { id: "cost.code", sentence: "a code says that quota, credit, budget or context is used up", find: |case| case.signal(Class::CostPressure, Meaning::Cost, Weight::Exact) },
    Rule { id: "cost.over_limit", sentence: "more was requested than the limit allows at any time, or the limit is 0", find: over_limit },
    Rule { id: "cost.words", sentence: "the message says that quota, credit, budget or context is used up", find: cost_words },
    Rule { id: "cost.status", sentence: "the status asks for payment or names a spent allowance", find: cost_status },
    // 6. and 7. codes, and rates among them
    Rule { id: "rate.short_wait", sentence: "a rate limit that lifts within a minute", find: |case| rate(case, true) },
    Rule { id: "rate.long_wait", sentence: "a rate limit that lifts later, or does not say when", find: |case| rate(case, false) },
    Rule { id: "code.persistent", sentence: "a code says that it stays wrong until somebody changes something", find: |case| case.signal(Class::Persistent, Meaning::Persistent, Weight::Exact) },
    Rule { id: "code.semantic", sentence: "a code says that the input is wrong", find: |case| case.signal(Class::Semantic, Meaning::Semantic, Weight::Exact) },
    Rule { id: "code.long_wait", sentence: "a code says it passes, but only after more than a minute", find: |case| long_wait(case, Weight::Exact) },
    Rule { id: "code.lock", sentence: "a code says that somebody else holds a lock or the operation is under way", find: |case| case.signal(Class::Transient, Meaning::Lock, Weight::Exact) },
    Rule { id: "code.transient", sentence: "a code says that it passes by itself", find: |case| case.signal(Class::Transient, Meaning::Transient, Weight::Exact) },
    // 8. and 9. words
    Rule { id: "words.persistent", sentence: "the message says that it stays wrong until somebody changes something", find: |case| case.signal(Class::Persistent, Meaning::Persistent, Weight::Words) },
    Rule { id: "words.semantic", sentence: "the message says that the input is wrong", find: |case| case.signal(Class::Semantic, Meaning::Semantic, Weight::Words) },
    Rule { id: "words.lock", sentence: "the message says that somebody else holds a lock or the operation is under way", find: |case| case.signal(Class::Transient, Meaning::Lock, Weight::Words) },
    Rule { id: "words.long_wait", sentence: "the message says it passes, but only after more than a minute", find: |case| long_wait(case, Weight::Words) },
    Rule { id: "words.transient", sentence: "the message says that it passes by itself", find: |case| case.signal(Class::Transient, Meaning::Transient, Weight::Words) },
    // broad codes, then the status
    Rule { id: "general.persistent", sentence: "a broad code or the status says: no access, gone, or not to be trusted", find: |case| general(case, Class::Persistent, Meaning::Persistent) },
    Rule { id: "general.semantic", sentence: "a broad code or the status says that the request is wrong", find: |case| general(case, Class::Semantic, Meaning::Semantic) },
    Rule { id: "general.long_wait", sentence: "the status says it passes, but only after more than a minute", find: |case| long_wait(case, Weight::Broad).or_else(|| long_wait(case, Weight::Status)) },
    Rule { id: "general.lock", sentence: "the status says that somebody else holds a lock", find: |case| general(case, Class::Transient, Meaning::Lock) },
    Rule { id: "general.transient", sentence: "a broad code or the status says that it passes by itself", find: |case| general(case, Class::Transient, Meaning::Transient) },
    // 10. the rest
    Rule { id: "other", sentence: "any other failure is for the model to read", find: other },
];

// ---- items ------------------------------------------------------------------------

fn all_ok(case: &Case<'_>) -> Option<Finding> {
    let items = case.items()?;
    let is_ok = items.list.iter().all(|item| item.fault.is_none());
    is_ok.then(|| {
        plain(
            Class::Success,
            format!("{} items, none failed", items.list.len()),
        )
    })
}

/// What is known about the failed items of a batch.
struct Failed {
    /// Ids worth repeating.
    retry: Vec<Value>,
    /// Class and evidence of each failed item.
    classes: Vec<(Class, String)>,
    hint_ms: Option<u64>,
}

fn failed_items(case: &Case<'_>, is_mixed: bool) -> Option<Failed> {
    let items = case.items()?;
    let mut failed = Failed {
        retry: Vec::new(),
        classes: Vec::new(),
        hint_ms: None,
    };
    for item in &items.list {
        let Some(fault) = &item.fault else { continue };
        let (rule, finding) = of_item(case.observation, fault, item.may_retry);
        if finding.class == Class::Transient || is_mixed && is_throttled(rule, &finding) {
            failed.retry.push(item.id.value());
            failed.hint_ms = failed.hint_ms.max(finding.hint_ms);
        }
        failed.classes.push((finding.class, finding.evidence));
    }
    Some(failed)
}

/// Classes the fault of one item.
///
/// - `may_retry`: what the service itself says about repeating it.
pub(super) fn of_item(
    observation: &Observation,
    fault: &Fault,
    may_retry: Option<bool>,
) -> (&'static Rule, Finding) {
    let outcome = Outcome::Failed(Box::new(fault.clone()));
    let (rule, mut finding) = first_match(&Case::new(observation, &outcome, &[]));
    match may_retry {
        Some(true) => finding.class = Class::Transient,
        Some(false) if finding.class == Class::Transient => finding.class = Class::Semantic,
        _ => {}
    }
    (rule, finding)
}

/// Beside items that went through, a rate limit without a time is a short one.
pub(super) fn is_throttled(rule: &Rule, finding: &Finding) -> bool {
    rule.id == "rate.long_wait" && finding.hint_ms.is_none()
}

fn mixed(case: &Case<'_>) -> Option<Finding> {
    let items = case.items()?;
    let good = items
        .list
        .iter()
        .filter(|item| item.fault.is_none())
        .count();
    if good == 0 && !items.others_succeeded {
        return None;
    }
    let failed = failed_items(case, true)?;
    let evidence = format!(
        "{} of {} items failed, {} worth repeating",
        failed.classes.len(),
        items.list.len(),
        failed.retry.len()
    );
    Some(Finding {
        class: Class::Partial,
        evidence,
        hint_ms: failed.hint_ms,
        retry_items: Some(failed.retry),
    })
}

fn one_cause(case: &Case<'_>) -> Option<Finding> {
    let failed = failed_items(case, false)?;
    let (class, evidence) = failed.classes.first()?;
    let is_same = failed.classes.iter().all(|(other, _)| other == class);
    let retry_items = (*class == Class::Transient).then(|| failed.retry.clone());
    is_same.then(|| Finding {
        class: *class,
        evidence: format!("all {} items failed: {evidence}", failed.classes.len()),
        hint_ms: failed.hint_ms,
        retry_items,
    })
}

fn many_causes(case: &Case<'_>) -> Option<Finding> {
    let failed = failed_items(case, true)?;
    let evidence = format!(
        "all {} items failed, {} worth repeating",
        failed.classes.len(),
        failed.retry.len()
    );
    Some(Finding {
        class: Class::Partial,
        evidence,
        hint_ms: failed.hint_ms,
        retry_items: Some(failed.retry),
    })
}

// ---- delivered ----------------------------------------------------------------------

fn nothing_found(case: &Case<'_>) -> Option<Finding> {
    match case.outcome {
        Outcome::NothingFound(evidence) => Some(plain(Class::Success, evidence.clone())),
        _ => None,
    }
}

fn gate(
    case: &Case<'_>,
    class: Class,
    gate: fn(&Observation, &Delivery) -> Option<String>,
) -> Option<Finding> {
    gate(case.observation, case.delivery()?).map(|evidence| plain(class, evidence))
}

fn delivered(case: &Case<'_>) -> Option<Finding> {
    case.delivery()
        .map(|delivery| plain(Class::Success, delivery.evidence.clone()))
}

// ---- faults ---------------------------------------------------------------------------

fn marked(case: &Case<'_>, kind: MarkKind, class: Class) -> Option<Finding> {
    case.mark(kind)
        .map(|mark| plain(class, mark.evidence.clone()))
}

fn failed_tests(case: &Case<'_>) -> Option<Finding> {
    if !case.has_failed_tests() {
        return None;
    }
    marked(case, MarkKind::FailedTests, Class::Semantic)
}

fn over_limit(case: &Case<'_>) -> Option<Finding> {
    let signals = case.signals.as_ref()?;
    // Only a limit that was hit can be compared with; elsewhere these are numbers of the input.
    let is_limited = signals
        .list
        .iter()
        .any(|signal| matches!(signal.meaning, Meaning::Rate | Meaning::Cost));
    if !is_limited {
        return None;
    }
    if let Some((limit, requested)) = words::requested_over_limit(&signals.text) {
        return Some(signals.finding(
            Class::CostPressure,
            &format!("limit {limit}, requested {requested}"),
        ));
    }
    words::limit_is_zero(&signals.text).then(|| signals.finding(Class::CostPressure, "limit: 0"))
}

fn cost_words(case: &Case<'_>) -> Option<Finding> {
    let signals = case.signals.as_ref()?;
    // The structured quota knows the window; its standard text speaks of billing all the same.
    if signals.is_minute_quota {
        return None;
    }
    case.signal(Class::CostPressure, Meaning::Cost, Weight::Words)
        .or_else(|| {
            // A rate limit whose window is a day or a month is a spent allowance.
            let rate = signals
                .list
                .iter()
                .find(|signal| signal.meaning == Meaning::Rate)?;
            words::names_long_window(&signals.text).then(|| {
                signals.finding(
                    Class::CostPressure,
                    &format!("{}; the window is a day or longer", rate.evidence),
                )
            })
        })
}

fn cost_status(case: &Case<'_>) -> Option<Finding> {
    [Weight::Broad, Weight::Status]
        .into_iter()
        .find_map(|weight| case.signal(Class::CostPressure, Meaning::Cost, weight))
}

fn rate(case: &Case<'_>, is_short: bool) -> Option<Finding> {
    let signals = case.signals.as_ref()?;
    let signal = rate_signal(signals)?;
    let hint: Option<&Hint> = signals.hint.as_ref().or(signals.reset.as_ref());
    let has_short_wait = hint.is_some_and(|hint| hint.ms <= SHORT_WAIT_MS_MAX);
    if has_short_wait != is_short {
        return None;
    }
    let class = if is_short {
        Class::Transient
    } else {
        Class::CostPressure
    };
    let wait = hint.map_or_else(|| "no time named".to_owned(), |hint| hint.place.clone());
    let status = signals
        .status
        .filter(|status| !signal.contains(&status.to_string()))
        .map_or_else(String::new, |status| format!("status {status}; "));
    let mut finding = signals.finding(class, &format!("{status}{signal}; {wait}"));
    finding.hint_ms = hint.map(|hint| hint.ms);
    Some(finding)
}

/// Returns the evidence of a rate limit, unless an exact code says something else.
fn rate_signal(signals: &Signals) -> Option<&str> {
    let first = |weight| {
        signals
            .first(Meaning::Rate, weight)
            .map(|signal| signal.evidence.as_str())
    };
    if let Some(exact) = first(Weight::Exact) {
        return Some(exact);
    }
    let has_other_code = signals
        .list
        .iter()
        .any(|signal| signal.weight == Weight::Exact);
    if has_other_code {
        return None;
    }
    [Weight::Words, Weight::Broad, Weight::Status]
        .into_iter()
        .find_map(first)
}

/// Something that passes, but not soon: waiting it out inside a step is no option.
///
/// Only for a service that says it is unavailable; a lock or a timeout has no schedule.
fn long_wait(case: &Case<'_>, weight: Weight) -> Option<Finding> {
    let signals = case.signals.as_ref()?;
    let signal = signals.first(Meaning::Transient, weight)?;
    let hint = signals
        .hint
        .as_ref()
        .filter(|hint| hint.ms > SHORT_WAIT_MS_MAX)?;
    let is_unavailable = signals
        .status
        .is_none_or(|status| status == 0 || status >= 500);
    is_unavailable.then(|| {
        signals.finding(
            Class::Persistent,
            &format!("{}; {}", signal.evidence, hint.place),
        )
    })
}

fn general(case: &Case<'_>, class: Class, meaning: Meaning) -> Option<Finding> {
    let signals = case.signals.as_ref()?;
    // Broad codes before the status: a 500 that carries INVALID_ARGUMENT is the caller's mistake.
    let weight = [Weight::Broad, Weight::Status]
        .into_iter()
        .find(|weight| signals.list.iter().any(|signal| signal.weight == *weight))?;
    let signal = signals.first(meaning, weight)?;
    Some(signals.finding(class, &signal.evidence))
}

fn other(case: &Case<'_>) -> Option<Finding> {
    let Some(signals) = &case.signals else {
        return Some(plain(Class::Semantic, "nothing known"));
    };
    let said = signals.text.lines().next().unwrap_or_default();
    let evidence = if said.is_empty() {
        signals.fallback.clone()
    } else {
        format!("{}: {said}", signals.fallback)
    };
    Some(signals.finding(Class::Semantic, &evidence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_sentences_are_sentences() {
        let mut ids: Vec<&str> = table().iter().map(|rule| rule.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), table().len());
        assert!(
            table()
                .iter()
                .all(|rule| rule.sentence.len() > 20 && !rule.sentence.ends_with('.'))
        );
    }
}
