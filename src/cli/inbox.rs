//! `agentguard inbox`

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::error::{Failure, Kind};
use super::{Global, Result, look, open};
use crate::clock::UnixMs;
use crate::exit_code;
use crate::human::inbox::Entry;
use crate::machine::escalation::Source;
use crate::observe::plain;
use crate::observe::question::View;
use crate::store::{self, Store};

/// List what runs ask humans, over all runs
///
/// The oldest question first: how long it waits, until when there is time, and
/// what stands if nobody answers. `agentguard answer` decides.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct InboxArgs {
    #[command(subcommand)]
    command: Option<InboxCommand>,

    /// Also those that are decided
    #[arg(long, short)]
    all: bool,

    /// Only those of this run: its id, the start of its id, or `latest`
    #[arg(long, value_name = "RUN")]
    run: Option<String>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum InboxCommand {
    /// Show one question in full
    #[command(after_help = "Examples:\n  agentguard inbox show e-7f3a")]
    Show(ShowQuestionArgs),
}

/// Which question.
#[derive(Debug, Args)]
struct ShowQuestionArgs {
    /// The question: its number or the start of it
    #[arg(value_name = "ID")]
    id: String,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard inbox
  agentguard inbox show e-7f3a
  agentguard inbox --json | jq -r '.escalations[].id'";

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    v: u64,
    escalations: Vec<View<'a>>,
}

/// Lists or shows.
pub fn main(global: &Global, args: InboxArgs) -> Result {
    if let Some(InboxCommand::Show(asked)) = args.command {
        return show(global, &asked);
    }
    let now = open::clock().now();
    let Some(store) = look::journal(global)? else {
        return list(&[], now, args.all, args.json);
    };
    let run = match &args.run {
        Some(asked) => Some(store.find(asked)?.new.run),
        None => None,
    };
    let rows = store.questions(run.as_ref(), "", !args.all)?;
    let entries: Vec<Entry> = rows
        .into_iter()
        .filter_map(|row| Entry::read(row).ok())
        .collect();
    list(&entries, now, args.all, args.json)
}

/// Finds the one question that `asked` names.
pub fn find(store: &dyn Store, asked: &str) -> std::result::Result<Entry, Failure> {
    /// How many are named when several match.
    const NAMED_MAX: usize = 5;

    let nothing = || store::Error::NoSuchQuestion {
        asked: asked.chars().take(80).collect(),
    };
    let short = asked.strip_prefix("e-").unwrap_or(asked);
    if short.is_empty() {
        return Err(nothing().into());
    }
    let mut rows = store.questions(None, &format!("e-{short}"), false)?;
    match rows.len() {
        0 => Err(nothing().into()),
        1 => Entry::read(rows.remove(0)).map_err(|error| {
            Failure::from_error(Kind::Environment, &error)
                .within(format!("question {asked} cannot be read"))
        }),
        count => {
            let names: Vec<_> = rows
                .iter()
                .take(NAMED_MAX)
                .map(|row| row.question.id.to_string())
                .collect();
            Err(
                Failure::usage(format!("`{asked}` could be any of {count} questions"))
                    .hint(format!("give more characters: {}", names.join(", "))),
            )
        }
    }
}

fn list(entries: &[Entry], now: UnixMs, all: bool, json: bool) -> Result {
    if json {
        look::print_json(&Document {
            v: look::JSON_VERSION,
            escalations: entries.iter().map(|entry| entry.view(now)).collect(),
        })?;
        return Ok(exit_code::DONE);
    }
    if entries.is_empty() {
        look::say(match all {
            true => "nothing was ever asked",
            false => "nothing waits for an answer",
        });
        return Ok(exit_code::DONE);
    }
    let rows: Vec<_> = entries.iter().map(|entry| cells(entry, now)).collect();
    let heads = ["ID", "RUN", "KIND", "AGE", "STATUS", "DEFAULT", "QUESTION"];
    look::print(&look::table::table(&heads, &rows, look::columns()))?;
    if entries.iter().any(|entry| entry.ruling.is_none()) {
        look::say("to read one: agentguard inbox show ID; to answer: agentguard answer ID");
    }
    Ok(exit_code::DONE)
}

fn cells(entry: &Entry, now: UnixMs) -> Vec<String> {
    let ask = &entry.what.ask;
    vec![
        entry.what.id.to_string(),
        entry.run.to_string(),
        ask.kind.as_str().to_owned(),
        open::duration(now.since(entry.what.opened_at)),
        status(entry, now),
        ask.default.clone().unwrap_or_else(|| "-".into()),
        ask.question.clone(),
    ]
}

/// `12m left`, `overdue`, `approve (anna)`.
fn status(entry: &Entry, now: UnixMs) -> String {
    match (&entry.ruling, entry.what.deadline) {
        (Some(ruling), _) => match ruling.source {
            Source::Withdrawn => "withdrawn".into(),
            Source::Deadline => format!("{} (deadline)", ruling.option),
            _ => format!("{} ({})", ruling.option, ruling.by),
        },
        (None, _) if entry.is_overdue(now) => "overdue".into(),
        (None, Some(deadline)) => format!("{} left", open::duration(deadline.since(now))),
        (None, None) => "open".into(),
    }
}

fn show(global: &Global, asked: &ShowQuestionArgs) -> Result {
    let store = open::store(global)?;
    let entry = find(store.as_ref(), &asked.id)?;
    let now = open::clock().now();
    if asked.json {
        look::print_json(&entry.view(now))?;
    } else {
        look::print(&page(&entry, now))?;
    }
    Ok(exit_code::DONE)
}

/// Returns a question in full, for people.
pub fn page(entry: &Entry, now: UnixMs) -> String {
    let (what, ask) = (&entry.what, &entry.what.ask);
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            // A String takes every write.
            let _ = writeln!(text, "{name:<15}{}", plain::line(value));
        }
    };
    line("question", &ask.question);
    line("id", what.id.as_str());
    line("run", entry.run.as_str());
    line("kind", ask.kind.as_str());
    line("evidence", &ask.evidence);
    line(
        "recommended",
        ask.recommendation.as_deref().unwrap_or_default(),
    );
    line("decision", &ask.decision);
    for choice in &ask.options {
        let is_default = ask.default.as_ref() == Some(&choice.id);
        let mark = if is_default { " (default)" } else { "" };
        line("option", &format!("{}: {}{mark}", choice.id, choice.label));
    }
    let reversible = match ask.reversible {
        true => "can be taken back",
        false => "cannot be taken back",
    };
    line("reversible", reversible);
    line(
        "at stake",
        &ask.cost
            .map_or_else(String::new, |cost| format!("{cost} USD")),
    );
    line(
        "confidence",
        &ask.confidence.map_or_else(String::new, |it| it.to_string()),
    );
    line("asked", &open::instant(what.opened_at));
    if let Some(deadline) = what.deadline {
        line("deadline", &open::instant(deadline));
    }
    if let Some(seen) = &entry.seen {
        line(
            "seen",
            &format!("{} by {}", open::instant(seen.at), seen.by),
        );
    }
    line("status", &status(entry, now));
    if let Some(ruling) = &entry.ruling {
        line(
            "decided",
            &format!("{} by {}", open::instant(ruling.at), ruling.by),
        );
        line("note", ruling.note.as_deref().unwrap_or_default());
    } else {
        let options: Vec<&str> = ask.options.iter().map(|it| it.id.as_str()).collect();
        let command = format!(
            "agentguard answer {} --choose {}",
            what.id,
            options.join("|")
        );
        line("to answer", &command);
    }
    text
}
