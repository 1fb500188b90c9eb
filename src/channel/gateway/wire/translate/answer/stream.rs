//! The way of a reply, whole and streamed.
//!
//! The pieces of several calls may come mixed; the targets want one part after
//! the other. So the first part that is not whole is written as it grows, and
//! those behind it wait until it is closed.

use std::{mem, str};

use super::super::super::api::{Api, Framing};
use super::super::super::json;
use super::super::super::refuse as own;
use super::super::super::reply::{self as wire_reply, Fault, Unreadable};
use super::super::super::sse::Frame;
use super::super::{Error, fault, refuse};
use super::form::{Answer, Mark, Then};
use super::{chat, messages, responses};

/// Returns a whole reply of `from` as `to` writes it.
///
/// - `body`: of a reply with status 200. An error in it, which some gateways
///   send so, becomes an error of `to`.
///
/// The model stays the upstream's: it is the one that answered and is billed.
///
/// Errors: [`Error::Reply`] if it is no reply; [`Error::NotTranslatable`] if it
/// has a part that nobody asked for, or arguments that are no JSON.
pub fn reply(from: Api, to: Api, body: &[u8]) -> Result<Vec<u8>, Error> {
    if from == to {
        return Ok(body.to_vec());
    }
    let text = str::from_utf8(body).map_err(|_| Unreadable)?;
    let tree = json::tree(text).ok_or(Unreadable)?;
    if let Some(fault) = wire_reply::whole(from, Framing::Whole, body)?.error {
        let status = fault.status.unwrap_or(500);
        return Ok(fault::error(from, to, status, body));
    }
    let mut answer = Answer::default();
    match from {
        Api::Messages => messages::read_whole(text, &tree, &mut answer)?,
        Api::Chat => chat::read_whole(&tree, &mut answer)?,
        Api::Responses => responses::read_whole(&tree, &mut answer)?,
        Api::CountTokens | Api::Gemini => return Err(refuse(format!("a {from:?} reply"))),
    }
    answer.close_all();
    let written = match to {
        Api::Messages => messages::write_whole(&answer)?,
        Api::Chat => chat::write_whole(&answer),
        Api::Responses => responses::write_whole(&answer),
        Api::CountTokens | Api::Gemini => return Err(refuse(format!("a reply for {to:?}"))),
    };
    Ok(written.print().into_bytes())
}

/// Puts a stream into other words, frame by frame.
///
/// A stream that ends without its end mark leaves this one without it. Behind
/// the end mark, or an error, nothing is written any more. Chat always gets its
/// extra chunk of usage; [`super::super::super::reply::Seen`] tells it from the
/// others, for a client that did not ask.
#[derive(Debug)]
pub struct Stream {
    from: Api,
    answer: Answer,
    pen: Pen,
    /// The item that is being written.
    live: usize,
    /// Bytes of its text that were written; absent before it is opened.
    written: Option<usize>,
    is_started: bool,
    is_over: bool,
}

/// Writes for the client.
#[derive(Debug)]
struct Pen {
    to: Api,
    /// Number of the next event, where they are numbered.
    sequence: u64,
    /// What was not handed out yet.
    out: String,
}

impl Stream {
    /// Makes a translator of streams of `from` for a client of `to`.
    pub fn new(from: Api, to: Api) -> Self {
        Self {
            from,
            answer: Answer::default(),
            pen: Pen {
                to,
                sequence: 0,
                out: String::new(),
            },
            live: 0,
            written: None,
            is_started: false,
            is_over: false,
        }
    }

    /// Takes a frame of the upstream and returns the bytes for the client, none
    /// or whole frames. Total: what cannot be carried on becomes the target's
    /// error, once.
    pub fn take(&mut self, frame: &Frame) -> Vec<u8> {
        if self.from == self.pen.to {
            return frame.raw.clone();
        }
        if self.is_over || frame.is_cut {
            return Vec::new();
        }
        let then = self.read(frame).unwrap_or_else(|error| {
            Then::Fail(Fault {
                message: error.to_string(),
                status: Some(502),
                ..Fault::default()
            })
        });
        if !self.is_started && !matches!(then, Then::Quiet) {
            self.is_started = true;
            self.pen.tell(Mark::Start, &self.answer);
        }
        match then {
            Then::Quiet => self.pen.keep_alive(),
            Then::Go => self.write_new(),
            Then::End => {
                self.answer.close_all();
                self.write_new();
                self.pen.tell(Mark::End, &self.answer);
                self.is_over = true;
            }
            Then::Fail(fault) => {
                self.write_new();
                self.pen.tell(Mark::Fail(&fault), &self.answer);
                self.is_over = true;
            }
        }
        mem::take(&mut self.pen.out).into_bytes()
    }

    fn read(&mut self, frame: &Frame) -> Result<Then, Error> {
        let data = match frame.data.as_deref() {
            None => return Ok(Then::Quiet),
            Some(data) if data.trim() == "[DONE]" => {
                let is_end = self.from == Api::Chat;
                return Ok(if is_end { Then::End } else { Then::Quiet });
            }
            Some(data) => data,
        };
        let event = json::tree(data).ok_or_else(|| refuse("an event that is not JSON"))?;
        if let Some(fault) = fault::of_event(self.from, &event, frame) {
            return Ok(Then::Fail(fault));
        }
        match self.from {
            Api::Messages => messages::read(&event, &mut self.answer),
            Api::Chat => chat::read(&event, &mut self.answer),
            Api::Responses => responses::read(&event, &mut self.answer),
            Api::CountTokens | Api::Gemini => Err(refuse(format!("a {:?} reply", self.from))),
        }
    }

    /// Writes what the answer has grown by.
    fn write_new(&mut self) {
        let (answer, pen) = (&self.answer, &mut self.pen);
        while let Some(item) = answer.items.get(self.live) {
            let start = self.written.replace(item.text.len());
            if start.is_none() {
                pen.tell(Mark::Open(self.live), answer);
            }
            let piece = item.text.get(start.unwrap_or(0)..).unwrap_or_default();
            if !piece.is_empty() {
                pen.tell(Mark::Piece(self.live, piece), answer);
            }
            if !item.is_closed {
                break;
            }
            pen.tell(Mark::Close(self.live), answer);
            self.live += 1;
            self.written = None;
        }
    }
}

impl Pen {
    fn tell(&mut self, mark: Mark<'_>, answer: &Answer) {
        let events = match self.to {
            Api::Messages => messages::write(mark, answer),
            Api::Responses => responses::write(mark, answer, &mut self.sequence),
            Api::Chat | Api::CountTokens | Api::Gemini => chat::write(mark, answer),
        };
        self.out.push_str(&events);
    }

    fn keep_alive(&mut self) {
        self.out
            .push_str(own::hold(self.to, true, "", None).keep_alive);
    }
}
