//! What `run` and `resume` share: signals, output, progress, the last words.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use clap::Args;
use rustix::process::DumpableBehavior;
use tokio::sync::mpsc;

use super::error::{Failure, Kind};
use super::look::Seen;
use super::{Global, Result, open};
use crate::driver::host::{self, Ending, Finished, Host};
use crate::driver::launch::Environment;
use crate::driver::output::{Sink, Stream};
use crate::driver::recover::Ready;
use crate::driver::supervise::Outside;
use crate::exit_code;
use crate::machine::Outcome;
use crate::machine::event::StoppedBy;
use crate::money::NanoUsd;
use crate::observe::{Observer, ci, json, lines, plain, progress};
use crate::policy::budget::Resource;
use crate::process::Launcher;
use crate::store::Store;

/// How a supervised run is shown.
#[derive(Debug, Args)]
pub struct Show {
    /// Print events as JSON lines on stdout; the agent's output goes to the log only
    #[arg(long)]
    json: bool,

    /// Print nothing but the agent's output
    #[arg(long, short)]
    quiet: bool,
}

impl Show {
    /// Whether events are printed as JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Shows nothing but the agent's output, and that on a terminal of its own only.
    pub(super) fn nothing() -> Self {
        Self {
            json: false,
            quiet: true,
        }
    }
}

/// Whether this process waits for humans.
#[derive(Debug, Args)]
pub struct Patience {
    /// Where a human is asked, end the agent and exit with code 25 instead of
    /// waiting; `agentguard resume` or `wait` goes on. The default where `CI` is set
    #[arg(long)]
    detach: bool,

    /// Wait for humans, also where `CI` is set
    #[arg(long, conflicts_with = "detach")]
    attach: bool,
}

impl Patience {
    /// Waits, wherever it is.
    pub fn attached() -> Self {
        Self {
            detach: false,
            attach: true,
        }
    }

    /// Waits for nobody.
    pub fn detached() -> Self {
        Self {
            detach: true,
            attach: false,
        }
    }

    fn is_detached(&self) -> bool {
        let in_ci = || std::env::var("CI").is_ok_and(|it| !matches!(&*it, "" | "false" | "0"));
        self.detach || (!self.attach && in_ci())
    }
}

/// Chunks of agent output that wait for a slow reader of ours.
const OUTPUT_CHUNKS: usize = 16;

impl Show {
    /// Shows log lines or a progress line only, or nothing.
    pub fn quiet(quiet: bool) -> Self {
        Self { json: false, quiet }
    }
}

/// Runs `work` with everything a supervisor needs, and says how it ended.
pub fn supervise<F>(
    global: &Global,
    show: &Show,
    patience: &Patience,
    store: Arc<dyn Store>,
    work: F,
) -> Result
where
    F: AsyncFnOnce(Host) -> std::result::Result<Finished, host::Error>,
{
    let (finished, took_ms) = hosted(global, show, patience, Arc::clone(&store), work)?;
    if show.json && !matches!(finished.ending, Ending::Ran(_) | Ending::Played(_)) {
        // Nothing happened whose line would tell how the run stands.
        let seen = Seen::look(store.as_ref(), store.find(finished.run.as_str())?)?;
        if let Ok(report) = seen.report(store.as_ref()) {
            let told =
                serde_json::json!({"v": json::VERSION, "run": finished.run, "result": report});
            super::jsonl::print(&format!("{told}\n"))?;
        }
    }
    Ok(last_words(show, &finished, took_ms))
}

/// Runs `work` with everything a supervisor needs. Returns with it how long it took,
/// in milliseconds.
pub fn hosted<F, T>(
    global: &Global,
    show: &Show,
    patience: &Patience,
    store: Arc<dyn Store>,
    work: F,
) -> std::result::Result<(T, u64), Failure>
where
    F: AsyncFnOnce(Host) -> std::result::Result<T, host::Error>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    // Keys in our memory and environment are not for whom we supervise to read.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let is_detached = patience.is_detached();
    let launcher = Launcher::this_binary();
    let (bar, observers) = observers(show, global);
    let sink = (!show.json).then(|| output(bar));
    let (sender, writer) = match sink {
        Some((sender, writer)) => (Some(sender), Some(writer)),
        None => (None, None),
    };
    let clock = open::clock();
    let began = clock.now();
    let finished = runtime.block_on(async {
        let host = Host {
            store,
            clock: clock.clone(),
            observers,
            outside: Outside {
                launcher,
                environment: Environment::read(),
                sink: sender,
                stops: stops(),
                is_detached,
            },
        };
        work(host).await
    });
    // Work that cannot be cancelled (a probe of a dead disk) holds nobody up.
    runtime.shutdown_background();
    if let Some(writer) = writer {
        // Everything the agent printed is out before our last words.
        let _ = writer.join();
    }
    let finished = finished.map_err(failure)?;
    Ok((finished, clock.now().since(began)))
}

