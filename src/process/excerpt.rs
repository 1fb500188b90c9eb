//! The start and the end of a stream of any length, in bounded memory.
//!
//! Pure: bytes in, text out.

/// Keeps half of its room for the start of a stream, half for its end.
#[derive(Debug)]
pub(crate) struct Excerpt {
    head: Vec<u8>,
    head_max: usize,
    /// The end so far; up to twice `tail_max`, so that it is moved seldom.
    tail: Vec<u8>,
    tail_max: usize,
    bytes_total: u64,
    utf8: Utf8,
}

impl Excerpt {
    /// Makes one that keeps `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let head_max = bytes_max / 2;
        Self {
            head: Vec::new(),
            head_max,
            tail: Vec::new(),
            tail_max: bytes_max - head_max,
            bytes_total: 0,
            utf8: Utf8::default(),
        }
    }

    /// Adds what comes next.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.bytes_total += chunk.len() as u64;
        self.utf8.push(chunk);
        let (head, rest) = chunk.split_at(chunk.len().min(self.head_max - self.head.len()));
        self.head.extend(head);
        self.tail
            .extend(&rest[rest.len().saturating_sub(self.tail_max)..]);
        if self.tail.len() >= 2 * self.tail_max {
            self.tail.drain(..self.tail.len() - self.tail_max);
        }
    }

    /// Returns how many bytes were added.
    pub(crate) fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// Returns whether some bytes are not kept.
    pub(crate) fn is_truncated(&self) -> bool {
        self.bytes_total > (self.head.len() + self.tail.len().min(self.tail_max)) as u64
    }

    /// Returns whether all that was added is UTF-8.
    pub(crate) fn is_utf8(&self) -> bool {
        self.utf8 == Utf8::default()
    }

    /// Returns the text; where something is left out, a line of its own says
    /// how much. No character is cut in two by that.
    pub(crate) fn into_text(mut self) -> String {
        self.tail
            .drain(..self.tail.len().saturating_sub(self.tail_max));
        if !self.is_truncated() {
            self.head.append(&mut self.tail);
            return String::from_utf8_lossy(&self.head).into_owned();
        }
        let head = &self.head[..without_cut_end(&self.head)];
        let tail = &self.tail[cut_start(&self.tail)..];
        let left_out = self.bytes_total - (head.len() + tail.len()) as u64;
        let head = String::from_utf8_lossy(head);
        let tail = String::from_utf8_lossy(tail);
        let (before, after) = (
            line_break(head.chars().last()),
            line_break(tail.chars().next()),
        );
        format!("{head}{before}[... {left_out} bytes left out ...]{after}{tail}")
    }
}

fn line_break(neighbour: Option<char>) -> &'static str {
    match neighbour {
        None | Some('\n') => "",
        Some(_) => "\n",
    }
}

/// Returns the length without a last character that is cut.
fn without_cut_end(bytes: &[u8]) -> usize {
    let window = bytes.len().saturating_sub(3);
    let last_start = bytes[window..].iter().rposition(|byte| *byte >= 0xc0);
    match last_start.map(|place| window + place) {
        Some(start) if width(bytes[start]) > bytes.len() - start => start,
        _ => bytes.len(),
    }
}

/// Returns where the first character starts that is not cut.
fn cut_start(bytes: &[u8]) -> usize {
    let window = &bytes[..bytes.len().min(3)];
    window
        .iter()
        .take_while(|byte| matches!(byte, 0x80..=0xbf))
        .count()
}

