//! Where things are on disk.
//!
//! ```text
//! <state>/                     0700
//!   journal.db (-wal, -shm)    0600, the journal of all runs
//!   answer.key                 0600, signs the tokens of notifications
//!   results/r-7f3ak2m9-12      0600, results too large for the journal
//!   locks/                     0700, locks on paths that runs share
//!   runs/r-7f3ak2m9/           0700, the files of one run
//!     lock                     0600, held while a supervisor owns the run
//!     stage/                   0700, what is known of its staged folder
//! ```
//!
//! `<state>` is `AGENTGUARD_STATE`, else `agentguard` in `XDG_STATE_HOME`, else
//! `~/.local/state/agentguard`. It must be on a local disk: SQLite's WAL and the
//! run lock both need what network file systems do not promise.
//!
//! Folders and files are created for their user alone. The modes of those that
//! exist are left as they are.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ids::{CallId, RunId};

use super::key::{INLINE_BYTES_MAX, KeyResult};
use super::{Error, Result};

/// The mode of a folder: its user alone.
const PRIVATE_FOLDER: u32 = 0o700;
/// The mode of a file: its user alone.
const PRIVATE_FILE: u32 = 0o600;

/// The state folder and the places in it. Making one touches no disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    state: PathBuf,
}

/// Neither `AGENTGUARD_STATE` nor a home folder is set.
#[derive(Debug, thiserror::Error)]
#[error("there is no home folder; set AGENTGUARD_STATE to the folder for the journal")]
pub struct NoHome;

impl Paths {
    /// Takes `state` as the state folder.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
        }
    }

    /// Finds the state folder by the environment, which `variable` reads.
    pub fn resolve(
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> std::result::Result<Self, NoHome> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        if let Some(state) = set("AGENTGUARD_STATE") {
            return Ok(Self::new(state));
        }
        // The XDG specification has relative paths ignored.
        let xdg = set("XDG_STATE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let base = match xdg {
            Some(base) => base,
            None => PathBuf::from(set("HOME").ok_or(NoHome)?).join(".local/state"),
        };
        Ok(Self::new(base.join("agentguard")))
    }

    /// Returns the state folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Returns the journal.
    pub fn database(&self) -> PathBuf {
        self.state.join("journal.db")
    }

    /// Returns the file whose lock serialises the opening of the journal.
    pub(super) fn opening(&self) -> PathBuf {
        self.state.join("journal.opening")
    }

    /// Returns the folder of all runs' folders.
    pub fn runs(&self) -> PathBuf {
        self.state.join("runs")
    }

    /// Returns the folder of one run.
    pub fn run(&self, run: &RunId) -> PathBuf {
        self.runs().join(run.as_str())
    }

    /// Returns the file whose lock is the ownership of a run.
    pub fn lock(&self, run: &RunId) -> PathBuf {
        self.run(run).join("lock")
    }

    /// Returns the folder of results that are too large for the journal.
    pub fn results(&self) -> PathBuf {
        self.state.join("results")
    }

    /// Returns the folder of locks on paths that runs share.
    pub fn locks(&self) -> PathBuf {
        self.state.join("locks")
    }

    /// Makes the state folder, if it is not there.
    pub fn make_state(&self) -> Result<()> {
        make_private_folder(&self.state)
    }

    /// Makes the folder of a run, if it is not there.
    pub fn make_run(&self, run: &RunId) -> Result<()> {
        make_private_folder(&self.run(run))
    }

    /// Keeps the result of a call: in the row if it fits there, else in a file
    /// that is durable when this returns.
    pub fn keep_result(&self, run: &RunId, call: CallId, text: String) -> Result<KeyResult> {
        if text.len() <= INLINE_BYTES_MAX {
            return Ok(KeyResult::Inline(text));
        }
        let folder = self.results();
        make_private_folder(&folder)?;
        let name = format!("{run}-{call}");
        write_durably(&folder, &name, text.as_bytes())?;
        Ok(KeyResult::File(Path::new("results").join(name)))
    }

    /// Returns the secret of that name, 32 bytes in a file of the state folder that
    /// only its user can read. `fresh` becomes it where there is none; of two
    /// processes that come at once both get the same.
    pub fn keep_secret(&self, name: &str, fresh: [u8; 32]) -> Result<Vec<u8>> {
        let path = self.state.join(name);
        let failed = |cause| io_error("read", &path, cause);
        if let Some(secret) = read_secret(&path).map_err(failed)? {
            return Ok(secret);
        }
        self.make_state()?;
        // Whole before it has its name, which is given once.
        let own = format!("{name}.{}", std::process::id());
        write_durably(&self.state, &own, &fresh)?;
        let unfinished = self.state.join(own);
        let linked = std::fs::hard_link(&unfinished, &path);
        let _ = std::fs::remove_file(&unfinished);
        match linked {
            Ok(()) => sync_folder(&self.state).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_error("create", &path, error)),
        }
        let gone = || failed(io::ErrorKind::NotFound.into());
        read_secret(&path).map_err(failed)?.ok_or_else(gone)
    }

    /// Returns a result that [`keep_result`](Self::keep_result) kept.
    pub fn read_result(&self, result: &KeyResult) -> Result<String> {
        match result {
            KeyResult::Inline(text) => Ok(text.clone()),
            KeyResult::File(relative) => {
                let path = self.state.join(relative);
                let mut text = String::new();
                File::open(&path)
                    .and_then(|mut file| file.read_to_string(&mut text))
                    .map_err(|cause| io_error("read", &path, cause))?;
                Ok(text)
            }
        }
    }
}

