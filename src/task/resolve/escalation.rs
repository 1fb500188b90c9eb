//! `escalation`, and `approve` of a tool.

use serde_json::Value;

use super::{Arguments, Checker};
use crate::task::locate::{KeyPath, Part};
use crate::task::resolved::{Approve, Escalation, EscalationType};
use crate::task::{defaults, written};

/// The argument of an amount where none is named.
const AMOUNT: &str = "amount";

impl Checker<'_> {
    pub(super) fn escalation(&mut self, written: written::Escalation) -> Option<Escalation> {
        let before = self.found.len();
        let path = KeyPath::root().key("escalation").key("types");
        let types = written.types;
        #[rustfmt::skip]
        let rows: [(&str, _, &[&str]); 6] = [
            ("approval", types.approval, &["approve", "decline"]),
            ("loop", types.r#loop, &["continue", "stop"]),
            ("cost", types.cost, &["continue", "stop"]),
            // Their options come with the question.
            ("low_confidence", types.low_confidence, &[]),
            ("uncovered", types.uncovered, &[]),
            ("agent", types.agent, &[]),
        ];
        let types = rows.into_iter().map(|(name, it, options)| {
            let at = path.key(name).key("default");
            let known = options.is_empty();
            let unknown = it
                .default
                .as_deref()
                .filter(|it| !known && !options.contains(it));
            if let Some(unknown) = unknown {
                let near = crate::task::suggest::nearest(unknown, options.iter().copied());
                let fix = near.map(|near| format!("did you mean `{near}`?"));
                let expected = format!("`{}`", options.join("` or `"));
                self.refuse(
                    &at,
                    Part::Value,
                    "is no option of this question",
                    Some(&expected),
                    fix.as_deref(),
                );
            }
            let deadline = it.deadline.unwrap_or_else(defaults::escalation_deadline);
            let resolved = EscalationType {
                deadline_ms: deadline.0,
                default: it.default,
            };
            (name.to_owned(), resolved)
        });
        let types = types.collect();
        (self.found.len() == before).then_some(Escalation {
            cost_nanousd: written.cost_usd.map(|usd| usd.0),
            types,
            longest_ms: None,
        })
    }

    pub(super) fn approve(
        &mut self,
        path: &KeyPath,
        approve: Option<written::Approve>,
        arguments: Arguments<'_>,
    ) -> Option<Approve> {
        let before = self.found.len();
        let (above_usd, amount, when) = match approve {
            None | Some(written::Approve::Word(written::ApproveWord::Never)) => {
                return Some(Approve::Never);
            }
            Some(written::Approve::Word(written::ApproveWord::Always)) => {
                return Some(Approve::Always);
            }
            Some(written::Approve::When {
                above_usd,
                amount,
                when,
            }) => (above_usd, amount, when),
        };
        if amount.is_some() && above_usd.is_none() {
            self.refuse(
                &path.key("amount"),
                Part::Key,
                "stands without `above_usd`",
                Some("both"),
                Some("add `above_usd: 50`"),
            );
        }
        if above_usd.is_none() && when.is_empty() {
            let fix = "write `approve: always`, or add `above_usd: 50`";
            self.refuse(path, Part::Value, "has no condition", None, Some(fix));
        }
        let amount = amount.unwrap_or_else(|| AMOUNT.to_owned());
        let mut names: Vec<(KeyPath, &str)> = Vec::new();
        if above_usd.is_some() {
            let at = match self.is_written(&path.key("amount")) {
                true => path.key("amount"),
                false => path.key("above_usd"),
            };
            names.push((at, &amount));
        }
        names.extend(
            when.keys()
                .map(|name| (path.key("when").key(name), name.as_str())),
        );
        for (at, name) in names {
            let first = steps(name).into_iter().next().unwrap_or_default();
            if let Arguments::Named(known) = arguments
                && !known.contains(&first.as_str())
            {
                self.unknown_argument(&at, &first, known);
            }
        }
        (self.found.len() == before).then(|| Approve::When {
            above_nanousd: above_usd.map(|usd| (usd.0, steps(&amount))),
            arguments: when
                .into_iter()
                .map(|(name, value)| match value {
                    Value::Array(values) => (steps(&name), values),
                    value => (steps(&name), vec![value]),
                })
                .collect(),
        })
    }
}

fn steps(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}
