//! One item of a batch: its id, its error, and the shapes that several services share.

use serde_json::{Map, Value};

use super::generic::ended_well;
use crate::policy::taxonomy::envelope;
use crate::policy::taxonomy::fault::Fault;
use crate::policy::taxonomy::meaning::{Meaning, Weight};
use crate::policy::taxonomy::observation::{Kind, integer_of, is_blank};
use crate::policy::taxonomy::outcome::{Id, Item, Items};

/// Items of one answer that are looked at.
pub(super) const ITEMS_MAX: usize = 10_000;

/// Reads the items of our own batch.
pub(in super::super) fn own(result: &Value) -> Items {
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

pub(super) fn own_item(at: usize, item: &Value) -> Item {
    let id = id_of(item, &["id", "key", "name", "index"]).unwrap_or(Id::Position(at));
    let error = item.get("error").filter(|error| !error.is_null());
    let said = item.get("ok").and_then(flag).or_else(|| ended_well(item));
    let ok = said.unwrap_or(error.is_none());
    let result = item
        .get("result")
        .filter(|result| ok && envelope::is_error(result));
    let unfit = error.and_then(stop_reason);
    let fault = match (ok, error, result) {
        (true, _, None) => None,
        (true, _, Some(result)) => Some(fault_of(result)),
        (false, Some(error), _) => Some(fault_of(error)),
        (false, None, _) => Some(fault_of(item)),
    };
    let fault = fault.map(|mut fault: Fault| {
        let reading = unfit.map(|_| (Meaning::Unfit, Weight::Exact));
        fault.add_reading(
            reading,
            format!("item.code \"{}\"", unfit.unwrap_or_default()),
        );
        fault
    });
    Item {
        id,
        fault,
        may_retry: None,
    }
}

/// Reads a flag that may have been written as a word or a number.
fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_f64().map(|number| number != 0.0),
        Value::String(word) if word.eq_ignore_ascii_case("true") => Some(true),
        Value::String(word) if word.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// The code of an item's error, where it is a reason for which models stop short.
fn stop_reason(error: &Value) -> Option<&str> {
    const REASONS: [&str; 12] = [
        "maxtokens",
        "maxoutputtokens",
        "truncated",
        "outputtruncated",
        "contentfilter",
        "contentfiltered",
        "safety",
        "recitation",
        "prohibitedcontent",
        "refusal",
        "refused",
        "modelrefusal",
    ];
    let code = error.get("code")?.as_str()?;
    let plain: String = code
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let is_length = plain == "length"
        && error
            .get("message")
            .and_then(Value::as_str)
            .is_some_and(|text| text.contains("token"));
    (is_length || REASONS.contains(&plain.as_str())).then_some(code)
}

/// Returns which item an entry is about: the first of `names` that it has.
pub(super) fn id_of(item: &Value, names: &[&str]) -> Option<Id> {
    /// Names under which services count the entries of a request.
    const COUNTED: [&str; 3] = ["index", "Index", "failedElementNumber"];
    let (name, id) = names
        .iter()
        .find_map(|name| Some((*name, item.get(*name)?)))?;
    let position = id.as_u64().and_then(|at| usize::try_from(at).ok());
    match position.filter(|_| COUNTED.contains(&name)) {
        Some(at) => Some(Id::Position(at)),
        None => (id.is_string() || id.is_number()).then(|| id.clone().into()),
    }
}

/// Makes a fault of an item's error: an object, a text, or a number that is a status.
pub(super) fn fault_of(error: &Value) -> Fault {
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

pub(super) fn ok(id: impl Into<Id>) -> Item {
    Item {
        id: id.into(),
        fault: None,
        may_retry: None,
    }
}

pub(super) fn bad(id: impl Into<Id>, error: &Value) -> Item {
    Item {
        id: id.into(),
        fault: Some(fault_of(error)),
        may_retry: None,
    }
}

pub(super) fn by_error_code(records: &[Value], field: &str) -> Items {
    let list = records
        .iter()
        .take(ITEMS_MAX)
        .enumerate()
        .map(
            |(at, record)| match record.get(field).filter(|code| !is_blank(code)) {
                Some(_) => bad(Id::Position(at), record),
                None => ok(Id::Position(at)),
            },
        );
    Items {
        list: list.collect(),
        others_succeeded: false,
    }
}

/// Items that carry an HTTP status each, with the error somewhere inside.
pub(super) fn by_status(
    items: &[Value],
    ids: &[&str],
    status_field: &str,
    body_field: &str,
) -> Items {
    let list = items.iter().take(ITEMS_MAX).enumerate().map(|(at, item)| {
        let id = id_of(item, ids).unwrap_or(Id::Position(at));
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
