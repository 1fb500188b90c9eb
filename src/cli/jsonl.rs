//! JSON lines in, JSON lines out: what `classify --json` and `loops --json` share.
//!
//! One line at a time in memory, its length bounded; each answer is flushed
//! before the next line is read, so that both commands can sit in a pipe that
//! stays open. A line that cannot be used is answered on its place and does
//! not stop the rest.
//!
//! Not here: what an answer is (see `classify` and `loops`).

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::error::{Failure, Kind};
use crate::exit_code;

/// The longest line, and the largest file that is read whole, in bytes.
pub const BYTES_MAX: usize = 64 << 20;

/// Why a line has no answer; the line is answered with it instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The line's own id, where it could be read.
    pub id: Value,
    /// What is wrong, as a fragment.
    pub why: String,
}

/// What stands on the place of an answer.
#[derive(Serialize)]
struct Broken<'a> {
    id: &'a Value,
    error: String,
}

/// Where the input comes from.
pub struct Input<'a> {
    reader: Box<dyn BufRead>,
    name: String,
    /// What belongs here, for who brought nothing.
    expected: &'a str,
}

impl<'a> Input<'a> {
    /// Opens `file`; none and `-` are stdin.
    ///
    /// Errors: a file that cannot be read, and a terminal where nobody asked
    /// for one: `expected` then says what belongs there.
    pub fn open(file: Option<&Path>, expected: &'a str) -> Result<Self, Failure> {
        match file {
            Some(path) if path != Path::new("-") => {
                let failed = |error: io::Error| {
                    Failure::from_error(Kind::Usage, &error)
                        .within(format!("cannot read `{}`", path.display()))
                };
                let file = File::open(path).map_err(failed)?;
                if file.metadata().map_err(failed)?.is_dir() {
                    return Err(failed(io::Error::from(ErrorKind::IsADirectory)));
                }
                Ok(Self {
                    reader: Box::new(BufReader::new(file)),
                    name: path.display().to_string(),
                    expected,
                })
            }
            None if io::stdin().is_terminal() => Err(Failure::usage(
                "nothing to read: no FILE, and stdin is a terminal",
            )
            .hint(expected)
            .hint("`-` reads from the terminal all the same")),
            _ => Ok(Self {
                reader: Box::new(BufReader::new(io::stdin())),
                name: "stdin".to_owned(),
                expected,
            }),
        }
    }

    /// Reads all of it as JSON values with any space between them.
    ///
    /// Errors: input that is no JSON, too much of it, or none at all.
    pub fn values(self) -> Result<Vec<Value>, Failure> {
        let name = self.name.clone();
        let mut bytes = Vec::new();
        self.reader
            .take(BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&name, &error))?;
        if bytes.len() > BYTES_MAX {
            return Err(Failure::usage(format!(
                "{name} is longer than {}",
                mib(BYTES_MAX)
            )));
        }
        let bytes = without_bom(&bytes);
        let values = match parse_all(bytes) {
            Err(_) => parse_all(repaired(bytes).as_bytes()),
            values => values,
        };
        match values {
            Ok(values) if values.is_empty() => {
                Err(Failure::usage(format!("{name} is empty")).hint(self.expected))
            }
            Ok(values) => Ok(values),
            Err(error) => {
                Err(Failure::from_error(Kind::Usage, &error).within(format!("{name} is not JSON")))
            }
        }
    }

    /// Answers every line, in order, on stdout.
    ///
    /// Exit code: 0, or 2 when a line could not be used. Blank lines are
    /// passed over. Ends quietly when nobody reads the answers any more.
    pub fn answer<T: Serialize>(
        mut self,
        mut each: impl FnMut(Value) -> Result<T, Unusable>,
    ) -> super::Result {
        let mut out = io::stdout().lock();
        let mut line = Vec::new();
        let mut code = exit_code::DONE;
        let mut number = 0u64;
        loop {
            let read = next_line(&mut self.reader, &mut line, BYTES_MAX)
                .map_err(|error| unreadable(&self.name, &error))?;
            number += 1;
            let answered = match read {
                Came::End => return Ok(code),
                Came::Line if line.trim_ascii().is_empty() => continue,
                Came::Line => parse(&line).and_then(&mut each),
                Came::TooLong => Err(Unusable {
                    id: Value::Null,
                    why: format!("longer than {}", mib(BYTES_MAX)),
                }),
            };
            let text = match &answered {
                Ok(answer) => serde_json::to_vec(answer),
                Err(unusable) => {
                    code = exit_code::USAGE;
                    serde_json::to_vec(&Broken {
                        id: &unusable.id,
                        error: format!("line {number}: {}", unusable.why),
                    })
                }
            };
            let mut text = text.map_err(|error| Failure::from_error(Kind::Environment, &error))?;
            text.push(b'\n');
            match out.write_all(&text).and_then(|()| out.flush()) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(code),
                written => written.map_err(|error| unwritable(&error))?,
            }
        }
    }
}

/// Writes `text` to stdout; somebody who stopped reading is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| unwritable(&error)),
    }
}

/// Returns `text` on one line, without what could steer a terminal. Tools wrote it.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Returns the names of JSON values as a person says them.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::from_error(Kind::Environment, error).within(format!("cannot read {name}"))
}

fn unwritable(error: &io::Error) -> Failure {
    Failure::from_error(Kind::Environment, error).within("cannot write to stdout".to_owned())
}

