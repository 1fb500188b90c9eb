//! A staged folder: the agent works on a copy, and what it did appears all at once.
//!
//! ```text
//! target ──copy──► stage ──agent works──► stage'
//!    │                │                      │
//!    └── base: what both were, by hash ──► changes, conflicts ──► commit
//! ```
//! - [`tree`]: what a folder holds, as data; `scan`: reading it; `copy`: doubling it;
//! - [`change`]: what differs between two trees, and what collides (pure);
//! - [`stage`]: one run's copy, where it lies and how it is found again;
//! - [`commit`]: from the changes to the target: `exchange` swaps whole folders in
//!   one system call, `moves` puts file by file in place by a plan on disk;
//! - [`diff`]: the change for people;
//! - [`moment`]: where a crash would show;
//! - [`git`]: a stage that is a worktree of the target's repository.
//!
//! Not here: when to stage and when to commit (`machine`), events (`driver`), and
//! who may touch the target meanwhile (`store::path_lock`).
//!
//! What holds: nothing of the stage is ever linked to the target, so whatever the
//! agent does to its files the target's stay as they are.

pub mod change;
pub mod commit;
mod copy;
pub mod diff;
mod error;
mod exchange;
pub mod git;
pub mod moment;
mod moves;
pub mod rules;
mod scan;
pub mod stage;
pub mod tree;

pub use error::{Error, Result};
pub use scan::Halt;

#[cfg(test)]
mod tests;
