//! What is written in a transaction, statement by statement.
//!
//! Each function runs inside a savepoint of the writer: an error takes back all
//! that the function did.

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::UnixMs;
use crate::ids::{Epoch, IdempotencyKey, RunId, Seq};
use crate::store::conversation::{Head, Message};
use crate::store::key::{self, KeyChange, KeyResult, KeyRow, KeyState};
use crate::store::{
    BreakerEdit, Change, Committed, Draft, Error, ItemEdit, ItemNo, NewRun, Summary,
};

use super::fault::Fault;
use super::{human, read};

type Outcome<T> = std::result::Result<T, Fault>;

/// The id of an event: run number and place in one.
pub(super) fn event_id(number: i64, seq: Seq) -> i64 {
    (number << 32) | i64::try_from(seq.0).unwrap_or(i64::MAX)
}

/// Adds a run without events; returns its number.
pub(super) fn create(conn: &Connection, new: &NewRun) -> Outcome<i64> {
    let added = conn
        .prepare_cached(
            "INSERT INTO runs (id, task, started, input_hash, body, epoch)
             VALUES (?1, ?2, ?3, ?4, ?5, 1) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            new.run.as_str(),
            new.task,
            new.at.0,
            new.input_hash,
            new.body
        ])?;
    if added == 0 {
        let run = new.run.clone();
        return Err(Error::RunExists { run }.into());
    }
    Ok(conn.last_insert_rowid())
}

/// Makes the caller the run's owner; returns its epoch and the last event.
pub(super) fn take_over(conn: &Connection, run: &RunId, number: i64) -> Outcome<(Epoch, Seq)> {
    let epoch = conn
        .prepare_cached("UPDATE runs SET epoch = epoch + 1 WHERE number = ?1 RETURNING epoch")?
        .query_row([number], |row| Ok(Epoch(row.get(0)?)))
        .optional()?;
    let epoch = epoch.ok_or_else(|| Error::NoSuchRun {
        asked: run.to_string(),
    })?;
    Ok((epoch, last_seq(conn, number)?))
}

/// Appends one event with all it brings along.
pub(super) fn append(
    conn: &Connection,
    run: &RunId,
    number: i64,
    epoch: Epoch,
    seq: Seq,
    draft: Draft,
) -> Outcome<Committed> {
    check_turn(conn, run, number, epoch, seq)?;
    let tip = draft.tip();
    let tip = store_messages(conn, &draft.messages, tip)?;
    let notes = match draft.notes.is_empty() {
        true => None,
        false => serde_json::to_string(&draft.notes).ok(),
    };
    conn.prepare_cached(
        "INSERT INTO events (id, epoch, at, head, kind, body, notes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        event_id(number, seq),
        epoch.0,
        draft.at.0,
        tip,
        draft.kind,
        draft.body,
        notes
    ])?;
    if let Some(reply) = &draft.reply {
        conn.prepare_cached("INSERT INTO replies (event, body) VALUES (?1, ?2)")?
            .execute(params![event_id(number, seq), reply])?;
    }
    if let Some(summary) = &draft.summary {
        write_summary(conn, number, summary)?;
    }
    let mut committed = Committed {
        seq,
        ..Committed::default()
    };
    for change in &draft.keys {
        committed
            .lost
            .extend(change_key(conn, run, change, draft.at)?);
    }
    for item in &draft.items {
        put_item(conn, number, item, draft.at)?;
    }
    for edit in draft.breakers {
        committed.breakers.push(edit_breaker(conn, edit)?);
    }
    for change in draft.questions {
        human::change(conn, number, change)?;
    }
    for letter in draft.letters {
        human::post(conn, number, draft.at, letter, &committed)?;
    }
    Ok(committed)
}

