//! `agentguard runs`

use clap::Args;
use serde::Serialize;

use super::error::Failure;
use super::look::{self, Seen};
use super::{Global, Result, open};
use crate::clock::UnixMs;
use crate::exit_code;
use crate::ids::RunId;
use crate::machine::Status;
use crate::observe::Report;
use crate::observe::timeline::span;
use crate::store::{Filter, Store};
use crate::task::units;

/// List runs, the latest first
///
/// A run is `running` while a process holds it, and `crashed` when none does
/// and it has no end. `agentguard show RUN` tells more.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunsArgs {
    /// Only runs of this status; may be repeated
    #[arg(long, short, value_name = "STATUS", value_parser = statuses())]
    status: Vec<String>,

    /// Only runs of this task
    #[arg(long, short, value_name = "NAME")]
    task: Option<String>,

    /// Only runs that began since: `2h`, `7d`, `2026-01-31`, `2026-01-31T08:00:00Z`
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Since>,

    /// At most so many; 0 for all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    limit: u32,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard runs --status running --status crashed
  agentguard runs --task nightly --since 7d
  agentguard runs --json --limit 1 | jq -r '.runs[0].run_id'";

/// The beginning of a span of time that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    Ago { ms: u64 },
    At(UnixMs),
}

/// What `--json` prints.
#[derive(Serialize)]
struct Listing {
    v: u64,
    runs: Vec<Row>,
    /// Whether `--limit` left older ones out.
    more: bool,
}

/// One run. A run that cannot be read back still has its first fields.
#[derive(Serialize)]
#[serde(untagged)]
enum Row {
    Whole {
        #[serde(flatten)]
        report: Box<Report>,
        /// The process that holds it.
        pid: Option<u32>,
        /// From its beginning to its end, or to now while it runs.
        duration_ms: u64,
    },
    Unreadable {
        run_id: RunId,
        task_id: String,
        status: String,
        start_time: UnixMs,
        pid: Option<u32>,
        duration_ms: u64,
        /// Why not.
        problem: String,
    },
}

/// A run and its figures, or why they cannot be read.
type Listed = (Seen, std::result::Result<Report, String>);

/// Lists runs.
pub fn main(global: &Global, args: RunsArgs) -> Result {
    let now = open::clock().now();
    let (seen, more) = match look::journal(global)? {
        Some(store) => listed(store.as_ref(), &args, now)?,
        None => (vec![], false),
    };
    if args.json {
        let runs = seen.into_iter().map(|(seen, report)| {
            let duration_ms = duration_ms(&seen, now);
            let pid = seen.holder.as_ref().and_then(|holder| holder.pid);
            match report {
                Ok(report) => Row::Whole {
                    report: Box::new(report),
                    pid,
                    duration_ms,
                },
                Err(problem) => Row::Unreadable {
                    run_id: seen.run().clone(),
                    task_id: seen.record.new.task.clone(),
                    status: seen.status().to_owned(),
                    start_time: seen.record.new.at,
                    pid,
                    duration_ms,
                    problem,
                },
            }
        });
        look::print_json(&Listing {
            v: look::JSON_VERSION,
            runs: runs.collect(),
            more,
        })?;
        return Ok(exit_code::DONE);
    }
    if seen.is_empty() {
        look::say("no runs");
        return Ok(exit_code::DONE);
    }
    let rows: Vec<_> = seen
        .iter()
        .map(|(seen, report)| row(seen, report.as_ref(), now))
        .collect();
    let heads = [
        "RUN",
        "TASK",
        "STATUS",
        "STEP",
        "COST",
        "STARTED",
        "TOOK",
        "LAST ERROR",
    ];
    look::print(&look::table::table(&heads, &rows, look::columns()))?;
    if more {
        look::say("there are older runs; --limit 0 shows all");
    }
    Ok(exit_code::DONE)
}

/// Returns the runs asked for, and whether there are more.
fn listed(
    store: &dyn Store,
    args: &RunsArgs,
    now: UnixMs,
) -> std::result::Result<(Vec<Listed>, bool), Failure> {
    let wanted = match args.limit {
        0 => usize::MAX,
        limit => limit as usize,
    };
    // What the journal holds as a status may be out of date for a run that was
    // killed or taken up again, so the status is judged here.
    let by_status = !args.status.is_empty();
    let records = store.runs(&Filter {
        statuses: vec![],
        task: args.task.clone(),
        since: args.since.map(|since| since.before(now)),
        limit: (!by_status && args.limit > 0).then(|| args.limit.saturating_add(1)),
    })?;
    let mut found = Vec::new();
    for record in records {
        let seen = Seen::look(store, record)?;
        let is_wanted = |status| !by_status || args.status.iter().any(|it| it == status);
        // Whether a run that is alive waits for a human, its events tell.
        if seen.holder.is_none() && !is_wanted(seen.status()) {
            continue;
        }
        let report = seen.report(store);
        if !is_wanted(status(&seen, report.as_ref())) {
            continue;
        }
        if found.len() == wanted {
            return Ok((found, true));
        }
        found.push((seen, report));
    }
    Ok((found, false))
}

