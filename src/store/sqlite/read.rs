//! Queries. Each function reads within one snapshot.

use std::path::PathBuf;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::clock::UnixMs;
use crate::ids::{BatchNo, CallId, Epoch, IdempotencyKey, RunId, Seq, StepNo};
use crate::store::conversation::Head;
use crate::store::key::{KeyResult, KeyRow, KeyState, KeyUse};
use crate::store::{
    BreakerRow, Error, Filter, ItemEdit, ItemFilter, ItemNo, NewRun, RunRecord, Stored, StoredItem,
    Summary, record,
};

use super::fault::Fault;
use super::write::event_id;

type Outcome<T> = std::result::Result<T, Fault>;

/// Returns a run's number.
pub(super) fn number(conn: &Connection, run: &RunId) -> Outcome<Option<i64>> {
    let number = conn
        .prepare_cached("SELECT number FROM runs WHERE id = ?1")?
        .query_row([run.as_str()], |row| row.get(0))
        .optional()?;
    Ok(number)
}

/// Returns a run's events from `from` on.
pub(super) fn events(conn: &Connection, run: &RunId, from: Seq) -> Outcome<Vec<Stored>> {
    let Some(number) = number(conn, run)? else {
        return Ok(Vec::new());
    };
    let from = event_id(number, from.min(Seq(u64::from(u32::MAX))));
    let end = event_id(number + 1, Seq(0));
    let mut statement = conn.prepare_cached(
        "SELECT seq, epoch, at, kind, body, notes FROM events WHERE id >= ?1 AND id < ?2 ORDER BY id",
    )?;
    let events = statement.query_map([from, end], |row| {
        Ok(Stored {
            seq: Seq(row.get(0)?),
            epoch: Epoch(row.get(1)?),
            at: UnixMs(row.get(2)?),
            kind: row.get(3)?,
            body: row.get(4)?,
            notes: notes(row)?,
        })
    })?;
    Ok(events.collect::<rusqlite::Result<_>>()?)
}

/// Returns the reply that was stored with an event.
pub(super) fn reply(conn: &Connection, run: &RunId, event: Seq) -> Outcome<Option<Vec<u8>>> {
    let Some(number) = number(conn, run)? else {
        return Ok(None);
    };
    let reply = conn
        .prepare_cached("SELECT body FROM replies WHERE event = ?1")?
        .query_row([event_id(number, event)], |row| row.get(0))
        .optional()?;
    Ok(reply)
}

fn notes(row: &Row<'_>) -> rusqlite::Result<Vec<String>> {
    const COLUMN: usize = 5;
    let Some(text) = row.get_ref(COLUMN)?.as_str_or_null()? else {
        return Ok(Vec::new());
    };
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(COLUMN, Type::Text, Box::new(error))
    })
}

/// Returns the row of a conversation's tip.
pub(super) fn message_id(conn: &Connection, head: &Head) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT id FROM messages WHERE place = ?1 AND hash = ?2")?
        .query_row(params![head.len, head.hash.0], |row| row.get(0))
        .optional()
}

/// Returns the messages that lead to `head`.
pub(super) fn conversation(conn: &Connection, head: &Head) -> Outcome<Vec<String>> {
    if *head == Head::EMPTY {
        return Ok(Vec::new());
    }
    let missing = || Fault::from(Error::MissingMessage { hash: head.hash });
    let mut next = Some(message_id(conn, head)?.ok_or_else(missing)?);
    // From the tip to the root, each row once: a recursive query would sort
    // all bodies a second time.
    let mut step = conn.prepare_cached("SELECT parent, body FROM messages WHERE id = ?1")?;
    let mut bodies = Vec::new();
    while let Some(id) = next {
        let row = step
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (parent, body): (Option<i64>, String) = row.ok_or_else(missing)?;
        // A chain longer than its tip says is a circle in a damaged file.
        if bodies.len() as u64 >= head.len {
            return Err(missing());
        }
        bodies.push(body);
        next = parent;
    }
    bodies.reverse();
    Ok(bodies)
}