/// Runs `work` with what a supervisor needs that shows nothing.
pub fn with_host<T, F>(store: Arc<dyn Store>, work: F) -> std::result::Result<T, Failure>
where
    F: AsyncFnOnce(Host) -> std::result::Result<T, host::Error>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let done = runtime.block_on(async {
        let host = Host {
            store,
            clock: open::clock(),
            observers: vec![],
            outside: Outside {
                launcher: Launcher::this_binary(),
                environment: Environment::read(),
                sink: None,
                stops: stops(),
                is_detached: true,
            },
        };
        work(host).await
    });
    runtime.shutdown_background();
    done.map_err(failure)
}

fn observers(show: &Show, global: &Global) -> (Option<progress::Bar>, Vec<Box<dyn Observer>>) {
    let mut observers: Vec<Box<dyn Observer>> = Vec::new();
    let mut bar = None;
    if show.json {
        observers.push(Box::new(json::Events::new(Box::new(std::io::stdout()))));
    } else if !show.quiet {
        if std::io::stderr().is_terminal() {
            let shown = progress::Bar::new();
            bar = Some(shown.clone());
            observers.push(Box::new(progress::Progress::new(
                shown,
                super::error::use_color(global),
            )));
        } else {
            observers.push(Box::new(lines::Lines::new(Box::new(std::io::stderr()))));
        }
    }
    if let Some(report) = ci::Ci::from_env(|name| std::env::var_os(name)) {
        observers.push(Box::new(report));
    }
    (bar, observers)
}

/// Passes the agent's output on, from a thread of its own: whoever reads ours
/// slowly slows the agent and not the supervisor.
fn output(bar: Option<progress::Bar>) -> (Sink, std::thread::JoinHandle<()>) {
    let (sender, mut receiver) = mpsc::channel::<(Stream, Vec<u8>)>(OUTPUT_CHUNKS);
    let writer = std::thread::spawn(move || {
        while let Some((stream, chunk)) = receiver.blocking_recv() {
            let write = || match stream {
                Stream::Out => std::io::stdout()
                    .write_all(&chunk)
                    .and_then(|()| std::io::stdout().flush()),
                Stream::Err => std::io::stderr().write_all(&chunk),
            };
            let written = match &bar {
                Some(bar) => bar.suspend(write),
                None => write(),
            };
            if written.is_err() {
                // Our reader went away (`| head`); the run goes on.
                return;
            }
        }
    });
    (sender, writer)
}

