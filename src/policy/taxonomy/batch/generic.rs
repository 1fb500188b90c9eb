//! Lists whose entries say each how they ended, where the call or the status says that it was a batch.

use serde_json::{Value, json};

use super::item::{ITEMS_MAX, bad, id_of, ok};
use crate::policy::taxonomy::http::tool_words;
use crate::policy::taxonomy::observation::{Observation, integer_of, is_blank, string_of};
use crate::policy::taxonomy::outcome::Items;

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
    let list = body
        .as_array()
        .or_else(|| LISTS.iter().find_map(|name| body.get(*name)?.as_array()))?;
    if list.is_empty() || !(status == 207 || has_counters(body) || is_batch_call(observation)) {
        return None;
    }
    let ends: Option<Vec<bool>> = list.iter().take(ITEMS_MAX).map(ended_well).collect();
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

/// Returns whether an entry says that it ended well; `None` if it says nothing about that.
fn ended_well(entry: &Value) -> Option<bool> {
    let flag = ["ok", "success", "succeeded"]
        .iter()
        .find_map(|name| entry.get(*name)?.as_bool());
    if flag.is_some() {
        return flag;
    }
    if entry.get("error").is_some_and(|error| !is_blank(error)) {
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
