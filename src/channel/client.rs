//! The other side: a blocking client for processes inside a run.
//!
//! Used by `agentguard turn`, `tool`, `report` and `state`: connect to the
//! socket that `AGENTGUARD_SOCKET` names, ask one thing, print the answer. It
//! needs no runtime and starts fast, because a shell loop calls it on every
//! turn. The parameters are made by [`super::flags`].

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::SOCKET_ENV;
use super::frame::{self, Id};
use super::method::Verbatim;

/// Longest answer taken, in bytes. Answers carry whole conversations.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// How long the supervisor may take to read a request.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The variable with the socket's path is not set.
    #[error("not inside a run: {SOCKET_ENV} is not set")]
    NotInRun,

    /// Nobody listens on the socket any more.
    #[error("the supervisor is gone: nobody listens on {path}", path = .path.display())]
    Gone {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The socket cannot be used.
    #[error("cannot talk to the supervisor on {path}", path = .path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The supervisor closed the connection instead of answering.
    #[error(
        "the supervisor ended before it answered `{method}`; whether it was carried out is not known"
    )]
    Unanswered {
        /// What was asked.
        method: String,
    },

    /// No answer came in time.
    #[error("no answer to `{method}` within {patience_ms} ms; it may still be carried out")]
    TimedOut {
        /// What was asked.
        method: String,
        /// How long was waited.
        patience_ms: u128,
    },

    /// The supervisor refused.
    #[error("{message}")]
    Refused {
        /// The code of the protocol, such as -32003.
        code: i64,
        /// Its sentence.
        message: String,
        /// Its machine-readable part.
        data: Value,
    },

    /// The answer is not a frame of this protocol.
    #[error("the answer to `{method}` is not one of protocol 1: {why}")]
    Unreadable {
        /// What was asked.
        method: String,
        /// What is wrong.
        why: String,
    },
}

impl Error {
    /// Returns the next thing the reader can do, if there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotInRun => {
                Some("start the loop with `agentguard run TASK`; it sets the variable")
            }
            Self::Gone { .. } => Some(
                "the run has ended or crashed; `agentguard runs` lists it, `agentguard resume RUN` goes on",
            ),
            Self::Unanswered { .. } | Self::TimedOut { .. } => Some(
                "`agentguard state` tells where the run is; a turn sent again with its --step is counted once",
            ),
            Self::Broken { .. } | Self::Refused { .. } | Self::Unreadable { .. } => None,
        }
    }
}

/// A connection to the supervisor.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
    asked: u64,
    /// Bytes received beyond the last answer.
    received: Vec<u8>,
}

impl Client {
    /// Connects to the run this process is in.
    ///
    /// Errors: [`Error::NotInRun`], [`Error::Gone`], [`Error::Broken`].
    pub fn from_env() -> Result<Self, Error> {
        Self::connect(&socket_of_run()?)
    }

    /// Connects to the socket at `path`.
    ///
    /// Errors: [`Error::Gone`], [`Error::Broken`].
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(path).map_err(|source| not_connected(path, source))?;
        Ok(Self {
            stream,
            path: path.to_owned(),
            asked: 0,
            received: Vec::new(),
        })
    }

    /// Asks one thing and waits for its answer.
    ///
    /// - `patience`: the longest wait; absent for as long as it takes, which is
    ///   right for a tool that may run for hours.
    ///
    /// Returns the `result` member as it came.
    ///
    /// Errors: all but [`Error::NotInRun`].
    pub fn ask(
        &mut self,
        method: &str,
        params: &Verbatim,
        patience: Option<Duration>,
    ) -> Result<Verbatim, Error> {
        self.asked += 1;
        let id = Id::number(self.asked);
        let request = frame::render_request(&id, method, params);
        let until = patience.map(|patience| Instant::now() + patience);
        let sent = self.send(&request);
        // A supervisor that turned us away has said why before it closed.
        match self.receive(method, &id, until) {
            Err(Error::TimedOut { method, .. }) => {
                let patience_ms = patience.unwrap_or_default().as_millis();
                Err(Error::TimedOut {
                    method,
                    patience_ms,
                })
            }
            Err(Error::Unanswered { .. }) if sent.is_err() => sent.and(Err(Error::NotInRun)),
            received => received,
        }
    }

    fn send(&mut self, request: &str) -> Result<(), Error> {
        let sent = self.stream.set_write_timeout(Some(WRITE_PATIENCE));
        let sent = sent.and_then(|()| self.stream.write_all(request.as_bytes()));
        sent.map_err(|source| self.broken(source))
    }

    fn receive(
        &mut self,
        method: &str,
        id: &Id,
        until: Option<Instant>,
    ) -> Result<Verbatim, Error> {
        loop {
            let line = self.line(method, until)?;
            if let Some(result) = read_answer(method, id, &line)? {
                return Ok(result);
            }
        }
    }

    /// Returns the next line, without its end.
    fn line(&mut self, method: &str, until: Option<Instant>) -> Result<Vec<u8>, Error> {
        let mut searched = 0;
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(place) = self.received[searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let rest = self.received.split_off(searched + place + 1);
                return Ok(std::mem::replace(&mut self.received, rest));
            }
            searched = self.received.len();
            if searched > ANSWER_BYTES_MAX {
                let why = format!("longer than {ANSWER_BYTES_MAX} bytes");
                return Err(Error::Unreadable {
                    method: method.into(),
                    why,
                });
            }
            match self.read(&mut chunk, until) {
                Ok(0) => {
                    return Err(Error::Unanswered {
                        method: method.into(),
                    });
                }
                Ok(bytes) => self.received.extend_from_slice(&chunk[..bytes]),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                        return Err(Error::Unanswered {
                            method: method.into(),
                        });
                    }
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        return Err(Error::TimedOut {
                            method: method.into(),
                            patience_ms: 0,
                        });
                    }
                    _ => return Err(self.broken(error)),
                },
            }
        }
    }

    fn read(&mut self, chunk: &mut [u8], until: Option<Instant>) -> io::Result<usize> {
        if let Some(until) = until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
        }
        self.stream.read(chunk)
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::Broken {
            path: self.path.clone(),
            source,
        }
    }
}

