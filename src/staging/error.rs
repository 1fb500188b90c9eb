//! Why a folder could not be staged or committed.

use std::io;
use std::path::{Path, PathBuf};

/// The result of what touches files.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a folder could not be staged or committed. The target is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No room.
    #[error("the disk is full: cannot {doing} {path}", path = .path.display())]
    Full {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There will not be room.
    #[error(
        "not enough room to stage {target}: it has {needed} bytes, and {free} are free there",
        target = .target.display()
    )]
    NoRoom {
        /// The folder.
        target: PathBuf,
        /// Its bytes.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Only folders are staged.
    #[error("workspace.stage: {path} is not a folder", path = .0.display())]
    NotFolder(PathBuf),
    /// The root of the file system, or a folder with the stage in it.
    #[error("workspace.stage: {path} cannot be staged: {why}", path = .path.display())]
    Unfit {
        /// The folder.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A copy cannot stand for another file system.
    #[error(
        "{path} is a mount point inside the staged folder; name it in `workspace.exclude`",
        path = .0.display()
    )]
    MountInside(PathBuf),
    /// Too much.
    #[error("{path} holds more than {max} files; leave some out by `workspace.exclude`", path = .path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// How many it may hold.
        max: usize,
    },
    /// A file of ours does not say what it should.
    #[error("{path} cannot be read: {why}", path = .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The user asked for an exchange and none can be had.
    #[error("workspace.commit: exchange is not possible: {0}")]
    NoExchange(String),
    /// The task asks for a worktree.
    #[error("workspace.git: the program `git` is not found")]
    NoGit,
    /// Git refused.
    #[error("git refuses in {path}: {why}", path = .path.display())]
    Git {
        /// Where it was run.
        path: PathBuf,
        /// What it said.
        why: String,
    },
    /// The stage is gone.
    #[error("the stage {path} is gone", path = .0.display())]
    Gone(PathBuf),
    /// Somebody wants the work to stop.
    #[error("interrupted")]
    Halted,
}

impl Error {
    /// Whether the modes of a file or folder keep us out.
    pub(super) fn is_denied(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// Names what the kernel said about a path.
    pub fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_owned(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full {
                doing,
                path,
                source,
            },
            _ => Self::Io {
                doing,
                path,
                source,
            },
        }
    }
}

/// Adds to what the kernel said what was tried on which path.
pub(super) trait Named<T> {
    /// Adds it.
    fn named(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> Named<T> for std::result::Result<T, E> {
    fn named(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::io(doing, path, source))
    }
}
