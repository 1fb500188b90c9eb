//! Reading a folder.
//!
//! A file whose stamp is known is not read again. Whoever keeps a stamp makes sure
//! that it [`is_settled`]: a write in the same tick of the kernel's clock would
//! leave it as it is.
//!
//! Links are never followed, and other file systems never entered.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::error::{Error, Named, Result};
use super::rules::Rules;
use super::tree::{Kind, Node, Seen, Stamp, Tree, at, hex};

/// Threads that read and copy files.
const THREADS: usize = 2;
/// Most files and folders of a staged folder.
pub(super) const ENTRIES_MAX: usize = 2_000_000;
/// Stamps this close to the present are not trusted; the coarsest file system in
/// use (FAT) counts in steps of two seconds.
const RACY_NS: i64 = 2_000_000_000;
/// How much is read at once.
pub(super) const CHUNK_BYTES: usize = 128 * 1024;

/// Stops work on many files.
#[derive(Clone, Debug, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    /// Asks for the end.
    pub fn halt(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// As [`check`](Self::check), in the middle of a file.
    pub(super) fn check_io(&self) -> std::io::Result<()> {
        match self.0.load(Ordering::SeqCst) {
            true => Err(std::io::Error::other("interrupted")),
            false => Ok(()),
        }
    }

    /// Errors: [`Error::Halted`] once asked.
    pub(super) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::SeqCst) {
            return Err(Error::Halted);
        }
        Ok(())
    }
}

/// What stands in a folder, before any file is read.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Folders before what is in them; the folder itself is the empty path.
    pub entries: Vec<(PathBuf, Metadata)>,
    /// What a copy does not have, and why.
    pub left_out: Vec<(PathBuf, &'static str)>,
    /// A file with several names, one of which may be outside.
    pub shared: Option<PathBuf>,
}

/// A folder as it was read.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub tree: Tree,
    /// What is there and was not read, and why.
    pub left_out: Vec<(PathBuf, &'static str)>,
}

/// Lists the folder at `root`.
///
/// Errors: a folder that cannot be read, and a mount point inside.
pub(super) fn walk(root: &Path, rules: &Rules, halt: &Halt) -> Result<Walk> {
    let top = fs::symlink_metadata(root).named("read", root)?;
    if !top.is_dir() {
        return Err(Error::NotFolder(root.to_owned()));
    }
    let device = top.dev();
    let mut walk = Walk::default();
    walk.entries.push((PathBuf::new(), top));
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        halt.check()?;
        let place = at(root, &folder);
        for entry in fs::read_dir(&place).named("list", &place)? {
            let entry = entry.named("list", &place)?;
            let path = folder.join(entry.file_name());
            if !rules.looks_at(&path) {
                continue;
            }
            if rules.leave_out(root, &path) {
                walk.left_out.push((path, "it is excluded"));
                continue;
            }
            let full = entry.path();
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Gone since it was listed.
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
                Err(cause) => return Err(Error::io("read", &full, cause)),
            };
            let kind = metadata.file_type();
            if kind.is_dir() {
                if metadata.dev() != device || is_mount_point(&full) {
                    return Err(Error::MountInside(full));
                }
                folders.push(path.clone());
            } else if kind.is_file() && metadata.nlink() > 1 {
                walk.shared.get_or_insert_with(|| path.clone());
            } else if !kind.is_file() && !kind.is_symlink() {
                walk.left_out.push((path, "it is a socket, pipe or device"));
                continue;
            }
            walk.entries.push((path, metadata));
            if walk.entries.len() > ENTRIES_MAX {
                let path = root.to_owned();
                let max = ENTRIES_MAX;
                return Err(Error::TooMany { path, max });
            }
        }
    }
    Ok(walk)
}

/// Returns whether another file system, or another part of this one, is mounted
/// here. A bind mount has the device of its surroundings.
#[cfg(target_os = "linux")]
pub(super) fn is_mount_point(folder: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    statx(CWD, folder, flags, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Returns whether another file system is mounted here.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_mount_point(folder: &Path) -> bool {
    let device = |path: &Path| fs::symlink_metadata(path).ok().map(|found| found.dev());
    folder
        .parent()
        .is_some_and(|above| device(above) != device(folder))
}

/// Reads the folder at `root`.
///
/// - `known`: what was read before at a path, with its stamp, if that can be trusted.
pub(super) fn scan(
    root: &Path,
    rules: &Rules,
    known: impl Fn(&Path) -> Option<(Node, Stamp)> + Sync,
    halt: &Halt,
) -> Result<Scan> {
    let walk = walk(root, rules, halt)?;
    let read = in_parallel(&walk.entries, halt, |(path, metadata)| {
        let stamp = stamp(metadata);
        let mode = mode(metadata);
        if let Some((node, before)) = known(path)
            && before == stamp
            && node.mode == mode
        {
            return Ok(Some((path.clone(), Seen { node, stamp })));
        }
        let full = at(root, path);
        let kind = match metadata {
            it if it.is_dir() => Ok(Kind::Folder),
            it if it.is_symlink() => fs::read_link(&full).map(|to| Kind::Link { to }),
            _ => hash_file(&full, halt).map(|(size, sha256)| Kind::File { size, sha256 }),
        };
        match kind {
            Ok(kind) => {
                let node = Node { kind, mode };
                Ok(Some((path.clone(), Seen { node, stamp })))
            }
            // Gone since it was listed.
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Error::io("read", &full, cause)),
        }
    })?;
    Ok(Scan {
        tree: read.into_iter().flatten().collect(),
        left_out: walk.left_out,
    })
}

/// Returns the permissions that are compared.
pub(super) fn mode(metadata: &Metadata) -> u32 {
    if metadata.is_symlink() {
        0
    } else {
        metadata.permissions().mode() & 0o7777
    }
}

/// Returns how a file is known again.
pub(super) fn stamp(metadata: &Metadata) -> Stamp {
    let ns = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Stamp {
        ino: metadata.ino(),
        size: metadata.len(),
        mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
        ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// Returns whether a stamp was old enough when the file was read, at `now_ns`, that
/// no later write can have it too.
pub(super) fn is_settled(stamp: &Stamp, now_ns: i64) -> bool {
    stamp.ctime_ns.saturating_add(RACY_NS) < now_ns
}

/// The time, for [`is_settled`] only.
pub(super) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or(Duration::ZERO).as_nanos()).unwrap_or(i64::MAX)
}

/// Opens a file that is no link and no pipe that would block.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// Returns a file's size and hash.
pub(super) fn hash_file(path: &Path, halt: &Halt) -> std::io::Result<(u64, String)> {
    hash_rest(&mut open(path)?, halt)
}

/// Reads to the end.
pub(super) fn hash_rest(file: &mut File, halt: &Halt) -> std::io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        halt.check_io()?;
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok((size, hex(&hash.finalize())));
        }
        size += read as u64;
        hash.update(&chunk[..read]);
    }
}

/// Does the same to every item, on a few threads. The answers are in order; the
/// first error ends it all.
pub(super) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    halt: &Halt,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let worker = || {
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            match halt.check().and_then(|()| work(item)) {
                Ok(answer) => done.push((index, answer)),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(done)
    };
    let mut all = std::thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS).map(|_| scope.spawn(worker)).collect();
        let mut all = worker();
        for other in others {
            let theirs = match other.join() {
                Ok(theirs) => theirs,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            all = match (all, theirs) {
                (Ok(mut all), Ok(theirs)) => {
                    all.extend(theirs);
                    Ok(all)
                }
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        all
    })?;
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, answer)| answer).collect())
}
