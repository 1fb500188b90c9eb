//! `agentguard init`

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};

use super::error::{Failure, Kind};
use super::{Global, Result, jsonl};
use crate::exit_code;
use crate::task::{init, preset};

/// Write a commented task file to begin with
///
/// Prints it, or writes it where -o says; a file that is there already is kept
/// unless --force is given. Every kind passes `agentguard check` without errors.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard init --list
  agentguard init shell > task.yaml
  agentguard init --agent claude-code -o task.yaml
  agentguard init openai-sdk -o task.yaml")]
pub struct InitArgs {
    /// The kind of agent
    #[arg(value_name = "KIND", default_value = init::KINDS[0].name, value_parser = kinds())]
    kind: String,
    /// An agent that agentguard knows, instead of a kind
    #[arg(long, value_name = "NAME", conflicts_with = "kind", value_parser = agents())]
    agent: Option<String>,
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the file if it is there
    #[arg(long, requires = "output")]
    force: bool,
    /// List the kinds, and write nothing
    #[arg(long, conflicts_with_all = ["output", "force"])]
    list: bool,
}

/// Runs it.
pub fn main(_: &Global, args: InitArgs) -> Result {
    if args.list {
        let kinds = init::KINDS.iter();
        let kinds = kinds.map(|kind| format!("{:<22} {}\n", kind.name, kind.title));
        let agents = preset::PRESETS.iter();
        let agents = agents.map(|it| format!("--agent {:<14} {}\n", it.name, it.title));
        jsonl::print(&kinds.chain(agents).collect::<String>())?;
        return Ok(exit_code::DONE);
    }
    // The parser has let nothing else through.
    let unknown = |name: &str| Failure::usage(format!("there is no kind `{name}`"));
    let text = match &args.agent {
        Some(name) => init::agent(preset::by_name(name).ok_or_else(|| unknown(name))?),
        None => {
            let kind = init::find(&args.kind).map_err(|_| unknown(&args.kind))?;
            kind.text.to_owned()
        }
    };
    match &args.output {
        Some(file) => {
            write(file, &text, args.force)?;
            let shown = file.display();
            // Nobody is left to be told when stderr is closed.
            let _ = writeln!(
                std::io::stderr(),
                "wrote {shown}; next: agentguard check {shown}"
            );
        }
        None => jsonl::print(&text)?,
    }
    Ok(exit_code::DONE)
}

fn agents() -> PossibleValuesParser {
    let agents = preset::PRESETS.iter();
    PossibleValuesParser::new(agents.map(|it| PossibleValue::new(it.name).help(it.title)))
}

fn kinds() -> PossibleValuesParser {
    let kinds = init::KINDS.iter();
    PossibleValuesParser::new(kinds.map(|kind| PossibleValue::new(kind.name).help(kind.title)))
}

fn write(file: &Path, text: &str, force: bool) -> std::result::Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let shown = file.display();
        if error.kind() == ErrorKind::AlreadyExists {
            return Failure::usage(format!("`{shown}` is there already; it was not changed"))
                .hint("give --force to overwrite it, or another file to -o");
        }
        Failure::from_error(Kind::Usage, &error).within(format!("cannot write `{shown}`"))
    })
}
