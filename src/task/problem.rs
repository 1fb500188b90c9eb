//! What is wrong with a task file, and how a person reads it.
//!
//! A [`Problem`] stops the run; a [`Finding`] is what an operator should know
//! before relying on it (`readiness`). Both have a [`Place`]. The text form is
//! that of the house style: what, where, the line, the fix. The JSON form is
//! the `Serialize` of the same types and is promised to stay.
//!
//! Lines of sections that may hold secrets (`env`, `headers`) are not quoted.

use std::fmt;

use serde::Serialize;

use super::locate::{KeyPath, Position};

/// The longest source line that is quoted, in characters.
const QUOTED_MAX: usize = 160;
/// The most problems that are shown one by one.
const SHOWN_MAX: usize = 100;

/// Where in the task file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The name of the file, as the user gave it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The key path such as `limits.cost_usd`; empty for the file as a whole.
    pub key: String,
    /// The source line, unless it may hold a secret.
    #[serde(skip)]
    pub quoted: Option<String>,
    /// How many characters of the source line are meant.
    #[serde(skip)]
    pub width: usize,
}

impl Place {
    /// Makes a place and quotes its line from `lines`, those of the file.
    pub(crate) fn new(file: &str, lines: &[&str], path: &KeyPath, at: Position) -> Self {
        let secret = path.may_be_secret();
        let line = lines.get(at.line - 1).copied().unwrap_or("");
        let quoted = (!secret && !line.is_empty() && line.chars().count() <= QUOTED_MAX)
            .then(|| line.replace('\t', " "));
        Self {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            key: path.to_string(),
            width: width_at(line, at.column),
            quoted,
        }
    }
}

/// Splits text into lines as YAML does, so that line numbers agree.
pub(crate) fn lines(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = super::parse::without_bom(text);
    loop {
        let Some(end) = rest.find(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) else {
            found.push(rest);
            return found;
        };
        found.push(&rest[..end]);
        let tail = &rest[end..];
        let skip = if tail.starts_with("\r\n") {
            2
        } else {
            tail.chars().next().map_or(1, char::len_utf8)
        };
        rest = &tail[skip..];
    }
}

/// Returns how many characters from `column` on belong to the word there: a
/// quoted text with its quotes, a key up to its colon, else up to a separator.
fn width_at(line: &str, column: usize) -> usize {
    let rest: Vec<char> = line.chars().skip(column - 1).collect();
    let ends = |index: usize, c: char| {
        let next = rest.get(index + 1).copied().unwrap_or(' ');
        match c {
            ',' | ']' | '}' => true,
            ':' => next.is_whitespace(),
            '#' => index > 0 && rest[index - 1].is_whitespace(),
            _ => false,
        }
    };
    let end = match rest.first() {
        Some(quote @ ('"' | '\'')) => rest
            .iter()
            .skip(1)
            .position(|c| c == quote)
            .map_or(rest.len(), |place| place + 2),
        _ => rest
            .iter()
            .enumerate()
            .position(|(index, c)| ends(index, *c))
            .unwrap_or(rest.len()),
    };
    let word: String = rest[..end].iter().collect();
    word.trim_end().chars().count().max(1)
}

/// Something that must be put right before the task can run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// The whole sentence: what is wrong, expected against found.
    pub message: String,
    /// What was expected, as a noun phrase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What is there instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What to do, ready to paste.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Missing for production.
    #[serde(rename = "warning")]
    Warn,
    /// Will not work as written.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warn => "warning",
            Self::Error => "error",
        })
    }
}

/// Something an operator should know about a valid task file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The stable id of the readiness rule, such as `R101`.
    pub rule: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What is missing or risky, as a sentence without a period.
    pub message: String,
    /// What to do, ready to paste.
    pub fix: String,
}

/// Whether the text form is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI escape sequences.
    Always,
}

