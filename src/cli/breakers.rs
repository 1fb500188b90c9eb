//! `agentguard breakers`

use clap::{Args, Subcommand};
use serde::Serialize;

use super::error::{Failure, Kind};
use super::look;
use super::{Global, Result, open};
use crate::clock::UnixMs;
use crate::driver::facts::read_breaker;
use crate::exit_code;
use crate::observe::timeline::span;
use crate::policy::breaker::{Breaker, State};
use crate::store::breaker::decide_now;
use crate::store::{BreakerRow, Change, Store};

/// List the circuit breakers that all runs share, or reset them
///
/// A breaker that is open refuses calls until its cool-down is over, then lets
/// one probe through. One that was never touched is closed and not listed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct BreakersArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(subcommand)]
    what: Option<What>,
}

const EXAMPLES: &str = "Examples:
  agentguard breakers
  agentguard breakers reset fetch_weather
  agentguard breakers reset --all";

#[derive(Debug, Subcommand)]
enum What {
    /// Close breakers, as if they had never been touched
    ///
    /// For a tool that is known to work again, before its cool-down is over.
    Reset(ResetArgs),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ResetArgs {
    /// The breaker: `tool:NAME`, or NAME for short
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// All of them
    #[arg(long)]
    all: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    v: u64,
    breakers: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    /// `closed`, `open`, `half_open`, or `unreadable`.
    state: &'static str,
    /// When it opened.
    since: Option<UnixMs>,
    /// When the next probe may go out.
    back_at: Option<UnixMs>,
    /// Times it opened, ever.
    trips: u64,
    /// Calls in a row that failed since it last changed.
    failures: u32,
    last_error: Option<String>,
    /// When it last changed.
    at: UnixMs,
}

/// Lists or resets breakers.
pub fn main(global: &Global, args: BreakersArgs) -> Result {
    let store = look::journal(global)?;
    let rows = match &store {
        Some(store) => store.breakers()?,
        None => vec![],
    };
    match (args.what, store) {
        (Some(What::Reset(reset)), Some(store)) => reset_some(store.as_ref(), &rows, &reset),
        (Some(What::Reset(reset)), None) => match reset.name {
            Some(name) => Err(unknown(&name, &rows)),
            None => reset_none(),
        },
        (None, _) => list(rows, args.json),
    }
}

fn list(rows: Vec<BreakerRow>, json: bool) -> Result {
    let rows: Vec<Row> = rows.into_iter().map(read).collect();
    if json {
        look::print_json(&Document {
            v: look::JSON_VERSION,
            breakers: rows,
        })?;
        return Ok(exit_code::DONE);
    }
    if rows.is_empty() {
        look::say("no breaker was ever touched");
        return Ok(exit_code::DONE);
    }
    let now = open::clock().now();
    let cells: Vec<_> = rows.iter().map(|row| cells(row, now)).collect();
    let heads = [
        "BREAKER",
        "STATE",
        "SINCE",
        "BACK",
        "TRIPS",
        "FAILURES",
        "LAST ERROR",
    ];
    look::print(&look::table::table(&heads, &cells, look::columns()))?;
    Ok(exit_code::DONE)
}

fn read(row: BreakerRow) -> Row {
    let BreakerRow { name, state, at } = row;
    let Some(breaker) = read_breaker(&state) else {
        return Row {
            name,
            state: "unreadable",
            since: None,
            back_at: None,
            trips: 0,
            failures: 0,
            last_error: None,
            at,
        };
    };
    let Breaker {
        state,
        failures,
        trips,
        last_error,
        ..
    } = breaker;
    let (state, since, back_at) = match state {
        State::Closed => ("closed", None, None),
        State::Open { since, until } => ("open", Some(since), Some(until)),
        State::HalfOpen { since, probe_until } => ("half_open", Some(since), Some(probe_until)),
    };
    Row {
        name,
        state,
        since,
        back_at,
        trips,
        failures,
        last_error,
        at,
    }
}

fn cells(row: &Row, now: UnixMs) -> Vec<String> {
    let back = match row.back_at {
        None => String::new(),
        Some(back_at) if back_at > now => format!("in {}", span(back_at.since(now))),
        // The next call is the probe.
        Some(_) => "with the next call".into(),
    };
    let error = row.last_error.as_deref().unwrap_or_default();
    vec![
        row.name.clone(),
        row.state.replace('_', "-"),
        row.since.map(open::instant).unwrap_or_default(),
        back,
        row.trips.to_string(),
        row.failures.to_string(),
        crate::observe::plain::excerpt(error, 200),
    ]
}

fn reset_some(store: &dyn Store, rows: &[BreakerRow], reset: &ResetArgs) -> Result {
    let names: Vec<&str> = match &reset.name {
        None => rows.iter().map(|row| row.name.as_str()).collect(),
        Some(asked) => {
            let full = format!("tool:{asked}");
            let exact = rows.iter().find(|row| row.name == *asked);
            let found = exact.or_else(|| rows.iter().find(|row| row.name == full));
            vec![found.ok_or_else(|| unknown(asked, rows))?.name.as_str()]
        }
    };
    if names.is_empty() {
        return reset_none();
    }
    let now = open::clock().now();
    for name in names {
        let before = decide_now(store, name, now, |present| {
            (Change::Remove, present.and_then(read_breaker))
        })?;
        let was = match before.map(|breaker| breaker.state) {
            Some(State::Closed) => "was closed",
            Some(State::Open { .. }) => "was open",
            Some(State::HalfOpen { .. }) => "was half-open",
            None => "was unreadable",
        };
        let name = crate::observe::plain::line(name);
        look::print(&format!("reset {name} ({was})\n"))?;
    }
    Ok(exit_code::DONE)
}

fn reset_none() -> Result {
    look::say("no breaker to reset");
    Ok(exit_code::DONE)
}

fn unknown(asked: &str, rows: &[BreakerRow]) -> Failure {
    let asked = crate::observe::plain::excerpt(asked, 80);
    let names: Vec<_> = rows
        .iter()
        .map(|row| crate::observe::plain::excerpt(&row.name, 80))
        .collect();
    let failure = Failure::new(Kind::Usage, format!("there is no breaker `{asked}`"));
    if names.is_empty() {
        failure.hint("none was ever touched, so all are closed")
    } else {
        failure.hint(format!("the breakers are: {}", names.join(", ")))
    }
}
