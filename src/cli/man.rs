//! `agentguard man`
//!
//! One page a command from the argument types, plus the front page. EXIT
//! STATUS, FILES and ENVIRONMENT are written here by hand; EXAMPLES are those
//! of `--help`. The pages stand in `man/`, so that a changed help text shows in
//! review; a test compares them (`tests/it/man.rs`).
//!
//! Two builds of one version write the same bytes: no date, no width of a terminal.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::error::{Failure, Kind};
use super::help::GROUPS;
use super::{Global, Result, jsonl};
use crate::exit_code;

/// Print a man page, or write them all
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard man run | man -l -
  agentguard man --out ~/.local/share/man/man1")]
pub struct ManArgs {
    /// The command; without one, the front page
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Option<String>,
    /// Write every page into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The name of its file, such as `agentguard-run.1`.
    pub file: String,
    /// Its text, in roff.
    pub text: String,
}

/// The end of a run by exit code stands on these pages as a whole.
const PAGES_WITH_EXIT_TABLE: [&str; 2] = ["run", "resume"];

const FILES: [(&str, &str); 4] = [
    (
        "$XDG_STATE_HOME/agentguard/, or ~/.local/state/agentguard/",
        "The state folder, for its user alone. It must be on a local disk. --state or \
         AGENTGUARD_STATE name another one.",
    ),
    (
        "<state>/journal.db",
        "The journal of all runs: every event, message and decision (SQLite).",
    ),
    (
        "<state>/runs/RUN/",
        "The files of one run: its input snapshot, what the agent and its tools wrote.",
    ),
    (
        "<state>/results/",
        "Results of tools that are too large for the journal.",
    ),
];

/// What agentguard reads, and what the agent finds in its environment.
const ENVIRONMENT: [(&str, &str); 10] = [
    (
        "AGENTGUARD_STATE",
        "The state folder; the same as --state. Set for the agent, so that its own agentguard \
         finds the same one.",
    ),
    (
        "XDG_STATE_HOME, HOME",
        "Where the state folder is otherwise.",
    ),
    (
        "NO_COLOR",
        "If it is not empty, nothing is coloured unless --color always says so.",
    ),
    (
        "AGENTGUARD_SUMMARY",
        "A file that gets a summary of the run in Markdown when it ends. In GitHub Actions \
         GITHUB_STEP_SUMMARY serves as well, and the log gets annotations.",
    ),
    (
        "AGENTGUARD_SOCKET",
        "Set for the agent: the socket of the line protocol.",
    ),
    ("AGENTGUARD_RUN", "Set for the agent: the id of the run."),
    (
        "AGENTGUARD_ATTEMPT",
        "Set for the agent: how often it was started, this time included.",
    ),
    (
        "AGENTGUARD_INPUT",
        "Set for the agent: the folder of the input snapshot.",
    ),
    (
        "AGENTGUARD_CALL_ID",
        "Set for a guarded tool: the call it belongs to.",
    ),
    (
        "AGENTGUARD_IDEMPOTENCY_KEY",
        "Set for a guarded tool that has a key, and for its probe: the idempotency key.",
    ),
];

/// Runs it.
pub fn main(_: &Global, args: ManArgs) -> Result {
    let environment = |error: &dyn std::error::Error, what: String| {
        Failure::from_error(Kind::Environment, error).within(what)
    };
    let pages =
        pages().map_err(|error| environment(&error, "cannot make the man pages".to_owned()))?;
    if let Some(folder) = args.out {
        std::fs::create_dir_all(&folder)
            .map_err(|error| environment(&error, format!("cannot make `{}`", folder.display())))?;
        for page in &pages {
            let file = folder.join(&page.file);
            std::fs::write(&file, &page.text).map_err(|error| {
                environment(&error, format!("cannot write `{}`", file.display()))
            })?;
        }
        // Nobody is left to be told when stderr is closed.
        let _ = writeln!(
            std::io::stderr(),
            "wrote {} pages to {}",
            pages.len(),
            folder.display()
        );
        return Ok(exit_code::DONE);
    }
    let wanted = match &args.command {
        Some(name) => format!("agentguard-{name}.1"),
        None => "agentguard.1".to_owned(),
    };
    let Some(page) = pages.iter().find(|page| page.file == wanted) else {
        let name = args.command.unwrap_or_default();
        return Err(Failure::usage(format!("there is no command `{name}`"))
            .hint("`agentguard --help` lists them"));
    };
    jsonl::print(&page.text)?;
    Ok(exit_code::DONE)
}

