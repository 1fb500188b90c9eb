//! Calls that change something, and answers that say they did not.
//!
//! A tool that looks hands out facts: `{"available": false}` is an answer. A tool that
//! acts reports on itself: `{"reserved": false, "reason": …}` and `{"status": "declined"}`
//! are refusals. The tool's name, the method and the path tell which is which.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::http::tool_words;
use super::observation::{Kind, Observation, is_blank};
use super::text::regex;

/// Verbs of tools that change something.
const DEEDS: &[&str] = &[
    "write",
    "create",
    "delete",
    "send",
    "update",
    "edit",
    "move",
    "upload",
    "post",
    "put",
    "add",
    "remove",
    "set",
    "close",
    "merge",
    "assign",
    "reply",
    "sync",
    "copy",
    "rename",
    "import",
    "publish",
    "archive",
    "mark",
    "forward",
    "submit",
    "book",
    "cancel",
    "pay",
    "place",
    "sign",
    "start",
    "stop",
    "restart",
    "invite",
    "charge",
    "refund",
    "transfer",
    "reserve",
    "schedule",
    "deploy",
    "enable",
    "disable",
    "register",
    "subscribe",
    "grant",
    "revoke",
    "install",
    "push",
    "commit",
];

/// Words that tell a question: in a tool's name, and at the end of a URL's path
/// whatever the method.
const QUESTIONS: &[&str] = &[
    "search",
    "msearch",
    "query",
    "find",
    "list",
    "lookup",
    "check",
    "validate",
    "validation",
    "verify",
    "verification",
    "exists",
    "available",
    "availability",
    "eligibility",
    "moderate",
    "moderations",
    "classify",
    "evaluate",
    "predict",
    "screen",
    "score",
    "detect",
    "compare",
    "diff",
    "estimate",
    "preview",
    "simulate",
    "parse",
    "extract",
    "count",
    "match",
    "test",
];

/// Further words of tools that look, wherever they stand in the name.
const LOOKS: &[&str] = &[
    "get",
    "read",
    "fetch",
    "show",
    "describe",
    "status",
    "history",
    "report",
    "reports",
    "log",
    "logs",
    "view",
    "select",
    "tests",
    "lint",
    "audit",
    "inspect",
    "scan",
    "analyze",
    "analyse",
    "monitor",
    "watch",
    "browse",
    "load",
    "docs",
    "policy",
    "faq",
    "help",
    "explain",
    "ask",
    "answer",
    "translate",
    "summarize",
    "summarise",
    "echo",
    "is",
    "has",
    "can",
    "eligible",
    "moderation",
    "review",
    "assess",
    "permissions",
    "transcribe",
    "ocr",
    "caption",
];

/// Whether the call changes something: its answer is about what it did, not what it found.
pub(super) fn acts(observation: &Observation) -> bool {
    let is_read = observation
        .method()
        .is_some_and(|method| method == "GET" || method == "HEAD");
    if is_read || path_words(observation).any(|word| QUESTIONS.contains(&word.as_str())) {
        return false;
    }
    [called(observation), tool_words(&observation.tool)]
        .iter()
        .all(|words| !words.iter().any(|word| is_look(word)) || leads_with_a_deed(words))
}

/// Whether the tool's name says that it changes something: then its answer is its own, not a
/// document's.
pub(super) fn does(observation: &Observation) -> bool {
    [called(observation), tool_words(&observation.tool)]
        .iter()
        .any(|words| leads_with_a_deed(words))
}

/// Whether a verb that changes something comes before all that look.
fn leads_with_a_deed(words: &[String]) -> bool {
    let does = words.iter().position(|word| DEEDS.contains(&word.as_str()));
    let looks = words.iter().position(|word| is_look(word));
    does.is_some_and(|does| looks.is_none_or(|looks| does < looks))
}

fn is_look(word: &str) -> bool {
    QUESTIONS.contains(&word) || LOOKS.contains(&word)
}

/// Whether it is known that the call acts: an HTTP call without its method may be anything.
pub(super) fn surely_acts(observation: &Observation) -> bool {
    (observation.kind != Kind::Http || observation.method().is_some()) && acts(observation)
}

/// Whether the call asks for finds, which may be anything.
pub(super) fn searches(observation: &Observation) -> bool {
    const WORDS: [&str; 9] = [
        "search", "msearch", "query", "find", "list", "lookup", "history", "log", "logs",
    ];
    let mut words = called(observation);
    words.extend(tool_words(&observation.tool));
    words.extend(path_words(observation));
    words.iter().any(|word| WORDS.contains(&word.as_str()))
}

/// Whether a name is one of something that looks.
pub(super) fn looks(name: &str) -> bool {
    let words = tool_words(name);
    words.iter().any(|word| is_look(word))
}

/// Whether a tool's text begins with a report of what it did; names of things follow.
pub(super) fn reports(text: &str) -> bool {
    static DONE: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)^\W*([\w#]+ ){0,2}(created|added|posted|updated|closed|opened|saved|renamed|scheduled|set|uploaded|deleted|removed|moved|archived|sent|submitted|booked|confirmed|enabled|disabled|accepted|approved|signed|verified|done|ok|success\w*|completed|finished|synced|imported|copied|processed|inserted)\b",
        )
    });
    static NOT: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)\b(not|never|nothing|no)\b|n't\b"));
    DONE.find(text)
        .is_some_and(|found| !NOT.is_match(found.as_str()))
}

