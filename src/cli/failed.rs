//! `agentguard failed`

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::look;
use super::runs::{Since, ago, since};
use super::{Global, Result, open};
use crate::clock::UnixMs;
use crate::exit_code;
use crate::ids::RunId;
use crate::machine::batch::Status;
use crate::store::{ItemFilter, ItemNo, StoredItem};

/// Which items of batches failed, over all runs, and of what
///
/// Items that failed for good, that are queued for later and that are in doubt, in
/// groups, the largest first. `agentguard dead-letters` shows them one by one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard failed --since 1h
  agentguard failed --by tool
  agentguard failed --since 1d --json | jq '.groups[] | {key, count}'")]
pub struct FailedArgs {
    /// Only what failed since then: a span (`1h`), a day, or an instant
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Since>,
    /// What makes a group
    #[arg(long, value_enum, value_name = "WHAT", default_value = "reason")]
    by: By,
    /// Only items of this run
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What makes a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// The rule that found the failure.
    Reason,
    /// The tool.
    Tool,
    /// The task.
    Task,
    /// The class of the failure.
    Class,
}

/// Items that stand for their group.
const EXAMPLES_MAX: usize = 5;

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    v: u64,
    since: Option<UnixMs>,
    by: &'static str,
    items: usize,
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    key: String,
    /// The rule in a sentence; with `--by reason` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    count: usize,
    /// By status.
    statuses: BTreeMap<String, usize>,
    /// How many runs.
    runs: usize,
    tools: BTreeSet<String>,
    /// When the last one failed.
    last: UnixMs,
    examples: Vec<Example>,
}

#[derive(Serialize)]
struct Example {
    no: ItemNo,
    run_id: RunId,
    tool: String,
    item: String,
    status: String,
    evidence: String,
}

/// Groups what failed.
pub fn main(global: &Global, args: FailedArgs) -> Result {
    let now = open::clock().now();
    let since = args.since.map(|since| since.before(now));
    let items = match look::journal(global)? {
        Some(store) => {
            let run = args.run.as_deref().map(|asked| store.find(asked));
            let run = run.transpose()?.map(|record| record.new.run);
            let failed = [Status::Dead, Status::Queued, Status::InDoubt];
            store.items(&ItemFilter {
                statuses: failed.map(|status| status.as_str().to_owned()).into(),
                run,
                since,
                dropped_too: true,
            })?
        }
        None => vec![],
    };
    let groups = groups(&items, args.by);
    if args.json {
        look::print_json(&Document {
            v: look::JSON_VERSION,
            since,
            by: args.by.name(),
            items: items.len(),
            groups,
        })?;
        return Ok(exit_code::DONE);
    }
    if items.is_empty() {
        look::say("no failed items");
        return Ok(exit_code::DONE);
    }
    let rows: Vec<_> = groups
        .iter()
        .map(|group| row(group, args.by, now))
        .collect();
    let by = args.by.name().to_uppercase();
    let heads = ["COUNT", by.as_str(), "STATUS", "RUNS", "LAST", "ITEMS"];
    look::print(&look::table::table(&heads, &rows, look::columns()))?;
    Ok(exit_code::DONE)
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Reason => "reason",
            Self::Tool => "tool",
            Self::Task => "task",
            Self::Class => "class",
        }
    }

    fn key(self, item: &StoredItem) -> &str {
        match self {
            Self::Reason => &item.at.rule,
            Self::Tool => &item.at.tool,
            Self::Task => &item.task,
            Self::Class => &item.at.class,
        }
    }
}

/// Groups items, the largest group first; the latest items are the examples.
fn groups(items: &[StoredItem], by: By) -> Vec<Group> {
    let mut grouped: BTreeMap<&str, Vec<&StoredItem>> = BTreeMap::new();
    for item in items {
        grouped.entry(by.key(item)).or_default().push(item);
    }
    let mut groups: Vec<_> = grouped
        .into_iter()
        .map(|(key, items)| group(key, &items, by))
        .collect();
    groups.sort_by(|a, b| (b.count, &a.key).cmp(&(a.count, &b.key)));
    groups
}

fn group(key: &str, items: &[&StoredItem], by: By) -> Group {
    let mut statuses = BTreeMap::new();
    for item in items {
        *statuses.entry(item.at.status.clone()).or_default() += 1;
    }
    let first = items.first().filter(|_| by == By::Reason);
    let runs: BTreeSet<_> = items.iter().map(|item| &item.run).collect();
    Group {
        key: key.to_owned(),
        why: first.map(|item| item.at.why.clone()),
        count: items.len(),
        statuses,
        runs: runs.len(),
        tools: items.iter().map(|item| item.at.tool.clone()).collect(),
        last: items
            .iter()
            .map(|item| item.last_at)
            .max()
            .unwrap_or_default(),
        examples: items
            .iter()
            .take(EXAMPLES_MAX)
            .map(|item| Example {
                no: item.no,
                run_id: item.run.clone(),
                tool: item.at.tool.clone(),
                item: item.at.item.clone(),
                status: item.at.status.clone(),
                evidence: item.at.evidence.clone(),
            })
            .collect(),
    }
}

fn row(group: &Group, by: By, now: UnixMs) -> Vec<String> {
    let statuses = group.statuses.iter();
    let statuses: Vec<_> = statuses
        .map(|(status, count)| format!("{count} {}", status.replace('_', " ")))
        .collect();
    let mut examples: Vec<_> = group.examples.iter().map(|it| it.item.clone()).collect();
    if group.count > examples.len() {
        examples.push("…".into());
    }
    let mut items = examples.join(", ");
    if let (By::Reason, Some(why)) = (by, &group.why) {
        items = format!("{items}: {why}");
    }
    vec![
        group.count.to_string(),
        group.key.clone(),
        statuses.join(", "),
        group.runs.to_string(),
        format!("{} ago", ago(now.since(group.last))),
        items,
    ]
}
