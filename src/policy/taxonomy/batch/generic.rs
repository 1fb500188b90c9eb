//! Lists whose entries say each how they ended, where the call or the status says that it was a batch.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use super::item::{ITEMS_MAX, bad, id_of, ok};
use crate::policy::taxonomy::http::tool_words;
use crate::policy::taxonomy::observation::{Observation, integer_of, is_blank, string_of};
use crate::policy::taxonomy::outcome::Items;
use crate::policy::taxonomy::text::regex;

/// Lists whose entries say each how they ended, where the call or the status says that it was a batch.
pub(super) fn generic(body: &Value, status: u16, observation: &Observation) -> Option<Items> {
    const LISTS: [&str; 10] = [
        "results",
        "responses",
        "items",
        "operations",
        "outcomes",
        "entries",
        "records",
        "value",
        "data",
        "statuses",
    ];
    let (name, list) = match body.as_array() {
        Some(list) => ("", list),
        None => LISTS
            .iter()
            .find_map(|name| Some((*name, body.get(*name)?.as_array()?)))?,
    };
    const OUTCOMES: [&str; 5] = ["results", "responses", "operations", "outcomes", "statuses"];
    let is_batch = status == 207
        || has_counters(body)
        || is_batch_call(observation)
        || OUTCOMES.contains(&name) && acts(observation) && tells_outcomes(list);
    if list.is_empty() || !is_batch {
        return None;
    }
    // Beside entries with an error, those that only carry their result went well.
    let has_error =
        is_batch_call(observation) && list.iter().any(|entry| error_of(entry).is_some());
    let ends: Option<Vec<bool>> = list
        .iter()
        .take(ITEMS_MAX)
        .map(|entry| ended_well(entry).or(has_error.then_some(true)))
        .collect();
    let ends = ends?;
    let items = list
        .iter()
        .zip(ends)
        .enumerate()
        .map(|(at, (entry, is_ok))| {
            let id = id_of(
                entry,
                &[
                    "id",
                    "custom_id",
                    "key",
                    "Id",
                    "referenceId",
                    "objectID",
                    "external_id",
                    "email",
                    "to",
                    "name",
                    "path",
                    "file",
                    "index",
                    "_id",
                    "ref",
                    "href",
                    "uid",
                    "sku",
                ],
            );
            let id = id.unwrap_or_else(|| json!(at));
            if is_ok {
                return ok(id);
            }
            let inner = ["error", "errors", "body", "response"]
                .iter()
                .find_map(|name| entry.get(*name))
                .filter(|inner| !is_blank(inner) && !inner.is_string());
            let mut item = bad(id, inner.unwrap_or(entry));
            let status = ["status", "statusCode", "status_code", "code", "httpStatus"]
                .iter()
                .find_map(|name| integer_of(entry.get(*name)));
            if let (Some(fault), Some(status)) = (
                &mut item.fault,
                status.and_then(|status| u16::try_from(status).ok()),
            ) {
                fault.status = fault
                    .status
                    .or(Some(status).filter(|status| (400..600).contains(status)));
            }
            item
        });
    Some(Items {
        list: items.collect(),
        others_succeeded: false,
    })
}

fn error_of(entry: &Value) -> Option<&Value> {
    entry.get("error").filter(|error| !is_blank(error))
}

/// Whether every entry says how it ended, and the failed ones say why: outcomes, not records.
fn tells_outcomes(list: &[Value]) -> bool {
    list.iter().take(ITEMS_MAX).all(|entry| {
        ended_well(entry).is_some_and(|is_ok| {
            is_ok
                || ["error", "message", "reason"]
                    .iter()
                    .any(|name| entry.get(*name).is_some_and(|why| !is_blank(why)))
        })
    })
}

/// Returns whether an entry says that it ended well; `None` if it says nothing about that.
fn ended_well(entry: &Value) -> Option<bool> {
    let flag = ["ok", "success", "succeeded"]
        .iter()
        .find_map(|name| entry.get(*name)?.as_bool());
    if flag.is_some() {
        return flag;
    }
    if error_of(entry).is_some() {
        return Some(false);
    }
    let status = ["status", "statusCode", "status_code", "httpStatus", "code"]
        .iter()
        .find_map(|name| entry.get(*name))?;
    if let Some(number) = integer_of(Some(status)).filter(|number| (100..600).contains(number)) {
        return Some(number < 400);
    }
    match string_of(Some(status))?.to_ascii_lowercase().as_str() {
        "ok" | "success" | "succeeded" | "created" | "updated" | "deleted" | "done"
        | "completed" | "sent" | "queued" | "accepted" | "processed" => Some(true),
        "error" | "failed" | "failure" | "fail" | "rejected" | "invalid" | "errored"
        | "throttled" | "timeout" => Some(false),
        _ => None,
    }
}

fn has_counters(body: &Value) -> bool {
    const COUNTERS: [&str; 14] = [
        "failed",
        "failures",
        "failure_count",
        "failureCount",
        "failed_count",
        "failedCount",
        "error_count",
        "errorCount",
        "errors_count",
        "numFailed",
        "num_failed",
        "errors",
        "hasErrors",
        "has_errors",
    ];
    COUNTERS.iter().any(|name| {
        body.get(*name)
            .is_some_and(|value| value.is_number() || value.is_boolean())
    })
}

/// Whether the call changes something: its answer is about what it did, not what it found.
pub(in super::super) fn acts(observation: &Observation) -> bool {
    const LOOKS: &[&str] = &[
        "get",
        "list",
        "query",
        "search",
        "find",
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
        "check",
        "lookup",
        "view",
        "select",
        "test",
        "tests",
        "lint",
        "validate",
        "verify",
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
    ];
    let is_read = observation
        .method()
        .is_some_and(|method| method == "GET" || method == "HEAD");
    let mut words = tool_words(&observation.tool);
    let called = observation.known("call").and_then(|call| call.get("name"));
    words.extend(tool_words(
        called.and_then(Value::as_str).unwrap_or_default(),
    ));
    !is_read && !words.iter().any(|word| LOOKS.contains(&word.as_str()))
}

/// Whether a tool's text begins with a report of what it did; names of things follow.
pub(in super::super) fn reports(text: &str) -> bool {
    static DONE: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)^\W*([\w#]+ ){0,2}(created|added|posted|updated|closed|opened|saved|renamed|scheduled|set|uploaded|deleted|removed|moved|archived|sent|submitted|booked|confirmed|enabled|disabled|accepted|approved|signed|verified|done|ok|success\w*|completed|finished)\b",
        )
    });
    DONE.is_match(text)
}

fn is_batch_call(observation: &Observation) -> bool {
    let url = observation.url().unwrap_or_default().to_ascii_lowercase();
    let is_read = observation.method().is_some_and(|method| method == "GET");
    let is_named = tool_words(&observation.tool).iter().any(|word| {
        matches!(
            word.as_str(),
            "batch" | "bulk" | "multi" | "many" | "multicast"
        )
    });
    !is_read
        && (is_named
            || ["batch", "bulk", "multi"]
                .iter()
                .any(|word| url.contains(word)))
}
