//! The state of a run, from its journal.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::ids::Seq;
use crate::machine::{Event, Policy, State, advance};

/// An event with its place and time, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the journal.
    pub seq: Seq,
    /// When it happened.
    pub at: UnixMs,
    /// What happened.
    pub event: Event,
}

/// Returns the state after `entries`, in order; `None` for an empty journal.
///
/// The same function as the live run's, its effects dropped: they were carried
/// out then, or are made up for by [`super::resume`].
pub fn replay(entries: impl IntoIterator<Item = Entry>, policy: &Policy) -> Option<State> {
    entries.into_iter().fold(None, |state, entry| {
        Some(advance(state, entry.at, entry.event, policy).0)
    })
}

/// Returns the tip of the conversation at each step of the present branch,
/// step 0 first.
pub fn checkpoints(
    entries: impl IntoIterator<Item = Entry>,
    policy: &Policy,
) -> Vec<Option<String>> {
    let mut heads = Vec::new();
    let mut state = None;
    for entry in entries {
        let (next, _) = advance(state, entry.at, entry.event, policy);
        let place = usize::try_from(next.step.0).unwrap_or(usize::MAX);
        if heads.len() <= place {
            heads.resize(place + 1, None);
        }
        heads.truncate(place + 1);
        heads[place].clone_from(&next.head);
        state = Some(next);
    }
    heads
}
