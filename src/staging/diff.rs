//! A change for people: per path how much, and as a unified diff.
//!
//! The text is that of `git diff`, so that pagers, editors and `git apply` know it;
//! names with letters that would break a line are quoted as there. Bounded: files
//! above [`FILE_BYTES_MAX`] and a diff above [`DIFF_BYTES_MAX`] are told, not shown.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use similar::{Algorithm, ChangeTag, TextDiff};

use super::change::{Change, What};
use super::error::{Named, Result};
use super::scan;
use super::tree::{Kind, Node, at, hex, load_lines, save_lines};

/// Largest file whose lines are compared, in bytes.
pub const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Most bytes of a whole diff.
pub const DIFF_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long the lines of one file are compared before it is done roughly.
const TIME_MAX: Duration = Duration::from_secs(2);
/// Bytes in which a NUL says that a file is no text.
const SNIFF_BYTES: usize = 8 * 1024;

/// Where the two sides of a change can be read.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// The folder with what was.
    pub old: &'a Path,
    /// The folder with what is.
    pub new: &'a Path,
}

/// A change with how much it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What changed.
    #[serde(flatten)]
    pub change: Change,
    /// Lines that came and went; `None` where lines mean nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<(u64, u64)>,
}

/// One change, shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// How much it is.
    pub line: Line,
    /// As a diff.
    pub text: String,
}

/// The content of one side.
enum Content {
    Text(String),
    Binary,
    Large(u64),
    /// It is not what it was when it was hashed.
    Gone,
}

/// Shows one change.
pub fn show(change: &Change, sides: &Sides<'_>) -> Shown {
    if matches!(change.what(), What::Link | What::Kind) {
        return show_both(change, sides);
    }
    let mut text = header(change);
    let mut lines = None;
    let content = |node: &Option<Node>, root: &Path| match node {
        None => Content::Text(String::new()),
        Some(node) => read(node, &at(root, &change.path)),
    };
    let is_content = !change.is_of_folders() && change.what() != What::Mode;
    if is_content {
        let (old, new) = (
            content(&change.old, sides.old),
            content(&change.new, sides.new),
        );
        match (old, new) {
            (Content::Text(old), Content::Text(new)) => {
                let (shown, counted) = compared(change, &old, &new);
                text.push_str(&shown);
                lines = Some(counted);
            }
            (Content::Gone, _) | (_, Content::Gone) => {
                text.push_str("(one side has changed since and cannot be shown)\n");
            }
            (Content::Binary, _) | (_, Content::Binary) => {
                let [old, new] = names(change);
                let _ = writeln!(text, "Binary files {old} and {new} differ");
            }
            (Content::Large(bytes), _) | (_, Content::Large(bytes)) => {
                let _ = writeln!(text, "(too large to compare: {bytes} bytes)");
            }
        }
    }
    Shown {
        line: Line {
            change: change.clone(),
            lines,
        },
        text,
    }
}

/// Shows one thing that took the place of another, as `git` does: the old one goes,
/// the new one comes.
fn show_both(change: &Change, sides: &Sides<'_>) -> Shown {
    let (mut goes, mut comes) = (change.clone(), change.clone());
    (goes.new, comes.old) = (None, None);
    let [goes, comes] = [goes, comes].map(|half| show(&half, sides));
    let sum = |(added, deleted): (u64, u64), (more, gone)| (added + more, deleted + gone);
    let (one, other) = (goes.line.lines, comes.line.lines);
    Shown {
        line: Line {
            change: change.clone(),
            lines: one
                .zip(other)
                .map(|(one, other)| sum(one, other))
                .or(one)
                .or(other),
        },
        text: goes.text + &comes.text,
    }
}

/// Writes the diff to `out`, up to [`DIFF_BYTES_MAX`]. Returns the lines of all
/// changes, shown or not.
pub fn write(changes: &[Change], sides: &Sides<'_>, out: &mut impl Write) -> io::Result<Vec<Line>> {
    let mut written = 0;
    let mut lines = Vec::with_capacity(changes.len());
    let mut hidden = 0;
    for change in changes {
        if written > DIFF_BYTES_MAX {
            hidden += 1;
            lines.push(Line {
                change: change.clone(),
                lines: None,
            });
            continue;
        }
        let shown = show(change, sides);
        out.write_all(shown.text.as_bytes())?;
        written += shown.text.len();
        lines.push(shown.line);
    }
    if hidden > 0 {
        writeln!(out, "({hidden} more changes are not shown)")?;
    }
    Ok(lines)
}

/// Keeps a change with its run: what was committed can be shown when both sides are
/// gone.
pub(super) fn keep(changes: &[Change], sides: &Sides<'_>, records: &Path) -> Result<()> {
    let path = patch_path(records);
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .named("write", &path)?;
    let mut out = BufWriter::new(file);
    let lines = write(changes, sides, &mut out).named("write", &path)?;
    out.flush().named("write", &path)?;
    save_lines(&lines_path(records), lines)
}

/// Reads what [`keep`] kept: the changes, and the file of the diff.
pub fn kept(records: &Path) -> Result<Option<(Vec<Line>, PathBuf)>> {
    let path = lines_path(records);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some((load_lines(&path)?, patch_path(records))))
}

fn patch_path(records: &Path) -> PathBuf {
    records.join("changes.diff")
}

fn lines_path(records: &Path) -> PathBuf {
    records.join("changes.jsonl")
}

