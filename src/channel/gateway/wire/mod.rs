//! What model APIs look like on the wire: pure translations between bytes and
//! facts, for the gateway.
//!
//! ```text
//!  method, path ─► api ─► Route
//!  body ─► request ─► Asked ─► patch ─► the same body, a few bytes changed
//!  chunks ─► sse ─► Frame ─► reply ─► Seen per frame, Reply at the end
//!  one API's words ─► translate ─► another's
//!  our own words ─► refuse ─► bodies, frames and keep-alives of each API
//! ```
//!
//! No IO, no clock, no state of the run. Nothing here validates for the
//! upstream: what is unknown is passed over, and only what money or routing
//! depend on is an error when it cannot be read. Bodies and frames are foreign;
//! size, depth and number of everything kept from them are bounded ([`bounds`]).
//!
//! To read: [`api`] (who is asked), [`request`] (what is asked), [`said`] (what
//! a message means, in requests and replies alike), then [`reply`]; [`extras`] is
//! what a request costs besides its text.
//!
//! Not here: prices, error classes (`policy::taxonomy`), and sockets.

pub mod api;
pub mod bounds;
pub mod extras;
mod json;
pub mod patch;
pub mod refuse;
pub mod reply;
pub mod request;
pub mod said;
pub mod sse;
#[cfg(test)]
mod tests;
pub mod translate;
pub mod usage;

pub use api::{Api, Framing, Route};
pub use json::Digest;
pub use patch::Patch;
pub use refuse::{Refusal, Why};
pub use reply::{Fault, Reader, Reply, Seen, Stop};
pub use request::{Asked, Error};
pub use said::{Call, Outcome, Role, Said};
pub use sse::Frame;
pub use usage::Usage;
