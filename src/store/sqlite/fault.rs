//! What SQLite's errors mean to a reader.

use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::store::Error;
use crate::store::error::Cause;

/// Space below which a failed write is put down to a full disk.
const FULL_BELOW_BYTES: u64 = 256 * 1024;

/// Why a transaction's work stopped.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite could not.
    Sqlite(rusqlite::Error),
    /// We would not.
    Refused(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Fault {
    /// Says what happened to the database at `path`.
    pub(super) fn at(self, path: &Path, waited_ms: u64) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Sqlite(error) => explain(error, path, waited_ms),
        }
    }
}

/// Turns SQLite's code into the situation.
pub(super) fn explain(error: rusqlite::Error, path: &Path, waited_ms: u64) -> Error {
    let code = error.sqlite_error_code();
    let text = error.to_string();
    let path = path.to_owned();
    let source: Cause = Arc::new(error);
    match code {
        Some(ErrorCode::DiskFull) => Error::Full { path, source },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::Busy { path, waited_ms }
        }
        Some(ErrorCode::DatabaseCorrupt) => Error::Corrupt { path, source },
        Some(ErrorCode::NotADatabase) => Error::NotAJournal { path, found: text },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Error::ReadOnly { path, source },
        // SQLite does not pass the kernel's errno on. The shared-memory file of
        // the WAL fails to grow with an I/O error on a full disk.
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if is_full(&path) => {
            Error::Full { path, source }
        }
        _ => Error::Io {
            doing: "use",
            path,
            source,
        },
    }
}

fn is_full(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(path);
    rustix::fs::statvfs(folder)
        .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < FULL_BELOW_BYTES)
}
