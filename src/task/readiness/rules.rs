//! R4xx: own rules.

use serde_json::Value;

use super::{Look, RULE_FAILS, RULE_NO_TOOL, RULE_UNREACHABLE, RULE_UNTESTED};
use crate::task::locate::KeyPath;
use crate::task::resolved::{Resolved, Rule, When};

/// What the classifier made of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The id of the rule that decided.
    pub rule: String,
    /// The class it gave.
    pub class: String,
}

/// Classifies an example (one input line of `agentguard classify`) with the
/// rules of the task. Handed in, since the classifier is not of this room.
///
/// Errors: why the example is no input line.
pub type TryExample<'a> = &'a dyn Fn(&Resolved, &Value) -> Result<Tried, String>;

impl Look<'_> {
    pub(super) fn rules(&mut self, try_example: Option<TryExample<'_>>) {
        let task = self.task;
        let rules = KeyPath::root().key("rules");
        for (index, rule) in task.rules.iter().enumerate() {
            let path = rules.index(index);
            if let Some(earlier) = task.rules[..index]
                .iter()
                .find(|it| covers(&it.when, &rule.when))
            {
                let message = format!(
                    "rule `{}` is never reached: rule `{}` matches first whatever it matches",
                    rule.id, earlier.id
                );
                self.find(
                    RULE_UNREACHABLE,
                    &path,
                    message,
                    "put the narrower rule first",
                );
            }
            if let Some(glob) = &rule.when.tool
                && !task.tools.is_empty()
                && !names_of_calls(task).any(|name| glob_matches(glob, &name))
            {
                let message = format!(
                    "rule `{}` is for `{glob}`, and no tool has such a name",
                    rule.id
                );
                let names = task.tools.keys().map(String::as_str);
                let fix = match crate::task::suggest::nearest(glob, names) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "correct `tool`, or leave it out to match every tool".to_owned(),
                };
                self.find(RULE_NO_TOOL, &path.key("when").key("tool"), message, &fix);
            }
            if rule.examples.is_empty() {
                let message = format!("rule `{}` has no examples", rule.id);
                self.find(RULE_UNTESTED, &path, message, "add `examples:` with results that it must match, as `agentguard classify` reads them");
            }
            if let Some(try_example) = try_example {
                self.examples(&path, rule, try_example);
            }
        }
    }

    fn examples(&mut self, path: &KeyPath, rule: &Rule, try_example: TryExample<'_>) {
        for (index, example) in rule.examples.iter().enumerate() {
            let message = match try_example(self.task, example) {
                Ok(tried) if tried.rule == rule.id => continue,
                Ok(tried) => format!(
                    "the example of rule `{}` is taken by rule `{}`",
                    rule.id, tried.rule
                ),
                Err(error) => format!(
                    "the example of rule `{}` cannot be classified: {error}",
                    rule.id
                ),
            };
            self.find(
                RULE_FAILS,
                &path.key("examples").index(index),
                message,
                "correct `when` or the example; `agentguard classify` explains one result",
            );
        }
    }
}

/// Tells whether everything that `narrow` matches is matched by `wide`: each
/// thing `wide` asks for is asked for by `narrow` at least as strictly.
fn covers(wide: &When, narrow: &When) -> bool {
    let tool = match (&wide.tool, &narrow.tool) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => {
            wide == narrow || wide == "*" || (!narrow.contains('*') && glob_matches(wide, narrow))
        }
        (Some(wide), None) => wide == "*",
    };
    let exit = wide.exit_codes.is_empty()
        || (!narrow.exit_codes.is_empty()
            && narrow
                .exit_codes
                .iter()
                .all(|code| wide.exit_codes.contains(code)));
    let inside = |(low, high): &(u16, u16)| {
        wide.statuses
            .iter()
            .any(|(from, to)| from <= low && high <= to)
    };
    let status = wide.statuses.is_empty()
        || (!narrow.statuses.is_empty() && narrow.statuses.iter().all(inside));
    let pattern = wide.pattern.is_none() || wide.pattern == narrow.pattern;
    let pointer = wide.pointer.is_none() || wide.pointer == narrow.pointer;
    let equals = wide.equals.is_none() || wide.equals == narrow.equals;
    tool && exit && status && pattern && pointer && equals
}

/// Returns what calls are named after: tools, and their undos.
fn names_of_calls(task: &Resolved) -> impl Iterator<Item = String> {
    task.tools.iter().flat_map(|(name, tool)| {
        let undo = tool.undo.as_ref().map(|_| format!("undo:{name}"));
        std::iter::once(name.clone()).chain(undo)
    })
}

/// Tells whether `*` in `glob` can be filled in to give `name`. Linear in the
/// product of the lengths at worst.
pub(crate) fn glob_matches(glob: &str, name: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(found) = rest.find(part) else {
            return false;
        };
        rest = &rest[found + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glob_table() {
        #[rustfmt::skip]
        let rows = [
            ("fetch", "fetch", true), ("fetch", "fetcher", false), ("fetch*", "fetch_url", true),
            ("*", "", true), ("*url", "fetch_url", true), ("f*h*l", "fetch_url", true),
            ("f*x*l", "fetch_url", false), ("a*a", "a", false), ("", "x", false),
        ];
        for (glob, name, want) in rows {
            assert_eq!(glob_matches(glob, name), want, "row: {glob} on {name}");
        }
    }
}
