//! Locks on paths that several runs share.
//!
//! ```text
//! <state>/locks/            0700
//!   mutex                   held while locks are looked at and taken, never longer
//!   <hash of the path>      a lock: `flock` while it is held, text for people
//!   wait-<pid>-<n>          one that waits: the same, for lists only
//! ```
//! As with [`super::lock`], the kernel drops a lock with its holder; a file that
//! nobody holds is a leftover and is removed by whoever comes by. A lock on a folder
//! stands for all that is in it. Several paths are taken together or not at all, so
//! two runs cannot each wait for the other with one of them in hand.
//!
//! They bind those who take them. Nothing keeps other programs away.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::UnixMs;
use crate::ids::RunId;

use super::lock::host_name;
use super::paths::{io_error, make_private_folder, open_private};
use super::{Paths, Result};

/// How much of a lock's file is read.
const TEXT_BYTES_MAX: u64 = 64 * 1024;
/// The start of the name of one that waits.
const WAIT: &str = "wait-";
/// The variable that names, to what is run under locks, the processes that hold them.
pub const WITHIN_VARIABLE: &str = "AGENTGUARD_LOCKED_BY";

/// Who holds a lock, or waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The run, where it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The process.
    pub pid: u32,
    /// The machine.
    pub host: String,
    /// Since when.
    pub since: UnixMs,
    /// What is run meanwhile; `None`: the run itself holds it, and what its agent
    /// runs may take it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The processes under whose locks this one runs.
    #[serde(skip)]
    pub within: Vec<u32>,
}

impl Owner {
    /// Describes this process.
    pub fn here(run: Option<RunId>, command: Option<String>, now: UnixMs) -> Self {
        Self {
            run,
            pid: std::process::id(),
            host: host_name(),
            since: now,
            command,
            within: std::env::var(WITHIN_VARIABLE)
                .unwrap_or_default()
                .split(',')
                .filter_map(|pid| pid.parse().ok())
                .collect(),
        }
    }

    /// Returns the value of [`WITHIN_VARIABLE`] for what this process runs.
    pub fn around(&self) -> String {
        let around = self.within.iter().chain([&self.pid]);
        around.map(u32::to_string).collect::<Vec<_>>().join(",")
    }

    /// Returns who it is, in words.
    pub fn describe(&self) -> String {
        let run = self.run.as_ref().map(|run| format!("run {run}, "));
        let host = match &self.host {
            host if *host == host_name() => String::new(),
            host => format!(" on {host}"),
        };
        format!("{}process {}{host}", run.unwrap_or_default(), self.pid)
    }

    /// Returns whether a lock that `self` holds does not keep `other` away: what an
    /// agent runs is within the locks of its run, and what a command runs within those
    /// that are held for the command.
    fn admits(&self, other: &Self) -> bool {
        let is_of_its_run = self.command.is_none() && self.run.is_some() && self.run == other.run;
        is_of_its_run || self.host == other.host && other.within.contains(&self.pid)
    }
}

/// A lock as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The path.
    pub path: PathBuf,
    /// Who holds it.
    #[serde(flatten)]
    pub owner: Owner,
    /// Who waits for it, or for a part of it.
    #[serde(default)]
    pub waiting: Vec<Owner>,
}

/// What a file says.
#[derive(Serialize, Deserialize)]
struct Text {
    paths: Vec<PathBuf>,
    owner: Owner,
}

/// Locks, held until dropped.
#[derive(Debug)]
pub struct PathLock {
    folder: PathBuf,
    files: Vec<(PathBuf, File)>,
}

