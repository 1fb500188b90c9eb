//! The same call with the same result again and again, others in between.
//!
//! Off while the same call answers differently: only its newest equal answers
//! count. Acknowledgements of calls that move something are no evidence, since
//! "ok" is equal for different work.

use super::config::Config;
use super::finding::{About, Identity, Rung, Sighting};
use super::print::{Kind, Talk};
use super::window::{Entry, Window};

/// Calls more where what lies in between brings something new.
const PATIENCE: u32 = 4;

/// Returns the sighting of the newest call recurring in its epoch.
pub(super) fn look(window: &Window, config: &Config) -> Option<Sighting> {
    let newest = window.newest()?;
    let only_ok = newest.print.talk == Talk::Ack && !newest.is_error();
    if newest.waiting || newest.is_transport() || only_ok {
        return None;
    }
    let mut walked = Span::default();
    let (mut count, mut first, mut span) = (0u32, newest.no, Span::default());
    let mut entries = window.newest_first().peekable();
    while let Some(entry) = entries.next() {
        walked.take(entry);
        if entry.print.call != newest.print.call || entry.is_transport() {
            continue;
        }
        if !entry.same(newest) {
            break;
        }
        // What follows an infrastructure error is a retry.
        if !entries
            .peek()
            .is_some_and(|before: &&Entry| before.is_transport())
        {
            (count, first, span) = (count + 1, entry.no, walked);
        }
    }
    let patience = if span.is_moving() || !newest.is_error() && span.is_mostly_new() {
        PATIENCE
    } else {
        0
    };
    let (rung, stop) = match newest.is_error() {
        true => (
            Rung::RecurrenceError,
            config.recurrence_error.saturating_add(patience),
        ),
        false if span.is_moving() => return None,
        false => (Rung::Recurrence, config.recurrence.saturating_add(patience)),
    };
    Sighting::counted(
        rung,
        Identity::new(About::Call, newest.print.call),
        first,
        count,
        stop,
    )
}

/// What lies between the first and the last time.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    calls: u32,
    repeats: u32,
    moves: u32,
    steps: u32,
}

impl Span {
    fn take(&mut self, entry: &Entry) {
        self.calls += 1;
        self.repeats += u32::from(entry.repeat);
        self.moves += u32::from(entry.moved && !entry.waiting);
        self.steps += u32::from(entry.print.kind == Kind::Act && !entry.is_error());
    }

    /// Coming back to one thing between much that is new is how people read.
    fn is_mostly_new(&self) -> bool {
        self.repeats * 3 < self.calls
    }

    /// The world moves: old calls answer anew, or steps lead to new answers.
    fn is_moving(&self) -> bool {
        self.moves >= 3 || self.steps >= 3 && self.repeats * 4 < self.calls * 3
    }
}
