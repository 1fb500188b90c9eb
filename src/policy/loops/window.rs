//! The last calls of the run, as the rungs read them.
//!
//! Bookkeeping never enters; it is counted only so that call numbers stay
//! those of the run. An *epoch* begins at the last call that cleared
//! evidence. Rungs read the epoch; only those whose own rule already excludes
//! new changes (cycles, growth) look further back.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::print::{Kind, Outcome, Print};

/// One remembered call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its number in the run, from 1.
    pub no: u64,
    /// When it ended, in milliseconds of the caller's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<i64>,
    /// It passes time or asks for a state, given what stood before it.
    pub waiting: bool,
    /// Call and result stood in this epoch before.
    pub repeat: bool,
    /// The call stood in this epoch before, and answered as never before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moved: bool,
    /// The call itself.
    pub print: Print,
}

impl Entry {
    /// Returns whether the call met the infrastructure, not an answer.
    pub fn is_transport(&self) -> bool {
        self.print.outcome == Outcome::Transport
    }

    /// Returns whether the call ended in an error of its own.
    pub fn is_error(&self) -> bool {
        self.print.outcome == Outcome::Error
    }

    /// Returns whether call and masked result are those of `other`.
    pub fn same(&self, other: &Entry) -> bool {
        self.print.pair() == other.print.pair() && self.print.outcome == other.print.outcome
    }
}

/// The remembered calls, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    /// Number of the first call of the epoch.
    epoch: u64,
}

impl Window {
    /// Adds a call; the oldest leaves when there are more than `size`.
    pub fn push(&mut self, no: u64, print: Print, at_ms: Option<i64>, size: usize) {
        let waiting = self.is_waiting(&print);
        let mut entry = Entry {
            no,
            at_ms,
            waiting,
            repeat: false,
            moved: false,
            print,
        };
        entry.repeat = self.newest_first().any(|older| older.same(&entry));
        entry.moved = !entry.repeat
            && !entry.is_transport()
            && self
                .newest_first()
                .any(|older| older.print.call == entry.print.call && !older.is_transport());
        self.entries.push_back(entry);
        while self.entries.len() > size {
            self.entries.pop_front();
        }
    }

    /// Begins an epoch with the call `no`, which comes next.
    pub fn begin_epoch(&mut self, no: u64) {
        self.epoch = no;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Returns the newest call.
    pub fn newest(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// Returns all calls before the newest, newest first, over all epochs.
    pub fn before_newest(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().skip(1)
    }

    /// Returns the calls of the epoch, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .rev()
            .take_while(|entry| entry.no >= self.epoch)
    }

    /// Returns how many calls are remembered, over all epochs.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the call `back` places before the newest (0 is the newest), over all epochs.
    pub fn back(&self, back: usize) -> Option<&Entry> {
        self.entries
            .len()
            .checked_sub(back + 1)
            .and_then(|at| self.entries.get(at))
    }

    /// A read shortly after a pause is a poll by meaning: whoever sleeps
    /// between two looks is waiting for something.
    fn is_waiting(&self, print: &Print) -> bool {
        match print.kind {
            Kind::Wait => print.outcome != Outcome::Error,
            Kind::Poll => print.outcome != Outcome::Error || self.paused_lately(),
            Kind::Read => self.paused_lately(),
            _ => false,
        }
    }

    fn paused_lately(&self) -> bool {
        self.newest_first()
            .take(3)
            .take_while(|entry| entry.print.kind != Kind::Write)
            .any(|entry| entry.print.kind == Kind::Wait)
    }
}
