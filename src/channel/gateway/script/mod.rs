//! A scripted model: answers from a file, over real HTTP.
//!
//! ```text
//!  text ─► file ─► Script ─┐
//!  request ─► wire ─► plan ┴─► render ─► server ─► the agent
//!                       faults ─┘          └─► ledger
//! ```
//!
//! It speaks Messages, Chat, Responses and Gemini, streamed and whole, and lets
//! things go wrong at the turns that the script names. Which turn a request gets
//! follows from the conversation it carries, so an agent that was started again
//! goes on where it was. How often a fault has happened, and what was billed,
//! stands in the ledger: `GET /_script/ledger`.
//!
//! To read: [`file`] (the format), `plan` (which turn, which tool), `render`
//! (the words of each API), `server` (faults and bytes).
//!
//! Not here: checking keys, limits of rate, anything random.

pub mod file;
mod ledger;
mod plan;
mod render;
mod server;
#[cfg(test)]
mod tests;

pub use file::{Error, Script, parse};
pub use server::Model;

use super::wire::{Api, Framing};

/// Says a fixed text in the words of an API, for nothing.
///
/// Returns the content type and the body.
pub(super) fn say(api: Api, framing: Framing, model: &str, text: &str) -> (&'static str, Vec<u8>) {
    let answer = render::Answer {
        api,
        model: model.to_owned(),
        label: "fixed".to_owned(),
        text: text.to_owned(),
        calls: Vec::new(),
        usage: file::Usage {
            input: 0,
            output: 0,
            cache_read: 0,
            cache_write: 0,
        },
        stop: file::Stop::End,
        shows_usage: false,
    };
    let content_type = match framing {
        Framing::Events => "text/event-stream",
        Framing::Whole | Framing::List => "application/json",
    };
    (
        content_type,
        render::frames(&answer, framing).concat().into_bytes(),
    )
}
