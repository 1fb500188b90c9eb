//! What humans did meanwhile, for the run's owner.
//!
//! Answers are written by other processes; whoever holds the run looks for them
//! now and then, lets deadlines decide what nobody answered, and feeds both to
//! the machine.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::UnixMs;
use crate::driver::session::{Error, Session};
use crate::human::inbox::{self, Entry};
use crate::ids::RunId;
use crate::machine::event::StoppedBy;
use crate::machine::{Event, Phase};
use crate::policy::escalation::Kind;
use crate::store::{self, Store};

/// How often a run that asks looks for an answer.
pub const LOOK: Duration = Duration::from_millis(150);

/// Whether there is anything to look for.
pub fn is_asking(session: &Session) -> bool {
    session.state().open_questions().next().is_some()
}

/// Takes in what was seen, answered, or passed its deadline.
pub async fn take_in(session: &mut Session) -> Result<(), Error> {
    if !is_asking(session) {
        return Ok(());
    }
    let rows = session.store.questions(Some(&session.run), "", false)?;
    let now = session.clock.now();
    for row in rows {
        let Some(question) = session.state().question(&row.question.id) else {
            continue;
        };
        if question.ruling.is_some() {
            continue;
        }
        let (what, was_seen) = (question.what.clone(), question.seen.is_some());
        let is_due = what.deadline.is_some_and(|deadline| deadline <= now);
        let row = match &row.ruling {
            None if is_due => match inbox::expire(session.store.as_ref(), &what).await? {
                Some(decided) => decided.row,
                None => row,
            },
            _ => row,
        };
        let Ok(entry) = Entry::read(row) else {
            // The journal has the question too; only its row cannot be read.
            continue;
        };
        let escalation = what.id;
        if let Some(seen) = entry.seen.filter(|_| !was_seen) {
            let escalation = escalation.clone();
            session.feed(Event::Acknowledged { escalation, seen })?;
        }
        if let Some(ruling) = entry.ruling {
            session.feed(Event::Decided { escalation, ruling })?;
        }
    }
    Ok(())
}

/// Whether a run that nobody holds still waits for a human; lets deadlines that
/// passed decide.
pub async fn is_undecided(store: &dyn Store, run: &RunId, now: UnixMs) -> store::Result<bool> {
    let mut waits = false;
    for row in store.questions(Some(run), "", true)? {
        let Ok(entry) = Entry::read(row) else {
            continue;
        };
        if entry.is_overdue(now) {
            inbox::expire(store, &entry.what).await?;
        } else {
            waits |= entry.what.ask.kind != Kind::Undo;
        }
    }
    Ok(waits)
}

/// The same, for a run whose agent does not run; returns when it is durable.
pub async fn catch_up(session: &mut Session) -> Result<(), Error> {
    take_in(session).await?;
    while session.is_settling() {
        session.durable().await?;
    }
    Ok(())
}

/// Waits until what the run waits for is decided. Returns who stops it before.
pub async fn wait(
    session: &mut Session,
    stops: &mut mpsc::Receiver<StoppedBy>,
) -> Result<Option<StoppedBy>, Error> {
    loop {
        catch_up(session).await?;
        let is_over = matches!(session.state().phase, Phase::Created | Phase::Running);
        if is_over || session.state().waits_for().is_none() {
            return Ok(None);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => session.tick(),
            Some(by) = stops.recv() => return Ok(Some(by)),
        }
    }
}
