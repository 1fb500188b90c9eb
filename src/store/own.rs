//! Who may write to a run.

use std::any::Any;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::ids::{Epoch, RunId, Seq};

/// The right to append to one run, released when dropped.
///
/// Two things stand behind it: a lock that the kernel releases when its holder
/// dies, and an epoch that each write carries. The lock keeps a second
/// supervisor out; the epoch refuses the late write of one that lost the lock
/// without knowing (a network file system, a removed lock file).
pub struct Ownership {
    run: RunId,
    /// The run's number in its database; 0 where a store has none.
    number: i64,
    epoch: Epoch,
    /// The last event handed in. Held while a draft is queued, so that numbers
    /// and queue have one order.
    last: Mutex<Seq>,
    /// What is released on drop.
    _hold: Box<dyn Any + Send + Sync>,
}

impl Ownership {
    pub(super) fn new(
        run: RunId,
        number: i64,
        epoch: Epoch,
        last: Seq,
        hold: Box<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            run,
            number,
            epoch,
            last: Mutex::new(last),
            _hold: hold,
        }
    }

    /// Returns the run.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Returns which owner this is, counted from 1.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns the last event handed in, durable or not; 0 for none.
    pub fn last_seq(&self) -> Seq {
        *self.last()
    }

    pub(super) fn number(&self) -> i64 {
        self.number
    }

    /// Locks the numbering, for as long as a draft is queued.
    pub(super) fn last(&self) -> MutexGuard<'_, Seq> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ownership")
            .field("run", &self.run)
            .field("epoch", &self.epoch)
            .field("last", &self.last_seq())
            .finish_non_exhaustive()
    }
}

/// Who holds a run, as its lock file tells. For messages only; the lock itself
/// is what counts.
///
/// Each field is `None` when the file does not say, as for the moment between
/// taking the lock and writing the text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Holder {
    /// The holder's process id, on its machine.
    pub pid: Option<u32>,
    /// When it took the run.
    pub since: Option<UnixMs>,
    /// The name of its machine.
    pub host: Option<String>,
}
