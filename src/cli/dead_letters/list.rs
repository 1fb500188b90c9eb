//! How dead letters look.

use serde::Serialize;
use serde_json::value::RawValue;

use super::select::{Letter, RunLetter};
use crate::cli::look;
use crate::cli::open::{self, instant};
use crate::cli::runs::ago;
use crate::cli::{Result, error::Failure};
use crate::clock::UnixMs;
use crate::exit_code;
use crate::ids::{BatchNo, CallId, RunId};
use crate::machine::batch::Status;
use crate::observe::plain;
use crate::store::{Store, StoredItem};

/// What `list --json` prints.
#[derive(Serialize)]
struct Document<'a> {
    v: u64,
    letters: Vec<Row<'a>>,
}

/// What `show --json` prints.
#[derive(Serialize)]
struct One<'a> {
    v: u64,
    letter: Row<'a>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Row<'a> {
    Item {
        id: String,
        run_id: &'a RunId,
        task: &'a str,
        tool: &'a str,
        item: &'a str,
        batch: BatchNo,
        call: CallId,
        status: &'a str,
        class: &'a str,
        rule: &'a str,
        why: &'a str,
        evidence: &'a str,
        attempts: u32,
        /// As JSON where nothing was cut off, else as text.
        args: Args<'a>,
        due: Option<UnixMs>,
        first_time: UnixMs,
        last_time: UnixMs,
        dropped: bool,
    },
    Run {
        id: &'a RunId,
        task: &'a str,
        status: &'a str,
        class: &'a str,
        why: &'a str,
        start_time: UnixMs,
        last_time: UnixMs,
        dropped: bool,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Args<'a> {
    Whole(Box<RawValue>),
    Cut(&'a str),
}

/// Lists letters.
pub fn list(letters: &[Letter], json: bool) -> Result {
    if json {
        look::print_json(&Document {
            v: look::JSON_VERSION,
            letters: letters.iter().map(row).collect(),
        })?;
        return Ok(exit_code::DONE);
    }
    if letters.is_empty() {
        look::say("no dead letters");
        return Ok(exit_code::DONE);
    }
    let now = open::clock().now();
    let rows: Vec<_> = letters.iter().map(|letter| cells(letter, now)).collect();
    let heads = [
        "ID", "TASK", "TOOL", "ITEM", "TRIES", "LAST", "REASON", "EVIDENCE",
    ];
    look::print(&look::table::table(&heads, &rows, look::columns()))?;
    Ok(exit_code::DONE)
}

fn cells(letter: &Letter, now: UnixMs) -> Vec<String> {
    match letter {
        Letter::Item(item) => vec![
            item.no.to_string(),
            item.task.clone(),
            item.at.tool.clone(),
            plain::excerpt(&item.at.item, 40),
            item.at.attempts.to_string(),
            format!("{} ago", ago(now.since(item.last_at))),
            item.at.rule.clone(),
            plain::excerpt(&item.at.evidence, 200),
        ],
        Letter::Run(run) => vec![
            run.seen.run().to_string(),
            run.seen.record.new.task.clone(),
            "(run)".into(),
            String::new(),
            String::new(),
            format!("{} ago", ago(now.since(run.seen.record.last_at))),
            run.class.clone(),
            plain::excerpt(&run.why, 200),
        ],
    }
}

fn row(letter: &Letter) -> Row<'_> {
    match letter {
        Letter::Item(item) => Row::Item {
            id: item.no.to_string(),
            run_id: &item.run,
            task: &item.task,
            tool: &item.at.tool,
            item: &item.at.item,
            batch: item.at.batch,
            call: item.at.call,
            status: &item.at.status,
            class: &item.at.class,
            rule: &item.at.rule,
            why: &item.at.why,
            evidence: &item.at.evidence,
            attempts: item.at.attempts,
            args: args(item.at.args.as_deref().unwrap_or_default()),
            due: item.at.due,
            first_time: item.at.first_at,
            last_time: item.last_at,
            dropped: item.is_dropped,
        },
        Letter::Run(run) => Row::Run {
            id: run.seen.run(),
            task: &run.seen.record.new.task,
            status: run.seen.status(),
            class: &run.class,
            why: &run.why,
            start_time: run.seen.record.new.at,
            last_time: run.seen.record.last_at,
            dropped: run.seen.record.is_dropped,
        },
    }
}

fn args(text: &str) -> Args<'_> {
    match RawValue::from_string(text.to_owned()) {
        Ok(whole) => Args::Whole(whole),
        Err(_) => Args::Cut(text),
    }
}

/// Shows one letter.
pub fn show(_: &dyn Store, letter: &Letter, json: bool) -> Result {
    if json {
        look::print_json(&One {
            v: look::JSON_VERSION,
            letter: row(letter),
        })?;
        return Ok(exit_code::DONE);
    }
    let (figures, next) = match letter {
        Letter::Item(item) => item_figures(item),
        Letter::Run(run) => run_figures(run),
    };
    print(&figures)?;
    look::say(&next);
    Ok(exit_code::DONE)
}

type Figures = Vec<(&'static str, String)>;

fn item_figures(item: &StoredItem) -> (Figures, String) {
    let StoredItem { no, run, at, .. } = item;
    let figures = vec![
        ("item", at.item.clone()),
        ("tool", at.tool.clone()),
        ("run", format!("{run} of task {}", item.task)),
        ("batch", format!("{}, call {}", at.batch, at.call)),
        ("status", at.status.replace('_', " ")),
        ("class", at.class.clone()),
        ("rule", at.rule.clone()),
        ("because", at.why.clone()),
        ("evidence", at.evidence.clone()),
        ("tries", at.attempts.to_string()),
        ("arguments", at.args.clone().unwrap_or_default()),
        ("not before", at.due.map(instant).unwrap_or_default()),
        ("first", instant(at.first_at)),
        ("last", instant(item.last_at)),
        (
            "dropped",
            if item.is_dropped {
                "yes".into()
            } else {
                String::new()
            },
        ),
    ];
    let next = if at.status == Status::InDoubt.as_str() {
        format!(
            "look whether it happened, then: agentguard settle {run} {}",
            at.call
        )
    } else {
        format!(
            "every decision: agentguard why {run} --call {}; again: agentguard dead-letters \
             retry {no}; off the list: agentguard dead-letters drop {no}",
            at.call
        )
    };
    (figures, next)
}

fn run_figures(letter: &RunLetter) -> (Figures, String) {
    let (run, record) = (letter.seen.run(), &letter.seen.record);
    let figures = vec![
        ("run", run.to_string()),
        ("task", record.new.task.clone()),
        ("status", letter.seen.status().to_owned()),
        ("class", letter.class.clone()),
        ("because", letter.why.clone()),
        ("first", instant(record.new.at)),
        ("last", instant(record.last_at)),
    ];
    let next = format!(
        "more: agentguard show {run}; again: agentguard dead-letters retry {run} (or resume)"
    );
    (figures, next)
}

fn print(figures: &Figures) -> std::result::Result<(), Failure> {
    let lines = figures.iter().filter(|(_, value)| !value.is_empty());
    let text: String = lines
        .map(|(name, value)| format!("{name:<11} {}\n", plain::excerpt(value, 2_000)))
        .collect();
    look::print(&text)
}
