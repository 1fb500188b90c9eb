//! `verify`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use super::Checker;
use crate::task::defaults;
use crate::task::locate::{KeyPath, Part};
use crate::task::resolved::{Check, Look, Review, Schema, Verify};
use crate::task::written;

/// What a check can look at; each check has one of them.
const LOOKS: [&str; 6] = ["command", "script", "schema", "file", "files", "model"];

/// Keys that go with `file` and `files` only.
const OF_FILES: [&str; 3] = ["exists", "must_match", "must_not_match"];

impl Checker<'_> {
    /// Resolves `verify`; the inner `None` is a task without it.
    pub(super) fn verify(&mut self, path: &KeyPath) -> Option<Option<Verify>> {
        let (list, rounds) = match path.get(self.root) {
            None => return Some(None),
            Some(Value::Array(_)) => (path.clone(), Some(defaults::verify_rounds())),
            Some(_) => {
                let whole = self.section::<written::Rounds>(path);
                (path.key("checks"), whole.map(|it| it.rounds))
            }
        };
        let mut names = BTreeSet::new();
        let checks = self.list(&list, |check, path, written| {
            check.check(path, written, &mut names)
        });
        let (rounds, checks) = (rounds?, checks?);
        (!self.is_bad(path)).then_some(Some(Verify { rounds, checks }))
    }

    fn check(
        &mut self,
        path: &KeyPath,
        written: written::Check,
        names: &mut BTreeSet<String>,
    ) -> Option<Check> {
        let before = self.found.len();
        self.one_look(path);
        let look = self.look(path, &written);
        let name = written
            .name
            .clone()
            .or_else(|| look.as_ref().map(default_name))?;
        if !names.insert(name.clone()) {
            let (at, what) = match written.name {
                Some(_) => (
                    path.key("name"),
                    "is the name of an earlier check, too".to_owned(),
                ),
                None => (
                    path.clone(),
                    format!("is called `{name}` like an earlier check"),
                ),
            };
            let fix = Some("give it a `name` of its own");
            self.refuse(&at, Part::Key, &what, None, fix);
        }
        (self.found.len() == before).then_some(())?;
        Some(Check {
            name,
            timeout_ms: written.timeout.0,
            look: look?,
        })
    }

    /// Checks that exactly one thing is looked at.
    fn one_look(&mut self, path: &KeyPath) {
        let mut written: Vec<&str> = LOOKS
            .into_iter()
            .filter(|key| self.is_written(&path.key(key)))
            .collect();
        if written.contains(&"model") {
            // Files are what it is shown.
            written.retain(|key| !key.starts_with("file"));
        } else if self.is_written(&path.key("question")) {
            let (what, fix) = ("has nobody to answer it", Some("add `model:`"));
            self.refuse(&path.key("question"), Part::Key, what, None, fix);
        }
        let all = "`command`, `script`, `schema`, `file`, `files` or `model`";
        match written.as_slice() {
            [] if LOOKS.iter().any(|key| self.is_meant(path, key)) => {}
            [] => self.refuse(
                path,
                Part::Key,
                "looks at nothing",
                Some(all),
                Some("add `command: [...]`, or `file:` with `must_match`"),
            ),
            [only] if !only.starts_with("file") => {
                for key in OF_FILES {
                    if self.is_written(&path.key(key)) {
                        let what = format!("stands beside `{only}`");
                        let expected = Some("it beside `file` or `files` only");
                        self.refuse(&path.key(key), Part::Key, &what, expected, None);
                    }
                }
            }
            [_] => {}
            [first, second, ..] => self.refuse(
                &path.key(second),
                Part::Key,
                &format!("stands beside `{first}`"),
                Some(&format!("one of {all}")),
                Some("make two checks of them"),
            ),
        }
    }

    fn look(&mut self, path: &KeyPath, written: &written::Check) -> Option<Look> {
        if let Some(words) = &written.command {
            self.program(&path.key("command"), words);
            return Some(Look::Command(words.clone()));
        }
        if let Some(script) = &written.script {
            if script.trim().is_empty() || script.contains('\0') {
                let at = path.key("script");
                self.refuse(&at, Part::Value, "is no script", Some("a script"), None);
            }
            return Some(Look::Script(script.clone()));
        }
        if let Some(schema) = &written.schema {
            return self.schema_look(&path.key("schema"), schema);
        }
        let pattern = match (&written.file, &written.files) {
            (Some(file), _) => Some(glob_escaped(file)),
            (None, files) => files.clone(),
        };
        if let Some(model) = &written.model {
            return self.review(path, model, written, pattern);
        }
        let pattern = pattern?;
        for (key, patterns) in [
            ("must_match", &written.must_match),
            ("must_not_match", &written.must_not_match),
        ] {
            for (index, pattern) in patterns.iter().enumerate() {
                self.pattern(&path.key(key).index(index), pattern);
            }
        }
        let exists = written.exists.unwrap_or(true);
        if !exists {
            for key in ["must_match", "must_not_match"] {
                if self.is_written(&path.key(key)) {
                    let what = "stands beside `exists: false`, where there is nothing to read";
                    self.refuse(
                        &path.key(key),
                        Part::Key,
                        what,
                        None,
                        Some("remove one of them"),
                    );
                }
            }
        }
        Some(Look::Files {
            pattern,
            exists,
            must_match: written.must_match.clone(),
            must_not_match: written.must_not_match.clone(),
        })
    }

    fn review(
        &mut self,
        path: &KeyPath,
        model: &str,
        written: &written::Check,
        files: Option<String>,
    ) -> Option<Look> {
        if written.file.is_some() && written.files.is_some() {
            let fix = Some("remove one of them");
            let at = path.key("files");
            self.refuse(&at, Part::Key, "stands beside `file`", None, fix);
        }
        let Some(question) = &written.question else {
            if !self.is_meant(path, "question") {
                let what = "asks its model nothing";
                let fix = Some("add `question: Does the report answer the ticket?`");
                self.refuse(path, Part::Key, what, Some("`question`"), fix);
            }
            return None;
        };
        Some(Look::Model(Review {
            model: model.to_owned(),
            question: question.clone(),
            files,
        }))
    }

    fn schema_look(&mut self, path: &KeyPath, written: &written::SchemaCheck) -> Option<Look> {
        if written.result && written.file.is_some() {
            let fix = Some("remove `file` or `result`");
            self.refuse(
                &path.key("result"),
                Part::Key,
                "stands beside `file`",
                None,
                fix,
            );
        } else if !written.result && written.file.is_none() && !self.is_meant(path, "file") {
            self.refuse(
                path,
                Part::Key,
                "has nothing that must meet it",
                None,
                Some("add `file: out.json` or `result: true`"),
            );
        }
        self.one_of(path, "schema", "schema_file");
        let schema = match (&written.schema, &written.schema_file) {
            (Some(schema), _) => {
                let schema = Value::Object(schema.clone().into_iter().collect());
                self.compiles(&path.key("schema"), &schema);
                Schema::Inline(schema)
            }
            (None, Some(file)) => Schema::File(PathBuf::from(file)),
            (None, None) => return None,
        };
        Some(Look::Schema {
            file: written.file.clone(),
            schema,
        })
    }
}

/// Returns a path as a glob that finds it and nothing else.
fn glob_escaped(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for letter in path.chars() {
        match letter {
            '?' | '*' | '[' | ']' => pattern.extend(['[', letter, ']']),
            letter => pattern.push(letter),
        }
    }
    pattern
}

/// Names a check after what it looks at.
fn default_name(look: &Look) -> String {
    let name = match look {
        Look::Command(words) => words.join(" "),
        Look::Script(text) => text.trim().lines().next().unwrap_or_default().to_owned(),
        Look::Schema {
            file: Some(file), ..
        } => file.clone(),
        Look::Schema { file: None, .. } => "result".to_owned(),
        Look::Files { pattern, .. } => pattern.clone(),
        Look::Model(review) => review.model.clone(),
    };
    name.chars().take(60).collect()
}
