//! What the model reads of a result.
//!
//! Pure. The forms:
//!
//! | what happened | text |
//! |---|---|
//! | a command exits with 0 | its stdout, as it is |
//! | ... and wrote to stderr only | `[nothing on stdout; on stderr:]` and that |
//! | a command fails | `exit status 3`, then `[stderr]` and `[stdout]` with what they hold |
//! | a command runs out of time | `ended after 30000 ms, its time limit`, then the same |
//! | HTTP 2xx | the body, as it is |
//! | any other status | `HTTP 422 Unprocessable Entity`, then the body |
//! | no answer | what went wrong |
//!
//! Empty output stays empty: a loop that is a program takes the text as the
//! value. At most [`TEXT_BYTES_MAX`] bytes are given, from the start and the
//! end, with a line between them that says how much is left out.

use std::path::{Path, PathBuf};

use crate::machine::event::Content;
use crate::policy::taxonomy::Class;

/// Longest text for the model, in bytes, the line about what is left out not counted.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// One stream of output, as far as it is in memory.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The text, perhaps with a middle left out.
    pub(super) text: String,
    /// Of the whole stream.
    pub(super) bytes_total: u64,
    /// Whether `text` leaves something out.
    pub(super) truncated: bool,
    /// Its file, unless it is empty.
    pub(super) path: Option<PathBuf>,
}

impl Stream {
    fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }
}

/// Says what a command gave that exited with 0.
pub(super) fn of_success(stdout: &Stream, stderr: &Stream) -> Content {
    if stdout.is_blank() && !stderr.is_blank() {
        let mut content = Content {
            path: shown_path(stderr),
            ..Content::default()
        };
        content.text = "[nothing on stdout; on stderr:]\n".to_owned();
        append(&mut content, stderr, TEXT_BYTES_MAX);
        return content;
    }
    of_body(None, stdout, false)
}

/// Says what a command gave that failed.
///
/// - `how`: how it ended, such as `exit status 3`.
pub(super) fn of_failure(how: &str, stdout: &Stream, stderr: &Stream) -> Content {
    let named = [("[stderr]", stderr), ("[stdout]", stdout)];
    let named: Vec<_> = named
        .into_iter()
        .filter(|(_, stream)| !stream.is_blank())
        .collect();
    let path = named.first().and_then(|(_, stream)| shown_path(stream));
    let mut content = Content {
        text: how.to_owned(),
        is_error: true,
        path,
        truncated: false,
    };
    // What one stream does not need is the other one's.
    let needs: Vec<usize> = named.iter().map(|(_, stream)| stream.text.len()).collect();
    let half = TEXT_BYTES_MAX / 2;
    for (at, (name, stream)) in named.iter().enumerate() {
        let other = needs.get(1 - at).map_or(0, |need| (*need).min(half));
        content.text.push('\n');
        content.text.push_str(name);
        content.text.push('\n');
        append(&mut content, stream, TEXT_BYTES_MAX - other);
    }
    content
}

/// Says what a stream holds, after a first line if there is one.
pub(super) fn of_body(first_line: Option<&str>, body: &Stream, is_error: bool) -> Content {
    let text = first_line.unwrap_or_default().to_owned();
    let mut content = Content {
        text,
        is_error,
        truncated: false,
        path: shown_path(body),
    };
    if first_line.is_some() && !body.text.is_empty() {
        content.text.push('\n');
    }
    append(&mut content, body, TEXT_BYTES_MAX);
    content
}

/// Says that there is no result, and why.
pub(super) fn of_nothing(why: &str) -> Content {
    let (text, truncated) = cut(why, why.len() as u64, TEXT_BYTES_MAX, None);
    Content {
        text,
        is_error: true,
        truncated,
        path: None,
    }
}

/// Fits a content to what the taxonomy found.
///
/// A success is no error, whatever the exit code (`grep` that finds nothing);
/// anything else but a success or a partial result is one, whatever the status
/// (`{"ok": false}` under 200). A result that was delivered and is unfit says
/// first what is wrong with it.
///
/// - `why`: the verdict's sentence.
/// - `mismatch`: what does not fit the output schema, one item a line.
pub(super) fn judged(
    content: &Content,
    class: Class,
    why: &str,
    mismatch: Option<&str>,
) -> Content {
    let mut content = content.clone();
    content.is_error = !matches!(class, Class::Success | Class::Partial);
    if class == Class::Quality {
        let reasons = mismatch
            .map(|mismatch| format!(":\n{mismatch}"))
            .unwrap_or_default();
        let given = if content.text.trim().is_empty() {
            "It gave nothing."
        } else {
            "It gave:"
        };
        content.text = format!(
            "The tool answered, but the answer cannot be used: {}{reasons}\n{given}\n{}",
            why.trim_end_matches('.'),
            content.text
        );
    }
    content
}

fn append(content: &mut Content, stream: &Stream, bytes_max: usize) {
    let (text, was_cut) = cut(
        &stream.text,
        stream.bytes_total,
        bytes_max,
        stream.path.as_deref(),
    );
    content.text.push_str(&text);
    content.truncated |= was_cut || stream.truncated;
}

