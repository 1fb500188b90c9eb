//! The channel as a whole: real sockets, hostile peers, the specification.

mod document;
mod frames;
mod hostile;
mod serving;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::hub::{Arrival, Ended, Inbox, Incoming, Notice};
use super::method::{Answer, Call, Limits as Left, TurnAnswer, Verdict};
use super::socket::Socket;
use super::{Answers, Hub, Limits};
use crate::ids::StepNo;

/// The longest a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(60);

/// A new folder with a short path, removed when dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        let path = PathBuf::from(format!("/tmp/agt-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A listening socket and the driver's end of it.
struct Bench {
    folder: Folder,
    hub: Hub,
    arrivals: Inbox,
    answers: Answers,
    socket: Socket,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let folder = Folder::new();
        let (hub, arrivals) = super::open(limits);
        let socket = Socket::bind(&hub, folder.path()).unwrap();
        Self {
            answers: hub.answers(),
            folder,
            hub,
            arrivals,
            socket,
        }
    }

    async fn peer(&self) -> Peer {
        Peer::connect(self.socket.path()).await
    }

    async fn arrival(&mut self) -> Arrival {
        soon(self.arrivals.recv()).await.expect("the hub is there")
    }

    /// Returns the next request; what the log is told is passed over.
    async fn request(&mut self) -> Incoming {
        loop {
            if let Arrival::Request(incoming) = self.arrival().await {
                return incoming;
            }
        }
    }

    /// Returns why the next connection to end did; requests are passed over.
    async fn ended(&mut self) -> (Ended, usize) {
        loop {
            if let Arrival::Notice(Notice::Disconnected {
                reason, unanswered, ..
            }) = self.arrival().await
            {
                return (reason, unanswered);
            }
        }
    }

    /// Answers every turn with its own number, until the test is over.
    fn answer_turns(self) -> Replier {
        let path = self.socket.path().to_owned();
        let task = tokio::spawn(async move {
            // The whole of it: a block that moves fields would drop the socket.
            let mut bench = self;
            while let Some(arrival) = bench.arrivals.recv().await {
                if let Arrival::Request(incoming) = arrival {
                    bench
                        .answers
                        .send(incoming.request, Ok(go(step_of(&incoming.call))));
                }
            }
        });
        Replier { path, task }
    }
}

/// A driver that answers turns.
struct Replier {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Replier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn step_of(call: &Call) -> u64 {
    match call {
        Call::Turn(turn) => turn.step.map_or(0, |step| step.0),
        _ => 0,
    }
}

/// The answer to turn `step`: go on.
fn go(step: u64) -> Answer {
    Answer::Turn(TurnAnswer {
        step: StepNo(step),
        verdict: Verdict::Go,
        limits: Left::default(),
        warnings: vec![],
        next: super::method::Next::Take,
    })
}

/// A client that writes what it likes.
struct Peer {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Peer {
    async fn connect(path: &Path) -> Self {
        let (reader, writer) = UnixStream::connect(path).await.unwrap().into_split();
        Self {
            reader: BufReader::new(reader),
            writer,
        }
    }

    async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.writer.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Returns the next line as JSON, `None` at the end of the stream.
    async fn read(&mut self) -> Option<serde_json::Value> {
        let mut line = String::new();
        soon(self.reader.read_line(&mut line))
            .await
            .ok()
            .filter(|bytes| *bytes > 0)?;
        Some(serde_json::from_str(&line).expect("every frame is JSON"))
    }

    /// Returns the code of the next frame, 0 for a result.
    async fn code(&mut self) -> i64 {
        let frame = self.read().await.expect("a frame");
        frame["error"]["code"].as_i64().unwrap_or(0)
    }
}

/// The line of turn `step`, its id the same number.
fn turn_line(step: u64) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{step},\"method\":\"turn\",\"params\":{{\"step\":{step}}}}}\n"
    )
}

/// Waits for what must happen.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("must happen soon")
}