fn mib(bytes: usize) -> String {
    format!("{} MiB", bytes >> 20)
}

fn parse_all(bytes: &[u8]) -> serde_json::Result<Vec<Value>> {
    serde_json::Deserializer::from_slice(bytes)
        .into_iter()
        .collect()
}

fn parse(line: &[u8]) -> Result<Value, Unusable> {
    let line = without_bom(line);
    serde_json::from_slice(line)
        .or_else(|error| serde_json::from_str(&repaired(line)).map_err(|_| error))
        .map_err(|error| Unusable {
            id: Value::Null,
            // The line is ours, the number serde_json gives is always 1.
            why: error
                .to_string()
                .replace(" at line 1 column ", " at column "),
        })
}

fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Returns the text with every byte and every `\u` escape that is no character
/// replaced by U+FFFD: half surrogates are what other languages make of binary
/// output.
fn repaired(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains("\\u") {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (taken, written) = match half(escape) {
            Some(0xd800..=0xdbff)
                if matches!(escape.get(6..).and_then(half), Some(0xdc00..=0xdfff)) =>
            {
                (12, &escape[..12])
            }
            Some(0xd800..=0xdfff) => (6, "\\ufffd"),
            // The escaped character may be a backslash itself.
            _ => {
                let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                (length, &escape[..length])
            }
        };
        out.push_str(written);
        rest = &escape[taken..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Returns the unit of a `\uXXXX` escape at the beginning of `text`.
fn half(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

/// What came of reading a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// A line, perhaps the last one without its end.
    Line,
    /// A line longer than the bound; it was read to its end and dropped.
    TooLong,
    /// No more lines.
    End,
}

/// Reads one line into `line`, without its end, keeping at most `bytes_max`.
fn next_line(reader: &mut dyn BufRead, line: &mut Vec<u8>, bytes_max: usize) -> io::Result<Came> {
    line.clear();
    let mut found = Came::End;
    loop {
        let chunk = match reader.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        if chunk.is_empty() {
            return Ok(found);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let kept = &chunk[..end.unwrap_or(chunk.len())];
        if found != Came::TooLong {
            found = if line.len() + kept.len() > bytes_max {
                // A long line is not worth keeping its memory for.
                *line = Vec::new();
                Came::TooLong
            } else {
                line.extend_from_slice(kept);
                Came::Line
            };
        }
        let taken = kept.len() + usize::from(end.is_some());
        reader.consume(taken);
        if end.is_some() {
            return Ok(found);
        }
    }
}

/// FILE of a command that reads JSON.
#[derive(Debug, clap::Args)]
pub struct FileArg {
    /// What to read; `-` or nothing is stdin
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_table() {
        #[rustfmt::skip]
        type Row<'a> = (&'a str, &'a [u8], &'a [(&'a str, Came)]);
        let rows: [Row<'_>; 5] = [
            ("nothing", b"", &[]),
            (
                "a last line without its end",
                b"a\nb",
                &[("a", Came::Line), ("b", Came::Line)],
            ),
            (
                "an empty line is a line",
                b"\nb\n",
                &[("", Came::Line), ("b", Came::Line)],
            ),
            ("a line at the bound", b"abcd\n", &[("abcd", Came::Line)]),
            (
                "a line past the bound is dropped, the next one is not",
                b"abcdefghij\nb\n",
                &[("", Came::TooLong), ("b", Came::Line)],
            ),
        ];
        for (name, input, want) in rows {
            // A small buffer, so that lines come in pieces.
            let mut reader = BufReader::with_capacity(3, input);
            let (mut line, mut got) = (Vec::new(), Vec::new());
            loop {
                match next_line(&mut reader, &mut line, 4).unwrap() {
                    Came::End => break,
                    read => got.push((line.clone(), read)),
                }
            }
            let want: Vec<_> = want
                .iter()
                .map(|(line, read)| (line.as_bytes().to_vec(), *read))
                .collect();
            assert_eq!(got, want, "row: {name}");
        }
    }

    #[test]
    fn repair_table() {
        #[rustfmt::skip]
        let rows = [
            ("nothing to repair", r#""a \n \u00e9""#, r#""a \n \u00e9""#),
            ("a pair stays", r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            ("the first half alone", r#""\ud83d x""#, r#""\ufffd x""#),
            ("the second half alone", r#""\udc80""#, r#""\ufffd""#),
            ("two first halves", r#""\ud83d\ud83d""#, r#""\ufffd\ufffd""#),
            ("an escaped backslash before a u is no escape", r#""\\ud83d""#, r#""\\ud83d""#),
            ("cut in the middle", r#""\ud8"#, r#""\ud8"#),
            ("a backslash at the end", "\"\\ud800\\", "\"\\ufffd\\"),
            ("digits that are none", "\"\\u+123\\ué\"", "\"\\u+123\\ué\""),
        ];
        for (name, text, want) in rows {
            assert_eq!(repaired(text.as_bytes()), want, "row: {name}");
        }
        assert_eq!(parse(b"\"a\xffb\""), Ok(Value::from("a\u{fffd}b")));
    }

    #[test]
    fn what_tools_wrote_cannot_steer_a_terminal() {
        assert_eq!(plain("a\x1b[31m\nb\u{9b}x"), "a\u{fffd}[31m b\u{fffd}x");
    }
}
