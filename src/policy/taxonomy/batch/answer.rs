//! Which of the items that a call carried did the answer speak of, and how.
//!
//! Our own shape is `{"results": [{"id", "ok", "result" | "error"}]}`; the shapes of
//! other services are read as everywhere. An id may come back as text or number.

use std::collections::HashMap;

use serde_json::Value;

use super::item::{ITEMS_MAX, own_item};
use super::{foreign, foreign_text};
use crate::policy::taxonomy::ItemVerdict;
use crate::policy::taxonomy::class::Class;
use crate::policy::taxonomy::fault::Fault;
use crate::policy::taxonomy::observation::{Kind, Observation, integer_of};
use crate::policy::taxonomy::outcome::{Id, Item, Items};
use crate::policy::taxonomy::rules::{is_throttled, of_item};
use crate::policy::taxonomy::verdict::Verdict;

/// Classes the items of an answer; `None` where it does not tell them apart.
///
/// The result is in the order of `ids`.
pub(in super::super) fn by_item(
    observation: &Observation,
    ids: &[&str],
) -> Option<Vec<ItemVerdict>> {
    let answer = read(observation)?;
    let places: HashMap<&str, usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    let (items, said) = match &answer {
        Answer::Json(body, status) => match listed(body, &places) {
            Some(listed) => listed,
            None => (foreign(body, *status, observation)?, Vec::new()),
        },
        Answer::Text(text, status) => match foreign_text(text, *status) {
            Some(items) => (items, Vec::new()),
            None if is_broken_json(text) && went_well(observation) => {
                return Some(vec![unreadable(text); ids.len()]);
            }
            None => return None,
        },
    };
    Some(placed(observation, &items, &said, &places))
}

/// Whether a text was meant to be JSON: it came cut, or with something beside it.
fn is_broken_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// Whether the program or the server says that all is well.
fn went_well(observation: &Observation) -> bool {
    let number = |name: &str| integer_of(observation.result.get(name));
    match observation.kind {
        Kind::Exec => number("exit_code") == Some(0),
        Kind::Http | Kind::Llm => number("status").is_some_and(|status| status < 400),
        Kind::Batch | Kind::Mcp => true,
    }
}

/// What an answer that cannot be read says about each item: that it may be done.
fn unreadable(text: &str) -> ItemVerdict {
    const SHOWN_MAX: usize = 80;
    let start: String = text.trim_start().chars().take(SHOWN_MAX).collect();
    ItemVerdict {
        verdict: None,
        said: Value::String(format!("the answer is JSON that cannot be read: {start}")),
    }
}

/// The answer itself, without its envelope.
enum Answer {
    Json(Value, u16),
    Text(String, u16),
}

fn read(observation: &Observation) -> Option<Answer> {
    let result = &observation.result;
    let (body, status) = match observation.kind {
        Kind::Exec => {
            let timed_out = result.get("timed_out").and_then(Value::as_bool) == Some(true);
            (result.get("stdout").filter(|_| !timed_out)?, 200)
        }
        Kind::Http | Kind::Llm => {
            let status = integer_of(result.get("status")).unwrap_or(0);
            let status = u16::try_from(status).ok().filter(|status| *status > 0)?;
            (result.get("body")?, status)
        }
        Kind::Batch => (result, 200),
        Kind::Mcp => return None,
    };
    Some(match body {
        Value::String(text) => match serde_json::from_str(text) {
            Ok(json) => Answer::Json(json, status),
            Err(_) => Answer::Text(text.clone(), status),
        },
        json => Answer::Json(json.clone(), status),
    })
}

