//! Removing runs, and what nothing refers to any more.
//!
//! A run goes under its lock, so no owner can lose its ground. Rows go first,
//! files after: a crash in between leaves files that the next `gc` removes,
//! never a row without its files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rusqlite::{Connection, params};

use crate::clock::UnixMs;
use crate::ids::{RunId, Seq};
use crate::store::lock::{self, RunLock};
use crate::store::paths::io_error;
use crate::store::{Collected, Error, GcRules, Result, record};

use super::Sqlite;
use super::fault::Fault;
use super::write::event_id;

/// How many pages are given back to the disk in one transaction.
const PAGES_AT_ONCE: u32 = 512;

impl Sqlite {
    /// Locks the ended runs that go by `rules`. Live ones are passed over.
    pub(super) fn lock_doomed(
        &self,
        ended: Vec<(RunId, UnixMs)>,
        rules: &GcRules,
    ) -> Result<Vec<(RunId, RunLock)>> {
        let mut doomed = Vec::new();
        for (newer, (run, ended)) in ended.into_iter().enumerate() {
            if !record::is_doomed(rules, newer, ended) {
                continue;
            }
            self.paths.make_run(&run)?;
            match lock::acquire(&self.paths.lock(&run), &run, None) {
                Ok(hold) => doomed.push((run, hold)),
                Err(Error::Held { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(doomed)
    }

    /// Removes locked runs, old keys, and the messages no run needs.
    pub(super) fn collect(
        &self,
        doomed: Vec<(RunId, RunLock)>,
        keys_before: Option<UnixMs>,
    ) -> Result<Collected> {
        let runs: Vec<RunId> = doomed.iter().map(|(run, _)| run.clone()).collect();
        let removed = self.writer.submit(move |conn| {
            for run in &runs {
                remove_run(conn, run)?;
            }
            Ok(Collected {
                keys: keys_before.map_or(Ok(0), |before| remove_keys(conn, before))?,
                messages: remove_messages(conn)?,
                runs,
                files: 0,
            })
        });
        let mut collected = removed.wait()?;
        for (run, hold) in doomed {
            collected.files += remove_folder(&self.paths.run(&run))?;
            drop(hold);
        }
        self.shrink()?;
        Ok(collected)
    }

    /// Removes the folders of runs that never came to be, and the results that
    /// no key names.
    pub(super) fn remove_strays(&self) -> Result<u64> {
        let mut files = 0;
        for run in names(&self.paths.runs())? {
            let Ok(run) = run.parse::<RunId>() else {
                continue;
            };
            if self.read(|conn| super::read::number(conn, &run))?.is_some() {
                continue;
            }
            // Whoever creates the run at this moment holds its lock. Once we
            // hold it, the row shows whether one did.
            let Ok(_hold) = lock::acquire(&self.paths.lock(&run), &run, None) else {
                continue;
            };
            if self.read(|conn| super::read::number(conn, &run))?.is_none() {
                files += remove_folder(&self.paths.run(&run))?;
            }
        }
        for name in names(&self.paths.results())? {
            if self.is_stray_result(&name)? {
                let path = self.paths.results().join(&name);
                fs::remove_file(&path).map_err(|cause| io_error("remove", &path, cause))?;
                files += 1;
            }
        }
        Ok(files)
    }

    /// A result is a stray when no key names it and its run, which may be about
    /// to name it, is not alive.
    fn is_stray_result(&self, name: &str) -> Result<bool> {
        let Some((run, _)) = name.rsplit_once('-') else {
            return Ok(false);
        };
        let Ok(run) = run.parse::<RunId>() else {
            return Ok(false);
        };
        if lock::holder(&self.paths.lock(&run))?.is_some() {
            return Ok(false);
        }
        let place = Path::new("results").join(name);
        self.read(|conn| {
            let named = conn
                .prepare_cached("SELECT 1 FROM keys WHERE file = ?1")?
                .exists([place.to_string_lossy()])?;
            Ok(!named)
        })
    }

    /// Gives free pages back to the disk, a few at a time so that other
    /// processes get their turn.
    fn shrink(&self) -> Result<()> {
        loop {
            let left = self.writer.submit(|conn| {
                conn.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})"))?;
                let left: u32 =
                    conn.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
                Ok(left)
            });
            if left.wait()? == 0 {
                return Ok(());
            }
        }
    }
}

fn remove_run(conn: &Connection, run: &RunId) -> std::result::Result<(), Fault> {
    let Some(number) = super::read::number(conn, run)? else {
        return Ok(());
    };
    // Opens the trigger that keeps events.
    conn.execute("UPDATE runs SET removing = 1 WHERE number = ?1", [number])?;
    let events = [event_id(number, Seq(0)), event_id(number + 1, Seq(0))];
    conn.execute(
        "DELETE FROM replies WHERE event >= ?1 AND event < ?2",
        events,
    )?;
    conn.execute("DELETE FROM events WHERE id >= ?1 AND id < ?2", events)?;
    conn.execute("DELETE FROM runs WHERE number = ?1", [number])?;
    Ok(())
}

fn remove_keys(conn: &Connection, before: UnixMs) -> rusqlite::Result<u64> {
    let removed = conn.execute(
        "DELETE FROM keys WHERE verdict IS NOT NULL AND at < ?1",
        params![before.0],
    )?;
    Ok(removed as u64)
}

/// Removes the messages that no event's tip leads back to.
fn remove_messages(conn: &Connection) -> rusqlite::Result<u64> {
    let removed = conn.execute(
        "DELETE FROM messages WHERE id NOT IN (
             WITH RECURSIVE needed (id) AS (
                 SELECT head FROM events WHERE head IS NOT NULL
                 UNION
                 SELECT parent FROM messages JOIN needed USING (id) WHERE parent IS NOT NULL
             )
             SELECT id FROM needed)",
        [],
    )?;
    Ok(removed as u64)
}

/// Removes a folder with all in it; returns how many files and folders went.
fn remove_folder(path: &Path) -> Result<u64> {
    let count = count(path);
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(count),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(cause) => Err(io_error("remove", path, cause)),
    }
}

/// Counts what lies in and below a folder, itself included. For the report
/// only: what cannot be read counts as nothing.
fn count(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else {
        return 1;
    };
    let below = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => count(&entry.path()),
        _ => 1,
    });
    1 + below.sum::<u64>()
}

/// Returns the names in a folder, sorted; none for a folder that is not there.
fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(cause) => return Err(io_error("read", folder, cause)),
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.into_string().ok()).collect())
}
