//! Compares errors without what they repeat of the arguments.

use super::digest::Digest;
use super::mask::floor;
use super::volatile::mask_text;

/// Bytes of an error that are compared.
const ERROR_BYTES_MAX: usize = 2048;

/// Returns the digest of an error without volatile bytes and without what it
/// repeats of the arguments (`words`, one a line).
pub(super) fn error_without_echo(text: &str, words: &str) -> Digest {
    let mut text = text[..floor(text, ERROR_BYTES_MAX)].to_owned();
    let mut echoes: Vec<&str> = words.lines().filter(|line| line.len() >= 3).collect();
    let names: Vec<&str> = echoes
        .iter()
        .filter_map(|line| line.rsplit('/').next())
        .filter(|name| name.len() >= 3)
        .collect();
    echoes.extend(names);
    echoes.sort_by_key(|line| std::cmp::Reverse(line.len()));
    for echo in echoes.iter().take(16) {
        if text.contains(echo) {
            text = text.replace(echo, "@");
        }
    }
    let text = without_quoted_echo(&text, words);
    let mut out = String::with_capacity(text.len());
    mask_text(&text, &mut out, false);
    Digest::of(out.as_bytes())
}

/// Replaces quoted pieces that also stand in the arguments.
fn without_quoted_echo(text: &str, words: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '"', '`']) {
        let quote = rest.as_bytes()[at];
        let inner = &rest[at + 1..];
        let Some(len) = inner.bytes().take(80).position(|b| b == quote) else {
            out.push_str(&rest[..at + 1]);
            rest = inner;
            continue;
        };
        let piece = &inner[..len];
        out.push_str(&rest[..at]);
        out.push_str(if len >= 2 && words.contains(piece) {
            "@"
        } else {
            piece
        });
        rest = &inner[len + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoes_are_taken_out() {
        #[rustfmt::skip]
        let rows = [
            ("a path", "No such file: src/a.rs", "src/a.rs", "No such file: src/bb.rs", "src/bb.rs", true),
            ("a quoted column", "column \"foo\" does not exist", "select foo from t", "column \"bar\" does not exist", "select bar from t", true),
            ("another error", "No such file: src/a.rs", "src/a.rs", "Permission denied: src/a.rs", "src/a.rs", false),
        ];
        for (name, one, one_words, other, other_words, want) in rows {
            assert_eq!(
                error_without_echo(one, one_words) == error_without_echo(other, other_words),
                want,
                "row: {name}"
            );
        }
    }
}
