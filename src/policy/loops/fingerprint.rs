//! The normalised identity of a call.
//!
//! Two calls are the same call when their tool is the same and their arguments
//! differ only in what carries no intent: order of keys, nulls, `10` against
//! `10.0`, request ids and clocks, the model's own rationale, the spelling of
//! paths, spacing in commands and queries. File content and everything without
//! a known meaning counts byte for byte.
//!
//! The walk itself is in `canonical`, the spelling of single values in
//! `spelling`.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::canonical::{self, Walk};
use super::config::ToolTraits;
use super::digest::{Digest, Hasher};
use super::growth::Growth;
use super::meaning::Call;

/// Returns the identity of a call: `{tool}:{32 hex digits}`.
///
/// Made with SHA-256, so it may also serve where a collision costs a side
/// effect (idempotency). Promised: equal for equal intent as described above,
/// and stable across builds of one major version.
///
/// Errors: none; malformed arguments (a string) count as their raw text.
pub fn identity(tool: &str, args: &Value, traits: &ToolTraits) -> String {
    let call = Call::read(tool, args, traits);
    let walk = canonical::walk(&call, &selected(&call, traits), false);
    let hash = Sha256::digest(walk.text.as_bytes());
    let hex: String = hash
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{tool}:{hex}")
}

/// What a print needs to know about tool and arguments.
pub(super) struct Fingerprint {
    /// Tool and normalised arguments.
    pub call: Digest,
    /// The same without positions; none where there are none.
    pub base: Digest,
    /// The call looks something up by words of the model's choice.
    pub query: bool,
    /// The texts of the arguments, one a line, cut.
    pub words: String,
    /// The piece that stands most often at an end of a text.
    pub growth: Option<Growth>,
    /// A clock among the arguments does not count.
    pub clock_dropped: bool,
    /// The arguments as a person would recognise them.
    pub shown: String,
}

impl Fingerprint {
    /// Returns the fingerprint of a call.
    pub fn of(call: &Call, traits: &ToolTraits) -> Self {
        let args = selected(call, traits);
        let walk = canonical::walk(call, &args, false);
        let base = match walk.positions {
            true => digest(call, &canonical::walk(call, &args, true)),
            false => Digest::default(),
        };
        Self {
            call: digest(call, &walk),
            base,
            query: walk.query || call.shell.as_ref().is_some_and(|shell| shell.looks_up()),
            shown: shown(call, &walk),
            words: walk.words,
            growth: walk.growth,
            clock_dropped: walk.clock_dropped,
        }
    }
}

impl Fingerprint {
    /// Returns whether the words themselves hold a position (`… offset 20`).
    pub fn turns_pages(&self) -> bool {
        self.words.contains("offset ") || self.words.contains("page ")
    }

    /// Returns the digest of the words with every number as one sign: equal for
    /// the same question about another id.
    pub fn template(&self) -> Digest {
        let mut text = String::with_capacity(self.words.len());
        for c in self.words.chars() {
            match c {
                '0'..='9' if text.ends_with('0') => {}
                '0'..='9' => text.push('0'),
                c => text.push(c),
            }
        }
        Digest::of(text.as_bytes())
    }
}

fn digest(call: &Call, walk: &Walk) -> Digest {
    let mut hasher = Hasher::new();
    hasher.write(call.tool.as_bytes());
    hasher.write(walk.text.as_bytes());
    hasher.finish()
}

/// Returns the arguments the traits let count.
fn selected<'a>(call: &'a Call, traits: &ToolTraits) -> std::borrow::Cow<'a, Value> {
    use std::borrow::Cow;
    let args: &Value = &call.args;
    if traits.identity.is_none() && traits.ignore.is_empty() {
        return Cow::Borrowed(args);
    }
    let mut kept = match &traits.identity {
        Some(keys) => {
            let picked: Map<String, Value> = keys
                .iter()
                .filter_map(|key| pick(args, key).map(|value| (key.clone(), value.clone())))
                .collect();
            // Without one of its keys a call has only its whole arguments.
            if picked.is_empty() {
                args.clone()
            } else {
                Value::Object(picked)
            }
        }
        None => args.clone(),
    };
    for key in &traits.ignore {
        drop_key(&mut kept, key);
    }
    Cow::Owned(kept)
}

fn pick<'a>(args: &'a Value, key: &str) -> Option<&'a Value> {
    args.get(key)
        .or_else(|| key.split('.').try_fold(args, |value, part| value.get(part)))
}

fn drop_key(args: &mut Value, key: &str) {
    let Value::Object(map) = args else { return };
    if map.remove(key).is_some() {
        return;
    }
    if let Some((head, rest)) = key.split_once('.')
        && let Some(inner) = map.get_mut(head)
    {
        drop_key(inner, rest);
    }
}

