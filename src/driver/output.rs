//! What the agent prints: kept in the run's log, and passed on.
//!
//! The log holds both streams as they came, interleaved. It is bounded: when a
//! file is full it becomes `agent.log.1` and a new one begins, so that the end
//! of a flood is always there. A reader of ours that is slow slows the agent,
//! as it would without us; it never slows the supervisor.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// Size at which a log file is set aside, in bytes.
pub const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The end of stderr that is kept for the reason of a failure, in bytes.
const TAIL_BYTES: usize = 4096;

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// stdout.
    Out,
    /// stderr.
    Err,
}

/// Where the agent's output goes besides the log.
pub type Sink = mpsc::Sender<(Stream, Vec<u8>)>;

/// The run's log of what the agent printed.
pub struct Log {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    bytes_max: u64,
    tail: Vec<u8>,
}

impl Log {
    /// Opens the log at `path` to be added to.
    ///
    /// Errors: as the file system gives them.
    pub fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let file = append(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file: Some(file),
            bytes,
            bytes_max,
            tail: Vec::new(),
        })
    }

    /// Adds `chunk`. A full disk loses output, never the run.
    pub fn add(&mut self, stream: Stream, chunk: &[u8]) {
        if stream == Stream::Err {
            self.tail.extend_from_slice(chunk);
            let excess = self.tail.len().saturating_sub(TAIL_BYTES);
            self.tail.drain(..excess);
        }
        if self.bytes > self.bytes_max {
            self.rotate();
        }
        if let Some(file) = &mut self.file
            && file.write_all(chunk).is_ok()
        {
            self.bytes += chunk.len() as u64;
        }
    }

    /// Returns the end of what was written to stderr.
    pub fn tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }

    fn rotate(&mut self) {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".1");
        if std::fs::rename(&self.path, aside).is_ok() {
            self.file = append(&self.path).ok();
            self.bytes = 0;
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// A log that both streams write to.
pub type SharedLog = Arc<Mutex<Log>>;

/// Adds to a shared log.
pub fn add(log: &SharedLog, stream: Stream, chunk: &[u8]) {
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .add(stream, chunk);
}

/// Returns the end of what was written to stderr.
pub fn tail(log: &SharedLog) -> String {
    log.lock().unwrap_or_else(PoisonError::into_inner).tail()
}

/// Takes in a line of stdout that is no frame of the protocol.
pub fn stray(log: &SharedLog, sink: Option<&Sink>, line: &[u8]) {
    add(log, Stream::Out, line);
    if let Some(sink) = sink {
        // A reader that is behind misses stray lines; the log has them.
        let _ = sink.try_send((Stream::Out, line.to_vec()));
    }
}

/// Carries one stream to the log and the sink until it ends.
///
/// - `heard`: told of every chunk.
pub async fn pump(
    mut from: impl AsyncRead + Unpin,
    stream: Stream,
    log: SharedLog,
    sink: Option<Sink>,
    heard: mpsc::Sender<()>,
) {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match from.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                add(&log, stream, &chunk[..read]);
                // Full means that a word is waiting to be noticed already.
                let _ = heard.try_send(());
                if let Some(sink) = &sink {
                    // A sink that is gone was closed by its reader.
                    let _ = sink.send((stream, chunk[..read].to_vec())).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_keeps_its_end_and_the_tail_of_stderr() {
        let dir = std::env::temp_dir().join(format!("agentguard-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        let path = dir.join("agent.log");
        let mut log = Log::open(&path, 1000).expect("the log opens");
        for number in 0..500 {
            log.add(Stream::Err, format!("line {number:04}\n").as_bytes());
        }
        let kept = std::fs::read_to_string(&path).expect("the log is there");
        let aside = std::fs::read_to_string(dir.join("agent.log.1")).expect("so is the former");
        assert!(kept.ends_with("line 0499\n"));
        assert!(kept.len() + aside.len() < 3000);
        assert!(log.tail().ends_with("line 0499\n"));
        std::fs::remove_dir_all(dir).expect("it is ours");
    }
}
