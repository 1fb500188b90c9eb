//! A fast digest, for what is only remembered within this process.
//!
//! Every message of a history is looked up with every call, so a slow digest would
//! make calls slower with each turn. The seeds are random: nobody outside can aim
//! for two texts with the same digest.

use std::hash::{BuildHasher as _, Hash};

use foldhash::quality::RandomState;

/// What a digest is.
pub(super) type Mark = (u64, u64);

/// Makes digests; those of another one differ.
#[derive(Default)]
pub(super) struct Quick([RandomState; 2]);

impl Quick {
    pub(super) fn of(&self, value: impl Hash) -> Mark {
        let [one, other] = &self.0;
        (one.hash_one(&value), other.hash_one(&value))
    }
}
