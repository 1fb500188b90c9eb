//! `agentguard stop`

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::error::{Failure, Kind};
use super::look::{self, Seen, holder};
use super::supervise::{self, Patience, Show};
use super::{Global, Result};
use crate::driver::host;
use crate::exit_code;
use crate::ids::RunId;
use crate::machine::Status;
use crate::store::{Holder, RunRecord, Store};

/// Stop a run that is alive, with a last checkpoint
///
/// Its supervisor ends the agent and everything beneath it: asked first, killed
/// after the grace period. Stopping it a second time kills at once. The run can
/// be resumed. A run that no process holds and that waits for a human, or for a model to
/// be back, is ended too; any other that is not alive is left as it is, which is no
/// failure. Where the task says so (`rollback: {on: [interrupted]}`), what the run did is
/// taken back.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StopArgs {
    /// The run: its id, the start of its id, or `latest`
    #[arg(value_name = "RUN")]
    run: String,

    /// Wait until nothing of the run is alive (the default)
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,

    /// Ask, and return at once
    #[arg(long)]
    no_wait: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard stop latest
  agentguard stop r-7f3a --no-wait";

/// How often is looked whether the run is still held.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a holder has that does not listen yet, or holds it for a moment.
const LISTEN_WITHIN: Duration = Duration::from_secs(5);
/// What is allowed beyond the grace period.
const SLACK: Duration = Duration::from_secs(15);
/// The grace period of a run whose setup cannot be read.
const GRACE_MS_DEFAULT: u64 = 10_000;

/// Stops a run.
pub fn main(global: &Global, args: StopArgs) -> Result {
    let (shared, record) = look::find(global, &args.run)?;
    let store = shared.as_ref();
    let Some(held) = ask(store, &record)? else {
        let seen = Seen::look(store, store.find(record.new.run.as_str())?)?;
        if goes_on(&seen) {
            give_up(global, shared.clone(), seen.run())?;
            let seen = Seen::look(store, store.find(seen.run().as_str())?)?;
            look::say(&format!("run {}: {}", seen.run(), how(&seen, store)));
            return Ok(exit_code::DONE);
        }
        look::say(&format!(
            "run {} is not alive: {}",
            seen.run(),
            how(&seen, store)
        ));
        return Ok(exit_code::DONE);
    };
    let run = &record.new.run;
    if args.no_wait {
        look::say(&format!("run {run} is asked to stop ({})", who(&held)));
        return Ok(exit_code::DONE);
    }
    // The agent gets the grace period to leave, and after it the tools that
    // still run get it to finish.
    let seen = Seen::look(store, record.clone())?;
    let grace_ms = seen
        .setup()
        .map_or(GRACE_MS_DEFAULT, |setup| setup.task.agent.grace_ms);
    let within = Duration::from_millis(grace_ms.saturating_mul(2)).saturating_add(SLACK);
    if !released(store, &record, &held, within)? {
        return Err(Failure::new(
            Kind::Environment,
            format!(
                "run {run} was asked to stop and is still alive after {} s ({})",
                within.as_secs(),
                who(&held)
            ),
        )
        .hint(format!("kill at once: agentguard stop {run}")));
    }
    let seen = Seen::look(store, store.find(run.as_str())?)?;
    look::say(&format!("run {run}: {}", how(&seen, store)));
    Ok(exit_code::DONE)
}

/// Whether the run would go on though no process holds it.
fn goes_on(seen: &Seen) -> bool {
    let standing = [Status::Waiting, Status::Unavailable];
    standing.iter().any(|it| it.as_str() == seen.status())
}

/// Takes over a run that nobody holds, and ends it.
fn give_up(
    global: &Global,
    store: Arc<dyn Store>,
    run: &RunId,
) -> std::result::Result<(), Failure> {
    let patience = Patience::detached();
    supervise::hosted(
        global,
        &Show::quiet(false),
        &patience,
        store,
        async |host| host::give_up(host, run.as_str()).await,
    )?;
    Ok(())
}

/// Signals the holder; returns it, or `None` when nobody holds the run.
fn ask(store: &dyn Store, record: &RunRecord) -> std::result::Result<Option<Holder>, Failure> {
    let run = &record.new.run;
    let lock = store.paths().lock(run);
    let until = Instant::now() + LISTEN_WITHIN;
    loop {
        let Some(held) = store.holder(run)? else {
            return Ok(None);
        };
        let problem = match holder::ask_to_stop(&held, &lock) {
            holder::Asked::Sent => return Ok(Some(held)),
            holder::Asked::Elsewhere(why) => {
                let failure = Failure::usage(format!("run {run} cannot be stopped from here"));
                return Err(failure.hint(format!("{why}; stop it there")));
            }
            holder::Asked::NotListening => "does not take signals",
            holder::Asked::Unclear => "cannot be found",
        };
        if Instant::now() >= until {
            return Err(Failure::new(
                Kind::Environment,
                format!(
                    "run {run} is held, and its holder ({}) {problem}",
                    who(&held)
                ),
            ));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Waits until `held` has let go; another holder is another matter.
fn released(
    store: &dyn Store,
    record: &RunRecord,
    held: &Holder,
    within: Duration,
) -> std::result::Result<bool, Failure> {
    let until = Instant::now() + within;
    loop {
        match store.holder(&record.new.run)? {
            None => return Ok(true),
            Some(now) if now.pid.is_some() && now.pid != held.pid => return Ok(true),
            Some(_) if Instant::now() >= until => return Ok(false),
            Some(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// Returns how a run stands, as a clause.
fn how(seen: &Seen, store: &dyn Store) -> String {
    match seen.report(store) {
        Ok(report) => {
            let status = report.status.as_str();
            let outcome = report.outcome.unwrap_or_else(|| status.to_owned());
            format!(
                "{}, after step {}, {} USD",
                crate::observe::plain::excerpt(&outcome, 200),
                report.completed_steps,
                report.cost_usd
            )
        }
        Err(_) => seen.status().to_owned(),
    }
}

fn who(held: &Holder) -> String {
    match held.pid {
        Some(pid) => format!("process {pid}"),
        None => "an unknown process".to_owned(),
    }
}
