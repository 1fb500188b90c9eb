//! As written to resolved: defaults filled in, and every check that the types
//! cannot express (one of two keys, templates, regular expressions, schemas).
//!
//! Works section by section and entry by entry on the JSON value. A section
//! with a mismatch is checked without what is wrong, so that one reading tells
//! everything that can be told; checks that ask what is there ask the file as
//! written, lest a wrong key be called a missing one.

mod agent;
mod escalation;
mod mcp;
mod patterns;
mod rule;
mod tool;
mod upstream;
mod verify;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::locate::{KeyPath, Part, Segment};
use super::parse::PROBLEMS_MAX;
use super::resolved::{Input, Resolved, RetryConfig};
use super::template::Template;
use super::validate::{Mismatch, shown};
use super::{defaults, written};

/// Resolves the whole file. `stem` is the name of a task without one.
/// `mismatches` are those already known; new ones are appended. `None` if
/// there is any.
pub fn resolve(root: &Value, stem: &str, mismatches: &mut Vec<Mismatch>) -> Option<Resolved> {
    let mut check = Checker {
        root,
        found: std::mem::take(mismatches),
    };
    let resolved = check.task(stem);
    *mismatches = check.found;
    resolved.filter(|_| mismatches.is_empty())
}

/// The value at hand and what was found wrong with it.
struct Checker<'a> {
    root: &'a Value,
    found: Vec<Mismatch>,
}

