//! `agentguard gc`

use clap::Args;

use super::error::Failure;
use super::look::{self, Seen, seen::has_ended};
use super::rm::amounts;
use super::{Global, Result, open};
use crate::clock::UnixMs;
use crate::exit_code;
use crate::ids::RunId;
use crate::staging::stage;
use crate::store::{self, Collected, Filter, GcRules, RunRecord, Store};
use crate::task::units;

/// Remove old runs, and whatever nothing refers to any more
///
/// Without a rule no run goes, only leftovers: messages that no run needs,
/// files of runs that never came to be. With rules an ended run goes when one
/// of them says so. Runs that are alive, that crashed, or that have a call in
/// doubt always stay.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct GcArgs {
    /// Remove runs that ended longer ago than this
    #[arg(long, value_name = "AGE")]
    older_than: Option<units::Duration>,

    /// Keep only the latest so many ended runs
    #[arg(long, value_name = "N")]
    keep: Option<u32>,

    /// Forget the keys of calls that were executed longer ago than this; the
    /// same call would then be executed again
    #[arg(long, value_name = "AGE")]
    keys_older_than: Option<units::Duration>,

    /// Remove the stages (`workspace.stage`) of runs that nobody works on and that
    /// were last heard of longer ago than this; such a run, resumed, begins with a
    /// new one
    #[arg(long, value_name = "AGE")]
    stages_older_than: Option<units::Duration>,

    /// Say which runs would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard gc --older-than 30d
  agentguard gc --keep 100 --dry-run
  agentguard gc --older-than 90d --keys-older-than 365d";

/// Removes what may go.
pub fn main(global: &Global, args: GcArgs) -> Result {
    let Some(store) = look::journal(global)? else {
        look::say("there is no journal, so nothing to remove");
        return Ok(exit_code::DONE);
    };
    let now = open::clock().now();
    let before = |age: units::Duration| UnixMs(now.0.saturating_sub_unsigned(age.0));
    let rules = GcRules {
        ended_before: args.older_than.map(before),
        keep: args.keep,
        keys_before: args.keys_older_than.map(before),
    };
    let (doomed, spared) = doomed(store.as_ref(), &rules)?;
    for record in &spared {
        let run = &record.new.run;
        look::say(&format!(
            "run {run} stays: a call is in doubt (agentguard settle {run})"
        ));
    }
    let stages = match args.stages_older_than {
        Some(age) => old_stages(store.as_ref(), before(age))?,
        None => vec![],
    };
    if args.dry_run {
        for run in &stages {
            look::print(&format!("would remove the stage of {run}\n"))?;
        }
        for record in &doomed {
            look::print(&format!("would remove {}\n", record.new.run))?;
        }
        look::say(&format!(
            "{} would go",
            look::counted(doomed.len() as u64, "run")
        ));
        return Ok(exit_code::DONE);
    }
    for run in &stages {
        super::diff::discard(store.as_ref(), run)?;
        look::print(&format!("removed the stage of {run}\n"))?;
    }
    for record in &doomed {
        super::diff::discard(store.as_ref(), &record.new.run)?;
    }
    let collected = collect(store.as_ref(), &doomed, &spared, rules)?;
    for run in &collected.runs {
        look::print(&format!("removed {run}\n"))?;
    }
    look::say(&format!(
        "removed {}, {}",
        look::counted(collected.runs.len() as u64, "run"),
        amounts(&collected)
    ));
    Ok(exit_code::DONE)
}

/// Returns the runs that go by `rules`, and those that would but have a call in
/// doubt: without its run nobody could settle it any more.
fn doomed(store: &dyn Store, rules: &GcRules) -> store::Result<(Vec<RunRecord>, Vec<RunRecord>)> {
    let mut ended: Vec<_> = store
        .runs(&Filter::default())?
        .into_iter()
        .filter_map(|record| record.summary.ended.map(|ended| (ended, record)))
        .collect();
    ended.sort_by_key(|(ended, _)| std::cmp::Reverse(*ended));
    let (mut doomed, mut spared) = (vec![], vec![]);
    for (newer, (ended, record)) in ended.into_iter().enumerate() {
        let goes = rules.ended_before.is_some_and(|before| ended < before)
            || rules.keep.is_some_and(|keep| newer >= keep as usize);
        if !goes || !has_ended(&record) {
            continue;
        }
        let seen = Seen::look(store, record)?;
        if seen.holder.is_some() {
            continue;
        }
        if store.claims(seen.run())?.is_empty() {
            doomed.push(seen.record);
        } else {
            spared.push(seen.record);
        }
    }
    Ok((doomed, spared))
}

/// Returns the runs with a stage that nobody has worked in since `before`.
fn old_stages(store: &dyn Store, before: UnixMs) -> std::result::Result<Vec<RunId>, Failure> {
    let mut found = Vec::new();
    for record in store.runs(&Filter::default())? {
        let run = record.new.run.clone();
        let has_stage = stage::is_recorded(&store.paths().run(&run));
        if !has_stage || Seen::look(store, record)?.holder.is_some() {
            continue;
        }
        let last = store
            .events(&run, crate::ids::Seq(1))?
            .last()
            .map(|event| event.at);
        if last.is_none_or(|last| last < before) {
            found.push(run);
        }
    }
    Ok(found)
}

fn collect(
    store: &dyn Store,
    doomed: &[RunRecord],
    spared: &[RunRecord],
    rules: GcRules,
) -> store::Result<Collected> {
    if spared.is_empty() {
        return store.gc(&rules);
    }
    // The store knows no exceptions, so those that go are named one by one.
    let mut sum = Collected::default();
    for record in doomed {
        match store.remove(&record.new.run) {
            Ok(collected) => add(&mut sum, collected),
            // Resumed, or removed by another, since it was looked at.
            Err(store::Error::Held { .. } | store::Error::NoSuchRun { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    add(
        &mut sum,
        store.gc(&GcRules {
            keys_before: rules.keys_before,
            ..GcRules::default()
        })?,
    );
    Ok(sum)
}

fn add(sum: &mut Collected, more: Collected) {
    sum.runs.extend(more.runs);
    sum.messages += more.messages;
    sum.keys += more.keys;
    sum.files += more.files;
}
