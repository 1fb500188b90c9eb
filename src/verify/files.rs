//! Checks of what is, and what is in, the files of the workspace.
//!
//! Only regular files are read, each up to [`FILE_BYTES_MAX`] bytes: a pipe or a
//! device that the agent made in the place of a file holds nobody up. What is too
//! large or too many to be read fails: nobody can hide something that way.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use regex::bytes::{Regex, RegexBuilder};

use super::{FILE_BYTES_MAX, Said};
use crate::task::resolved::Look;

/// Files that one pattern may find.
const FILES_MAX: usize = 10_000;

/// Bytes that one check reads.
const BYTES_MAX: u64 = 512 << 20;

/// Findings that are told.
const TOLD_MAX: usize = 20;

/// Longest line that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 120;

/// Checks files; on a thread of its own, since disks may be slow.
pub(super) async fn check(workspace: PathBuf, look: Look) -> Said {
    let work = tokio::task::spawn_blocking(move || look_at(&workspace, &look));
    work.await
        .unwrap_or_else(|error| Said::unchecked("broke off", error.to_string()))
}

fn look_at(workspace: &Path, look: &Look) -> Said {
    let Look::Files {
        pattern,
        exists,
        must_match,
        must_not_match,
    } = look
    else {
        return Said::unchecked("looks at no files", "");
    };
    let found = match find(workspace, pattern) {
        Ok(found) => found,
        Err(said) => return said,
    };
    let names: Vec<String> = found.iter().map(|path| name(workspace, path)).collect();
    match (exists, found.is_empty()) {
        (true, true) => return Said::failed("found no file", ""),
        (false, false) => {
            let listed: Vec<&str> = names.iter().take(TOLD_MAX).map(String::as_str).collect();
            return Said::failed("found files that must not be there", listed.join("\n"));
        }
        (false, true) => return Said::passed("found no file, as it should be"),
        (true, false) => {}
    }
    let compile = |patterns: &[String]| -> Result<Vec<Regex>, regex::Error> {
        patterns
            .iter()
            .map(|it| RegexBuilder::new(it).multi_line(true).build())
            .collect()
    };
    let (wanted, unwanted) = match (compile(must_match), compile(must_not_match)) {
        (Ok(wanted), Ok(unwanted)) => (wanted, unwanted),
        (Err(error), _) | (_, Err(error)) => {
            return Said::unchecked("has a pattern that cannot be used", error.to_string());
        }
    };
    if wanted.is_empty() && unwanted.is_empty() {
        return Said::passed(format!("found {} files", found.len()));
    }
    let mut looked_at = 0;
    let mut findings = Vec::new();
    let mut bytes_left = BYTES_MAX;
    for (path, name) in found.iter().zip(&names) {
        if findings.len() >= TOLD_MAX {
            break;
        }
        if path.is_dir() {
            continue;
        }
        looked_at += 1;
        match read(path, FILE_BYTES_MAX.min(bytes_left)) {
            Ok(text) => {
                bytes_left -= text.len() as u64;
                look_in(&text, name, &wanted, &unwanted, &mut findings);
            }
            Err(why) => findings.push(format!("{name} {why}")),
        }
    }
    match findings.len() {
        0 if looked_at == 0 => Said::failed("found folders only", ""),
        0 => Said::passed(format!("looked at {looked_at} files")),
        1 => Said::failed("is not as it should be", findings.join("\n")),
        count => Said::failed(format!("has {count} faults"), findings.join("\n")),
    }
}

pub(super) fn find(workspace: &Path, pattern: &str) -> Result<Vec<PathBuf>, Said> {
    let folder = glob::Pattern::escape(&workspace.to_string_lossy());
    let whole = match Path::new(pattern).is_absolute() {
        true => pattern.to_owned(),
        false => format!("{folder}/{pattern}"),
    };
    let unusable = |why: String| Said::unchecked("has a pattern that cannot be used", why);
    let paths = glob::glob(&whole).map_err(|error| unusable(error.to_string()))?;
    let mut found = Vec::new();
    for path in paths {
        if found.len() >= FILES_MAX {
            let why = format!("found more than {FILES_MAX} files, which is more than is looked at");
            return Err(Said::failed(why, ""));
        }
        match path {
            Ok(path) => found.push(path),
            Err(error) => {
                return Err(Said::failed(
                    "met a folder that cannot be read",
                    error.to_string(),
                ));
            }
        }
    }
    Ok(found)
}

fn look_in(
    text: &[u8],
    name: &str,
    wanted: &[Regex],
    unwanted: &[Regex],
    findings: &mut Vec<String>,
) {
    for pattern in wanted.iter().filter(|pattern| !pattern.is_match(text)) {
        findings.push(format!("{name}: nothing matches `{pattern}`"));
    }
    for pattern in unwanted {
        for found in pattern.find_iter(text).take(3) {
            let before = &text[..found.start()];
            let number = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let start = before
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            let line = text[start..]
                .split(|byte| *byte == b'\n')
                .next()
                .unwrap_or_default();
            let line = String::from_utf8_lossy(line);
            let shown: String = line.trim().chars().take(SHOWN_CHARS_MAX).collect();
            findings.push(format!("{name}:{number}: matches `{pattern}`: {shown}"));
        }
    }
}

/// Reads a regular file.
///
/// Errors: a clause that follows its name.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let is_file = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !is_file.is_file() {
        return Err("is no regular file".to_owned());
    }
    let file = fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!(
            "has more than {bytes_max} bytes, which is more than is read"
        ));
    }
    Ok(bytes)
}

pub(super) fn name(workspace: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(workspace).unwrap_or(path);
    inside.to_string_lossy().into_owned()
}
