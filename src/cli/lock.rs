//! `agentguard lock` and `agentguard locks`

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::Signal;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::error::{Failure, Kind};
use super::look::{self, table::table};
use super::runs::ago;
use super::{Global, Result, open};
use crate::driver::staging::in_words;
use crate::exit_code;
use crate::ids::RunId;
use crate::process::{RUN_VARIABLE, end_with_us};
use crate::store::path_lock::{self, Held, Owner, Taken};
use crate::task::units;

/// How often a lock that somebody holds is asked for.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Run a command while holding a lock on a path
///
/// Nobody else who asks agentguard for the same path, a folder around it or
/// something in it has it meanwhile: neither a run with `workspace.lock` nor
/// another `agentguard lock`. The lock is gone with its holder, however that ends;
/// one that is killed takes the command with it. What the command runs is within the
/// lock. It binds only those who ask. The exit code is that of the command; 23 if the
/// lock was not had in time.
#[derive(Debug, Args)]
#[command(after_help = LOCK_EXAMPLES)]
pub struct LockArgs {
    /// The file or folder; it need not be there
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// How long to wait for it; 0s fails at once
    #[arg(long, value_name = "TIME", default_value = "30s")]
    wait: units::Duration,

    /// The program and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<std::ffi::OsString>,
}

const LOCK_EXAMPLES: &str = "Examples:
  agentguard lock db.sqlite -- ./migrate.sh
  agentguard lock --wait 5m shared/ -- make -C shared";

/// List the locks on paths, and who waits for them
#[derive(Debug, Args)]
#[command(after_help = LOCKS_EXAMPLES)]
pub struct LocksArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const LOCKS_EXAMPLES: &str = "Examples:
  agentguard locks
  agentguard locks --json | jq -r '.locks[].path'";

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    v: u64,
    locks: Vec<Held>,
}

/// Runs a command while holding a lock.
pub fn lock(global: &Global, args: LockArgs) -> Result {
    let paths = open::paths(global)?;
    paths.make_state()?;
    let path = std::path::absolute(&args.path)
        .map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let wanted = [path];
    let run = std::env::var(RUN_VARIABLE).ok();
    let run = run.and_then(|run| run.parse::<RunId>().ok());
    let words: Vec<_> = args
        .command
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let owner = Owner::here(run, Some(words.join(" ")), open::clock().now());
    let until = Instant::now() + Duration::from_millis(args.wait.0);
    let mut announced = None;
    let _lock = loop {
        let held = match path_lock::take(&paths, &wanted, &owner)? {
            Taken::Ours(lock) => break lock,
            Taken::Busy(held) => held,
        };
        if Instant::now() >= until {
            return Err(busy(&held, args.wait));
        }
        if announced.is_none() {
            announced = Some(path_lock::announce(&paths, &wanted, &owner)?);
            look::say(&format!("waiting: {}", in_words(&held)));
        }
        std::thread::sleep(ASK_AGAIN);
    };
    drop(announced);
    let program = &args.command[0];
    let mut command = Command::new(program);
    command
        .args(&args.command[1..])
        .env(path_lock::WITHIN_VARIABLE, owner.around());
    match see_through(command) {
        Ok(status) => Ok(code(status)),
        Err(error) => Err(Failure::from_error(Kind::Stopping(127), &error)
            .within(format!("cannot start `{}`", program.display()))),
    }
}

/// Runs a command to its end. Who asks us to end asks the command, so that the lock is
/// held as long as it works; when we are killed it is killed too.
fn see_through(mut command: Command) -> std::io::Result<ExitStatus> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        end_with_us(&mut command);
        // What is ignored where we are started is ignored in the command as well.
        let mut child = tokio::process::Command::from(command).spawn()?;
        let pid = child
            .id()
            .and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        // On a terminal Ctrl-C reaches the command by itself.
        let has_terminal = std::fs::File::open("/dev/tty").is_ok();
        loop {
            let passed = tokio::select! {
                status = child.wait() => return status,
                _ = interrupt.recv() => Signal::INT,
                _ = terminate.recv() => Signal::TERM,
                _ = hangup.recv() => Signal::HUP,
            };
            if passed == Signal::INT && has_terminal {
                continue;
            }
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, passed);
            }
        }
    })
}

/// Lists the locks.
pub fn locks(global: &Global, args: LocksArgs) -> Result {
    let locks = path_lock::list(&open::paths(global)?)?;
    if args.json {
        look::print_json(&Document {
            v: look::JSON_VERSION,
            locks,
        })?;
        return Ok(exit_code::DONE);
    }
    if locks.is_empty() {
        look::say("nothing is locked");
        return Ok(exit_code::DONE);
    }
    let now = open::clock().now();
    let rows: Vec<_> = locks
        .iter()
        .map(|held| {
            let owner = &held.owner;
            let waiting: Vec<_> = held.waiting.iter().map(Owner::describe).collect();
            vec![
                held.path.display().to_string(),
                owner.describe(),
                ago(now.since(owner.since)),
                owner
                    .command
                    .clone()
                    .unwrap_or_else(|| "(the run)".to_owned()),
                waiting.join(", "),
            ]
        })
        .collect();
    look::print(&table(
        &["PATH", "HELD BY", "SINCE", "FOR", "WAITING"],
        &rows,
        look::columns(),
    ))?;
    Ok(exit_code::DONE)
}

fn busy(held: &Held, waited: units::Duration) -> Failure {
    let age = ago(open::clock().now().since(held.owner.since));
    let what = held
        .owner
        .command
        .as_ref()
        .map(|command| format!(", for `{command}`"));
    Failure::new(
        Kind::Stopping(exit_code::UNAVAILABLE),
        format!(
            "{}, since {age}{}; waited {waited}",
            in_words(held),
            what.unwrap_or_default()
        ),
    )
    .hint("wait longer with --wait, or see `agentguard locks`")
}

/// As a shell reports how a program ended.
fn code(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
