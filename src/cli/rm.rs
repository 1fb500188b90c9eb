//! `agentguard rm`

use std::collections::BTreeSet;

use clap::Args;

use super::error::{Failure, Kind};
use super::look::{self, Seen, seen::has_ended};
use super::{Global, Result, open};
use crate::exit_code;
use crate::process::{Mark, sweep_marked};
use crate::store::{Collected, KeyRow, RunRecord, Store};

/// Remove runs: their events, conversations and files
///
/// A run that is alive is not removed (see `agentguard stop`), and one with a
/// call in doubt only with --force. What a crashed run left running is ended
/// first. The keys of calls that were executed stay, because a side effect
/// outlives its run.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RmArgs {
    /// The runs: ids, starts of ids, or `latest`
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<String>,

    /// Also remove a run with calls in doubt: their keys are free afterwards,
    /// and the same action may be done a second time
    #[arg(long, short)]
    force: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard rm r-7f3a
  agentguard rm $(agentguard runs --status failed --json | jq -r '.runs[].run_id')";

/// Removes runs. All are looked at before the first one goes.
pub fn main(global: &Global, args: RmArgs) -> Result {
    let mut doomed = Vec::new();
    let mut known = BTreeSet::new();
    for asked in &args.runs {
        let (store, record) = look::find(global, asked)?;
        if known.insert(record.new.run.clone()) {
            let claims = removable(store.as_ref(), &record, args.force)?;
            doomed.push((store, record, claims));
        }
    }
    for (store, record, claims) in doomed {
        let collected = remove(store.as_ref(), &record, &claims)?;
        look::print(&format!(
            "removed {} ({})\n",
            record.new.run,
            amounts(&collected)
        ))?;
    }
    Ok(exit_code::DONE)
}

/// Refuses a run that is alive or in doubt; returns the keys it has claimed.
fn removable(
    store: &dyn Store,
    record: &RunRecord,
    force: bool,
) -> std::result::Result<Vec<KeyRow>, Failure> {
    let seen = Seen::look(store, record.clone())?;
    let run = seen.run();
    if let Some(holder) = seen.holder.clone() {
        return Err(crate::store::Error::Held {
            run: run.clone(),
            pid: holder.pid,
            since: holder.since,
            host: None,
        }
        .into());
    }
    let claims = store.claims(run)?;
    if claims.is_empty() || force {
        return Ok(claims);
    }
    let calls: Vec<_> = claims
        .iter()
        .map(|row| format!("call {} of `{}`", row.key_use.call, row.key_use.tool))
        .collect();
    Err(Failure::new(
        Kind::Usage,
        format!("run {run} is not removed: {} in doubt", calls.join(", ")),
    )
    .hint(format!("settle it: agentguard settle {run}"))
    .hint("or remove it with --force; the same action may then be done a second time"))
}

fn remove(
    store: &dyn Store,
    record: &RunRecord,
    claims: &[KeyRow],
) -> std::result::Result<Collected, Failure> {
    let run = &record.new.run;
    if !has_ended(record) {
        // Held meanwhile, so that nobody resumes what is being ended.
        let own = store.own(run, open::clock().now())?;
        end_leftovers(&Mark::run(run.clone()))?;
        drop(own);
    }
    super::diff::discard(store, run)?;
    let collected = store.remove(run)?;
    for row in claims {
        store.forget_key(&row.key_use.key).wait()?;
    }
    Ok(collected)
}

/// Ends what a dead supervisor left running, without grace: its run goes.
fn end_leftovers(mark: &Mark) -> std::result::Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Kind::Environment, &error))?
        .block_on(sweep_marked(mark, 0));
    Ok(())
}

/// Writes what was removed: `3 files, 12 messages`.
pub fn amounts(collected: &Collected) -> String {
    let mut parts = vec![
        look::counted(collected.files, "file"),
        look::counted(collected.messages, "message"),
    ];
    if collected.keys > 0 {
        parts.push(look::counted(collected.keys, "key"));
    }
    parts.join(", ")
}