/// Reads our own shape: a list of objects, some with the ids that were sent.
fn listed<'a>(body: &'a Value, places: &HashMap<&str, usize>) -> Option<(Items, Vec<&'a Value>)> {
    // Results that are none are ours too: they mention nobody.
    let is_void = |results: &Value| {
        let list = results.as_array();
        results.is_null() || list.is_some_and(Vec::is_empty)
    };
    if body.get("results").is_some_and(is_void) {
        let nobody = Items {
            list: Vec::new(),
            others_succeeded: false,
        };
        return Some((nobody, Vec::new()));
    }
    let named = ["results", "items"];
    let list = named.iter().find_map(|name| body.get(*name)?.as_array());
    let list = list.or_else(|| body.as_array())?;
    let is_ours = |entry: &Value| {
        let ends = ["ok", "error", "result"];
        let id = entry.get("id").and_then(id_text);
        let is_known = id.is_some_and(|id| places.contains_key(id.as_str()));
        entry.get("ok").is_some() || is_known && ends.iter().any(|end| entry.get(*end).is_some())
    };
    if !list.iter().take(ITEMS_MAX).any(is_ours) {
        return None;
    }
    let entries: Vec<&Value> = list.iter().take(ITEMS_MAX).collect();
    let items = entries.iter().enumerate();
    let items = Items {
        list: items.map(|(at, entry)| own_item(at, entry)).collect(),
        others_succeeded: false,
    };
    Some((items, entries))
}

fn placed(
    observation: &Observation,
    items: &Items,
    said: &[&Value],
    places: &HashMap<&str, usize>,
) -> Vec<ItemVerdict> {
    let silent = ItemVerdict {
        verdict: items
            .others_succeeded
            .then(|| well("the answer names failures only")),
        said: Value::Null,
    };
    let mut found = vec![silent; places.len()];
    let mut is_placed = vec![false; places.len()];
    let is_mixed = items.others_succeeded || items.list.iter().any(|item| item.fault.is_none());
    for (at, item) in items.list.iter().enumerate() {
        let Some(place) = place_of(item, items, places) else {
            if item.fault.is_some() && items.others_succeeded {
                // A failure that cannot be placed may be anybody's. Source: AWS Lambda,
                // "Reporting batch item failures": such an answer is a failure of all.
                let fault = Fault::new(Kind::Batch, "a failure without an id that was sent");
                let all = verdict_of(observation, &fault, Some(true), is_mixed);
                found.fill(ItemVerdict {
                    verdict: Some(all),
                    said: Value::Null,
                });
                return found;
            }
            continue;
        };
        let verdict = match &item.fault {
            None => well("the answer says that it went well"),
            Some(fault) => verdict_of(observation, fault, item.may_retry, is_mixed),
        };
        let (Some(slot), Some(is_placed)) = (found.get_mut(place), is_placed.get_mut(place)) else {
            continue;
        };
        let is_good = verdict.class == Class::Success;
        let says_both = slot
            .verdict
            .as_ref()
            .is_none_or(|it| (it.class == Class::Success) != is_good);
        *slot = if std::mem::replace(is_placed, true) && says_both {
            ItemVerdict {
                verdict: None,
                said: "the answer says of this item that it went well, and that it did not".into(),
            }
        } else {
            ItemVerdict {
                verdict: Some(verdict),
                said: said.get(at).map_or(Value::Null, |entry| words(entry)),
            }
        };
    }
    found
}

/// What an entry says besides its id and that it is one.
fn words(entry: &Value) -> Value {
    let named = ["result", "error"].iter().find_map(|name| entry.get(*name));
    match named {
        Some(words) => words.clone(),
        None => {
            let fields = entry.as_object().cloned().unwrap_or_default();
            let rest = fields
                .into_iter()
                .filter(|(name, _)| name != "id" && name != "ok");
            let rest: serde_json::Map<_, _> = rest.collect();
            if rest.is_empty() {
                Value::Null
            } else {
                Value::Object(rest)
            }
        }
    }
}

fn well(evidence: &str) -> Verdict {
    Verdict::new(Class::Success, "items.ok", "the item went well", evidence)
}

fn verdict_of(
    observation: &Observation,
    fault: &Fault,
    may_retry: Option<bool>,
    is_mixed: bool,
) -> Verdict {
    let (rule, finding) = of_item(observation, fault, may_retry);
    let class = match is_mixed && is_throttled(rule, &finding) {
        true => Class::Transient,
        false => finding.class,
    };
    Verdict::new(class, rule.id, rule.sentence, &finding.evidence).with_hint(finding.hint_ms)
}

