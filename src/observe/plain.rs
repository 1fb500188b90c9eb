//! Untrusted text on its way to a terminal or a log.
//!
//! Whatever an agent, a tool or a model says may hold escape sequences that
//! clear the screen, retitle the window, or write into the clipboard, and marks
//! that turn the direction of writing around. Everything printed for people
//! goes through here. JSON does not need it: it escapes by itself.
//!
//! - [`line`] and [`excerpt`] give one line;
//! - [`text`] keeps line breaks and tabs;
//! - [`Screen`] is for a stream of bytes, and lets colours through.

/// Returns `text` on one line: breaks and tabs become blanks, other control
/// characters become visible (`\x1b`).
pub fn line(text: &str) -> String {
    escaped(text.trim(), |letter| match letter {
        '\n' | '\r' | '\t' => Some(' '),
        _ => None,
    })
}

/// Returns `text` with its line breaks and tabs; other control characters
/// become visible. `\r\n` counts as a line break.
pub fn text(text: &str) -> String {
    escaped(&text.replace("\r\n", "\n"), |letter| {
        matches!(letter, '\n' | '\t').then_some(letter)
    })
}

/// Returns [`line`] of `text`, cut to `chars_max` characters, the last of them
/// `…` where something was left out.
pub fn excerpt(text: &str, chars_max: usize) -> String {
    let text = text.trim();
    // A long text is cut first, so that it is not escaped in vain.
    let end = text
        .char_indices()
        .nth(chars_max.saturating_mul(2))
        .map_or(text.len(), |(place, _)| place);
    let whole = line(&text[..end]);
    if end == text.len() && whole.chars().count() <= chars_max {
        return whole;
    }
    let kept: String = whole.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

fn escaped(text: &str, keep: impl Fn(char) -> Option<char>) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match keep(letter) {
            Some(kept) => safe.push(kept),
            None if acts(letter) => show(&mut safe, letter),
            None => safe.push(letter),
        }
    }
    safe
}

/// Whether a character does something instead of showing something: C0, DEL,
/// C1 (which some terminals obey in UTF-8 too), line separators, and the marks
/// that change the direction of writing (CVE-2021-42574).
fn acts(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn show(to: &mut String, letter: char) {
    let code = u32::from(letter);
    if code < 0x100 {
        to.push_str(&format!("\\x{code:02x}"));
    } else {
        to.push_str(&format!("\\u{{{code:x}}}"));
    }
}

/// Longest colour sequence that is let through, in bytes.
const COLOUR_BYTES_MAX: usize = 32;

/// A stream of an agent's output, made fit for a terminal.
///
/// Colours (SGR sequences), line breaks, tabs and carriage returns pass; every
/// other control character becomes visible. Bytes that are not UTF-8 become
/// U+FFFD. What is cut in the middle waits for the next chunk.
#[derive(Debug, Default)]
pub struct Screen {
    rest: Vec<u8>,
    coloured: bool,
}

impl Screen {
    /// Takes in a chunk and returns what can be shown.
    pub fn push(&mut self, chunk: &[u8]) -> String {
        self.rest.extend_from_slice(chunk);
        let taken = std::mem::take(&mut self.rest);
        let ready = ready(&taken);
        self.rest = taken[ready..].to_vec();
        self.shown(&taken[..ready])
    }

    /// Returns what was still waiting, and the end of any colour.
    pub fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.rest);
        let mut shown = self.shown(&rest);
        if std::mem::take(&mut self.coloured) {
            shown.push_str("\x1b[0m");
        }
        shown
    }

    fn shown(&mut self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        let mut safe = String::with_capacity(text.len());
        let mut rest = text.as_ref();
        while let Some(letter) = rest.chars().next() {
            if let Some(bytes) = colour(rest) {
                self.coloured = true;
                safe.push_str(&rest[..bytes]);
                rest = &rest[bytes..];
                continue;
            }
            if acts(letter) && !matches!(letter, '\n' | '\r' | '\t') {
                show(&mut safe, letter);
            } else {
                safe.push(letter);
            }
            rest = &rest[letter.len_utf8()..];
        }
        safe
    }
}

