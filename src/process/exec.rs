//! One tool command, from its start to its end.
//!
//! The command ends when its own process ends, not when its output does: a
//! tool may leave a server behind that holds stdout open for ever. What it
//! left stays under guard and goes with the run, or with us.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::capture::{Capture, Captured, Keep, OutputFiles, StartError};
use super::launch::Guarded;
use super::sweep::{Scope, sweep};
use super::{Error, Exit, Launcher, Mark, Spec, Stdin, Swept};

/// How long output may still come after the command's own end: a `tee` behind
/// it has a last line to write.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// How long a killed command may take to be gone.
const LAST_EXIT: Duration = Duration::from_secs(2);

/// How long the last of what a command started may take to end after it,
/// before it counts as left running.
const SETTLE: Duration = Duration::from_millis(20);

/// What one command may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecLimits {
    /// After this long the command and all beneath it are ended, in milliseconds.
    pub timeout_ms: u64,
    /// The time between asking and killing, in milliseconds. 0 kills at once.
    pub grace_ms: u64,
    /// Of each stream, kept in memory: half from its start, half from its end.
    pub keep_bytes: usize,
    /// Of each stream, written to disk; what comes after is counted and
    /// dropped. `u64::MAX` for no limit but the disk.
    pub disk_bytes_max: u64,
}

/// A command that came to its end.
#[derive(Clone, Debug)]
pub struct Executed {
    /// How the command itself ended; after a timeout, how it was ended.
    pub exit: Exit,
    /// Whether the time was up.
    pub timed_out: bool,
    /// From the start to the command's own end, in milliseconds.
    pub took_ms: u64,
    /// What it wrote to stdout.
    pub stdout: Captured,
    /// What it wrote to stderr.
    pub stderr: Captured,
    /// Whether something it started is still there. It stays under guard, its
    /// further output is thrown away, and it goes with the run.
    pub left_running: bool,
    /// What the timeout had to end; `None` when there was none.
    pub swept: Option<Swept>,
}

/// Runs one command to its end.
///
/// - `mark`: [`Mark::call`] for a tool call.
/// - `files`: made anew; their folders must exist.
///
/// Errors: only when it could not be started. A failing command is an
/// [`Executed`].
///
/// Dropping the future ends the command and all beneath it at once.
pub async fn exec(
    launcher: &Launcher,
    spec: &Spec,
    mark: &Mark,
    limits: ExecLimits,
    files: OutputFiles,
) -> Result<Executed, Error> {
    let (mut capture, streams) = connect(spec, limits, &files)?;
    // A call answers for itself only; the agent's guardian for the whole run.
    let guards = Some(mark).filter(|mark| mark.is_call());
    let guarded = Guarded::start(launcher, spec, mark, guards, streams).await?;
    let started = Instant::now();
    let time = Duration::from_millis(limits.timeout_ms);
    let in_time = timeout(time, guarded.exited()).await;
    let (exit, swept) = match in_time {
        Ok(exit) => (exit, None),
        Err(_) => {
            let swept = sweep(scope(&guarded, mark), limits.grace_ms).await;
            // One that cannot be killed is not waited for.
            let exit = timeout(LAST_EXIT, guarded.exited()).await;
            (exit.unwrap_or(Exit::Lost), Some(swept))
        }
    };
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let [stdout, stderr] = last_output(&mut capture)
        .await
        .map_err(|source| streams_error(spec, source))?;
    let left_running = !settled(&guarded).await;
    tokio::spawn(keep_under_guard(guarded, capture));
    Ok(Executed {
        exit,
        timed_out: swept.is_some(),
        took_ms,
        stdout,
        stderr,
        left_running,
        swept,
    })
}

/// What belongs to this call.
fn scope(guarded: &Guarded, mark: &Mark) -> Scope {
    let mark = Some(mark.clone()).filter(Mark::is_call);
    Scope {
        shim: Some(guarded.shim),
        mark,
        group: Some(guarded.pid),
        whole_run: false,
    }
}

/// Makes the streams: the capture, and the child's ends.
fn connect(
    spec: &Spec,
    limits: ExecLimits,
    files: &OutputFiles,
) -> Result<(Capture, [OwnedFd; 3]), Error> {
    let keep = Keep {
        memory_bytes: limits.keep_bytes,
        disk_bytes_max: limits.disk_bytes_max,
    };
    let input = match &spec.stdin {
        Stdin::Null | Stdin::Inherit => None,
        Stdin::Piped => Some(Vec::new()),
        Stdin::Bytes(bytes) => Some(bytes.clone()),
    };
    let (capture, stdin, [stdout, stderr]) =
        Capture::start(files, keep, input).map_err(|error| match error {
            StartError::File(error) => error,
            StartError::Streams(source) => streams_error(spec, source),
        })?;
    let stdin = match stdin {
        Some(stdin) => stdin,
        None => File::open("/dev/null")
            .map_err(|source| streams_error(spec, source))?
            .into(),
    };
    Ok((capture, [stdin, stdout, stderr]))
}

/// Waits for the end of the output, for a short time only.
async fn last_output(capture: &mut Capture) -> io::Result<[Captured; 2]> {
    if let Ok(finished) = timeout(LAST_OUTPUT, capture.finished()).await {
        return finished;
    }
    capture.that_was_all();
    capture.finished().await
}

/// Returns whether nothing is left. The shim says so together with the exit, or
/// when the last one ends.
async fn settled(guarded: &Guarded) -> bool {
    timeout(SETTLE, guarded.deserted()).await.is_ok()
}

/// Keeps socket and pipes open until nothing is left beneath. Ends with the
/// runtime otherwise, and with it what is left.
async fn keep_under_guard(mut guarded: Guarded, capture: Capture) {
    guarded.deserted().await;
    guarded.close().await;
    drop(capture);
}

fn streams_error(spec: &Spec, source: io::Error) -> Error {
    let program = spec
        .argv
        .first()
        .map(|program| program.to_string_lossy().into_owned());
    Error::Streams {
        program: program.unwrap_or_default(),
        source,
    }
}