impl Checker<'_> {
    fn task(&mut self, stem: &str) -> Option<Resolved> {
        let top = KeyPath::root();
        // Every section is looked at before any `?` may leave.
        let name = self.section::<String>(&top.key("name"));
        let agent = self
            .section(&top.key("agent"))
            .and_then(|it| self.agent(it));
        let input = match self.section(&top.key("input")) {
            Some(input) => self.input(input),
            None => Some(Input::default()),
        };
        let limits = self
            .section_or_default(&top.key("limits"))
            .map(|it| agent::limits(&it));
        let prices = self.entries(&top.key("prices"), |_, _, price| Some(agent::price(&price)));
        let upstreams = self.upstreams();
        let retry = self
            .section_or_default(&top.key("retry"))
            .and_then(|it| self.retry(it));
        let breaker = self.section_or_default(&top.key("breaker"));
        let breaker = breaker.and_then(|it| self.breaker(&top.key("breaker"), it));
        // Sections that other entries lean on: with mistakes of their own,
        // the entries are still checked against the defaults.
        let retry_or_default = retry.clone().unwrap_or_default();
        let breaker_or_default = breaker.clone().unwrap_or_default();
        let tools = self.entries(&top.key("tools"), |check, path, tool| {
            check.tool(path, tool, &retry_or_default, breaker_or_default.as_ref())
        });
        let lent = self.servers(&retry_or_default, breaker_or_default.as_ref());
        let rules = self.list(&top.key("rules"), Self::rule);
        self.distinct_rules();
        let loops = self
            .section_or_default(&top.key("loops"))
            .and_then(|it| self.loops(&it));
        let rollback = self.section_or_default::<written::Rollback>(&top.key("rollback"));
        let verify = self.verify(&top.key("verify"));
        let workspace = self
            .section_or_default(&top.key("workspace"))
            .and_then(|it| self.workspace(it));
        let escalation = self
            .section_or_default(&top.key("escalation"))
            .and_then(|it| self.escalation(it));
        let notify = self.list(&top.key("notify"), Self::notify);
        let (mut agent, mut workspace) = (agent?, workspace?);
        if let Some(stage) = &workspace.stage
            && top
                .key("agent")
                .key("cwd")
                .get(self.root)
                .is_none_or(Value::is_null)
        {
            agent.cwd.clone_from(stage);
            workspace.is_home = true;
        }
        Some(Resolved {
            name: name.unwrap_or_else(|| stem.to_owned()),
            agent,
            input: input?,
            limits: limits?,
            prices: prices?,
            upstreams: upstreams?,
            tools: tools?,
            lent: lent?,
            rules: rules?,
            loops: loops?,
            model_retry: model_retry(retry.as_ref()?),
            model_breaker: breaker?,
            retry_budget: retry?.budget.run.0,
            rollback_on: BTreeSet::from_iter(rollback?.on).into_iter().collect(),
            verify: verify?,
            workspace,
            escalation: escalation?,
            notify: notify?,
        })
    }

    /// Reads the section at `path`, if it is there and fits the schema. One
    /// that does not is read without what is wrong, so that the rest of it is
    /// still checked; nothing is ever run from it.
    fn section<T: DeserializeOwned>(&mut self, path: &KeyPath) -> Option<T> {
        let value = path.get(self.root)?;
        let bad: Vec<&KeyPath> = self
            .found
            .iter()
            .map(|it| &it.path)
            .filter(|it| it.is_within(path))
            .collect();
        if !bad.is_empty() {
            return [true, false].into_iter().find_map(|items| {
                let mut pruned = value.clone();
                for at in &bad {
                    prune(&mut pruned, &at.segments()[path.segments().len()..], items);
                }
                serde_json::from_value(pruned).ok()
            });
        }
        match serde_json::from_value(value.clone()) {
            Ok(section) => Some(section),
            Err(error) => {
                // The schema let through what the type does not take: a bug
                // of ours, told as a mistake of the file rather than a panic.
                self.refuse(
                    path,
                    Part::Value,
                    &format!("cannot be read: {error}"),
                    None,
                    None,
                );
                None
            }
        }
    }

    /// Tells whether something at `path` or below is known to be wrong.
    fn is_bad(&self, path: &KeyPath) -> bool {
        self.found
            .iter()
            .any(|mismatch| mismatch.path.is_within(path))
    }

    /// Tells whether `path` was written, right or wrong.
    fn is_written(&self, path: &KeyPath) -> bool {
        path.get(self.root).is_some()
    }

    fn section_or_default<T: DeserializeOwned + Default>(&mut self, path: &KeyPath) -> Option<T> {
        match path.get(self.root) {
            None => Some(T::default()),
            Some(_) => self.section(path),
        }
    }

    /// Resolves each entry of the mapping at `path`.
    fn entries<T: DeserializeOwned, R>(
        &mut self,
        path: &KeyPath,
        mut resolve: impl FnMut(&mut Self, &KeyPath, T) -> Option<R>,
    ) -> Option<BTreeMap<String, R>> {
        let Some(Value::Object(entries)) = path.get(self.root) else {
            return Some(BTreeMap::new());
        };
        let mut whole = true;
        let mut resolved = BTreeMap::new();
        for name in entries.keys() {
            if self.is_full() {
                return None;
            }
            let path = path.key(name);
            match self
                .section(&path)
                .and_then(|entry| resolve(self, &path, entry))
            {
                Some(entry) => drop(resolved.insert(name.clone(), entry)),
                None => whole = false,
            }
        }
        whole.then_some(resolved)
    }

    /// Resolves each item of the list at `path`.
    fn list<T: DeserializeOwned, R>(
        &mut self,
        path: &KeyPath,
        mut resolve: impl FnMut(&mut Self, &KeyPath, T) -> Option<R>,
    ) -> Option<Vec<R>> {
        let Some(Value::Array(items)) = path.get(self.root) else {
            return Some(Vec::new());
        };
        let resolved: Vec<Option<R>> = (0..items.len())
            .map(|index| {
                if self.is_full() {
                    return None;
                }
                let path = path.index(index);
                self.section(&path)
                    .and_then(|item| resolve(self, &path, item))
            })
            .collect();
        resolved.into_iter().collect()
    }

    /// Tells whether enough was found to stop looking: the time stays linear in
    /// the file however much of it is wrong.
    fn is_full(&self) -> bool {
        self.found.len() >= 2 * PROBLEMS_MAX
    }

    /// Notes something wrong at `path`.
    fn refuse(
        &mut self,
        path: &KeyPath,
        part: Part,
        what: &str,
        expected: Option<&str>,
        fix: Option<&str>,
    ) {
        if self.is_full() {
            return;
        }
        self.found.push(Mismatch {
            path: path.clone(),
            part,
            what: what.to_owned(),
            expected: expected.map(str::to_owned),
            found: path.get(self.root).map(shown),
            fix: fix.map(str::to_owned),
        });
    }

    /// Checks that exactly one of two keys was written.
    fn one_of(&mut self, path: &KeyPath, first: &str, second: &str) {
        match (
            self.is_written(&path.key(first)),
            self.is_written(&path.key(second)),
        ) {
            (true, true) => self.refuse(
                &path.key(second),
                Part::Key,
                &format!("stands beside `{first}`"),
                Some(&format!("either `{first}` or `{second}`")),
                Some(&format!("remove `{first}` or `{second}`")),
            ),
            // A misspelt one has been told already.
            (false, false) if self.is_meant(path, first) || self.is_meant(path, second) => {}
            (false, false) => self.refuse(
                path,
                Part::Key,
                &format!("has neither `{first}` nor `{second}`"),
                None,
                Some(&format!("add `{first}:` or `{second}:`")),
            ),
            _ => {}
        }
    }

    /// Tells whether an unknown key below `path` was taken for `name`.
    fn is_meant(&self, path: &KeyPath, name: &str) -> bool {
        let meant = format!("did you mean `{name}`?");
        self.found
            .iter()
            .any(|it| it.path.is_within(path) && it.fix.as_deref() == Some(&meant))
    }

    /// Parses a template and checks its placeholders.
    fn template(&mut self, path: &KeyPath, text: &str, scope: Scope<'_>) -> Option<Template> {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(error) => {
                self.refuse(
                    path,
                    Part::Value,
                    &error.to_string(),
                    None,
                    Some(&error.hint()),
                );
                return None;
            }
        };
        let before = self.found.len();
        if !scope.variables
            && let Some(name) = template.variables().next()
        {
            self.refuse(
                path,
                Part::Value,
                &format!(
                    "uses `{{env.{name}}}`, which would show the value in `ps` or the journal"
                ),
                Some("`{env.NAME}` only in `env`, `url`, `headers`, `body` and `webhook`"),
                Some("pass it in `env:`, where the program reads it itself"),
            );
        }
        for steps in template.arguments() {
            let name = steps.first().map_or("", String::as_str);
            match scope.arguments {
                Arguments::None => self.refuse(
                    path,
                    Part::Value,
                    &format!(
                        "uses `{{{}}}`, and there are no arguments here",
                        steps.join(".")
                    ),
                    Some("only `{env.NAME}`"),
                    Some("write `{{` and `}}` for braces"),
                ),
                Arguments::Any => {}
                Arguments::Named(names) if names.contains(&name) => {}
                Arguments::Named(names) => self.unknown_argument(path, name, names),
            }
        }
        (self.found.len() == before).then_some(template)
    }

    fn unknown_argument(&mut self, path: &KeyPath, name: &str, names: &[&str]) {
        let known = names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ");
        let fix = match super::suggest::nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add `{name}` to `input`, or write `{{{{` and `}}}}` for braces"),
        };
        let what = format!("names the argument `{name}`, which `input` does not have");
        self.refuse(
            path,
            Part::Value,
            &what,
            Some(&format!("one of {known}")),
            Some(&fix),
        );
    }

    /// Parses the words of a command line.
    fn words(
        &mut self,
        path: &KeyPath,
        words: &[String],
        scope: Scope<'_>,
    ) -> Option<Vec<Template>> {
        let parsed: Vec<_> = words
            .iter()
            .enumerate()
            .map(|(index, word)| self.template(&path.index(index), word, scope))
            .collect();
        self.program(path, words);
        parsed.into_iter().collect()
    }

    /// Checks that a command line names a program.
    fn program(&mut self, path: &KeyPath, words: &[String]) {
        if words.first().is_some_and(|word| word.trim().is_empty()) {
            let fix = Some("write the program first: `[program, argument]`");
            self.refuse(
                &path.index(0),
                Part::Value,
                "is an empty text",
                Some("a program"),
                fix,
            );
        }
        for (index, word) in words.iter().enumerate() {
            if word.contains('\0') {
                self.refuse(
                    &path.index(index),
                    Part::Value,
                    "has a NUL",
                    Some("a text"),
                    None,
                );
            }
        }
    }

    /// Checks the names of environment variables.
    fn variable_names(&mut self, path: &KeyPath, names: &[&String]) {
        for name in names {
            if name.is_empty() || name.contains(['=', '\0']) {
                self.refuse(
                    &path.key(name),
                    Part::Key,
                    "is no name of a variable",
                    Some("a name without `=`"),
                    None,
                );
            }
        }
    }
}

