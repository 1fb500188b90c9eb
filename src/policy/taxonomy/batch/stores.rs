//! Batch answers of databases and queues. Source: the API references of the products named.

use serde_json::Value;

use super::item::{ITEMS_MAX, bad, by_status, id_of, ok};
use crate::policy::taxonomy::codes;
use crate::policy::taxonomy::observation::integer_of;
use crate::policy::taxonomy::outcome::{Id, Item, Items};

/// Elasticsearch and OpenSearch bulk.
pub(super) fn elastic(body: &Value) -> Option<Items> {
    body.get("errors")?.as_bool()?;
    let items = body.get("items")?.as_array()?;
    let list = items.iter().take(ITEMS_MAX).enumerate().map(|(at, item)| {
        let action = item
            .as_object()
            .and_then(|fields| fields.values().next())
            .unwrap_or(&Value::Null);
        let id = id_of(action, &["_id"]).unwrap_or(Id::Position(at));
        match action.get("error") {
            Some(_) => bad(id, action),
            None => ok(id),
        }
    });
    Some(Items {
        list: list.collect(),
        others_succeeded: false,
    })
}

/// Elasticsearch and OpenSearch searches: each shard answers or fails.
pub(super) fn shards(body: &Value) -> Option<Items> {
    let shards = body.get("_shards")?;
    let count = |name: &str| integer_of(shards.get(name)).unwrap_or_default();
    if count("failed") <= 0 {
        return None;
    }
    let failures = shards.get("failures").and_then(Value::as_array);
    let list: Vec<Item> = failures
        .into_iter()
        .flatten()
        .take(ITEMS_MAX)
        .map(|failure| {
            let id = id_of(failure, &["shard"]).unwrap_or(Id::NONE);
            bad(id, failure.get("reason").unwrap_or(failure))
        })
        .collect();
    Some(Items {
        list: if list.is_empty() {
            vec![bad(Id::NONE, shards)]
        } else {
            list
        },
        others_succeeded: count("successful") > 0,
    })
}

/// Elasticsearch multi-search: an answer or an error for each search.
pub(super) fn multi_search(body: &Value) -> Option<Items> {
    let responses = body.get("responses")?.as_array()?;
    let is_one = |response: &Value| {
        response.get("status").is_some_and(Value::is_number)
            && (response.get("hits").is_some() || response.get("error").is_some())
    };
    (!responses.is_empty() && responses.iter().all(is_one))
        .then(|| by_status(responses, &["id"], "status", "error"))
}

/// MongoDB bulk writes: failures by index.
pub(super) fn mongo(body: &Value) -> Option<Items> {
    let result = body
        .get("result")
        .filter(|result| result.get("writeErrors").is_some())
        .unwrap_or(body);
    let failures = result.get("writeErrors")?.as_array()?;
    let done = [
        "nInserted",
        "insertedCount",
        "nModified",
        "modifiedCount",
        "n",
        "nUpserted",
        "nRemoved",
        "nMatched",
    ]
    .iter()
    .filter_map(|name| integer_of(result.get(*name)))
    .any(|count| count > 0);
    let list = failures.iter().take(ITEMS_MAX).map(|failure| {
        let inner = failure.get("err").unwrap_or(failure);
        let mut item = bad(
            id_of(failure, &["index"])
                .or_else(|| id_of(inner, &["index"]))
                .unwrap_or(Id::NONE),
            inner,
        );
        if let (Some(fault), Some(code)) = (&mut item.fault, integer_of(inner.get("code"))) {
            fault.add_reading(codes::mongo(code), format!("writeErrors code {code}"));
        }
        item
    });
    Some(Items {
        list: list.collect(),
        others_succeeded: done,
    })
}

/// Kafka REST proxy: 1 cannot be retried, 2 can. Source: Confluent REST API v2.
pub(super) fn kafka(body: &Value) -> Option<Items> {
    let offsets = body.get("offsets")?.as_array()?;
    let list = offsets
        .iter()
        .take(ITEMS_MAX)
        .enumerate()
        .map(|(at, offset)| match integer_of(offset.get("error_code")) {
            Some(code) => Item {
                may_retry: (code <= 2).then_some(code == 2),
                ..bad(Id::Position(at), offset)
            },
            None => ok(Id::Position(at)),
        });
    Some(Items {
        list: list.collect(),
        others_succeeded: false,
    })
}
