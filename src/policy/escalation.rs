//! When a human is asked, how long they have, and what happens if they do not
//! answer.
//!
//! Pure data of the task file and two small rules: whether a call needs an
//! approval ([`Approve::asks`]), and which option a question falls back to
//! ([`fallback`]).
//!
//! Not here: the question itself and what becomes of it (`machine::escalation`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::money::NanoUsd;

/// What leads to a question.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A tool that needs an approval.
    Approval,
    /// A loop that telling the model did not break.
    Loop,
    /// A write that may or may not have happened.
    InDoubt,
    /// Spending that would pass a threshold.
    Cost,
    /// The agent is not sure.
    LowConfidence,
    /// The agent met a case that its instructions do not cover.
    Uncovered,
    /// The agent's own request.
    #[default]
    Agent,
    /// What was done could not be undone.
    Undo,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Approval,
        Self::Loop,
        Self::InDoubt,
        Self::Cost,
        Self::LowConfidence,
        Self::Uncovered,
        Self::Agent,
        Self::Undo,
    ];

    /// Those that an agent may ask by.
    pub const OF_AGENTS: [Self; 3] = [Self::Agent, Self::LowConfidence, Self::Uncovered];

    /// Returns it as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Loop => "loop",
            Self::InDoubt => "in_doubt",
            Self::Cost => "cost",
            Self::LowConfidence => "low_confidence",
            Self::Uncovered => "uncovered",
            Self::Agent => "agent",
            Self::Undo => "undo",
        }
    }

    /// Whether the run stands still until it is decided. What may have happened
    /// is settled before a resume; what cannot be undone is told, and no more.
    pub fn holds_the_run(self) -> bool {
        !matches!(self, Self::InDoubt | Self::Undo)
    }
}

/// How questions of a kind are treated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How long a human has, in milliseconds; `None`: as long as it takes.
    pub deadline_ms: Option<u64>,
    /// The option that stands when the deadline passes; `None`: by what can be
    /// taken back, see [`fallback`].
    pub default: Option<String>,
}

/// When humans are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The terms of each kind.
    pub terms: BTreeMap<Kind, Terms>,
    /// Asked each time this much more would be spent.
    pub cost_step: Option<NanoUsd>,
    /// Whether a loop waits for a human instead of ending the run.
    pub on_loop: bool,
    /// The longest deadline, whatever a question says, in milliseconds.
    pub longest_ms: Option<u64>,
}

impl Config {
    /// Returns the terms of `kind`.
    pub fn terms(&self, kind: Kind) -> Terms {
        self.terms.get(&kind).cloned().unwrap_or_default()
    }
}

/// Options that do nothing, by the names that they usually have; the first one
/// is added where a question has none of them and needs one.
pub const NOTHING: [&str; 9] = [
    "nothing", "decline", "no", "stop", "reject", "cancel", "abort", "skip", "none",
];

/// Options that go ahead.
const PROCEED: [&str; 5] = ["approve", "continue", "yes", "proceed", "go"];

/// Returns the option that stands when nobody answers: do nothing where it cannot
/// be taken back, else proceed.
///
/// `None`: there is no such option among `options`.
pub fn fallback<'a>(
    options: &[&'a str],
    is_reversible: bool,
    recommended: Option<&str>,
) -> Option<&'a str> {
    let among = |names: &[&str]| {
        let mut found = options.iter().copied();
        found.find(|option| names.contains(option))
    };
    match is_reversible {
        false => among(&NOTHING),
        true => recommended
            .and_then(|name| among(&[name]))
            .or_else(|| among(&PROCEED))
            .or_else(|| options.first().copied()),
    }
}

/// Whether calls of a tool wait for an approval.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Approve {
    /// None does.
    #[default]
    Never,
    /// Every one does.
    Always,
    /// Those that meet all of these conditions.
    When {
        /// The amount of money in argument `amount` is above this.
        above: Option<(NanoUsd, Vec<String>)>,
        /// The argument at this path is one of these values.
        arguments: Vec<(Vec<String>, Vec<Value>)>,
    },
}

