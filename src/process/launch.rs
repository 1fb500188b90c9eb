//! Our side of a shim: starts one, tells it what to start, hears how that ends.
//!
//! A shim is told by its socket alone. It needs no handle that must be kept:
//! whoever drops a [`Guarded`] closes the socket, and the shim ends all that
//! is beneath it. A task of its own listens to the end and takes the shim's
//! status, so that no zombie stays.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use super::wire::{END, Report, Start};
use super::{Error, Exit, Mark, Spec, find, spec, tree};

/// The hidden argument by which the binary becomes a shim.
pub const SHIM_ARGUMENT: &str = "__shim";

/// How long a shim may take to answer. It takes a millisecond or two.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// How long a shim may take to end what is left, before it is killed.
const CLOSE_MAX: Duration = Duration::from_secs(15);

/// How to start a shim: our own binary, and the argument that makes it one.
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
}

impl Launcher {
    /// Starts shims from the binary that is running; on Linux also when its
    /// file was replaced meanwhile.
    pub fn this_binary() -> Self {
        if cfg!(target_os = "linux") {
            return Self::at("/proc/self/exe");
        }
        Self::at(std::env::current_exe().unwrap_or_else(|_| "agentguard".into()))
    }

    /// Starts shims from another copy of agentguard; for tests.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
        }
    }
}

/// The children of this process that are shims, and what shims told us of:
/// children are a matter of the whole process, so this is too.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry {
    /// Shims whose status is not taken yet.
    pub(super) shims: BTreeSet<i32>,
    /// The children of those shims that they have not told the end of.
    pub(super) children: BTreeSet<i32>,
    /// Whether there was ever a shim.
    pub(super) used: bool,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    shims: BTreeSet::new(),
    children: BTreeSet::new(),
    used: false,
});

impl Registry {
    /// Returns what is known now.
    pub(super) fn read() -> Self {
        Self::lock().clone()
    }

    fn lock() -> MutexGuard<'static, Self> {
        // Two sets of numbers: whole at any moment.
        REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a guarded child.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// How the child itself ended.
    pub(super) exit: Option<Exit>,
    /// Nothing is left beneath the shim.
    pub(super) empty: bool,
    /// The shim itself is gone, and its status taken.
    pub(super) shim_gone: bool,
}

/// A child beneath its shim.
#[derive(Debug)]
pub(super) struct Guarded {
    /// The shim.
    pub(super) shim: i32,
    /// The child itself.
    pub(super) pid: i32,
    state: watch::Receiver<State>,
    /// Closing it is what ends the shim.
    socket: Option<OwnedWriteHalf>,
}

impl Guarded {
    /// Starts a shim, and the child beneath it with these streams.
    ///
    /// Once this returns, the child runs, and cannot outlive us. `guards` is the
    /// mark of what else goes when we die, or drop it without [`Guarded::close`].
    pub(super) async fn start(
        launcher: &Launcher,
        spec: &Spec,
        mark: &Mark,
        guards: Option<&Mark>,
        streams: [OwnedFd; 3],
    ) -> Result<Self, Error> {
        let program = find::program(spec)?;
        let start = Start {
            program: program.clone(),
            argv: spec.argv.clone(),
            cwd: spec.cwd.clone(),
            env: spec.env.iter().cloned().chain(mark.variables()).collect(),
            mark: guards.map(Mark::variables).unwrap_or_default(),
        };
        let failed = |source| Error::Shim {
            path: launcher.program.clone(),
            source,
        };
        let (shim, socket) = start_shim(launcher, mark).map_err(failed)?;
        let (answer, answered) = oneshot::channel();
        let (sender, state) = watch::channel(State::default());
        tokio::spawn(attend(
            Untaken(shim),
            socket,
            start,
            streams,
            answer,
            sender,
        ));
        match answered
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
        {
            Ok((Report::Started { pid }, socket)) => Ok(Self {
                shim,
                pid,
                state,
                socket: Some(socket),
            }),
            Ok((Report::Failed { errno }, _)) => Err(find::explain(
                spec,
                &program,
                Errno::from_raw_os_error(errno),
            )),
            Ok(_) => Err(failed(io::ErrorKind::InvalidData.into())),
            Err(source) => Err(failed(source)),
        }
    }

    /// Returns what is known now.
    pub(super) fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Waits for the child itself to end; may be dropped and called again.
    pub(super) async fn exited(&self) -> Exit {
        let state = self.until(|state| state.exit.is_some()).await;
        state.exit.unwrap_or(Exit::Lost)
    }

    /// Waits until nothing is left beneath the shim, or the shim is gone.
    pub(super) async fn deserted(&self) {
        self.until(|state| state.empty || state.shim_gone).await;
    }

    /// Ends the shim, and at once what is left beneath it. Returns when the
    /// shim is gone.
    pub(super) async fn close(&mut self) {
        if let Some(socket) = self.socket.take() {
            // A full or broken socket means the same without the word.
            let _: io::Result<usize> = socket.try_write(END);
        }
        signal_shim(self.shim, Signal::CONT);
        if timeout(CLOSE_MAX, self.until(|state| state.shim_gone))
            .await
            .is_err()
        {
            signal_shim(self.shim, Signal::KILL);
            self.until(|state| state.shim_gone).await;
        }
    }

    async fn until(&self, reached: impl FnMut(&State) -> bool) -> State {
        // The task that sends goes away only after the last state, or with the runtime.
        let mut state = self.state.clone();
        let found = state.wait_for(reached).await.map(|state| *state);
        found.unwrap_or_else(|_| self.state())
    }
}

