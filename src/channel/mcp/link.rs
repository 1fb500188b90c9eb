//! One connection to the supervisor that asks many things at once.
//!
//! [`crate::channel::client`] asks one thing and waits; an MCP client calls several
//! tools at a time. Requests go out in the order they were asked, answers come in any.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use crate::channel::client::{self, Error, read_answer};
use crate::channel::frame::{self, Code, Id};
use crate::channel::lines::{Line, Lines};
use crate::channel::method::Verbatim;

/// Longest answer taken, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest request, in bytes; the supervisor refuses a longer one without telling
/// whose it was.
const REQUEST_BYTES_MAX: usize = 15 << 20;
/// Requests that wait to be written.
const WAITING_MAX: usize = 64;

/// A connection to the supervisor. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    requests: mpsc::Sender<String>,
    open: Mutex<Open>,
}

/// What was asked and not answered.
#[derive(Debug, Default)]
struct Open {
    asked: u64,
    /// Nobody is at the other end any more.
    is_over: bool,
    answers: HashMap<String, oneshot::Sender<Vec<u8>>>,
}

impl Link {
    /// Connects to the run this process is in.
    ///
    /// Errors: [`Error::NotInRun`], [`Error::Gone`], [`Error::Broken`].
    pub async fn from_env() -> Result<Self, Error> {
        let path = client::socket_of_run()?;
        let stream = UnixStream::connect(&path)
            .await
            .map_err(|source| client::not_connected(&path, source))?;
        let (reader, writer) = stream.into_split();
        Ok(Self::over(&path, reader, writer))
    }

    /// Speaks over a pair of streams; `path` is what errors name.
    fn over(
        path: &Path,
        reader: impl AsyncRead + Unpin + Send + 'static,
        mut writer: impl AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        let (requests, mut waiting) = mpsc::channel::<String>(WAITING_MAX);
        let link = Self(Arc::new(Inner {
            path: path.to_owned(),
            requests,
            open: Mutex::default(),
        }));
        tokio::spawn(async move {
            while let Some(request) = waiting.recv().await {
                // A broken connection is told by its reader.
                if writer.write_all(request.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let weak = Arc::downgrade(&link.0);
        tokio::spawn(async move {
            let mut lines = Lines::new(reader, ANSWER_BYTES_MAX, ANSWER_BYTES_MAX);
            while let Ok(Some(line)) = lines.next().await {
                let (Line::Text(text), Some(inner)) = (line, weak.upgrade()) else {
                    continue;
                };
                inner.answered(text);
            }
            if let Some(inner) = weak.upgrade() {
                inner.over();
            }
        });
        link
    }

    /// Asks one thing and waits for its answer, as long as it takes.
    ///
    /// Errors: all but [`Error::NotInRun`].
    pub async fn ask(&self, method: &str, params: &Verbatim) -> Result<Verbatim, Error> {
        if params.get().len() > REQUEST_BYTES_MAX {
            return Err(Error::Refused {
                code: i64::from(Code::TooLarge.number()),
                message: format!("it is longer than {REQUEST_BYTES_MAX} bytes"),
                data: serde_json::Value::Null,
            });
        }
        let unanswered = || Error::Unanswered {
            method: method.to_owned(),
        };
        let (id, answer) = {
            let mut open = self.0.open();
            if open.is_over {
                let source = io::ErrorKind::ConnectionReset.into();
                let path = self.0.path.clone();
                return Err(Error::Gone { path, source });
            }
            open.asked += 1;
            let id = Id::number(open.asked);
            let (sender, answer) = oneshot::channel();
            open.answers.insert(id.as_json().to_owned(), sender);
            (id, answer)
        };
        let request = frame::render_request(&id, method, params);
        self.0
            .requests
            .send(request)
            .await
            .map_err(|_| unanswered())?;
        let line = answer.await.map_err(|_| unanswered())?;
        read_answer(method, &id, &line)?.ok_or_else(unanswered)
    }
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a line to whoever waits for it.
    fn answered(&self, line: String) {
        #[derive(serde::Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            id: &'a serde_json::value::RawValue,
        }
        let Ok(answer) = serde_json::from_str::<Answer<'_>>(&line) else {
            return;
        };
        let id = answer.id.get();
        let mut open = self.open();
        let asker = match id {
            // A refusal of a line that showed no id: of the only one there is, or of
            // nobody knows which, and then nobody can go on.
            "null" => {
                let first = open.answers.keys().next().cloned();
                let asker = first.and_then(|id| open.answers.remove(&id));
                if !open.answers.is_empty() {
                    open.answers.clear();
                }
                asker
            }
            id => open.answers.remove(id),
        };
        drop(open);
        if let Some(asker) = asker {
            // Whoever asked may have been given up on.
            let _ = asker.send(line.into_bytes());
        }
    }

    fn over(&self) {
        let mut open = self.open();
        open.is_over = true;
        open.answers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    #[tokio::test]
    async fn answers_find_their_askers_in_any_order() {
        let (ours, theirs) = tokio::io::duplex(4096);
        let (reader, writer) = tokio::io::split(ours);
        let link = Link::over(Path::new("/s"), reader, writer);
        let (reader, mut writer) = tokio::io::split(theirs);
        let supervisor = tokio::spawn(async move {
            let mut lines = BufReader::new(reader).lines();
            lines.next_line().await.unwrap();
            lines.next_line().await.unwrap();
            let answers = "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"b\"}\n\
                           {\"jsonrpc\":\"2.0\",\"id\":9,\"result\":\"nobody's\"}\n\
                           {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"a\"}\n";
            writer.write_all(answers.as_bytes()).await.unwrap();
        });
        let none = Verbatim::from_text("{}").unwrap();
        let (first, second) = tokio::join!(link.ask("state", &none), link.ask("state", &none));
        assert_eq!(first.unwrap().get(), "\"a\"");
        assert_eq!(second.unwrap().get(), "\"b\"");
        supervisor.await.unwrap();
        // Its end is the end of everything that is asked.
        let after = link.ask("state", &none).await.unwrap_err();
        assert!(
            matches!(after, Error::Gone { .. } | Error::Unanswered { .. }),
            "{after:?}"
        );
    }
}
