//! How much an answer says: only "ok", nothing found, or something to read.
//!
//! The words are those of common tools, in English. An answer in other words
//! counts as content, which is the careful side: content is never taken for
//! the sameness of "ok".

use serde_json::Value;

use super::mask::is_bookkeeping;
use super::print::Talk;

/// Returns how much an answer says.
#[rustfmt::skip]
pub(super) fn talk(result: &Value, text: &str) -> Talk {
    if is_empty(result) {
        return Talk::Empty;
    }
    if text.len() > 200 {
        return Talk::Long;
    }
    let lower = text.trim().to_ascii_lowercase();
    let bare = lower.trim_matches(|c: char| !c.is_alphanumeric());
    let negative = [
        "no match", "no result", "not found", "no files found", "nothing found", "0 results", "0 matches",
        "no data", "0 rows", "no records", "no items", "no documents", "no relevant", "found 0", "no hits",
        "empty", "did not match", "no such", "returned no", "no entries", "\"results\":[]", "\"items\":[]",
        "\"hits\":[]", "\"total\":0", "\"count\":0", "\"matches\":[]", "\"documents\":[]", "\"rows\":[]",
        "\"data\":[]", "\"messages\":[]",
    ];
    if bare.is_empty() || negative.iter().any(|mark| lower.contains(mark)) {
        return Talk::Empty;
    }
    if is_ack(bare, result) {
        Talk::Ack
    } else {
        Talk::Content
    }
}

fn is_empty(result: &Value) -> bool {
    match result {
        Value::Null => true,
        Value::String(text) => matches!(text.trim(), "" | "[]" | "{}" | "null" | "None" | "0"),
        Value::Array(items) => items
            .iter()
            .all(|item| is_empty(item) || item.get("text").is_some_and(is_empty)),
        Value::Object(map) => {
            map.is_empty()
                || map
                    .iter()
                    .all(|(key, value)| is_bookkeeping(key) || is_empty(value) || value == 0)
        }
        Value::Number(_) | Value::Bool(_) => false,
    }
}

/// Words of which an acknowledgement is made.
#[rustfmt::skip]
fn is_ack(bare: &str, result: &Value) -> bool {
    if matches!(result, Value::Bool(_))
        || matches!(result, Value::Object(map) if map.len() <= 3 && map.values().all(says_ok))
    {
        return true;
    }
    let first = bare
        .split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or("");
    let heads = [
        "ok", "okay", "done", "success", "successfully", "true", "valid", "200", "201", "204", "passed",
        "pass", "saved", "sent", "updated", "created", "deleted", "written", "wrote", "accepted", "added",
        "removed", "clicked", "scrolled", "pressed", "typed", "moved", "complete", "completed", "applied",
        "inserted", "queued", "processed", "uploaded", "acknowledged", "ack", "set", "selected", "navigated",
        "archived", "labeled", "marked", "slept", "waited", "yes", "filled", "submitted", "resized",
        "converted", "indexed", "stored", "back", "went", "copied", "renamed", "clean",
    ];
    bare.len() <= 60
        && (heads.contains(&first)
            || bare.ends_with(" ok")
            || bare.ends_with("successfully")
            || bare.ends_with(" done")
            || bare.starts_with("no issues")
            || bare.starts_with("no errors")
            || bare.starts_with("no problems")
            || bare.starts_with("all checks passed")
            || bare.contains("success")
            || bare.starts_with("file ") && bare.contains("success"))
}

fn says_ok(value: &Value) -> bool {
    match value {
        Value::Bool(_) | Value::Null => true,
        Value::String(text) => text.len() <= 24 && is_ack(&text.to_ascii_lowercase(), &Value::Null),
        Value::Number(number) => number.as_i64().is_some_and(|n| (0..300).contains(&n)),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    }
}

/// Returns whether a short answer says that there was nothing to change.
#[rustfmt::skip]
pub(super) fn says_nothing_changed(text: &str) -> bool {
    if text.len() > 300 {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    let phrases = [
        "no changes", "nothing to commit", "unchanged", "already up to date", "already satisfied",
        "nothing changed", "nothing to do", "already exists", "no local changes", "up-to-date",
        "already up-to-date", "not modified", "0 rows affected", "update 0",
    ];
    let did = [
        "created", "updated", "added", "inserted", "applied", "saved", "success", "configured",
    ];
    phrases.iter().any(|phrase| lower.contains(phrase))
        && !did.iter().any(|word| lower.contains(word))
}

/// Returns whether a short answer says that something is still going on.
#[rustfmt::skip]
pub(super) fn says_pending(result: &Value, text: &str) -> bool {
    let waiting = |text: &str| {
        let lower = text.to_ascii_lowercase();
        [
            "pending", "running", "in progress", "in_progress", "queued", "processing", "provisioning",
            "not ready", "still ", "waiting", "starting", "initializing", "deploying", "building", "creating",
            "no new", "scheduled", "in-progress", "not yet", "unchanged", "training",
        ]
        .iter()
        .any(|mark| lower.contains(mark))
    };
    let fields = |map: &serde_json::Map<String, Value>| {
        ["status", "state", "phase", "stage", "conclusion"]
            .iter()
            .any(|key| map.get(*key).and_then(Value::as_str).is_some_and(waiting))
    };
    match result {
        Value::Object(map) if fields(map) => true,
        Value::String(text) if text.trim_start().starts_with('{') && text.len() < 2048 => {
            serde_json::from_str::<Value>(text)
                .is_ok_and(|value| value.as_object().is_some_and(fields))
        }
        _ => text.len() <= 120 && waiting(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::mask::text_of;
    use super::*;

    #[test]
    fn talk_table() {
        #[rustfmt::skip]
        let rows = [
            (json!("ok"), Talk::Ack), (json!("Done."), Talk::Ack), (json!({"ok": true}), Talk::Ack), (json!("File updated successfully"), Talk::Ack),
            (json!("No matches found"), Talk::Empty), (json!([]), Talk::Empty), (json!({"results": []}), Talk::Empty), (json!(""), Talk::Empty),
            (json!("the third paragraph"), Talk::Content), (json!("x".repeat(300)), Talk::Long),
        ];
        for (result, want) in rows {
            assert_eq!(talk(&result, &text_of(&result)), want, "row: {result}");
        }
    }
}
