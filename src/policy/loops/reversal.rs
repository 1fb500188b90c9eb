//! Which changes are new, and files that return to a state they were in.
//!
//! A change is *new* when neither the state it leads to nor the call itself
//! was seen in the run. Only new changes clear evidence, so edits that swing
//! between two states never do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::finding::{About, Identity, Rung, Sighting};
use super::print::{Kind, Outcome, Print};

/// Changes remembered; what is older counts as never seen.
const SEEN_MAX: usize = 1024;
/// Files whose state is remembered.
const FILES_MAX: usize = 256;

/// What a call did to the world, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing, or nothing that lasts.
    None,
    /// Something never seen in the run.
    New,
    /// Something seen before.
    Old,
}

/// One file's state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    /// The sum of its lines, from an unknown beginning.
    state: Digest,
    /// Returns to a state seen before, since the last new change.
    returns: u32,
    /// Number of the call of the first of them.
    first: u64,
}

/// The changes of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Changes {
    seen: BTreeSet<Digest>,
    /// The same, oldest first.
    order: VecDeque<Digest>,
    files: BTreeMap<Digest, File>,
}

impl Changes {
    /// Takes note of one call.
    pub fn note(&mut self, no: u64, print: &Print) -> Change {
        if print.kind != Kind::Write || print.outcome != Outcome::Ok {
            return Change::None;
        }
        let new_call = self.remember(print.call);
        let mut new_state = print.touches.is_empty();
        for touch in &print.touches {
            let before = self.file(touch.path);
            let state = touch.applied_to(before.state);
            let new_here = self.remember(Digest::join(&[touch.path, state]));
            let returned = !new_here && state != before.state;
            new_state |= new_here;
            self.files.insert(
                touch.path,
                File {
                    state,
                    returns: before.returns + u32::from(returned),
                    first: if returned && before.returns == 0 {
                        no
                    } else {
                        before.first
                    },
                },
            );
        }
        if new_call && new_state {
            self.forget_returns();
            return Change::New;
        }
        Change::Old
    }

    /// Returns whether a step's digest is seen for the first time in the run.
    pub fn is_new_step(&mut self, digest: Digest) -> bool {
        self.remember(digest)
    }

    /// Forgets returns, not states.
    pub fn forget_returns(&mut self) {
        for file in self.files.values_mut() {
            file.returns = 0;
        }
    }

    /// Returns the sighting of a file that the newest call brought back.
    pub fn look(&self, print: &Print, stop: u32) -> Option<Sighting> {
        let (path, file) = print
            .touches
            .iter()
            .filter_map(|touch| self.files.get(&touch.path).map(|file| (touch.path, file)))
            .max_by_key(|(_, file)| file.returns)?;
        if file.returns == 0 || print.outcome != Outcome::Ok {
            return None;
        }
        Some(Sighting {
            rung: Rung::Reversal,
            period: None,
            identity: Identity::new(About::File, path),
            first: file.first,
            count: file.returns,
            reached: file.returns,
            stop,
            warn: 1,
            steer: stop - 1,
        })
    }

    /// Returns the file, its unknown beginning being a state seen too.
    fn file(&mut self, path: Digest) -> File {
        if let Some(file) = self.files.get(&path) {
            return *file;
        }
        if self.files.len() >= FILES_MAX {
            self.files.clear();
        }
        self.remember(Digest::join(&[path, Digest::default()]));
        File::default()
    }

    /// Returns whether the digest was not there before.
    fn remember(&mut self, digest: Digest) -> bool {
        if !self.seen.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}
