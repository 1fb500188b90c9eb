//! The seam to the driver: arrivals out, answers in.
//!
//! [`open`] makes one [`Hub`] for a run. The socket and the stdio connection
//! are attached to it; the driver takes [`Arrival`]s from the receiver and
//! answers each request, once, by its [`RequestNo`]. Where an answer goes is
//! remembered here and nowhere else; a peer that has gone is not an error.
//!
//! Requests wait for the driver, and their connection with them. Notices are
//! for the log and wait for nobody: a flood of them is thinned out to a few a
//! second, and what was left out is counted. Nothing may depend on seeing each
//! one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::Limits;
use super::frame::{self, Error, Id};
use super::method::{Answer, Call};

/// Numbers the requests of a run, over all connections, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestNo(pub u64);

/// Numbers the connections of a run, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionNo(pub u64);

/// What the channel hands to the driver.
#[derive(Debug)]
pub enum Arrival {
    /// A request to carry out and to answer.
    Request(Incoming),
    /// Something for the log.
    Notice(Notice),
}

/// A request of the loop.
#[derive(Debug)]
pub struct Incoming {
    /// Answer under this number.
    pub request: RequestNo,
    /// Where it came from.
    pub connection: ConnectionNo,
    /// The peer wants no answer. Answer all the same: it frees the room that
    /// the request takes, and is not sent.
    pub notification: bool,
    /// What is asked.
    pub call: Call,
}

/// Something for the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A peer connected.
    Connected {
        /// The new connection.
        connection: ConnectionNo,
        /// The peer's process, where the system tells.
        pid: Option<i32>,
    },
    /// A connection ended.
    Disconnected {
        /// The connection.
        connection: ConnectionNo,
        /// Why.
        reason: Ended,
        /// Requests whose answers will not be sent.
        unanswered: usize,
    },
    /// A connection was not taken.
    TurnedAway {
        /// The reason the peer was told.
        error: Error,
    },
    /// A line that was refused: no request, or one with wrong parameters.
    Garbage {
        /// Where it came from.
        connection: ConnectionNo,
        /// The reason the peer was told.
        error: Error,
        /// Its beginning, harmless to print.
        excerpt: String,
        /// Its length.
        bytes: usize,
    },
    /// A line longer than the bound, skipped.
    TooLong {
        /// Where it came from.
        connection: ConnectionNo,
        /// The bound, in bytes.
        bytes_max: usize,
    },
    /// Accepting a connection failed; it is tried again.
    AcceptFailed {
        /// What the system said.
        why: String,
    },
    /// Notices that were left out before the next one.
    Suppressed {
        /// How many.
        count: u64,
    },
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The peer ended its side, and everything was answered.
    ByPeer,
    /// The peer went away with answers unsent, or the connection broke.
    Broken {
        /// What the system said.
        why: String,
    },
    /// Too many lines in a row were not requests.
    Garbage,
    /// We closed it.
    ByUs,
}

/// Notices the driver has not taken yet; more are left out.
const NOTICES_MAX: usize = 256;

/// Makes the hub of a run and the driver's end of it.
pub fn open(limits: Limits) -> (Hub, Inbox) {
    let (requests_in, requests) = mpsc::channel(limits.arrivals_max);
    let (notices_in, notices) = mpsc::channel(NOTICES_MAX);
    let hub = Hub(Arc::new(Inner {
        small: Arc::new(Semaphore::new(limits.small_lines_bytes_max)),
        large: Arc::new(Semaphore::new(limits.large_lines_max)),
        limits,
        requests_in,
        notices_in,
        open: Mutex::default(),
        requests: AtomicU64::new(0),
        connections: AtomicU64::new(0),
        gate: Mutex::new(Gate::default()),
    }));
    (hub, Inbox { requests, notices })
}

/// The driver's end: what arrived and was not taken yet.
#[derive(Debug)]
pub struct Inbox {
    requests: mpsc::Receiver<Incoming>,
    notices: mpsc::Receiver<Notice>,
}

impl Inbox {
    /// Waits for the next arrival; `None` when the hub and everything attached
    /// to it is gone. May be dropped while it waits; nothing is lost.
    ///
    /// Requests of one connection come in the order they were sent. A notice
    /// comes before requests that wait.
    pub async fn recv(&mut self) -> Option<Arrival> {
        tokio::select! {
            biased;
            Some(notice) = self.notices.recv() => Some(Arrival::Notice(notice)),
            Some(incoming) = self.requests.recv() => Some(Arrival::Request(incoming)),
            else => None,
        }
    }

    /// Returns the next arrival if there is one now.
    pub fn try_recv(&mut self) -> Option<Arrival> {
        let notice = self.notices.try_recv().ok().map(Arrival::Notice);
        notice.or_else(|| self.requests.try_recv().ok().map(Arrival::Request))
    }
}

