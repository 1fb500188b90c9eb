//! Answers about several items: our own batches, and the shapes of other services.
//!
//! A shape is recognised by its own field names, so a list that merely carries a
//! `status` column is no batch. Services that list failures only imply that the rest
//! went well; [`Items::others_succeeded`] says so.
//!
//! Not here: what follows from the items (`rules`).

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::codes;
use super::envelope;
use super::fault::Fault;
use super::http::tool_words;
use super::observation::{Kind, Observation, integer_of, is_blank, string_of};
use super::outcome::{Item, Items};
use super::text::regex;

/// Items of one answer that are looked at.
const ITEMS_MAX: usize = 10_000;

/// Reads the items of our own batch.
pub(super) fn own(result: &Value) -> Items {
    let list = ["items", "results"]
        .iter()
        .find_map(|name| result.get(*name)?.as_array())
        .or_else(|| result.as_array());
    let items = list.map(|items| {
        items
            .iter()
            .take(ITEMS_MAX)
            .enumerate()
            .map(|(at, item)| own_item(at, item))
            .collect()
    });
    Items {
        list: items.unwrap_or_default(),
        others_succeeded: false,
    }
}

fn own_item(at: usize, item: &Value) -> Item {
    let id = id_of(item, &["id", "key", "name", "index"]).unwrap_or_else(|| json!(at));
    let error = item.get("error").filter(|error| !error.is_null());
    let ok = item
        .get("ok")
        .and_then(Value::as_bool)
        .unwrap_or(error.is_none());
    let result = item
        .get("result")
        .filter(|result| ok && envelope::is_error(result));
    let fault = match (ok, error, result) {
        (true, _, None) => None,
        (true, _, Some(result)) => Some(fault_of(result)),
        (false, Some(error), _) => Some(fault_of(error)),
        (false, None, _) => Some(fault_of(item)),
    };
    Item {
        id,
        fault,
        may_retry: None,
    }
}

fn id_of(item: &Value, names: &[&str]) -> Option<Value> {
    names
        .iter()
        .find_map(|name| item.get(*name))
        .filter(|id| id.is_string() || id.is_number())
        .cloned()
}

/// Makes a fault of an item's error: an object, a text, or a number that is a status.
fn fault_of(error: &Value) -> Fault {
    let mut fault = Fault::new(Kind::Batch, "an item failed");
    match error {
        Value::String(text) => {
            fault.add_code(text, "item.error");
            fault.add_text(text, "item.error");
        }
        other => fault.add_json(other, "item", &Map::new()),
    }
    let status = [
        "status",
        "statusCode",
        "status_code",
        "httpStatusCode",
        "code",
        "http_status",
    ]
    .iter()
    .find_map(|name| integer_of(error.get(*name)));
    fault.status = status
        .and_then(|status| u16::try_from(status).ok())
        .filter(|status| (400..600).contains(status));
    fault
}

fn ok(id: Value) -> Item {
    Item {
        id,
        fault: None,
        may_retry: None,
    }
}

fn bad(id: Value, error: &Value) -> Item {
    Item {
        id,
        fault: Some(fault_of(error)),
        may_retry: None,
    }
}

/// Reads the items of another service's JSON answer; `None` if it is no such answer, or nothing failed.
pub(super) fn foreign(body: &Value, status: u16, observation: &Observation) -> Option<Items> {
    let known = [
        item_failures,
        sqs,
        unprocessed,
        elastic,
        inserts,
        kinesis,
        event_bridge,
        ses,
        fcm,
        firestore,
        s3,
        graph_batch,
        salesforce,
        composite,
        mongo,
        jira,
        comprehend,
        kafka,
        hubspot,
        ecs,
        graphql_parts,
    ];
    if let Some(items) = known.iter().find_map(|read| read(body)) {
        return Some(items);
    }
    generic(body, status, observation)
}