impl Approve {
    /// Returns why a call with `args` needs an approval, if it does.
    ///
    /// An amount that is missing or no number needs one: nobody knows how much it
    /// is.
    pub fn asks(&self, args: &Value) -> Option<String> {
        let (above, arguments) = match self {
            Self::Never => return None,
            Self::Always => return Some("calls of this tool need an approval".into()),
            Self::When { above, arguments } => (above, arguments),
        };
        let mut reasons = Vec::new();
        if let Some((limit, path)) = above {
            let name = path.join(".");
            match at(args, path).and_then(usd) {
                Some(amount) if amount <= *limit => return None,
                Some(amount) => reasons.push(format!("{name} is {amount} USD, above {limit} USD")),
                None => reasons.push(format!("{name} is no amount of money")),
            }
        }
        for (path, values) in arguments {
            let found = at(args, path).filter(|found| values.contains(found))?;
            reasons.push(format!("{} is {found}", path.join(".")));
        }
        Some(reasons.join("; "))
    }

    /// Returns the money that a call with `args` moves, where that is known.
    pub fn amount(&self, args: &Value) -> Option<NanoUsd> {
        match self {
            Self::When {
                above: Some((_, path)),
                ..
            } => at(args, path).and_then(usd),
            _ => None,
        }
    }
}

fn at<'a>(args: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(args, |value, name| value.get(name))
}

fn usd(value: &Value) -> Option<NanoUsd> {
    match value {
        Value::Number(number) => NanoUsd::from_usd_text(&number.to_string()).ok(),
        Value::String(text) => NanoUsd::from_usd_text(text).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn approve_table() {
        let path = |name: &str| name.split('.').map(str::to_owned).collect::<Vec<_>>();
        let above = Approve::When {
            above: Some((NanoUsd(50_000_000_000), path("total.usd"))),
            arguments: vec![],
        };
        let prod = Approve::When {
            above: None,
            arguments: vec![(path("env"), vec![json!("prod"), json!("live")])],
        };
        #[rustfmt::skip]
        let rows = [
            ("never", &Approve::Never, json!({}), None),
            ("always", &Approve::Always, json!({}), Some("calls of this tool need an approval")),
            ("below", &above, json!({"total": {"usd": 49.99}}), None),
            ("exactly the limit is not above it", &above, json!({"total": {"usd": "50"}}), None),
            ("above", &above, json!({"total": {"usd": 50.01}}), Some("total.usd is 50.01 USD, above 50.00 USD")),
            ("no amount is asked about", &above, json!({"total": 5}), Some("total.usd is no amount of money")),
            ("a negative amount is no amount", &above, json!({"total": {"usd": -5}}), Some("total.usd is no amount of money")),
            ("another value", &prod, json!({"env": "test"}), None),
            ("a missing value", &prod, json!({}), None),
            ("the value", &prod, json!({"env": "prod"}), Some("env is \"prod\"")),
        ];
        for (name, approve, args, want) in rows {
            assert_eq!(approve.asks(&args).as_deref(), want, "row: {name}");
        }
    }

    #[test]
    fn fallback_table() {
        #[rustfmt::skip]
        let rows = [
            ("irreversible does nothing", &["approve", "decline"][..], false, None, Some("decline")),
            ("irreversible ignores what is recommended", &["approve", "decline"], false, Some("approve"), Some("decline")),
            ("irreversible without such an option has none", &["a", "b"], false, None, None),
            ("reversible goes ahead", &["stop", "continue"], true, None, Some("continue")),
            ("reversible takes what is recommended", &["a", "b"], true, Some("b"), Some("b")),
            ("reversible takes the first", &["a", "b"], true, Some("c"), Some("a")),
        ];
        for (name, options, reversible, recommended, want) in rows {
            assert_eq!(
                fallback(options, reversible, recommended),
                want,
                "row: {name}"
            );
        }
    }
}
