//! Program text given to a tool that runs it (Codex `exec`, notebooks).
//!
//! The normal form drops comments and spacing outside strings and renames
//! `const`, `let` and `var` by order of appearance, which changes no meaning:
//! models rename their variables from try to try. It is a lexer, not a parser;
//! template strings and regular expressions stay as they are.

use std::borrow::Cow;

/// Bytes of program that are normalised; longer programs stay as they are.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Returns whether a text looks like JavaScript that calls tools.
pub(super) fn is_script(text: &str) -> bool {
    let marks = ["await ", "tools.", "const ", "=> ", "let ", "function "];
    let found = marks.iter().filter(|mark| text.contains(**mark)).count();
    found >= 2 || text.contains("tools.") && text.contains('(')
}

/// Returns the normal form of a script.
pub(super) fn normal(text: &str) -> Cow<'_, str> {
    if text.len() > TEXT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let tokens = tokens(text);
    let names = declared(&tokens);
    let mut out = String::with_capacity(text.len());
    for (at, token) in tokens.iter().enumerate() {
        // Line ends replace semicolons as often as not.
        if *token == ";" {
            continue;
        }
        let after_dot = at > 0 && tokens[at - 1] == ".";
        match names.iter().position(|name| name == token) {
            Some(no) if !after_dot => out.push_str(&format!("${no}")),
            _ => out.push_str(token),
        }
        out.push(' ');
    }
    Cow::Owned(out)
}

/// Returns the shell commands a script runs: values of `cmd` and `command`.
pub(super) fn commands(text: &str) -> Vec<String> {
    if text.len() > TEXT_BYTES_MAX {
        return Vec::new();
    }
    let tokens = tokens(text);
    let mut found = Vec::new();
    for three in tokens.windows(3) {
        let key = three[0].trim_matches(['"', '\'']);
        if matches!(key, "cmd" | "command" | "script") && three[1] == ":" && three[2].len() >= 2 {
            let quoted = three[2].starts_with(['"', '\'', '`']);
            if quoted {
                let inner = three[2].get(1..three[2].len() - 1).unwrap_or_default();
                found.push(inner.replace("\\n", "\n").replace("\\\"", "\""));
            }
        }
    }
    found
}

/// Splits a script into names, numbers, strings and single signs; comments and
/// spaces are dropped.
fn tokens(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at = memchr(bytes, at, b'\n');
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at = text[at + 2..]
                    .find("*/")
                    .map_or(bytes.len(), |end| at + 2 + end + 2);
                continue;
            }
            quote @ (b'"' | b'\'' | b'`') => at = end_of_string(bytes, at, quote),
            b if is_name(b) => {
                while at < bytes.len() && is_name(bytes[at]) {
                    at += 1;
                }
            }
            _ => at += 1,
        }
        found.push(&text[start..at]);
    }
    found
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

fn memchr(bytes: &[u8], from: usize, wanted: u8) -> usize {
    bytes[from..]
        .iter()
        .position(|b| *b == wanted)
        .map_or(bytes.len(), |at| from + at)
}

fn end_of_string(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        match bytes[at] {
            // The escaped byte is skipped; a cut inside a letter cannot happen,
            // since quotes are ASCII and the end of the text is a boundary.
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Returns the names a script declares, in order, once each.
fn declared<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for pair in tokens.windows(2) {
        let declares = matches!(pair[0], "const" | "let" | "var");
        if declares
            && is_name(pair[1].as_bytes()[0])
            && !names.contains(&pair[1])
            && names.len() < 32
        {
            names.push(pair[1]);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_table() {
        #[rustfmt::skip]
        let rows = [
            ("names of constants do not count", "const a = f('x'); text(a)", "const b = f('x')\ntext(b)", true),
            ("fields keep their names", "const a = 1; text(q.a)", "const b = 1; text(q.b)", false),
            ("strings count", "f('x')", "f('y')", false),
            ("comments do not count", "f(1) // one", "/* 2 */ f( 1 )", true),
            ("an unclosed string is no trouble", "f('x", "f('x", true),
        ];
        for (name, one, other, want) in rows {
            assert_eq!(normal(one) == normal(other), want, "row: {name}");
        }
    }

    #[test]
    fn commands_are_found() {
        let script =
            "const r = await tools.exec_command({cmd: \"git commit -m 'x'\", workdir: '/w'});";
        assert_eq!(commands(script), ["git commit -m 'x'"]);
        assert!(is_script(script));
        assert!(!is_script("print(1)"));
    }
}
