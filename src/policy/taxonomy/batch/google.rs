//! Batch answers of Google services. Source: the API references of the services named.

use serde_json::Value;

use super::item::{ITEMS_MAX, bad, id_of, ok};
use crate::policy::taxonomy::codes;
use crate::policy::taxonomy::observation::{integer_of, is_blank};
use crate::policy::taxonomy::outcome::{Id, Items};

/// BigQuery `insertAll`: rows by index; a "stopped" row was fine itself.
pub(super) fn inserts(body: &Value) -> Option<Items> {
    let failures = body.get("insertErrors")?.as_array()?;
    let list = failures.iter().take(ITEMS_MAX).map(|failure| {
        let mut item = bad(id_of(failure, &["index"]).unwrap_or(Id::NONE), failure);
        let is_stopped = failure
            .get("errors")
            .and_then(Value::as_array)
            .is_some_and(|errors| {
                !errors.is_empty()
                    && errors
                        .iter()
                        .all(|error| error.get("reason").and_then(Value::as_str) == Some("stopped"))
            });
        item.may_retry = is_stopped.then_some(true);
        item
    });
    Some(Items {
        list: list.collect(),
        others_succeeded: true,
    })
}

/// Firebase multicast, old and new; ids are positions.
pub(super) fn fcm(body: &Value) -> Option<Items> {
    let has_counts = body.get("multicast_id").is_some()
        || body.get("failureCount").is_some()
        || body.get("failure").is_some_and(Value::is_number);
    let responses = body
        .get("responses")
        .or_else(|| body.get("results"))?
        .as_array()
        .filter(|_| has_counts)?;
    let list = responses
        .iter()
        .take(ITEMS_MAX)
        .enumerate()
        .map(
            |(at, response)| match response.get("error").filter(|error| !is_blank(error)) {
                Some(error) => bad(Id::Position(at), error),
                None => ok(Id::Position(at)),
            },
        );
    Some(Items {
        list: list.collect(),
        others_succeeded: false,
    })
}

/// Firestore `batchWrite`: one google.rpc.Status a write; ids are positions.
pub(super) fn firestore(body: &Value) -> Option<Items> {
    let statuses = body.get("status")?.as_array()?;
    body.get("writeResults")?;
    let list = statuses
        .iter()
        .take(ITEMS_MAX)
        .enumerate()
        .map(
            |(at, status)| match integer_of(status.get("code")).filter(|code| *code != 0) {
                Some(code) => {
                    let mut item = bad(Id::Position(at), status);
                    if let Some(fault) = &mut item.fault {
                        fault.add_reading(codes::grpc(code), format!("status[{at}].code = {code}"));
                    }
                    item
                }
                None => ok(Id::Position(at)),
            },
        );
    Some(Items {
        list: list.collect(),
        others_succeeded: false,
    })
}
