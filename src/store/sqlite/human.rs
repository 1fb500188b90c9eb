//! Statements about questions to humans and messages to them.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::clock::UnixMs;
use crate::ids::EscalationId;
use crate::store::human::{
    Decided, Letter, LetterRow, NewQuestion, Posted, QuestionChange, QuestionRow, QuestionRuling,
    ruled,
};
use crate::store::{Committed, Error};

use super::fault::Fault;
use super::read::run_id;

const QUESTION_COLUMNS: &str = "
    SELECT escalations.id, runs.id, opened, deadline, escalations.body, seen, seen_by,
           decided, option, decided_by, note, source, token
    FROM escalations JOIN runs ON runs.number = escalations.run";

/// Carries out what an event does to a question.
pub(super) fn change(
    conn: &Connection,
    number: i64,
    change: QuestionChange,
) -> rusqlite::Result<()> {
    match change {
        QuestionChange::Open(new) => {
            conn.prepare_cached(
                "INSERT INTO escalations (id, run, opened, deadline, body)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                new.id.as_str(),
                number,
                new.opened.0,
                new.deadline.map(|at| at.0),
                new.body
            ])?;
        }
        QuestionChange::Close { id, ruling } => {
            write_ruling(conn, &id, &ruling)?;
        }
    }
    Ok(())
}

/// The one conditional write: the first decision stays.
fn write_ruling(
    conn: &Connection,
    id: &EscalationId,
    ruling: &QuestionRuling,
) -> rusqlite::Result<bool> {
    let written = conn
        .prepare_cached(
            "UPDATE escalations
             SET decided = ?2, option = ?3, decided_by = ?4, note = ?5, source = ?6, token = ?7
             WHERE id = ?1 AND decided IS NULL",
        )?
        .execute(params![
            id.as_str(),
            ruling.at.0,
            ruling.option,
            ruling.by,
            ruling.note,
            ruling.source,
            ruling.token
        ])?;
    Ok(written == 1)
}

/// Decides a question, unless it is decided.
pub(super) fn decide(
    conn: &Connection,
    id: &EscalationId,
    ruling: &QuestionRuling,
    late: Option<&QuestionRuling>,
) -> Result<Decided, Fault> {
    let present = question(conn, id)?.ok_or_else(|| missing(id))?;
    let is_ours = match ruled(&present, ruling, late) {
        Some(written) => write_ruling(conn, id, &written)? && written == *ruling,
        None => false,
    };
    let row = question(conn, id)?.ok_or_else(|| missing(id))?;
    Ok(Decided { row, is_ours })
}

/// Notes who has seen a question first.
pub(super) fn acknowledge(
    conn: &Connection,
    id: &EscalationId,
    by: &str,
    at: UnixMs,
) -> Result<QuestionRow, Fault> {
    conn.prepare_cached(
        "UPDATE escalations SET seen = ?2, seen_by = ?3 WHERE id = ?1 AND seen IS NULL",
    )?
    .execute(params![id.as_str(), at.0, by])?;
    question(conn, id)?.ok_or_else(|| missing(id))
}

fn missing(id: &EscalationId) -> Fault {
    let asked = id.to_string();
    Error::NoSuchQuestion { asked }.into()
}

fn question(conn: &Connection, id: &EscalationId) -> rusqlite::Result<Option<QuestionRow>> {
    conn.prepare_cached(&format!("{QUESTION_COLUMNS} WHERE escalations.id = ?1"))?
        .query_row([id.as_str()], question_row)
        .optional()
}

/// Returns questions, the oldest first: of one run or of all, those whose id begins
/// with `start`, only undecided ones or all.
pub(super) fn questions(
    conn: &Connection,
    number: Option<i64>,
    start: &str,
    open_only: bool,
) -> rusqlite::Result<Vec<QuestionRow>> {
    // `{` follows `z`, the last character of ids.
    conn.prepare_cached(&format!(
        "{QUESTION_COLUMNS}
         WHERE (?1 IS NULL OR escalations.run = ?1)
           AND escalations.id >= ?2 AND escalations.id < ?2 || '{{'
           AND (NOT ?3 OR decided IS NULL)
         ORDER BY opened, escalations.rowid"
    ))?
    .query_map(params![number, start, open_only], question_row)?
    .collect()
}

fn question_row(row: &Row<'_>) -> rusqlite::Result<QuestionRow> {
    let instant = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(UnixMs));
    let id: String = row.get(0)?;
    let id = id.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })?;
    let ruling = match instant(7)? {
        None => None,
        Some(at) => Some(QuestionRuling {
            option: row.get(8)?,
            by: row.get(9)?,
            note: row.get(10)?,
            source: row.get(11)?,
            token: row.get(12)?,
            at,
        }),
    };
    Ok(QuestionRow {
        run: run_id(row, 1)?,
        question: NewQuestion {
            id,
            opened: UnixMs(row.get(2)?),
            deadline: instant(3)?,
            body: row.get(4)?,
        },
        seen: match instant(5)? {
            None => None,
            Some(at) => Some((row.get(6)?, at)),
        },
        ruling,
    })
}

/// Puts a message into the outbox, if its event wants it.
pub(super) fn post(
    conn: &Connection,
    number: i64,
    at: UnixMs,
    letter: Letter,
    committed: &Committed,
) -> rusqlite::Result<()> {
    if letter.only_if.is_some_and(|wanted| !wanted(committed)) {
        return Ok(());
    }
    conn.prepare_cached(
        "INSERT INTO outbox (id, run, posted, due, body) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![letter.id, number, at.0, letter.due.0, letter.body])?;
    Ok(())
}

/// Returns the messages that are not sent: of one run or of all, the oldest first.
pub(super) fn letters(conn: &Connection, number: Option<i64>) -> rusqlite::Result<Vec<LetterRow>> {
    conn.prepare_cached(
        "SELECT outbox.id, runs.id, posted, due, tries, error, outbox.body
         FROM outbox JOIN runs ON runs.number = outbox.run
         WHERE ?1 IS NULL OR outbox.run = ?1 ORDER BY posted, outbox.rowid",
    )?
    .query_map([number], |row| {
        Ok(LetterRow {
            id: row.get(0)?,
            run: run_id(row, 1)?,
            posted: UnixMs(row.get(2)?),
            due: UnixMs(row.get(3)?),
            tries: row.get(4)?,
            error: row.get(5)?,
            body: row.get(6)?,
        })
    })?
    .collect()
}

/// Claims a message that is due; nobody else tries it before `until`.
pub(super) fn claim_letter(
    conn: &Connection,
    id: &str,
    at: UnixMs,
    until: UnixMs,
) -> rusqlite::Result<bool> {
    let claimed = conn
        .prepare_cached(
            "UPDATE outbox SET due = ?3, tries = tries + 1 WHERE id = ?1 AND due <= ?2",
        )?
        .execute(params![id, at.0, until.0])?;
    Ok(claimed == 1)
}

/// Notes what came of a try.
pub(super) fn posted(conn: &Connection, id: &str, posted: &Posted) -> rusqlite::Result<()> {
    match posted {
        Posted::Sent | Posted::Failed { again: None, .. } => {
            conn.prepare_cached("DELETE FROM outbox WHERE id = ?1")?
                .execute([id])?;
        }
        Posted::Failed {
            error,
            again: Some(again),
        } => {
            conn.prepare_cached("UPDATE outbox SET due = ?2, error = ?3 WHERE id = ?1")?
                .execute(params![id, again.0, error])?;
        }
    }
    Ok(())
}
