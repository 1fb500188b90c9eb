//! Two folders change places in one system call: there is no moment in which
//! neither, or half of one, is at its place.
//!
//! Linux: `renameat2(RENAME_EXCHANGE)`; macOS: `renameatx_np(RENAME_SWAP)`. What
//! has the old folder open, or is in it, stays in the old one.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::error::{Named, Result};

/// Lets `one` and `other` change places.
pub(super) fn swap(one: &Path, other: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// Moves `from` to `to`, where nothing may stand.
pub(super) fn place(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS)
            if !to.is_symlink() && !to.exists() =>
        {
            fs::rename(from, to)
        }
        moved => Ok(moved?),
    }
}

/// Tries it on two empty folders inside of `folder`. Returns why it does not work,
/// if it does not.
pub(super) fn probe(folder: &Path) -> Result<Option<String>> {
    let [one, other] =
        ["one", "other"].map(|name| folder.join(format!(".agentguard-probe-{name}")));
    let before = fs::metadata(folder).named("read", folder)?;
    for path in [&one, &other] {
        fs::create_dir(path).named("make", path)?;
    }
    let swapped = swap(&one, &other);
    for path in [&one, &other] {
        fs::remove_dir(path).named("remove", path)?;
    }
    // As if nobody had been here.
    if let Ok(time) = before.modified() {
        let _ = fs::File::open(folder).and_then(|it| it.set_modified(time));
    }
    Ok(swapped
        .err()
        .map(|cause| format!("the file system cannot exchange folders ({cause})")))
}

/// Returns whether copies on this file system take no room (btrfs, XFS, bcachefs).
pub(super) fn shares_blocks(folder: &Path) -> bool {
    // linux/magic.h
    const KINDS: [i64; 3] = [0x9123_683e, 0x5846_5342, 0xca45_1a4e];
    #[cfg(target_os = "linux")]
    let kind = rustix::fs::statfs(folder).ok().map(|found| found.f_type);
    #[cfg(not(target_os = "linux"))]
    let kind = folder.exists().then_some(0_i64);
    kind.is_some_and(|kind| KINDS.contains(&kind))
}

/// Puts everything that was written to a file system on its disk.
pub(super) fn sync(folder: &Path) -> Result<()> {
    let open = fs::File::open(folder).named("open", folder)?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&open).named("sync", folder)?;
    #[cfg(not(target_os = "linux"))]
    {
        rustix::fs::sync();
        open.sync_all().named("sync", folder)?;
    }
    Ok(())
}
