//! Short plain texts that are nothing but an error message.

use std::sync::LazyLock;

use regex::Regex;

use crate::policy::taxonomy::text::regex;

/// Whether a short text answer is nothing but an error message.
///
/// It begins as one, and it is short: `Error: connection refused`.
pub(in super::super) fn is_error_text(text: &str) -> bool {
    static START: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"^\s*(?:\x1b\[[0-9;]*m)*(?:[❌✗⚠️]+\s*)?(?:(?:[A-Z]\w*(?:\.\w+)*(?:Error|Exception|Timeout))\b\s*(?::|$)|(?:error|fatal|failure|err|fatal error|error executing tool \S+|mcp error[ -]*\d*|tool error|api error|http error \d+|request failed|internal error|panic)\b\s*[:\[(!-]|(?:ERROR|FATAL)(?:\s*[:\[(-]|\s+[A-Za-z])",
            r"|(?:Failed|Unable|Could not|Cannot) (?:to )?(?:connect|fetch|reach|load|open|read|write|execute|call|authenticate|retrieve|resolve|process|create|update|delete|send)\b|\(error\) |curl: \(\d+\)|fatal: |psql: |ERR |WRONGTYPE |NOAUTH |READONLY |LOADING |MISCONF |CLUSTERDOWN |-ERR |[45]\d\d (?:page )?(?:[Nn]ot [Ff]ound|[Ff]orbidden|[Uu]nauthorized|[Bb]ad [Gg]ateway|[Ss]ervice [Uu]navailable|[Tt]oo [Mm]any [Rr]equests)\s*$|upstream connect error|no healthy upstream|default backend - 404|E[A-Z]{4,12}: [a-z]|net::ERR_|エラー[:：]|错误[:：]|Fehler:|Erreur\s?:|Ошибка:)",
        ))
    });
    static INSENSITIVE: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)^\s*(?:(error|fatal|failure|fatal error|tool error|api error|mcp error)( \S+){0,3}\s?:|(database|connection|network|server|authentication|permission|query|runtime|execution|upstream) error\s?:|traceback \(most recent call last\):)",
        )
    });
    text.len() <= 1_500
        && text.lines().filter(|line| !line.trim().is_empty()).count() <= 12
        && (START.is_match(text) || INSENSITIVE.is_match(text))
}