/// Lambda's partial batch response. Source: AWS Lambda, "Reporting batch item failures".
fn item_failures(body: &Value) -> Option<Items> {
    let failures = body
        .get("batchItemFailures")
        .or_else(|| body.get("BatchItemFailures"))?
        .as_array()?;
    let list = failures.iter().take(ITEMS_MAX).map(|item| {
        let id = id_of(item, &["itemIdentifier", "ItemIdentifier"]).unwrap_or(Value::Null);
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
fn sqs(body: &Value) -> Option<Items> {
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
        let mut bad = bad(id_of(item, &["Id"]).unwrap_or(Value::Null), item);
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
fn unprocessed(body: &Value) -> Option<Items> {
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
                id: key_id(key),
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

/// Elasticsearch and OpenSearch bulk.
fn elastic(body: &Value) -> Option<Items> {
    body.get("errors")?.as_bool()?;
    let items = body.get("items")?.as_array()?;
    let list = items.iter().take(ITEMS_MAX).enumerate().map(|(at, item)| {
        let action = item
            .as_object()
            .and_then(|fields| fields.values().next())
            .unwrap_or(&Value::Null);
        let id = id_of(action, &["_id"]).unwrap_or_else(|| json!(at));
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

/// BigQuery `insertAll`: rows by index; a "stopped" row was fine itself.
fn inserts(body: &Value) -> Option<Items> {
    let failures = body.get("insertErrors")?.as_array()?;
    let list = failures.iter().take(ITEMS_MAX).map(|failure| {
        let mut item = bad(id_of(failure, &["index"]).unwrap_or(Value::Null), failure);
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

/// Kinesis `PutRecords` and Firehose `PutRecordBatch`; ids are positions.
fn kinesis(body: &Value) -> Option<Items> {
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
fn event_bridge(body: &Value) -> Option<Items> {
    integer_of(body.get("FailedEntryCount"))?;
    Some(by_error_code(body.get("Entries")?.as_array()?, "ErrorCode"))
}

fn by_error_code(records: &[Value], field: &str) -> Items {
    let list = records
        .iter()
        .take(ITEMS_MAX)
        .enumerate()
        .map(
            |(at, record)| match record.get(field).filter(|code| !is_blank(code)) {
                Some(_) => bad(json!(at), record),
                None => ok(json!(at)),
            },
        );
    Items {
        list: list.collect(),
        others_succeeded: false,
    }
}

/// SES bulk mail, v2 and v1; ids are positions.
fn ses(body: &Value) -> Option<Items> {
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
                ok(json!(at))
            } else {
                bad(json!(at), entry)
            }
        });
    Some(Items {
        list: list.collect(),
        others_succeeded: false,
    })
}

/// Firebase multicast, old and new; ids are positions.
fn fcm(body: &Value) -> Option<Items> {
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
                Some(error) => bad(json!(at), error),
                None => ok(json!(at)),
            },
        );
    Some(Items {
        list: list.collect(),
        others_succeeded: false,
    })
}

/// Firestore `batchWrite`: one google.rpc.Status a write; ids are positions.
fn firestore(body: &Value) -> Option<Items> {
    let statuses = body.get("status")?.as_array()?;
    body.get("writeResults")?;
    let list = statuses
        .iter()
        .take(ITEMS_MAX)
        .enumerate()
        .map(
            |(at, status)| match integer_of(status.get("code")).filter(|code| *code != 0) {
                Some(code) => {
                    let mut item = bad(json!(at), status);
                    if let Some(fault) = &mut item.fault {
                        fault.add_reading(codes::grpc(code), format!("status[{at}].code = {code}"));
                    }
                    item
                }
                None => ok(json!(at)),
            },
        );
    Some(Items {
        list: list.collect(),
        others_succeeded: false,
    })
}

/// S3 `DeleteObjects` as the CLI prints it.
fn s3(body: &Value) -> Option<Items> {
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
            .map(|failure| bad(id_of(failure, &["Key"]).unwrap_or(Value::Null), failure)),
    );
    Some(Items {
        list,
        others_succeeded: false,
    })
}

/// Microsoft Graph and OData `$batch`: `responses` with id, status and body.
fn graph_batch(body: &Value) -> Option<Items> {
    let responses = body.get("responses")?.as_array()?;
    let is_batch = !responses.is_empty()
        && responses.iter().all(|response| {
            response.get("id").is_some() && response.get("status").is_some_and(Value::is_number)
        });
    is_batch.then(|| by_status(responses, &["id"], "status", "body"))
}

/// Items that carry an HTTP status each, with the error somewhere inside.
fn by_status(items: &[Value], ids: &[&str], status_field: &str, body_field: &str) -> Items {
    let list = items.iter().take(ITEMS_MAX).enumerate().map(|(at, item)| {
        let id = id_of(item, ids).unwrap_or_else(|| json!(at));
        let status = integer_of(item.get(status_field))
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(200);
        if status < 400 {
            return ok(id);
        }
        let inner = item
            .get(body_field)
            .filter(|inner| !is_blank(inner))
            .unwrap_or(item);
        let mut item_fault = fault_of(inner);
        item_fault.status = Some(status);
        if let Some(headers) = item.get("headers").and_then(Value::as_object) {
            item_fault.add_headers(headers);
        }
        Item {
            id,
            fault: Some(item_fault),
            may_retry: None,
        }
    });
    Items {
        list: list.collect(),
        others_succeeded: false,
    }
}

/// Salesforce sObject collections: a list of `{id, success, errors}`.
fn salesforce(body: &Value) -> Option<Items> {
    let rows = body.as_array()?;
    let is_collection = !rows.is_empty()
        && rows.iter().all(|row| {
            row.get("success").is_some_and(Value::is_boolean)
                && row.get("errors").is_some_and(Value::is_array)
        });
    is_collection.then(|| Items {
        list: rows
            .iter()
            .take(ITEMS_MAX)
            .enumerate()
            .map(|(at, row)| {
                let id = id_of(row, &["id", "referenceId"]).unwrap_or_else(|| json!(at));
                if row["success"] == json!(true) {
                    ok(id)
                } else {
                    bad(id, &row["errors"])
                }
            })
            .collect(),
        others_succeeded: false,
    })
}

/// Salesforce composite requests.
fn composite(body: &Value) -> Option<Items> {
    if let Some(responses) = body.get("compositeResponse").and_then(Value::as_array) {
        return Some(by_status(
            responses,
            &["referenceId"],
            "httpStatusCode",
            "body",
        ));
    }
    body.get("hasErrors")?.as_bool()?;
    let results = body.get("results")?.as_array()?;
    Some(by_status(
        results,
        &["referenceId", "id"],
        "statusCode",
        "result",
    ))
}

/// MongoDB bulk writes: failures by index.
fn mongo(body: &Value) -> Option<Items> {
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
                .unwrap_or(Value::Null),
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

/// Jira bulk create: issues beside errors by number.
fn jira(body: &Value) -> Option<Items> {
    let failures = body.get("errors")?.as_array()?;
    let issues = body.get("issues")?.as_array()?;
    if failures.is_empty()
        || !failures
            .iter()
            .all(|failure| failure.get("failedElementNumber").is_some())
    {
        return None;
    }
    let mut list: Vec<Item> = issues
        .iter()
        .take(ITEMS_MAX)
        .map(|issue| ok(id_of(issue, &["key", "id"]).unwrap_or(Value::Null)))
        .collect();
    list.extend(failures.iter().take(ITEMS_MAX).map(|failure| {
        bad(
            id_of(failure, &["failedElementNumber"]).unwrap_or(Value::Null),
            failure,
        )
    }));
    Some(Items {
        list,
        others_succeeded: false,
    })
}

/// Comprehend and its relatives: `ResultList` and `ErrorList` by index.
fn comprehend(body: &Value) -> Option<Items> {
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
            .map(|failure| bad(id_of(failure, &["Index"]).unwrap_or(Value::Null), failure)),
    );
    Some(Items {
        list,
        others_succeeded: false,
    })
}

/// Kafka REST proxy: 1 cannot be retried, 2 can. Source: Confluent REST API v2.
fn kafka(body: &Value) -> Option<Items> {
    let offsets = body.get("offsets")?.as_array()?;
    let list = offsets
        .iter()
        .take(ITEMS_MAX)
        .enumerate()
        .map(|(at, offset)| match integer_of(offset.get("error_code")) {
            Some(code) => Item {
                may_retry: (code <= 2).then_some(code == 2),
                ..bad(json!(at), offset)
            },
            None => ok(json!(at)),
        });
    Some(Items {
        list: list.collect(),
        others_succeeded: false,
    })
}

/// HubSpot batches: results beside errors with the ids they are about.
fn hubspot(body: &Value) -> Option<Items> {
    integer_of(body.get("numErrors"))?;
    let failures = body.get("errors")?.as_array()?;
    let results = body.get("results").and_then(Value::as_array);
    let mut list: Vec<Item> = results
        .into_iter()
        .flatten()
        .take(ITEMS_MAX)
        .map(|item| ok(id_of(item, &["id"]).unwrap_or(Value::Null)))
        .collect();
    for failure in failures.iter().take(ITEMS_MAX) {
        let ids = failure.get("context").and_then(|context| {
            ["ids", "id"]
                .iter()
                .find_map(|name| context.get(*name)?.as_array())
        });
        match ids {
            Some(ids) => list.extend(
                ids.iter()
                    .take(ITEMS_MAX)
                    .map(|id| bad(id.clone(), failure)),
            ),
            None => list.push(bad(id_of(failure, &["id"]).unwrap_or(Value::Null), failure)),
        }
    }
    Some(Items {
        list,
        others_succeeded: false,
    })
}

/// ECS `RunTask` and the like: tasks beside failures.
fn ecs(body: &Value) -> Option<Items> {
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
        let mut list: Vec<Item> = done
            .iter()
            .take(ITEMS_MAX)
            .map(|_| ok(Value::Null))
            .collect();
        list.extend(
            failures
                .iter()
                .take(ITEMS_MAX)
                .map(|failure| bad(id_of(failure, &["arn"]).unwrap_or(Value::Null), failure)),
        );
        Items {
            list,
            others_succeeded: false,
        }
    })
}

/// GraphQL with data and errors: each top-level field is an item.
fn graphql_parts(body: &Value) -> Option<Items> {
    let failures = body
        .get("errors")?
        .as_array()
        .filter(|failures| !failures.is_empty())?;
    let data = body.get("data")?.as_object()?;
    if data.values().all(is_blank)
        || !failures
            .iter()
            .all(|failure| failure.get("message").is_some())
    {
        return None;
    }
    let mut list = Vec::new();
    for (name, value) in data.iter().take(ITEMS_MAX) {
        let failure = failures.iter().find(|failure| {
            failure
                .get("path")
                .and_then(|path| path.get(0))
                .and_then(Value::as_str)
                == Some(name)
        });
        list.push(match failure {
            Some(failure) => bad(json!(name), failure),
            None if is_blank(value)
                && failures.iter().all(|failure| failure.get("path").is_none()) =>
            {
                bad(json!(name), &failures[0])
            }
            None => ok(json!(name)),
        });
    }
    // A hole deep inside a field's data leaves the field itself usable in part.
    Some(Items {
        list,
        others_succeeded: true,
    })
}

/// Lists whose entries say each how they ended, where the call or the status says that it was a batch.
fn generic(body: &Value, status: u16, observation: &Observation) -> Option<Items> {
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

/// Reads the items of an answer that is text: DAV multi-status, S3 deletions, lines of batch results.
pub(super) fn foreign_text(text: &str, status: u16) -> Option<Items> {
    if text.contains("<DeleteResult") {
        return Some(s3_xml(text));
    }
    if status == 207 || text.contains("multistatus") && text.trim_start().starts_with('<') {
        return dav(text);
    }
    batch_lines(text)
}

fn s3_xml(text: &str) -> Items {
    static DELETED: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?s)<Deleted>\s*<Key>([^<]*)</Key>"));
    static FAILED: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)<Error>(.*?)</Error>"));
    static FIELD: LazyLock<Regex> = LazyLock::new(|| regex(r"<(Key|Code|Message)>([^<]*)</"));
    let mut list: Vec<Item> = DELETED
        .captures_iter(text)
        .take(ITEMS_MAX)
        .map(|found| ok(json!(&found[1])))
        .collect();
    for failure in FAILED.captures_iter(text).take(ITEMS_MAX) {
        let fields: Map<String, Value> = FIELD
            .captures_iter(&failure[1])
            .map(|field| (field[1].to_owned(), json!(&field[2])))
            .collect();
        let id = fields.get("Key").cloned().unwrap_or(Value::Null);
        list.push(bad(id, &Value::Object(fields)));
    }
    Items {
        list,
        others_succeeded: false,
    }
}

/// WebDAV multi-status. Source: RFC 4918 §13.
fn dav(text: &str) -> Option<Items> {
    static RESPONSE: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?is)<(?:\w+:)?response[ >].*?</(?:\w+:)?response>"));
    static HREF: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)<(?:\w+:)?href>\s*([^<]*?)\s*<"));
    static STATUS: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?i)<(?:\w+:)?status>\s*HTTP/\S+ (\d{3})([^<]*)<"));
    let list: Vec<Item> = RESPONSE
        .find_iter(text)
        .take(ITEMS_MAX)
        .filter_map(|response| {
            let id = json!(&HREF.captures(response.as_str())?[1]);
            let found = STATUS.captures(response.as_str())?;
            let status: u16 = found[1].parse().ok()?;
            Some(if status < 400 {
                ok(id)
            } else {
                bad(id, &json!({"status": status, "message": found[2].trim()}))
            })
        })
        .collect();
    (!list.is_empty()).then_some(Items {
        list,
        others_succeeded: false,
    })
}

