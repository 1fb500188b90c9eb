//! What goes into the journal and what comes out.

use std::fmt;

use crate::clock::UnixMs;
use crate::ids::{Epoch, RunId, Seq};

use super::breaker::BreakerEdit;
use super::conversation::{Head, Message};
use super::human::{Letter, QuestionChange};
use super::items::ItemEdit;
use super::key::{KeyChange, KeyRow};
use super::{Error, Result};

/// A run that is about to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// Its id; refused when taken.
    pub run: RunId,
    /// The task's name, for listing and filtering.
    pub task: String,
    /// When it began.
    pub at: UnixMs,
    /// The fingerprint of its inputs.
    pub input_hash: String,
    /// Anything else that stays true for the whole run, as JSON.
    pub body: String,
}

/// One event on its way into the journal, with all that must be stored with it
/// or not at all.
#[derive(Default)]
pub struct Draft {
    /// What happened, in one word: `turn`, `tool_intended`.
    pub kind: String,
    /// When.
    pub at: UnixMs,
    /// The event, as JSON. The store does not look inside.
    pub body: String,
    /// The decisions it led to, each as JSON, for `agentguard why`.
    pub notes: Vec<String>,
    /// New messages, parents before children.
    pub messages: Vec<Message>,
    /// The tip of the conversation after this event, when it moved. Without
    /// it, the last of `messages`. Whatever leads to a tip is kept for as long
    /// as the run.
    pub head: Option<Head>,
    /// The bytes of the model's answer that it tells of, kept for
    /// [`Store::reply`](super::Store::reply).
    pub reply: Option<Vec<u8>>,
    /// The event need only survive the end of this process: a power cut may take it
    /// back, with all behind it, until the next event that is not so. It costs no
    /// wait for the disk.
    pub may_lag: bool,
    /// Idempotency keys claimed, executed or freed.
    pub keys: Vec<KeyChange>,
    /// Items of batches that ended or were tried.
    pub items: Vec<ItemEdit>,
    /// Breakers to move.
    pub breakers: Vec<BreakerEdit>,
    /// Questions to humans that are asked or closed.
    pub questions: Vec<QuestionChange>,
    /// Messages to humans.
    pub letters: Vec<Letter>,
    /// The run's new row for listing; only where its status changes.
    pub summary: Option<Summary>,
}

impl Draft {
    /// Makes an event that brings nothing along.
    pub fn new(kind: impl Into<String>, at: UnixMs, body: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            at,
            body: body.into(),
            ..Self::default()
        }
    }

    /// Returns the tip this event leads to, if it moves any.
    pub(super) fn tip(&self) -> Option<Head> {
        self.head
            .or_else(|| self.messages.last().map(|message| message.head))
    }
}

/// Bodies hold what users and tools said; they stay out of logs.
impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("kind", &self.kind)
            .field("at", &self.at)
            .field("body_bytes", &self.body.len())
            .field("messages", &self.messages.len())
            .finish_non_exhaustive()
    }
}

/// The answer to an event that is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the run.
    pub seq: Seq,
    /// The keys that [`Draft::keys`] asked for and someone else holds, as they
    /// are. Empty when all were had.
    pub lost: Vec<KeyRow>,
    /// The state of each breaker in [`Draft::breakers`] afterwards, in order.
    pub breakers: Vec<Option<String>>,
}

/// One event as it came back from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the run.
    pub seq: Seq,
    /// The owner that wrote it.
    pub epoch: Epoch,
    /// When it happened.
    pub at: UnixMs,
    /// What happened, in one word.
    pub kind: String,
    /// The event, as JSON, byte for byte as handed in.
    pub body: String,
    /// The decisions it led to.
    pub notes: Vec<String>,
}

/// A run's row for listing. Written at the events that change its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The status, in one word, as `policy` and `machine` name it.
    pub status: String,
    /// The exit code, once there is one.
    pub exit_code: Option<u8>,
    /// When the run ended; `None` while it may go on.
    pub ended: Option<UnixMs>,
    /// The other fields of a report (tokens, cost, last error), as JSON.
    pub body: String,
}

/// A run as the journal lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// What it began with.
    pub new: NewRun,
    /// Its last summary; empty before the first.
    pub summary: Summary,
    /// Its latest owner.
    pub epoch: Epoch,
    /// Its last event.
    pub last_seq: Seq,
    /// When that happened.
    pub last_at: UnixMs,
    /// Somebody took it off the list of dead letters.
    pub is_dropped: bool,
}

/// Which runs to list. The default lists all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these statuses; empty for any.
    pub statuses: Vec<String>,
    /// Only runs of this task.
    pub task: Option<String>,
    /// Only runs that began at or after this instant.
    pub since: Option<UnixMs>,
    /// At most so many, the latest.
    pub limit: Option<u32>,
}

/// What may go. The default removes no run, only what nothing refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcRules {
    /// Ended runs that ended before this instant go.
    pub ended_before: Option<UnixMs>,
    /// Of the ended runs, only the latest so many stay.
    pub keep: Option<u32>,
    /// Executed keys older than this instant go, with their results. Claims,
    /// which are in doubt, stay.
    pub keys_before: Option<UnixMs>,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The runs.
    pub runs: Vec<RunId>,
    /// How many messages.
    pub messages: u64,
    /// How many keys.
    pub keys: u64,
    /// How many files and folders.
    pub files: u64,
}

/// Tells whether a run is listed; `limit` is the caller's.
pub(super) fn passes(filter: &Filter, record: &RunRecord) -> bool {
    let Filter {
        statuses,
        task,
        since,
        limit: _,
    } = filter;
    (statuses.is_empty() || statuses.contains(&record.summary.status))
        && task.as_ref().is_none_or(|task| *task == record.new.task)
        && since.is_none_or(|since| record.new.at >= since)
}

/// Finds what `asked` means among `runs`, the latest first.
pub(super) fn find(asked: &str, runs: Vec<RunRecord>) -> Result<RunRecord> {
    /// How many are named when several match.
    const NAMED_MAX: usize = 5;

    let nothing = || Error::NoSuchRun {
        asked: asked.chars().take(80).collect(),
    };
    if asked == "latest" {
        return runs.into_iter().next().ok_or_else(nothing);
    }
    let short = asked.strip_prefix("r-").unwrap_or(asked);
    let mut matches: Vec<_> = runs
        .into_iter()
        .filter(|record| !short.is_empty() && record.new.run.as_str()[2..].starts_with(short))
        .collect();
    match matches.len() {
        0 => Err(nothing()),
        1 => Ok(matches.remove(0)),
        _ => Err(Error::Ambiguous {
            asked: asked.to_owned(),
            matches: matches
                .into_iter()
                .take(NAMED_MAX)
                .map(|record| record.new.run)
                .collect(),
        }),
    }
}

/// Tells whether an ended run goes.
///
/// - `newer`: how many ended runs ended after it.
pub(super) fn is_doomed(rules: &GcRules, newer: usize, ended: UnixMs) -> bool {
    rules.ended_before.is_some_and(|before| ended < before)
        || rules.keep.is_some_and(|keep| newer >= keep as usize)
}
