//! The change put in place file by file, where folders cannot be exchanged.
//!
//! ```text
//! new/3  the new content of step 3, on the target's file system, durable
//! old/3  what step 3 replaces or removes: a second name of it
//! ```
//! The steps are on disk before the first is done. Each can be done again, and taken
//! back, by looking at what is there; so a crash is finished by the next resume, and
//! an error in the middle takes all of it back. Between the first and the last step
//! others may see some of the change without the rest.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::change::{Change, What};
use super::commit::{self, Done};
use super::error::{Error, Named, Result};
use super::moment::Moment;
use super::scan::{Halt, stamp};
use super::stage::{Stage, remove_tree};
use super::tree::{Node, Stamp, Tree, as_text, at, load_lines, save_lines};
use super::{copy, exchange};

/// What lets the user of a folder work in it.
const OPEN: u32 = 0o700;

/// One step.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Step {
    #[serde(with = "as_text")]
    path: PathBuf,
    #[serde(flatten)]
    act: Act,
    /// What was there when the plan was made; others may have been here since.
    #[serde(default)]
    expect: Option<Stamp>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
enum Act {
    /// Remove a file or link.
    Remove,
    /// Remove an empty folder.
    RemoveFolder { mode: u32 },
    /// Make a folder.
    MakeFolder { mode: u32 },
    /// Put a file or link in place; `ino` is that of the new one.
    Put { ino: u64 },
    /// Change permissions.
    Mode { old: u32, new: u32 },
    /// Let us into a folder whose mode keeps its own user out.
    Open { mode: u32 },
    /// Give such a folder its mode, or the one it is to have.
    Close { mode: u32 },
}

/// Why a step was not done.
enum Stop {
    /// Others changed the path.
    Late,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Lays out the steps and makes the new files durable beside the target.
///
/// On an error nothing is left.
pub(super) fn prepare(stage: &Stage, changes: &[Change], target: &Tree, halt: &Halt) -> Result<()> {
    let beside = beside(&stage.target, &stage.tree);
    let laid = lay_out(stage, changes, target, &beside, halt);
    if laid.is_err() {
        remove_tree(&beside)?;
    }
    laid
}

fn lay_out(
    stage: &Stage,
    changes: &[Change],
    target: &Tree,
    beside: &Path,
    halt: &Halt,
) -> Result<()> {
    for folder in [beside.to_owned(), beside.join("new"), beside.join("old")] {
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .named("make", &folder)?;
    }
    let closed = closed(changes, target, &stage.target);
    let around = |path: &Path, act| Step {
        path: path.to_owned(),
        act,
        expect: None,
    };
    let opened = closed.iter();
    let mut steps: Vec<Step> = opened
        .map(|(path, &mode)| around(path, Act::Open { mode }))
        .collect();
    for (change, act) in order(changes) {
        halt.check()?;
        let number = steps.len();
        let act = match act {
            Act::Put { .. } => {
                let (from, to) = (at(&stage.tree, &change.path), new(beside, number));
                copy::one(&from, &to)?;
                let seen = fs::symlink_metadata(&to).named("read", &to)?;
                Act::Put { ino: seen.ino() }
            }
            // Its last step says what it is to have.
            Act::Mode { .. } if closed.contains_key(change.path.as_path()) => continue,
            Act::RemoveFolder { mode } if closed.contains_key(change.path.as_path()) => {
                Act::RemoveFolder { mode: mode | OPEN }
            }
            other => other,
        };
        steps.push(Step {
            path: change.path.clone(),
            act,
            // A folder in the way goes before, by a step of its own.
            expect: target
                .get(&change.path)
                .filter(|seen| !seen.node.is_folder())
                .map(|seen| seen.stamp),
        });
    }
    let changed = |path: &Path| changes.iter().find(|change| change.path == path);
    for (path, mode) in &closed {
        let new = changed(path).and_then(|change| change.new.as_ref());
        let mode = new.map_or(*mode, |new| new.mode);
        steps.push(around(path, Act::Close { mode }));
    }
    exchange::sync(beside)?;
    save_lines(&stage.records.join("steps.jsonl"), steps)
}

/// Returns the folders of the target, with their modes, that something comes into or goes
/// out of and that do not let us.
fn closed<'a>(changes: &'a [Change], target: &Tree, root: &Path) -> BTreeMap<&'a Path, u32> {
    let moved = changes.iter().filter(|change| change.what() != What::Mode);
    let above = moved.filter_map(|change| change.path.parent());
    let folders = above.filter_map(|path| Some((path, target.get(path)?.node.mode)));
    let may = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    folders
        .filter(|(path, _)| rustix::fs::access(at(root, path), may).is_err())
        .collect()
}

