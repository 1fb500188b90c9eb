//! Doubling a folder, file by file, and telling what was copied.
//!
//! Blocks are shared where the file system can (`FICLONE`); large files go through
//! `copy_file_range`, small ones through memory. Never by hard link: an agent that
//! writes in place would write into the target.
//!
//! Kept: modes, times, links as links, owners where allowed, extended attributes
//! (`user.*` and access lists). Not kept: that two names are one file.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps, fchmod, futimens, utimensat};

use super::error::{Error, Named, Result};
use super::scan::{self, CHUNK_BYTES, Halt, Walk, in_parallel, is_settled, stamp};
use super::tree::{Entry, Kind, Manifest, Node, at, hex};

/// What a copy could not keep, for the whole of a folder.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Owners: the files belong to whoever copies.
    pub owner: AtomicBool,
}

/// Means that are tried once and then left if they do not work.
#[derive(Debug)]
struct Means {
    reflink: AtomicBool,
    range: AtomicBool,
    halt: Halt,
}

impl Means {
    fn new(halt: Halt) -> Self {
        Self {
            reflink: AtomicBool::new(cfg!(target_os = "linux")),
            range: AtomicBool::new(cfg!(target_os = "linux")),
            halt,
        }
    }
}

/// Copies what `walk` found at `from` to the folder `to`, which is made. Returns
/// what both are.
pub(super) fn tree(
    from: &Path,
    walk: &Walk,
    to: &Path,
    lost: &Lost,
    halt: &Halt,
) -> Result<Manifest> {
    let means = Means::new(halt.clone());
    let now = scan::now_ns();
    let (folders, files): (Vec<_>, Vec<_>) = walk.entries.iter().partition(|(_, it)| it.is_dir());
    for (path, _) in &folders {
        let place = at(to, path);
        // Of a worktree git has made the top.
        if path.as_os_str().is_empty() && place.is_dir() {
            continue;
        }
        DirBuilder::new()
            .mode(0o700)
            .create(&place)
            .named("make", &place)?;
    }
    let copied = in_parallel(&files, halt, |(path, metadata)| {
        let (source, target) = (at(from, path), at(to, path));
        let copied = if metadata.is_symlink() {
            copy_link(&source, &target, metadata, lost)
        } else {
            copy_file(&source, &target, &means, lost)
        };
        match copied {
            Ok(entry) => Ok(Some((path.clone(), entry))),
            // Gone since it was listed.
            Err(Error::Io {
                source: cause,
                path: which,
                ..
            }) if cause.kind() == io::ErrorKind::NotFound && which == source => Ok(None),
            Err(error) => Err(error),
        }
    })?;
    let mut all: std::collections::BTreeMap<PathBuf, Entry> =
        copied.into_iter().flatten().collect();
    // Innermost first: a folder's time is that of the last change in it.
    for (path, metadata) in folders.iter().rev() {
        let (source, target) = (at(from, path), at(to, path));
        finish(
            &File::open(&target).named("open", &target)?,
            &source,
            &target,
            metadata,
            lost,
        )?;
        let seen = fs::symlink_metadata(&target).named("read", &target)?;
        let node = Node {
            kind: Kind::Folder,
            mode: scan::mode(metadata),
        };
        let entry = Entry {
            node,
            target: Some(stamp(metadata)),
            stage: Some(stamp(&seen)),
        };
        all.insert(path.clone(), entry);
    }
    for entry in all.values_mut() {
        entry.target = entry.target.filter(|stamp| is_settled(stamp, now));
    }
    Ok(Manifest(all))
}

/// Copies one file or link, or makes one folder, where nothing stands yet.
pub(super) fn one(from: &Path, to: &Path) -> Result<Entry> {
    let means = Means::new(Halt::default());
    let lost = Lost::default();
    let metadata = fs::symlink_metadata(from).named("read", from)?;
    if metadata.is_symlink() {
        return copy_link(from, to, &metadata, &lost);
    }
    if metadata.is_file() {
        return copy_file(from, to, &means, &lost);
    }
    DirBuilder::new().mode(0o700).create(to).named("make", to)?;
    finish(
        &File::open(to).named("open", to)?,
        from,
        to,
        &metadata,
        &lost,
    )?;
    let node = Node {
        kind: Kind::Folder,
        mode: scan::mode(&metadata),
    };
    Ok(Entry {
        node,
        target: None,
        stage: None,
    })
}

fn copy_link(from: &Path, to: &Path, metadata: &Metadata, lost: &Lost) -> Result<Entry> {
    let leads = fs::read_link(from).named("read", from)?;
    symlink(&leads, to).named("make", to)?;
    keep_owner(to, metadata, lost)?;
    let times = times(metadata);
    utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW).named("set the time of", to)?;
    let seen = fs::symlink_metadata(to).named("read", to)?;
    Ok(Entry {
        node: Node {
            kind: Kind::Link { to: leads },
            mode: 0,
        },
        target: Some(stamp(metadata)),
        stage: Some(stamp(&seen)),
    })
}

