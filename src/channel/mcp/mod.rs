//! The Model Context Protocol over stdio, both ways.
//!
//! - [`serve`]: a server of ours, inside a run: any MCP client gets the task's guarded
//!   tools without knowing our protocol.
//! - [`proxy`]: between a client and a server that know nothing of us: calls of tools
//!   are guarded, everything else passes byte for byte.
//!
//! ```text
//!  client ──lines──► proxy ──lines──► server          client ──lines──► serve
//!                      │ lend, lend_end                                   │ tool, state
//!                      └───────────► link ──► the run's socket ◄──────────┘
//! ```
//! Two protocol eras are alive at once: the handshake (`initialize`, up to
//! 2025-11-25) and the one without (`server/discover`, 2026-07-28, where every request
//! carries its version). The proxy needs to know of neither; [`serve`] answers both.
//!
//! Why no SDK: the proxy must pass on what it does not know, as it was written, and a
//! typed SDK reads and writes what it knows. [`message`] looks no deeper than it must.
//!
//! Not here: whether a call may go out, and what its result is worth (`driver`,
//! `machine`). This only asks.

mod end;
mod link;
pub mod message;
mod offer;
mod proxy;
mod serve;
mod told;
mod wires;

pub use end::relay;
pub use link::Link;
pub use message::FRAME_BYTES_MAX;
pub use serve::serve;

/// A [`serve`] or [`proxy`] that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The supervisor is not there.
    #[error(transparent)]
    Client(#[from] super::client::Error),

    /// stdin or stdout cannot be used.
    #[error("stdin and stdout, where the client should be, cannot be used")]
    Stdio(#[source] std::io::Error),

    /// The server's program does not start.
    #[error("the MCP server `{program}` does not start")]
    Start {
        /// Its name.
        program: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}