/// Returns the steps of a change, in an order in which each is possible: what is in
/// the way goes first, folders come before what is in them, the rest goes; last are
/// the modes of folders.
fn order(changes: &[Change]) -> Vec<(&Change, Act)> {
    let is_folder = |node: &Option<Node>| node.as_ref().is_some_and(Node::is_folder);
    let turned: Vec<&Path> = changes
        .iter()
        .filter(|it| is_folder(&it.old) != is_folder(&it.new) && it.what() == What::Kind)
        .map(|it| it.path.as_path())
        .collect();
    let is_in_the_way = |change: &Change| {
        turned.iter().any(|path| change.path.starts_with(path))
            && change.old.is_some()
            && (change.new.is_none() || is_folder(&change.old) != is_folder(&change.new))
    };
    let removal = |change: &Change| match &change.old {
        Some(old) if old.is_folder() => Act::RemoveFolder { mode: old.mode },
        _ => Act::Remove,
    };
    let mut steps = Vec::new();
    for change in changes.iter().rev().filter(|it| is_in_the_way(it)) {
        steps.push((change, removal(change)));
    }
    for change in changes {
        let act = match (&change.old, &change.new) {
            (_, None) => continue,
            (Some(old), Some(new)) if old.is_folder() && new.is_folder() => continue,
            (_, Some(new)) if new.is_folder() => Act::MakeFolder { mode: new.mode },
            (Some(old), Some(new)) if change.what() == What::Mode => Act::Mode {
                old: old.mode,
                new: new.mode,
            },
            _ => Act::Put { ino: 0 },
        };
        steps.push((change, act));
    }
    for change in changes.iter().rev() {
        if change.new.is_none() && !is_in_the_way(change) {
            steps.push((change, removal(change)));
        }
    }
    for change in changes.iter().rev() {
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && old.is_folder()
            && new.is_folder()
        {
            let (old, new) = (old.mode, new.mode);
            steps.push((change, Act::Mode { old, new }));
        }
    }
    steps
}

/// Does what is left of the steps.
pub(super) fn carry_out(stage: &Stage, moment: &dyn Fn(Moment)) -> Result<Done> {
    let steps: Vec<Step> = load_lines(&stage.records.join("steps.jsonl"))?;
    let beside = beside(&stage.target, &stage.tree);
    let mut done = Ok(());
    for (number, step) in steps.iter().enumerate() {
        if number == steps.len() / 2 {
            moment(Moment::Half);
        }
        done = step.carry_out(number, &stage.target, &beside);
        if done.is_err() {
            break;
        }
    }
    let done = done.and_then(|()| Ok(close_folders(&steps, &stage.target)?));
    match done {
        Ok(()) => {
            exchange::sync(&stage.target)?;
            moment(Moment::InPlace);
            commit::settled(stage)
        }
        Err(stop) => {
            commit::forget(&stage.target, &stage.tree, &stage.records)?;
            match stop {
                Stop::Late => Ok(Done::Again),
                Stop::Failed(error) => Err(error),
            }
        }
    }
}

/// Takes back what was done of the steps.
pub(super) fn take_back(target: &Path, tree: &Path, records: &Path) -> Result<()> {
    let beside = beside(target, tree);
    if !beside.exists() {
        return Ok(());
    }
    let steps: Vec<Step> = load_lines(&records.join("steps.jsonl"))?;
    for (number, step) in steps.iter().enumerate().rev() {
        step.take_back(number, target, &beside)?;
    }
    exchange::sync(target)
}

/// Removes the files that were laid out and are not needed any more.
pub(super) fn remove_leftovers(target: &Path, tree: &Path) -> Result<()> {
    remove_tree(&beside(target, tree))
}

