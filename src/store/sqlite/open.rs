//! Finding, checking and preparing the file.
//!
//! A file that is not ours, or from a newer agentguard, is told by its first
//! hundred bytes, before SQLite may touch it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use crate::store::paths::{io_error, open_private};
use crate::store::{Error, Paths, Result};

use super::Options;
use super::fault::{Fault, explain};
use super::migrations::{APPLICATION_ID, KNOWN, migrate, version};

/// A setting: name, value, reason.
pub type Pragma = (&'static str, &'static str, &'static str);

/// How a file is made. Set on a new file only: they are fixed from then on,
/// and setting `auto_vacuum` again would write to the file on each start.
pub const FILE_PRAGMAS: [Pragma; 2] = [
    (
        "page_size",
        "16384",
        "two messages of 2 KB per turn fill its pages to nine tenths; 4096 wastes half",
    ),
    (
        "auto_vacuum",
        "incremental",
        "`gc` gives the space back without rewriting the file",
    ),
];

/// How the writer's connection is set up, each time.
pub const PRAGMAS: [Pragma; 8] = [
    (
        "journal_mode",
        "wal",
        "one fsync per commit, and readers do not stop the writer",
    ),
    (
        "synchronous",
        "full",
        "a commit is on the disk before anyone is told; NORMAL may lose the last ones",
    ),
    (
        "fullfsync",
        "on",
        "on macOS fsync alone leaves the data in the drive; elsewhere without effect",
    ),
    ("foreign_keys", "on", "SQLite leaves them off unless told"),
    (
        "cache_size",
        "-1024",
        "KiB; what is read is read once, and a supervisor should be small",
    ),
    (
        "temp_store",
        "memory",
        "savepoints of a group commit stay off the disk",
    ),
    (
        "wal_autocheckpoint",
        "2048",
        "a net only: the writer checkpoints by itself when nobody waits",
    ),
    (
        "journal_size_limit",
        "2097152",
        "the WAL shrinks back after a burst",
    ),
];

/// The first bytes of any SQLite database.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The length of its header, and the places of two numbers in it (big-endian).
/// Source: sqlite.org/fileformat.html, 1.3 The Database Header.
const HEADER_BYTES: usize = 100;
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;
/// Between two tries to open.
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// Opens the connection of the writer; makes and migrates the database.
pub(super) fn writable(paths: &Paths, options: Options) -> Result<Connection> {
    paths.make_state()?;
    // Two that make or migrate the same file at once would see it half done.
    let _alone = lock_opening(&paths.opening(), options.wait_ms)?;
    let path = paths.database();
    if check_header(&path)? == Header::None {
        make(paths, &path, options)?;
    }
    prepare(&path, options).map_err(|fault| fault.at(&path, options.wait_ms))
}

/// Makes the database beside its place and moves it there when it is whole: a
/// kill in here leaves no half-made journal, only a file that is made again.
fn make(paths: &Paths, path: &Path, options: Options) -> Result<()> {
    let fresh = paths.state().join("journal.new");
    let written = |doing, cause| io_error(doing, &fresh, cause);
    for leftover in [fresh.clone(), paths.state().join("journal.new-journal")] {
        match std::fs::remove_file(&leftover) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => {
                return Err(io_error("remove", &leftover, cause));
            }
            _ => {}
        }
    }
    // SQLite would make the file readable for all; -wal and -shm take its mode.
    open_private(&fresh).map_err(|cause| written("open", cause))?;
    let fill = || -> rusqlite::Result<()> {
        let conn = connect(&fresh, options)?;
        set(&conn, &FILE_PRAGMAS)?;
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        conn.execute_batch("BEGIN IMMEDIATE")?;
        migrate(&conn, 0)?;
        conn.execute_batch("COMMIT")?;
        conn.close().map_err(|(_, error)| error)
    };
    fill().map_err(|error| explain(error, &fresh, options.wait_ms))?;
    std::fs::rename(&fresh, path).map_err(|cause| written("move", cause))?;
    // The name is durable with its folder.
    File::open(paths.state())
        .and_then(|folder| folder.sync_all())
        .map_err(|cause| io_error("sync", paths.state(), cause))
}

