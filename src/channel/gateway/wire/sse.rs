//! Server-sent events, cut out of a byte stream without changing a byte.
//!
//! The raw bytes of all frames, and of the tail, are the stream: they can be
//! forwarded as they are. Line ends are LF, CR LF or CR; after a CR the reader
//! waits for one more byte, so that how the network cut the stream never shows.
//!
//! Source: WHATWG HTML, "Server-sent events", section "Parsing an event stream".

use super::bounds::FRAME_BYTES_MAX;

/// One event, or a run of comments, up to and with the empty line behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Its exact bytes.
    pub raw: Vec<u8>,
    /// The name of the event; empty if it has none.
    pub event: String,
    /// The lines of data, joined by line feeds; absent in a frame of comments.
    /// Bytes that are not UTF-8 are replaced here, not in [`Frame::raw`].
    pub data: Option<String>,
    /// The stream ended before the empty line; a browser would drop this frame.
    pub is_cut: bool,
}

/// A frame is longer than the bound; the stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {bytes_max} bytes")]
pub struct TooLong {
    /// The bound.
    pub bytes_max: usize,
}

/// Reads frames from bytes in any portions.
#[derive(Debug)]
pub struct Reader {
    buffer: Vec<u8>,
    /// First byte of the buffer that belongs to no frame given out.
    start: usize,
    /// First byte not looked at, from the beginning of the buffer.
    seen: usize,
    /// First byte of the line being read.
    line: usize,
    /// Nothing was given out; a byte order mark may stand here.
    is_first: bool,
    frame_bytes_max: usize,
    /// A frame was too long.
    is_over: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new(FRAME_BYTES_MAX)
    }
}

impl Reader {
    /// Makes a reader that gives up on frames above `frame_bytes_max` bytes.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            seen: 0,
            line: 0,
            is_first: true,
            frame_bytes_max,
            is_over: false,
        }
    }

    /// Takes the next bytes. Call [`Reader::next_frame`] until it has no more
    /// before the next portion; the buffer holds one frame and one portion.
    /// After [`TooLong`] nothing is taken any more.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.is_over {
            return;
        }
        self.buffer.drain(..self.start);
        self.seen -= self.start;
        self.line -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next whole frame, if it is there.
    ///
    /// Errors: [`TooLong`], from then on always; [`Reader::finish`] returns
    /// what was held.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, TooLong> {
        if self.is_over {
            return Err(self.give_up());
        }
        loop {
            let rest = &self.buffer[self.seen..];
            let Some(length) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.seen = self.buffer.len();
                break;
            };
            let width = match (rest[length], rest.get(length + 1)) {
                (b'\r', Some(b'\n')) => 2,
                // Whether a line feed belongs to it shows with the next byte.
                (b'\r', None) => {
                    self.seen += length;
                    break;
                }
                _ => 1,
            };
            self.seen += length;
            let is_empty = self.seen == self.line_start();
            let end = self.seen + width;
            if is_empty && end - self.start <= self.frame_bytes_max {
                return Ok(Some(self.take(end, false)));
            }
            self.seen = end;
            self.line = end;
            if end - self.start > self.frame_bytes_max {
                return Err(self.give_up());
            }
        }
        if self.buffer.len() - self.start > self.frame_bytes_max {
            return Err(self.give_up());
        }
        Ok(None)
    }

    fn give_up(&mut self) -> TooLong {
        self.is_over = true;
        TooLong {
            bytes_max: self.frame_bytes_max,
        }
    }

    /// Returns what stands behind the last whole frame, at the end of the stream.
    pub fn finish(mut self) -> Option<Frame> {
        let rest = self.start < self.buffer.len();
        // A CR at the very end closes its line: nothing follows it any more.
        let is_whole = self.buffer.ends_with(b"\r") && self.seen == self.line_start();
        let end = self.buffer.len();
        rest.then(|| self.take(end, !is_whole))
    }

    /// Returns where the text of the current line begins.
    fn line_start(&self) -> usize {
        let mark = self.is_first && self.line == 0 && self.buffer.starts_with(b"\xEF\xBB\xBF");
        if mark { 3 } else { self.line }
    }

    fn take(&mut self, end: usize, is_cut: bool) -> Frame {
        let raw = self.buffer[self.start..end].to_vec();
        let text_start = if self.is_first && raw.starts_with(b"\xEF\xBB\xBF") {
            3
        } else {
            0
        };
        let mut frame = parse(&raw[text_start..]);
        frame.raw = raw;
        frame.is_cut = is_cut;
        (self.start, self.seen, self.line) = (end, end, end);
        self.is_first = false;
        frame
    }
}

/// Reads the lines of one frame.
fn parse(raw: &[u8]) -> Frame {
    let text = String::from_utf8_lossy(raw);
    let mut frame = Frame::default();
    for line in text.split('\n').flat_map(|line| line.split('\r')) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (name, &mut frame.data) {
            ("event", _) => frame.event = value.to_owned(),
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", data) => *data = Some(value.to_owned()),
            // Comments, `id`, `retry`, unknown names, and the empty lines that
            // splitting CR LF leaves.
            _ => {}
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, data, and whether the stream ended within the frame.
    type Want = (&'static str, Option<&'static str>, bool);

    #[test]
    fn frames_table() {
        #[rustfmt::skip]
        let rows: &[(&str, &str, &[Want])] = &[
            ("an event with a name",           "event: a\ndata: 1\n\n",       &[("a", Some("1"), false)]),
            ("no space behind the colon",      "data:1\n\n",                  &[("", Some("1"), false)]),
            ("only one space is dropped",      "data:  1\n\n",                &[("", Some(" 1"), false)]),
            ("data over several lines",        "data: a\ndata\ndata: b\n\n",  &[("", Some("a\n\nb"), false)]),
            ("a comment is a frame of its own", ": hi\n\ndata: 1\n\n",        &[("", None, false), ("", Some("1"), false)]),
            ("a comment inside an event",      "event: a\n: hi\ndata: 1\n\n", &[("a", Some("1"), false)]),
            ("empty lines between frames",     "\n\ndata: 1\n\n\n",           &[("", None, false), ("", None, false), ("", Some("1"), false), ("", None, false)]),
            ("a byte order mark",              "\u{feff}data: 1\n\n",         &[("", Some("1"), false)]),
            ("a mark further on is text",      "\n\u{feff}data: 1\n\n",       &[("", None, false), ("", None, false)]),
            ("CR alone, also at the end",      "data: 1\r\rdata: 2\r\r",      &[("", Some("1"), false), ("", Some("2"), false)]),
            ("mixed line ends",                "event: a\r\ndata: 1\r\n\n",   &[("a", Some("1"), false)]),
            ("unknown fields are passed over", "id: 7\nretry: 1\nx\n\n",      &[("", None, false)]),
            ("the end inside an event",        "data: 1\n\ndata: 2\n",        &[("", Some("1"), false), ("", Some("2"), true)]),
            ("nothing",                        "",                            &[]),
        ];
        for (name, stream, want) in rows {
            let mut reader = Reader::default();
            reader.feed(stream.as_bytes());
            let mut found = Vec::new();
            while let Some(frame) = reader.next_frame().unwrap() {
                found.push(frame);
            }
            found.extend(reader.finish());
            let found: Vec<_> = found
                .iter()
                .map(|frame| (frame.event.as_str(), frame.data.as_deref(), frame.is_cut))
                .collect();
            assert_eq!(found, *want, "row: {name}");
        }
    }
}
