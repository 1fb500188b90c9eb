//! The retry queue's statements. The order is `store::retry_queue::place`.
//!
//! A place belongs to an owner: a run and its epoch. It is gone when the run
//! was taken over, or when nobody holds the run's lock any more; so a killed
//! process holds nobody up, and no process id is ever asked.

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::UnixMs;
use crate::ids::{Epoch, RunId};
use crate::store::retry_queue::{self, Place};
use crate::store::{Error, Paths, RetryAsk, Ticket, Turn, lock};

use super::fault::Fault;
use super::read::run_id;

/// Adds a place at the end.
pub(super) fn enqueue(
    conn: &Connection,
    number: i64,
    epoch: Epoch,
    ask: &RetryAsk,
) -> rusqlite::Result<Ticket> {
    conn.prepare_cached(
        "INSERT INTO retry_queue (tool, run, epoch, call, due) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![ask.tool, number, epoch.0, ask.call.0, ask.due.0])?;
    Ok(Ticket(conn.last_insert_rowid()))
}

/// Gives the turn to `ticket`, if it is its own.
pub(super) fn take_turn(
    conn: &Connection,
    paths: &Paths,
    number: i64,
    ticket: Ticket,
    at: UnixMs,
    slots: u32,
) -> Result<Turn, Fault> {
    let tool: Option<String> = conn
        .prepare_cached("SELECT tool FROM retry_queue WHERE ticket = ?1 AND run = ?2")?
        .query_row([ticket.0, number], |row| row.get(0))
        .optional()?;
    let no_ticket = || Error::NoSuchTicket { ticket: ticket.0 };
    let tool = tool.ok_or_else(no_ticket)?;
    drop_dead(conn, paths, number, &tool)?;
    let places = places(conn, &tool)?;
    let turn = retry_queue::place(&places, ticket, at, slots).ok_or_else(no_ticket)?;
    let had = places
        .iter()
        .any(|place| place.ticket == ticket && place.granted);
    if turn == Turn::Granted && !had {
        grant(conn, number, ticket, &tool)?;
    }
    Ok(turn)
}

/// Removes a place, granted or not.
pub(super) fn leave(conn: &Connection, number: i64, ticket: Ticket) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM retry_queue WHERE ticket = ?1 AND run = ?2")?
        .execute([ticket.0, number])
        .map(drop)
}

/// Removes the places whose owner is gone.
fn drop_dead(conn: &Connection, paths: &Paths, number: i64, tool: &str) -> Result<(), Fault> {
    conn.prepare_cached(
        "DELETE FROM retry_queue WHERE tool = ?1
         AND epoch <> (SELECT epoch FROM runs WHERE runs.number = retry_queue.run)",
    )?
    .execute([tool])?;
    let others: Vec<(i64, RunId)> = conn
        .prepare_cached(
            "SELECT DISTINCT number, id FROM retry_queue JOIN runs ON number = run
             WHERE tool = ?1 AND number <> ?2",
        )?
        .query_map(params![tool, number], |row| {
            Ok((row.get(0)?, run_id(row, 1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (other, run) in others {
        if lock::holder(&paths.lock(&run))?.is_none() {
            conn.prepare_cached("DELETE FROM retry_queue WHERE run = ?1")?
                .execute([other])?;
        }
    }
    Ok(())
}

fn places(conn: &Connection, tool: &str) -> rusqlite::Result<Vec<Place>> {
    conn.prepare_cached(
        "SELECT ticket, due, granted, coalesce(turn, 0)
         FROM retry_queue LEFT JOIN retry_served USING (tool, run) WHERE tool = ?1",
    )?
    .query_map([tool], |row| {
        Ok(Place {
            ticket: Ticket(row.get(0)?),
            due: UnixMs(row.get(1)?),
            granted: row.get(2)?,
            served: row.get(3)?,
        })
    })?
    .collect()
}

fn grant(conn: &Connection, number: i64, ticket: Ticket, tool: &str) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE retry_queue SET granted = 1 WHERE ticket = ?1")?
        .execute([ticket.0])?;
    conn.prepare_cached(
        "INSERT INTO retry_served (tool, run, turn)
         SELECT ?1, ?2, coalesce(max(turn), 0) + 1 FROM retry_served WHERE tool = ?1
         ON CONFLICT (tool, run) DO UPDATE SET turn = excluded.turn",
    )?
    .execute(params![tool, number])
    .map(drop)
}
