//! Which of the items that a call carried did the answer speak of, and how.
//!
//! Our own shape is `{"results": [{"id", "ok", "result" | "error"}]}`; the shapes of
//! other services are read as everywhere. An id may come back as text or number; a
//! number that is no id is a position.

use std::collections::HashMap;

use serde_json::Value;

use super::item::{ITEMS_MAX, own_item};
use super::{foreign, foreign_text};
use crate::policy::taxonomy::ItemVerdict;
use crate::policy::taxonomy::class::Class;
use crate::policy::taxonomy::fault::Fault;
use crate::policy::taxonomy::observation::{Kind, Observation, integer_of};
use crate::policy::taxonomy::outcome::Items;
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
        Answer::Text(text, status) => (foreign_text(text, *status)?, Vec::new()),
    };
    Some(placed(observation, &items, &said, &places))
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
    let named = ["results", "items"];
    let list = named.iter().find_map(|name| body.get(*name)?.as_array());
    let list = list.or_else(|| body.as_array())?;
    let is_ours = |entry: &Value| {
        let id = entry.get("id").and_then(id_text);
        let ends = ["ok", "error", "result"];
        id.is_some_and(|id| places.contains_key(id.as_str()))
            && ends.iter().any(|end| entry.get(*end).is_some())
    };
    // An empty list of results is ours too: it mentions nobody.
    let says_nothing = list.is_empty() && body.get("results").is_some();
    if !says_nothing && !list.iter().take(ITEMS_MAX).any(is_ours) {
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
    let is_mixed = items.others_succeeded || items.list.iter().any(|item| item.fault.is_none());
    for (at, item) in items.list.iter().enumerate() {
        let Some(place) = place_of(&item.id, places) else {
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
        if let Some(slot) = found.get_mut(place) {
            *slot = ItemVerdict {
                verdict: Some(verdict),
                said: said.get(at).map_or(Value::Null, |entry| words(entry)),
            };
        }
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

fn place_of(id: &Value, places: &HashMap<&str, usize>) -> Option<usize> {
    let text = id_text(id)?;
    places.get(text.as_str()).copied().or_else(|| {
        let position = id.as_u64().and_then(|at| usize::try_from(at).ok());
        position.filter(|at| *at < places.len())
    })
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
            ("an empty list of results mentions nobody", out(r#"{"results":[]}"#), Some(vec![None, None, None])),
            ("a bare list", out(r#"[{"id":"a","ok":true},{"id":"b","error":"503 Service Unavailable"}]"#), Some(vec![ok, again, None])),
            ("Lambda", body(json!({"batchItemFailures": [{"itemIdentifier": "b"}]})), Some(vec![ok, again, ok])),
            ("Lambda, none failed", body(json!({"batchItemFailures": []})), Some(vec![ok, ok, ok])),
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
}
