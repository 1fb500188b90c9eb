//! `agentguard settle`

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::error::{Failure, Kind};
use super::look::{self, Seen, doubt::in_doubt};
use super::{Global, Result, open};
use crate::clock::UnixMs;
use crate::driver::policy::policy;
use crate::driver::{self, Session, recover};
use crate::exit_code;
use crate::ids::{CallId, IdempotencyKey, RunId, StepNo};
use crate::machine::event::{Content, SettledBy, Settlement};
use crate::machine::{Call, Event};
use crate::observe::plain;
use crate::store::{self, KeyRow, Store};

/// Say whether a call that is in doubt happened
///
/// A write that was cut off may or may not have had its effect, and where the
/// tool cannot tell, only a human can look. Until then the run is not resumed.
/// What you say is recorded: a call that happened is never made again, its
/// result answers the agent; one that did not is free to be made.
///
/// Without --happened or --not-happened the calls in doubt are listed, and the
/// exit code is 26 if there are any.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SettleArgs {
    /// The run: its id, the start of its id, or `latest`
    #[arg(value_name = "RUN")]
    run: String,

    /// The call's number; not needed where only one is in doubt
    #[arg(value_name = "CALL")]
    call: Option<u64>,

    /// All calls of the run that are in doubt, the items of batches among them
    #[arg(long, conflicts_with = "call")]
    all: bool,

    /// It had its effect
    #[arg(long, conflicts_with = "not_happened")]
    happened: bool,

    /// It had no effect; it may be made again
    #[arg(long)]
    not_happened: bool,

    /// What it gave, as text, for the agent
    #[arg(
        long,
        value_name = "TEXT",
        requires = "happened",
        allow_hyphen_values = true
    )]
    result: Option<String>,

    /// What it gave, as JSON, for the agent
    #[arg(
        long,
        value_name = "JSON",
        requires = "happened",
        conflicts_with = "result"
    )]
    result_json: Option<String>,

    /// Print the list as one JSON document
    #[arg(long, conflicts_with_all = ["happened", "not_happened"])]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard settle latest
  agentguard settle latest --happened --result 'charged, receipt 4711'
  agentguard settle r-7f3a 12 --not-happened && agentguard resume r-7f3a
  agentguard settle r-7f3a --all --happened";

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    v: u64,
    run_id: &'a RunId,
    in_doubt: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    call: CallId,
    tool: &'a str,
    step: StepNo,
    args: &'a Value,
    key: Option<&'a IdempotencyKey>,
    /// When the loop asked for it.
    at: UnixMs,
}

type Doubt = BTreeMap<CallId, Call>;

/// Lists or settles.
pub fn main(global: &Global, args: SettleArgs) -> Result {
    let verdict = verdict(&args)?;
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
    let open = in_doubt(state, &rules);
    let asked = args.call.map(CallId);
    match verdict {
        None => list(seen.run(), &open, asked, args.json),
        Some(verdict) => {
            let calls = match args.all {
                true => open.keys().copied().collect(),
                false => vec![choose(seen.run(), &open, asked)?],
            };
            if calls.is_empty() {
                return Err(none(seen.run()));
            }
            settle(&seen, store, &calls, &verdict)
        }
    }
}

/// Reads what the user says.
fn verdict(args: &SettleArgs) -> std::result::Result<Option<Settlement>, Failure> {
    if args.not_happened {
        return Ok(Some(Settlement::NotHappened));
    }
    if !args.happened {
        return Ok(None);
    }
    let text = match (&args.result, &args.result_json) {
        (Some(text), _) => text.clone(),
        (None, Some(json)) => serde_json::from_str::<Value>(json)
            .map_err(|error| {
                Failure::from_error(Kind::Usage, &error).within("--result-json is not JSON".into())
            })?
            .to_string(),
        (None, None) => recover::NO_RESULT.to_owned(),
    };
    let content = Content {
        text,
        ..Content::default()
    };
    Ok(Some(Settlement::Happened { content }))
}

fn list(run: &RunId, open: &Doubt, asked: Option<CallId>, json: bool) -> Result {
    if let Some(call) = asked.filter(|call| !open.contains_key(call)) {
        return Err(not_in_doubt(run, open, call));
    }
    let shown = open
        .iter()
        .filter(|(id, _)| asked.is_none_or(|asked| asked == **id));
    if json {
        let rows = shown.map(|(id, call)| Row {
            call: *id,
            tool: &call.tool,
            step: call.step,
            args: &call.args,
            key: call.key.as_ref(),
            at: call.called_at,
        });
        look::print_json(&Document {
            v: look::JSON_VERSION,
            run_id: run,
            in_doubt: rows.collect(),
        })?;
    } else if open.is_empty() {
        look::say(&format!("run {run} has no call in doubt"));
    } else {
        let rows: Vec<_> = shown.map(|(id, call)| cells(*id, call)).collect();
        let heads = ["CALL", "TOOL", "STEP", "ASKED", "KEY", "ARGUMENTS"];
        look::print(&look::table::table(&heads, &rows, None))?;
        look::say(&format!(
            "look whether it happened, then: agentguard settle {run} CALL --happened \
             (or --not-happened)"
        ));
    }
    Ok(if open.is_empty() {
        exit_code::DONE
    } else {
        exit_code::IN_DOUBT
    })
}

