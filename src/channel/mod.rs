//! How an agent talks to us: by the line protocol, or through its model calls.
//!
//! Newline-delimited JSON-RPC 2.0, the same frames over a Unix socket
//! ([`socket`]) and over the agent's own stdin and stdout ([`stdio`]). The
//! specification is `docs/protocol.md`.
//!
//! ```text
//!  bytes ─► lines ─► frame ─► method::Call ─► Arrival::Request ─► driver
//!  bytes ◄─ connection ◄─ frame ◄─ method::Answer ◄─ Answers::send ◄─┘
//! ```
//!
//! The channel only translates. It decides nothing about the run, keeps no
//! journal and promises nothing durable: an answer is sent when the driver
//! says so, by [`hub::Answers`], under the [`RequestNo`] it came with.
//!
//! Everything a peer can make grow has a bound in [`Limits`], and every bound
//! is met by waiting (the peer's writes block) before it is met by an error.
//!
//! To read: [`frame`] (what a line is), [`method`] (what can be asked), then
//! [`hub`] (the seam to the driver). [`client`] is the other side, used by
//! `agentguard turn` and its siblings; [`flags`] makes their parameters.
//!
//! [`gateway`] is for agents that know nothing of us: it reads their model calls
//! and asks the driver in their place.
//!
//! [`mcp`] is a client of the socket that gives the run's tools to MCP clients, and
//! stands between them and their servers.

pub mod client;
mod connection;
pub mod flags;
pub mod frame;
pub mod gateway;
pub mod heard;
pub mod hub;
pub mod lines;
pub mod mcp;
pub mod method;
pub mod money;
mod params;
mod raw;
pub mod socket;
pub mod stdio;
mod suggest;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use hub::{
    Answers, Arrival, ConnectionNo, Ended, Hub, Inbox, Incoming, Notice, Peer, RequestNo, open,
};

/// The environment variable that tells processes below the agent where the
/// socket is.
pub const SOCKET_ENV: &str = "AGENTGUARD_SOCKET";

/// What a peer can make grow, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest line, in bytes without its end.
    pub line_bytes_max: usize,
    /// Size up to which a line counts as small, in bytes.
    pub small_line_bytes: usize,
    /// Bytes of small lines in flight at once, over all connections; more wait.
    pub small_lines_bytes_max: usize,
    /// Larger lines in flight at once, over all connections; more wait.
    pub large_lines_max: usize,
    /// How long a large line waits for its turn before it is refused.
    pub large_line_wait: Duration,
    /// Connections at once; more are told so and closed.
    pub connections_max: usize,
    /// Requests of one connection carried out or with their answer unread; more
    /// are not read from the socket until there is room.
    pub in_flight_max: usize,
    /// Bytes of unread answers of one connection; an answer beyond becomes an
    /// error.
    pub unread_bytes_max: usize,
    /// Lines in a row that are not requests, before a socket connection is
    /// closed.
    pub garbage_in_a_row_max: usize,
    /// Arrivals the driver has not taken yet, over all connections.
    pub arrivals_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes_max: 16 << 20,
            small_line_bytes: 1 << 20,
            small_lines_bytes_max: 64 << 20,
            large_lines_max: 8,
            large_line_wait: Duration::from_secs(30),
            connections_max: 64,
            in_flight_max: 256,
            unread_bytes_max: 32 << 20,
            garbage_in_a_row_max: 100,
            arrivals_max: 64,
        }
    }
}
