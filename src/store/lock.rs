//! Owning a run is holding a lock that the kernel drops with its holder.
//!
//! So `kill -9` never leaves a run locked, and a process id that was given to
//! another process never keeps one. The lock is `flock` on `runs/<id>/lock`;
//! the file's text says who holds it, for messages only.
//!
//! - Children do not inherit it: Rust opens with `O_CLOEXEC`.
//! - Whoever asks "is it held?" takes a shared lock for a moment. An owner that
//!   comes at that moment tries again.
//! - A lock file is removed only by who holds it; who gets a lock on a removed
//!   file notices and tries again.
//! - On a network file system the lock may hold on one machine only. Then the
//!   epoch in the journal still refuses the former owner's writes, and the
//!   state folder should not be there (see `paths.rs`).

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::clock::UnixMs;
use crate::ids::RunId;

use super::paths::{io_error, open_private};
use super::{Error, Holder, Result};

/// How often an owner tries; those who look hold the lock for microseconds.
const TRIES: u32 = 8;
/// How long it waits in between.
const BETWEEN_TRIES: Duration = Duration::from_millis(1);
/// How much of a lock file is read.
const TEXT_BYTES_MAX: u64 = 4096;

/// A lock held until dropped.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code, reason = "held, not read")] File);

/// Takes the lock of `run` at `path`, whose folder exists.
///
/// - `since`: told to others as the time of taking; `None` tells nothing.
///
/// Errors: [`Error::Held`] while anyone else holds it.
pub fn acquire(path: &Path, run: &RunId, since: Option<UnixMs>) -> Result<RunLock> {
    for _ in 0..TRIES {
        let mut file = open_private(path).map_err(|cause| io_error("open", path, cause))?;
        match file.try_lock() {
            Ok(()) if is_still_at(&file, path) => {
                tell(&mut file, since).map_err(|cause| io_error("write", path, cause))?;
                return Ok(RunLock(file));
            }
            // Its last holder removed it between our opening and locking.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN_TRIES),
            Err(TryLockError::Error(cause)) => return Err(io_error("lock", path, cause)),
        }
    }
    let holder = read(path);
    Err(Error::Held {
        run: run.clone(),
        pid: holder.pid,
        since: holder.since,
        host: holder.host.filter(|host| *host != host_name()),
    })
}

/// Returns who holds the lock at `path`, or `None` when nobody does.
pub fn holder(path: &Path) -> Result<Option<Holder>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(io_error("open", path, cause)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(read(path))),
        Err(TryLockError::Error(cause)) => Err(io_error("lock", path, cause)),
    }
}

/// Writes who we are into the lock file.
fn tell(file: &mut File, since: Option<UnixMs>) -> io::Result<()> {
    let holder = Holder {
        pid: Some(std::process::id()),
        since,
        host: Some(host_name()),
    };
    let text = serde_json::to_vec(&holder)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}

/// Reads who holds the lock. A text that is not there yet, or is not ours,
/// tells nothing; that is no reason to fail.
fn read(path: &Path) -> Holder {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(TEXT_BYTES_MAX).read_to_end(&mut text));
    match read {
        Ok(_) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(_) => Holder::default(),
    }
}

fn is_still_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(there)) => identity(&held) == identity(&there),
        _ => false,
    }
}

pub(super) fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