/// Result files of the OpenAI and Anthropic batch APIs: one JSON object with `custom_id` a line.
fn batch_lines(text: &str) -> Option<Items> {
    let first = text.lines().find(|line| !line.trim().is_empty())?;
    if !first.contains("\"custom_id\"") {
        return None;
    }
    let rows: Option<Vec<Value>> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .take(ITEMS_MAX)
        .map(|line| serde_json::from_str(line).ok())
        .collect();
    let list = rows?
        .iter()
        .enumerate()
        .map(|(at, row)| batch_line(at, row))
        .collect();
    Some(Items {
        list,
        others_succeeded: false,
    })
}

fn batch_line(at: usize, row: &Value) -> Item {
    let id = id_of(row, &["custom_id"]).unwrap_or_else(|| json!(at));
    if let Some(kind) = row
        .get("result")
        .and_then(|result| result.get("type"))
        .and_then(Value::as_str)
    {
        return match kind {
            "succeeded" => ok(id),
            // Neither was ever tried.
            "expired" | "canceled" => Item {
                id,
                fault: Some(Fault::new(Kind::Batch, kind)),
                may_retry: Some(true),
            },
            _ => bad(id, row["result"].get("error").unwrap_or(&row["result"])),
        };
    }
    let status = integer_of(
        row.get("response")
            .and_then(|response| response.get("status_code")),
    );
    if let Some(error) = row.get("error").filter(|error| !is_blank(error)) {
        return bad(id, error);
    }
    match status
        .and_then(|status| u16::try_from(status).ok())
        .filter(|status| *status >= 400)
    {
        None => ok(id),
        Some(status) => {
            let mut item = bad(id, row["response"].get("body").unwrap_or(&Value::Null));
            if let Some(fault) = &mut item.fault {
                fault.status = Some(status);
            }
            item
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids of the failed items of a foreign answer.
    fn failed(body: &Value, status: u16) -> Option<Vec<Value>> {
        let observation =
            Observation::from_value(json!({"kind": "http", "tool": "x", "result": {}}));
        let items = foreign(body, status, &observation)?;
        Some(
            items
                .list
                .into_iter()
                .filter(|item| item.fault.is_some())
                .map(|item| item.id)
                .collect(),
        )
    }

    #[test]
    fn shapes_table() {
        #[rustfmt::skip]
        let rows = [
            ("Lambda", json!({"batchItemFailures": [{"itemIdentifier": "m2"}]}), Some(vec![json!("m2")])),
            ("SQS", json!({"Successful": [{"Id": "a"}], "Failed": [{"Id": "b", "SenderFault": false, "Code": "InternalError"}]}), Some(vec![json!("b")])),
            ("DynamoDB", json!({"UnprocessedItems": {"t": [{"PutRequest": {"Item": {"id": {"S": "u2"}}}}]}}), Some(vec![json!("u2")])),
            ("Elasticsearch", json!({"took": 1, "errors": true, "items": [{"index": {"_id": "1", "status": 201}}, {"index": {"_id": "2", "status": 429, "error": {"type": "es_rejected_execution_exception"}}}]}), Some(vec![json!("2")])),
            ("BigQuery", json!({"insertErrors": [{"index": 1, "errors": [{"reason": "stopped"}]}]}), Some(vec![json!(1)])),
            ("Kinesis", json!({"FailedRecordCount": 1, "Records": [{"SequenceNumber": "1"}, {"ErrorCode": "ProvisionedThroughputExceededException"}]}), Some(vec![json!(1)])),
            ("Microsoft Graph", json!({"responses": [{"id": "1", "status": 200}, {"id": "2", "status": 429}]}), Some(vec![json!("2")])),
            ("Salesforce", json!([{"id": "a", "success": true, "errors": []}, {"success": false, "errors": [{"statusCode": "UNABLE_TO_LOCK_ROW"}]}]), Some(vec![json!(1)])),
            ("GraphQL in part", json!({"data": {"a": {"id": 1}, "b": null}, "errors": [{"message": "x", "path": ["b"]}]}), Some(vec![json!("b")])),
            ("a list of records with a status column", json!({"results": [{"id": 1, "status": 500}]}), None),
            ("a list of log lines", json!([{"level": "error", "status": "failed"}]), None),
        ];
        for (name, body, want) in rows {
            assert_eq!(failed(&body, 200), want, "row: {name}");
        }
        assert_eq!(
            failed(
                &json!([{"id": "a", "status": 201}, {"id": "b", "status": 423}]),
                207
            ),
            Some(vec![json!("b")])
        );
    }

    #[test]
    fn text_shapes_table() {
        let failed = |text: &str, status| -> Option<Vec<Value>> {
            Some(
                foreign_text(text, status)?
                    .list
                    .into_iter()
                    .filter(|item| item.fault.is_some())
                    .map(|item| item.id)
                    .collect(),
            )
        };
        let dav = "<d:multistatus><d:response><d:href>/a</d:href><d:status>HTTP/1.1 200 OK</d:status></d:response><d:response><d:href>/b</d:href><d:status>HTTP/1.1 423 Locked</d:status></d:response></d:multistatus>";
        assert_eq!(failed(dav, 207), Some(vec![json!("/b")]));
        let s3 = "<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>AccessDenied</Code></Error></DeleteResult>";
        assert_eq!(failed(s3, 200), Some(vec![json!("b")]));
        let lines = "{\"custom_id\": \"1\", \"result\": {\"type\": \"succeeded\"}}\n{\"custom_id\": \"2\", \"result\": {\"type\": \"expired\"}}";
        assert_eq!(failed(lines, 200), Some(vec![json!("2")]));
    }

    #[test]
    fn our_own_batch_needs_no_field_to_be_there() {
        let items = own(&json!({"items": [{"id": "a", "ok": true}, {"ok": false}, 7]}));
        assert_eq!(items.list.len(), 3);
        assert!(items.list[1].fault.is_some());
    }
}