/// Keeps the start and the end of `text`. When that leaves out something that
/// is left out of `text` already, both are counted.
fn cut(text: &str, bytes_total: u64, bytes_max: usize, path: Option<&Path>) -> (String, bool) {
    if text.len() <= bytes_max {
        return (text.to_owned(), false);
    }
    let head = &text[..text.floor_char_boundary(bytes_max / 2)];
    let tail = &text[text.ceil_char_boundary(text.len() - bytes_max / 2)..];
    let left_out = bytes_total.max(text.len() as u64) - (head.len() + tail.len()) as u64;
    let place = path
        .map(|path| format!("; see {}", path.display()))
        .unwrap_or_default();
    (
        format!("{head}\n[... {left_out} bytes left out{place} ...]\n{tail}"),
        true,
    )
}

fn shown_path(stream: &Stream) -> Option<String> {
    stream
        .path
        .as_deref()
        .map(|path| path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(text: &str) -> Stream {
        let path = (!text.is_empty()).then(|| PathBuf::from("/out/1"));
        Stream {
            text: text.to_owned(),
            bytes_total: text.len() as u64,
            truncated: false,
            path,
        }
    }

    #[test]
    fn forms_table() {
        let empty = Stream::default;
        #[rustfmt::skip]
        let rows = [
            ("stdout as it is, with its line end", of_success(&stream("42\n"), &stream("warning")), "42\n", false),
            ("nothing stays nothing", of_success(&empty(), &empty()), "", false),
            ("stderr, marked, where stdout is blank", of_success(&stream("\n"), &stream("created")), "[nothing on stdout; on stderr:]\ncreated", false),
            ("a failure with both", of_failure("exit status 3", &stream("out"), &stream("err")), "exit status 3\n[stderr]\nerr\n[stdout]\nout", true),
            ("a failure without a word", of_failure("exit status 1", &empty(), &stream(" \n")), "exit status 1", true),
            ("a body", of_body(None, &stream("{}"), false), "{}", false),
            ("a failed answer", of_body(Some("HTTP 422 Unprocessable Entity"), &stream("{}"), true), "HTTP 422 Unprocessable Entity\n{}", true),
            ("a failed answer without a body", of_body(Some("HTTP 500 Internal Server Error"), &empty(), true), "HTTP 500 Internal Server Error", true),
        ];
        for (name, content, text, is_error) in rows {
            assert_eq!(
                (content.text.as_str(), content.is_error),
                (text, is_error),
                "row: {name}"
            );
            assert!(!content.truncated, "row: {name}");
        }
    }

    #[test]
    fn long_output_keeps_start_and_end_and_says_where_the_rest_is() {
        let text = format!("start{}end", "\u{e4}".repeat(TEXT_BYTES_MAX));
        let content = of_success(&stream(&text), &Stream::default());
        assert!(content.truncated);
        assert!(content.text.len() < TEXT_BYTES_MAX + 100);
        assert!(content.text.starts_with("start") && content.text.ends_with("end"));
        assert!(
            content.text.contains("bytes left out; see /out/1 ...]"),
            "{}",
            content.text
        );
        assert_eq!(content.path.as_deref(), Some("/out/1"));
    }

    #[test]
    fn what_was_left_out_before_is_counted() {
        let mut long = stream(&"x".repeat(TEXT_BYTES_MAX + 2));
        long.bytes_total = 1_000_000_000;
        long.truncated = true;
        let content = of_success(&long, &Stream::default());
        let left_out = 1_000_000_000 - TEXT_BYTES_MAX;
        assert!(
            content
                .text
                .contains(&format!("[... {left_out} bytes left out"))
        );
    }

    #[test]
    fn a_long_stderr_leaves_room_for_stdout() {
        let long = stream(&"e".repeat(10 * TEXT_BYTES_MAX));
        let content = of_failure("exit status 1", &stream("short"), &long);
        assert!(content.text.ends_with("[stdout]\nshort"));
        assert!(content.text.len() < TEXT_BYTES_MAX + 200);
        let content = of_failure("exit status 1", &stream(&long.text), &long);
        assert!(
            content.text.len() < TEXT_BYTES_MAX + 300,
            "{}",
            content.text.len()
        );
    }

    #[test]
    fn judged_table() {
        let failed = of_failure("exit status 1", &Stream::default(), &Stream::default());
        let given = of_success(&stream("{\"total\": \"x\"}"), &Stream::default());
        let nothing = Content::default();
        #[rustfmt::skip]
        let rows = [
            ("a search that finds nothing is no error", &failed, Class::Success, None, "exit status 1", false),
            ("an error under 200 is one", &given, Class::Semantic, None, "{\"total\": \"x\"}", true),
            ("an unfit answer says why", &given, Class::Quality, Some("- `total` is the string \"x\", expected a number"),
             "The tool answered, but the answer cannot be used: it breaks the schema:\n- `total` is the string \"x\", expected a number\nIt gave:\n{\"total\": \"x\"}", true),
            ("an empty answer too", &nothing, Class::Quality, None,
             "The tool answered, but the answer cannot be used: it breaks the schema\nIt gave nothing.\n", true),
        ];
        for (name, content, class, mismatch, text, is_error) in rows {
            let content = judged(content, class, "it breaks the schema.", mismatch);
            assert_eq!(
                (content.text.as_str(), content.is_error),
                (text, is_error),
                "row: {name}"
            );
        }
    }
}