impl Drop for PathLock {
    fn drop(&mut self) {
        // While nobody looks; otherwise the next who comes by clears it away.
        if let Ok(_mutex) = mutex(&self.folder) {
            for (path, _) in &self.files {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// What taking gave.
#[derive(Debug)]
pub enum Taken {
    /// They are ours.
    Ours(PathLock),
    /// One of them, or a folder around or in it, is somebody else's.
    Busy(Box<Held>),
}

/// Takes locks on all of `paths`, which are absolute, or on none.
pub fn take(state: &Paths, paths: &[PathBuf], owner: &Owner) -> Result<Taken> {
    let folder = state.locks();
    make_private_folder(&folder)?;
    let _mutex = mutex(&folder)?;
    let paths: Vec<PathBuf> = paths.iter().map(|path| real(path)).collect();
    for held in held(&folder)? {
        let overlaps = |path: &PathBuf| path.starts_with(&held.path) || held.path.starts_with(path);
        if paths.iter().any(overlaps) && !held.owner.admits(owner) {
            return Ok(Taken::Busy(Box::new(held)));
        }
    }
    let mut lock = PathLock {
        folder: folder.clone(),
        files: Vec::new(),
    };
    for path in paths {
        // One that the run holds itself is in another file.
        let place = folder.join(name(&path, owner));
        if lock.files.iter().any(|(known, _)| *known == place) {
            continue;
        }
        let text = Text {
            paths: vec![path],
            owner: owner.clone(),
        };
        lock.files
            .push((place.clone(), write_locked(&place, &text)?));
    }
    Ok(Taken::Ours(lock))
}

/// Tells lists that `owner` waits for `paths`, until dropped.
pub fn announce(state: &Paths, paths: &[PathBuf], owner: &Owner) -> Result<PathLock> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let folder = state.locks();
    make_private_folder(&folder)?;
    let _mutex = mutex(&folder)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let place = folder.join(format!("{WAIT}{}-{number}", owner.pid));
    let text = Text {
        paths: paths.iter().map(|path| real(path)).collect(),
        owner: owner.clone(),
    };
    let file = write_locked(&place, &text)?;
    Ok(PathLock {
        folder,
        files: vec![(place, file)],
    })
}

/// Lists the locks that are held, by path, with those who wait.
pub fn list(state: &Paths) -> Result<Vec<Held>> {
    let folder = state.locks();
    if !folder.is_dir() {
        return Ok(vec![]);
    }
    let _mutex = mutex(&folder)?;
    let mut all = held(&folder)?;
    for (_, text) in live(&folder, |name| name.starts_with(WAIT))? {
        for held in &mut all {
            let overlaps =
                |path: &PathBuf| path.starts_with(&held.path) || held.path.starts_with(path);
            if text.paths.iter().any(overlaps) {
                held.waiting.push(text.owner.clone());
            }
        }
    }
    all.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(all)
}

fn held(folder: &Path) -> Result<Vec<Held>> {
    let locks = live(folder, |name| !name.starts_with(WAIT))?;
    let held = locks.into_iter().flat_map(|(_, text)| {
        let owner = text.owner;
        text.paths.into_iter().map(move |path| Held {
            path,
            owner: owner.clone(),
            waiting: vec![],
        })
    });
    Ok(held.collect())
}

/// Reads the files that somebody holds, and removes the others. The mutex is held.
fn live(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<(PathBuf, Text)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|cause| io_error("list", folder, cause))? {
        let entry = entry.map_err(|cause| io_error("list", folder, cause))?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name == MUTEX || !is_wanted(&name) {
            continue;
        }
        let Ok(file) = File::open(&path) else {
            continue;
        };
        match file.try_lock_shared() {
            Ok(()) => drop(fs::remove_file(&path)),
            Err(TryLockError::WouldBlock) => {
                let mut text = Vec::new();
                let read = file.take(TEXT_BYTES_MAX).read_to_end(&mut text);
                let text = read.ok().and_then(|_| serde_json::from_slice(&text).ok());
                found.extend(text.map(|text| (path, text)));
            }
            Err(TryLockError::Error(cause)) => return Err(io_error("lock", &path, cause)),
        }
    }
    Ok(found)
}

const MUTEX: &str = "mutex";

/// Waits for the moment in which nobody else looks at the locks.
fn mutex(folder: &Path) -> Result<File> {
    let path = folder.join(MUTEX);
    let file = open_private(&path).map_err(|cause| io_error("open", &path, cause))?;
    file.lock()
        .map_err(|cause| io_error("lock", &path, cause))?;
    Ok(file)
}

fn write_locked(place: &Path, text: &Text) -> Result<File> {
    let write = || -> io::Result<File> {
        let mut file = open_private(place)?;
        file.try_lock().map_err(io::Error::from)?;
        let text = serde_json::to_vec(text)?;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)?;
        Ok(file)
    };
    write().map_err(|cause| io_error("write", place, cause))
}

/// Returns the path that several names of it have in common.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    // Not there yet: its folder may be.
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => path.to_owned(),
    }
}

