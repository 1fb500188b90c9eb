//! The schema, as numbered steps. A step that was released is never edited.
//!
//! Each schema ever released has a database in `fixtures/schema/` that must
//! still open.

use rusqlite::Connection;

/// Marks a SQLite file as ours: `agrd`.
pub const APPLICATION_ID: i32 = 0x6167_7264;

/// The newest schema of this build.
pub const KNOWN: u32 = STEPS.len() as u32;

/// Step `n` makes schema `n + 1` out of schema `n`.
const STEPS: [&str; 2] = [JOURNAL, PATTERNS];

/// Schema 1: the journal.
///
/// An index stands here only with the query that needs it. Foreign keys stand
/// where the child rows are few; events and messages are checked by the writer,
/// which looks their parents up anyway.
const JOURNAL: &str = "
-- One row per run. AUTOINCREMENT: the number of a removed run never comes back,
-- or a forgotten owner of the old run could write to the new one.
CREATE TABLE runs (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,    -- own, find: by id or its beginning
    task       TEXT NOT NULL,
    started    INTEGER NOT NULL,        -- all times: ms since 1970, UTC
    input_hash TEXT NOT NULL,
    body       TEXT NOT NULL,           -- JSON, fixed for the run
    epoch      INTEGER NOT NULL,        -- the latest owner
    status     TEXT NOT NULL DEFAULT '',
    exit_code  INTEGER,
    ended      INTEGER,
    summary    TEXT NOT NULL DEFAULT '',-- JSON, the rest of a report
    removing   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The journal. The id is run number * 2^32 + seq: one tree, in which the events
-- of a run lie together and in order, and no second index to write.
CREATE TABLE events (
    id    INTEGER PRIMARY KEY,
    run   INTEGER AS (id >> 32) VIRTUAL,
    seq   INTEGER AS (id & 4294967295) VIRTUAL,
    epoch INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    head  INTEGER,                      -- messages.id of the tip, if it moved
    kind  TEXT NOT NULL,
    body  TEXT NOT NULL,                -- JSON
    notes TEXT                          -- JSON array of JSON texts
) STRICT;

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TRIGGER events_go_only_with_their_run BEFORE DELETE ON events
WHEN (SELECT removing FROM runs WHERE number = OLD.id >> 32) IS NOT 1
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

-- Each message once. A table with a rowid, so that new ones fill the last page.
CREATE TABLE messages (
    id     INTEGER PRIMARY KEY,
    place  INTEGER NOT NULL,            -- how many messages lead here, from 1
    hash   BLOB NOT NULL,               -- SHA-256(parent's hash, body)
    parent INTEGER,                     -- messages.id; NULL for a first message
    body   TEXT NOT NULL                -- JSON, byte for byte as it came
) STRICT;

-- append: is this message there already; conversation: where is its tip. By
-- place first, since hashes alone would scatter each turn over the whole index.
CREATE UNIQUE INDEX messages_by_place ON messages (place, hash);

CREATE TABLE keys (
    key       TEXT NOT NULL PRIMARY KEY,
    run       TEXT NOT NULL,            -- an id, not a number: keys outlive runs
    call      INTEGER NOT NULL,
    step      INTEGER NOT NULL,
    tool      TEXT NOT NULL,
    args_hash TEXT NOT NULL,
    at        INTEGER NOT NULL,
    verdict   TEXT,                     -- NULL while claimed
    result    TEXT,                     -- up to 64 KiB
    file      TEXT,                     -- else its place below the state folder
    CHECK ((verdict IS NULL) = (result IS NULL AND file IS NULL))
) STRICT;

-- claims: what a run left in doubt.
CREATE INDEX keys_in_doubt ON keys (run) WHERE verdict IS NULL;

CREATE TABLE breakers (
    name  TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,                -- JSON
    at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Retries that wait for their turn or are out. Few rows at any time.
CREATE TABLE retry_queue (
    ticket  INTEGER PRIMARY KEY AUTOINCREMENT,
    tool    TEXT NOT NULL,
    run     INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    epoch   INTEGER NOT NULL,           -- the owner that waits; another's is dead
    call    INTEGER NOT NULL,
    due     INTEGER NOT NULL,
    granted INTEGER NOT NULL DEFAULT 0
) STRICT;

-- When each run was last served, as a count over all turns of the tool.
CREATE TABLE retry_served (
    tool TEXT NOT NULL,
    run  INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    turn INTEGER NOT NULL,
    PRIMARY KEY (tool, run)
) STRICT, WITHOUT ROWID;
";

/// Schema 2: what models answered, for an attempt that asks the same again; lists over
/// all runs; what humans are asked and told.
const PATTERNS: &str = "
-- Byte for byte as the agent got it; apart from the events, which are read far
-- more often.
CREATE TABLE replies (
    event INTEGER PRIMARY KEY,          -- events.id
    body  BLOB NOT NULL
) STRICT;

-- A run that somebody took off the list of dead letters.
ALTER TABLE runs ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;

-- Where the items of batches stand. AUTOINCREMENT: people copy these numbers.
CREATE TABLE items (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    run      INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    batch    INTEGER NOT NULL,
    tool     TEXT NOT NULL,
    item     TEXT NOT NULL,
    call     INTEGER NOT NULL,
    status   TEXT NOT NULL,
    class    TEXT NOT NULL,
    rule     TEXT NOT NULL,
    why      TEXT NOT NULL,
    evidence TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    args     TEXT NOT NULL DEFAULT '',  -- JSON, cut, secrets hidden
    due      INTEGER,
    first    INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    dropped  INTEGER NOT NULL DEFAULT 0
) STRICT;

-- append: which row is this item's; show: the items of a run.
CREATE UNIQUE INDEX items_of_run ON items (run, tool, item);

-- Questions to humans. Decided by one conditional write: WHERE decided IS NULL.
CREATE TABLE escalations (
    id         TEXT NOT NULL PRIMARY KEY,
    run        INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    opened     INTEGER NOT NULL,
    deadline   INTEGER,
    body       TEXT NOT NULL,           -- JSON
    seen       INTEGER,
    seen_by    TEXT,
    decided    INTEGER,
    option     TEXT,
    decided_by TEXT,
    note       TEXT,
    source     TEXT,
    token      TEXT,                    -- which token decided, if one did
    CHECK ((decided IS NULL) = (option IS NULL))
) STRICT;

-- inbox: what waits. remove, and what a run asked: all of a run.
CREATE INDEX escalations_open ON escalations (opened) WHERE decided IS NULL;
CREATE INDEX escalations_by_run ON escalations (run);

-- Messages to humans that are not sent yet.
CREATE TABLE outbox (
    id     TEXT NOT NULL PRIMARY KEY,
    run    INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    posted INTEGER NOT NULL,
    due    INTEGER NOT NULL,            -- next try, or the end of a claim
    tries  INTEGER NOT NULL DEFAULT 0,
    error  TEXT,
    body   TEXT NOT NULL                -- JSON
) STRICT;

-- What a run has to send; and for its removal.
CREATE INDEX outbox_by_run ON outbox (run);
";

/// Returns the schema of a database; 0 for an empty one.
pub fn version(conn: &Connection) -> rusqlite::Result<u32> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings a database from schema `from` to [`KNOWN`]. Inside a transaction, so
/// that a crash leaves the old schema or the new one.
pub fn migrate(conn: &Connection, from: u32) -> rusqlite::Result<()> {
    for (step, sql) in STEPS.iter().enumerate().skip(from as usize) {
        conn.execute_batch(sql)?;
        conn.pragma_update(None, "user_version", step as u32 + 1)?;
    }
    Ok(())
}
