//! The guardian: a process between the supervisor and one child.
//!
//! It starts the child, tells its end, and waits for its socket to close. Then
//! it kills what is left beneath it, and exits. That is all it does, so that
//! there is little that could go wrong in it: no runtime, two threads, one lock
//! (none of its own).
//!
//! It begins a session of its own, so that no signal of the terminal reaches
//! it or the child, and a tool that asks for a password there fails at once
//! instead of being stopped. The child gets a process group of its own, and on
//! Linux dies with the shim.
//!
//! The child's streams arrive as descriptors over the socket, and are closed
//! here as soon as the child has them: a pipe must close when its last user ends.
//!
//! `wire.rs` has the conversation.

use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::thread;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, WaitOptions, getpid, setsid, wait};

pub use super::launch::SHIM_ARGUMENT;
use super::sweep::{Scope, sweep_blocking};
use super::wire::{END, Report, START_BYTES_MAX, Start};
use super::{Exit, Mark, raw, tree};

/// Is the shim. `main` calls this before anything else when the first argument
/// is [`SHIM_ARGUMENT`]; stdin is the socket to the supervisor.
///
/// Returns when the supervisor has closed the socket and nothing is left
/// beneath. Says nothing: there is nobody to read it.
pub fn main() -> ExitCode {
    match guard() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn guard() -> io::Result<()> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Refused only when the caller made us a leader already, which is as good.
    let _: Result<Pid, Errno> = setsid();
    tree::adopt_orphans();
    raw::keep_descriptors_to_ourselves();
    let (start, streams) = receive(&mut socket)?;
    let mark = Mark::from_variables(&start.mark);
    let child = match start_child(start, streams) {
        Ok(child) => child,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error());
            return tell(&socket, &Report::Failed { errno }.encode());
        }
    };
    // No folder stays in use because of us.
    let _: io::Result<()> = std::env::set_current_dir("/");
    let pid = child.as_raw_nonzero().get();
    tell(&socket, &Report::Started { pid }.encode())?;
    let telling = socket.try_clone()?;
    let waiting = thread::Builder::new().spawn(move || wait_for_all(child, &telling));
    let orderly = waiting.is_ok() && listen(&mut socket);
    if orderly && waiting.is_ok_and(|thread| thread.is_finished()) {
        return Ok(());
    }
    let scope = Scope {
        shim: Some(getpid().as_raw_nonzero().get()),
        mark: mark.filter(|_| !orderly),
        group: Some(child.as_raw_nonzero().get()),
        whole_run: false,
    };
    sweep_blocking(scope, 0);
    Ok(())
}

/// Receives what to start, and the three streams for it.
fn receive(socket: &mut UnixStream) -> io::Result<(Start, [OwnedFd; 3])> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    let received = recvmsg(
        &*socket,
        &mut [IoSliceMut::new(&mut length)],
        &mut control,
        flags,
    )?;
    socket.read_exact(&mut length[received.bytes..])?;
    let streams: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    if bytes > START_BYTES_MAX {
        return Err(invalid());
    }
    let mut body = vec![0; bytes];
    socket.read_exact(&mut body)?;
    let start = Start::decode(&body).ok_or_else(invalid)?;
    Ok((start, streams.try_into().map_err(|_| invalid())?))
}

/// Starts the child. The streams are closed here when this returns.
fn start_child(start: Start, streams: [OwnedFd; 3]) -> io::Result<Pid> {
    let [stdin, stdout, stderr] = streams;
    let mut command = Command::new(&start.program);
    let mut argv = start.argv.iter();
    if let Some(name) = argv.next() {
        command.arg0(name);
    }
    command
        .args(argv)
        .current_dir(&start.cwd)
        .env_clear()
        .envs(start.env)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0);
    raw::die_with_us(&mut command);
    Ok(Pid::from_child(&command.spawn()?))
}

/// Takes the status of everything that ends beneath us, and tells of the child.
///
/// When there is nothing to wait for, nothing can come any more: whatever runs
/// beneath us has a line of parents that ends here.
fn wait_for_all(child: Pid, socket: &UnixStream) {
    let mut told = String::new();
    loop {
        // What is told goes out together as soon as there is nothing to take,
        // so that "exited" and "empty" are one message where they are one event.
        let options = if told.is_empty() {
            WaitOptions::empty()
        } else {
            WaitOptions::NOHANG
        };
        match wait(options) {
            Ok(Some((pid, status))) if pid == child => {
                if let Some(exit) = Exit::from_wait(status) {
                    told.push_str(&Report::Exited(exit).encode());
                }
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => {
                let _: io::Result<()> = tell(socket, &told);
                told.clear();
            }
            Err(_) => break,
        }
    }
    told.push_str(&Report::Empty.encode());
    let _: io::Result<()> = tell(socket, &told);
}

/// Waits for the socket to close; returns whether that was announced.
fn listen(socket: &mut UnixStream) -> bool {
    let mut said = Vec::new();
    let _: io::Result<usize> = socket.take(END.len() as u64).read_to_end(&mut said);
    said == END
}

fn tell(mut socket: &UnixStream, lines: &str) -> io::Result<()> {
    socket.write_all(lines.as_bytes())
}