/// The columns of [`run_record`], with a run's last event.
const RUN_COLUMNS: &str = "
    SELECT id, task, started, input_hash, body, epoch, status, exit_code, ended, summary, number,
           (SELECT max(id) FROM events WHERE id >= number << 32 AND id < (number + 1) << 32) AS last,
           dropped
    FROM runs";

/// Returns the runs that pass `filter`, the latest first.
pub(super) fn runs(conn: &Connection, filter: &Filter) -> Outcome<Vec<RunRecord>> {
    let statuses = serde_json::to_string(&filter.statuses).unwrap_or_default();
    let mut statement = conn.prepare_cached(&format!(
        "{RUN_COLUMNS}
         WHERE (?1 = '[]' OR status IN (SELECT value FROM json_each(?1)))
           AND (?2 IS NULL OR task = ?2)
           AND (?3 IS NULL OR started >= ?3)
         ORDER BY number DESC LIMIT ?4"
    ))?;
    let limit = filter.limit.map_or(-1, i64::from);
    let rows = statement.query_map(
        params![statuses, filter.task, filter.since.map(|at| at.0), limit],
        |row| run_record(conn, row),
    )?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Finds one run by what a user typed.
pub(super) fn find(conn: &Connection, asked: &str) -> Outcome<RunRecord> {
    let candidates = if asked == "latest" {
        let latest = Filter {
            limit: Some(1),
            ..Filter::default()
        };
        runs(conn, &latest)?
    } else {
        let start = format!("r-{}", asked.strip_prefix("r-").unwrap_or(asked));
        // `{` follows `z`, the last character of ids. More than a handful is
        // ambiguous however many there are.
        let mut statement = conn.prepare_cached(&format!(
            "{RUN_COLUMNS} WHERE id >= ?1 AND id < ?1 || '{{' ORDER BY number DESC LIMIT 6"
        ))?;
        let rows = statement.query_map([start], |row| run_record(conn, row))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    Ok(record::find(asked, candidates)?)
}

fn run_record(conn: &Connection, row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let (number, last): (i64, Option<i64>) = (row.get(10)?, row.get(11)?);
    let started = UnixMs(row.get(2)?);
    let last_at = match last {
        Some(last) => conn
            .prepare_cached("SELECT at FROM events WHERE id = ?1")?
            .query_row([last], |row| row.get(0).map(UnixMs))?,
        None => started,
    };
    let first = event_id(number, Seq(0));
    Ok(RunRecord {
        new: NewRun {
            run: run_id(row, 0)?,
            task: row.get(1)?,
            at: started,
            input_hash: row.get(3)?,
            body: row.get(4)?,
        },
        epoch: Epoch(row.get(5)?),
        summary: Summary {
            status: row.get(6)?,
            exit_code: row.get(7)?,
            ended: row.get::<_, Option<i64>>(8)?.map(UnixMs),
            body: row.get(9)?,
        },
        last_seq: Seq(last.map_or(0, |last| (last - first).cast_unsigned())),
        last_at,
        is_dropped: row.get(12)?,
    })
}

/// Returns the ended runs with their end, the latest end first.
pub(super) fn ended(conn: &Connection) -> rusqlite::Result<Vec<(RunId, UnixMs)>> {
    conn.prepare_cached(
        "SELECT id, ended FROM runs WHERE ended IS NOT NULL ORDER BY ended DESC, number DESC",
    )?
    .query_map([], |row| Ok((run_id(row, 0)?, UnixMs(row.get(1)?))))?
    .collect()
}

const KEY_COLUMNS: &str =
    "SELECT key, run, call, step, tool, args_hash, at, verdict, result, file FROM keys";

/// Returns what is known about a key.
pub(super) fn key(conn: &Connection, key: &IdempotencyKey) -> rusqlite::Result<Option<KeyRow>> {
    conn.prepare_cached(&format!("{KEY_COLUMNS} WHERE key = ?1"))?
        .query_row([&key.0], key_row)
        .optional()
}

/// Returns the keys that a run claimed and did not execute.
pub(super) fn claims(conn: &Connection, run: &RunId) -> rusqlite::Result<Vec<KeyRow>> {
    conn.prepare_cached(&format!(
        "{KEY_COLUMNS} WHERE run = ?1 AND verdict IS NULL ORDER BY call"
    ))?
    .query_map([run.as_str()], key_row)?
    .collect()
}

fn key_row(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    let file: Option<String> = row.get(9)?;
    let state = match row.get(7)? {
        None => KeyState::Claimed,
        Some(verdict) => KeyState::Executed {
            verdict,
            result: match file {
                Some(file) => KeyResult::File(PathBuf::from(file)),
                None => KeyResult::Inline(row.get(8)?),
            },
        },
    };
    Ok(KeyRow {
        run: run_id(row, 1)?,
        key_use: KeyUse {
            key: IdempotencyKey(row.get(0)?),
            call: CallId(row.get(2)?),
            step: StepNo(row.get(3)?),
            tool: row.get(4)?,
            args_hash: row.get(5)?,
        },
        state,
        at: UnixMs(row.get(6)?),
    })
}

/// Returns the items of batches that pass `filter`, the latest first.
pub(super) fn items(conn: &Connection, filter: &ItemFilter) -> rusqlite::Result<Vec<StoredItem>> {
    let statuses = serde_json::to_string(&filter.statuses).unwrap_or_default();
    let mut statement = conn.prepare_cached(
        "SELECT items.id, runs.id, runs.task, batch, tool, item, call, items.status, class, rule,
                why, evidence, attempts, args, due, first, last, items.dropped
         FROM items JOIN runs ON runs.number = items.run
         WHERE (?1 = '[]' OR items.status IN (SELECT value FROM json_each(?1)))
           AND (?2 IS NULL OR runs.id = ?2)
           AND (?3 IS NULL OR last >= ?3)
           AND (?4 OR items.dropped = 0)
         ORDER BY last DESC, items.id DESC",
    )?;
    let run = filter.run.as_ref().map(RunId::as_str);
    let since = filter.since.map(|at| at.0);
    statement
        .query_map(params![statuses, run, since, filter.dropped_too], |row| {
            Ok(StoredItem {
                no: ItemNo(row.get(0)?),
                run: run_id(row, 1)?,
                task: row.get(2)?,
                at: ItemEdit {
                    batch: BatchNo(row.get(3)?),
                    tool: row.get(4)?,
                    item: row.get(5)?,
                    call: CallId(row.get(6)?),
                    status: row.get(7)?,
                    class: row.get(8)?,
                    rule: row.get(9)?,
                    why: row.get(10)?,
                    evidence: row.get(11)?,
                    attempts: row.get(12)?,
                    args: row.get(13)?,
                    due: row.get::<_, Option<i64>>(14)?.map(UnixMs),
                    first_at: UnixMs(row.get(15)?),
                },
                last_at: UnixMs(row.get(16)?),
                is_dropped: row.get(17)?,
            })
        })?
        .collect()
}

/// Returns all breakers, by name.
pub(super) fn breakers(conn: &Connection) -> rusqlite::Result<Vec<BreakerRow>> {
    conn.prepare_cached("SELECT name, state, at FROM breakers ORDER BY name")?
        .query_map([], |row| {
            Ok(BreakerRow {
                name: row.get(0)?,
                state: row.get(1)?,
                at: UnixMs(row.get(2)?),
            })
        })?
        .collect()
}

/// Reads a run's id; one that is none means a damaged file.
pub(super) fn run_id(row: &Row<'_>, column: usize) -> rusqlite::Result<RunId> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}
