//! `agentguard rollback`

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::error::Failure;
use super::look::{self, Seen, doubt};
use super::supervise::{self, Patience, Show};
use super::{Global, Result};
use crate::driver::host::{self, RolledBack};
use crate::driver::policy::policy;
use crate::driver::recover::{self, Ready};
use crate::exit_code;
use crate::ids::{CallId, EscalationId, RunId};
use crate::machine::event::FileCounts;
use crate::machine::{Saga, SagaEntry, State, Undo};
use crate::observe::plain;
use crate::store;

/// Take back what a run did
///
/// The undo of each write that happened is run, the last call first. Each is durable
/// before it runs and is made once; a rollback that is cut off goes on where it was
/// when it is asked for again. A call whose tool declares no `undo`, or whose undo
/// fails for good, is listed and put before a human (`agentguard inbox`), and the exit
/// code is 27. An undo that may or may not have happened stops the rollback until somebody
/// has looked (`agentguard answer`, or `settle`).
///
/// What is undone may be done again: the agent is told so when the run is resumed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RollbackArgs {
    /// The run: its id, the start of its id, or `latest`
    #[arg(value_name = "RUN")]
    run: String,

    /// Only say what would be undone
    #[arg(long)]
    dry_run: bool,

    /// Do not ask first
    #[arg(long, short)]
    yes: bool,

    /// Print what became of it as one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard rollback latest --dry-run
  agentguard rollback r-7f3a --yes
  agentguard rollback r-7f3a --yes --json | jq '.calls[] | select(.stands != \"undone\")'";

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    v: u64,
    run_id: &'a RunId,
    dry_run: bool,
    /// Every write that happened, in the order in which they are undone.
    calls: Vec<Row<'a>>,
    /// Calls that the agent made without a guarded tool, by tool: not covered.
    not_covered: &'a BTreeMap<String, u64>,
    /// The folder into which the run committed files: they stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    committed: Option<&'a str>,
    /// A call that has to be settled first.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_doubt: Option<CallId>,
    /// The question to a human about what is not undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    escalation: Option<&'a EscalationId>,
}

#[derive(Serialize)]
struct Row<'a> {
    call: CallId,
    tool: &'a str,
    args: &'a Value,
    stands: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

/// Rolls back, or says what that would do.
pub fn main(global: &Global, args: RollbackArgs) -> Result {
    let (store, record) = look::find(global, &args.run)?;
    let seen = Seen::look(store.as_ref(), record)?;
    if let Some(holder) = seen.holder {
        return Err(store::Error::Held {
            run: seen.record.new.run,
            pid: holder.pid,
            since: holder.since,
            host: None,
        }
        .into());
    }
    let rules = policy(&seen.setup()?.task);
    let state = recover::state(store.as_ref(), seen.run(), &rules)
        .map_err(|error| look::unreadable(&error))?;
    let state = doubt::closed(state, &rules);
    let open = state.in_doubt.first_key_value().map(|(call, _)| *call);
    let committed = committed(&state);
    if args.dry_run {
        show(
            seen.run(),
            &state.saga,
            committed.as_deref(),
            open,
            None,
            &args,
        )?;
        return Ok(match (open, is_clean(&state.saga)) {
            (Some(_), _) => exit_code::IN_DOUBT,
            (None, true) => exit_code::DONE,
            (None, false) => exit_code::NOT_UNDONE,
        });
    }
    let due = state
        .saga
        .entries
        .iter()
        .filter(|entry| is_due(entry))
        .count() as u64;
    if !args.yes && due > 0 && !agreed(seen.run(), due)? {
        look::say("nothing was undone");
        return Ok(exit_code::USAGE);
    }
    let quiet = Show::quiet(args.json);
    let (done, _) =
        supervise::hosted(global, &quiet, &Patience::detached(), store, async |host| {
            host::roll_back(host, &args.run).await
        })?;
    let open = match &done.doubt {
        Some(Ready::InDoubt { call, .. }) => Some(*call),
        _ => None,
    };
    let question = done.question.as_ref();
    show(
        &done.run,
        &done.saga,
        committed.as_deref(),
        open,
        question,
        &args,
    )?;
    Ok(last_words(&done, open))
}

