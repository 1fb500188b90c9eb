//! Lists whose entries say each how they ended, where the call or the status says that it was a batch.

use serde_json::{Map, Value};

use super::item::{ITEMS_MAX, bad, id_of, ok};
use crate::policy::taxonomy::acting::{searches, surely_acts};
use crate::policy::taxonomy::envelope::names_an_error;
use crate::policy::taxonomy::http::tool_words;
use crate::policy::taxonomy::observation::{Observation, integer_of, is_blank, string_of};
use crate::policy::taxonomy::outcome::{Id, Items};

/// Names of lists whose entries may be outcomes.
const LISTS: [&str; 19] = [
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
    "messages",
    "recipients",
    "deliveries",
    "notifications",
    "files",
    "uploads",
    "channels",
    "targets",
    "invitations",
];

/// Lists whose entries say each how they ended, where the call or the status says that it was a
/// batch, or the call acts and every failed entry says why.
pub(super) fn generic(body: &Value, status: u16, observation: &Observation) -> Option<Items> {
    let list = list_in(body)
        .or_else(|| {
            let mut inner = body.as_object()?.values().take(20);
            inner.find_map(|inner| inner.as_object().and_then(named_list))
        })
        .or_else(|| {
            // Failures alone may be beside a count of what went well.
            only_list(body).filter(|list| {
                tells_outcomes(list) && list.iter().any(|entry| ended_well(entry) == Some(true))
            })
        })?;
    let is_batch = status == 207
        || has_counters(body)
        || is_batch_call(observation)
        || surely_acts(observation) && tells_outcomes(list);
    let has_holes = !searches(observation) && is_result_or_error(list);
    let is_batch = is_batch || has_holes;
    if list.is_empty() || !is_batch {
        return None;
    }
    // Beside entries with an error, those that only carry their result went well.
    let has_error = (is_batch_call(observation) || has_holes)
        && list.iter().any(|entry| error_of(entry).is_some());
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
            let id = id.unwrap_or(Id::Position(at));
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

fn list_in(body: &Value) -> Option<&Vec<Value>> {
    body.as_array().or_else(|| named_list(body.as_object()?))
}

/// The one list of an answer, whatever it is called.
fn only_list(body: &Value) -> Option<&Vec<Value>> {
    let mut lists = body.as_object()?.values().filter_map(Value::as_array);
    lists.next().filter(|_| lists.next().is_none())
}

fn named_list(fields: &Map<String, Value>) -> Option<&Vec<Value>> {
    LISTS.iter().find_map(|name| {
        let (_, value) = fields
            .iter()
            .take(60)
            .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        value.as_array()
    })
}

/// Returns what a field named after an error holds, unless it says "none".
fn error_of(entry: &Value) -> Option<&Value> {
    const NAMES: [&str; 8] = [
        "error",
        "errortext",
        "errormessage",
        "errormsg",
        "errorcode",
        "failurereason",
        "rejectreason",
        "failurecode",
    ];
    let fields = entry.as_object()?.iter().take(40);
    let mut named = fields.filter(|(name, _)| NAMES.contains(&plain(name).as_str()));
    named
        .find(|(_, value)| names_an_error(value))
        .map(|(_, value)| value)
}

fn plain(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// Whether every entry says how it ended, one at least badly, and the failed ones say why:
/// outcomes, not records.
fn tells_outcomes(list: &[Value]) -> bool {
    let says_why = |entry: &Value| {
        error_of(entry).is_some()
            || entry.as_object().is_some_and(|fields| {
                fields.iter().take(40).any(|(name, value)| {
                    let name = plain(name);
                    !is_blank(value)
                        && ["error", "message", "reason", "detail", "statuscode"]
                            .iter()
                            .any(|why| name.ends_with(why))
                })
            })
    };
    let mut has_failed = false;
    list.iter().take(ITEMS_MAX).all(|entry| {
        ended_well(entry).is_some_and(|is_ok| {
            has_failed |= !is_ok;
            is_ok || says_why(entry)
        })
    }) && has_failed
}

/// Whether each entry holds either a result or an error in its place: `{url, text}`, `{url, error}`.
fn is_result_or_error(list: &[Value]) -> bool {
    const FIELDS_MAX: usize = 3;
    let is_hollow = |entry: &Value| {
        entry.as_object().is_some_and(|fields| {
            fields.len() <= FIELDS_MAX
                && fields.contains_key("error")
                && !fields.contains_key("status")
                && !fields.contains_key("level")
        })
    };
    let failed = list
        .iter()
        .take(ITEMS_MAX)
        .filter(|entry| error_of(entry).is_some());
    let keys_of_failed: Vec<&String> = failed
        .clone()
        .filter_map(Value::as_object)
        .flat_map(Map::keys)
        .collect();
    failed.clone().count() > 0
        && failed.clone().all(is_hollow)
        && list
            .iter()
            .take(ITEMS_MAX)
            .filter(|entry| error_of(entry).is_none())
            .all(|entry| {
                let fields = entry.as_object();
                fields.is_some_and(|fields| fields.keys().any(|key| !keys_of_failed.contains(&key)))
            })
}

/// Returns whether an entry says that it ended well; `None` if it says nothing about that.
pub(super) fn ended_well(entry: &Value) -> Option<bool> {
    const GOOD: [&str; 20] = [
        "0",
        "ok",
        "success",
        "succeeded",
        "created",
        "updated",
        "deleted",
        "done",
        "completed",
        "sent",
        "queued",
        "accepted",
        "processed",
        "delivered",
        "scheduled",
        "enqueued",
        "unchanged",
        "uploaded",
        "submitted",
        "skipped",
    ];
    const BAD: [&str; 14] = [
        "error",
        "fail",
        "reject",
        "invalid",
        "throttled",
        "timeout",
        "declined",
        "refused",
        "denied",
        "bounce",
        "undeliver",
        "notfound",
        "unreachable",
        "expired",
    ];
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
    let status = plain(&string_of(Some(status))?);
    if GOOD.contains(&status.as_str()) {
        return Some(true);
    }
    BAD.iter()
        .any(|word| status.contains(word))
        .then_some(false)
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
