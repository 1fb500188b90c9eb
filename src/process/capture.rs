//! Output of a tool: whole on disk, bounded in memory.
//!
//! One thread per call moves all its bytes, stdin too, so that neither a flood
//! nor a slow disk holds up the run, and no order of reading and writing can
//! make a tool and us wait for each other. When the disk is full it goes on
//! reading: the tool is not at fault, and the result says what is missing.
//!
//! A tool may leave something behind that holds its output open. So the end is
//! either the end of both streams, or a word from the caller ("that was all");
//! from then on what still comes is read and thrown away, because a server
//! left running would die of a closed pipe.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio, retry_on_intr};
use tokio::sync::oneshot;

use super::Error;
use super::excerpt::Excerpt;

/// Read at a time. More is no faster.
const CHUNK_BYTES: usize = 128 << 10;

/// Asked for as the pipe's size; a kernel may grant less.
const PIPE_BYTES: usize = 1 << 20;

/// Where the output goes. Each file is made anew, readable by its owner only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFiles {
    /// For stdout.
    pub stdout: PathBuf,
    /// For stderr.
    pub stderr: PathBuf,
}

/// One captured stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The file that holds it.
    pub path: PathBuf,
    /// All that was written by the child.
    pub bytes_total: u64,
    /// Of these, what is in the file, from the start on; fewer when the disk
    /// was full or the limit reached.
    pub bytes_on_disk: u64,
    /// Why the file is incomplete, if it is.
    pub disk_error: Option<String>,
    /// The stream as text: whole when it fits, else its start and its end with
    /// a line between them that says how much is left out. Bytes that are no
    /// UTF-8 stand as U+FFFD; a NUL stays one.
    pub text: String,
    /// Whether `text` leaves something out.
    pub truncated: bool,
    /// Whether all of the stream is UTF-8.
    pub is_utf8: bool,
}

/// How much of each stream is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// In memory, half from the start, half from the end.
    pub(super) memory_bytes: usize,
    /// On disk, from the start.
    pub(super) disk_bytes_max: u64,
}

/// A call's streams, being moved.
pub(super) struct Capture {
    result: oneshot::Receiver<[Captured; 2]>,
    /// A byte says "that was all"; closing it ends the thread.
    control: PipeWriter,
}

impl Capture {
    /// Starts moving. Returns with it the child's ends: stdin (if there is
    /// input), stdout, stderr.
    ///
    /// Errors: [`Error::OutputFile`], or the `io::Error` of a pipe or the thread.
    pub(super) fn start(
        files: &OutputFiles,
        keep: Keep,
        input: Option<Vec<u8>>,
    ) -> Result<(Self, Option<OwnedFd>, [OwnedFd; 2]), StartError> {
        let mut streams = Vec::new();
        let mut ends = Vec::new();
        for path in [&files.stdout, &files.stderr] {
            let file = create_private(path).map_err(|source| {
                StartError::File(Error::OutputFile {
                    path: path.clone(),
                    source,
                })
            })?;
            let (reader, writer) = io::pipe()?;
            widen(&writer);
            ioctl_fionbio(&reader, true)?;
            streams.push(Stream {
                pipe: Some(reader),
                record: Record::new(path, file, keep),
            });
            ends.push(OwnedFd::from(writer));
        }
        let (input, stdin) = match input {
            Some(bytes) => {
                let (reader, writer) = io::pipe()?;
                widen(&writer);
                ioctl_fionbio(&writer, true)?;
                (
                    Some(Input {
                        pipe: writer,
                        bytes,
                        written: 0,
                    }),
                    Some(OwnedFd::from(reader)),
                )
            }
            None => (None, None),
        };
        let (control_end, control) = io::pipe()?;
        let (sender, result) = oneshot::channel();
        let streams = to_pair(streams);
        let mover = Mover {
            streams,
            input,
            control: control_end,
            result: Some(sender),
        };
        thread::Builder::new()
            .name("capture".into())
            .spawn(move || mover.run())?;
        Ok((Self { result, control }, stdin, to_pair(ends)))
    }

    /// Waits until both streams have ended, or all was said to be there. May
    /// be dropped and called again until it has returned.
    pub(super) async fn finished(&mut self) -> io::Result<[Captured; 2]> {
        (&mut self.result)
            .await
            .map_err(|_| io::ErrorKind::Interrupted.into())
    }

    /// Says that what is in the pipes now was all.
    pub(super) fn that_was_all(&mut self) {
        // The thread is gone when both streams have ended.
        let _: io::Result<()> = self.control.write_all(b".");
    }
}

/// Why a capture could not start.
pub(super) enum StartError {
    File(Error),
    Streams(io::Error),
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Streams(error)
    }
}

impl From<Errno> for StartError {
    fn from(error: Errno) -> Self {
        Self::Streams(error.into())
    }
}

fn to_pair<T>(list: Vec<T>) -> [T; 2] {
    list.try_into()
        .unwrap_or_else(|_| unreachable!("made by a loop over two paths"))
}

fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Fewer turns for a flood. The kernel may refuse: then it is slower.
fn widen(pipe: &impl AsFd) {
    #[cfg(target_os = "linux")]
    let _: Result<usize, Errno> = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
    #[cfg(not(target_os = "linux"))]
    let _ = (pipe, PIPE_BYTES);
}

/// One stream of the child's, and what is known of it.
struct Stream {
    pipe: Option<PipeReader>,
    record: Record,
}