fn name(path: &Path, owner: &Owner) -> String {
    let mut hash = Sha256::new();
    hash.update(path.as_os_str().as_encoded_bytes());
    // The run's own lock and that of a command within it are two, and so is one more
    // within that.
    hash.update([u8::from(owner.command.is_some())]);
    if !owner.within.is_empty() {
        hash.update(owner.within.len().to_le_bytes());
    }
    let hash = hash.finalize();
    hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(Paths);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.0.state());
        }
    }

    fn scratch(name: &str) -> Scratch {
        let folder = format!("agentguard-locks-{name}-{}", std::process::id());
        let paths = Paths::new(std::env::temp_dir().join(folder));
        paths.make_state().unwrap();
        Scratch(paths)
    }

    fn owner(run: u64, command: Option<&str>) -> Owner {
        let run = Some(RunId::from_bits(run));
        Owner::here(run, command.map(str::to_owned), UnixMs(1))
    }

    fn is_free(state: &Paths, path: &str, owner: &Owner) -> bool {
        matches!(take(state, &[path.into()], owner).unwrap(), Taken::Ours(_))
    }

    #[test]
    fn who_keeps_whom_away() {
        let scratch = scratch("table");
        let (run, other) = (owner(1, None), owner(2, None));
        let (command, second) = (owner(1, Some("make")), owner(1, Some("make")));
        #[rustfmt::skip]
        let rows = [
            ("another run", "/x/a", &run, "/x/a", &other, false),
            ("another path", "/x/a", &run, "/x/b", &other, true),
            ("a name that only begins the same", "/x/a", &run, "/x/ab", &other, true),
            ("a file in a locked folder", "/x", &run, "/x/a", &other, false),
            ("a folder with a locked file", "/x/a", &run, "/x", &other, false),
            ("what the run's agent runs", "/x/a", &run, "/x/a", &command, true),
            ("two commands of one run", "/x/a", &command, "/x/a", &second, false),
            ("the run, while its command has it", "/x/a", &command, "/x/a", &run, false),
        ];
        for (name, held, first, wanted, then, free) in rows {
            let Taken::Ours(lock) = take(&scratch.0, &[held.into()], first).unwrap() else {
                panic!("row: {name}");
            };
            assert_eq!(is_free(&scratch.0, wanted, then), free, "row: {name}");
            drop(lock);
            assert!(is_free(&scratch.0, wanted, then), "row: {name}");
        }
    }

    #[test]
    fn what_a_command_runs_is_within_its_lock() {
        let scratch = scratch("within");
        let outer = owner(1, Some("outer"));
        let inner = |pid| Owner {
            pid,
            within: vec![outer.pid],
            ..owner(1, Some("inner"))
        };
        let Taken::Ours(_outer) = take(&scratch.0, &["/x".into()], &outer).unwrap() else {
            panic!("it was free");
        };
        let first = take(&scratch.0, &["/x".into()], &inner(1)).unwrap();
        assert!(matches!(first, Taken::Ours(_)));
        // Two of them keep each other away all the same.
        assert!(!is_free(&scratch.0, "/x/a", &inner(2)));
        drop(first);
        assert!(is_free(&scratch.0, "/x/a", &inner(2)));
        assert!(!is_free(&scratch.0, "/x/a", &owner(2, Some("other"))));
    }

    #[test]
    fn all_or_none() {
        let scratch = scratch("all");
        let Taken::Ours(_held) = take(&scratch.0, &["/x/b".into()], &owner(1, None)).unwrap()
        else {
            panic!("it was free");
        };
        let other = owner(2, None);
        let busy = take(&scratch.0, &["/x/a".into(), "/x/b".into()], &other).unwrap();
        assert!(matches!(busy, Taken::Busy(held) if held.path == Path::new("/x/b")));
        assert!(is_free(&scratch.0, "/x/a", &owner(3, None)));
        let _waits = announce(&scratch.0, &["/x/b".into()], &other).unwrap();
        let listed = list(&scratch.0).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].waiting, [other]);
    }

    #[test]
    fn what_a_dead_holder_left_is_no_lock() {
        let scratch = scratch("dead");
        let folder = scratch.0.locks();
        make_private_folder(&folder).unwrap();
        let text = Text {
            paths: vec!["/x/a".into()],
            owner: owner(1, None),
        };
        let place = folder.join("left");
        drop(write_locked(&place, &text).unwrap());
        assert!(list(&scratch.0).unwrap().is_empty());
        assert!(!place.exists());
        assert!(is_free(&scratch.0, "/x/a", &owner(2, None)));
    }
}
