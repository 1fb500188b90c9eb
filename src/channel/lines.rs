//! Cuts a stream of bytes into lines, in bounded memory.
//!
//! [`Splitter`] is the pure part: bytes in, lines out, the same lines however
//! the bytes arrive in pieces. [`Lines`] feeds it from an `AsyncRead`.
//!
//! A line ends with `\n`; a `\r` before it is dropped, lines of nothing but
//! space are ignored. A line beyond the bound is reported once, when the bound
//! is passed, and skipped to its end without being kept.

use std::io;
use std::ops::Range;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes asked of the stream at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// What the stream held next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line with something in it, without its end.
    Text(String),
    /// The line being received passed the size up to which lines are small.
    /// Nothing is lost: the whole line follows, unless [`Lines::skip`] is
    /// called.
    Growing,
    /// The line being received passed the bound; the rest of it is skipped.
    TooLong,
    /// A line that is not UTF-8.
    NotUtf8 {
        /// First byte that does not belong, from 0.
        offset: usize,
        /// The line.
        bytes: Vec<u8>,
    },
    /// The stream ended within a line.
    Half {
        /// What came of it.
        bytes: Vec<u8>,
    },
}

/// The pure part: keeps the line being received, and nothing else.
#[derive(Debug)]
pub struct Splitter {
    pending: Vec<u8>,
    state: State,
    small_bytes: usize,
    bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The line is small so far.
    Small,
    /// The line is no longer small, and that was told.
    Large,
    /// The rest of the line is thrown away.
    Skipping,
}

impl Splitter {
    /// Makes one that keeps lines of up to `bytes_max` bytes and tells of those
    /// that grow beyond `small_bytes`.
    pub fn new(small_bytes: usize, bytes_max: usize) -> Self {
        Self {
            pending: Vec::new(),
            state: State::Small,
            small_bytes,
            bytes_max,
        }
    }

    /// Takes bytes up to the first thing to report.
    ///
    /// Returns how many bytes of `input` were taken, and what was found. Call
    /// again with the rest; without a finding all of `input` was taken.
    pub fn feed(&mut self, input: &[u8]) -> (usize, Option<Line>) {
        let mut taken = 0;
        while taken < input.len() {
            let rest = &input[taken..];
            let (piece, ends) = match rest.iter().position(|byte| *byte == b'\n') {
                Some(place) => (&rest[..place], true),
                None => (rest, false),
            };
            if let Some((bytes, finding)) = self.keep(piece) {
                return (taken + bytes, Some(finding));
            }
            taken += piece.len() + usize::from(ends);
            if ends && let Some(line) = self.finish() {
                return (taken, Some(line));
            }
        }
        (taken, None)
    }

    /// Keeps a piece of the present line, or as much of it as fits below the
    /// next bound, which is then told.
    fn keep(&mut self, piece: &[u8]) -> Option<(usize, Line)> {
        let (bound, next, finding) = match self.state {
            State::Skipping => return None,
            State::Small if self.small_bytes < self.bytes_max => {
                (self.small_bytes, State::Large, Line::Growing)
            }
            State::Small | State::Large => (self.bytes_max, State::Skipping, Line::TooLong),
        };
        let fits = bound - self.pending.len();
        if piece.len() <= fits {
            self.pending.extend_from_slice(piece);
            return None;
        }
        self.state = next;
        if next == State::Skipping {
            self.pending = Vec::new();
        } else {
            self.pending.extend_from_slice(&piece[..fits]);
        }
        Some((fits, finding))
    }