/// Starts the shim itself: its stdin is our socket, and it has nothing else.
fn start_shim(launcher: &Launcher, mark: &Mark) -> io::Result<(i32, UnixStream)> {
    tree::adopt_orphans();
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = Command::new(&launcher.program);
    command
        .arg0("agentguard")
        .arg(SHIM_ARGUMENT)
        .env_clear()
        .env(spec::SHIM_VARIABLE, mark.run_id().as_str())
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Held over the start, so that a sweep sees no shim it does not know.
    let mut registry = Registry::lock();
    let child = command.spawn()?;
    let shim = Pid::from_child(&child).as_raw_nonzero().get();
    registry.shims.insert(shim);
    registry.used = true;
    drop(registry);
    Ok((shim, UnixStream::from_std(ours)?))
}

/// The answer to a start, and our half of the socket.
type Answer = io::Result<(Report, OwnedWriteHalf)>;

/// Accompanies a shim from its start until its status is taken.
async fn attend(
    shim: Untaken,
    socket: UnixStream,
    start: Start,
    streams: [OwnedFd; 3],
    answer: oneshot::Sender<Answer>,
    state: watch::Sender<State>,
) {
    let (reading, mut writing) = socket.into_split();
    let mut lines = BufReader::new(reading);
    let first = timeout(
        ANSWER_MAX,
        hand_over(&mut lines, &mut writing, start, streams),
    )
    .await;
    let first = first.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let pid = match first {
        Ok(Report::Started { pid }) => Some(pid),
        _ => None,
    };
    Registry::lock().children.extend(pid);
    // If nobody waits any more, this closes the socket.
    let _: Result<(), Answer> = answer.send(first.map(|report| (report, writing)));

    while let Ok(report) = next_report(&mut lines).await {
        state.send_modify(|state| match report {
            Report::Exited(exit) => state.exit = Some(exit),
            Report::Empty => state.empty = true,
            Report::Started { .. } | Report::Failed { .. } => {}
        });
    }
    shim.take().await;
    let lost = state.borrow().exit.is_none();
    let exit = match pid {
        Some(pid) if lost => status_of_orphan(pid).await,
        _ => Exit::Lost,
    };
    state.send_modify(|state| {
        state.exit.get_or_insert(exit);
        state.shim_gone = true;
    });
    if let Some(pid) = pid {
        Registry::lock().children.remove(&pid);
    }
}

/// Sends the start and waits for the first answer.
async fn hand_over(
    lines: &mut BufReader<OwnedReadHalf>,
    writing: &mut OwnedWriteHalf,
    start: Start,
    streams: [OwnedFd; 3],
) -> io::Result<Report> {
    let frame = start.encode();
    let socket = writing.as_ref();
    let sent = socket
        .async_io(Interest::WRITABLE, || send_with(socket, &frame, &streams))
        .await?;
    // The child's ends: as long as we hold them, no pipe of its ever closes.
    drop(streams);
    writing.write_all(&frame[sent..]).await?;
    next_report(lines).await
}

/// Sends bytes, and descriptors that travel with the first of them.
fn send_with(socket: impl AsFd, bytes: &[u8], streams: &[OwnedFd; 3]) -> io::Result<usize> {
    let streams = streams.each_ref().map(OwnedFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&streams));
    let sent = sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok(sent)
}

async fn next_report(lines: &mut BufReader<OwnedReadHalf>) -> io::Result<Report> {
    let mut line = String::new();
    lines.read_line(&mut line).await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Report::decode(&line).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A shim whose status is not taken yet. Dropping it, when the runtime goes
/// down before the shim, leaves that to a thread.
struct Untaken(i32);

impl Untaken {
    /// Takes the status, once the socket is closed: the shim is about to be gone.
    async fn take(self) {
        for waited_ms in 0.. {
            if take_status(self.0) {
                break;
            }
            if waited_ms == 5_000 {
                signal_shim(self.0, Signal::KILL);
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        let shim = self.0;
        if !Registry::lock().shims.contains(&shim) {
            return;
        }
        let wait = move || {
            while !take_status(shim) {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        // Without a thread a zombie stays until we end.
        let _: io::Result<_> = std::thread::Builder::new().name("shim".into()).spawn(wait);
    }
}

/// Takes the status of a shim, if it is gone; returns whether that is settled.
fn take_status(shim: i32) -> bool {
    // Under the lock: once its status is taken, its number is anybody's.
    let mut registry = Registry::lock();
    let pid = Pid::from_raw(shim).filter(|_| registry.shims.contains(&shim));
    let Some(pid) = pid else { return true };
    let settled = !matches!(
        waitpid(Some(pid), WaitOptions::NOHANG),
        Ok(None) | Err(Errno::INTR)
    );
    if settled {
        registry.shims.remove(&shim);
    }
    settled
}

/// Takes the status of a child whose shim was killed: the kernel killed it
/// too, and made it ours, unless the dying shim took its status along.
async fn status_of_orphan(pid: i32) -> Exit {
    let Some(pid) = Pid::from_raw(pid) else {
        return Exit::Lost;
    };
    for _ in 0..2_000 {
        match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => return Exit::from_wait(status).unwrap_or(Exit::Lost),
            Ok(None) | Err(Errno::INTR) => sleep(Duration::from_millis(1)).await,
            Err(_) => return Exit::Lost,
        }
    }
    Exit::Lost
}

/// Signals a shim, if its number is still its own.
fn signal_shim(shim: i32, signal: Signal) {
    let registry = Registry::lock();
    if let Some(pid) = Pid::from_raw(shim).filter(|_| registry.shims.contains(&shim)) {
        let _: Result<(), Errno> = kill_process(pid, signal);
    }
}
