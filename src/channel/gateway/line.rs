//! The way back to the agent: what it has been told of an answer so far.
//!
//! ```text
//! silent ──begin, hold──► streaming ──► ended | broken off
//!    └────answer────► answered
//! ```
//! Until the head of an answer is out, everything about it can still change; a
//! hold sends the head of a stream and signs of life behind it.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use http_body_util::Either;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::oneshot;

use super::body::{Answer, Broken, Coming, Pieces};

/// How long the last words before a break have to get out.
const FLUSH: std::time::Duration = std::time::Duration::from_millis(50);

/// One answer on its way.
pub(super) struct Line {
    head: Option<oneshot::Sender<Answer>>,
    pieces: Option<Pieces>,
    listener: Weak<()>,
}

impl Line {
    /// Opens a line; the other end gets the answer's head, and holds the listener until
    /// it has it.
    pub(super) fn open() -> (Self, oneshot::Receiver<Answer>, Arc<()>) {
        let (head, receiver) = oneshot::channel();
        let listener = Arc::new(());
        let line = Self {
            head: Some(head),
            pieces: None,
            listener: Arc::downgrade(&listener),
        };
        (line, receiver, listener)
    }

    /// Returns what tells others whether anybody listens.
    pub(super) fn listener(&self) -> Weak<()> {
        Weak::clone(&self.listener)
    }

    /// Whether nothing was said yet.
    pub(super) fn is_silent(&self) -> bool {
        self.head.is_some()
    }

    /// Whether the agent hung up.
    pub(super) fn is_gone(&self) -> bool {
        match (&self.head, &self.pieces) {
            (Some(head), _) => head.is_closed(),
            (None, Some(pieces)) => pieces.is_closed(),
            (None, None) => false,
        }
    }

    /// Waits until the agent hangs up.
    pub(super) async fn gone(&mut self) {
        match (&mut self.head, &self.pieces) {
            (Some(head), _) => head.closed().await,
            (None, Some(pieces)) => pieces.closed().await,
            (None, None) => std::future::pending().await,
        }
    }

    /// Gives a whole answer; nothing may have been said before.
    pub(super) fn answer(&mut self, answer: Answer) {
        if let Some(head) = self.head.take() {
            let _ = head.send(answer);
        }
    }

    /// Begins a stream, unless it has begun.
    pub(super) fn begin(&mut self, status: StatusCode, headers: HeaderMap) {
        let Some(head) = self.head.take() else {
            return;
        };
        let (pieces, coming) = Coming::new(self.listener.upgrade());
        let mut answer = Response::new(Either::Right(coming));
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        self.pieces = Some(pieces);
        let _ = head.send(answer);
    }

    /// Sends a sign of life.
    pub(super) async fn hold(&mut self, keep_alive: &'static str) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        self.begin(StatusCode::OK, headers);
        self.send(Bytes::from_static(keep_alive.as_bytes())).await;
    }

    /// Sends a piece of a stream.
    pub(super) async fn send(&mut self, piece: Bytes) {
        if let Some(pieces) = &self.pieces
            && !piece.is_empty()
        {
            let _ = pieces.send(Ok(piece)).await;
        }
    }

    /// Breaks a stream off behind its last words.
    pub(super) async fn break_off(&mut self, last: Bytes) {
        self.send(last).await;
        if let Some(pieces) = self.pieces.take() {
            // What is still in a buffer when we break off would be lost.
            tokio::time::sleep(FLUSH).await;
            let _ = pieces.send(Err(Broken)).await;
        }
    }

    /// Ends a stream neatly.
    pub(super) fn end(&mut self) {
        self.pieces = None;
    }
}
