//! The supervised agent.
//!
//! It runs beneath a shim of its own. Its exit is not the end of it: agents
//! leave tools and daemons behind, which stay until [`Agent::end`].

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use super::launch::Guarded;
use super::sweep::{Scope, sweep};
use super::{Error, Exit, Launcher, Mark, Spec, Stdin, Swept};

/// Where the agent's output goes.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Its stdout.
    pub stdout: Output,
    /// Its stderr.
    pub stderr: Output,
}

/// Where one stream goes.
#[derive(Debug, Default)]
pub enum Output {
    /// Nowhere.
    Null,
    /// To a pipe that the caller reads, to its end: an agent waits on a full one.
    #[default]
    Piped,
    /// Where our own goes.
    Inherit,
    /// To a file, without passing through us.
    File(File),
}

/// A running agent, or one that has exited and may have left others.
///
/// Dropping it without [`Agent::end`] kills at once all beneath it, and all
/// that carries the run's mark.
#[derive(Debug)]
pub struct Agent {
    guarded: Guarded,
    mark: Mark,
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
}

impl Agent {
    /// Starts the agent, in a process group of its own and without a terminal.
    ///
    /// Once this returns, it runs, and cannot outlive us. `mark` is
    /// [`Mark::run`].
    pub async fn start(
        launcher: &Launcher,
        spec: &Spec,
        mark: &Mark,
        stdio: Stdio,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Streams {
            program: spec
                .argv
                .first()
                .map(|name| name.to_string_lossy().into())
                .unwrap_or_default(),
            source,
        };
        let (stdin, child_stdin) = input(&spec.stdin).map_err(failed)?;
        let (stdout, child_stdout) = output(stdio.stdout, &io::stdout()).map_err(failed)?;
        let (stderr, child_stderr) = output(stdio.stderr, &io::stderr()).map_err(failed)?;
        let streams = [child_stdin, child_stdout, child_stderr];
        let guarded = Guarded::start(launcher, spec, mark, Some(mark), streams).await?;
        let stdin = match &spec.stdin {
            Stdin::Bytes(bytes) => {
                tokio::spawn(write_all(stdin, bytes.clone()));
                None
            }
            Stdin::Null | Stdin::Piped | Stdin::Inherit => stdin,
        };
        Ok(Self {
            guarded,
            mark: mark.clone(),
            stdin,
            stdout,
            stderr,
        })
    }

    /// Returns the agent's process id.
    pub fn pid(&self) -> i32 {
        self.guarded.pid
    }

    /// Returns the process id of its guardian.
    pub fn shim_pid(&self) -> i32 {
        self.guarded.shim
    }

    /// Takes the pipe to its stdin; `Some` once, after [`Stdin::Piped`].
    /// Dropping it is the end of the agent's input.
    pub fn take_stdin(&mut self) -> Option<pipe::Sender> {
        self.stdin.take()
    }

    /// Takes the pipe from its stdout; `Some` once, after [`Output::Piped`]. It
    /// ends when the agent *and all that inherited it* are gone, at the latest
    /// after [`Agent::end`].
    pub fn take_stdout(&mut self) -> Option<pipe::Receiver> {
        self.stdout.take()
    }

    /// Takes the pipe from its stderr, as [`Agent::take_stdout`].
    pub fn take_stderr(&mut self) -> Option<pipe::Receiver> {
        self.stderr.take()
    }

    /// Waits for the agent itself to exit. May be dropped and called again,
    /// and answers the same at once when it has exited.
    ///
    /// A guardian that is killed takes the agent along: then this is
    /// [`Exit::Signal`] 9, or sometimes [`Exit::Lost`].
    pub async fn exited(&self) -> Exit {
        self.guarded.exited().await
    }

    /// Ends the agent and all beneath it: asks, waits `grace_ms`, kills, looks
    /// again until none is left. Works after its exit too, and again.
    ///
    /// What carries the run's mark and has another guardian of ours, a tool
    /// call that is still running, is left alone; [`sweep_marked`] is for that.
    ///
    /// [`sweep_marked`]: super::sweep_marked
    pub async fn end(&mut self, grace_ms: u64) -> Swept {
        let scope = Scope {
            shim: Some(self.guarded.shim),
            group: Some(self.guarded.pid),
            mark: Some(self.mark.clone()),
            whole_run: false,
        };
        let swept = sweep(scope, grace_ms).await;
        self.guarded.close().await;
        swept
    }
}

/// Makes stdin: our end, if we write, and the child's.
fn input(stdin: &Stdin) -> io::Result<(Option<pipe::Sender>, OwnedFd)> {
    match stdin {
        Stdin::Null => Ok((None, File::open("/dev/null")?.into())),
        Stdin::Inherit => Ok((None, std::io::stdin().as_fd().try_clone_to_owned()?)),
        Stdin::Piped | Stdin::Bytes(_) => {
            let (reader, writer) = io::pipe()?;
            Ok((
                Some(pipe::Sender::from_owned_fd(writer.into())?),
                reader.into(),
            ))
        }
    }
}

/// Makes an output: our end, if we read, and the child's.
fn output(output: Output, ours: &impl AsFd) -> io::Result<(Option<pipe::Receiver>, OwnedFd)> {
    match output {
        Output::Null => Ok((None, File::options().write(true).open("/dev/null")?.into())),
        Output::Inherit => Ok((None, ours.as_fd().try_clone_to_owned()?)),
        Output::File(file) => Ok((None, file.into())),
        Output::Piped => {
            let (reader, writer) = io::pipe()?;
            Ok((
                Some(pipe::Receiver::from_owned_fd(reader.into())?),
                writer.into(),
            ))
        }
    }
}

async fn write_all(stdin: Option<pipe::Sender>, bytes: Vec<u8>) {
    if let Some(mut stdin) = stdin {
        // An agent that does not read all its input is fine.
        let _: io::Result<()> = stdin.write_all(&bytes).await;
    }
}
