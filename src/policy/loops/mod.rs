//! Finds loops in the tool calls of a run, and says what to do about them.
//!
//! Pure: no clock, no IO, no randomness. Each finished call becomes a small
//! [`Print`] (stored in the journal); the [`Detector`] reads prints, never
//! contents, so replaying the journal gives the findings of the live run.
//!
//! ```text
//! tool, args, result ──► fingerprint, mask, meaning ──► Print ──► journal
//!                                                         │
//!                      Finding ◄── ladder ◄── rungs ◄── window (last 64 calls)
//! ```
//!
//! The evidence is repetition of call *and* result. Only human input and a
//! successful change never seen before clear it; any other call does not.
//!
//! Not here: retry budgets (infrastructure errors count as a loop only as an
//! endless storm), money and deadlines (hard caps stay underneath), delivery
//! of the steer text, and the choice between pausing and stopping.
//!
//! Start reading at [`Detector::observe`], then [`Print::of`], then the rungs
//! in the order of [`Rung`].

mod canonical;
mod config;
mod cycle;
mod density;
mod detector;
mod digest;
mod echo;
mod edit;
mod finding;
pub mod fingerprint;
mod growth;
mod ladder;
mod mask;
mod meaning;
mod poll;
mod print;
mod program;
mod programs;
mod recurrence;
mod repeat;
mod reversal;
mod shell;
mod sketch;
mod spelling;
mod stagnation;
mod storm;
mod talk;
pub mod trace;
mod trouble;
mod verbs;
mod volatile;
mod window;
mod words;

pub use config::{Config, ToolTraits};
pub use detector::Detector;
pub use digest::Digest;
pub use edit::Touch;
pub use finding::{Finding, Level, Rung};
pub use growth::Growth;
pub use print::{Kind, Outcome, Print, Talk};
pub use sketch::Sketch;
pub use trouble::ErrorKind;