fn copy_file(from: &Path, to: &Path, means: &Means, lost: &Lost) -> Result<Entry> {
    let mut source = scan::open(from).named("open", from)?;
    // Before it is read: a change while it is read shows in a later stamp.
    let metadata = source.metadata().named("read", from)?;
    let mut target = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .named("make", to)?;
    let (size, sha256) =
        copy_bytes(&mut source, &mut target, metadata.len(), means).named("copy", to)?;
    finish(&target, from, to, &metadata, lost)?;
    let seen = target.metadata().named("read", to)?;
    Ok(Entry {
        node: Node {
            kind: Kind::File { size, sha256 },
            mode: scan::mode(&metadata),
        },
        target: Some(stamp(&metadata)),
        stage: Some(stamp(&seen)),
    })
}

/// Copies a file's bytes and returns their number and hash, both of the copy.
fn copy_bytes(
    source: &mut File,
    target: &mut File,
    size: u64,
    means: &Means,
) -> io::Result<(u64, String)> {
    if size <= CHUNK_BYTES as u64 {
        return through_memory(source, target, means);
    }
    if clone(source, target, means)? || by_range(source, target, means)? {
        io::Seek::rewind(target)?;
        return scan::hash_rest(target, &means.halt);
    }
    through_memory(source, target, means)
}

fn through_memory(
    source: &mut File,
    target: &mut File,
    means: &Means,
) -> io::Result<(u64, String)> {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    let mut size = 0;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        means.halt.check_io()?;
        let read = source.read(&mut chunk)?;
        if read == 0 {
            return Ok((size, hex(&hash.finalize())));
        }
        size += read as u64;
        hash.update(&chunk[..read]);
        target.write_all(&chunk[..read])?;
    }
}

/// Shares the blocks of `source`; says whether that was possible.
#[cfg(target_os = "linux")]
fn clone(source: &File, target: &File, means: &Means) -> io::Result<bool> {
    if !means.reflink.load(Ordering::Relaxed) {
        return Ok(false);
    }
    match rustix::fs::ioctl_ficlone(target, source) {
        Ok(()) => Ok(true),
        // As they fail where it is not known, or not for this file.
        Err(_) => {
            means.reflink.store(false, Ordering::Relaxed);
            Ok(false)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn clone(_: &File, _: &File, _: &Means) -> io::Result<bool> {
    Ok(false)
}

/// Lets the kernel copy; says whether it did.
#[cfg(target_os = "linux")]
fn by_range(source: &File, target: &File, means: &Means) -> io::Result<bool> {
    use rustix::io::Errno;
    const AT_ONCE: usize = 64 * 1024 * 1024;
    if !means.range.load(Ordering::Relaxed) {
        return Ok(false);
    }
    let mut copied = 0_u64;
    loop {
        means.halt.check_io()?;
        match rustix::fs::copy_file_range(source, None, target, None, AT_ONCE) {
            // Some file systems say so of every file.
            Ok(0) => return Ok(copied > 0),
            Ok(more) => copied += more as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)
                if copied == 0 =>
            {
                means.range.store(false, Ordering::Relaxed);
                return Ok(false);
            }
            Err(cause) => return Err(cause.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn by_range(_: &File, _: &File, _: &Means) -> io::Result<bool> {
    Ok(false)
}

/// Gives a copy what is not its content. Last the time: everything else moves it.
fn finish(copy: &File, from: &Path, to: &Path, metadata: &Metadata, lost: &Lost) -> Result<()> {
    keep_owner(to, metadata, lost)?;
    keep_attributes(from, to);
    fchmod(copy, Mode::from_raw_mode(scan::mode(metadata))).named("set the mode of", to)?;
    futimens(copy, &times(metadata)).named("set the time of", to)
}

fn keep_owner(to: &Path, metadata: &Metadata, lost: &Lost) -> Result<()> {
    let seen = fs::symlink_metadata(to).named("read", to)?;
    let (uid, gid) = (metadata.uid(), metadata.gid());
    if (seen.uid(), seen.gid()) == (uid, gid) {
        return Ok(());
    }
    match std::os::unix::fs::lchown(to, Some(uid), Some(gid)) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            lost.owner.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err(cause) => Err(Error::io("set the owner of", to, cause)),
    }
}

/// Copies extended attributes, as far as that works: they are hints and access
/// lists, and a file system without them is no reason to fail.
fn keep_attributes(from: &Path, to: &Path) {
    use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
    let mut names = [0_u8; 4096];
    let Ok(length) = llistxattr(from, &mut names) else {
        return;
    };
    let is_kept =
        |name: &&[u8]| name.starts_with(b"user.") || name.starts_with(b"system.posix_acl");
    for name in names[..length].split(|byte| *byte == 0).filter(is_kept) {
        let mut value = vec![0_u8; 64 * 1024];
        if let Ok(length) = lgetxattr(from, name, &mut value) {
            let _ = lsetxattr(to, name, &value[..length], XattrFlags::empty());
        }
    }
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    }
}