/// Turns signals into stops.
fn stops() -> mpsc::Receiver<StoppedBy> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, receiver) = mpsc::channel(4);
    let kinds = [
        (SignalKind::interrupt(), StoppedBy::Interrupt),
        (SignalKind::terminate(), StoppedBy::Terminate),
        (SignalKind::hangup(), StoppedBy::Terminate),
        (SignalKind::user_defined1(), StoppedBy::User),
    ];
    for (kind, by) in kinds {
        let Ok(mut signals) = signal(kind) else {
            continue;
        };
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if sender.send(by).await.is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

/// Says how it ended and what can be done about it; returns the exit code.
fn last_words(show: &Show, finished: &Finished, took_ms: u64) -> u8 {
    let run = &finished.run;
    let say = |text: String| {
        if !show.quiet && !show.json {
            let _ = writeln!(std::io::stderr(), "agentguard: {}", plain::line(&text));
        }
    };
    match &finished.ending {
        Ending::Ran(outcome) => {
            say(format!(
                "{}; run {run}, {}",
                outcome.describe(),
                open::duration(took_ms)
            ));
            if let Some(hint) = hint(run.as_str(), outcome) {
                say(hint);
            }
            outcome.exit_code()
        }
        Ending::Played(outcome) => {
            say(format!(
                "{}; replay {run}, {}",
                outcome.describe(),
                open::duration(took_ms)
            ));
            outcome.exit_code()
        }
        Ending::WasDone(outcome) => {
            say(format!(
                "run {run} is {} already; nothing to resume",
                outcome.describe()
            ));
            outcome.exit_code()
        }
        Ending::Refused(outcome) => {
            say(format!(
                "run {run} is not started again: {}",
                outcome.describe()
            ));
            if let Some(hint) = hint(run.as_str(), outcome) {
                say(hint);
            }
            outcome.exit_code()
        }
        Ending::Waiting(question) => {
            say(format!(
                "run {run} waits for a human ({}): {}",
                question.id, question.ask.question
            ));
            say(format!(
                "to answer: agentguard answer {}; to go on by itself then: agentguard wait {run}",
                question.id
            ));
            exit_code::WAITING
        }
        Ending::InDoubt(doubt) => {
            if let Ready::InDoubt { call, what, why } = doubt {
                say(format!(
                    "run {run}: call {call} of `{}` may or may not have happened ({why}); its \
                     arguments: {}",
                    what.tool, what.args
                ));
                say(format!(
                    "look whether it did, then: agentguard settle {run} {call} --happened (or \
                     --not-happened), then: agentguard resume {run}"
                ));
            }
            exit_code::IN_DOUBT
        }
    }
}

/// Returns what the user can do next.
fn hint(run: &str, outcome: &Outcome) -> Option<String> {
    let resume = format!("agentguard resume {run}");
    match outcome {
        Outcome::Done { .. } => None,
        Outcome::Budget { hit } => {
            // As much again, which at least fits the next step.
            let more = hit.limit.max(hit.next);
            let more = match hit.resource {
                Resource::CostUsd => NanoUsd(more).to_string(),
                _ => more.to_string(),
            };
            let key = hit.resource.key();
            Some(format!("to go on: {resume} --raise {key}=+{more}"))
        }
        Outcome::TimeUp {
            limit: crate::machine::event::TimeLimit::Deadline,
        } => Some(format!("to go on: {resume} --raise deadline=+30m")),
        Outcome::Rejected { .. } => Some(format!(
            "to see what was found: agentguard show {run}; to try again: {resume}"
        )),
        Outcome::Conflict { .. } => Some(format!(
            "to see the change: agentguard diff {run}; to try again once the conflict is resolved: \
             {resume}"
        )),
        Outcome::InDoubt { call, .. } => Some(format!(
            "look whether it happened, then: agentguard settle {run} {call} --happened (or \
             --not-happened), then: {resume}"
        )),
        Outcome::Waiting { escalation, .. } => Some(format!(
            "to answer: agentguard answer {escalation}; to go on by itself then: agentguard wait \
             {run}"
        )),
        Outcome::Loop { .. } | Outcome::Failed { .. } | Outcome::Unavailable { .. } => Some(
            format!("to see why: agentguard why {run}; to go on: {resume}"),
        ),
        Outcome::Crashed { .. }
        | Outcome::Parked { .. }
        | Outcome::TimeUp { .. }
        | Outcome::Stopped { .. }
        | Outcome::Broke { .. } => Some(format!("to go on: {resume}")),
    }
}

fn failure(error: host::Error) -> Failure {
    use host::Error;
    match error {
        Error::Store(error) => error.into(),
        Error::Session(crate::driver::Error::Store(error)) => {
            let hint = error.hint();
            Failure::from_error(Kind::Environment, &error).maybe_hint(hint)
        }
        Error::Locked(_) => Failure::from_error(Kind::Stopping(exit_code::UNAVAILABLE), &error)
            .hint("`agentguard locks` lists who holds what; `workspace.lock_wait` waits longer"),
        Error::Stopped(by) => {
            let code = Outcome::Stopped { by }.exit_code();
            Failure::from_error(Kind::Stopping(code), &error)
        }
        Error::Replay { ref of, .. } => Failure::from_error(Kind::Usage, &error).hint(format!(
            "`agentguard replay {of}` plays it again; `agentguard resume {of}` goes on with the run"
        )),
        Error::Input(_)
        | Error::Staging(_)
        | Error::Verify(_)
        | Error::Tools(_)
        | Error::Rule { .. }
        | Error::NotRaised { .. }
        | Error::NoLimit { .. }
        | Error::NoStep { .. } => Failure::from_error(Kind::Usage, &error),
        Error::Read(_) | Error::Session(_) | Error::Setup { .. } => {
            Failure::from_error(Kind::Environment, &error)
        }
    }
}