/// Opens a connection that only reads.
pub(super) fn readable(paths: &Paths, options: Options) -> Result<Connection> {
    let path = paths.database();
    let open = || {
        let conn = connect(&path, options)?;
        conn.pragma_update(None, "query_only", "on")?;
        Ok(conn)
    };
    open().map_err(|error| explain(error, &path, options.wait_ms))
}

fn connect(path: &Path, options: Options) -> rusqlite::Result<Connection> {
    // Without URI: a path with a question mark is a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_millis(options.wait_ms))?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

fn prepare(path: &Path, options: Options) -> std::result::Result<Connection, Fault> {
    let conn = connect(path, options)?;
    // The header did not tell what lies in the WAL.
    check_version(path, version(&conn)?)?;
    set(&conn, &PRAGMAS)?;
    if text_of(&conn, "journal_mode")? != "wal" {
        return Err(Fault::Refused(no_wal(path)));
    }
    let found = version(&conn)?;
    if found < KNOWN {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        // Where this fails, the connection goes, and its transaction with it.
        migrate(&conn, found)?;
        conn.execute_batch("COMMIT")?;
    }
    Ok(conn)
}

fn set(conn: &Connection, pragmas: &[Pragma]) -> rusqlite::Result<()> {
    pragmas
        .iter()
        .try_for_each(|(name, value, _)| conn.pragma_update(None, name, value))
}

fn text_of(conn: &Connection, pragma: &str) -> rusqlite::Result<String> {
    conn.pragma_query_value(None, pragma, |row| match row.get_ref(0)? {
        rusqlite::types::ValueRef::Integer(number) => Ok(number.to_string()),
        text => Ok(text.as_str()?.to_owned()),
    })
}

fn no_wal(path: &Path) -> Error {
    Error::Io {
        doing: "keep a write-ahead log for",
        path: path.to_owned(),
        source: Arc::new(std::io::Error::other(
            "the file system has no shared memory; is it a network one?",
        )),
    }
}

/// What the first bytes of the file tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    /// There is no file, or nothing in it.
    None,
    /// It is ours.
    Ours,
}

/// Refuses, by the header, a file that is neither new nor ours.
fn check_header(path: &Path) -> Result<Header> {
    let mut header = Vec::new();
    match File::open(path) {
        Ok(file) => file
            .take(HEADER_BYTES as u64)
            .read_to_end(&mut header)
            .map_err(|cause| io_error("read", path, cause))?,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Header::None),
        Err(cause) => return Err(io_error("open", path, cause)),
    };
    if header.iter().all(|byte| *byte == 0) {
        return Ok(Header::None);
    }
    let not_ours = |found: &str| Error::NotAJournal {
        path: path.to_owned(),
        found: found.to_owned(),
    };
    if header.len() < HEADER_BYTES || !header.starts_with(MAGIC) {
        return Err(not_ours("it is no SQLite database"));
    }
    let number = |at: usize| {
        let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        u32::from_be_bytes(bytes)
    };
    match number(APPLICATION_ID_AT).cast_signed() {
        APPLICATION_ID => check_version(path, number(USER_VERSION_AT)).map(|()| Header::Ours),
        _ => Err(not_ours("it is the SQLite database of another program")),
    }
}

fn check_version(path: &Path, found: u32) -> Result<()> {
    if found <= KNOWN {
        return Ok(());
    }
    Err(Error::SchemaTooNew {
        path: path.to_owned(),
        found,
        known: KNOWN,
    })
}

/// Waits until no other process makes or migrates the file.
fn lock_opening(path: &Path, wait_ms: u64) -> Result<File> {
    let file = open_private(path).map_err(|cause| io_error("open", path, cause))?;
    let deadline = Instant::now() + Duration::from_millis(wait_ms);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(BETWEEN_TRIES);
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::Busy {
                    path: path.to_owned(),
                    waited_ms: wait_ms,
                });
            }
            Err(std::fs::TryLockError::Error(cause)) => {
                return Err(io_error("lock", path, cause));
            }
        }
    }
}
