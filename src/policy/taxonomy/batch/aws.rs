//! Batch answers of AWS services. Source: the API references of the services named.

use serde_json::Value;

use super::item::{ITEMS_MAX, bad, by_error_code, id_of, ok};
use crate::policy::taxonomy::fault::Fault;
use crate::policy::taxonomy::observation::{Kind, integer_of};
use crate::policy::taxonomy::outcome::{Id, Item, Items};

/// Lambda's partial batch response. Source: AWS Lambda, "Reporting batch item failures".
pub(super) fn item_failures(body: &Value) -> Option<Items> {
    let failures = body
        .get("batchItemFailures")
        .or_else(|| body.get("BatchItemFailures"))?;
    let failures = match failures {
        Value::Null => &[],
        Value::Array(failures) => failures.as_slice(),
        // Whatever this is, it names no item: a failure of all.
        other => std::slice::from_ref(other),
    };
    let list = failures.iter().take(ITEMS_MAX).map(|item| {
        let id = id_of(item, &["itemIdentifier", "ItemIdentifier"]).unwrap_or(Id::NONE);
        Item {
            id,
            fault: Some(Fault::new(Kind::Batch, "batchItemFailures")),
            may_retry: Some(true),
        }
    });
    Some(Items {
        list: list.collect(),
        others_succeeded: true,
    })
}

/// SQS and SNS batches: `Successful` and `Failed` with `SenderFault`.
pub(super) fn sqs(body: &Value) -> Option<Items> {
    let body = [
        "SendMessageBatchResult",
        "PublishBatchResult",
        "DeleteMessageBatchResult",
    ]
    .iter()
    .find_map(|name| body.get(*name))
    .unwrap_or(body);
    let failed = body.get("Failed")?.as_array()?;
    let successful = body.get("Successful").and_then(Value::as_array);
    if successful.is_none() && !failed.iter().any(|item| item.get("SenderFault").is_some()) {
        return None;
    }
    let mut list: Vec<Item> = successful
        .into_iter()
        .flatten()
        .take(ITEMS_MAX)
        .filter_map(|item| id_of(item, &["Id"]))
        .map(ok)
        .collect();
    for item in failed.iter().take(ITEMS_MAX) {
        let mut bad = bad(id_of(item, &["Id"]).unwrap_or(Id::NONE), item);
        bad.may_retry = item
            .get("SenderFault")
            .and_then(Value::as_bool)
            .map(|sender| !sender);
        list.push(bad);
    }
    Some(Items {
        list,
        others_succeeded: false,
    })
}

/// DynamoDB batches: what was not processed may be sent again.
pub(super) fn unprocessed(body: &Value) -> Option<Items> {
    let tables = body
        .get("UnprocessedItems")
        .or_else(|| body.get("UnprocessedKeys"))?
        .as_object()?;
    let mut list = Vec::new();
    for requests in tables.values() {
        let requests = requests
            .as_array()
            .or_else(|| requests.get("Keys")?.as_array());
        for request in requests.into_iter().flatten().take(ITEMS_MAX) {
            let item = ["PutRequest", "DeleteRequest"]
                .iter()
                .find_map(|name| request.get(*name))
                .unwrap_or(request);
            let key = item.get("Item").or_else(|| item.get("Key")).unwrap_or(item);
            list.push(Item {
                id: key_id(key).into(),
                fault: Some(Fault::new(Kind::Batch, "unprocessed")),
                may_retry: Some(true),
            });
        }
    }
    Some(Items {
        list,
        others_succeeded: true,
    })
}

/// The value of the key attribute: `id`, `pk` or the only one; else the whole key.
fn key_id(key: &Value) -> Value {
    let Some(fields) = key.as_object() else {
        return key.clone();
    };
    let named = ["id", "Id", "ID", "pk", "PK", "key"]
        .iter()
        .find_map(|name| fields.get(*name));
    let value = named.or_else(|| {
        (fields.len() == 1)
            .then(|| fields.values().next())
            .flatten()
    });
    let plain = value.and_then(|value| match value {
        Value::Object(typed) => typed.get("S").or_else(|| typed.get("N")).cloned(),
        other => Some(other.clone()),
    });
    plain.unwrap_or_else(|| key.clone())
}