/// Returns every page, the front page first.
///
/// Errors: only those of writing to memory, which has none.
pub fn pages() -> std::io::Result<Vec<Page>> {
    let mut command = super::command().disable_help_subcommand(true);
    command.build();
    let mut pages = vec![Page {
        file: "agentguard.1".to_owned(),
        text: front(&command)?,
    }];
    for sub in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        pages.push(Page {
            file: format!("agentguard-{}.1", sub.get_name()),
            text: page(sub)?,
        });
        for inner in sub.get_subcommands().filter(|it| !it.is_hide_set()) {
            pages.push(Page {
                file: format!("agentguard-{}-{}.1", sub.get_name(), inner.get_name()),
                text: page(inner)?,
            });
        }
    }
    Ok(pages)
}

fn front(command: &Command) -> std::io::Result<String> {
    let mut text = head(command)?;
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for (heading, names) in GROUPS {
        roff.control("SS", [heading]);
        for name in names {
            let about = command
                .find_subcommand(name)
                .and_then(|found| found.get_about())
                .map(ToString::to_string)
                .unwrap_or_default();
            roff.control("TP", []);
            roff.text([bold(format!("agentguard-{name}")), roman("(1)")]);
            roff.text([roman(about)]);
        }
    }
    exit_table(&mut roff);
    table(&mut roff, "FILES", &FILES);
    table(&mut roff, "ENVIRONMENT", &ENVIRONMENT);
    examples(&mut roff, command);
    append(&mut text, &roff)?;
    Ok(finished(&text))
}

fn page(command: &Command) -> std::io::Result<String> {
    let mut text = head(command)?;
    let mut roff = Roff::new();
    if PAGES_WITH_EXIT_TABLE.contains(&command.get_name()) {
        exit_table(&mut roff);
    }
    examples(&mut roff, command);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("agentguard"),
        roman("(1), for exit status, files and environment"),
    ]);
    append(&mut text, &roff)?;
    Ok(finished(&text))
}

/// The sections that come from the argument types.
fn head(command: &Command) -> std::io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let name = man.get_filename();
    let name = name.strip_suffix(".1").unwrap_or(&name);
    // By hand: the date is empty, and clap_mangen writes an empty one as none.
    let mut text = format!(
        ".TH \"{name}\" \"1\" \"\" \"agentguard {}\" \"agentguard manual\"\n",
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes();
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    Ok(text)
}

fn exit_table(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in exit_code::TABLE {
        roff.control("TP", []);
        roff.text([bold(code.to_string())]);
        roff.text([roman(meaning)]);
    }
}

fn table(roff: &mut Roff, heading: &str, rows: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (name, meaning) in rows {
        roff.control("TP", []);
        roff.text([italic(*name)]);
        roff.text([roman(*meaning)]);
    }
}

/// The examples of `--help`, line by line as they stand there.
fn examples(roff: &mut Roff, command: &Command) {
    let Some(help) = command.get_after_help() else {
        return;
    };
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    let help = help.to_string();
    for line in help.lines().filter(|line| *line != "Examples:") {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
}

fn append(text: &mut Vec<u8>, roff: &Roff) -> std::io::Result<()> {
    roff.to_writer(text)
}

/// Leaves the definition that roff pages begin with in one place only: each
/// section came with its own.
fn finished(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let definition = Roff::new().render();
    format!("{definition}{}", text.replace(&definition, ""))
}
