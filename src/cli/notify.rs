//! `agentguard notify`

use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::{Global, Result, look, open};
use crate::driver::launch::Environment;
use crate::exit_code;
use crate::human::letter::Letter;
use crate::human::outbox::Post;
use crate::ids::RunId;
use crate::observe::plain;
use crate::store::LetterRow;

/// List notifications that are not sent yet, or send them
///
/// Notifications are kept with the event they tell of and sent after it, at least
/// once each, with an id. What a crash or a dead receiver left is sent by the next
/// process of the same run, or by --flush. Exit code 1: something is still not sent.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard notify
  agentguard notify --flush")]
pub struct NotifyArgs {
    /// Try to send all of them now
    #[arg(long)]
    flush: bool,

    /// Only those of this run: its id, the start of its id, or `latest`
    #[arg(long, value_name = "RUN")]
    run: Option<String>,

    /// Print one JSON document
    #[arg(long, conflicts_with = "flush")]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    v: u64,
    notifications: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    run_id: &'a RunId,
    posted: crate::clock::UnixMs,
    tries: u32,
    next_try: crate::clock::UnixMs,
    error: Option<&'a str>,
    text: String,
}

/// Lists or sends.
pub fn main(global: &Global, args: NotifyArgs) -> Result {
    let Some(store) = look::journal(global)? else {
        return list(&[], args.json);
    };
    let run = match &args.run {
        Some(asked) => Some(store.find(asked)?.new.run),
        None => None,
    };
    if !args.flush {
        return list(&store.letters(run.as_ref())?, args.json);
    }
    let environment = Environment::read();
    let post = Post {
        store: Arc::clone(&store),
        clock: open::clock(),
        variables: Arc::new(move |name| environment.variable(name)),
        run,
    };
    let (sent, failed) = super::block_on(post.flush())??;
    look::say(&format!("{sent} sent, {failed} not"));
    Ok(match failed {
        0 => exit_code::DONE,
        _ => exit_code::AGENT_FAILED,
    })
}

fn list(rows: &[LetterRow], json: bool) -> Result {
    let text = |row: &LetterRow| {
        let letter = serde_json::from_str::<Letter>(&row.body);
        letter.map_or_else(|_| String::new(), |letter| letter.message.text)
    };
    if json {
        let rows = rows.iter().map(|row| Row {
            id: &row.id,
            run_id: &row.run,
            posted: row.posted,
            tries: row.tries,
            next_try: row.due,
            error: row.error.as_deref(),
            text: text(row),
        });
        look::print_json(&Document {
            v: look::JSON_VERSION,
            notifications: rows.collect(),
        })?;
    } else if rows.is_empty() {
        look::say("every notification was sent");
    } else {
        let cells = |row: &LetterRow| {
            vec![
                row.id.clone(),
                open::instant(row.posted),
                row.tries.to_string(),
                plain::line(row.error.as_deref().unwrap_or("-")),
                text(row),
            ]
        };
        let rows: Vec<_> = rows.iter().map(cells).collect();
        let heads = ["ID", "POSTED", "TRIES", "LAST ERROR", "TEXT"];
        look::print(&look::table::table(&heads, &rows, look::columns()))?;
        look::say("to send them now: agentguard notify --flush");
    }
    Ok(match rows.is_empty() {
        true => exit_code::DONE,
        false => exit_code::AGENT_FAILED,
    })
}
