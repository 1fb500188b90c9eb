//! What an editing call does to files, small enough to remember.
//!
//! A file's state is the sum of the hashes of its lines. Writing a whole file
//! sets the sum, an edit adds the new lines and takes away the old ones, so
//! `A -> B` followed by `B -> A` comes back to the first sum, also over detours
//! and with more or less context around the changed lines. Moved lines change
//! nothing in the sum; such an edit has no touch, and the call itself counts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest::Digest;
use super::meaning::Call;
use super::spelling;

/// Files of one call that are told apart; the rest count as one.
const FILES_MAX: usize = 3;

/// What one call does to one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// The file.
    pub path: Digest,
    /// The sum of its lines, or what is added to it.
    pub sum: Digest,
    /// The sum is the whole file's.
    pub whole: bool,
}

impl Touch {
    /// Returns the state of the file after the call.
    pub fn applied_to(&self, state: Digest) -> Digest {
        if self.whole {
            self.sum
        } else {
            Digest(state.0.wrapping_add(self.sum.0))
        }
    }
}

/// Returns what an editing call does to files; empty where that is not known.
#[rustfmt::skip]
pub(super) fn touches(call: &Call) -> Vec<Touch> {
    if let Some(text) = patch_text(call) {
        return of_patch(&text);
    }
    if let Some(shell) = &call.shell {
        return of_command(&shell.text).into_iter().collect();
    }
    let Some(path) = text_of(
        &call.args,
        &[
            "file_path", "path", "filename", "file", "target_file", "filepath", "notebook_path", "filePath",
        ],
    ) else {
        return Vec::new();
    };
    let path = Digest::of(spelling::path(path).as_bytes());
    if let Some(sum) = edits_sum(&call.args) {
        return one(Touch {
            path,
            sum,
            whole: false,
        });
    }
    let Some(content) = text_of(
        &call.args,
        &[
            "content", "contents", "file_text", "new_content", "text", "code_edit", "code",
        ],
    ) else {
        return Vec::new();
    };
    one(Touch {
        path,
        sum: Digest(lines_sum(content)),
        whole: true,
    })
}

/// A touch that moves nothing says nothing.
fn one(touch: Touch) -> Vec<Touch> {
    if touch.whole || !touch.sum.is_none() {
        vec![touch]
    } else {
        Vec::new()
    }
}

fn text_of<'a>(args: &'a Value, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| args.get(*key)?.as_str())
}

/// Returns what the old-and-new pairs of an edit add to the sum of lines.
#[rustfmt::skip]
fn edits_sum(args: &Value) -> Option<Digest> {
    let mut sum = 0u64;
    let mut any = false;
    let lists = ["edits", "changes", "replacements"]
        .iter()
        .filter_map(|key| args.get(*key)?.as_array())
        .flatten();
    for edit in std::iter::once(args).chain(lists) {
        let old = text_of(
            edit,
            &[
                "old_string", "old_str", "old_text", "oldText", "oldString", "old", "search", "find",
                "original",
            ],
        );
        let new = text_of(
            edit,
            &[
                "new_string", "new_str", "new_text", "newText", "newString", "new", "replace", "replacement",
                "updated", "insert_text", "new_source",
            ],
        );
        any |= new.is_some();
        if new.is_some() {
            sum = sum
                .wrapping_add(new.map_or(0, lines_sum))
                .wrapping_sub(old.map_or(0, lines_sum));
        }
    }
    any.then_some(Digest(sum))
}

fn lines_sum(text: &str) -> u64 {
    text.lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .fold(0u64, |sum, line| sum.wrapping_add(line_hash(line)))
}

fn line_hash(line: &str) -> u64 {
    Digest::of(line.as_bytes()).0
}

/// Returns the patch among the arguments, wherever it stands.
fn patch_text(call: &Call) -> Option<String> {
    let texts = [
        call.shell.as_ref().map(|shell| shell.text.as_str()),
        call.args.as_str(),
        text_of(
            &call.args,
            &["patch", "diff", "input", "patch_text", "unified_diff"],
        ),
    ];
    let found = texts.into_iter().flatten().find(|text| {
        text.contains("*** Begin Patch") || text.contains("\n+++ ") || text.starts_with("--- ")
    })?;
    // Inside a script the line ends of a patch may be escaped.
    Some(if call.is_program && !found.contains("\n+") {
        found.replace("\\n", "\n")
    } else {
        found.to_owned()
    })
}

