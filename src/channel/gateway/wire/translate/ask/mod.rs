//! Requests: read from one API, written for another.
//!
//! `form` is what stands between; each API has a file that reads it and
//! writes it, and `open_ai` is what two of them share.

mod chat;
mod form;
mod messages;
mod open_ai;
mod responses;

pub use form::MAX_TOKENS_DEFAULT;

use std::str;

use serde_json::value::RawValue;

use super::super::api::Api;
use super::super::patch::{self, Patch};
use super::super::request as wire_request;
use super::super::said::Role;
use super::node::Node;
use super::{Error, refuse};
use form::Ask;

/// Returns the request as `to` takes it, asking `model`.
///
/// - `body`: a request of `from`. If both are the same API, only the model is
///   changed, and every other byte stays.
///
/// A stream of Chat is asked for its usage. A request for Messages gets a limit
/// of [`MAX_TOKENS_DEFAULT`] if it has none.
///
/// Errors: [`Error::NotTranslatable`] names the first part that `to` has no
/// words for; [`Error::Body`] if the body is broken.
pub fn request(from: Api, to: Api, body: &[u8], model: &str) -> Result<Vec<u8>, Error> {
    if from == to {
        let patch = Patch {
            model: Some(model.to_owned()),
            ..Patch::default()
        };
        return Ok(patch::apply(from, body, &patch)?.into_owned());
    }
    let asked = wire_request::read(from, body)?;
    // The body was read, so it is text and an object.
    let text = str::from_utf8(body).unwrap_or_default();
    let root: &RawValue = serde_json::from_str(text).map_err(|_| refuse("the request body"))?;
    let mut fields = Node::root(root).object()?;
    fields.drop(&["model", "stream"]);
    let mut ask = Ask {
        is_stream: asked.is_stream,
        max_output: asked.max_output,
        ..Ask::default()
    };
    match from {
        Api::Messages => messages::read(&mut fields, &mut ask)?,
        Api::Chat => chat::read(&mut fields, &mut ask)?,
        Api::Responses => responses::read(&mut fields, &mut ask)?,
        Api::CountTokens | Api::Gemini => return Err(refuse(format!("a {from:?} request"))),
    }
    fields.finish()?;
    if let Some(last) = ask.turns.last()
        && last.role == Role::Assistant
        && [from, to].contains(&Api::Messages)
    {
        let why = "is the model's own and the last: Messages goes on with it, others answer it";
        return Err(refuse(format!("{} {why}", last.path)));
    }
    let written = match to {
        Api::Messages => messages::write(&ask, model)?,
        Api::Chat => chat::write(&ask, model)?,
        Api::Responses => responses::write(&ask, model)?,
        Api::CountTokens | Api::Gemini => return Err(refuse(format!("a request for {to:?}"))),
    };
    Ok(written.print().into_bytes())
}
