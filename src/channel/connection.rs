//! One peer: reads its lines, writes its answers, until either side ends.
//!
//! Reading stops while the peer has too much in flight; a request counts until
//! its answer is written, so a peer that does not read its answers is, sooner
//! or later, not read either. Errors for lines that show no id hold no place;
//! they are dropped while many frames wait, so that a child which only prints
//! never waits for itself.
//!
//! When the peer ends its side, open requests are still answered. When writing
//! fails, or the system says that both sides are closed, the peer has gone and
//! its open requests are forgotten; the driver may finish them all the same.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::frame::{self, Code, Error, Id};
use super::hub::{ConnectionNo, Ended, Frame, Hub, Notice, Outbox, Place, Unread};
use super::lines::{Line, Lines};
use super::method::Call;
use super::raw;

/// Frames that may wait before errors without an id are dropped.
const NAMELESS_FRAMES_MAX: usize = 64;
/// How often a peer that ended its side is asked whether it still reads.
const GONE_CHECK: Duration = Duration::from_secs(1);
/// Bytes gathered into one write.
const WRITE_BYTES: usize = 64 * 1024;

/// Gets each line that is no JSON, for the agent's log.
pub(super) type Stray = Box<dyn FnMut(&[u8]) + Send>;

/// Tells whether a peer has gone for good; never waits.
pub(super) type Gone = Box<dyn Fn() -> bool + Send>;

/// How one connection differs from the others.
pub(super) struct Manner {
    /// The peer's process, where the system tells.
    pub(super) pid: Option<i32>,
    /// Lines in a row that may be no requests; absent for no bound.
    pub(super) garbage_in_a_row_max: Option<usize>,
    /// Where lines that are no JSON go besides.
    pub(super) stray: Option<Stray>,
    /// Whether the peer has closed both sides, where the system can tell.
    pub(super) gone: Option<Gone>,
}

/// Serves one peer to its end.
///
/// - `closing`: once it turns true or its sender is gone, nothing more is read,
///   open requests are forgotten, and what is queued is written.
pub(super) async fn serve(
    hub: Hub,
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    mut manner: Manner,
    mut closing: watch::Receiver<bool>,
) {
    let connection = hub.next_connection();
    hub.notice(Notice::Connected {
        connection,
        pid: manner.pid,
    });
    let (_alive, alive) = watch::channel(());
    let (outbox, frames, unread) = Outbox::new(alive);
    let gone = manner.gone.take();
    let reading = Reading {
        in_flight: Arc::new(Semaphore::new(hub.limits().in_flight_max)),
        garbage_in_a_row: 0,
        connection,
        outbox,
        manner,
        hub: hub.clone(),
    };
    let mut writing = Box::pin(write(writer, frames, unread));
    let broken = |error: io::Error| Ended::Broken {
        why: error.to_string(),
    };
    let mut unanswered = 0;
    let read = tokio::select! {
        ended = reading.run(reader) => Ok(ended),
        _ = closed(&mut closing) => Ok(Ended::ByUs),
        result = &mut writing => Err(result),
    };
    let reason = match read {
        Err(result) => result.err().map_or(Ended::ByUs, broken),
        Ok(ended) => {
            // The reader has let go of the outbox; it closes with the last
            // open request, and then writing is over.
            if matches!(ended, Ended::ByUs | Ended::Broken { .. }) {
                unanswered = hub.forget(connection);
            }
            let left = tokio::select! {
                result = &mut writing => Some(result),
                () = closed(&mut closing) => None,
                () = leaves(gone) => None,
            };
            let written = match left {
                Some(result) => result,
                None => {
                    unanswered += hub.forget(connection);
                    writing.await
                }
            };
            written.err().map_or(ended, broken)
        }
    };
    unanswered += hub.forget(connection);
    hub.notice(Notice::Disconnected {
        connection,
        reason,
        unanswered,
    });
}

/// The reading side of a connection.
struct Reading {
    hub: Hub,
    connection: ConnectionNo,
    outbox: Outbox,
    in_flight: Arc<Semaphore>,
    garbage_in_a_row: usize,
    manner: Manner,
}

