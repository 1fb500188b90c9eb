//! A call of one API put into the words of another, so that an agent that
//! speaks the one can be answered by an upstream that speaks the other.
//!
//! ```text
//!  request of `from` ─► ask::{api}::read ─► Ask ─► ask::{api}::write ─► request of `to`
//!  reply of `from`  ─► answer::{api}::read ─► Answer ─► answer::{api}::write ─► reply of `to`
//!  error of `from`  ─► Fault ─► error of `to`
//! ```
//!
//! Three readers, three writers and one form between them: Messages, Chat and
//! Responses, in all six directions. Pure: no IO, no clock, no randomness.
//!
//! What changes the meaning is carried over or refused, never dropped. Every
//! object of a request is taken apart field by field; a field that nobody knows
//! is refused by its path. What is dropped on purpose is named where it is read:
//!
//! - the model's own reasoning, in histories and in replies: it is signed or
//!   encrypted for the model that wrote it;
//! - how much to think and to say (`thinking`; effort and verbosity between
//!   Messages and the others): another model does by its own default;
//! - marks for caches, storage, tiers, seeds and statistics.
//!
//! Refused are: the upstream's own tools, free-text tools, documents, files and
//! audio, histories that lie with the upstream, several answers at once,
//! logprobs, JSON as the form of an answer of Messages, and a history that ends
//! with the model's own message, which Messages alone goes on with.
//!
//! What is moved, because the target has another place for it:
//!
//! - images in tool results go into the user's message behind them (Chat);
//! - a failed tool result begins with `Error: ` (Chat, Responses);
//! - ids of calls that the target does not take become a hash of themselves.
//!
//! A stream that breaks off gets no end mark from here, and one that cannot be
//! carried on ends in an error frame of the target.
//!
//! To read: `ask` for requests, `answer` for replies, `node` for how a request
//! is taken apart.
//!
//! Not here: Gemini, token counts, models and prices, what a status means for
//! retries (`policy::taxonomy`).

mod answer;
mod ask;
mod fault;
mod node;
mod out;
#[cfg(test)]
mod tests;

pub use answer::{Stream, reply};
pub use ask::{MAX_TOKENS_DEFAULT, request};
pub use fault::error;

use sha2::{Digest as _, Sha256};

use super::api::Api;
use super::patch::PatchError;
use super::{reply as wire_reply, request as wire_request};

/// Why a call cannot be put into other words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request cannot be read.
    #[error(transparent)]
    Body(#[from] wire_request::Error),
    /// The request cannot be patched, where both APIs are the same.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// The reply cannot be read.
    #[error(transparent)]
    Reply(#[from] wire_reply::Unreadable),
    /// The other API has no words for a part of it.
    #[error("cannot be translated: {what}")]
    NotTranslatable {
        /// Which part, by its path, and why.
        what: String,
    },
}

/// Makes the error about a part that the other API has no words for.
fn refuse(what: impl Into<String>) -> Error {
    Error::NotTranslatable { what: what.into() }
}

/// Returns the id of a call as `to` takes it: as it is, or its hash if it is
/// too long or has other characters. The same id gives the same hash, so calls
/// and results stay together.
fn fit_id(to: Api, id: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let fits = match to {
        Api::Messages => id.bytes().all(is_plain) && !id.is_empty(),
        Api::Chat => id.len() <= 40,
        _ => id.len() <= 64,
    };
    if fits {
        return id.to_owned();
    }
    format!("call_{}", short_hash(id))
}

/// Returns 24 hexadecimal digits that stand for `text`.
fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let digits = digest.iter().take(12).map(|byte| format!("{byte:02x}"));
    digits.collect()
}
