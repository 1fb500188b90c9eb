//! Batch answers of web applications, OData and GraphQL. Source: the API references of the products named.

use serde_json::{Value, json};

use super::item::{ITEMS_MAX, bad, by_status, id_of, ok};
use crate::policy::taxonomy::observation::{integer_of, is_blank};
use crate::policy::taxonomy::outcome::{Id, Item, Items};

/// Microsoft Graph and OData `$batch`: `responses` with id, status and body.
pub(super) fn graph_batch(body: &Value) -> Option<Items> {
    let responses = body.get("responses")?.as_array()?;
    let is_batch = !responses.is_empty()
        && responses.iter().all(|response| {
            response.get("id").is_some() && response.get("status").is_some_and(Value::is_number)
        });
    is_batch.then(|| by_status(responses, &["id"], "status", "body"))
}

/// Salesforce sObject collections: a list of `{id, success, errors}`.
pub(super) fn salesforce(body: &Value) -> Option<Items> {
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
                let id = id_of(row, &["id", "referenceId"]).unwrap_or(Id::Position(at));
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
pub(super) fn composite(body: &Value) -> Option<Items> {
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

/// Jira bulk create: issues beside errors by number.
pub(super) fn jira(body: &Value) -> Option<Items> {
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
        .map(|issue| ok(id_of(issue, &["key", "id"]).unwrap_or(Id::NONE)))
        .collect();
    list.extend(failures.iter().take(ITEMS_MAX).map(|failure| {
        bad(
            id_of(failure, &["failedElementNumber"]).unwrap_or(Id::NONE),
            failure,
        )
    }));
    Some(Items {
        list,
        others_succeeded: false,
    })
}

/// HubSpot batches: results beside errors with the ids they are about.
pub(super) fn hubspot(body: &Value) -> Option<Items> {
    integer_of(body.get("numErrors"))?;
    let failures = body.get("errors")?.as_array()?;
    let results = body.get("results").and_then(Value::as_array);
    let mut list: Vec<Item> = results
        .into_iter()
        .flatten()
        .take(ITEMS_MAX)
        .map(|item| ok(id_of(item, &["id"]).unwrap_or(Id::NONE)))
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
            None => list.push(bad(id_of(failure, &["id"]).unwrap_or(Id::NONE), failure)),
        }
    }
    Some(Items {
        list,
        others_succeeded: false,
    })
}

/// GraphQL with data and errors: each top-level field is an item.
pub(super) fn graphql_parts(body: &Value) -> Option<Items> {
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