/// Refuses a former owner, and an event whose predecessor is not stored.
fn check_turn(conn: &Connection, run: &RunId, number: i64, epoch: Epoch, seq: Seq) -> Outcome<()> {
    let owner = conn
        .prepare_cached("SELECT epoch FROM runs WHERE number = ?1")?
        .query_row([number], |row| row.get(0).map(Epoch))
        .optional()?;
    let run = run.clone();
    if owner != Some(epoch) {
        return Err(Error::Superseded { run, seq }.into());
    }
    if last_seq(conn, number)?.next() != seq || seq.0 > u64::from(u32::MAX) {
        return Err(Error::Broken { run, seq }.into());
    }
    Ok(())
}

fn last_seq(conn: &Connection, number: i64) -> rusqlite::Result<Seq> {
    conn.prepare_cached("SELECT max(id) FROM events WHERE id BETWEEN ?1 AND ?2")?
        .query_row(
            [event_id(number, Seq(0)), event_id(number + 1, Seq(0)) - 1],
            |row| {
                let last: Option<i64> = row.get(0)?;
                let first = event_id(number, Seq(0));
                Ok(Seq(last.map_or(0, |last| (last - first).cast_unsigned())))
            },
        )
}

/// Stores the messages that are not there yet; returns the row of `tip`.
fn store_messages(
    conn: &Connection,
    messages: &[Message],
    tip: Option<Head>,
) -> Outcome<Option<i64>> {
    // The parent of most messages is the one just stored.
    let mut latest = (Head::EMPTY, None);
    for message in messages {
        let parent = match message.parent {
            known if known == latest.0 => latest.1,
            other => message_id(conn, &other)?,
        };
        latest = (message.head, Some(store_message(conn, message, parent)?));
    }
    match tip {
        None => Ok(None),
        Some(tip) if tip == latest.0 => Ok(latest.1),
        Some(tip) => message_id(conn, &tip),
    }
}

fn store_message(conn: &Connection, message: &Message, parent: Option<i64>) -> Outcome<i64> {
    let added = conn
        .prepare_cached(
            "INSERT INTO messages (place, hash, parent, body) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (place, hash) DO NOTHING",
        )?
        .execute(params![
            message.head.len,
            message.head.hash.0,
            parent,
            message.body
        ])?;
    if added == 1 {
        return Ok(conn.last_insert_rowid());
    }
    message_id(conn, &message.head)?.ok_or_else(|| missing(&message.head))
}

/// Returns the row of a head; `None` for the empty one.
fn message_id(conn: &Connection, head: &Head) -> Outcome<Option<i64>> {
    if *head == Head::EMPTY {
        return Ok(None);
    }
    match read::message_id(conn, head)? {
        Some(id) => Ok(Some(id)),
        None => Err(missing(head)),
    }
}

fn missing(head: &Head) -> Fault {
    Error::MissingMessage { hash: head.hash }.into()
}

fn write_summary(conn: &Connection, number: i64, summary: &Summary) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE runs SET status = ?2, exit_code = ?3, ended = ?4, summary = ?5, dropped = 0
         WHERE number = ?1",
    )?
    .execute(params![
        number,
        summary.status,
        summary.exit_code,
        summary.ended.map(|at| at.0),
        summary.body
    ])?;
    Ok(())
}

/// Changes one key; returns its row when someone else holds it.
fn change_key(
    conn: &Connection,
    run: &RunId,
    change: &KeyChange,
    at: UnixMs,
) -> rusqlite::Result<Option<KeyRow>> {
    let present = read::key(conn, change.key())?;
    match key::next(present.as_ref(), run, change, at) {
        key::Next::Same => Ok(None),
        key::Next::Put(row) => put_key(conn, &row).map(|()| None),
        key::Next::Remove => forget_key(conn, change.key()).map(|_| None),
        key::Next::Lost => Ok(present),
    }
}