impl Colour {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Never => text.to_owned(),
            Self::Always => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

impl Problem {
    /// Returns the text form: several lines, the last one ended.
    pub fn render(&self, colour: Colour) -> String {
        let head = colour.paint("1;31", "error");
        snippet(
            &head,
            &self.place,
            &self.message,
            self.fix.as_deref(),
            "31",
            colour,
        )
    }
}

impl Finding {
    /// Returns the text form: several lines, the last one ended.
    pub fn render(&self, colour: Colour) -> String {
        let code = match self.severity {
            Severity::Error => "31",
            Severity::Warn => "33",
            Severity::Info => "36",
        };
        let head = format!("{}[{}]", self.severity, self.rule);
        let head = colour.paint(&format!("1;{code}"), &head);
        snippet(
            &head,
            &self.place,
            &self.message,
            Some(&self.fix),
            code,
            colour,
        )
    }
}

fn snippet(
    head: &str,
    place: &Place,
    message: &str,
    fix: Option<&str>,
    code: &str,
    colour: Colour,
) -> String {
    let Place {
        file, line, column, ..
    } = place;
    let gutter = line.to_string().len();
    let mut text = format!("{head}: task file `{file}`: {message}\n");
    text.push_str(&format!("{:gutter$}--> {file}:{line}:{column}\n", ""));
    if let Some(quoted) = &place.quoted {
        let carets = colour.paint(code, &"^".repeat(place.width));
        let pad = " ".repeat(display_width(quoted, column - 1));
        text.push_str(&format!(
            "{:gutter$} |\n{line} | {quoted}\n{:gutter$} | {pad}{carets}\n",
            "", ""
        ));
    }
    if let Some(fix) = fix {
        text.push_str(&format!("{}: {fix}\n", colour.paint("1", "hint")));
    }
    text
}

/// Returns the columns of a terminal that the first `count` characters take;
/// East Asian wide characters take two, so that the carets stand right.
fn display_width(line: &str, count: usize) -> usize {
    let wide = |c: char| {
        matches!(u32::from(c), 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3
            | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6
            | 0x1f300..=0x1f64f | 0x1f900..=0x1f9ff | 0x20000..=0x3fffd)
    };
    line.chars()
        .take(count)
        .map(|c| if wide(c) { 2 } else { 1 })
        .sum()
}

/// All problems of one task file, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Returns the text form of all, an empty line between two.
    pub fn render(&self, colour: Colour) -> String {
        let shown = self
            .0
            .iter()
            .take(SHOWN_MAX)
            .map(|problem| problem.render(colour));
        let mut text = shown.collect::<Vec<_>>().join("\n");
        if self.0.len() > SHOWN_MAX {
            text.push_str(&format!("\n... and {} more\n", self.0.len() - SHOWN_MAX));
        }
        text
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Colour::Never))
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_table() {
        #[rustfmt::skip]
        let rows = [
            ("a plain value", "  max: -3", 8, 2),
            ("a value before a comment", "a: b c # d", 4, 3),
            ("a key", "abc: 1", 1, 3),
            ("a quoted text with a comma", "a: \"x, y\" # z", 4, 6),
            ("an item of a flow list", "a: [xy, z]", 5, 2),
            ("a URL keeps its colon", "a: http://x", 4, 8),
            ("past the end", "a:", 9, 1),
        ];
        for (name, line, column, want) in rows {
            assert_eq!(width_at(line, column), want, "row: {name}");
        }
    }

    #[test]
    fn lines_break_where_yaml_breaks_them() {
        assert_eq!(lines("a\r\nb\rc\n\u{2028}d"), ["a", "b", "c", "", "d"]);
        assert_eq!(lines(""), [""]);
    }

    #[test]
    fn carets_stand_under_wide_characters_and_secrets_stay_out() {
        let text = "k: {日本: 1, b: x}\n";
        let path = KeyPath::root().key("k").key("b");
        let place = Place::new(
            "t.yaml",
            &lines(text),
            &path,
            Position {
                line: 1,
                column: 15,
            },
        );
        let problem = Problem {
            place,
            message: "k.b is wrong".to_owned(),
            expected: None,
            found: None,
            fix: Some("write `y`".to_owned()),
        };
        let want = "error: task file `t.yaml`: k.b is wrong\n --> t.yaml:1:15\n  |\n1 | k: {日本: 1, b: x}\n  |                 ^\nhint: write `y`\n";
        assert_eq!(problem.render(Colour::Never), want);
        let secret = Place::new("t.yaml", &lines(text), &path.key("env"), Position::START);
        assert_eq!(secret.quoted, None);
    }
}