fn row(seen: &Seen, report: std::result::Result<&Report, &String>, now: UnixMs) -> Vec<String> {
    let pid = seen.holder.as_ref().and_then(|holder| holder.pid);
    let shown = match pid {
        Some(pid) => format!("{} ({pid})", status(seen, report)),
        None => report.map_or(seen.status(), Report::status_text).to_owned(),
    };
    let (step, cost, error) = match report {
        Ok(report) => (
            report.completed_steps.to_string(),
            format!("{} USD", report.cost_usd),
            report.last_error.clone().unwrap_or_default(),
        ),
        Err(problem) => ("?".into(), "?".into(), problem.clone()),
    };
    vec![
        seen.run().to_string(),
        seen.record.new.task.clone(),
        shown,
        step,
        cost,
        format!("{} ago", ago(now.since(seen.record.new.at))),
        span(duration_ms(seen, now)),
        crate::observe::plain::excerpt(&error, 200),
    ]
}

/// Returns the status, in a word.
fn status<'a>(seen: &'a Seen, report: std::result::Result<&'a Report, &String>) -> &'a str {
    report.map_or(seen.status(), |report| report.status.as_str())
}

/// Returns how long a run has taken: to its end, to now while it runs, to the
/// last that is known of it when it crashed.
fn duration_ms(seen: &Seen, now: UnixMs) -> u64 {
    let record = &seen.record;
    let until = match (&seen.holder, record.summary.ended) {
        (Some(_), _) => now,
        (None, Some(ended)) => ended,
        (None, None) => record.last_at,
    };
    until.since(record.new.at)
}

/// Returns an age in its largest unit.
pub fn ago(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m", seconds / 60),
        seconds @ 3_600..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

impl Since {
    pub(super) fn before(self, now: UnixMs) -> UnixMs {
        match self {
            Self::Ago { ms } => UnixMs(now.0.saturating_sub_unsigned(ms)),
            Self::At(at) => at,
        }
    }
}

/// Reads a span (`2h`), a day, or an instant. Times without a zone are local.
pub(super) fn since(text: &str) -> std::result::Result<Since, String> {
    if let Ok(span) = text.parse::<units::Duration>() {
        return Ok(Since::Ago { ms: span.0 });
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(Since::At(UnixMs(instant.as_millisecond())));
    }
    let zone = jiff::tz::TimeZone::system();
    let local = text
        .parse::<jiff::civil::DateTime>()
        .and_then(|local| local.to_zoned(zone));
    match local {
        Ok(instant) => Ok(Since::At(UnixMs(instant.timestamp().as_millisecond()))),
        Err(_) => Err("expected a span such as `2h`, a day such as `2026-01-31`, \
                       or an instant such as `2026-01-31T08:00:00Z`"
            .into()),
    }
}

fn statuses() -> clap::builder::PossibleValuesParser {
    Status::ALL.map(Status::as_str).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_table() {
        #[rustfmt::skip]
        let rows = [
            ("2h", Ok(Since::Ago { ms: 7_200_000 })),
            ("1d12h", Ok(Since::Ago { ms: 129_600_000 })),
            ("1970-01-01T00:00:01Z", Ok(Since::At(UnixMs(1_000)))),
            ("1970-01-01T01:00:00+01:00", Ok(Since::At(UnixMs(0)))),
            ("yesterday", Err(())),
            ("-2h", Err(())),
            ("", Err(())),
        ];
        for (text, want) in rows {
            assert_eq!(since(text).map_err(|_| ()), want, "row: {text}");
        }
        assert!(matches!(since("2026-01-31"), Ok(Since::At(_))));
        assert!(matches!(since("2026-01-31T08:00"), Ok(Since::At(_))));
    }

    #[test]
    fn ages_use_their_largest_unit() {
        let rows = [
            (999, "0s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (3_600_000, "1h"),
            (172_800_000, "2d"),
        ];
        for (ms, want) in rows {
            assert_eq!(ago(ms), want);
        }
    }
}
