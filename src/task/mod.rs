//! The task file: what a user writes, checked, with every default filled in.
//!
//! ```text
//! text ── parse ──► value ── validate ──► resolve ──► Resolved (the core sees this)
//!           │          │                     │
//!           └──────────┴──── all problems ───┴──► Problem with file:line:column (locate)
//!                                            Resolved ── readiness ──► Finding
//! ```
//!
//! Start with [`load`] (for `run`) and [`check`] (for `agentguard check`).
//! `written` is what the file looks like, `resolved` what becomes of it;
//! `schema` publishes the former, `init` writes examples of it; `words` are those of its
//! command lines.
//!
//! Pure: text in, data out. Files, globs and the folder of the task file are
//! the caller's business; [`Resolved::anchored`] joins the relative paths.

pub mod defaults;
pub mod init;
pub mod locate;
pub mod parse;
pub mod preset;
pub mod problem;
pub mod readiness;
mod resolve;
pub mod resolved;
pub mod schema;
pub mod suggest;
pub mod template;
pub mod units;
mod validate;
pub mod words;
pub mod written;

use serde_json::Value;

use locate::{KeyPath, Part, Position, Positions};
use parse::{At, Fault};
pub use problem::{Colour, Finding, Place, Problem, Problems, Severity};
pub use resolved::Resolved;
use validate::Mismatch;

/// Reads a task file for a run.
///
/// - `file_name`: as the user gave it; shown in messages, its stem is the
///   name of a task without one.
///
/// Errors: all problems at once, in the order of the text; never empty.
pub fn load(text: &str, file_name: &str) -> Result<Resolved, Problems> {
    read(text, file_name).map(|(resolved, ..)| resolved)
}

/// As [`load`], from the bytes of the file: also refuses what is no text.
pub fn load_bytes(bytes: &[u8], file_name: &str) -> Result<Resolved, Problems> {
    load(decode(bytes, file_name)?, file_name)
}

/// Decodes the bytes of a task file, within the bounds of [`parse`].
///
/// Errors: one problem with the position of the first bad byte.
pub fn decode<'b>(bytes: &'b [u8], file_name: &str) -> Result<&'b str, Problems> {
    parse::decode(bytes).map_err(|fault| {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(parse::BYTES_MAX)]);
        let source = Source {
            lines: problem::lines(&text),
            file_name,
            positions: &Positions::default(),
        };
        Problems(vec![source.problem_of_fault(fault)])
    })
}

/// Reads a task file as an operator would: the task if it is valid, the
/// problems if not, and what is missing for production. Rules with examples
/// are not tried; see [`check_with`].
pub fn check(text: &str, file_name: &str) -> (Option<Resolved>, Vec<Problem>, Vec<Finding>) {
    check_with(text, file_name, None)
}

/// As [`check`], and tries the examples of the rules with `try_example`.
pub fn check_with(
    text: &str,
    file_name: &str,
    try_example: Option<readiness::TryExample<'_>>,
) -> (Option<Resolved>, Vec<Problem>, Vec<Finding>) {
    match read(text, file_name) {
        Ok((resolved, value, positions)) => {
            let source = Source {
                lines: problem::lines(text),
                file_name,
                positions: &positions,
            };
            let findings = readiness::findings(&resolved, &value, try_example)
                .into_iter()
                .map(|draft| source.finding(draft))
                .collect();
            (Some(resolved), Vec::new(), findings)
        }
        Err(problems) => (None, problems.0, Vec::new()),
    }
}