fn put_key(conn: &Connection, row: &KeyRow) -> rusqlite::Result<()> {
    let (verdict, result, file) = match &row.state {
        KeyState::Claimed => (None, None, None),
        KeyState::Executed { verdict, result } => match result {
            KeyResult::Inline(text) => (Some(verdict), Some(text), None),
            KeyResult::File(path) => (Some(verdict), None, Some(path.to_string_lossy())),
        },
    };
    conn.prepare_cached(
        "INSERT INTO keys (key, run, call, step, tool, args_hash, at, verdict, result, file)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (key) DO UPDATE SET (run, call, step, tool, args_hash, at, verdict, result, file)
         = (excluded.run, excluded.call, excluded.step, excluded.tool, excluded.args_hash,
            excluded.at, excluded.verdict, excluded.result, excluded.file)",
    )?
    .execute(params![
        row.key_use.key.0,
        row.run.as_str(),
        row.key_use.call.0,
        row.key_use.step.0,
        row.key_use.tool,
        row.key_use.args_hash,
        row.at.0,
        verdict,
        result,
        file
    ])?;
    Ok(())
}

/// Writes where an item of a batch stands.
fn put_item(conn: &Connection, run: i64, item: &ItemEdit, at: UnixMs) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO items (run, batch, tool, item, call, status, class, rule, why, evidence,
                            attempts, args, due, first, last)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, coalesce(?12, ''), ?13, ?14, ?15)
         ON CONFLICT (run, tool, item) DO UPDATE SET
             batch = excluded.batch, call = excluded.call, status = excluded.status,
             class = excluded.class, rule = excluded.rule, why = excluded.why,
             evidence = excluded.evidence, attempts = excluded.attempts,
             args = coalesce(?12, args), due = excluded.due, last = excluded.last, dropped = 0",
    )?
    .execute(params![
        run,
        item.batch.0,
        item.tool,
        item.item,
        item.call.0,
        item.status,
        item.class,
        item.rule,
        item.why,
        item.evidence,
        item.attempts,
        item.args,
        item.due.map(|at| at.0),
        item.first_at.0,
        at.0
    ])?;
    Ok(())
}

/// Takes items off the list of dead letters; returns how many were on it.
pub(super) fn drop_items(conn: &Connection, items: &[ItemNo]) -> rusqlite::Result<u64> {
    let mut statement =
        conn.prepare_cached("UPDATE items SET dropped = 1 WHERE id = ?1 AND dropped = 0")?;
    let mut dropped = 0;
    for item in items {
        dropped += statement.execute([item.0])? as u64;
    }
    Ok(dropped)
}

/// Takes a run off the list of dead letters; tells whether there is one.
pub(super) fn drop_run(conn: &Connection, run: &RunId) -> rusqlite::Result<bool> {
    let found = conn
        .prepare_cached("UPDATE runs SET dropped = 1 WHERE id = ?1")?
        .execute([run.as_str()])?;
    Ok(found > 0)
}

/// Removes a key's row; tells whether there was one.
pub(super) fn forget_key(conn: &Connection, key: &IdempotencyKey) -> rusqlite::Result<bool> {
    let removed = conn
        .prepare_cached("DELETE FROM keys WHERE key = ?1")?
        .execute([&key.0])?;
    Ok(removed > 0)
}

/// Reads, decides and writes one breaker; returns its state afterwards.
pub(super) fn edit_breaker(
    conn: &Connection,
    edit: BreakerEdit,
) -> rusqlite::Result<Option<String>> {
    let present: Option<String> = conn
        .prepare_cached("SELECT state FROM breakers WHERE name = ?1")?
        .query_row([&edit.name], |row| row.get(0))
        .optional()?;
    match (edit.decide)(present.as_deref()) {
        Change::Keep => Ok(present),
        Change::Put(state) => {
            conn.prepare_cached(
                "INSERT INTO breakers (name, state, at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET state = excluded.state, at = excluded.at",
            )?
            .execute(params![edit.name, state, edit.at.0])?;
            Ok(Some(state))
        }
        Change::Remove => {
            conn.prepare_cached("DELETE FROM breakers WHERE name = ?1")?
                .execute([&edit.name])?;
            Ok(None)
        }
    }
}