fn read_secret(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.len() == 32 => Ok(Some(bytes)),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no secret of 32 bytes",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a file for reading and writing, creating it for its user alone.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE)
        .open(path)
}

/// Makes a folder and those above it for their user alone, durably.
pub(super) fn make_private_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_FOLDER)
        .create(path)
        .and_then(|()| match path.parent() {
            // An empty parent is the working folder, which needs no entry.
            Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
            _ => Ok(()),
        })
        .map_err(|cause| io_error("create", path, cause))
}

/// Writes a whole file beside its place, then moves it there.
fn write_durably(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    let unfinished = folder.join(format!("{name}.unfinished"));
    let write = || {
        let mut file = open_private(&unfinished)?;
        file.set_len(0)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        sync_folder(folder)
    };
    write().map_err(|cause| io_error("write", &path, cause))
}

/// Makes the entries of a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Names what the kernel said about a file or folder.
pub(super) fn io_error(doing: &'static str, path: &Path, cause: io::Error) -> Error {
    let path = path.to_owned();
    let kind = cause.kind();
    let source: super::error::Cause = Arc::new(cause);
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { path, source },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::ReadOnly { path, source }
        }
        _ => Error::Io {
            doing,
            path,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolve_table() {
        type Row = (
            &'static str,
            &'static [(&'static str, &'static str)],
            Option<&'static str>,
        );
        #[rustfmt::skip]
        let rows: [Row; 6] = [
            ("the variable wins", &[("AGENTGUARD_STATE", "/a"), ("HOME", "/h")], Some("/a")),
            ("then XDG", &[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], Some("/x/agentguard")),
            ("a relative XDG path is ignored", &[("XDG_STATE_HOME", "x"), ("HOME", "/h")],
             Some("/h/.local/state/agentguard")),
            ("an empty variable is none", &[("AGENTGUARD_STATE", ""), ("HOME", "/h")],
             Some("/h/.local/state/agentguard")),
            ("then home", &[("HOME", "/h")], Some("/h/.local/state/agentguard")),
            ("without a home there is no place", &[], None),
        ];
        for (name, environment, want) in rows {
            let variable = |asked: &str| {
                let found = environment.iter().find(|(name, _)| *name == asked);
                found.map(|(_, value)| OsString::from(value))
            };
            let got = Paths::resolve(variable).ok();
            assert_eq!(got, want.map(Paths::new), "row: {name}");
        }
    }
}
