//! The same call with the same result again and again, others in between.
//!
//! Off while the same call answers differently: only its newest equal answers
//! count. Acknowledgements of calls that move something are no evidence, since
//! "ok" is equal for different work.

use super::config::Config;
use super::finding::{Rung, Sighting, waypoints};
use super::print::{Kind, Talk};
use super::window::{Entry, Window};

/// Returns the sighting of the newest call recurring in its epoch.
pub(super) fn look(window: &Window, config: &Config) -> Option<Sighting> {
    let newest = window.newest()?;
    let only_ok =
        newest.print.talk == Talk::Ack && newest.print.kind != Kind::Read && !newest.is_error();
    if newest.waiting || newest.is_transport() || only_ok {
        return None;
    }
    let (mut count, mut span, mut repeats, mut first) = (0u32, 0u32, 0u32, newest.no);
    let mut walked = (0u32, 0u32);
    let mut entries = window.newest_first().peekable();
    while let Some(entry) = entries.next() {
        walked = (
            walked.0 + 1,
            walked.1 + u32::from(entry.repeat || entry.same(newest)),
        );
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
            count += 1;
            (span, repeats, first) = (walked.0, walked.1, entry.no);
        }
    }
    // Between much that is new, coming back to one thing is how people read.
    let mostly_new = repeats * 3 < span;
    let (rung, stop) = match newest.is_error() {
        true => (Rung::RecurrenceError, config.recurrence_error),
        false if mostly_new => (Rung::Recurrence, config.recurrence.saturating_add(4)),
        false => (Rung::Recurrence, config.recurrence),
    };
    let (warn, steer) = waypoints(stop);
    Some(Sighting {
        rung,
        period: None,
        identity: format!("call:{}", newest.print.call),
        first,
        count,
        reached: count,
        stop,
        warn,
        steer,
        why: format!(
            "{} came back {count} times with the same answer, and nothing new was changed in between",
            newest.print.picture()
        ),
    })
}
