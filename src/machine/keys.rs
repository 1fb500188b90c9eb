//! Keys for writes that declare none.
//!
//! Without a natural id the key is the call's place: branch, step, tool, and
//! its number among the writes of that tool in the step. An attempt that does
//! a step again meets the writes that the dead attempt had already done there:
//!
//! - the same arguments again: the same key, so the record answers;
//! - other arguments: it may be the same intent in other words, or the next
//!   item. Nobody can tell but the model, so it is asked once (the call is
//!   answered with what was already done) and believed the second time.

use std::collections::BTreeMap;

use crate::ids::{CallId, IdempotencyKey, RunId, StepNo};
use crate::machine::State;

/// How many keys were made within the present step, by tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepKeys(pub(super) BTreeMap<String, u64>);

/// The key made for a call, and what it may be a repetition of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeKey {
    /// The key.
    pub key: IdempotencyKey,
    /// A write of this step, done before a crash, that this call may repeat in
    /// other words.
    pub resembles: Option<CallId>,
}

impl State {
    /// Makes the key of a write of `tool` that declares none.
    ///
    /// - `identity`: hash of the call's normalised arguments.
    pub fn made_key(&self, run: &RunId, tool: &str, identity: &str) -> MadeKey {
        let mut unclaimed = self
            .done_in_step
            .iter()
            .filter(|done| done.tool == tool && done.unclaimed);
        let same = unclaimed.clone().find(|done| done.identity == identity);
        if let Some(key) = same.and_then(|done| done.key.clone()) {
            return MadeKey {
                key,
                resembles: None,
            };
        }
        let number = self.step_keys.0.get(tool).copied().unwrap_or(0) + 1;
        MadeKey {
            key: position(run, self.branch, self.step, tool, number),
            resembles: unclaimed.next().map(|done| done.call),
        }
    }
}

fn position(run: &RunId, branch: u64, step: StepNo, tool: &str, number: u64) -> IdempotencyKey {
    let branch = if branch == 0 {
        String::new()
    } else {
        format!("b{branch}/")
    };
    IdempotencyKey(format!("{run}/{branch}{step}/{tool}/{number}"))
}