/// Returns the length of the colour sequence that `text` begins with.
fn colour(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("\x1b[")?;
    let end = inner
        .bytes()
        .take(COLOUR_BYTES_MAX)
        .position(|byte| !byte.is_ascii_digit() && byte != b';' && byte != b':')?;
    (inner.as_bytes()[end] == b'm').then_some(end + 3)
}

/// Returns how much of `bytes` can be shown: all but a character or a colour
/// that is not there in whole.
fn ready(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(COLOUR_BYTES_MAX);
    if let Some(escape) = bytes[tail..].iter().rposition(|byte| *byte == 0x1b) {
        let start = tail + escape;
        let open = bytes[start + 1..].iter().enumerate().all(|(place, byte)| {
            (place == 0 && *byte == b'[')
                || (place > 0 && (byte.is_ascii_digit() || matches!(byte, b';' | b':')))
        });
        if open {
            return start;
        }
    }
    let unfinished = (1..=bytes.len().min(3)).find(|back| {
        let first = bytes[bytes.len() - back];
        let wanted = match first {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 0,
        };
        let rest = &bytes[bytes.len() - back + 1..];
        wanted > *back && rest.iter().all(|byte| matches!(byte, 0x80..=0xbf))
    });
    bytes.len() - unfinished.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_gets_through() {
        #[rustfmt::skip]
        let rows = [
            ("a title", "\x1b]0;owned\x07done", "\\x1b]0;owned\\x07done"),
            ("a clear screen", "a\x1b[2Jb", "a\\x1b[2Jb"),
            ("an 8-bit CSI", "a\u{9b}2Jb", "a\\x9b2Jb"),
            ("a backspace", "yes\x08\x08no", "yes\\x08\\x08no"),
            ("a change of direction", "a\u{202e}b", "a\\u{202e}b"),
            ("letters of any script", "naïve 日本 ✓", "naïve 日本 ✓"),
        ];
        for (name, given, want) in rows {
            assert_eq!(line(given), want, "row: {name}");
            assert_eq!(text(given), want, "row: {name}");
        }
        assert_eq!(line(" a\r\n\tb\n"), "a   b");
        assert_eq!(text("a\r\n\tb\rc\n"), "a\n\tb\\x0dc\n");
    }

    #[test]
    fn an_excerpt_says_that_it_is_one() {
        #[rustfmt::skip]
        let rows = [
            ("short", "abc", "abc"),
            ("just fits", "abcde", "abcde"),
            ("too long", "abcdef", "abcd…"),
            ("blanks at the cut go", "abc  def", "abc…"),
            ("characters count, not bytes", "äöüßé", "äöüßé"),
            ("escapes count as shown", "\x1b\x1b", "\\x1b…"),
            ("much longer", "abcdefghijklmnopqrstuvwxyz", "abcd…"),
            ("a long tail of blanks", "abcde               ", "abcde"),
        ];
        for (name, given, want) in rows {
            assert_eq!(excerpt(given, 5), want, "row: {name}");
        }
    }

    #[test]
    fn a_screen_shows_the_same_however_it_is_cut() {
        let given = "\x1b[1;31mré\u{9b}d\x1b[0m \x1b[2Jx\x1b]0;t\x07\r\n日\x1b".as_bytes();
        let want = "\x1b[1;31mré\\x9bd\x1b[0m \\x1b[2Jx\\x1b]0;t\\x07\r\n日\\x1b\x1b[0m";
        for size in 1..=given.len() {
            let mut screen = Screen::default();
            let mut got: String = given.chunks(size).map(|chunk| screen.push(chunk)).collect();
            got.push_str(&screen.finish());
            assert_eq!(got, want, "chunks of {size}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_not_wait_for_ever() {
        let mut screen = Screen::default();
        assert_eq!(screen.push(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(screen.push(&[0xf0, 0x9f]), "");
        assert_eq!(screen.push(b"x"), "\u{fffd}x");
        let long = [b"\x1b[".as_slice(), &[b'1'; 100]].concat();
        assert!(screen.push(&long).starts_with("\\x1b[111"));
    }
}