fn shown(call: &Call, walk: &Walk) -> String {
    match (&call.shell, &*call.args) {
        (Some(shell), _) => shell.text.chars().take(120).collect(),
        (None, Value::String(text)) => text.chars().take(120).collect(),
        (None, Value::Object(map)) if map.is_empty() => String::new(),
        _ => walk.shown.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn same(tool: &str, one: Value, other: Value) -> bool {
        let traits = ToolTraits::default();
        identity(tool, &one, &traits) == identity(tool, &other, &traits)
    }

    #[test]
    fn identity_table() {
        #[rustfmt::skip]
        let rows = [
            ("nulls are dropped", "t", json!({"a": 1, "b": null}), json!({"a": 1}), true),
            ("ten is ten", "t", json!({"a": 10}), json!({"a": 10.0}), true),
            ("minus zero is zero", "t", json!({"a": -0.0}), json!({"a": 0}), true),
            ("a string is not a number", "t", json!({"a": "10"}), json!({"a": 10}), false),
            ("arrays are ordered", "t", json!({"a": [1, 2]}), json!({"a": [2, 1]}), false),
            ("a nonce does not count", "t", json!({"a": 1, "nonce": "x1"}), json!({"a": 1, "nonce": "y2"}), true),
            ("a lone trace id is the question itself", "get_trace", json!({"trace_id": "x1"}), json!({"trace_id": "y2"}), false),
            ("a rationale does not count", "t", json!({"a": 1, "rationale": "first"}), json!({"a": 1, "rationale": "again"}), true),
            ("a shell call's description does not count", "Bash", json!({"command": "ls", "description": "List"}), json!({"command": "ls", "description": "Look"}), true),
            ("an issue's description counts", "create_issue", json!({"title": "a", "description": "b"}), json!({"title": "a", "description": "c"}), false),
            ("paths are cleaned", "Read", json!({"file_path": "./src/../src//a.rs"}), json!({"file_path": "src/a.rs"}), true),
            ("other paths stay apart", "Read", json!({"file_path": "/src/a.rs"}), json!({"file_path": "src/a.rs"}), false),
            ("spacing in commands does not count", "Bash", json!({"command": "cd /x  &&pytest -q"}), json!({"command": "cd /x && pytest -q "}), true),
            ("spaces in quotes count", "Bash", json!({"command": "echo 'a  b'"}), json!({"command": "echo 'a b'"}), false),
            ("a wrapped command is the command", "shell", json!({"command": ["bash", "-lc", "pytest -q"]}), json!({"command": "pytest -q"}), true),
            ("SQL is free in case and comments", "run_sql", json!({"sql": "SELECT 1 -- try 2\n"}), json!({"sql": "select  1;"}), true),
            ("SQL strings keep their case", "run_sql", json!({"sql": "select 'A'"}), json!({"sql": "select 'a'"}), false),
            ("a cache-buster does not count", "fetch", json!({"url": "https://example.com/a?_=17&p=1"}), json!({"url": "https://example.com/a?p=1&_=18"}), true),
            ("a page counts", "fetch", json!({"url": "https://example.com/a?page=1"}), json!({"url": "https://example.com/a?page=2"}), false),
            ("file content counts byte for byte", "Write", json!({"path": "a", "content": "x  y"}), json!({"path": "a", "content": "x y"}), false),
            ("arguments as text are arguments", "t", json!("{\"a\": 1}"), json!({"a": 1}), true),
            ("malformed arguments are their text", "t", json!("{\"a\": 1"), json!("{\"a\": 2"), false),
            ("a program's spacing and names of constants do not count", "exec",
             json!("const r = await tools.exec_command({cmd: 'ls'});\ntext(r.output)"),
             json!("// again\nconst out = await tools.exec_command({cmd: 'ls'}); text(out.output);"), true),
            ("a program's strings count", "exec", json!("text('a')"), json!("text('b')"), false),
            ("a reading's clock is part of what is written", "insert_reading", json!({"timestamp": 1, "v": 2}), json!({"timestamp": 9, "v": 2}), false),
        ];
        for (name, tool, one, other, want) in rows {
            assert_eq!(same(tool, one, other), want, "row: {name}");
        }
    }

    #[test]
    fn traits_choose_what_counts() {
        let only = ToolTraits {
            identity: Some(vec!["order.id".into()]),
            ..Default::default()
        };
        let (one, other) = (
            json!({"order": {"id": 1}, "text": "a"}),
            json!({"order": {"id": 1}, "text": "b"}),
        );
        assert_eq!(identity("pay", &one, &only), identity("pay", &other, &only));
        let ignoring = ToolTraits {
            ignore: vec!["text".into()],
            ..Default::default()
        };
        assert_eq!(
            identity("pay", &one, &ignoring),
            identity("pay", &other, &ignoring)
        );
        assert_ne!(
            identity("pay", &one, &ToolTraits::default()),
            identity("pay", &other, &ToolTraits::default())
        );
    }
}
