//! What is known of a batch and its items.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::UnixMs;
use crate::ids::{BatchNo, CallId, IdempotencyKey, StepNo};
use crate::machine::About;
use crate::machine::advance::run_note;
use crate::machine::event::{Content, Judged, RequestNo};
use crate::machine::{Decision, Outcome, State, Verdict};
use crate::policy::batch::Want;
use crate::policy::taxonomy::Class;

/// Several items for one tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The tool.
    pub tool: String,
    /// What has to succeed.
    pub want: Want,
    /// Nothing more is begun once that cannot be reached.
    pub fail_fast: bool,
    /// Calls that may be out at once.
    pub concurrency: usize,
    /// Items that one call carries at most.
    pub size: usize,
    /// The step it belongs to.
    pub step: StepNo,
    /// The request to answer; `None` once it is.
    pub request: Option<RequestNo>,
    /// A human has it done while no agent runs.
    pub by_human: bool,
    /// The breaker is being asked.
    pub is_asking: bool,
    /// Slices that it was split into so far.
    pub slices: u32,
    /// The limit that stops it and then the run.
    pub stop: Option<Outcome>,
    /// Its items, as they were handed in.
    pub items: Vec<Item>,
}

/// One item of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// Its arguments.
    pub args: Value,
    /// Hash of the normalised arguments.
    pub identity: String,
    /// Its key.
    pub key: Option<IdempotencyKey>,
    /// Its number among the calls of the run.
    pub call: CallId,
    /// The place of the item that stands for it.
    pub same_as: Option<usize>,
    /// The part of a call that was split which it belongs to; those of one part go
    /// together. 0: as it was handed in.
    pub slice: u32,
    /// Tries so far.
    pub attempts: u32,
    /// When it was handed in, or first tried.
    pub first_at: UnixMs,
    /// How far it is.
    pub progress: Progress,
}

/// How far an item is.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// It was not begun, or its call was split.
    Waiting,
    /// A call carries it.
    Open,
    /// It ended.
    Ended(Box<ItemEnd>),
}

/// How an item ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemEnd {
    /// How.
    pub status: Status,
    /// How its last result is classed, and why.
    pub judged: Judged,
    /// What it gave.
    pub content: Content,
    /// The record of an earlier execution answers.
    pub from_record: bool,
    /// Not before this instant does another try make sense.
    pub due: Option<UnixMs>,
}

/// Where an item stands, as lists and answers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is done, and not done a second time.
    Succeeded,
    /// It was not done and may go later; the next batch with it tries again.
    Queued,
    /// It failed for good.
    Dead,
    /// It may or may not have been done.
    InDoubt,
    /// Nobody tried it.
    NotAttempted,
}

impl Status {
    /// Every status, in the order of the enum.
    pub const ALL: [Self; 5] = [
        Self::Succeeded,
        Self::Queued,
        Self::Dead,
        Self::InDoubt,
        Self::NotAttempted,
    ];

    /// Returns the status as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Queued => "queued",
            Self::Dead => "dead",
            Self::InDoubt => "in_doubt",
            Self::NotAttempted => "not_attempted",
        }
    }
}

/// The items of a batch that one call carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The batch.
    pub batch: BatchNo,
    /// Their places in it.
    pub items: Vec<usize>,
}

/// An item that failed for good, for an attempt that does the step again.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadItem {
    /// How it ended.
    pub end: ItemEnd,
    /// Tries it took.
    pub attempts: u32,
    /// Whether it belongs to a former attempt and nobody has asked for it yet.
    pub unclaimed: bool,
}

/// Where an item stands, for the lists over all runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemRow {
    /// The batch.
    pub batch: BatchNo,
    /// The tool.
    pub tool: String,
    /// The item's id.
    pub id: String,
    /// Its number among the calls of the run.
    pub call: CallId,
    /// Its arguments.
    pub args: Value,
    /// Where it stands.
    pub status: Status,
    /// How its last result is classed, and why.
    pub judged: Judged,
    /// Tries so far.
    pub attempts: u32,
    /// Not before this instant does another try make sense.
    pub due: Option<UnixMs>,
    /// When it was handed in, or first tried.
    pub first_at: UnixMs,
}

/// The answer to a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchAnswer {
    /// The batch.
    pub batch: BatchNo,
    /// Its tool.
    pub tool: String,
    /// What had to succeed.
    pub want: Want,
    /// Whether it did.
    pub met: bool,
    /// The items, as they were handed in.
    pub items: Vec<Item>,
    /// What the loop should do.
    pub verdict: Verdict,
}

impl Batch {
    /// Returns how many items ended so.
    pub fn count(&self, status: Status) -> usize {
        count(&self.items, status)
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = usize> {
        self.items.iter().enumerate().filter_map(|(at, item)| {
            let waits = item.progress == Progress::Waiting && item.same_as.is_none();
            waits.then_some(at)
        })
    }

    /// Whether enough items can still succeed.
    pub(super) fn is_reachable(&self) -> bool {
        let hopeful = self.items.iter().filter(|item| match &item.progress {
            Progress::Waiting | Progress::Open => true,
            Progress::Ended(end) => end.status == Status::Succeeded,
        });
        self.want.is_met(hopeful.count(), self.items.len())
    }
}

/// Returns how many of `items` ended so.
pub fn count(items: &[Item], status: Status) -> usize {
    let ended =
        |item: &&Item| matches!(&item.progress, Progress::Ended(end) if end.status == status);
    items.iter().filter(ended).count()
}

pub(super) fn batch_note(state: &State, no: BatchNo, action: &str, rule: &str) -> Decision {
    let mut note = run_note(state, action, rule, "");
    note.about = About::Batch {
        batch: no,
        tool: tool_of(state, no),
    };
    note
}

pub(super) fn tool_of(state: &State, no: BatchNo) -> String {
    let batch = state.batches.get(&no);
    batch.map(|batch| batch.tool.clone()).unwrap_or_default()
}

pub(super) fn item_mut(state: &mut State, no: BatchNo, place: usize) -> Option<&mut Item> {
    state.batches.get_mut(&no)?.items.get_mut(place)
}

pub(super) fn judged(class: Class, rule: &str, why: &str, evidence: String) -> Judged {
    Judged {
        class,
        retry_after_ms: None,
        rule: rule.into(),
        why: why.into(),
        evidence,
    }
}

pub(super) fn failed(text: String) -> Content {
    Content {
        text,
        is_error: true,
        ..Content::default()
    }
}
