//! The protocol over the agent's own stdin and stdout (`protocol: stdio`).
//!
//! One connection, the same frames. The agent's stdout is the requests, so a
//! line that is no JSON (a stray `print`) is answered with an error, given to
//! the agent's log, and otherwise forgiven: this connection is never closed
//! for garbage.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::connection::{self, Manner};
use super::hub::Hub;

/// The connection over a child's pipes. Ends when dropped.
#[derive(Debug)]
pub struct Stdio {
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Stdio {
    /// Serves the protocol on a child's pipes. Must be called within a tokio
    /// runtime.
    ///
    /// - `stdout`: what the child writes, our requests.
    /// - `stdin`: what the child reads, our answers; closed after the last.
    /// - `pid`: the child, for the log.
    /// - `stray`: gets each line that is no JSON, without its end, at most
    ///   `Limits::line_bytes_max` long.
    pub fn attach(
        hub: &Hub,
        stdout: impl AsyncRead + Unpin + Send + 'static,
        stdin: impl AsyncWrite + Unpin + Send + 'static,
        pid: Option<i32>,
        stray: impl FnMut(&[u8]) + Send + 'static,
    ) -> Self {
        let (closing, closed) = watch::channel(false);
        let manner = Manner {
            pid,
            garbage_in_a_row_max: None,
            stray: Some(Box::new(stray)),
            gone: None,
        };
        let task = tokio::spawn(connection::serve(
            hub.clone(),
            stdout,
            stdin,
            manner,
            closed,
        ));
        Self { closing, task }
    }

    /// Waits until the child has ended its side and everything is answered.
    pub async fn ended(&mut self) {
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
    }

    /// Stops reading, writes the answers already sent for at most `grace`, and
    /// closes the child's stdin.
    pub async fn close(mut self, grace: Duration) {
        self.closing.send_replace(true);
        if !self.task.is_finished() {
            let _ = tokio::time::timeout(grace, &mut self.task).await;
        }
    }
}

impl Drop for Stdio {
    fn drop(&mut self) {
        self.task.abort();
    }
}
