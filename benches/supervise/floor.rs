//! The least that a journal could be.

use std::path::Path;

use agentguard::store::sqlite::{FILE_PRAGMAS, PRAGMAS};
use rusqlite::Connection;

/// Opens the floor's database: one table, the journal's pragmas, SQLite's own
/// rule for checkpoints.
pub fn bare_journal(path: &Path) -> Connection {
    let journal = Connection::open(path).unwrap();
    for (name, value, _) in FILE_PRAGMAS.into_iter().chain(PRAGMAS) {
        journal.pragma_update(None, name, value).unwrap();
    }
    journal
        .pragma_update(None, "wal_autocheckpoint", 1000)
        .unwrap();
    journal
        .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT")
        .unwrap();
    journal
}