/// Whether the answer of a call that acts says, by its fields, that it did not act.
pub(super) fn refuses(observation: &Observation, answer: &Value) -> bool {
    const FIELDS_MAX: usize = 10;
    let Some(fields) = answer.as_object() else {
        return false;
    };
    if fields.len() > FIELDS_MAX || !surely_acts(observation) {
        return false;
    }
    let mut words = called(observation);
    words.extend(tool_words(&observation.tool));
    words.extend(path_words(observation));
    ended_badly(fields, &words) || left_undone(fields, &words)
}

/// A status that says no, unless saying no was the task: `reject_request` answers `rejected`.
fn ended_badly(fields: &Map<String, Value>, words: &[String]) -> bool {
    const STATUS: [&str; 5] = ["status", "state", "outcome", "result", "resultCode"];
    const BAD: [&str; 10] = [
        "declined",
        "refused",
        "rejected",
        "denied",
        "failed",
        "failure",
        "error",
        "errored",
        "invalid",
        "unsuccessful",
    ];
    const NO: [&str; 9] = [
        "reject", "decline", "deny", "refuse", "cancel", "fail", "set", "update", "mark",
    ];
    !words.iter().any(|word| NO.contains(&word.as_str()))
        && STATUS
            .iter()
            .filter_map(|name| fields.get(*name)?.as_str())
            .any(|status| BAD.contains(&status.to_ascii_lowercase().as_str()))
}

/// A deed that is false, beside a reason: the call's own (`reserve_table`: `reserved`), or
/// any where nothing but the reason is there. States (`enabled`, `verified`) are facts.
fn left_undone(fields: &Map<String, Value>, words: &[String]) -> bool {
    const WHY: [&str; 8] = [
        "reason", "error", "errors", "message", "detail", "details", "cause", "conflict",
    ];
    const STATES: &[&str] = &[
        "enabled",
        "locked",
        "verified",
        "authenticated",
        "required",
        "expired",
        "flagged",
        "blocked",
        "limited",
        "truncated",
        "deprecated",
        "cached",
        "matched",
        "changed",
        "modified",
        "archived",
        "closed",
        "edited",
        "pinned",
        "shared",
        "starred",
        "skipped",
    ];
    let has_why = WHY
        .iter()
        .any(|name| fields.get(*name).is_some_and(|why| !is_blank(why)));
    let is_bare = fields.len() <= 4 && !fields.contains_key("id");
    has_why
        && fields
            .iter()
            .filter(|(_, value)| **value == Value::Bool(false))
            .any(|(name, _)| {
                let name = name.to_ascii_lowercase();
                let is_deed = name.len() > 4 && name.ends_with("ed")
                    || matches!(name.as_str(), "sent" | "done" | "paid" | "made" | "built");
                is_deed
                    && (is_bare && !STATES.contains(&name.as_str())
                        || words.iter().any(|word| is_stem(word, &name)))
            })
}

/// `reserve` and `reserved`, `book` and `booked`, `submit` and `submitted`.
fn is_stem(word: &str, deed: &str) -> bool {
    let stem = word.trim_end_matches(['e', 'y', 's']);
    stem.len() >= 3 && deed.starts_with(stem)
}

fn called(observation: &Observation) -> Vec<String> {
    let name = observation.known("call").and_then(|call| call.get("name"));
    tool_words(name.and_then(Value::as_str).unwrap_or_default())
}

/// Words of the last two parts of the URL's path.
fn path_words(observation: &Observation) -> impl Iterator<Item = String> {
    let url = observation.url().unwrap_or_default();
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let last = parts[parts.len().saturating_sub(2)..].to_vec();
    last.into_iter()
        .flat_map(tool_words)
        .collect::<Vec<_>>()
        .into_iter()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_table() {
        #[rustfmt::skip]
        let rows = [
            ("the call's own deed", "reserve_table", json!({"reserved": false, "reason": "closed"}), true),
            ("a deed beside nothing but a reason", "submit_order", json!({"accepted": false, "message": "no stock"}), true),
            ("a status that says no", "charge_card", json!({"status": "declined"}), true),
            ("no reason, no refusal", "update_user", json!({"id": 1, "deleted": false}), false),
            ("a state is a fact", "create_user", json!({"verified": false, "message": "mail sent"}), false),
            ("an answer to a question", "check_date", json!({"reserved": false, "reason": "free"}), false),
            ("the record that was asked for", "get_order", json!({"status": "rejected"}), false),
            ("saying no was the task", "reject_request", json!({"status": "rejected"}), false),
            ("a message with marks of its own", "post_note", json!({"id": 7, "edited": false, "message": "hi", "to": 1}), false),
        ];
        for (name, tool, answer, want) in rows {
            let observation =
                Observation::from_value(json!({"kind": "mcp", "tool": tool, "result": {}}));
            assert_eq!(refuses(&observation, &answer), want, "row: {name}");
        }
    }

    #[test]
    fn the_first_verb_decides() {
        for (tool, want) in [
            ("send_report", true),
            ("get_post", false),
            ("mcp__crm__deleteLog", true),
            ("search_and_list", false),
            ("reserve", true),
        ] {
            let observation =
                Observation::from_value(json!({"kind": "mcp", "tool": tool, "result": {}}));
            assert_eq!(acts(&observation), want, "{tool}");
        }
    }
}