impl Step {
    fn carry_out(
        &self,
        number: usize,
        target: &Path,
        beside: &Path,
    ) -> std::result::Result<(), Stop> {
        let place = at(target, &self.path);
        let (new, old) = (new(beside, number), old(beside, number));
        match &self.act {
            Act::Put { .. } => {
                if !is_there(&new) {
                    return Ok(());
                }
                self.expected(&place, &old)?;
                if self.expect.is_some() {
                    keep(&place, &old)?;
                    return Ok(fs::rename(&new, &place).named("replace", &place)?);
                }
                match exchange::place(&new, &place) {
                    Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Err(Stop::Late),
                    moved => Ok(moved.named("make", &place)?),
                }
            }
            Act::Remove => {
                let is_kept = is_there(&old);
                if !is_there(&place) || is_kept && !is_same(&place, &old) {
                    return if is_kept { Ok(()) } else { Err(Stop::Late) };
                }
                self.expected(&place, &old)?;
                keep(&place, &old)?;
                Ok(fs::remove_file(&place).named("remove", &place)?)
            }
            Act::RemoveFolder { .. } => match fs::remove_dir(&place) {
                Err(cause) => match cause.kind() {
                    // What is left out of the stage keeps its folder, and so does what
                    // others have put in since.
                    io::ErrorKind::DirectoryNotEmpty => Ok(()),
                    // Done before a crash, and so may what came after it.
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(()),
                    _ => Err(Stop::Failed(Error::io("remove", &place, cause))),
                },
                Ok(()) => Ok(()),
            },
            Act::MakeFolder { .. } => match DirBuilder::new().mode(0o700).create(&place) {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && place.is_dir() => {
                    Ok(())
                }
                made => Ok(made.named("make", &place)?),
            },
            Act::Mode { new, .. } => Ok(set_mode(&place, *new)?),
            Act::Open { mode } => Ok(set_folder_mode(&place, mode | OPEN)?),
            Act::Close { mode } => Ok(set_folder_mode(&place, *mode)?),
        }
    }

    fn take_back(&self, number: usize, target: &Path, beside: &Path) -> Result<()> {
        let place = at(target, &self.path);
        let (new, old) = (new(beside, number), old(beside, number));
        match &self.act {
            Act::Put { ino } => {
                let is_ours = fs::symlink_metadata(&place).is_ok_and(|it| it.ino() == *ino);
                if is_there(&new) || !is_ours {
                    return Ok(());
                }
                if is_there(&old) {
                    return fs::rename(&old, &place).named("put back", &place);
                }
                fs::remove_file(&place).named("remove", &place)
            }
            Act::Remove if is_there(&old) && !is_there(&place) => {
                fs::rename(&old, &place).named("put back", &place)
            }
            Act::Remove => Ok(()),
            Act::RemoveFolder { mode } => match fs::create_dir(&place) {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                made => {
                    made.named("put back", &place)?;
                    set_mode(&place, *mode)
                }
            },
            // Not empty: others have put something in.
            Act::MakeFolder { .. } => {
                let _ = fs::remove_dir(&place);
                Ok(())
            }
            Act::Mode { old, .. } if is_there(&place) => set_mode(&place, *old),
            Act::Mode { .. } => Ok(()),
            Act::Open { mode } => set_folder_mode(&place, *mode),
            Act::Close { mode } => set_folder_mode(&place, mode | OPEN),
        }
    }

    /// Returns whether the path is what it was when the plan was made.
    fn expected(&self, place: &Path, old: &Path) -> std::result::Result<(), Stop> {
        let present = fs::symlink_metadata(place).ok();
        let is_so = match (&self.expect, &present) {
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
            (Some(expect), Some(found)) => {
                let found = stamp(found);
                // Its second name has given it another time.
                let has_second = is_there(old) && is_same(place, old);
                let same_time = found.ctime_ns == expect.ctime_ns || has_second;
                same_time
                    && (found.ino, found.size, found.mtime_ns)
                        == (expect.ino, expect.size, expect.mtime_ns)
            }
        };
        if is_so { Ok(()) } else { Err(Stop::Late) }
    }
}

/// New folders get their modes when everything is in them.
fn close_folders(steps: &[Step], target: &Path) -> Result<()> {
    for step in steps.iter().rev() {
        if let Act::MakeFolder { mode } = step.act {
            set_mode(&at(target, &step.path), mode)?;
        }
    }
    Ok(())
}

/// Gives what is at `place` a second name; a copy where there are no second names.
fn keep(place: &Path, old: &Path) -> Result<()> {
    match fs::hard_link(place, old) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => copy::one(place, old).map(drop),
    }
}

fn set_mode(place: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(place, fs::Permissions::from_mode(mode)).named("set the mode of", place)
}

/// A folder that is gone, or something else by now, has no mode to be set.
fn set_folder_mode(place: &Path, mode: u32) -> Result<()> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() => set_mode(place, mode),
        _ => Ok(()),
    }
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn is_same(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| fs::symlink_metadata(path).ok().map(|found| found.ino());
    inode(one) == inode(other)
}

/// Returns where new and old files lie: on the target's file system, out of sight.
fn beside(target: &Path, tree: &Path) -> PathBuf {
    if tree.parent() == target.parent() {
        let mut name = tree.as_os_str().to_owned();
        name.push(".files");
        return name.into();
    }
    target.join(format!("{}files", super::rules::MARK))
}

fn new(beside: &Path, number: usize) -> PathBuf {
    beside.join("new").join(number.to_string())
}

fn old(beside: &Path, number: usize) -> PathBuf {
    beside.join("old").join(number.to_string())
}
