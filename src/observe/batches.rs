//! The batches of a run as one looks back on them: how many items ended how, and which
//! ones did not succeed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::ids::{BatchNo, CallId};
use crate::machine::batch::{Item, ItemEnd, Progress, Status};
use crate::machine::event::BatchCall;
use crate::machine::{Answer, Effect};
use crate::policy::taxonomy::Class;

/// One batch. Field names are part of `--json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Its number.
    pub batch: BatchNo,
    /// Its tool.
    pub tool: String,
    /// When it was handed in.
    pub at: UnixMs,
    /// What had to succeed.
    pub policy: String,
    /// Whether it did; absent for a batch that was cut short or is under way.
    pub met: Option<bool>,
    /// Its items.
    pub items: usize,
    /// How many ended how; those that are missing are under way.
    pub counts: BTreeMap<Status, usize>,
    /// Those that did not succeed, in the order of their ids.
    pub failing: Vec<Failing>,
    /// How each ended, by id.
    #[serde(skip)]
    ends: BTreeMap<String, Failing>,
}

/// An item that did not succeed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failing {
    /// Its id.
    pub id: String,
    /// Its number among the calls of the run.
    pub call: CallId,
    /// Where it stands.
    pub status: Status,
    /// The class of its last result.
    pub class: Class,
    /// The rule that found it.
    pub rule: String,
    /// The rule in a sentence.
    pub why: String,
    /// What the rule saw.
    pub evidence: String,
    /// Tries so far.
    pub attempts: u32,
}

impl Batch {
    /// Begins with what was handed in.
    pub(super) fn of(batch: BatchNo, call: &BatchCall, at: UnixMs) -> Self {
        Self {
            batch,
            tool: call.tool.clone(),
            at,
            policy: call.want.to_string(),
            met: None,
            items: call.items.len(),
            counts: BTreeMap::new(),
            failing: vec![],
            ends: BTreeMap::new(),
        }
    }

    fn tell(&mut self, ends: impl IntoIterator<Item = Failing>) {
        for end in ends {
            self.ends.insert(end.id.clone(), end);
        }
        self.counts.clear();
        for end in self.ends.values() {
            *self.counts.entry(end.status).or_default() += 1;
        }
        let failing = self
            .ends
            .values()
            .filter(|end| end.status != Status::Succeeded);
        self.failing = failing.cloned().collect();
    }
}

/// Brings batches to where `effects` put them.
pub(super) fn follow(batches: &mut BTreeMap<BatchNo, Batch>, effects: &[Effect]) {
    let mut rows: BTreeMap<BatchNo, Vec<Failing>> = BTreeMap::new();
    for effect in effects {
        match effect {
            Effect::Item(row) => rows.entry(row.batch).or_default().push(Failing {
                id: row.id.clone(),
                call: row.call,
                status: row.status,
                class: row.judged.class,
                rule: row.judged.rule.clone(),
                why: row.judged.why.clone(),
                evidence: row.judged.evidence.clone(),
                attempts: row.attempts,
            }),
            Effect::Reply {
                answer: Answer::Batch(answer),
                ..
            } => {
                let ends = answer.items.iter().filter_map(ended);
                rows.entry(answer.batch).or_default().extend(ends);
                if let Some(batch) = batches.get_mut(&answer.batch) {
                    batch.met = Some(answer.met);
                }
            }
            _ => {}
        }
    }
    for (no, ends) in rows {
        if let Some(batch) = batches.get_mut(&no) {
            batch.tell(ends);
        }
    }
}

fn ended(item: &Item) -> Option<Failing> {
    let Progress::Ended(end) = &item.progress else {
        return None;
    };
    let ItemEnd { status, judged, .. } = end.as_ref();
    Some(Failing {
        id: item.id.clone(),
        call: item.call,
        status: *status,
        class: judged.class,
        rule: judged.rule.clone(),
        why: judged.why.clone(),
        evidence: judged.evidence.clone(),
        attempts: item.attempts,
    })
}