/// Returns a path as `git` writes it: quoted where a letter of it would be
/// misunderstood.
pub fn quoted(path: &Path) -> String {
    with_prefix("", path)
}

fn with_prefix(prefix: &str, path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let is_plain = |text: &str| {
        text.chars()
            .all(|it| !it.is_control() && it != '"' && it != '\\')
    };
    match std::str::from_utf8(bytes) {
        Ok(text) if is_plain(text) => format!("{prefix}{text}"),
        _ => {
            let mut text = format!("\"{prefix}");
            for byte in bytes {
                match byte {
                    b'"' => text.push_str("\\\""),
                    b'\\' => text.push_str("\\\\"),
                    b'\n' => text.push_str("\\n"),
                    b'\t' => text.push_str("\\t"),
                    b' '..=b'~' => text.push(char::from(*byte)),
                    other => {
                        let _ = write!(text, "\\{other:03o}");
                    }
                }
            }
            text.push('"');
            text
        }
    }
}

fn names(change: &Change) -> [String; 2] {
    let side = |node: &Option<Node>, prefix| match node {
        Some(_) => with_prefix(prefix, &change.path),
        None => "/dev/null".to_owned(),
    };
    [side(&change.old, "a/"), side(&change.new, "b/")]
}

/// Returns what stands above the lines. What `git` has no words for (folders, modes
/// beyond "can be run") is in ours, which `git apply` passes over.
fn header(change: &Change) -> String {
    let name = match quoted(&change.path) {
        name if name.is_empty() => ".".to_owned(),
        name => name,
    };
    let mode = match (&change.old, &change.new) {
        (Some(old), Some(new)) if old.mode != new.mode => {
            format!("{name}: mode {:04o} is now {:04o}\n", old.mode, new.mode)
        }
        _ => String::new(),
    };
    if change.is_of_folders() {
        return match change.what() {
            What::Added => format!("new folder {name}\n"),
            What::Deleted => format!("deleted folder {name}\n"),
            _ => format!("folder {mode}"),
        };
    }
    let (old, new) = (
        with_prefix("a/", &change.path),
        with_prefix("b/", &change.path),
    );
    let first = format!("diff --git {old} {new}\n");
    match (&change.old, &change.new) {
        (None, Some(new)) => format!("{first}new file mode {}\n", git_mode(new)),
        (Some(old), None) => format!("{first}deleted file mode {}\n", git_mode(old)),
        (Some(old), Some(new)) if git_mode(old) != git_mode(new) => {
            let (old, new) = (git_mode(old), git_mode(new));
            format!("{first}old mode {old}\nnew mode {new}\n")
        }
        _ if change.what() == What::Mode => format!("file {mode}"),
        _ if mode.is_empty() => first,
        _ => format!("file {mode}{first}"),
    }
}

/// Returns a node's mode with its kind, as `git` knows them.
fn git_mode(node: &Node) -> &'static str {
    match node.kind {
        Kind::File { .. } if node.mode & 0o100 != 0 => "100755",
        Kind::File { .. } => "100644",
        Kind::Link { .. } => "120000",
        Kind::Folder => "040000",
    }
}

fn compared(change: &Change, old: &str, new: &str) -> (String, (u64, u64)) {
    let diff = TextDiff::configure()
        .algorithm(Algorithm::Myers)
        .timeout(TIME_MAX)
        .diff_lines(old, new);
    let count = |tag| diff.iter_all_changes().filter(|it| it.tag() == tag).count() as u64;
    let counted = (count(ChangeTag::Insert), count(ChangeTag::Delete));
    let [old_name, new_name] = names(change);
    let mut hunks = diff.unified_diff().context_radius(3).to_string();
    if !hunks.is_empty() {
        hunks.insert_str(0, &format!("--- {old_name}\n+++ {new_name}\n"));
    }
    (hunks, counted)
}

/// Reads one side, if it still is what it was.
fn read(node: &Node, path: &Path) -> Content {
    let (size, sha256) = match &node.kind {
        Kind::Folder => return Content::Text(String::new()),
        Kind::Link { to } => {
            return match fs::read_link(path) {
                Ok(found) if found == *to => Content::Text(to.to_string_lossy().into_owned()),
                _ => Content::Gone,
            };
        }
        Kind::File { size, sha256 } => (*size, sha256),
    };
    if size > FILE_BYTES_MAX {
        return Content::Large(size);
    }
    let mut bytes = Vec::new();
    let read =
        scan::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    if read.is_err() || hex(&sha2::Sha256::digest(&bytes)) != *sha256 {
        return Content::Gone;
    }
    if bytes.iter().take(SNIFF_BYTES).any(|byte| *byte == 0) {
        return Content::Binary;
    }
    String::from_utf8(bytes).map_or(Content::Binary, Content::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_git_does() {
        #[rustfmt::skip]
        let rows = [
            ("a name", "src/lib.rs", "src/lib.rs"),
            ("a space needs nothing", "a b", "a b"),
            ("an umlaut needs nothing", "ä", "ä"),
            ("a new line", "a\nb", "\"a\\nb\""),
            ("a quote", "a\"b", "\"a\\\"b\""),
            ("what moves the cursor", "\x1b[2J", "\"\\033[2J\""),
        ];
        for (name, path, want) in rows {
            assert_eq!(quoted(Path::new(path)), want, "row: {name}");
        }
    }
}
