//! The run in the real world: between the machine and everything that does IO.
//!
//! ```text
//!  channel ─┐                                    ┌─► answers to the loop
//!  tools  ──┤                                    ├─► tool executions
//!  timers ──┼─► Event ─► Session::feed ─► disk ──┼─► timers
//!  signals ─┤              (machine)             ├─► end of the agent
//!  agent  ──┘                                    └─► observers
//! ```
//! - [`host`]: begins a run, or goes on with one;
//! - [`session`]: one owned run; the only way by which anything happens to it;
//! - [`supervise`]: one attempt, from the start of the agent to its last process;
//! - [`conclude`]: what comes between the agent's end and the run's: checks;
//! - [`saga`]: takes back what a run did;
//! - [`recover`]: what comes before another attempt;
//! - [`by_hand`]: items done again while no agent runs;
//! - [`facts`], [`translate`], [`policy`], [`prices`]: what the machine needs, in its words;
//! - [`batch`]: several items for one tool, on their way in and out;
//! - `work`: tries, probes and waits that are under way; `judge`: what came of a call;
//! - `human`: what humans did meanwhile;
//! - `conversations`: which conversation a model call belongs to;
//! - [`launch`], [`input`], [`output`], `gateway`: the agent's surroundings;
//! - [`staging`]: the copy that the agent works on, its commit, and locks; [`beside`]: how
//!   commands that are started there find the files beside the task file;
//! - [`notify`]: tells people.
//!
//! Not here: any decision. Those are in `machine` and `policy`.

pub mod batch;
pub mod beside;
pub mod by_hand;
pub mod conclude;
mod conversations;
pub mod facts;
pub mod gateway;
pub mod host;
mod human;
pub mod input;
mod judge;
pub mod launch;
mod lent;
mod models;
pub mod notify;
pub mod output;
pub mod policy;
pub mod prices;
pub mod recording;
pub mod recover;
pub mod replay;
mod review;
pub mod saga;
pub mod session;
pub mod staging;
pub mod supervise;
mod timer;
pub mod translate;
mod work;

pub use session::{Error, Session};
