//! Answers that split their items in two: what was done, and what failed.

use serde_json::{Value, json};

use super::item::{ITEMS_MAX, bad, id_of};
use crate::policy::taxonomy::acting::acts;
use crate::policy::taxonomy::http::tool_words;
use crate::policy::taxonomy::observation::{Observation, integer_of};
use crate::policy::taxonomy::outcome::{Id, Item, Items};

/// Names of what was done: a list, or a count.
const DONE: &[&str] = &[
    "created",
    "imported",
    "updated",
    "deleted",
    "removed",
    "inserted",
    "added",
    "succeeded",
    "successful",
    "success",
    "successes",
    "sent",
    "uploaded",
    "processed",
    "synced",
    "completed",
    "saved",
    "published",
    "moved",
    "copied",
    "accepted",
    "applied",
    "migrated",
    "delivered",
    "ok",
];
/// Names of what failed: a list, or a count.
const FAILED: &[&str] = &["failed", "failures", "errors", "rejected", "unprocessed"];

/// Reads `{"created": […], "failed": […]}`, with lists or counts; `None` where nothing failed.
///
/// Only of calls that change something: a report about somebody else's work has the same shape.
pub(super) fn split(body: &Value, observation: &Observation) -> Option<Items> {
    let says_partial = ["status", "result", "state"].iter().any(|name| {
        let text = body.get(*name).and_then(Value::as_str).unwrap_or_default();
        text.to_ascii_lowercase().starts_with("partial")
    });
    let named = |words: &'static [&'static str]| {
        let fields = body.as_object().into_iter().flatten().take(60);
        fields.filter(move |(name, _)| is_named(name, words))
    };
    let sizes = named(DONE).filter_map(|(_, value)| size(value));
    let done = sizes.max().or(says_partial.then_some(1))?;
    let lists = named(FAILED).filter_map(|(_, value)| value.as_array());
    let list: Vec<Item> = lists.flatten().take(ITEMS_MAX).map(failed_item).collect();
    let has_count =
        named(FAILED).any(|(_, value)| integer_of(Some(value)).is_some_and(|count| count > 0));
    if !acts(observation) || list.is_empty() && !has_count && !says_partial {
        return None;
    }
    Some(Items {
        list: if list.is_empty() {
            vec![bad(Id::NONE, body)]
        } else {
            list
        },
        others_succeeded: done > 0,
    })
}

/// Whether a field is named by one of the words, alone or beside one other: `failed`,
/// `error_count`, `updatedMembers`.
fn is_named(name: &str, words: &[&str]) -> bool {
    const TIMES: [&str; 6] = ["at", "on", "by", "last", "time", "date"];
    let parts = tool_words(name);
    let is_about = |part: &str| {
        words.contains(&part) || parts.len() == 2 && part == "error" && words.contains(&"errors")
    };
    parts.len() <= 2
        && parts.iter().any(|part| is_about(part))
        && !parts.iter().any(|part| TIMES.contains(&part.as_str()))
}

fn failed_item(entry: &Value) -> Item {
    if let Value::String(name) = entry {
        return bad(json!(name), entry);
    }
    let id = id_of(
        entry,
        &[
            "id", "key", "index", "email", "name", "path", "file", "row", "sku",
        ],
    );
    let inner = entry.get("error").filter(|error| error.is_object());
    bad(id.unwrap_or(Id::NONE), inner.unwrap_or(entry))
}

/// How many a list or a count stands for; a flag stands for none.
fn size(value: &Value) -> Option<usize> {
    match value {
        Value::Array(items) => Some(items.len()),
        Value::Number(_) => usize::try_from(integer_of(Some(value))?).ok(),
        _ => None,
    }
}
