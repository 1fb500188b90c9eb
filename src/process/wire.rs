//! What supervisor and shim say to each other, over one socket pair.
//!
//! ```text
//! supervisor                                   shim
//!   │  Start (length, body; 3 descriptors) ────►│  starts the child
//!   │◄──── started PID  |  failed ERRNO         │
//!   │◄──── exited CODE  |  killed SIGNAL        │  the child itself
//!   │◄──── empty                                │  nothing is left beneath
//!   │  "end" ──────────────────────────────────►│  an orderly end follows
//!   │  close ──────────────────────────────────►│  kills what is left, exits
//! ```
//!
//! A close without "end" means that the supervisor died, or gave up: then the
//! shim also ends what carries the mark and is not beneath it.
//!
//! Both sides are the same binary, so there is no version.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::Exit;

/// Longest body of a [`Start`], in bytes; the kernel takes about 6 MB.
pub(super) const START_BYTES_MAX: usize = 64 << 20;

/// The line before an orderly close.
pub(super) const END: &[u8] = b"end\n";

/// What the shim is to start. Its three streams travel as descriptors beside it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The file to execute, absolute.
    pub(super) program: PathBuf,
    /// All arguments, the program's name as written first.
    pub(super) argv: Vec<OsString>,
    pub(super) cwd: PathBuf,
    pub(super) env: Vec<(OsString, OsString)>,
    /// The variables that mark what else to end when the supervisor dies.
    pub(super) mark: Vec<(OsString, OsString)>,
}

impl Start {
    /// Encodes as four bytes of length and a body of counted, counted-length strings.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put(&mut body, self.program.as_os_str());
        put(&mut body, self.cwd.as_os_str());
        put_all(&mut body, self.argv.iter());
        put_all(
            &mut body,
            self.env.iter().flat_map(|(name, value)| [name, value]),
        );
        put_all(
            &mut body,
            self.mark.iter().flat_map(|(name, value)| [name, value]),
        );
        let mut frame = length(body.len()).to_vec();
        frame.append(&mut body);
        frame
    }

    /// Decodes a body, without its length; `None` when it is not one.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let mut rest = body;
        let program = take(&mut rest)?.into();
        let cwd = take(&mut rest)?.into();
        let argv = take_all(&mut rest)?;
        let env = pairs(take_all(&mut rest)?)?;
        let mark = pairs(take_all(&mut rest)?)?;
        let whole = rest.is_empty() && !argv.is_empty();
        whole.then_some(Self {
            program,
            argv,
            cwd,
            env,
            mark,
        })
    }
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

fn put(body: &mut Vec<u8>, text: &OsStr) {
    body.extend(length(text.len()));
    body.extend(text.as_bytes());
}

fn put_all<'a>(body: &mut Vec<u8>, texts: impl Iterator<Item = &'a OsString>) {
    let texts: Vec<_> = texts.collect();
    body.extend(length(texts.len()));
    for text in texts {
        put(body, text);
    }
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

fn take(rest: &mut &[u8]) -> Option<OsString> {
    let length = take_length(rest)?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(OsString::from_vec(text.to_vec()))
}

fn take_all(rest: &mut &[u8]) -> Option<Vec<OsString>> {
    let count = take_length(rest)?;
    // No capacity from a number that came from outside.
    (0..count).map(|_| take(rest)).collect()
}

fn pairs(texts: Vec<OsString>) -> Option<Vec<(OsString, OsString)>> {
    let mut texts = texts.into_iter();
    let mut pairs = Vec::new();
    while let Some(name) = texts.next() {
        pairs.push((name, texts.next()?));
    }
    Some(pairs)
}

/// What the shim tells, a line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The child runs.
    Started { pid: i32 },
    /// The child could not be started, for this error number.
    Failed { errno: i32 },
    /// The child itself ended.
    Exited(Exit),
    /// Nothing is left beneath the shim, and nothing can come.
    Empty,
}

impl Report {
    /// Encodes as one line.
    pub(super) fn encode(self) -> String {
        match self {
            Self::Started { pid } => format!("started {pid}\n"),
            Self::Failed { errno } => format!("failed {errno}\n"),
            Self::Exited(Exit::Code(code)) => format!("exited {code}\n"),
            Self::Exited(Exit::Signal(signal)) => format!("killed {signal}\n"),
            Self::Exited(Exit::Lost) => "lost\n".into(),
            Self::Empty => "empty\n".into(),
        }
    }

    /// Decodes one line, with or without its end; `None` when it is not one.
    pub(super) fn decode(line: &str) -> Option<Self> {
        let line = line.trim_end();
        let (word, number) = match line.split_once(' ') {
            Some((word, number)) => (word, number.parse::<i32>().ok()),
            None => (line, None),
        };
        Some(match (word, number) {
            ("started", Some(pid)) if pid > 0 => Self::Started { pid },
            ("failed", Some(errno)) => Self::Failed { errno },
            ("exited", Some(code)) => Self::Exited(Exit::Code(code)),
            ("killed", Some(signal)) => Self::Exited(Exit::Signal(signal)),
            ("lost", None) => Self::Exited(Exit::Lost),
            ("empty", None) => Self::Empty,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_survives_the_wire_with_bytes_that_are_no_text() {
        let start = Start {
            program: "/bin/tool".into(),
            argv: vec![
                "tool".into(),
                OsString::from_vec(vec![0xff, b'\n']),
                "".into(),
            ],
            cwd: "/work".into(),
            env: vec![
                ("A".into(), OsString::from_vec(vec![0xfe])),
                ("B".into(), "".into()),
            ],
            mark: vec![("RUN".into(), "r-1".into())],
        };
        let frame = start.encode();
        let (length, body) = frame.split_at(4);
        assert_eq!(
            u32::from_be_bytes(length.try_into().unwrap()) as usize,
            body.len()
        );
        assert_eq!(Start::decode(body).as_ref(), Some(&start));
        for cut in 0..body.len() {
            assert_eq!(Start::decode(&body[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn reports_survive_the_wire() {
        let rows = [
            Report::Started { pid: 12 },
            Report::Failed { errno: 2 },
            Report::Exited(Exit::Code(3)),
            Report::Exited(Exit::Signal(9)),
            Report::Exited(Exit::Lost),
            Report::Empty,
        ];
        for report in rows {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        for line in [
            "",
            "started",
            "started -1",
            "started 0",
            "exited x",
            "gone 1",
        ] {
            assert_eq!(Report::decode(line), None, "row: {line}");
        }
    }
}