fn cells(id: CallId, call: &Call) -> Vec<String> {
    vec![
        id.to_string(),
        call.tool.clone(),
        call.step.to_string(),
        open::instant(call.called_at),
        call.key
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        call.args.to_string(),
    ]
}

/// Finds the one call that is meant.
fn choose(
    run: &RunId,
    open: &Doubt,
    asked: Option<CallId>,
) -> std::result::Result<CallId, Failure> {
    let mut ids = open.keys();
    match (asked, ids.next(), ids.next()) {
        (Some(call), _, _) if open.contains_key(&call) => Ok(call),
        (Some(call), _, _) => Err(not_in_doubt(run, open, call)),
        (None, Some(only), None) => Ok(*only),
        (None, None, _) => Err(none(run)),
        (None, Some(_), Some(_)) => Err(Failure::usage(format!(
            "run {run} has {} calls in doubt; say which, or --all",
            open.len()
        ))
        .hint(these(open))),
    }
}

fn none(run: &RunId) -> Failure {
    Failure::usage(format!("run {run} has no call in doubt"))
}

fn not_in_doubt(run: &RunId, open: &Doubt, call: CallId) -> Failure {
    let failure = Failure::usage(format!("call {call} of run {run} is not in doubt"));
    if open.is_empty() {
        failure.hint("no call of it is")
    } else {
        failure.hint(these(open))
    }
}

fn these(open: &Doubt) -> String {
    let calls: Vec<_> = open
        .iter()
        .map(|(id, call)| {
            let args = plain::excerpt(&call.args.to_string(), 60);
            format!("{id} ({} {args})", plain::excerpt(&call.tool, 60))
        })
        .collect();
    format!("in doubt: {}", calls.join(", "))
}

/// Takes the run over for a moment and writes down what the user says.
fn settle(seen: &Seen, store: Arc<dyn Store>, calls: &[CallId], verdict: &Settlement) -> Result {
    let clock = open::clock();
    let task = Arc::new(seen.setup()?.task);
    let own = store.own(seen.run(), clock.now())?;
    let mut session = recover::take_up(own, task, store, clock, vec![])
        .map_err(|error| look::unreadable(&error))?;
    let happened = matches!(verdict, Settlement::Happened { .. });
    let run = session.run.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    let work = |error| Failure::from_error(Kind::Environment, &error);
    runtime
        .block_on(recover::clear(&mut session))
        .map_err(work)?;
    let mut then = "resume";
    for call in calls {
        let open = in_doubt(session.state().clone(), &session.policy);
        let Some(what) = open.get(call) else {
            return Err(not_in_doubt(&run, &open, *call));
        };
        let settled = settle_one(&mut session, *call, verdict.clone());
        let (lost, is_undo) = runtime.block_on(settled).map_err(work)?;
        if is_undo {
            then = "rollback";
        }
        tell(*call, what, happened);
        lost.iter().for_each(tell_lost);
    }
    let left = in_doubt(session.state().clone(), &session.policy).len() as u64;
    look::say(&if left > 0 {
        format!(
            "{} still in doubt: agentguard settle {run}",
            look::counted(left, "call")
        )
    } else {
        format!("to go on: agentguard {then} {run}")
    });
    Ok(exit_code::DONE)
}

/// Writes it down for one call; returns keys that others hold, and whether it was an
/// undo.
async fn settle_one(
    session: &mut Session,
    call: CallId,
    settlement: Settlement,
) -> std::result::Result<(Vec<KeyRow>, bool), driver::Error> {
    let is_undo = session.state().saga.entry(call).is_some();
    session.feed(match is_undo {
        true => Event::UndoSettled {
            call,
            undone: matches!(settlement, Settlement::Happened { .. }),
        },
        false => Event::Settled {
            call,
            settlement,
            by: SettledBy::Human,
        },
    })?;
    let mut lost = Vec::new();
    while session.is_settling() {
        lost.extend(session.durable().await?.committed.lost);
    }
    Ok((lost, is_undo))
}

fn tell(call: CallId, what: &Call, happened: bool) {
    let tool = plain::excerpt(&what.tool, 80);
    look::say(&if happened {
        format!("call {call} of `{tool}` is recorded as happened; it will not be made again")
    } else {
        format!("call {call} of `{tool}` is recorded as not happened; it may be made again")
    });
}

/// A key that changed hands meanwhile keeps its holder.
fn tell_lost(row: &KeyRow) {
    look::say(&format!(
        "its key `{}` is held by call {} of run {}, and stays so",
        plain::excerpt(&row.key_use.key.0, 200),
        row.key_use.call,
        row.run
    ));
}
