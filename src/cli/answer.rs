//! `agentguard answer`

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;

use super::error::{Failure, Kind};
use super::{Global, Result, inbox, look, open};
use crate::exit_code;
use crate::human::inbox::{Entry, decide};
use crate::human::token::{self, Secret};
use crate::machine::escalation::{Ruling, Source};
use crate::observe::plain;
use crate::policy::escalation::Kind as Asked;
use crate::store::Store;

/// Answer what a run asks
///
/// The first answer counts and is kept, whether the run waits for it, is suspended,
/// or has crashed; a later one is refused and told who was first. After the
/// deadline the default stands. Without --choose you are asked, on a terminal.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AnswerArgs {
    /// The question: its number or the start of it
    #[arg(value_name = "ID", required_unless_present = "token")]
    id: Option<String>,

    /// The option
    #[arg(long, short, value_name = "OPTION")]
    choose: Option<String>,

    /// Words for the agent and the journal
    #[arg(long, short, value_name = "TEXT", allow_hyphen_values = true)]
    note: Option<String>,

    /// Who answers. Default: the user's name
    #[arg(long, value_name = "NAME")]
    by: Option<String>,

    /// Answer by the token of a notification: it names question and option, and works
    /// once
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["id", "choose", "ack"])]
    token: Option<String>,

    /// Say only that you have seen it
    #[arg(long, conflicts_with_all = ["choose", "note"])]
    ack: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard answer e-7f3a --choose approve
  agentguard answer e-7f3a --choose decline --note 'not before Monday' --by anna
  agentguard answer e-7f3a --ack";

/// Longest note, in bytes.
const NOTE_BYTES_MAX: usize = 16 * 1024;

/// Answers.
pub fn main(global: &Global, args: AnswerArgs) -> Result {
    refuse_inside()?;
    let store = open::store(global)?;
    let store = store.as_ref();
    if let Some(note) = args
        .note
        .as_ref()
        .filter(|note| note.len() > NOTE_BYTES_MAX)
    {
        return Err(Failure::usage(format!(
            "the note has {} bytes, at most {NOTE_BYTES_MAX} are taken",
            note.len()
        )));
    }
    let by = args.by.filter(|by| !by.trim().is_empty());
    if let Some(token) = &args.token {
        let by = by.unwrap_or_else(|| "whoever had the token".into());
        return answer_by_token(store, token, args.note, by);
    }
    let by = by.unwrap_or_else(user);
    let entry = inbox::find(store, args.id.as_deref().unwrap_or_default())?;
    if args.ack {
        return acknowledge(store, &entry, &by);
    }
    if let Some(ruling) = &entry.ruling {
        return Err(already(&entry, ruling));
    }
    let (option, note) = match args.choose {
        Some(option) => (option, args.note),
        None => ask(&entry, args.note)?,
    };
    if entry.what.option(&option).is_none() {
        return Err(no_option(&entry, &option));
    }
    let ruling = Ruling {
        option,
        note,
        by,
        at: open::clock().now(),
        source: Source::Answer,
    };
    rule(store, &entry, ruling, None)
}

/// Answers as a token says.
fn answer_by_token(store: &dyn Store, token: &str, note: Option<String>, by: String) -> Result {
    let now = open::clock().now();
    let secret = Secret::load(store.paths())?;
    let claim = secret.verify(token, now).map_err(|error| {
        let failure = Failure::from_error(Kind::Usage, &error);
        match error {
            token::Error::Expired { at } => failure
                .hint(format!("it could be used until {}", open::instant(at)))
                .hint("`agentguard inbox` lists what still waits"),
            token::Error::Malformed => failure.hint("copy the whole word, without quotes"),
            token::Error::Forged => failure.hint("use it on the machine that sent it"),
        }
    })?;
    let entry = inbox::find(store, claim.escalation.as_str())?;
    if let Some(ruling) = &entry.ruling {
        if entry.token.as_deref() == Some(claim.mark.as_str()) {
            return Err(Failure::usage(format!(
                "the token was used already: {} decided `{}` at {}",
                plain::line(&ruling.by),
                plain::line(&ruling.option),
                open::instant(ruling.at)
            )));
        }
        return Err(already(&entry, ruling));
    }
    if entry.what.option(&claim.option).is_none() {
        return Err(no_option(&entry, &claim.option));
    }
    let ruling = Ruling {
        option: claim.option,
        note,
        by,
        at: now,
        source: Source::Token,
    };
    rule(store, &entry, ruling, Some(claim.mark))
}