/// Finds the item that an answer speaks of.
///
/// The order of a list says which is which only where it has an entry for each item
/// and none of them has an id.
fn place_of(item: &Item, items: &Items, places: &HashMap<&str, usize>) -> Option<usize> {
    match &item.id {
        Id::Named(id) => places.get(id_text(id)?.as_str()).copied(),
        Id::Position(at) => {
            let is_position = |item: &Item| matches!(item.id, Id::Position(_));
            let is_whole = items.list.len() == places.len() && items.list.iter().all(is_position);
            (items.others_succeeded || is_whole).then_some(*at)
        }
    }
    .filter(|at| *at < places.len())
}

fn id_text(id: &Value) -> Option<String> {
    match id {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn classes(result: Value) -> Option<Vec<Option<Class>>> {
        let kind = if result.get("stdout").is_some() {
            "exec"
        } else {
            "http"
        };
        let observation =
            Observation::from_value(json!({"kind": kind, "tool": "mail_all", "result": result}));
        let found = by_item(&observation, &["a", "b", "7"])?;
        Some(
            found
                .into_iter()
                .map(|item| item.verdict.map(|verdict| verdict.class))
                .collect(),
        )
    }

    #[test]
    fn answers_by_item() {
        use Class::{Semantic, Success, Transient};
        let body = |body: Value| json!({"status": 200, "headers": {}, "body": body});
        let out = |text: &str| json!({"exit_code": 0, "stdout": text, "stderr": ""});
        let (ok, again, bad) = (Some(Success), Some(Transient), Some(Semantic));
        #[rustfmt::skip]
        let rows = [
            ("our own shape", out(r#"{"results":[{"id":"a","ok":true},{"id":"b","ok":false,"error":{"code":"rate_limited","message":"slow down","status":429}},{"id":"7","ok":false,"error":"no such address"}]}"#), Some(vec![ok, again, bad])),
            ("ids as numbers", out(r#"{"results":[{"id":7,"ok":true},{"id":"a","ok":true},{"id":"b","ok":true}]}"#), Some(vec![ok, ok, ok])),
            ("an item that is not mentioned", out(r#"{"results":[{"id":"a","ok":true}]}"#), Some(vec![ok, None, None])),
            ("results that are null mention nobody", out(r#"{"results":null}"#), Some(vec![None, None, None])),
            ("an id that was not sent says nothing of those that were", out(r#"{"results":[{"id":"x","ok":false,"error":"busy"},{"id":"a","ok":true}]}"#), Some(vec![ok, None, None])),
            ("only ids that were not sent", out(r#"{"results":[{"id":"x","ok":true}]}"#), Some(vec![None, None, None])),
            ("an item of which both is said", out(r#"{"results":[{"id":"a","ok":true},{"id":"b","ok":true},{"id":"a","ok":false,"error":"no such address"},{"id":"7","ok":true}]}"#), Some(vec![None, ok, ok])),
            ("JSON that was cut", out(r#"{"results":[{"id":"a","ok":true},{"id":"#), Some(vec![None, None, None])),
            ("JSON that was cut, from a program that failed", json!({"exit_code": 1, "stdout": "{\"resu", "stderr": "no such address"}), None),
            ("flags as words and numbers", out(r#"{"results":[{"id":"a","ok":"true"},{"id":"b","ok":"false","error":"no such address"},{"id":"7","ok":0,"error":"no such address"}]}"#), Some(vec![ok, bad, bad])),
            ("a status beside flags", out(r#"{"results":[{"id":"a","ok":true},{"id":"b","status":503},{"id":"7","status":"failed","message":"no such address"}]}"#), Some(vec![ok, again, bad])),
            ("an empty list of results mentions nobody", out(r#"{"results":[]}"#), Some(vec![None, None, None])),
            ("a bare list", out(r#"[{"id":"a","ok":true},{"id":"b","error":"503 Service Unavailable"}]"#), Some(vec![ok, again, None])),
            ("Lambda", body(json!({"batchItemFailures": [{"itemIdentifier": "b"}]})), Some(vec![ok, again, ok])),
            ("Lambda, none failed", body(json!({"batchItemFailures": []})), Some(vec![ok, ok, ok])),
            ("Lambda, null", body(json!({"batchItemFailures": null})), Some(vec![ok, ok, ok])),
            ("Lambda, no list", body(json!({"batchItemFailures": "b"})), Some(vec![again, again, again])),
            ("Lambda, another key", body(json!({"batchItemFailures": [{"id": "b"}]})), Some(vec![again, again, again])),
            ("Lambda, an id that was never sent", body(json!({"batchItemFailures": [{"itemIdentifier": "x"}]})), Some(vec![again, again, again])),
            ("Lambda, an empty id", body(json!({"batchItemFailures": [{"itemIdentifier": ""}]})), Some(vec![again, again, again])),
            ("SQS", body(json!({"Successful": [{"Id": "a"}], "Failed": [{"Id": "b", "SenderFault": true, "Code": "InvalidMessageContents"}, {"Id": "7", "SenderFault": false, "Code": "InternalError"}]})), Some(vec![ok, bad, again])),
            ("by position", body(json!({"FailedRecordCount": 1, "Records": [{"SequenceNumber": "1"}, {"ErrorCode": "ProvisionedThroughputExceededException"}, {"SequenceNumber": "3"}]})), Some(vec![ok, again, ok])),
            ("207", json!({"status": 207, "headers": {}, "body": [{"id": "a", "status": 201}, {"id": "b", "status": 423}, {"id": "7", "status": 400}]}), Some(vec![ok, again, bad])),
            ("a word about the whole", out("sent\n"), None),
            ("nothing", out(""), None),
            ("an error of the whole", json!({"status": 503, "headers": {}, "body": {"error": "busy"}}), None),
            ("no answer", json!({"status": 0, "headers": {}, "body": "connection reset"}), None),
        ];
        for (name, result, want) in rows {
            assert_eq!(classes(result), want, "row: {name}");
        }
    }

    #[test]
    fn a_position_is_not_an_id_that_looks_like_one() {
        use Class::{Semantic, Success, Transient};
        let (ok, again, bad) = (Some(Success), Some(Transient), Some(Semantic));
        #[rustfmt::skip]
        let rows = [
            ("our shape without ids", json!({"results": [{"ok": true}, {"ok": false, "error": "no such address"}, {"ok": true}]}), vec![ok, bad, ok]),
            ("fewer than were sent, without ids", json!({"results": [{"ok": true}, {"ok": false, "error": "no such address"}]}), vec![None, None, None]),
            ("some with an id", json!({"results": [{"id": "3", "ok": true}, {"ok": false, "error": "no such address"}, {"ok": true}]}), vec![None, None, ok]),
            ("Kinesis", json!({"FailedRecordCount": 1, "Records": [{"SequenceNumber": "1"}, {"ErrorCode": "ProvisionedThroughputExceededException"}, {"SequenceNumber": "3"}]}), vec![ok, again, ok]),
            ("BigQuery", json!({"insertErrors": [{"index": 2, "errors": [{"reason": "stopped"}]}]}), vec![ok, ok, again]),
            ("ids", json!({"results": [{"id": 3, "ok": false, "error": "no such address"}, {"id": 1, "ok": true}, {"id": 2, "ok": true}]}), vec![ok, ok, bad]),
        ];
        for (name, body, want) in rows {
            let result = json!({"status": 200, "headers": {}, "body": body});
            let observation = Observation::from_value(
                json!({"kind": "http", "tool": "mail_all", "result": result}),
            );
            let found = by_item(&observation, &["1", "2", "3"]).expect("each has its own");
            let classes: Vec<_> = found
                .into_iter()
                .map(|item| item.verdict.map(|verdict| verdict.class))
                .collect();
            assert_eq!(classes, want, "row: {name}");
        }
    }
}