/// Kinesis `PutRecords` and Firehose `PutRecordBatch`; ids are positions.
pub(super) fn kinesis(body: &Value) -> Option<Items> {
    integer_of(
        body.get("FailedRecordCount")
            .or_else(|| body.get("FailedPutCount")),
    )?;
    let records = body
        .get("Records")
        .or_else(|| body.get("RequestResponses"))?
        .as_array()?;
    Some(by_error_code(records, "ErrorCode"))
}

/// EventBridge `PutEvents`; ids are positions.
pub(super) fn event_bridge(body: &Value) -> Option<Items> {
    integer_of(body.get("FailedEntryCount"))?;
    Some(by_error_code(body.get("Entries")?.as_array()?, "ErrorCode"))
}

/// SES bulk mail, v2 and v1; ids are positions.
pub(super) fn ses(body: &Value) -> Option<Items> {
    let entries = body
        .get("BulkEmailEntryResults")
        .or_else(|| body.get("Status"))?
        .as_array()?;
    let list = entries
        .iter()
        .take(ITEMS_MAX)
        .enumerate()
        .map(|(at, entry)| {
            let status = entry
                .get("Status")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if status.eq_ignore_ascii_case("success") {
                ok(Id::Position(at))
            } else {
                bad(Id::Position(at), entry)
            }
        });
    Some(Items {
        list: list.collect(),
        others_succeeded: false,
    })
}

/// S3 `DeleteObjects` as the CLI prints it.
pub(super) fn s3(body: &Value) -> Option<Items> {
    let body = body.get("DeleteResult").unwrap_or(body);
    let failures = body.get("Errors")?.as_array()?;
    let is_keyed = failures
        .iter()
        .all(|failure| failure.get("Key").is_some() && failure.get("Code").is_some());
    let deleted = body.get("Deleted").and_then(Value::as_array);
    if !is_keyed || deleted.is_none() && failures.is_empty() {
        return None;
    }
    let mut list: Vec<Item> = deleted
        .into_iter()
        .flatten()
        .take(ITEMS_MAX)
        .filter_map(|item| id_of(item, &["Key"]))
        .map(ok)
        .collect();
    list.extend(
        failures
            .iter()
            .take(ITEMS_MAX)
            .map(|failure| bad(id_of(failure, &["Key"]).unwrap_or(Id::NONE), failure)),
    );
    Some(Items {
        list,
        others_succeeded: false,
    })
}

/// Comprehend and its relatives: `ResultList` and `ErrorList` by index.
pub(super) fn comprehend(body: &Value) -> Option<Items> {
    let results = body.get("ResultList")?.as_array()?;
    let failures = body.get("ErrorList")?.as_array()?;
    let mut list: Vec<Item> = results
        .iter()
        .take(ITEMS_MAX)
        .filter_map(|item| id_of(item, &["Index"]))
        .map(ok)
        .collect();
    list.extend(
        failures
            .iter()
            .take(ITEMS_MAX)
            .map(|failure| bad(id_of(failure, &["Index"]).unwrap_or(Id::NONE), failure)),
    );
    Some(Items {
        list,
        others_succeeded: false,
    })
}

/// ECS `RunTask` and the like: tasks beside failures.
pub(super) fn ecs(body: &Value) -> Option<Items> {
    let failures = body
        .get("failures")?
        .as_array()
        .filter(|failures| !failures.is_empty())?;
    let done = ["tasks", "services", "clusters", "containerInstances"]
        .iter()
        .find_map(|name| body.get(*name)?.as_array())?;
    let is_ecs = failures
        .iter()
        .all(|failure| failure.get("arn").is_some() && failure.get("reason").is_some());
    is_ecs.then(|| {
        let mut list: Vec<Item> = done.iter().take(ITEMS_MAX).map(|_| ok(Id::NONE)).collect();
        list.extend(
            failures
                .iter()
                .take(ITEMS_MAX)
                .map(|failure| bad(id_of(failure, &["arn"]).unwrap_or(Id::NONE), failure)),
        );
        Items {
            list,
            others_succeeded: false,
        }
    })
}
