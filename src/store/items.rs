//! Where the items of batches stand, over all runs.
//!
//! A projection: written in the transaction of the event that says so, for the
//! question "which items failed in the last hour, and why". One row for each item
//! of a tool in a run; a later batch with the same item overwrites it.
//!
//! Not here: which item failed for good (`machine::batch`).

use serde::Serialize;

use crate::clock::UnixMs;
use crate::ids::{BatchNo, CallId, RunId};

/// Where an item stands from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemEdit {
    /// The batch.
    pub batch: BatchNo,
    /// The tool.
    pub tool: String,
    /// The item's id, as the loop gave it.
    pub item: String,
    /// Its number among the calls of the run.
    pub call: CallId,
    /// The status, in one word, as `machine::batch` names it.
    pub status: String,
    /// The class of its last result.
    pub class: String,
    /// The rule that found it.
    pub rule: String,
    /// The rule in a sentence.
    pub why: String,
    /// What the rule saw; secrets hidden.
    pub evidence: String,
    /// Tries so far.
    pub attempts: u32,
    /// Its arguments as JSON, bounded, secrets hidden; `None` keeps what is stored.
    pub args: Option<String>,
    /// Not before this instant does another try make sense.
    pub due: Option<UnixMs>,
    /// When it was handed in, or first tried.
    pub first_at: UnixMs,
}

/// Names a stored item on this machine. Written as `i17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemNo(pub i64);

impl std::fmt::Display for ItemNo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("i{}", self.0))
    }
}

impl Serialize for ItemNo {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An item as the journal lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredItem {
    /// Names it.
    pub no: ItemNo,
    /// Its run.
    pub run: RunId,
    /// The run's task.
    pub task: String,
    /// Where it stands.
    pub at: ItemEdit,
    /// When it got there.
    pub last_at: UnixMs,
    /// Somebody wants to hear no more of it.
    pub is_dropped: bool,
}

/// Which items to list. The default lists all that nobody dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemFilter {
    /// Only these statuses; empty for any.
    pub statuses: Vec<String>,
    /// Only items of this run.
    pub run: Option<RunId>,
    /// Only items that got where they are at or after this instant.
    pub since: Option<UnixMs>,
    /// Also those that were dropped.
    pub dropped_too: bool,
}

/// Tells whether an item is listed.
pub(super) fn passes(filter: &ItemFilter, item: &StoredItem) -> bool {
    let ItemFilter {
        statuses,
        run,
        since,
        dropped_too,
    } = filter;
    (statuses.is_empty() || statuses.contains(&item.at.status))
        && run.as_ref().is_none_or(|run| *run == item.run)
        && since.is_none_or(|since| item.last_at >= since)
        && (*dropped_too || !item.is_dropped)
}