/// Returns the socket of the run this process is in.
///
/// Errors: [`Error::NotInRun`].
pub(super) fn socket_of_run() -> Result<PathBuf, Error> {
    socket_of(std::env::var_os(SOCKET_ENV))
}

/// Returns the socket that the variable's value names.
fn socket_of(value: Option<OsString>) -> Result<PathBuf, Error> {
    let named = value.filter(|path| !path.is_empty());
    named.map(PathBuf::from).ok_or(Error::NotInRun)
}

/// Says why a socket cannot be connected to.
pub(super) fn not_connected(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Error::Gone { path, source },
        _ => Error::Broken { path, source },
    }
}

/// Reads one line of the supervisor; `None` when it answers something else.
pub(super) fn read_answer(method: &str, id: &Id, line: &[u8]) -> Result<Option<Verbatim>, Error> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
        #[serde(borrow)]
        result: Option<&'a RawValue>,
        error: Option<Refusal>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        code: i64,
        message: String,
        #[serde(default)]
        data: Value,
    }
    let unreadable = |why: String| Error::Unreadable {
        method: method.into(),
        why,
    };
    let answer: Answer<'_> =
        serde_json::from_slice(line).map_err(|error| unreadable(error.to_string()))?;
    // With one request under way, an error without an id is about it.
    let ours = answer.id.get() == id.as_json() || answer.id.get() == "null";
    match (answer.result, answer.error) {
        _ if !ours => Ok(None),
        (
            _,
            Some(Refusal {
                code,
                message,
                data,
            }),
        ) => Err(Error::Refused {
            code,
            message,
            data,
        }),
        (Some(result), None) => Ok(Some(Verbatim::from(result))),
        (None, None) => Err(unreadable("neither a result nor an error".into())),
    }
}

/// What an answer tells the caller to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Told {
    /// `go`, `steer` or `stop`; absent in answers that carry none.
    pub verdict: Option<String>,
    /// With `steer`, the text for the model; with `stop`, for a person.
    pub text: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// With `stop`, the exit code the run will have.
    pub exit_code: Option<u8>,
    /// Of a tool: whether its content is an error to the model.
    pub is_error: Option<bool>,
    /// Of a tool: what goes to the model.
    pub content: Option<String>,
}

/// Reads what an answer tells the caller to do.
pub fn told(answer: &Verbatim) -> Told {
    serde_json::from_str(answer.get()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_a_run_the_error_says_so() {
        for value in [None, Some(OsString::new())] {
            let error = socket_of(value).unwrap_err();
            assert_eq!(
                error.to_string(),
                "not inside a run: AGENTGUARD_SOCKET is not set"
            );
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_socket_nobody_listens_on_is_a_supervisor_that_is_gone() {
        let folder = crate::channel::tests::Folder::new();
        let path = folder.path().join("s");
        assert!(
            matches!(Client::connect(&path), Err(Error::Gone { .. })),
            "never there"
        );
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(
            matches!(Client::connect(&path), Err(Error::Gone { .. })),
            "killed"
        );
    }

    #[test]
    fn answers_are_told_apart() {
        let id = Id::number(3);
        let read = |line: &str| read_answer("turn", &id, line.as_bytes());
        let ours = read(r#"{"jsonrpc":"2.0","id":3,"result":{"step":1}}"#)
            .unwrap()
            .unwrap();
        assert_eq!(ours.get(), r#"{"step":1}"#);
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#).unwrap(),
            None
        );
        let refused =
            read(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32006,"message":"full"}}"#);
        assert!(
            matches!(refused, Err(Error::Refused { code: -32006, .. })),
            "{refused:?}"
        );
        assert!(matches!(read("{"), Err(Error::Unreadable { .. })));
        assert!(matches!(read(r#"{"id":3}"#), Err(Error::Unreadable { .. })));
    }
}
