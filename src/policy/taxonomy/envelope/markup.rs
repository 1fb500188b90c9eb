//! XML errors and the error pages of web servers.

use std::sync::LazyLock;

use regex::Regex;

use crate::policy::taxonomy::text::{head, regex};

/// What a text answer turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct TextError {
    /// Codes found in the markup.
    pub codes: Vec<String>,
    /// What a person would read.
    pub text: String,
    /// HTTP status named by an error page.
    pub status: Option<u16>,
}

/// Returns the error an XML answer is, if its root says so.
pub(in super::super) fn xml_error(text: &str) -> Option<TextError> {
    static ROOT: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"^\s*(?:<\?xml[^>]*>\s*)?(?:<!--[^>]*-->\s*)*<(?:[\w-]+:)?([\w-]+)")
    });
    static FAULT: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?s)^.{0,2000}?<(?:[\w-]+:)?Body[^>]*>\s*<(?:[\w-]+:)?Fault\b"));
    let start = head(text, 16 * 1024);
    let root = ROOT.captures(start)?[1].to_owned();
    let is_fault = root == "Envelope" && FAULT.is_match(start);
    let is_root_error = matches!(
        root.as_str(),
        "Error"
            | "ErrorResponse"
            | "error"
            | "errors"
            | "Errors"
            | "Fault"
            | "fault"
            | "ServiceExceptionReport"
            | "ExceptionReport"
            | "exception"
            | "problem"
            | "ErrorMessage"
            | "OperationFailed"
            | "Response"
    ) && (root != "Response"
        || start.contains("<Errors>")
        || start.contains("<RestException>"));
    let says_no = root == "response"
        && (start.contains("<success>false</success>") || start.contains("<status>error</status>"));
    (is_fault || is_root_error || says_no).then(|| xml_parts(start))
}

/// Takes codes and messages out of XML.
pub(in super::super) fn xml_parts(text: &str) -> TextError {
    static CODE: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)<(?:[\w-]+:)?(?:code|faultcode|errorcode|status|type|value)\b[^>]*>\s*([^<]{1,120}?)\s*</|\b(?:exceptionCode|code)=.([\w.:-]{1,80}).",
        )
    });
    let text = head(text, 16 * 1024);
    let codes: Vec<String> = CODE
        .captures_iter(text)
        .take(10)
        .filter_map(|found| found.get(1).or_else(|| found.get(2)))
        .map(|found| unqualified(found.as_str()).to_owned())
        .collect();
    let status = codes.iter().find_map(|code| {
        code.parse()
            .ok()
            .filter(|status| (400..600).contains(status))
    });
    TextError {
        codes,
        text: visible_text(text),
        status,
    }
}

/// Returns a code without its XML namespace; SOAP calls the caller's mistake `Client` or `Sender`.
fn unqualified(code: &str) -> &str {
    let name = match code.split_once(':') {
        Some((prefix, name)) if prefix.chars().all(char::is_alphanumeric) => name.trim(),
        _ => code,
    };
    match name {
        "Client" | "Sender" => "client_error",
        "" => code,
        _ => name,
    }
}

/// Returns what a person would read of an HTML or XML text, one element a line.
pub(in super::super) fn visible_text(markup: &str) -> String {
    static HIDDEN: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?is)<(script|style)\b.*?</(script|style)\s*>|<!--.*?-->"));
    static TAG: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)</?[A-Za-z!?][^>]*>"));
    let markup = head(markup, 16 * 1024);
    let shown = HIDDEN.replace_all(markup, " ");
    let text = TAG.replace_all(&shown, "\n");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.take(60).collect::<Vec<_>>().join("\n")
}

/// Returns the server's error page a text answer is, if its title or heading says so.
///
/// Web servers and proxies write `502 Bad Gateway` there; an article about it has a longer title.
pub(in super::super) fn error_page(text: &str) -> Option<TextError> {
    static TITLE: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"(?is)<(?:title|h1)[^>]*>\s*(?:[\w.-]+ \| )?(?:http |http status |error |status )*([45]\d\d)\b[\s:–|-]{0,4}",
            r"(?:http )?(?:error|bad request|unauthori[sz]ed|payment required|forbidden|(?:page )?not found|request time-?out|gone|too many requests|internal server error|bad gateway|service (?:temporarily )?unavailable|gateway time-?out|origin[\w ]*|web server[\w ]*|a timeout occurred|)",
            r"\s*(?:\| [\w.-]+\s*|[–-] [\w. ]+)?</(?:title|h1)>",
        ))
    });
    if !is_markup(text) || text.len() > 64 * 1024 {
        return None;
    }
    let found = TITLE.captures(head(text, 8 * 1024))?;
    let shown = visible_text(text);
    // Under another title, or one that goes on with the name of a site, it may be an article.
    let says_only_this = found[0].to_ascii_lowercase().starts_with("<title")
        && ![" - ", " | ", " – "].iter().any(|mark| {
            let number = found[0].find(&found[1]).unwrap_or_default();
            found[0][number..].contains(mark)
        });
    let is_short = shown.len() <= if says_only_this { 1_500 } else { 300 };
    is_short.then(|| TextError {
        codes: Vec::new(),
        status: found[1].parse().ok(),
        text: shown,
    })
}

/// Whether a text begins like HTML or XML.
pub(in super::super) fn is_markup(text: &str) -> bool {
    let start = head(
        text.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']),
        15,
    )
    .to_ascii_lowercase();
    start.starts_with("<!doctype")
        || start.starts_with("<html")
        || start.starts_with("<?xml")
        || start.starts_with("<head")
        || start.starts_with("<title")
        || start.starts_with("<body")
        || start.starts_with("<center")
        || start.starts_with("<h1")
}
