//! Why the journal could not be read or written, and what to do about it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::UnixMs;
use crate::ids::{RunId, Seq};

use super::conversation::Hash;

/// What lies below an error; shared, since one failed commit fails many writes.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Why the journal could not be read or written.
///
/// `Clone`, because one commit carries the writes of many callers. `path` is
/// the file or folder that refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Another live supervisor holds the run.
    #[error("run {run} is held by {}", by(.pid, .since))]
    Held {
        /// The run.
        run: RunId,
        /// Its holder's process, if the lock file says.
        pid: Option<u32>,
        /// When the holder took it.
        since: Option<UnixMs>,
        /// The machine of the holder, if it is not certain to be this one.
        host: Option<String>,
    },

    /// No run has this id, prefix or place.
    #[error("there is no run `{asked}`")]
    NoSuchRun {
        /// What was asked for, as typed.
        asked: String,
    },

    /// No question has this number.
    #[error("there is no question `{asked}`")]
    NoSuchQuestion {
        /// What was asked for, as typed.
        asked: String,
    },

    /// Several runs start like this.
    #[error("`{asked}` could be any of {} runs", matches.len())]
    Ambiguous {
        /// What was asked for, as typed.
        asked: String,
        /// The runs that match, at most a handful.
        matches: Vec<RunId>,
    },

    /// The id of a new run is taken.
    #[error("run {run} exists already")]
    RunExists {
        /// The run.
        run: RunId,
    },

    /// Another owner took the run over; this write came too late and is not
    /// stored.
    #[error("run {run} was taken over by a later owner, event {seq} is not stored")]
    Superseded {
        /// The run.
        run: RunId,
        /// The event that came too late.
        seq: Seq,
    },

    /// An earlier event of the same owner was not stored, so this one is not
    /// either: there are no gaps.
    #[error("event {seq} of run {run} is not stored, because one before it was not")]
    Broken {
        /// The run.
        run: RunId,
        /// The event that was refused.
        seq: Seq,
    },

    /// An event refers to a message that was never stored.
    #[error("message {hash} is not in the journal")]
    MissingMessage {
        /// The hash that leads nowhere.
        hash: Hash,
    },

    /// A single text is larger than what the journal takes.
    #[error("{what} has {bytes} bytes, the journal takes up to {bytes_max}")]
    TooLarge {
        /// What is too large, such as `message 3`.
        what: String,
        /// Its size.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },

    /// The ticket is not in the retry queue (any more).
    #[error("retry ticket {ticket} is not in the queue")]
    NoSuchTicket {
        /// The ticket's number.
        ticket: i64,
    },

    /// The database comes from a newer agentguard; it is left untouched.
    #[error("{path} has schema {found}, this build knows up to {known}", path = .path.display())]
    SchemaTooNew {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema of this build.
        known: u32,
    },

    /// The file is no SQLite database, or one of another program; it is left
    /// untouched.
    #[error("{path} is not an agentguard journal: {found}", path = .path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },

    /// The database is damaged; it is left as it is.
    #[error("{path} is damaged", path = .path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: Cause,
    },

    /// No space is left, or a quota is used up. What was durable still is.
    #[error("no space left for {path}", path = .path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
        /// What SQLite or the kernel says.
        #[source]
        source: Cause,
    },

    /// The file or its folder cannot be written.
    #[error("cannot write to {path}", path = .path.display())]
    ReadOnly {
        /// The file or folder.
        path: PathBuf,
        /// What SQLite or the kernel says.
        #[source]
        source: Cause,
    },

    /// Another process held the database for longer than we wait.
    #[error("{path} was locked by another process for {waited_ms} ms", path = .path.display())]
    Busy {
        /// The database.
        path: PathBuf,
        /// How long we waited.
        waited_ms: u64,
    },

    /// Anything else that reading or writing may meet.
    #[error("cannot {doing} {path}", path = .path.display())]
    Io {
        /// The deed, as a verb: `open`, `write`, `lock`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What SQLite or the kernel says.
        #[source]
        source: Cause,
    },

    /// The store was shut down before the write came to its turn; it is not
    /// stored.
    #[error("the journal was closed before the write")]
    Closed,
}

impl Error {
    /// Returns the next thing the reader can do, if there is one.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Held { run, pid, host, .. } => match (pid, host) {
                (_, Some(host)) => format!("it runs on `{host}`; stop it there"),
                (Some(pid), None) => {
                    format!("wait for process {pid}, or stop it with `agentguard stop {run}`")
                }
                (None, None) => {
                    format!("wait until it ends, or stop it with `agentguard stop {run}`")
                }
            },
            Self::NoSuchRun { .. } => "list the runs with `agentguard runs`".to_owned(),
            Self::NoSuchQuestion { .. } => "list them with `agentguard inbox --all`".to_owned(),
            Self::Ambiguous { matches, .. } => {
                let names: Vec<_> = matches.iter().map(RunId::as_str).collect();
                format!("give more characters: {}", names.join(", "))
            }
            Self::Superseded { run, .. } => {
                format!("the run goes on under its new owner; see `agentguard show {run}`")
            }
            Self::Broken { run, .. } => {
                format!("go on from what is stored with `agentguard resume {run}`")
            }
            Self::SchemaTooNew { .. } => "upgrade agentguard; the file was not changed".to_owned(),
            Self::NotAJournal { path, .. } => format!(
                "the file was not changed; move {} away, or set AGENTGUARD_STATE to another folder",
                path.display()
            ),
            Self::Corrupt { path, .. } => format!(
                "the file was not changed; keep a copy of it and its -wal file, then try \
                 `sqlite3 {0} .recover | sqlite3 {0}.new`",
                path.display()
            ),
            Self::Full { .. } => "make room with `agentguard gc` or by other means, then \
                                  `agentguard resume`; nothing that was stored is lost"
                .to_owned(),
            Self::ReadOnly { path, .. } => format!(
                "make {} writable, or set AGENTGUARD_STATE to another folder",
                path.display()
            ),
            Self::Busy { path, .. } => format!(
                "see who holds it with `fuser {}`; a backup or a sqlite3 shell may",
                path.display()
            ),
            Self::TooLarge { .. } => {
                "keep large data in a file and pass its path instead".to_owned()
            }
            Self::RunExists { .. }
            | Self::MissingMessage { .. }
            | Self::NoSuchTicket { .. }
            | Self::Io { .. }
            | Self::Closed => return None,
        };
        Some(text)
    }
}

fn by(pid: &Option<u32>, since: &Option<UnixMs>) -> String {
    let who = match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    };
    match since.and_then(|since| jiff::Timestamp::from_millisecond(since.0).ok()) {
        Some(since) => format!("{who} since {since:.0}"),
        None => who,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_says_who_and_since_when() {
        let run = RunId::from_bits(7);
        let held = |pid, since| Error::Held {
            run: run.clone(),
            pid,
            since,
            host: None,
        };
        #[rustfmt::skip]
        let rows = [
            (held(Some(41), Some(UnixMs(1_700_000_000_000))),
             "run r-00000007 is held by process 41 since 2023-11-14T22:13:20Z"),
            (held(Some(41), None), "run r-00000007 is held by process 41"),
            (held(None, None), "run r-00000007 is held by another process"),
        ];
        for (error, want) in rows {
            assert_eq!(error.to_string(), want);
        }
    }
}
