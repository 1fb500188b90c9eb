//! Reads shell commands: words, simple commands, and what they are for.
//!
//! Not a shell: no expansion, no control flow. Quotes, separators, redirects
//! and comments are understood; what is not understood counts as a program of
//! unknown effect.

use std::borrow::Cow;

use super::print::Kind;
use super::programs::{Simple, combined};

/// Bytes of a command that are looked at.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// A command with what it is for.
#[derive(Debug, Clone)]
pub(super) struct Shell {
    /// The command without the shell around it.
    pub text: String,
    /// The first program that does something, with its verb: `git status`.
    pub program: String,
    /// What the whole command is for.
    pub kind: Kind,
    /// It only talks to other machines, so a time-out there is theirs.
    pub network: bool,
}

impl Shell {
    /// Returns the reading of one command.
    pub fn read(text: &str) -> Self {
        let text = unwrap(text).into_owned();
        let simples = simples(&text);
        let doing: Vec<&Simple> = simples
            .iter()
            .filter(|simple| !simple.is_setting())
            .collect();
        let kinds: Vec<Kind> = doing.iter().map(|simple| simple.kind()).collect();
        let first = doing.first();
        Self {
            program: first.map(|simple| simple.name()).unwrap_or_default(),
            network: first.is_some_and(|simple| simple.is_network()),
            kind: combined(&kinds),
            text,
        }
    }

    /// Returns whether the answer may be a state that others change: programs
    /// of the user's own and cloud tools, not those that show files.
    #[rustfmt::skip]
    pub fn may_report_state(&self) -> bool {
        let first = self.program.split(' ').next().unwrap_or("");
        self.network
            || !matches!(self.kind, Kind::Read)
                && !matches!(
                    first,
                    "python" | "python3" | "node" | "pytest" | "make" | "npm" | "cargo" | "go" | "jest"
                )
    }

    /// Returns whether the command searches by words.
    pub fn looks_up(&self) -> bool {
        matches!(
            self.program.as_str(),
            "grep" | "egrep" | "rg" | "ag" | "ack" | "find" | "fd" | "git grep" | "fgrep"
        )
    }
}

/// Returns the command inside `bash -lc "…"`, or the text itself.
pub(super) fn unwrap(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    let mut rest = text.splitn(3, char::is_whitespace);
    let (Some(program), Some(flag), Some(inner)) = (rest.next(), rest.next(), rest.next()) else {
        return Cow::Borrowed(text);
    };
    let shell = matches!(
        program.rsplit('/').next().unwrap_or(""),
        "bash" | "sh" | "zsh" | "dash"
    );
    let takes_text = flag.starts_with('-') && flag.ends_with('c') && flag.len() <= 5;
    if !shell || !takes_text {
        return Cow::Borrowed(text);
    }
    let inner = inner.trim();
    match inner.chars().next() {
        Some(quote @ ('"' | '\'')) if inner.len() >= 2 && inner.ends_with(quote) => {
            let body = &inner[1..inner.len() - 1];
            // Another quote inside means several words: left alone.
            let whole = !body.replace("\\\"", "").contains(quote);
            if whole {
                Cow::Owned(body.replace("\\\"", "\""))
            } else {
                Cow::Borrowed(text)
            }
        }
        _ => Cow::Borrowed(text),
    }
}