fn last_words(done: &RolledBack, open: Option<CallId>) -> u8 {
    let run = &done.run;
    let is_in_doubt = |entry: &&SagaEntry| matches!(entry.undo, Undo::InDoubt { .. });
    let undo = done.saga.entries.iter().find(is_in_doubt);
    if let Some(call) = open.or(undo.map(|entry| entry.call)) {
        let what = if open.is_some() {
            "call"
        } else {
            "the undo of call"
        };
        look::say(&format!(
            "{what} {call} may or may not have happened; look whether it did, then: agentguard \
             settle {run} {call} --happened (or --not-happened), then: agentguard rollback {run}"
        ));
        return exit_code::IN_DOUBT;
    }
    if !done.is_through {
        look::say(&format!(
            "it was stopped; to go on: agentguard rollback {run}"
        ));
        return exit_code::INTERRUPTED;
    }
    match is_clean(&done.saga) {
        true => exit_code::DONE,
        false => exit_code::NOT_UNDONE,
    }
}

/// Whether an undo is still to be run.
fn is_due(entry: &SagaEntry) -> bool {
    !matches!(entry.undo, Undo::Missing | Undo::Undone)
}

/// Whether nothing is left that cannot be undone.
fn is_clean(saga: &Saga) -> bool {
    let stuck = |undo: &Undo| {
        matches!(
            undo,
            Undo::Missing | Undo::Failed { .. } | Undo::InDoubt { .. }
        )
    };
    !saga.entries.iter().any(|entry| stuck(&entry.undo))
}

/// Asks whether to go on.
fn agreed(run: &RunId, due: u64) -> std::result::Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{} of run {run} would be undone, and nobody is here to be asked",
            look::counted(due, "call")
        ))
        .hint("add `--yes`, or look first with `--dry-run`"));
    }
    let mut err = std::io::stderr();
    let _ = write!(
        err,
        "undo {} of run {run}? [y/N] ",
        look::counted(due, "call")
    );
    let _ = err.flush();
    let mut answer = String::new();
    // Whoever cannot answer has not agreed.
    let _ = std::io::stdin().read_line(&mut answer);
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn show(
    run: &RunId,
    saga: &Saga,
    committed: Option<&str>,
    open: Option<CallId>,
    question: Option<&EscalationId>,
    args: &RollbackArgs,
) -> std::result::Result<(), Failure> {
    let rows: Vec<Row<'_>> = saga.entries.iter().rev().map(row).collect();
    if args.json {
        return look::print_json(&Document {
            v: look::JSON_VERSION,
            run_id: run,
            dry_run: args.dry_run,
            calls: rows,
            not_covered: &saga.uncovered,
            committed,
            in_doubt: open,
            escalation: question,
        });
    }
    if rows.is_empty() {
        look::say(&format!(
            "run {run} did nothing through a guarded tool that lasts"
        ));
    } else {
        let heads = ["CALL", "TOOL", "STANDS", "WHY", "ARGUMENTS"];
        let cells: Vec<_> = rows.iter().map(cells).collect();
        look::print(&look::table::table(&heads, &cells, look::columns()))?;
    }
    if !saga.uncovered.is_empty() {
        let names = saga.uncovered.iter();
        let names: Vec<String> = names
            .map(|(tool, times)| format!("{} × {times}", plain::excerpt(tool, 60)))
            .collect();
        look::say(&format!(
            "not covered, since no guarded tool did it: {}",
            names.join(", ")
        ));
    }
    if let Some(folder) = committed {
        look::say(&format!(
            "not covered: what the run committed into {folder} stays; there, \
             `agentguard diff {run} | git apply -R` takes it back"
        ));
    }
    if let Some(question) = question {
        look::say(&format!(
            "a human is asked about what is not undone: agentguard inbox show {question}"
        ));
    }
    Ok(())
}

/// Returns the folder that files of the run were committed into.
fn committed(state: &State) -> Option<String> {
    let (counts, folder) = state.workspace.committed.as_ref()?;
    (*counts != FileCounts::default()).then(|| folder.clone())
}

fn row(entry: &SagaEntry) -> Row<'_> {
    let (stands, why) = match &entry.undo {
        Undo::Missing => ("no_undo", None),
        Undo::Due | Undo::Waiting { .. } | Undo::UnderWay { .. } => ("to_undo", None),
        Undo::InDoubt { why } => ("in_doubt", Some(why.as_str())),
        Undo::Failed { why } => ("not_undone", Some(why.as_str())),
        Undo::Undone => ("undone", None),
    };
    Row {
        call: entry.call,
        tool: &entry.tool,
        args: &entry.args,
        stands,
        why,
    }
}

fn cells(row: &Row<'_>) -> Vec<String> {
    vec![
        row.call.to_string(),
        row.tool.to_owned(),
        row.stands.replace('_', " "),
        plain::excerpt(row.why.unwrap_or_default(), 80),
        plain::excerpt(&row.args.to_string(), 120),
    ]
}
