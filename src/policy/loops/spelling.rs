//! The one spelling of paths, addresses, queries and commands.
//!
//! Only what cannot change the meaning is changed; where that is not certain
//! (quotes, here-documents, unknown syntax), the text stays as it is.

use std::borrow::Cow;

use super::{shell, volatile};

/// Returns a path without `.`, `..` and doubled slashes; purely lexical.
pub(super) fn path(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if let Cow::Owned(masked) = volatile::without_temp_name(text) {
        return Cow::Owned(masked);
    }
    let plain = !text.contains("./")
        && !text.contains("//")
        && !text.contains("/.")
        && !text.ends_with('/');
    if plain || text.contains("://") {
        return Cow::Borrowed(text);
    }
    let rooted = text.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    Cow::Owned(match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    })
}

/// Returns an address without cache-busters and a bare trailing `#`, parameters sorted.
pub(super) fn url(text: &str) -> Cow<'_, str> {
    let text = text.trim().trim_end_matches('#');
    let Some((front, rest)) = text.split_once('?') else {
        return Cow::Borrowed(text);
    };
    let (params, fragment) = rest
        .split_once('#')
        .map_or((rest, None), |(p, f)| (p, Some(f)));
    let mut kept: Vec<&str> = params
        .split('&')
        .filter(|param| !is_cache_buster(param))
        .collect();
    kept.sort_by_key(|param| param.split('=').next().unwrap_or(""));
    let mut out = front.to_owned();
    if !kept.is_empty() {
        out.push('?');
        out.push_str(&kept.join("&"));
    }
    if let Some(fragment) = fragment {
        out.push('#');
        out.push_str(fragment);
    }
    Cow::Owned(out)
}

/// Returns an address without the parameters that turn pages, if it has any.
#[rustfmt::skip]
pub(super) fn url_without_position(text: &str) -> Option<String> {
    let (front, params) = text.split_once('?')?;
    let turns = |param: &&str| {
        let key = param.split('=').next().unwrap_or("");
        matches!(
            key,
            "page" | "p" | "offset" | "start" | "cursor" | "after" | "skip" | "page_token" | "pageToken"
                | "limit" | "per_page"
        )
    };
    let all: Vec<&str> = params.split('&').collect();
    let kept: Vec<&str> = all.iter().copied().filter(|param| !turns(param)).collect();
    (kept.len() < all.len()).then(|| format!("{front}?{}", kept.join("&")))
}

fn is_cache_buster(param: &str) -> bool {
    let (key, value) = param.split_once('=').unwrap_or((param, ""));
    let key = key.to_ascii_lowercase();
    match key.as_str() {
        "" | "_" | "cb" | "cachebust" | "cachebuster" | "cache_bust" | "cache_buster"
        | "nocache" | "nonce" | "rnd" | "rand" | "random" | "request_id" | "requestid"
        | "trace_id" => true,
        // `t=intro` is a name, `t=1763794992` a clock.
        "t" | "ts" | "timestamp" | "v" => {
            value.len() >= 9 && value.bytes().all(|b| b.is_ascii_digit())
        }
        _ => false,
    }
}

/// Returns words to look up: lower case, single spaces.
pub(super) fn query(text: &str) -> Cow<'_, str> {
    if looks_like_sql(text) {
        return sql(text);
    }
    // A regular expression may be case-sensitive.
    if text
        .bytes()
        .any(|b| matches!(b, b'\\' | b'[' | b'(' | b'*' | b'^' | b'$' | b'|'))
    {
        return words(text);
    }
    let spaced = words(text);
    if spaced.contains(' ') {
        Cow::Owned(spaced.to_lowercase())
    } else {
        spaced
    }
}

