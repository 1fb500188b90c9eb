//! The JSON shapes of batch answers that are known, in the order in which they are tried.

use serde_json::Value;

use super::apps::{composite, graph_batch, graphql_parts, hubspot, jira, salesforce};
use super::aws::{
    comprehend, ecs, event_bridge, item_failures, kinesis, s3, ses, sqs, unprocessed,
};
use super::generic::generic;
use super::google::{fcm, firestore, inserts};
use super::split::split;
use super::stores::{elastic, kafka, mongo, multi_search, shards};
use crate::policy::taxonomy::observation::Observation;
use crate::policy::taxonomy::outcome::Items;

/// Reads the items of another service's JSON answer; `None` if it is no such answer, or nothing failed.
pub(in super::super) fn foreign(
    body: &Value,
    status: u16,
    observation: &Observation,
) -> Option<Items> {
    let known = [
        item_failures,
        sqs,
        unprocessed,
        elastic,
        shards,
        multi_search,
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
    generic(body, status, observation).or_else(|| split(body, observation))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{foreign_text, own};
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
                .map(|item| item.id.value())
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
                    .map(|item| item.id.value())
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
