//! Faults on purpose.
//!
//! [`point`] names every boundary at which the supervisor may be cut off, and
//! cuts it off there when asked. The crash suite walks through all of them.
//!
//! `agentguard drill` goes further: it plays each kind of [fault](faults) on a user's
//! own task, offline. [`rehearsal`] makes the task ready for it, with a
//! [`stand_in`] for each tool and a scripted model; [`judge`] says from the
//! journal whether the right pattern answered. Starting processes and printing
//! is the command's affair.

pub mod faults;
pub mod judge;
pub mod point;
pub mod rehearsal;
pub mod stand_in;

pub use faults::Fault;
pub use point::{Between, Boundary, Side, fault};