/// Returns one command line for an argument vector.
pub(super) fn join(words: &[&str]) -> String {
    if let [program, flag, script] = words
        && matches!(
            program.rsplit('/').next().unwrap_or(""),
            "bash" | "sh" | "zsh" | "dash"
        )
        && flag.starts_with('-')
        && flag.ends_with('c')
    {
        return (*script).to_owned();
    }
    let quoted = words.iter().map(|word| {
        match word.contains([' ', '\t', '\n', '"', '\'', ';', '&', '|', '>']) {
            true => Cow::Owned(format!("'{}'", word.replace('\'', "'\\''"))),
            false => Cow::Borrowed(*word),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Returns the words as spelled, quotes kept, separators as words of their own.
pub(super) fn spelled_words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    let mut quote: Option<char> = None;
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) => {
                word.push(c);
                match c {
                    '\\' if open == '"' => word.extend(chars.next()),
                    _ if c == open => quote = None,
                    _ => {}
                }
            }
            (None, '\'' | '"' | '`') => {
                quote = Some(c);
                word.push(c);
            }
            (None, '\\') => match chars.next() {
                // A continued line is one line.
                Some('\n') => flush(&mut words, &mut word),
                next => {
                    word.push(c);
                    word.extend(next);
                }
            },
            (None, '#') if word.is_empty() => while chars.next_if(|c| *c != '\n').is_some() {},
            (None, ';' | '|' | '\n') => {
                flush(&mut words, &mut word);
                let doubled = c != '\n' && chars.next_if_eq(&c).is_some();
                separate(
                    &mut words,
                    match (c, doubled) {
                        ('|', true) => "||",
                        ('|', false) => "|",
                        _ => ";",
                    },
                );
            }
            (None, '&') if chars.peek() == Some(&'&') => {
                chars.next();
                flush(&mut words, &mut word);
                separate(&mut words, "&&");
            }
            (None, c) if c.is_whitespace() => flush(&mut words, &mut word),
            (None, c) => word.push(c),
        }
    }
    flush(&mut words, &mut word);
    words
}

fn flush(words: &mut Vec<String>, word: &mut String) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

/// Adds a separator; an empty command between two of them is none.
fn separate(words: &mut Vec<String>, separator: &str) {
    let repeated = words.last().is_none_or(|last| is_separator(last));
    if !(repeated && separator == ";") {
        words.push(separator.to_owned());
    }
}

fn is_separator(word: &str) -> bool {
    matches!(word, ";" | "|" | "||" | "&&")
}

fn simples(text: &str) -> Vec<Simple> {
    let end = (0..=TEXT_BYTES_MAX.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    // A here-document is content, not commands.
    let (head, heredoc) = match text[..end].find("<<") {
        Some(at) => (heredoc_command(text, at), true),
        None => (Cow::Borrowed(&text[..end]), false),
    };
    let mut found = vec![Simple::default()];
    let words = spelled_words(&head);
    for (at, word) in words.iter().enumerate() {
        let Some(current) = found.last_mut() else {
            continue;
        };
        if is_separator(word) {
            found.push(Simple::default());
        } else if is_redirect_to_file(word, words.get(at + 1)) {
            current.writes_file = true;
        } else {
            current.words.push(unquoted(word));
        }
    }
    if heredoc
        && found
            .iter()
            .any(|simple| matches!(simple.program(), "python" | "python3" | "node"))
    {
        let writes = ["write_text", ".write(", "writeFile", "'w')", "\"w\")"]
            .iter()
            .any(|mark| text.contains(mark));
        if let (true, Some(first)) = (writes, found.first_mut()) {
            first.writes_file = true;
        }
    }
    found
}

/// Returns the command around a here-document: its first line, and what
/// follows the closing word.
fn heredoc_command(text: &str, at: usize) -> Cow<'_, str> {
    let mark: String = text[at..]
        .trim_start_matches(['<', '-', ' ', '\'', '"', '\\'])
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    let line_end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    let first = &text[..line_end];
    let rest = &text[line_end..];
    let close = rest
        .match_indices(&format!("\n{mark}"))
        .map(|(found, _)| found + 1 + mark.len())
        .next();
    match close.filter(|_| !mark.is_empty()) {
        Some(after) => Cow::Owned(format!("{first}\n{}", &rest[after..])),
        None => Cow::Borrowed(first),
    }
}

fn is_redirect_to_file(word: &str, next: Option<&String>) -> bool {
    let target = match word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '&') {
        ">" | ">>" => next.map(String::as_str).unwrap_or(""),
        rest => match rest.find('>') {
            // `a>b` redirects; quotes before the sign mean it may be text.
            Some(at) if !rest[..at].contains(['\'', '"', '=', '-', '(', '`']) => {
                rest[at..].trim_start_matches('>')
            }
            _ => return false,
        },
    };
    !target.is_empty() && !target.starts_with('&') && !target.starts_with("/dev/")
}

fn unquoted(word: &str) -> String {
    word.replace(['\'', '"'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn odd_commands_do_not_panic() {
        for text in [
            "<<", "cat <<É", "'", "\"\\", "a <<\n\n", "bash -c \"", "bash -lc '", ">>", "é>é", "&&||;;|",
        ] {
            Shell::read(text);
            super::super::spelling::command(text);
        }
    }
}
