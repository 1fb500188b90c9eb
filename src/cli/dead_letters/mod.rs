//! `agentguard dead-letters`
//!
//! - `select`: which letters are meant; `list`: how they look; `retry`: doing them again.

mod list;
mod retry;
mod select;

use std::io::{IsTerminal as _, Write as _};

use clap::{Args, Subcommand};

use super::error::Failure;
use super::runs::{Since, since};
use super::{Global, Result, look};
use crate::exit_code;
use select::{Letter, letters, named};

/// Items and runs that failed for good: look, try again, take off the list
///
/// An item is named `i17`, as the list shows it, or by its own id where only one has it;
/// a run by its id.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard dead-letters list --since 1h
  agentguard dead-letters show i17
  agentguard dead-letters retry i17 i18
  agentguard dead-letters retry --all --reason words.semantic --dry-run
  agentguard dlq drop --all --run r-7f3a --yes")]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(ListArgs),
    Show(ShowArgs),
    Retry(RetryArgs),
    Drop(DropArgs),
}

/// List dead letters, the latest first
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    which: Which,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Show one dead letter: why it failed, its arguments, and what can be done
#[derive(Debug, Args)]
struct ShowArgs {
    /// An item such as `i17`, or a run
    #[arg(value_name = "ID")]
    id: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Try dead letters again
///
/// An item's tool is run again under its run's own task, with the same key, so that
/// what was done meanwhile is not done twice; what comes of it is in the run's journal.
/// A run is resumed. A run that a process holds is refused; the others are tried.
///
/// Exit code 0: all went well; 1: some did not.
#[derive(Debug, Args)]
struct RetryArgs {
    #[command(flatten)]
    some: Some,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Take dead letters off the list
///
/// Nothing else changes: the run and its journal stay. A letter that fails again is on
/// the list again.
#[derive(Debug, Args)]
struct DropArgs {
    #[command(flatten)]
    some: Some,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Which letters, by their marks.
#[derive(Clone, Debug, Default, Args)]
struct Which {
    /// Only those that failed of this rule or class
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only items of this tool
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Only those of this task
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Only this run and its items
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Only what failed since then: a span (`1h`), a day, or an instant
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Since>,
    /// Only items
    #[arg(long, conflicts_with_all = ["runs", "tool"])]
    items: bool,
    /// Only runs
    #[arg(long)]
    runs: bool,
    /// Also items that are queued and wait for a batch to take them up
    #[arg(long)]
    queued: bool,
}

/// Which letters to do something with.
#[derive(Debug, Args)]
struct Some {
    /// Items such as `i17` or by their own ids, or runs
    #[arg(
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    ids: Vec<String>,
    /// All that the filters let through
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// Say what would be done, and do nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// Lists, shows, retries or drops.
pub fn main(global: &Global, args: DeadLettersArgs) -> Result {
    match args.what {
        What::List(args) => {
            let found = match look::journal(global)? {
                Some(store) => letters(store.as_ref(), &args.which)?,
                None => vec![],
            };
            list::list(&found, args.json)
        }
        What::Show(args) => {
            let store = journal(global)?;
            let letter = named(store.as_ref(), &args.id)?;
            list::show(store.as_ref(), &letter, args.json)
        }
        What::Retry(args) => {
            let (store, chosen) = choose(global, &args.some)?;
            if args.some.dry_run {
                return said("would try again", &chosen, args.json);
            }
            retry::retry(global, store, &chosen, args.json)
        }
        What::Drop(args) => {
            let (store, chosen) = choose(global, &args.some)?;
            if args.some.dry_run {
                return said("would drop", &chosen, args.json);
            }
            if !args.yes && !agreed(&chosen)? {
                look::say("nothing dropped");
                return Ok(exit_code::AGENT_FAILED);
            }
            for letter in &chosen {
                match letter {
                    Letter::Item(item) => drop(store.drop_items(&[item.no]).wait()?),
                    Letter::Run(run) => drop(store.drop_run(run.seen.run()).wait()?),
                }
            }
            said("dropped", &chosen, args.json)
        }
    }
}

type Store = std::sync::Arc<dyn crate::store::Store>;

fn journal(global: &Global) -> std::result::Result<Store, Failure> {
    look::journal(global)?.ok_or_else(|| Failure::usage("there are no runs, so no dead letters"))
}

fn choose(global: &Global, some: &Some) -> std::result::Result<(Store, Vec<Letter>), Failure> {
    let store = journal(global)?;
    let chosen = if some.all {
        letters(store.as_ref(), &some.which)?
    } else {
        let ids = some.ids.iter();
        ids.map(|id| named(store.as_ref(), id))
            .collect::<std::result::Result<_, _>>()?
    };
    Ok((store, chosen))
}

/// Asks on a terminal; elsewhere `--yes` has to say it.
fn agreed(chosen: &[Letter]) -> std::result::Result<bool, Failure> {
    if chosen.is_empty() {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(
            Failure::usage("dropping asks first, and there is no terminal to ask on")
                .hint("say --yes, or look first with --dry-run"),
        );
    }
    let count = look::counted(chosen.len() as u64, "dead letter");
    let mut err = std::io::stderr();
    let _ = write!(err, "drop {count}? [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Says what was done, or would be.
fn said(what: &str, chosen: &[Letter], json: bool) -> Result {
    if json {
        let ids: Vec<String> = chosen.iter().map(Letter::id).collect();
        look::print_json(&serde_json::json!({
            "v": look::JSON_VERSION, "what": what, "ids": ids,
        }))?;
    } else if chosen.is_empty() {
        look::say("no dead letters");
    } else {
        let lines = chosen
            .iter()
            .map(|letter| format!("{what} {}\n", letter.text()));
        look::print(&lines.collect::<String>())?;
    }
    Ok(exit_code::DONE)
}