/// Decides, and says what came of it.
fn rule(store: &dyn Store, entry: &Entry, ruling: Ruling, token: Option<String>) -> Result {
    let decided = super::block_on(decide(store, &entry.what, &ruling, token))??;
    let now =
        Entry::read(decided.row).map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    if !decided.is_ours {
        let ruling = now.ruling.as_ref().unwrap_or(&ruling);
        return Err(already(&now, ruling));
    }
    look::say(&format!(
        "{}: `{}` is recorded",
        entry.what.id,
        plain::line(&ruling.option)
    ));
    let run = &entry.run;
    let ask = &entry.what.ask;
    look::say(&match store.holder(run)? {
        Some(_) => format!("run {run} is alive and sees it at once"),
        None if ask.kind == Asked::Undo && ask.call.is_none() => {
            format!("run {run} needs nothing more; the decision is in its journal")
        }
        None if ask.kind == Asked::Undo => format!("to go on: agentguard rollback {run}"),
        None => format!("to go on: agentguard resume {run}"),
    });
    Ok(exit_code::DONE)
}

fn acknowledge(store: &dyn Store, entry: &Entry, by: &str) -> Result {
    let at = open::clock().now();
    let row = store.acknowledge(&entry.what.id, by, at).wait()?;
    let (first, when) = row.seen.unwrap_or_else(|| (by.to_owned(), at));
    let id = &entry.what.id;
    look::say(&match (first.as_str(), when) == (by, at) {
        true => format!("{id}: it is recorded that you have seen it"),
        false => format!(
            "{id}: {} has seen it already, at {}",
            plain::line(&first),
            open::instant(when)
        ),
    });
    Ok(exit_code::DONE)
}

/// Says who was first, what they chose, and when.
fn already(entry: &Entry, ruling: &Ruling) -> Failure {
    let id = &entry.what.id;
    let (option, at) = (plain::line(&ruling.option), open::instant(ruling.at));
    let by = plain::line(&ruling.by);
    let text = match ruling.source {
        Source::Deadline => {
            format!("{id}: too late, the deadline passed at {at} and `{option}` stands")
        }
        Source::Withdrawn => format!("{id}: the run ended at {at} and needs no answer any more"),
        _ => format!("{id} was decided already: `{option}`, by {by}, at {at}"),
    };
    let failure = Failure::usage(text);
    match &ruling.note {
        Some(note) => failure.hint(format!("their note: {}", plain::excerpt(note, 300))),
        None => failure,
    }
}

fn no_option(entry: &Entry, option: &str) -> Failure {
    let options: Vec<&str> = entry
        .what
        .ask
        .options
        .iter()
        .map(|it| it.id.as_str())
        .collect();
    let failure = Failure::usage(format!(
        "`{}` is no option of {}, expected one of {}",
        plain::excerpt(option, 60),
        entry.what.id,
        options.join(", ")
    ));
    match crate::task::suggest::nearest(option, options) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure,
    }
}

/// Asks on the terminal.
fn ask(
    entry: &Entry,
    note: Option<String>,
) -> std::result::Result<(String, Option<String>), Failure> {
    let options: Vec<&str> = entry
        .what
        .ask
        .options
        .iter()
        .map(|it| it.id.as_str())
        .collect();
    if !std::io::stdin().is_terminal() {
        return Err(
            Failure::usage("there is no terminal to ask on; say which option")
                .hint(format!("add --choose with one of {}", options.join(", "))),
        );
    }
    let mut err = std::io::stderr();
    let _ = write!(err, "{}", inbox::page(entry, open::clock().now()));
    let option = loop {
        let said = prompt(&format!("{}? ", options.join(" / ")))?;
        match options.iter().find(|option| **option == said) {
            Some(option) => break (*option).to_owned(),
            None if said.is_empty() => {}
            None => {
                let _ = writeln!(err, "write one of {}, or press Ctrl-C", options.join(", "));
            }
        }
    };
    let note = match note {
        Some(note) => Some(note),
        None => Some(prompt("note (may be empty): ")?).filter(|note| !note.is_empty()),
    };
    Ok((option, note))
}

fn prompt(text: &str) -> std::result::Result<String, Failure> {
    let mut err = std::io::stderr();
    let _ = write!(err, "{text}").and_then(|()| err.flush());
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match read {
        Ok(0) => Err(Failure::usage("nothing was answered")),
        Ok(_) => Ok(line.trim().to_owned()),
        Err(error) => Err(Failure::from_error(Kind::Environment, &error)),
    }
}

/// An agent does not answer what it asks. This keeps mistakes out, not malice: an
/// agent that runs as the same user has the same rights.
fn refuse_inside() -> std::result::Result<(), Failure> {
    let inside = std::env::var_os(crate::channel::SOCKET_ENV).is_some_and(|it| !it.is_empty());
    match inside {
        true => Err(Failure::usage("an agent cannot answer its own questions")
            .hint("answer from outside the run")),
        false => Ok(()),
    }
}

/// Returns the name of whoever is at the terminal.
fn user() -> String {
    let named = ["USER", "LOGNAME"].into_iter().find_map(|name| {
        let name = std::env::var(name).ok()?;
        (!name.trim().is_empty()).then_some(name)
    });
    named.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()))
}