impl Reading {
    async fn run(mut self, reader: impl AsyncRead + Unpin) -> Ended {
        let limits = self.hub.limits().clone();
        let mut lines = Lines::new(reader, limits.small_line_bytes, limits.line_bytes_max);
        let mut large = None;
        loop {
            let line = match lines.next().await {
                Ok(Some(line)) => line,
                Ok(None) => return Ended::ByPeer,
                Err(error) => {
                    return Ended::Broken {
                        why: error.to_string(),
                    };
                }
            };
            match line {
                Line::Growing => {
                    match timeout(limits.large_line_wait, acquire(self.hub.large(), 1)).await {
                        Ok(permit) => large = Some(permit),
                        Err(_) => {
                            lines.skip();
                            let (lines_max, small_bytes) =
                                (limits.large_lines_max, limits.small_line_bytes);
                            self.refuse_line(
                                Error::TooManyLargeLines {
                                    lines_max,
                                    small_bytes,
                                },
                                b"",
                            );
                        }
                    }
                }
                Line::TooLong => {
                    large = None;
                    self.garbage_in_a_row += 1;
                    let bytes_max = limits.line_bytes_max;
                    self.tell(&Error::TooLarge { bytes_max });
                    let notice = Notice::TooLong {
                        connection: self.connection,
                        bytes_max,
                    };
                    self.hub.notice(notice);
                }
                Line::NotUtf8 { offset, bytes } => {
                    large = None;
                    self.refuse_line(Error::NotUtf8 { offset }, &bytes);
                }
                Line::Half { bytes } => {
                    large = None;
                    self.refuse_line(Error::HalfLine { bytes: bytes.len() }, &bytes);
                }
                Line::Text(text) => {
                    let room = match large.take() {
                        Some(room) => room,
                        None => {
                            acquire(
                                self.hub.small(),
                                text.len().min(limits.small_lines_bytes_max),
                            )
                            .await
                        }
                    };
                    self.request(text, room).await;
                }
            }
            let patience = self.manner.garbage_in_a_row_max;
            if patience.is_some_and(|most| self.garbage_in_a_row >= most) {
                let lines = self.garbage_in_a_row;
                self.outbox.push(
                    frame::render_answer(None, &Err(Error::TooMuchGarbage { lines })),
                    None,
                );
                return Ended::Garbage;
            }
        }
    }

    /// Takes one line: hands it over, or answers what is wrong with it.
    async fn request(&mut self, text: String, room: OwnedSemaphorePermit) {
        let request = match frame::parse(&text) {
            Ok(request) => request,
            Err(rejection) => match rejection.id {
                None => return self.refuse_line(rejection.error, text.as_bytes()),
                Some(id) => {
                    self.garbage_in_a_row += 1;
                    return self.refuse_request(Some(id), rejection.error, &text).await;
                }
            },
        };
        self.garbage_in_a_row = 0;
        match Call::parse(&request.method, request.params) {
            Err(error) => self.refuse_request(request.id, error, &text).await,
            Ok(call) => {
                let id = request.id;
                drop(text);
                let in_flight = acquire(Arc::clone(&self.in_flight), 1).await;
                let (connection, outbox) = (self.connection, self.outbox.clone());
                self.hub
                    .hand_over(
                        id,
                        call,
                        Place {
                            connection,
                            outbox,
                            in_flight,
                            room,
                        },
                    )
                    .await;
            }
        }
    }

    /// Answers a line that shows no id.
    fn refuse_line(&mut self, error: Error, line: &[u8]) {
        self.garbage_in_a_row += 1;
        if error.code() == Code::Parse
            && let Some(stray) = &mut self.manner.stray
        {
            stray(line);
        }
        self.tell(&error);
        let start = &line[..line.len().min(256)];
        self.log_refusal(error, &String::from_utf8_lossy(start), line.len());
    }

    /// Answers a request that shows its id, or a notification with silence.
    async fn refuse_request(&mut self, id: Option<Id>, error: Error, text: &str) {
        if let Some(id) = id {
            let in_flight = acquire(Arc::clone(&self.in_flight), 1).await;
            let answer = frame::render_answer(Some(&id), &Err(error.clone()));
            self.outbox.push(answer, Some(in_flight));
        }
        self.log_refusal(error, text, text.len());
    }

    /// Sends an error without an id, unless the peer has enough to read.
    fn tell(&self, error: &Error) {
        if self.outbox.frames() < NAMELESS_FRAMES_MAX {
            self.outbox
                .push(frame::render_answer(None, &Err(error.clone())), None);
        }
    }

    fn log_refusal(&self, error: Error, text: &str, bytes: usize) {
        let (connection, excerpt) = (self.connection, raw::excerpt(text));
        self.hub.notice(Notice::Garbage {
            connection,
            error,
            excerpt,
            bytes,
        });
    }
}

/// Waits until the peer has closed both sides; forever where that cannot be told.
async fn leaves(gone: Option<Gone>) {
    let Some(gone) = gone else {
        return std::future::pending().await;
    };
    while !gone() {
        tokio::time::sleep(GONE_CHECK).await;
    }
}

/// Waits until closing.
pub(super) async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is closing as well.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Waits for `count` permits.
async fn acquire(semaphore: Arc<Semaphore>, count: usize) -> OwnedSemaphorePermit {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    semaphore
        .acquire_many_owned(count)
        .await
        .expect("the semaphores of a hub are never closed")
}

/// Writes frames until nobody can send any more.
async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut frames: mpsc::UnboundedReceiver<Frame>,
    unread: Arc<Unread>,
) -> io::Result<()> {
    while let Some(first) = frames.recv().await {
        let mut bytes = first.text.into_bytes();
        let mut permits = vec![first.in_flight];
        while bytes.len() < WRITE_BYTES {
            let Ok(next) = frames.try_recv() else { break };
            bytes.extend_from_slice(next.text.as_bytes());
            permits.push(next.in_flight);
        }
        writer.write_all(&bytes).await?;
        writer.flush().await?;
        unread.written(bytes.len(), permits.len());
    }
    writer.shutdown().await
}