/// Reads both the `*** Update File:` form and unified diffs.
#[rustfmt::skip]
fn of_patch(text: &str) -> Vec<Touch> {
    let mut found: Vec<Touch> = Vec::new();
    for line in text.lines() {
        let header = [
            "*** Update File: ", "*** Add File: ", "*** Delete File: ", "+++ b/", "+++ ",
        ]
        .iter()
        .find_map(|head| line.trim_start_matches(['`', '\'', '"']).strip_prefix(head));
        if let Some(path) = header {
            let path = Digest::of(spelling::path(path).as_bytes());
            if found.len() < FILES_MAX {
                found.push(Touch {
                    path,
                    sum: Digest(0),
                    whole: false,
                });
            }
            continue;
        }
        let (Some(touch), false) = (
            found.last_mut(),
            line.starts_with("---") || line.starts_with("***"),
        ) else {
            continue;
        };
        let (sign, rest) = (
            line.as_bytes().first(),
            line.get(1..).unwrap_or("").trim_end(),
        );
        match sign {
            Some(b'+') if !rest.is_empty() => {
                touch.sum.0 = touch.sum.0.wrapping_add(line_hash(rest))
            }
            Some(b'-') if !rest.is_empty() => {
                touch.sum.0 = touch.sum.0.wrapping_sub(line_hash(rest))
            }
            _ => {}
        }
    }
    found.retain(|touch| !touch.sum.is_none());
    found
}

/// Reads `sed -i 's/a/b/' file` and `cat > file <<'EOF'`.
fn of_command(text: &str) -> Option<Touch> {
    if let Some((head, body)) = text.split_once("<<") {
        let target = head.split('>').nth(1)?.split_whitespace().next()?;
        let appends = head.contains(">>");
        let mut lines = body.lines();
        let mark = lines.next()?.trim_matches(['-', ' ', '\'', '"']).to_owned();
        let content: Vec<&str> = lines.take_while(|line| line.trim() != mark).collect();
        let path = Digest::of(spelling::path(target).as_bytes());
        return Some(Touch {
            path,
            sum: Digest(lines_sum(&content.join("\n"))),
            whole: !appends,
        });
    }
    let at = text.find("sed -i")?;
    let words = super::shell::spelled_words(&text[at..]);
    let script = words
        .iter()
        .skip(1)
        .find(|word| word.trim_matches(['\'', '"']).starts_with('s'))?;
    let target = words
        .iter()
        .take_while(|word| !matches!(word.as_str(), ";" | "&&" | "||" | "|"))
        .last()?;
    let script = script.trim_matches(['\'', '"']);
    let mut parts = script.get(1..)?.split(script[1..].chars().next()?).skip(1);
    let (old, new) = (parts.next()?, parts.next()?);
    let path = Digest::of(spelling::path(target).as_bytes());
    let sum = Digest(line_hash(new).wrapping_sub(line_hash(old)));
    (old != new).then_some(Touch {
        path,
        sum,
        whole: false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config::ToolTraits;
    use super::*;

    fn state_after(calls: &[(&str, Value)]) -> Digest {
        calls.iter().fold(Digest(0), |state, (tool, args)| {
            let call = Call::read(tool, args, &ToolTraits::default());
            touches(&call)
                .iter()
                .fold(state, |state, touch| touch.applied_to(state))
        })
    }

    #[test]
    fn states_return() {
        let edit = |old: &str, new: &str| {
            (
                "Edit",
                json!({"file_path": "a", "old_string": old, "new_string": new}),
            )
        };
        #[rustfmt::skip]
        let rows = [
            ("there and back", vec![edit("x", "y"), edit("y", "x")], true),
            ("there and back with context", vec![edit("x", "y"), edit("k\ny\n", "k\nx\n")], true),
            ("a detour and back", vec![edit("x", "y"), edit("y", "z"), edit("z", "x")], true),
            ("onwards", vec![edit("x", "y"), edit("y", "z")], false),
            ("patches there and back", vec![
                ("apply_patch", json!("*** Begin Patch\n*** Update File: a\n@@\n-x\n+y\n*** End Patch")),
                ("apply_patch", json!("*** Begin Patch\n*** Update File: a\n@@\n-y\n+x\n*** End Patch"))], true),
            ("sed there and back", vec![
                ("Bash", json!({"command": "sed -i 's/x/y/' a"})), ("Bash", json!({"command": "sed -i 's/y/x/' a"}))], true),
        ];
        for (name, calls, want) in rows {
            assert_eq!(state_after(&calls) == Digest(0), want, "row: {name}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn odd_edits_do_not_panic() {
        for text in [
            "sed -i", "sed -i s", "sed -i 's' f", "sed -i 'sé' f", "cat > <<", "cat > f <<",
            "*** Begin Patch\n+é\n-", "--- a\n+++ b\né",
        ] {
            for args in [
                json!(text),
                json!({"command": text}),
                json!({"path": "a", "patch": text}),
            ] {
                touches(&Call::read("Bash", &args, &ToolTraits::default()));
                touches(&Call::read("apply_patch", &args, &ToolTraits::default()));
            }
        }
    }
}
