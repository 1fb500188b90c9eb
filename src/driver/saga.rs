//! Taking back what a run did: carries out what `machine::saga` asks for.
//!
//! The intent of each try is durable before it runs, its end before the next. An undo
//! whose end was lost with its supervisor is found under way, and is written down as
//! such; the machine decides whether it may run again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::drill::{Boundary, Side, fault};
use crate::driver::conclude::stopped;
use crate::driver::judge;
use crate::driver::session::{Error, Session};
use crate::driver::supervise::Ports;
use crate::ids::{CallId, IdempotencyKey, RunId};
use crate::machine::escalation::{HAPPENED, NOT_HAPPENED};
use crate::machine::event::{Delivery, Judged, StoppedBy, UndoEnd};
use crate::machine::{Event, NextUndo, SagaEntry};
use crate::policy::taxonomy::{Class, History, classify};
use crate::tools::{Job, undo_name};

/// Rolls the run back until it is through, stopped, or has to ask a human.
pub(super) async fn roll_back(session: &mut Session, ports: &mut Ports) -> Result<(), Error> {
    loop {
        match session.state().saga.next() {
            NextUndo::Run { call, attempt, due } => {
                let wait = Duration::from_millis(due.since(session.clock.now()));
                let stop = tokio::select! {
                    biased;
                    by = stopped(&mut ports.outside.stops) => Some(by),
                    () = tokio::time::sleep(wait) => None,
                };
                if let Some(by) = stop {
                    session.feed_and_wait(Event::StopRequested { by }).await?;
                    return Ok(());
                }
                let undo = Event::UndoStarted { call, attempt };
                session.feed_and_wait(undo).await?;
                let (ended, stop) = tried(session, ports, call, attempt).await;
                fault(Boundary::UndoStarted, Side::AfterRelease);
                session.feed_and_wait(Event::UndoEnded(ended)).await?;
                if let Some(by) = stop {
                    session.feed_and_wait(Event::StopRequested { by }).await?;
                    return Ok(());
                }
            }
            NextUndo::CutOff { call, .. } => {
                let ended = lost(call, "its supervisor was gone before it ended");
                session.feed_and_wait(Event::UndoEnded(ended)).await?;
            }
            NextUndo::InDoubt { call } => match said_by_human(session, call) {
                Some(undone) => {
                    let settled = Event::UndoSettled { call, undone };
                    session.feed_and_wait(settled).await?;
                }
                None => return Ok(()),
            },
            NextUndo::Nothing => {
                session.feed_and_wait(Event::RolledBack).await?;
                return Ok(());
            }
        }
    }
}

/// Returns whether an undo in doubt has happened, where a human has answered that.
fn said_by_human(session: &Session, call: CallId) -> Option<bool> {
    let question = session.state().question_about_undo(call)?;
    match question.ruling.as_ref()?.option.as_str() {
        HAPPENED => Some(true),
        NOT_HAPPENED => Some(false),
        _ => None,
    }
}

/// Runs one try. Who wants to stop waits for its end; the second time, not.
async fn tried(
    session: &Session,
    ports: &mut Ports,
    call: CallId,
    attempt: u32,
) -> (UndoEnd, Option<StoppedBy>) {
    let Some(entry) = session.state().saga.entry(call) else {
        return (lost(call, "there is no such call"), None);
    };
    let job = Job {
        call,
        tool: undo_name(&entry.tool),
        args: arguments(entry),
        key: Some(key(&session.run, call)),
        attempt,
    };
    let toolbox = Arc::clone(&ports.toolbox);
    let work = toolbox.try_once(&job);
    tokio::pin!(work);
    let mut stop = None;
    let tried = loop {
        tokio::select! {
            tried = &mut work => break tried,
            by = stopped(&mut ports.outside.stops) => {
                if stop.replace(by).is_some() {
                    return (lost(call, "it was stopped"), stop);
                }
            }
        }
    };
    let verdict = classify(&tried.observation, &ports.rules, &History::default());
    let ended = UndoEnd {
        call,
        judged: judge::judged(verdict),
        delivery: tried.delivery,
        took_ms: tried.took_ms,
        draw: judge::draw(session.state().seed, call, attempt),
    };
    (ended, stop)
}

/// The key under which every try of an undo runs.
fn key(run: &RunId, call: CallId) -> IdempotencyKey {
    IdempotencyKey(format!("undo:{run}:{call}"))
}

/// Returns what the placeholders of an undo stand for: the call's arguments, and what
/// it gave as `result`.
pub fn arguments(entry: &SagaEntry) -> Value {
    let mut args = match &entry.args {
        Value::Object(args) => args.clone(),
        _ => Map::new(),
    };
    let result = match serde_json::from_str(&entry.result) {
        Ok(structured @ (Value::Object(_) | Value::Array(_))) => structured,
        _ => Value::from(entry.result.trim_end()),
    };
    args.insert("result".to_owned(), result);
    Value::Object(args)
}

fn lost(call: CallId, evidence: &str) -> UndoEnd {
    UndoEnd {
        call,
        judged: Judged {
            class: Class::Transient,
            retry_after_ms: None,
            rule: "undo.lost".into(),
            why: "nobody saw how the undo ended".into(),
            evidence: evidence.into(),
        },
        delivery: Delivery::Unknown,
        took_ms: 0,
        draw: 0,
    }
}
