//! Those who look on: consumers of the run's events, none of which can change
//! the run.

pub mod batches;
pub mod ci;
pub mod conversations;
pub mod history;
pub mod json;
pub mod lines;
pub mod plain;
pub mod progress;
pub mod question;
pub mod report;
pub mod timeline;
pub mod transcript;

pub use report::Report;

use crate::clock::UnixMs;
use crate::ids::{RunId, Seq};
use crate::machine::{Decision, Escalation, Event, Outcome, State};

/// A durable event and what came of it.
pub struct Moment<'a> {
    /// The run.
    pub run: &'a RunId,
    /// The event's place in the journal.
    pub seq: Seq,
    /// When it happened.
    pub at: UnixMs,
    /// What happened.
    pub event: &'a Event,
    /// The decisions it led to.
    pub notes: &'a [Decision],
    /// Tools whose breaker this event opened.
    pub opened: &'a [String],
    /// How the run ended, if it did with this event.
    pub ended: Option<&'a Outcome>,
    /// What humans are asked with it.
    pub asked: &'a [Escalation],
    /// The state, which may be a few events ahead.
    pub state: &'a State,
}

/// Somebody who looks on.
pub trait Observer {
    /// Something happened, and is durable.
    fn on(&mut self, moment: &Moment<'_>);

    /// The run has not begun, or does not go on, before somebody else is done.
    fn waits(&mut self, why: &str) {
        let _ = why;
    }

    /// Time passed.
    fn tick(&mut self, state: &State, now: UnixMs) {
        let _ = (state, now);
    }
}
