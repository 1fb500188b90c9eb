//! Batch answers that come as text: WebDAV multi-status, S3 deletions, result files of model providers,
//! summaries in words.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::item::{ITEMS_MAX, bad, id_of, ok};
use crate::policy::taxonomy::acting::reports;
use crate::policy::taxonomy::fault::Fault;
use crate::policy::taxonomy::observation::{Kind, integer_of, is_blank};
use crate::policy::taxonomy::outcome::{Id, Item, Items};
use crate::policy::taxonomy::text::regex;

/// Reads the items of an answer that is text: DAV multi-status, S3 deletions, lines of batch results.
pub(in super::super) fn foreign_text(text: &str, status: u16) -> Option<Items> {
    if text.contains("<DeleteResult") {
        return Some(s3_xml(text));
    }
    if status == 207 || text.contains("multistatus") && text.trim_start().starts_with('<') {
        return dav(text);
    }
    batch_lines(text)
}

/// Longest text that is a summary of what was done.
const SUMMARY_BYTES_MAX: usize = 2_000;

/// Reads a summary in words: `Synced 8 of 10 files. Failed: …`, `3 created, 2 failed`.
pub(in super::super) fn counted(text: &str) -> Option<Items> {
    static OF: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(\d{1,6}) (?:out )?of (\d{1,6})\b"));
    static FAILS: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)\bfailed\b|\b(errors?|failures?|rejected)\s*:|\bcould(n't| not) be\b|\b(denied|not found|does not exist)\b",
        )
    });
    static BESIDE: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)\b(\d{1,6}) (?:\w+ ){0,2}(?:succeeded|successful(?:ly)?|ok|created|updated|imported|sent|synced|deleted|uploaded|processed|inserted|copied)\b[^\n]{0,40}?\b([1-9]\d{0,5}) (?:\w+ )?(?:failed|errors?|rejected)\b",
        )
    });
    static AFTER: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)\b(\d{1,6})\b[^\n\d]{0,40}[,;(] *(?:and |but )?([1-9]\d{0,5}) (?:\w+ )?(?:failed|errors?|rejected)\b",
        )
    });
    static ENTRY: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?m)^\s*(?:[-*]|\d+[.)])\s+([^\s:]{1,120}): +(\S.*)$"));
    if text.len() > SUMMARY_BYTES_MAX {
        return None;
    }
    let number = |text: &str| text.parse::<u32>().unwrap_or_default();
    let of = OF.captures(text).filter(|_| FAILS.is_match(text));
    let of = of.filter(|found| number(&found[1]) < number(&found[2]));
    let after = || AFTER.captures(text).filter(|_| reports(text));
    let done = of.or_else(|| BESIDE.captures(text)).or_else(after)?;
    let list: Vec<Item> = ENTRY
        .captures_iter(text)
        .take(ITEMS_MAX)
        .map(|entry| bad(json!(&entry[1]), &json!(&entry[2])))
        .collect();
    Some(Items {
        list: if list.is_empty() {
            vec![bad(Id::NONE, &json!(text))]
        } else {
            list
        },
        others_succeeded: number(&done[1]) > 0,
    })
}

/// Reads several files in one text, a section each: `a.txt:` and its content, or `b.txt: Error - why`.
///
/// Source: the reference file system server of MCP, `read_multiple_files`.
pub(in super::super) fn sections(text: &str) -> Option<Items> {
    static FAILED: LazyLock<Regex> = LazyLock::new(|| regex(r"^([^\n]{1,400}?): Error - ([^\n]+)"));
    let list: Vec<Item> = text
        .split("\n---\n")
        .take(ITEMS_MAX)
        .map(|section| match FAILED.captures(section) {
            Some(found) => bad(json!(&found[1]), &json!(&found[2])),
            None => ok(json!(section.split(':').next().unwrap_or_default())),
        })
        .collect();
    let has_failed = list.iter().any(|item| item.fault.is_some());
    (list.len() > 1 && has_failed).then_some(Items {
        list,
        others_succeeded: false,
    })
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
        let id = Id::Named(fields.get("Key").cloned().unwrap_or_default());
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
    let id = id_of(row, &["custom_id"]).unwrap_or(Id::Position(at));
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
