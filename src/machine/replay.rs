//! The state of a run, from its journal.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::ids::{ConversationNo, Seq};
use crate::machine::{Conversation, Event, Policy, State, advance};

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

/// The conversations as they were after a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The tip of the main one.
    pub head: Option<String>,
    /// The tips of all that had one.
    pub heads: Vec<(ConversationNo, String)>,
}

impl Checkpoint {
    fn of(state: &State) -> Self {
        let tip =
            |(number, it): (&ConversationNo, &Conversation)| Some((*number, it.head.clone()?));
        Self {
            head: state.head().map(str::to_owned),
            heads: state.conversations.iter().filter_map(tip).collect(),
        }
    }
}

/// Returns the conversations at each step of the present branch, step 0 first.
pub fn checkpoints(entries: impl IntoIterator<Item = Entry>, policy: &Policy) -> Vec<Checkpoint> {
    let mut found = Vec::new();
    let mut state = None;
    for entry in entries {
        let (next, _) = advance(state, entry.at, entry.event, policy);
        let place = usize::try_from(next.step.0).unwrap_or(usize::MAX);
        if found.len() <= place {
            found.resize(place + 1, Checkpoint::default());
        }
        found.truncate(place + 1);
        found[place] = Checkpoint::of(&next);
        state = Some(next);
    }
    found
}
