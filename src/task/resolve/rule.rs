//! `rules`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Checker;
use crate::task::locate::{KeyPath, Part};
use crate::task::resolved::{Class, Rule, When};
use crate::task::written::{self, Codes, Status, Statuses};

/// The most memory a compiled pattern may take, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl Checker<'_> {
    pub(super) fn rule(&mut self, path: &KeyPath, rule: written::Rule) -> Option<Rule> {
        let before = self.found.len();
        let when = self.when(&path.key("when"), rule.when);
        if rule.retry_after.is_some()
            && !matches!(rule.class, Class::Transient | Class::CostPressure)
        {
            let fix = Some("remove `retry_after`, or write `class: transient`");
            self.refuse(
                &path.key("retry_after"),
                Part::Key,
                "stands beside a class that is never retried",
                Some("it beside `transient` or `cost_pressure` only"),
                fix,
            );
        }
        (self.found.len() == before).then(|| Rule {
            id: rule.id,
            when,
            class: rule.class,
            retry_after_ms: rule.retry_after.map(|it| it.0),
            why: rule.why.unwrap_or_default(),
            examples: rule.examples.into_iter().map(Value::Object).collect(),
        })
    }

    fn when(&mut self, path: &KeyPath, when: written::When) -> When {
        let raw = path.get(self.root).and_then(Value::as_object);
        if raw.is_some_and(serde_json::Map::is_empty) {
            let fix = Some("write what the results have in common, such as `status: 5xx`");
            self.refuse(
                path,
                Part::Key,
                "is empty and would match every result",
                None,
                fix,
            );
        }
        // `equals: null` asks for a null; serde alone cannot tell it from no key.
        let equals = raw.and_then(|raw| raw.get("equals")).cloned();
        if equals.is_some() && !self.is_written(&path.key("pointer")) {
            let fix = Some("add `pointer: /path/to/value`");
            self.refuse(
                &path.key("equals"),
                Part::Key,
                "has no `pointer` that leads to a value",
                None,
                fix,
            );
        }
        if let Some(pattern) = &when.pattern {
            self.pattern(&path.key("pattern"), pattern);
        }
        When {
            tool: when.tool,
            exit_codes: when.exit_code.map(Codes::into_vec).unwrap_or_default(),
            statuses: when
                .status
                .map(Statuses::into_vec)
                .unwrap_or_default()
                .iter()
                .map(status_range)
                .collect(),
            pattern: when.pattern,
            pointer: when.pointer,
            equals,
        }
    }

    /// Checks that a regular expression compiles.
    pub(super) fn pattern(&mut self, path: &KeyPath, pattern: &str) {
        let compiled = regex::RegexBuilder::new(pattern)
            .size_limit(PATTERN_BYTES_MAX)
            .build();
        if let Err(error) = compiled {
            let what = format!(
                "is no regular expression: {}",
                last_line(&error.to_string())
            );
            let fix = Some("escape special characters with `\\`, in single quotes");
            self.refuse(path, Part::Value, &what, None, fix);
        }
    }

    /// Refuses rules with the same id; decisions quote rules by it.
    pub(super) fn distinct_rules(&mut self) {
        let rules = KeyPath::root().key("rules");
        let mut first: BTreeMap<&str, usize> = BTreeMap::new();
        let items = rules.get(self.root).and_then(Value::as_array);
        let mut repeated = Vec::new();
        for (index, item) in items.into_iter().flatten().enumerate() {
            let Some(id) = item.get("id").and_then(Value::as_str) else {
                continue;
            };
            match first.get(id) {
                Some(earlier) => repeated.push((index, *earlier)),
                None => drop(first.insert(id, index)),
            }
        }
        for (index, earlier) in repeated {
            let what = format!("is also the id of rules[{earlier}]");
            let at = rules.index(index).key("id");
            self.refuse(&at, Part::Value, &what, Some("an id of its own"), None);
        }
    }
}

fn status_range(status: &Status) -> (u16, u16) {
    match status {
        Status::Code(code) => (*code, *code),
        Status::Hundred(text) => {
            let hundred = text
                .bytes()
                .next()
                .map_or(0, |digit| u16::from(digit - b'0'))
                * 100;
            (hundred, hundred + 99)
        }
    }
}

/// Returns the line of a regex error that says what is wrong.
fn last_line(error: &str) -> String {
    let line = error.lines().last().unwrap_or(error);
    line.trim()
        .trim_start_matches("error: ")
        .chars()
        .take(120)
        .collect()
}
