//! Classifies tool results and model replies: eight classes, three layers, one table.
//!
//! Pure: the same observation, rules and history give the same verdict. No clock, no
//! IO. Untrusted input is bounded and never makes it panic.
//!
//! ```text
//! Observation ─► Outcome ─────────► Case ─► table of rules ─► Verdict
//!   (as it came)  items              signals   first match
//!                 nothing found      marks     wins
//!                 delivered ─► gates
//!                 failed ─► Fault ─► Signals
//! ```
//!
//! - [`class`] what there is; [`verdict`] the answer; [`rules`] the decision table: start there.
//! - `observation` the input and the meaning of its context fields.
//! - `http`, `llm`, `mcp`, `exec`, `batch` find out what a result of their kind amounts to.
//! - `envelope` tells whether an answer is, as a whole, an error; `acting` whether a call
//!   changes something, and whether its answer is a refusal.
//! - `fault` takes a failure apart; `codes` and `words` know what the parts mean;
//!   `hint` reads how long to wait; `signals` weighs.
//! - `gates` tells whether something that arrived is fit for use.
//! - [`custom`] the user's rules, [`history`] repeated transients.
//!
//! Structure decides, words come last, and tool output has no authority: text that
//! addresses the supervisor is removed before words are read (`text::disarm`).
//!
//! Not here: what is done about a class (`policy::retry`, `policy::breaker`,
//! `policy::degrade`), and run-level outcomes such as silent drift.

mod acting;
mod batch;
pub mod class;
mod codes;
mod command;
pub mod custom;
mod envelope;
mod exec;
mod fault;
mod gates;
mod hint;
pub mod history;
mod http;
mod llm;
mod mcp;
mod meaning;
mod observation;
mod outcome;
mod phrases;
pub mod rules;
mod signals;
mod text;
pub mod verdict;
mod words;

pub use class::{Class, Layer};
pub use history::History;
pub use observation::{Kind, Observation};
pub use verdict::Verdict;

use outcome::Outcome;
use rules::{Case, Mark};

/// Classifies one result.
///
/// - `observation`: the result and what was known before the call.
/// - `rules`: the user's rules, tried first, in order; see [`custom`].
/// - `history`: earlier outcomes of the same tool; turns repeated transients into persistent.
///
/// Total: every input has a verdict, none panics. Time is linear in the bytes looked
/// at, which are bounded (64 KiB of each text, a few hundred nodes of each error body;
/// only gates that parse a whole payload read all of it).
pub fn classify(observation: &Observation, rules: &[custom::Rule], history: &History) -> Verdict {
    for rule in rules {
        if let Some(evidence) = rule.matches(observation) {
            return Verdict::new(rule.class(), rule.id(), rule.why(), &evidence)
                .with_hint(rule.retry_after_ms());
        }
    }
    let (outcome, marks) = outcome_of(observation);
    let (rule, finding) = rules::first_match(&Case::new(observation, &outcome, &marks));
    let verdict = Verdict::new(finding.class, rule.id, rule.sentence, &finding.evidence)
        .with_hint(finding.hint_ms)
        .with_items(finding.retry_items);
    promoted(verdict, history)
}

/// What an answer says about one of the items that the call carried.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemVerdict {
    /// How it is classed; `None` where the answer does not mention it.
    pub verdict: Option<Verdict>,
    /// What the answer says about it, in its own words; null where it only counts it in.
    pub said: serde_json::Value,
}

/// Classifies an answer item by item.
///
/// - `ids`: the items that the call carried, in the order of the result.
///
/// Returns `None` where the answer does not tell items apart; then what
/// [`classify`] says of the whole holds for each.
pub fn classify_items(
    observation: &Observation,
    rules: &[custom::Rule],
    ids: &[&str],
) -> Option<Vec<ItemVerdict>> {
    if rules.iter().any(|rule| rule.matches(observation).is_some()) {
        // The user's rules come first, and they speak of the whole.
        return None;
    }
    batch::by_item(observation, ids)
}

fn outcome_of(observation: &Observation) -> (Outcome, Vec<Mark>) {
    match observation.kind {
        Kind::Http | Kind::Llm => (http::outcome(observation), Vec::new()),
        Kind::Exec => exec::outcome(observation),
        Kind::Mcp => match mcp::failed_process(observation) {
            Some(process) => exec::outcome(&process),
            None => (mcp::outcome(observation), Vec::new()),
        },
        Kind::Batch => (Outcome::Items(batch::own(&observation.result)), Vec::new()),
    }
}

/// Turns one transient too many into a persistent failure.
fn promoted(verdict: Verdict, history: &History) -> Verdict {
    if verdict.class != Class::Transient {
        return verdict;
    }
    let Some(reason) = history.promotes() else {
        return verdict;
    };
    let evidence = format!("{reason}; now {}: {}", verdict.rule, verdict.evidence);
    Verdict::new(
        Class::Persistent,
        "history.promoted",
        "it should have passed by itself and does not",
        &evidence,
    )
    .with_hint(verdict.retry_after_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn observed(value: serde_json::Value) -> Observation {
        Observation::from_value(value)
    }

    #[test]
    fn a_users_rule_comes_first() {
        let written = serde_json::from_value(
            json!({"id": "mine", "when": {"exit_code": 0}, "class": "quality"}),
        )
        .expect("well-formed");
        let rules = custom::compile(&[written]).expect("compiles");
        let verdict = classify(
            &observed(json!({"kind": "exec", "result": {"exit_code": 0}})),
            &rules,
            &History::default(),
        );
        assert_eq!(
            (verdict.class, verdict.rule.as_str()),
            (Class::Quality, "mine")
        );
    }

    #[test]
    fn history_turns_a_transient_into_persistent() {
        let observation = observed(json!({"kind": "http", "result": {"status": 502}}));
        let mut history = History::default();
        for _ in 0..5 {
            let verdict = classify(&observation, &[], &history);
            assert_eq!(verdict.class, Class::Transient);
            history.record(verdict.class);
        }
        let verdict = classify(&observation, &[], &history);
        assert_eq!(
            (verdict.class, verdict.rule.as_str()),
            (Class::Persistent, "history.promoted")
        );
    }
}
