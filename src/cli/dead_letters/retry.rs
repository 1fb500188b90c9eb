//! Dead letters, tried again.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Store;
use super::select::Letter;
use crate::cli::error::{Failure, Kind};
use crate::cli::supervise::{self, Patience, Show};
use crate::cli::{Global, Result, look};
use crate::driver::by_hand::{self, Redone};
use crate::driver::host::{self, GoOn};
use crate::exit_code;
use crate::ids::RunId;
use crate::machine::batch::{Item, Progress, Status};
use crate::observe::plain;
use crate::store::StoredItem;

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    v: u64,
    letters: Vec<Row>,
}

/// The status of a letter whose run could not be taken over.
const REFUSED: &str = "refused";

#[derive(Serialize)]
struct Row {
    id: String,
    /// Of an item; of a run, as `runs` names it after the retry.
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    content: String,
}

/// Tries letters again: the items of each run and tool together, then the runs.
pub fn retry(global: &Global, store: Store, chosen: &[Letter], json: bool) -> Result {
    let mut groups: BTreeMap<(RunId, String), Vec<&StoredItem>> = BTreeMap::new();
    let mut runs = Vec::new();
    for letter in chosen {
        match letter {
            Letter::Item(item) => groups
                .entry((item.run.clone(), item.at.tool.clone()))
                .or_default()
                .push(item),
            Letter::Run(run) => runs.push(run.seen.run().clone()),
        }
    }
    if chosen.is_empty() {
        look::say("no dead letters");
    }
    let is_alone = groups.len() + runs.len() == 1;
    let mut rows = Vec::new();
    let mut stopped = None;
    for ((run, tool), items) in groups {
        match redo(&store, &run, &tool, &items) {
            Ok(redone) => rows.extend(redone),
            Err(failure) if is_alone => return Err(failure),
            // Somebody stopped it: what was done by then is still said.
            Err(failure) if failure.is_of(Kind::Environment) => {
                stopped = Some(failure);
                break;
            }
            // Another run's trouble is no reason to leave the others.
            Err(failure) => rows.extend(items.iter().map(|item| refused(&item.no, &failure))),
        }
    }
    if !json {
        let lines = rows.iter().map(|row| {
            let said = if row.why.is_empty() {
                &row.content
            } else {
                &row.why
            };
            let said = plain::excerpt(said.trim(), 200);
            format!("{} {}: {said}\n", row.id, row.status.replace('_', " "))
        });
        look::print(&lines.collect::<String>())?;
    }
    let mut code = exit_code::DONE;
    if rows
        .iter()
        .any(|row| row.status != Status::Succeeded.as_str())
    {
        code = exit_code::AGENT_FAILED;
    }
    if rows
        .iter()
        .any(|row| row.status == Status::InDoubt.as_str())
    {
        code = exit_code::IN_DOUBT;
    }
    for run in runs.iter().filter(|_| stopped.is_none()) {
        let ended = match resume(global, &store, run) {
            Ok(ended) => ended,
            Err(failure) if is_alone => return Err(failure),
            Err(failure) => {
                let row = refused(run, &failure);
                look::say(&format!("{}: {}", row.id, row.why));
                rows.push(row);
                code = exit_code::AGENT_FAILED;
                continue;
            }
        };
        if code == exit_code::DONE {
            code = ended;
        }
        rows.push(Row {
            id: run.to_string(),
            status: store.find(run.as_str())?.summary.status,
            why: String::new(),
            content: String::new(),
        });
    }
    if json {
        look::print_json(&Document {
            v: look::JSON_VERSION,
            letters: rows,
        })?;
    }
    stopped.map_or(Ok(code), Err)
}

/// What became of a letter that could not even be tried.
fn refused(id: &impl ToString, failure: &Failure) -> Row {
    Row {
        id: id.to_string(),
        status: REFUSED.to_owned(),
        why: failure.message().to_owned(),
        content: String::new(),
    }
}

/// Goes on with a failed run.
fn resume(global: &Global, store: &Store, run: &RunId) -> Result {
    let patience = Patience::detached();
    supervise::supervise(
        global,
        &Show::nothing(),
        &patience,
        store.clone(),
        async |host| host::go_on(host, run.as_str(), &GoOn::default()).await,
    )
}

fn redo(
    store: &Store,
    run: &RunId,
    tool: &str,
    items: &[&StoredItem],
) -> std::result::Result<Vec<Row>, Failure> {
    let ids: Vec<String> = items.iter().map(|item| item.at.item.clone()).collect();
    let redone = supervise::with_host(store.clone(), async |host| {
        by_hand::redo(host, run, tool, &ids).await
    })?;
    let answer = match redone {
        Redone::Ended(answer) => answer,
        Redone::InDoubt(calls) => {
            return Err(Failure::new(
                Kind::Usage,
                format!(
                    "run {run} has {} in doubt",
                    look::counted(calls as u64, "call")
                ),
            )
            .hint(format!("settle it first: agentguard settle {run}")));
        }
        Redone::NotEnded => {
            return Err(Failure::new(
                Kind::Usage,
                format!("run {run} was cut off in the middle of its end"),
            )
            .hint(format!("agentguard resume {run}")));
        }
        Redone::Stopped => {
            return Err(Failure::new(
                Kind::Environment,
                format!("stopped while items of run {run} were tried again"),
            )
            .hint(
                "what had been done is recorded; `agentguard dead-letters list` shows the rest",
            ));
        }
    };
    let of = |item: &&StoredItem| answer.items.iter().find(|it| it.id == item.at.item);
    Ok(items
        .iter()
        .filter_map(|item| Some(row(item, of(item)?)))
        .collect())
}

fn row(stored: &StoredItem, item: &Item) -> Row {
    let (status, why, content) = match &item.progress {
        Progress::Ended(end) => {
            let failed = end.status != Status::Succeeded;
            let why = if failed {
                format!(
                    "{} [{}] {}",
                    end.judged.why, end.judged.rule, end.judged.evidence
                )
            } else {
                String::new()
            };
            let content = match end.from_record {
                true => format!("done before, its record answers: {}", end.content.text),
                false => end.content.text.clone(),
            };
            (end.status.as_str(), why, content)
        }
        Progress::Waiting | Progress::Open => ("not_attempted", String::new(), String::new()),
    };
    Row {
        id: stored.no.to_string(),
        status: status.to_owned(),
        why,
        content,
    }
}