/// What the connections of a run share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    requests_in: mpsc::Sender<Incoming>,
    notices_in: mpsc::Sender<Notice>,
    /// Requests not answered yet.
    open: Mutex<HashMap<RequestNo, Open>>,
    requests: AtomicU64,
    connections: AtomicU64,
    /// Bytes of small lines in flight.
    small: Arc<Semaphore>,
    /// Large lines in flight.
    large: Arc<Semaphore>,
    gate: Mutex<Gate>,
}

/// Where an answer goes.
#[derive(Debug)]
enum Open {
    /// Out, on a connection.
    Line(OpenLine),
    /// To a part of the channel itself, such as the gateway.
    Within(oneshot::Sender<Result<Answer, Error>>),
}

/// A request on its way through the driver.
#[derive(Debug)]
struct OpenLine {
    connection: ConnectionNo,
    /// Absent in a notification.
    id: Option<Id>,
    outbox: Outbox,
    in_flight: OwnedSemaphorePermit,
    /// The memory of the line, given back with the answer.
    _room: OwnedSemaphorePermit,
}

/// The place of a request that was read and not handed over yet.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) connection: ConnectionNo,
    pub(super) outbox: Outbox,
    pub(super) in_flight: OwnedSemaphorePermit,
    pub(super) room: OwnedSemaphorePermit,
}

impl Hub {
    /// Returns the way back to the peers.
    pub fn answers(&self) -> Answers {
        Answers(self.clone())
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(super) fn small(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.small)
    }

    pub(super) fn large(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.large)
    }

    pub(super) fn next_connection(&self) -> ConnectionNo {
        ConnectionNo(self.0.connections.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Hands a request to the driver; waits while it has too many.
    pub(super) async fn hand_over(&self, id: Option<Id>, call: Call, place: Place) {
        let request = RequestNo(self.0.requests.fetch_add(1, Ordering::Relaxed) + 1);
        let Place {
            connection,
            outbox,
            in_flight,
            room,
        } = place;
        let notification = id.is_none();
        let open = Open::Line(OpenLine {
            connection,
            id,
            outbox,
            in_flight,
            _room: room,
        });
        self.open().insert(request, open);
        self.submit(Incoming {
            request,
            connection,
            notification,
            call,
        })
        .await;
    }

    /// Asks the driver from within the channel, and waits for its answer.
    pub(super) async fn ask(&self, call: Call) -> Result<Answer, Error> {
        let request = RequestNo(self.0.requests.fetch_add(1, Ordering::Relaxed) + 1);
        let (sender, answer) = oneshot::channel();
        self.open().insert(request, Open::Within(sender));
        self.submit(Incoming {
            request,
            connection: ConnectionNo(0),
            notification: false,
            call,
        })
        .await;
        let gone = |_| Error::Internal {
            what: "the run has ended".to_owned(),
        };
        answer.await.map_err(gone)?
    }

    async fn submit(&self, incoming: Incoming) {
        let request = incoming.request;
        if self.0.requests_in.send(incoming).await.is_err() {
            let what = "the run takes no requests any more".to_owned();
            self.answers().send(request, Err(Error::Internal { what }));
        }
    }

    /// Tells the log, unless it was told too much lately. Never waits.
    pub(super) fn notice(&self, notice: Notice) {
        let mut gate = lock(&self.0.gate);
        let Some(suppressed) = gate.pass(Instant::now()) else {
            return;
        };
        if suppressed > 0
            && self
                .0
                .notices_in
                .try_send(Notice::Suppressed { count: suppressed })
                .is_err()
        {
            gate.suppressed += suppressed;
        }
        if self.0.notices_in.try_send(notice).is_err() {
            gate.suppressed += 1;
        }
    }

    /// Forgets the requests of a connection; returns how many there were.
    pub(super) fn forget(&self, connection: ConnectionNo) -> usize {
        let mut open = self.open();
        let before = open.len();
        open.retain(
            |_, request| !matches!(request, Open::Line(line) if line.connection == connection),
        );
        before - open.len()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<RequestNo, Open>> {
        lock(&self.0.open)
    }
}

/// The way back to the peers. Cheap to clone; never waits.
#[derive(Clone, Debug)]
pub struct Answers(Hub);

impl Answers {
    /// Sends the answer to a request.
    ///
    /// What has to be durable before the peer knows must be durable before the
    /// call. A request that was answered already, or whose peer has gone, is
    /// ignored.
    ///
    /// An answer beyond the bytes that may wait unread is replaced by
    /// [`Error::Unread`].
    pub fn send(&self, request: RequestNo, answer: Result<Answer, Error>) {
        drop(self.send_to_peer(request, answer));
    }

    /// As [`Answers::send`]; returns the peer who got it, if one did.
    pub fn send_to_peer(&self, request: RequestNo, answer: Result<Answer, Error>) -> Option<Peer> {
        let open = match self.0.open().remove(&request)? {
            Open::Line(open) if open.id.is_none() => return None,
            Open::Line(open) => open,
            Open::Within(sender) => {
                // Whoever asked may have been given up on.
                let _ = sender.send(answer);
                return None;
            }
        };
        let peer = Peer(open.outbox.alive.clone());
        let bytes_max = self.0.limits().unread_bytes_max;
        let mut text = frame::render_answer(open.id.as_ref(), &answer);
        let unread_bytes = open.outbox.bytes();
        if unread_bytes > 0 && unread_bytes + text.len() > bytes_max {
            let error = Error::Unread {
                unread_bytes,
                bytes_max,
            };
            text = frame::render_answer(open.id.as_ref(), &Err(error));
        }
        open.outbox.push(text, Some(open.in_flight));
        Some(peer)
    }

    /// Answers every open request with `error`; for the end of a run.
    pub fn refuse_open(&self, error: &Error) {
        let requests: Vec<RequestNo> = self.0.open().keys().copied().collect();
        for request in requests {
            self.send(request, Err(error.clone()));
        }
    }

    /// Returns how many requests are open.
    pub fn open_count(&self) -> usize {
        self.0.open().len()
    }
}

/// Whoever is at the other end of a connection.
#[derive(Debug)]
pub struct Peer(watch::Receiver<()>);

impl Peer {
    /// Waits until the connection has ended.
    pub async fn gone(mut self) {
        // Nothing is ever sent; the sender goes with the connection.
        while self.0.changed().await.is_ok() {}
    }
}

/// Frames on their way to one peer.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    frames: UnboundedSender<Frame>,
    unread: Arc<Unread>,
    alive: watch::Receiver<()>,
}

/// What waits in an outbox or in the write under way.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: AtomicUsize,
    frames: AtomicUsize,
}