/// What the child has yet to read.
struct Input {
    pipe: PipeWriter,
    bytes: Vec<u8>,
    written: usize,
}

/// The thread's own.
struct Mover {
    streams: [Stream; 2],
    input: Option<Input>,
    control: PipeReader,
    /// Taken when the result is sent; what comes later is thrown away.
    result: Option<oneshot::Sender<[Captured; 2]>>,
}

impl Mover {
    fn run(mut self) {
        let mut chunk = vec![0; CHUNK_BYTES];
        while self.streams.iter().any(|stream| stream.pipe.is_some()) {
            let Ok([stdout, stderr, input, control]) = self.wait() else {
                break;
            };
            for (stream, ready) in self.streams.iter_mut().zip([stdout, stderr]) {
                if ready {
                    stream.read_once(&mut chunk, self.result.is_some());
                }
            }
            if input {
                self.input = self.input.take().and_then(Input::write_once);
            }
            if control {
                match (&self.control).read(&mut [0]) {
                    Ok(0) => break,
                    _ => self.conclude(&mut chunk),
                }
            }
        }
        self.conclude(&mut chunk);
    }

    /// Waits until something can be done: read stdout, read stderr, write
    /// stdin, read the caller's word.
    fn wait(&self) -> Result<[bool; 4], Errno> {
        let output =
            |index: usize| Some((self.streams[index].pipe.as_ref()?.as_fd(), PollFlags::IN));
        let input = self
            .input
            .as_ref()
            .map(|input| (input.pipe.as_fd(), PollFlags::OUT));
        let control = Some((self.control.as_fd(), PollFlags::IN));
        let wanted = [output(0), output(1), input, control];
        let polled = wanted.iter().flatten();
        let mut polled: Vec<PollFd<'_>> = polled
            .map(|(pipe, flags)| PollFd::from_borrowed_fd(*pipe, *flags))
            .collect();
        retry_on_intr(|| poll(&mut polled, None))?;
        // An error or a hang-up is told by the next read or write.
        let mut events = polled.iter().map(|polled| !polled.revents().is_empty());
        Ok(wanted.map(|wanted| wanted.is_some() && events.next().unwrap_or(false)))
    }

    /// Reads what is in the pipes and sends the result, once.
    fn conclude(&mut self, chunk: &mut [u8]) {
        let Some(result) = self.result.take() else {
            return;
        };
        for stream in &mut self.streams {
            // More than a pipe holds was not there when we were asked.
            let mut turns = PIPE_BYTES / CHUNK_BYTES + 1;
            while turns > 0 && stream.read_once(chunk, true) {
                turns -= 1;
            }
        }
        // The caller may have gone away.
        let [stdout, stderr] = &mut self.streams;
        let _: Result<(), _> = result.send([stdout.record.conclude(), stderr.record.conclude()]);
    }
}

impl Stream {
    /// Reads once; returns whether there may be more right now.
    fn read_once(&mut self, chunk: &mut [u8], record: bool) -> bool {
        let Some(pipe) = &mut self.pipe else {
            return false;
        };
        match pipe.read(chunk) {
            Ok(0) => self.pipe = None,
            Ok(bytes) => {
                if record {
                    self.record.push(&chunk[..bytes]);
                }
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => self.pipe = None,
        }
        false
    }
}

impl Input {
    /// Writes what the pipe takes; `None` when all is written or nobody reads.
    fn write_once(mut self) -> Option<Self> {
        match self.pipe.write(&self.bytes[self.written..]) {
            Ok(bytes) => self.written += bytes,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                // A child that does not read all its input is fine.
                _ => return None,
            },
        }
        (self.written < self.bytes.len()).then_some(self)
    }
}

/// A stream on its way to disk and memory.
struct Record {
    path: PathBuf,
    /// Taken when it is full, or all is there.
    file: Option<File>,
    bytes_on_disk: u64,
    disk_bytes_max: u64,
    disk_error: Option<String>,
    excerpt: Excerpt,
}

impl Record {
    fn new(path: &Path, file: File, keep: Keep) -> Self {
        Self {
            path: path.to_owned(),
            file: Some(file),
            bytes_on_disk: 0,
            disk_bytes_max: keep.disk_bytes_max,
            disk_error: None,
            excerpt: Excerpt::new(keep.memory_bytes),
        }
    }

    fn push(&mut self, chunk: &[u8]) {
        self.excerpt.push(chunk);
        if let Err(error) = self.write(chunk) {
            self.disk_error = Some(error.to_string());
            self.file = None;
        }
    }

    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let room = self.disk_bytes_max - self.bytes_on_disk;
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(chunk.len());
        let mut rest = &chunk[..room];
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.bytes_on_disk += bytes as u64;
                    rest = &rest[bytes..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if room < chunk.len() {
            let limit = format!("the limit of {} bytes is reached", self.disk_bytes_max);
            return Err(io::Error::other(limit));
        }
        Ok(())
    }

    fn conclude(&mut self) -> Captured {
        self.file = None;
        let excerpt = std::mem::replace(&mut self.excerpt, Excerpt::new(0));
        Captured {
            path: self.path.clone(),
            bytes_total: excerpt.bytes_total(),
            bytes_on_disk: self.bytes_on_disk,
            disk_error: self.disk_error.take(),
            truncated: excerpt.is_truncated(),
            is_utf8: excerpt.is_utf8(),
            text: excerpt.into_text(),
        }
    }
}