/// Returns a text with single spaces.
pub(super) fn words(text: &str) -> Cow<'_, str> {
    let tidy = text
        .bytes()
        .zip(text.bytes().skip(1))
        .all(|(a, b)| !(a == b' ' && b == b' '))
        && !text.bytes().any(|b| matches!(b, b'\t' | b'\n' | b'\r'));
    if tidy {
        return Cow::Borrowed(text.trim());
    }
    Cow::Owned(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Returns whether a text begins like an SQL statement.
pub(super) fn looks_like_sql(text: &str) -> bool {
    let mut first = text.split_whitespace();
    let (Some(verb), Some(_)) = (first.next(), first.next()) else {
        return false;
    };
    let upper = verb.to_ascii_lowercase();
    let usual = matches!(
        upper.as_str(),
        "select" | "with" | "insert" | "update" | "delete" | "create" | "alter" | "drop"
    );
    let lower = text.to_ascii_lowercase();
    usual
        && [" from ", " into ", " set ", " table ", " as ("]
            .iter()
            .any(|word| lower.contains(word))
}

/// Returns SQL in lower case outside quotes, without comments, with single spaces.
pub(super) fn sql(text: &str) -> Cow<'_, str> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut quote = None;
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), _) => {
                if c == open {
                    quote = None;
                }
                out.push(c);
            }
            (None, '\'' | '"' | '`') => {
                quote = Some(c);
                out.push(c);
            }
            (None, '-') if rest.peek() == Some(&'-') => {
                while rest.next().is_some_and(|c| c != '\n') {}
                space(&mut out);
            }
            (None, '/') if rest.peek() == Some(&'*') => {
                let mut before = ' ';
                for c in rest.by_ref() {
                    if before == '*' && c == '/' {
                        break;
                    }
                    before = c;
                }
                space(&mut out);
            }
            (None, c) if c.is_whitespace() => space(&mut out),
            (None, c) => out.extend(c.to_lowercase()),
        }
    }
    let kept = out.trim_end_matches([' ', ';']).len();
    out.truncate(kept);
    Cow::Owned(out)
}

fn space(out: &mut String) {
    if !out.is_empty() && !out.ends_with(' ') {
        out.push(' ');
    }
}

/// Returns program text without comment lines, trailing spaces and blank lines.
pub(super) fn code(text: &str) -> Cow<'_, str> {
    let lines = text.lines().map(str::trim_end).filter(|line| {
        let start = line.trim_start();
        // `#include` is no comment, `# again` is one.
        let comment = start == "#" || start.starts_with("# ") || start.starts_with("//");
        !start.is_empty() && !comment
    });
    let kept = lines.collect::<Vec<_>>().join("\n");
    // A text of comments only is still a text.
    if kept.is_empty() {
        Cow::Borrowed(text.trim())
    } else {
        Cow::Owned(kept)
    }
}

/// Returns a shell command with single spaces outside quotes, even separators,
/// without comments, `2>&1`, cache-busters and random temporary names.
///
/// Here-documents carry content: such a command is only trimmed.
pub(super) fn command(text: &str) -> Cow<'_, str> {
    let text = shell::unwrap(text);
    if text.contains("<<") {
        return Cow::Owned(text.trim().to_owned());
    }
    let mut out = String::with_capacity(text.len() + 8);
    for word in shell::spelled_words(&text) {
        if word == "2>&1" {
            continue;
        }
        space(&mut out);
        let bare = word.trim_matches(['"', '\'']);
        let spelled = match () {
            () if bare.contains("://") => word.replace(bare, &url(bare)),
            () if volatile::is_labelled_id(&word) => {
                word.split(['=', ':']).next().unwrap_or("").to_owned()
            }
            () => volatile::without_temp_name(&word).into_owned(),
        };
        out.push_str(&spelled);
    }
    let kept = out.trim_end_matches([' ', ';']).len();
    out.truncate(kept);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_table() {
        #[rustfmt::skip]
        let rows = [
            ("a plain path stays", "src/a.rs", "src/a.rs"),
            ("dots and doubled slashes go", "./src//x/../a.rs", "src/a.rs"),
            ("a leading parent stays", "../a", "../a"),
            ("the root has no parent", "/../a/", "/a"),
            ("here is here", "./", "."),
            ("a hidden file stays", "src/.env", "src/.env"),
        ];
        for (name, text, want) in rows {
            assert_eq!(path(text), want, "row: {name}");
        }
    }

    #[test]
    fn command_table() {
        #[rustfmt::skip]
        let rows = [
            ("spaces and separators are evened", "cd /x&&pytest  -q ;", "cd /x && pytest -q"),
            ("a login shell around it goes", "bash -lc \"cd /x && pytest\"", "cd /x && pytest"),
            ("comments go", "# once more\npytest -q  # quick", "pytest -q"),
            ("quotes keep their spaces", "echo 'a  b'   c", "echo 'a  b' c"),
            ("joined streams go", "make 2>&1 | tail", "make | tail"),
            ("random temporary names go", "cat /tmp/tmp.Xa81kQ", "cat /tmp/‹tmp›"),
            ("a hash inside a word stays", "echo a#b", "echo a#b"),
            ("labelled ids go", "curl -H x request_id=88af https://example.com/?_=17", "curl -H x request_id https://example.com/"),
        ];
        for (name, text, want) in rows {
            assert_eq!(command(text), want, "row: {name}");
        }
    }
}
