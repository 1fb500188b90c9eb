//! Whose retry goes next, when many runs retry the same tool.
//!
//! One queue for all runs of the machine. Without it, the run with the most
//! retries under way takes the tool from all others. [`place`] is the order as
//! a pure function; both stores use it.
//!
//! Not here: when a retry is due and whether it may be made at all
//! (`policy::retry`).

use crate::clock::UnixMs;
use crate::ids::CallId;

/// A retry that asks for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryAsk {
    /// The tool, model or provider that all queue for.
    pub tool: String,
    /// The call to be repeated.
    pub call: CallId,
    /// Not before this instant.
    pub due: UnixMs,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub i64);

/// The answer to a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Go; the slot is held until it is given back.
    Granted,
    /// Not yet.
    Wait {
        /// How many go first: those that are out and those that are due and
        /// stand before this ticket.
        ahead: u32,
        /// When this ticket itself is due.
        due: UnixMs,
    },
}

/// One row of the queue, of a run that still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The ticket.
    pub ticket: Ticket,
    /// Not before this instant.
    pub due: UnixMs,
    /// Whether it is out already.
    pub granted: bool,
    /// When its run was served last, as a count over all turns; 0 for never.
    pub served: u64,
}

/// Decides whether it is `ticket`'s turn at `at`; `None` when it does not
/// stand in `queue`.
///
/// - `queue`: all places of one tool, in any order.
/// - `slots`: how many may be out at once; 0 counts as 1.
///
/// Those that are due go in the order of (run served least recently, due,
/// ticket).
pub fn place(queue: &[Place], ticket: Ticket, at: UnixMs, slots: u32) -> Option<Turn> {
    let mine = queue.iter().find(|place| place.ticket == ticket)?;
    if mine.granted {
        return Some(Turn::Granted);
    }
    let rank = |place: &Place| (place.served, place.due, place.ticket);
    let first = |place: &&Place| place.granted || (place.due <= at && rank(place) < rank(mine));
    let ahead = u32::try_from(queue.iter().filter(first).count()).unwrap_or(u32::MAX);
    if mine.due <= at && ahead < slots.max(1) {
        Some(Turn::Granted)
    } else {
        Some(Turn::Wait {
            ahead,
            due: mine.due,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_table() {
        let waits = |ticket, due, served| Place {
            ticket: Ticket(ticket),
            due: UnixMs(due),
            granted: false,
            served,
        };
        let out = |ticket| Place {
            granted: true,
            ..waits(ticket, 0, 0)
        };
        let wait = |ahead, due| {
            Some(Turn::Wait {
                ahead,
                due: UnixMs(due),
            })
        };
        let granted = Some(Turn::Granted);
        #[rustfmt::skip]
        let rows = [
            ("alone and due", vec![waits(1, 5, 0)], 1, granted),
            ("alone and not due", vec![waits(1, 50, 0)], 1, wait(0, 50)),
            ("the run served least recently goes first", vec![waits(1, 5, 8), waits(2, 6, 3)], 1, wait(1, 5)),
            ("among equals the earlier due goes first", vec![waits(1, 5, 0), waits(2, 4, 0)], 1, wait(1, 5)),
            ("among the same instant the earlier ticket", vec![waits(1, 5, 0), waits(2, 5, 0)], 1, granted),
            ("one that is not due holds nobody up", vec![waits(1, 5, 9), waits(2, 50, 0)], 1, granted),
            ("one that is out takes the only slot", vec![waits(1, 5, 0), out(2)], 1, wait(1, 5)),
            ("a second slot lets it pass", vec![waits(1, 5, 0), out(2)], 2, granted),
            ("no slots count as one", vec![waits(1, 5, 0)], 0, granted),
            ("asking again after the grant", vec![out(1), out(2)], 1, granted),
            ("a ticket that left", vec![out(2)], 1, None),
        ];
        for (name, queue, slots, want) in rows {
            assert_eq!(
                place(&queue, Ticket(1), UnixMs(10), slots),
                want,
                "row: {name}"
            );
        }
    }
}
