//! Where a crash would show.

/// A moment between two events, in which files are half made or half changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The place of the stage is written down, git knows of its worktree, and no file
    /// is in it.
    Made,
    /// Every file is in the stage; nothing says that it is whole.
    Filled,
    /// Half of the files of a commit are in place.
    Half,
    /// The change is in place, or the folders are exchanged; nobody knows yet.
    InPlace,
}
