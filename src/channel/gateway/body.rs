//! The body of an answer: known as a whole, or still coming.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

/// What we answer with.
pub(super) type Answer = hyper::Response<Either<Full<Bytes>, Coming>>;

/// The other side broke off, and so do we: an answer that was cut must not look
/// as if it had ended.
#[derive(Debug, thiserror::Error)]
#[error("the upstream broke off")]
pub(super) struct Broken;

/// Where the pieces of a body are put.
pub(super) type Pieces = mpsc::Sender<Result<Bytes, Broken>>;

/// A body whose pieces are still coming.
pub(super) struct Coming {
    pieces: mpsc::Receiver<Result<Bytes, Broken>>,
    /// Dropped with the connection.
    _listener: Option<Arc<()>>,
}

/// Pieces that wait to be written; more make the upstream wait.
const PIECES_MAX: usize = 16;

impl Coming {
    pub(super) fn new(listener: Option<Arc<()>>) -> (Pieces, Self) {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let coming = Self {
            pieces,
            _listener: listener,
        };
        (sender, coming)
    }
}

impl Body for Coming {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.pieces
            .poll_recv(context)
            .map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
