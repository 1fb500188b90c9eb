//! Help, man pages and completions: what is said about each command.
//!
//! The pages in `man/` are those of the code. After a change of a help text:
//! `AGENTGUARD_BLESS=1 cargo test --test it man::` writes them anew; review the
//! difference and commit it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use agentguard::cli;
use snapbox::{assert_data_eq, str};

use crate::cli_support::said;
use crate::support::Sandbox;

const HOW: &str = "`AGENTGUARD_BLESS=1 cargo test --test it man::` writes them anew";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man")
}

#[test]
fn the_pages_in_man_are_those_of_the_code() {
    let pages = cli::man::pages().unwrap();
    if std::env::var_os("AGENTGUARD_BLESS").is_some() {
        let _ = std::fs::remove_dir_all(folder());
        std::fs::create_dir_all(folder()).unwrap();
        for page in &pages {
            std::fs::write(folder().join(&page.file), &page.text).unwrap();
        }
        return;
    }
    let names: BTreeSet<String> = pages.iter().map(|page| page.file.clone()).collect();
    let there: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap_or_else(|error| panic!("there is no man/ ({error}); {HOW}"))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, names, "man/ has other pages than the code; {HOW}");
    for page in &pages {
        let there = std::fs::read_to_string(folder().join(&page.file)).unwrap();
        assert!(
            there == page.text,
            "man/{} is not that of the code; {HOW}",
            page.file
        );
    }
}

#[test]
fn the_arguments_are_sound() {
    // Among others: no short flag twice, no positional after a greedy one.
    cli::command().debug_assert();
}

#[test]
fn every_command_has_a_first_sentence_and_an_example() {
    let command = cli::command();
    let mut bad = Vec::new();
    for sub in command.get_subcommands() {
        let name = sub.get_name();
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        if about.len() < 10 || about.contains("being written") || about.ends_with('.') {
            bad.push(format!(
                "{name}: `{about}` is no first sentence without its period"
            ));
        }
        let help = sub
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        if !help.starts_with("Examples:\n  ") || !help.contains(&format!("agentguard {name}")) {
            bad.push(format!("{name}: no `Examples:` with `agentguard {name}`"));
        }
        for argument in sub.get_arguments() {
            if argument.get_help().is_none() && !argument.is_hide_set() {
                bad.push(format!(
                    "{name}: nothing is said about `{}`",
                    argument.get_id()
                ));
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn the_front_page_has_its_commands_in_groups() {
    let here = Sandbox::new();
    assert_data_eq!(
        said(&here, &["--help"], ""),
        str![[r#"
status 0
--- stdout
Supervises AI-agent runs: checkpoints every turn, retries what is worth it, finds loops, holds
budgets and deadlines, and goes on after any crash

Usage: agentguard [OPTIONS] <COMMAND>

Run:
  run          Start an agent and supervise it to its end
  resume       Go on with a run where it stopped
  replay       Play a past run again with the answers it got, and say where it parts from it
  stop         Stop a run that is alive, with a last checkpoint
  settle       Say whether a call that is in doubt happened
  rollback     Take back what a run did
  dead-letters Items and runs that failed for good: look, try again, take off the list

Humans:
  inbox        List what runs ask humans, over all runs
  answer       Answer what a run asks
  wait         Wait until a human has decided, then go on with the run
  notify       List notifications that are not sent yet, or send them

Task files:
  init         Write a commented task file to begin with
  check        Read a task file as an operator would, and say what is wrong or missing
  chain        Show who answers model calls, and when a call moves on
  verify       Make the checks of a task now
  drill        Rehearse a task against every kind of failure, offline
  schema       Print the JSON Schema of the task file

Look:
  runs         List runs, the latest first
  show         Show a run: what it is at, what it used, what happened
  why          Say why: every decision with its rule and its evidence
  diff         Show what a run changed in its staged folder
  logs         Print what the agent printed
  failed       Which items of batches failed, over all runs, and of what
  locks        List the locks on paths, and who waits for them
  breakers     List the circuit breakers that all runs share, or reset them
  classify     Say what a tool's result is, and by which rule
  loops        Say whether a past run went in circles, at which call, and why

Inside a run:
  turn         Inside a run: commit a turn, and hear whether to go on
  tool         Inside a run: call a guarded tool
  batch        Inside a run: hand several items to a guarded tool
  report       Inside a run: tell of a tool that the loop ran itself
  escalate     Inside a run: ask a human
  state        Inside a run: ask where the run stands, as JSON
  lock         Run a command while holding a lock on a path
  mcp          Speak MCP: serve the tools of the task, or guard those of a server

Other:
  rm           Remove runs: their events, conversations and files
  gc           Remove old runs, and whatever nothing refers to any more
  completions  Print completions for a shell
  man          Print a man page, or write them all

Options:
      --state <DIR>
          Folder of the journal
          
          Default: `$XDG_STATE_HOME/agentguard`, or `~/.local/state/agentguard`.
          
          [env: AGENTGUARD_STATE]

      --color <WHEN>
          When to use colour; `NO_COLOR` is respected

          Possible values:
          - auto:   In a terminal
          - always: Always
          - never:  Never
          
          [default: auto]

  -h, --help
          Print help (see a summary with '-h')

  -V, --version
          Print version

Examples:
  agentguard init shell > task.yaml     write a commented task file
  agentguard run task.yaml              supervise the agent it describes
  agentguard resume latest              go on after a crash, a limit or Ctrl-C
  agentguard why latest                 every decision, with its rule and evidence
--- stderr

"#]]
    );
}

#[test]
fn a_slip_is_met_with_a_guess() {
    let here = Sandbox::new();
    assert_data_eq!(
        said(&here, &["resum"], ""),
        str![[r#"
status 2
--- stdout
--- stderr
error: unrecognized subcommand 'resum'

  tip: a similar subcommand exists: 'resume'

Usage: agentguard [OPTIONS] <COMMAND>

For more information, try '--help'.

"#]]
    );
}

#[test]
fn man_prints_a_page_or_writes_all() {
    let here = Sandbox::new();
    let pages = cli::man::pages().unwrap();
    let printed = here.command(&["man", "check"]).output().unwrap().stdout;
    let check = pages
        .iter()
        .find(|page| page.file == "agentguard-check.1")
        .unwrap();
    assert_eq!(String::from_utf8(printed).unwrap(), check.text);
    let wrote = said(&here, &["man", "--out", "man1"], "");
    assert!(
        wrote.ends_with(&format!("wrote {} pages to man1\n", pages.len())),
        "{wrote}"
    );
    assert_eq!(here.read("man1/agentguard.1"), pages[0].text);
    assert_data_eq!(
        said(&here, &["man", "nope"], ""),
        str![[r#"
status 2
--- stdout
--- stderr
error: there is no command `nope`
hint: `agentguard --help` lists them

"#]]
    );
}

#[test]
fn completions_are_printed_for_every_shell() {
    let here = Sandbox::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = here.command(&["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            script.contains("resume") && output.status.success(),
            "{shell}: {script}"
        );
    }
}
