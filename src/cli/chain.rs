//! `agentguard chain`

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::error::{Failure, Kind};
use super::{Global, Result, jsonl};
use crate::driver::policy::policy;
use crate::exit_code;
use crate::observe::plain::line as plain;
use crate::policy::degrade::{First, Level, Rests, TREE};

/// Show who answers model calls, and when a call moves on
///
/// With a task file: its chain, in the order in which links are asked. Then the
/// tree: what is seen of a failed call, what is done first, where the call goes,
/// and what is left alone for a while.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard chain
  agentguard chain task.yaml
  agentguard chain task.yaml --json")]
pub struct ChainArgs {
    /// The task file
    #[arg(value_name = "TASK")]
    task: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What `--json` prints; its fields are promised to stay.
#[derive(Serialize)]
struct Document<'a> {
    v: u64,
    chain: Vec<Link<'a>>,
    tree: Vec<Row>,
}

#[derive(Serialize)]
struct Link<'a> {
    name: &'a str,
    provider: &'a str,
    level: &'static str,
}

#[derive(Serialize)]
struct Row {
    signal: &'static str,
    first: &'static str,
    to: Option<&'static str>,
    rests: &'static str,
    why: &'static str,
}

/// Runs it.
pub fn main(global: &Global, args: ChainArgs) -> Result {
    let policy = match &args.task {
        Some(file) => Some(policy(&super::run::read(global, file)?.0)),
        None => None,
    };
    let links = policy
        .as_ref()
        .map_or(&[][..], |policy| &policy.models.chain);
    let chain = links.iter().map(|link| Link {
        name: &link.name,
        provider: &link.provider,
        level: link.level.name(),
    });
    let tree = TREE.iter().map(|row| Row {
        signal: row.signal.name(),
        first: first(row.first),
        to: row.to.map(Level::name),
        rests: rests(row.rests),
        why: row.sentence,
    });
    let document = Document {
        v: 1,
        chain: chain.collect(),
        tree: tree.collect(),
    };
    let text = match args.json {
        true => serde_json::to_string(&document)
            .map(|text| text + "\n")
            .map_err(|error| Failure::from_error(Kind::Environment, &error))?,
        false => page(&document),
    };
    jsonl::print(&text)?;
    Ok(exit_code::DONE)
}

fn page(document: &Document<'_>) -> String {
    // A String takes every write.
    let mut text = String::new();
    for (place, link) in document.chain.iter().enumerate() {
        let (name, provider) = (plain(link.name), plain(link.provider));
        let _ = writeln!(
            text,
            "{:>3}  {name:<28} {:<12} {provider}",
            place + 1,
            link.level
        );
    }
    if !document.chain.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "{:<13} {:<19} {:<12} {:<9} WHY",
        "SEEN", "FIRST", "THEN", "RESTS"
    );
    for row in &document.tree {
        let to = row.to.unwrap_or("-");
        let _ = writeln!(
            text,
            "{:<13} {:<19} {to:<12} {:<9} {}",
            row.signal, row.first, row.rests, row.why
        );
    }
    text
}

fn first(first: First) -> &'static str {
    match first {
        First::Retry => "retry",
        First::RetryOnce => "retry_once",
        First::Leave => "leave_or_retry",
        First::LeaveOrConclude => "leave_or_conclude",
        First::Conclude => "conclude",
    }
}

fn rests(rests: Rests) -> &'static str {
    match rests {
        Rests::Nothing => "-",
        Rests::Model => "model",
        Rests::Provider => "provider",
    }
}
