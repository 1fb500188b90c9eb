//! Real child processes: the agent, its tools, and all they leave behind.
//!
//! Everything we start runs beneath a *shim*: a second process of this same
//! binary that is the guardian of one agent or one tool call.
//!
//! ```text
//! supervisor (agentguard run)            child subreaper
//!   ├── shim ── agent ── its tools …     one session, no terminal
//!   └── shim ── tool call 7 ── …
//! ```
//!
//! What holds on Linux, and who sees to it:
//!
//! - The supervisor dies, by `kill -9` too: the socket to each shim closes, and
//!   each kills at once what is beneath it and what carries its mark. A daemon
//!   that forked twice, took a session of its own and emptied its environment
//!   is still beneath: orphans fall to the nearest subreaper, the shim.
//! - A shim dies: the kernel kills the agent (parent death signal), the rest
//!   falls to the supervisor, which sweeps it.
//! - The agent dies: what it left stays until [`Agent::end`], or goes with the
//!   supervisor.
//! - Everything died and something stayed nevertheless: [`sweep_marked`] finds
//!   it by the mark in its environment, before a resume.
//!
//! On other systems there is neither subreaper nor death signal; the shim still
//! notices the end of the supervisor, and sweeps by descent and mark as far as
//! `ps` shows them (`tree/other.rs`).
//!
//! Not here: which environment a child gets and what its exit means
//! (`driver`, `tools`), nor what its output says.
//!
//! To start reading: [`spec`] (what to start), then [`mod@exec`] (one tool call
//! from start to end), then [`shim`] (the other side).

pub mod agent;
pub mod capture;
mod error;
pub mod excerpt;
pub mod exec;
mod exit;
mod find;
mod launch;
mod raw;
pub mod shim;
pub mod spec;
pub mod sweep;
mod tree;
mod wire;

pub use agent::{Agent, Output, Stdio};
pub use capture::{Captured, OutputFiles};
pub use error::Error;
pub use exec::{ExecLimits, Executed, exec};
pub use exit::Exit;
pub use launch::Launcher;
pub use raw::die_with_us as end_with_us;
pub use spec::{Mark, RUN_VARIABLE, Spec, Stdin};
pub use sweep::{Survivor, Swept, sweep_marked};