/// Returns how many bytes a character has that starts with this one.
fn width(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

/// Whether a stream is UTF-8 so far; the default is "yes, and no character is open".
#[derive(Debug, Default, PartialEq, Eq)]
enum Utf8 {
    #[default]
    Whole,
    /// The last character has begun.
    Open(Vec<u8>),
    Broken,
}

impl Utf8 {
    fn push(&mut self, mut chunk: &[u8]) {
        if let Self::Open(begun) = self {
            let missing = width(begun[0]).saturating_sub(begun.len());
            let (more, rest) = chunk.split_at(missing.min(chunk.len()));
            begun.extend(more);
            let character = std::mem::take(begun);
            chunk = rest;
            *self = Self::Whole.then(&character);
        }
        // What is open now took all of the chunk.
        if *self == Self::Whole {
            *self = Self::Whole.then(chunk);
        }
    }

    fn then(self, bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(_) => self,
            Err(error) if error.error_len().is_none() => {
                Self::Open(bytes[error.valid_up_to()..].to_vec())
            }
            Err(_) => Self::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens, the stream, the room; the text, truncated, UTF-8.
    type Row = (&'static str, &'static [u8], usize, &'static str, bool, bool);

    #[test]
    fn excerpts_table() {
        #[rustfmt::skip]
        let rows: [Row; 12] = [
            ("nothing", b"", 8, "", false, true),
            ("what fits is whole", b"12345678", 8, "12345678", false, true),
            ("one more is left out", b"123456789", 8, "1234\n[... 1 bytes left out ...]\n6789", true, true),
            ("line ends are not doubled", b"123\nxxxxx\n678", 8, "123\n[... 5 bytes left out ...]\n678", true, true),
            ("no character is cut at the start", "123\u{e4}xxx5678".as_bytes(), 8,
             "123\n[... 5 bytes left out ...]\n5678", true, true),
            ("no character is cut at the end", "1234xxx\u{20ac}78".as_bytes(), 8,
             "1234\n[... 6 bytes left out ...]\n78", true, true),
            ("no UTF-8", b"a\xffb", 8, "a\u{fffd}b", false, false),
            ("a cut last character is no UTF-8", b"a\xe2\x82", 8, "a\u{fffd}", false, false),
            ("NUL is a character", b"a\0b", 8, "a\0b", false, true),
            ("surrogates are no UTF-8", b"\xed\xa0\x80", 8, "\u{fffd}\u{fffd}\u{fffd}", false, false),
            ("no room at all", b"abc", 0, "[... 3 bytes left out ...]", true, true),
            ("room for one", b"abc", 1, "[... 2 bytes left out ...]\nc", true, true),
        ];
        for (name, bytes, bytes_max, text, truncated, utf8) in rows {
            // However the bytes come in, the result is the same.
            for chunk_bytes in 1..=bytes.len().max(1) {
                let mut excerpt = Excerpt::new(bytes_max);
                bytes
                    .chunks(chunk_bytes)
                    .for_each(|chunk| excerpt.push(chunk));
                let seen = (
                    excerpt.is_truncated(),
                    excerpt.is_utf8(),
                    excerpt.bytes_total(),
                );
                assert_eq!(seen, (truncated, utf8, bytes.len() as u64), "row: {name}");
                assert_eq!(
                    excerpt.into_text(),
                    text,
                    "row: {name}, in chunks of {chunk_bytes}"
                );
            }
        }
    }

    #[test]
    fn memory_stays_bounded() {
        let mut excerpt = Excerpt::new(1000);
        for chunk_bytes in [1, 499, 500, 501, 1000, 100_000] {
            for _ in 0..100 {
                excerpt.push(&vec![b'x'; chunk_bytes]);
                assert!(excerpt.head.len() + excerpt.tail.len() <= 500 + 2 * 500);
            }
        }
    }

    #[test]
    fn utf8_is_judged_as_std_does_however_it_is_cut() {
        let texts: [&[u8]; 6] = [
            "a\u{e4}\u{20ac}\u{1f600}b".as_bytes(),
            b"\xf0\x9f\x98",
            b"\xe2\x28\xa1",
            b"\xc0\xaf",
            b"\xf8\x88\x80\x80\x80",
            b"\x80",
        ];
        for text in texts {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let mut utf8 = Utf8::default();
                    utf8.push(&text[..first]);
                    utf8.push(&text[first..second]);
                    utf8.push(&text[second..]);
                    let want = std::str::from_utf8(text).is_ok();
                    assert_eq!(
                        utf8 == Utf8::Whole,
                        want,
                        "{text:?} cut at {first}, {second}"
                    );
                }
            }
        }
    }
}
