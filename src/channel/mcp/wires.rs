//! Lines in, lines out: the two ends of a stdio connection.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::message::FRAME_BYTES_MAX;
use crate::channel::lines::{self, Lines};

/// Lines that wait to be written.
const WAITING_MAX: usize = 64;

/// What a side said next.
#[derive(Debug)]
pub(super) enum Line {
    /// A line, without its end.
    Text(String),
    /// A line that is no text.
    NotText(Vec<u8>),
    /// A line longer than [`FRAME_BYTES_MAX`]; it was skipped.
    TooLong,
}

/// The lines of one side.
pub(super) struct Reader<R>(Lines<R>);

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(reader: R) -> Self {
        Self(Lines::new(reader, FRAME_BYTES_MAX, FRAME_BYTES_MAX))
    }

    /// Returns the next line; `None` at the end. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<Line> {
        loop {
            return match self.0.next().await {
                Ok(Some(lines::Line::Text(text))) => Some(Line::Text(text)),
                Ok(Some(lines::Line::NotUtf8 { bytes, .. })) => Some(Line::NotText(bytes)),
                // The last line of a side that is gone may lack its end.
                Ok(Some(lines::Line::Half { bytes })) => Some(match String::from_utf8(bytes) {
                    Ok(text) => Line::Text(text),
                    Err(error) => Line::NotText(error.into_bytes()),
                }),
                Ok(Some(lines::Line::TooLong)) => Some(Line::TooLong),
                Ok(Some(lines::Line::Growing)) => continue,
                Ok(None) | Err(_) => None,
            };
        }
    }
}

/// Where lines for one side go. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Writer(mpsc::Sender<Vec<u8>>);

impl Writer {
    /// Returns it, and the work that writes what it is given; the side is closed when
    /// every clone is gone.
    pub(super) fn new(
        mut side: impl AsyncWrite + Unpin,
    ) -> (Self, impl Future<Output = io::Result<()>>) {
        let (sender, mut waiting) = mpsc::channel::<Vec<u8>>(WAITING_MAX);
        let writing = async move {
            while let Some(line) = waiting.recv().await {
                side.write_all(&line).await?;
                if waiting.is_empty() {
                    side.flush().await?;
                }
            }
            side.shutdown().await
        };
        (Self(sender), writing)
    }

    /// Gives a line; tells whether anybody takes it still. Waits while many wait.
    pub(super) async fn line(&self, line: impl Into<Vec<u8>>) -> bool {
        let mut line: Vec<u8> = line.into();
        line.push(b'\n');
        self.0.send(line).await.is_ok()
    }
}
