//! Files beside the task file, for commands that are started elsewhere: in the copy of a
//! staged folder.
//!
//! Paths in a task file are relative to it. An agent that works in the copy because the
//! task names no other folder still finds `loop.py` of `command: [python, loop.py]`:
//!
//! | the word is the path of | and becomes |
//! |---|---|
//! | something in the copy | itself: the agent stands there |
//! | something beside the task file that the copy has | the path in the copy |
//! | something else beside the task file | the absolute path |
//!
//! A word without `/` is the path of files alone: `test` is more often a word of `cargo
//! test` than a folder. A program without `/` is looked for in `PATH`, as ever.
//!
//! Looked up once, before there is a run, and stored with the task: a resume starts what
//! was started before.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::staging::stage::Extent;
use crate::task::resolved::Resolved;
use crate::task::words::is_looked_for_in_path;

/// Finds what the commands of `task` name beside its file.
///
/// - `base`: the folder of the task file.
pub fn find(task: &mut Resolved, base: &Path) {
    let workspace = &task.workspace;
    let Some(stage) = workspace.stage.as_deref().filter(|_| workspace.is_home) else {
        return;
    };
    // What cannot be staged is told where it is staged.
    let Ok(extent) = Extent::of(stage, &workspace.exclude, workspace.git) else {
        return;
    };
    let mut beside = BTreeMap::new();
    task.reword(&mut |place, word| {
        if !is_looked_for_in_path(place, word)
            && let Some(path) = found(&extent, base, word)
        {
            beside.insert(word.to_owned(), path);
        }
        None
    });
    task.workspace.beside = beside;
}

/// Returns the path by which `word` is found from the copy, if it needs another one.
fn found(extent: &Extent, base: &Path, word: &str) -> Option<String> {
    let path = Path::new(word);
    let has_slash = word.contains('/');
    if word.is_empty() || path.is_absolute() {
        return None;
    }
    let from_copy = extent.target.join(path);
    let leaves = path.components().any(|part| part == Component::ParentDir);
    if extent.inside(&from_copy).is_some() || leaves && from_copy.exists() {
        return None;
    }
    let beside: PathBuf = base.join(path).components().collect();
    if !(beside.is_file() || has_slash && beside.exists()) {
        return None;
    }
    let new = match extent.inside(&beside) {
        Some(inside) => Path::new(".").join(inside),
        None => beside,
    };
    new.to_str().map(str::to_owned)
}