/// Returns how model calls are retried.
pub fn model_retry(retry: &written::Retry) -> RetryConfig {
    RetryConfig {
        strategy: retry.strategy,
        base_ms: retry.base.0,
        cap_ms: retry.cap.0,
        attempts: retry.attempts.unwrap_or_else(defaults::model_attempts),
        // One tool of many has a share; all models are one.
        budget: retry.budget.run.0,
    }
}

/// Takes what is at `path` out of `value`. A wrong item of a list becomes a
/// harmless text if `items`, so that the others keep their places; else the
/// whole list goes.
fn prune(value: &mut Value, path: &[Segment], items: bool) {
    match (value, path) {
        (Value::Object(entries), [Segment::Key(key)]) => drop(entries.remove(key)),
        (Value::Object(entries), [Segment::Key(key), Segment::Index(_), ..]) if !items => {
            entries.remove(key);
        }
        (Value::Array(list), [Segment::Index(index)]) => {
            if let Some(item) = list.get_mut(*index) {
                *item = Value::from("x");
            }
        }
        (Value::Object(entries), [Segment::Key(key), rest @ ..]) => {
            if let Some(inner) = entries.get_mut(key) {
                prune(inner, rest, items);
            }
        }
        (Value::Array(list), [Segment::Index(index), rest @ ..]) => {
            if let Some(inner) = list.get_mut(*index) {
                prune(inner, rest, items);
            }
        }
        _ => {}
    }
}

/// Which placeholders a text may hold.
#[derive(Clone, Copy)]
struct Scope<'a> {
    arguments: Arguments<'a>,
    variables: bool,
}

/// Which arguments there are.
#[derive(Clone, Copy)]
enum Arguments<'a> {
    /// None at all.
    None,
    /// Any: there is no schema, or it takes further ones.
    Any,
    /// These.
    Named(&'a [&'a str]),
}

impl Scope<'_> {
    const VARIABLES_ONLY: Self = Self {
        arguments: Arguments::None,
        variables: true,
    };
}

/// Calls back for each text in a JSON value.
fn texts_in<'v>(path: &KeyPath, value: &'v Value, visit: &mut impl FnMut(&KeyPath, &'v str)) {
    match value {
        Value::String(text) => visit(path, text),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, item)| texts_in(&path.index(index), item, visit)),
        Value::Object(entries) => {
            entries
                .iter()
                .for_each(|(key, entry)| texts_in(&path.key(key), entry, visit));
        }
        _ => {}
    }
}