    /// Ends the present line at its `\n`.
    fn finish(&mut self) -> Option<Line> {
        let state = std::mem::replace(&mut self.state, State::Small);
        let mut bytes = std::mem::take(&mut self.pending);
        if state == State::Skipping {
            return None;
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if bytes.trim_ascii().is_empty() {
            return None;
        }
        Some(match String::from_utf8(bytes) {
            Ok(text) => Line::Text(text),
            Err(error) => Line::NotUtf8 {
                offset: error.utf8_error().valid_up_to(),
                bytes: error.into_bytes(),
            },
        })
    }

    /// Ends the stream; returns the half line, if there is one.
    pub fn end(&mut self) -> Option<Line> {
        let bytes = std::mem::take(&mut self.pending);
        let empty = bytes.trim_ascii().is_empty();
        (self.state != State::Skipping && !empty).then_some(Line::Half { bytes })
    }

    /// Throws away the line being received.
    pub fn skip(&mut self) {
        self.pending = Vec::new();
        self.state = State::Skipping;
    }

    /// Returns the memory held, in bytes.
    pub fn capacity(&self) -> usize {
        self.pending.capacity()
    }
}

/// The lines of an `AsyncRead`.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    splitter: Splitter,
    chunk: Box<[u8]>,
    /// The part of `chunk` not fed yet.
    unread: Range<usize>,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads lines from `reader` with the bounds of [`Splitter::new`].
    pub fn new(reader: R, small_bytes: usize, bytes_max: usize) -> Self {
        let chunk = vec![0; CHUNK_BYTES].into_boxed_slice();
        let splitter = Splitter::new(small_bytes, bytes_max);
        Self {
            reader,
            splitter,
            chunk,
            unread: 0..0,
            ended: false,
        }
    }

    /// Returns the next finding, `None` at the end of the stream.
    ///
    /// May be dropped while it waits; nothing is lost.
    ///
    /// Errors: those of the reader.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            while !self.unread.is_empty() {
                let (taken, finding) = self.splitter.feed(&self.chunk[self.unread.clone()]);
                self.unread.start += taken;
                if finding.is_some() {
                    return Ok(finding);
                }
            }
            if self.ended {
                return Ok(None);
            }
            let bytes = self.reader.read(&mut self.chunk).await?;
            self.unread = 0..bytes;
            if bytes == 0 {
                self.ended = true;
                return Ok(self.splitter.end());
            }
        }
    }

    /// Throws away the line being received, up to its end.
    pub fn skip(&mut self) {
        self.splitter.skip();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `pieces` one after the other and returns all findings.
    fn split(pieces: &[&[u8]], small_bytes: usize, bytes_max: usize) -> Vec<Line> {
        let mut splitter = Splitter::new(small_bytes, bytes_max);
        let mut found = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (taken, finding) = splitter.feed(rest);
                assert!(splitter.capacity() <= 2 * bytes_max + 8, "bounded memory");
                rest = &rest[taken..];
                found.extend(finding);
            }
        }
        found.extend(splitter.end());
        found
    }

    #[test]
    fn splitter_table() {
        let text = |text: &str| Line::Text(text.into());
        #[rustfmt::skip]
        let rows: [(&str, &[u8], Vec<Line>); 12] = [
            ("two lines",                     b"a\nb\n",        vec![text("a"), text("b")]),
            ("a carriage return is dropped",  b"a\r\nb\r\n",    vec![text("a"), text("b")]),
            ("one inside a line is kept",     b"a\rb\n",        vec![text("a\rb")]),
            ("empty lines are ignored",       b"\n\r\n  \t\na\n", vec![text("a")]),
            ("a half line is told",           b"a\nb",          vec![text("a"), Line::Half { bytes: b"b".to_vec() }]),
            ("half a blank line is not",      b"a\n \r",        vec![text("a")]),
            ("exactly small",                 b"aaaa\n",        vec![text("aaaa")]),
            ("one byte more is growing",      b"aaaab\n",       vec![Line::Growing, text("aaaab")]),
            ("exactly the bound",             b"aaaabbbb\n",    vec![Line::Growing, text("aaaabbbb")]),
            ("one byte more is skipped to its end", b"aaaabbbbc\nd\n", vec![Line::Growing, Line::TooLong, text("d")]),
            ("a skipped half line is told once", b"aaaabbbbcccc", vec![Line::Growing, Line::TooLong]),
            ("not UTF-8",                     b"ab\xffc\nd\n",
             vec![Line::NotUtf8 { offset: 2, bytes: b"ab\xffc".to_vec() }, text("d")]),
        ];
        for (name, bytes, want) in rows {
            assert_eq!(split(&[bytes], 4, 8), want, "row: {name}");
        }
    }

    proptest! {
        /// Any bytes, cut anywhere, are the same lines, in bounded memory.
        #[test]
        fn the_cuts_do_not_matter(
            bytes in proptest::collection::vec(
                prop_oneof![3 => Just(b'\n'), 1 => Just(b'\r'), 8 => b'a'..=b'c', 2 => any::<u8>()], 0..200),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(split(&pieces, 5, 12), split(&[&bytes], 5, 12));
        }
    }
}