/// One line for a peer.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) text: String,
    /// Given back when the frame was written.
    pub(super) in_flight: Option<OwnedSemaphorePermit>,
}

impl Outbox {
    /// - `alive`: its sender lives as long as the connection.
    pub(super) fn new(
        alive: watch::Receiver<()>,
    ) -> (Self, mpsc::UnboundedReceiver<Frame>, Arc<Unread>) {
        // Unbounded in type only: what is pushed holds a permit of the
        // connection, or was counted first.
        let (frames, receiver) = mpsc::unbounded_channel();
        let unread = Arc::new(Unread::default());
        (
            Self {
                frames,
                unread: Arc::clone(&unread),
                alive,
            },
            receiver,
            unread,
        )
    }

    pub(super) fn push(&self, text: String, in_flight: Option<OwnedSemaphorePermit>) {
        self.unread.bytes.fetch_add(text.len(), Ordering::Relaxed);
        self.unread.frames.fetch_add(1, Ordering::Relaxed);
        // A closed outbox means the peer has gone.
        let _ = self.frames.send(Frame { text, in_flight });
    }

    pub(super) fn frames(&self) -> usize {
        self.unread.frames.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> usize {
        self.unread.bytes.load(Ordering::Relaxed)
    }
}

impl Unread {
    pub(super) fn written(&self, bytes: usize, frames: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.frames.fetch_sub(frames, Ordering::Relaxed);
    }
}

/// Lets a burst of notices through, then a few a second.
#[derive(Debug, Default)]
struct Gate {
    /// The last refill, absent before the first notice.
    since: Option<Instant>,
    spent: u32,
    suppressed: u64,
}

impl Gate {
    const BURST: u32 = 100;
    const PER_SECOND: u32 = 10;

    /// Returns how many notices were left out before this one, `None` when this
    /// one is left out as well.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let since = *self.since.get_or_insert(now);
        let seconds = now.duration_since(since).as_secs();
        if seconds > 0 {
            let refill = u32::try_from(seconds)
                .unwrap_or(u32::MAX)
                .saturating_mul(Self::PER_SECOND);
            self.spent = self.spent.saturating_sub(refill);
            self.since = Some(now);
        }
        if self.spent >= Self::BURST {
            self.suppressed += 1;
            return None;
        }
        self.spent += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_of_notices_is_thinned_out_and_counted() {
        let start = Instant::now();
        let mut gate = Gate::default();
        let passed = (0..1000).filter(|_| gate.pass(start).is_some()).count();
        assert_eq!(passed, 100);
        let later = start + Duration::from_secs(1);
        assert_eq!(
            gate.pass(later),
            Some(900),
            "the next one says how many were left out"
        );
        let passed = (0..1000).filter(|_| gate.pass(later).is_some()).count();
        assert_eq!(passed, 9);
    }
}
