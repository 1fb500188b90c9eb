//! The rules: data in, decision with its reason out.
//!
//! Pure. Nothing here knows the time, a file or a process; whoever calls hands
//! in what is needed.
//!
//! - [`taxonomy`]: what a result is, and why;
//! - [`retry`]: when to try again, within which budget;
//! - [`batch`]: whether enough of several items succeeded;
//! - [`breaker`]: when not to call at all;
//! - [`loops`]: when a run goes round in circles;
//! - [`budget`]: what a run may still use;
//! - [`degrade`]: which model answers instead;
//! - [`escalation`]: when a human is asked.

pub mod batch;
pub mod breaker;
pub mod budget;
pub mod degrade;
pub mod escalation;
pub mod loops;
pub mod retry;
pub mod taxonomy;