fn read(text: &str, file_name: &str) -> Result<(Resolved, Value, Positions), Problems> {
    let parsed = parse::read(text);
    let unreadable = parsed.value.is_null() && !parsed.faults.is_empty();
    let mut mismatches = Vec::new();
    let mut resolved = None;
    if !unreadable {
        match &parsed.value {
            Value::Object(_) => {
                mismatches = validate::mismatches(&parsed.value);
                resolved = resolve::resolve(&parsed.value, stem(file_name), &mut mismatches);
            }
            other => mismatches.push(no_mapping(other)),
        }
    }
    let positions = if unreadable {
        Positions::default()
    } else {
        Positions::read(text)
    };
    match resolved {
        Some(resolved) if parsed.faults.is_empty() => Ok((resolved, parsed.value, positions)),
        _ => {
            let source = Source {
                lines: problem::lines(text),
                file_name,
                positions: &positions,
            };
            // A value that could not be read has been told already.
            mismatches.retain(|it| {
                !parsed
                    .faults
                    .iter()
                    .any(|fault| fault.at == At::Value(it.path.clone()))
            });
            let mismatches = mismatches.into_iter().map(|it| source.problem(it));
            let faults = parsed
                .faults
                .into_iter()
                .map(|fault| source.problem_of_fault(fault));
            let mut problems: Vec<Problem> = faults.chain(mismatches).collect();
            // Stable: several at one place stay in the order of the checks.
            problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
            // An alias tells the same again at the same place.
            problems.dedup();
            Err(Problems(problems))
        }
    }
}

fn no_mapping(value: &Value) -> Mismatch {
    let what = if value.is_null() {
        "is empty".to_owned()
    } else {
        format!("is {}", validate::shown(value))
    };
    Mismatch {
        path: KeyPath::root(),
        part: Part::Value,
        what,
        expected: Some("at least an `agent:` section".to_owned()),
        found: Some(validate::shown(value)),
        fix: Some("write a first one with `agentguard init`".to_owned()),
    }
}

/// Returns the file name without folders and ending.
fn stem(file_name: &str) -> &str {
    let name = file_name.rsplit(['/', '\\']).next().unwrap_or(file_name);
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    if stem.is_empty() { "task" } else { stem }
}

/// What is needed to say where something stands.
struct Source<'a> {
    lines: Vec<&'a str>,
    file_name: &'a str,
    positions: &'a Positions,
}

impl Source<'_> {
    fn place(&self, path: &KeyPath, at: Position) -> Place {
        Place::new(self.file_name, &self.lines, path, at)
    }

    fn problem(&self, mismatch: Mismatch) -> Problem {
        let Mismatch {
            path,
            part,
            what,
            expected,
            found,
            fix,
        } = mismatch;
        let place = self.place(&path, self.positions.find(&path, part));
        let message = sentence(&place.key, &what, expected.as_deref());
        // What stands in an environment or a header may be a secret.
        let found = found.filter(|_| place.quoted.is_some());
        Problem {
            place,
            message,
            expected,
            found,
            fix,
        }
    }

    fn problem_of_fault(&self, fault: Fault) -> Problem {
        let (path, at) = match fault.at {
            At::Text(at) => (KeyPath::root(), at),
            At::Value(path) => {
                let at = self.positions.find(&path, Part::Value);
                (path, at)
            }
            At::Key { path, occurrence } => {
                let at = self.positions.find_repeated(&path, occurrence);
                (path, at)
            }
        };
        let place = self.place(&path, at);
        let message = sentence(&place.key, &fault.message, fault.expected.as_deref());
        Problem {
            place,
            message,
            expected: fault.expected,
            found: None,
            fix: fault.fix,
        }
    }

    fn finding(&self, draft: readiness::Draft) -> Finding {
        let at = self.positions.find(&draft.path, Part::Key);
        let mut place = self.place(&draft.path, at);
        if draft.rule == readiness::SECRET_WRITTEN {
            place.quoted = None;
        }
        Finding {
            rule: draft.rule.id,
            severity: draft.rule.severity,
            place,
            message: draft.message,
            fix: draft.fix,
        }
    }
}

fn sentence(key: &str, what: &str, expected: Option<&str>) -> String {
    let subject = if key.is_empty() { "it" } else { key };
    let expected = expected.map_or(String::new(), |it| format!(", expected {it}"));
    format!("{subject} {what}{expected}")
}

#[cfg(test)]
mod tests;
