//! The one thread that writes: group commit.
//!
//! ```text
//! submit ─► queue ─► BEGIN IMMEDIATE
//!                    job 1, and whatever else has come by now, each in a savepoint
//!                    COMMIT: one fsync
//!                    answers, in order
//!                    checkpoint, if nobody waits
//! ```
//!
//! A transaction of jobs that may lag is not synced: the system has it, the disk
//! will, at the latest with the next one that is. One that must not lag waits for
//! no lagging transaction and joins none.
//!
//! A job that is refused, or fails, takes back only what it did itself. When
//! the commit fails, or SQLite gives the whole transaction up (a full disk),
//! all jobs in it have failed. Nothing is tried again here.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use crate::store::paths::io_error;
use crate::store::{Error, Pending, Result};

use super::fault::{Fault, explain};

/// The most jobs in one transaction. More gain nothing and let the first wait.
const JOBS_MAX: usize = 1024;
/// After so many commits the WAL is written back, as soon as nobody waits. Twice
/// as many save no time that can be measured and leave 2 MB more on the disk.
const CHECKPOINT_COMMITS: u32 = 32;
/// After so many it is written back even if somebody does.
const CHECKPOINT_COMMITS_MAX: u32 = 512;
/// Between two tries while another process writes. SQLite's own handler waits
/// up to 100 ms, which a supervisor's turn would feel.
const BETWEEN_TRIES: Duration = Duration::from_micros(500);

/// How many times longer than at first a process waits that has written before:
/// it has a run under way, which a slow disk under twenty others must not end.
const LATER_WAIT_TIMES: u64 = 6;

/// The queue to the thread. Dropping it waits until the queue is empty.
pub(super) struct Writer {
    jobs: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `wait_ms`: how long it waits for other processes.
    pub(super) fn start(conn: Connection, path: PathBuf, wait_ms: u64) -> Result<Self> {
        // We wait ourselves, in shorter steps.
        conn.busy_timeout(Duration::ZERO)
            .map_err(|error| explain(error, &path, wait_ms))?;
        let (sender, jobs) = channel();
        let mut serving = Serving {
            conn,
            path: path.clone(),
            wait_ms,
            has_written: false,
            is_lagging: false,
            jobs,
            ahead: None,
            commits: 0,
        };
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || serving.serve())
            .map_err(|cause| io_error("start the writer of", &path, cause))?;
        Ok(Self {
            jobs: Some(sender),
            thread: Some(thread),
        })
    }

    /// Queues work for the next transaction. The answer comes when it is
    /// durable.
    pub(super) fn submit<T, F>(&self, work: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> std::result::Result<T, Fault> + Send + 'static,
    {
        self.queue(work, false)
    }

    /// Queues work whose answer comes when it survives the end of this process; a
    /// power cut may still take it back, as long as nothing behind it is durable.
    pub(super) fn submit_lagging<T, F>(&self, work: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> std::result::Result<T, Fault> + Send + 'static,
    {
        self.queue(work, true)
    }

    fn queue<T, F>(&self, work: F, may_lag: bool) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> std::result::Result<T, Fault> + Send + 'static,
    {
        let (reply, pending) = Pending::new();
        let job = Work {
            work: Some(work),
            value: None,
            reply,
            may_lag,
        };
        if let Some(jobs) = &self.jobs {
            // Fails only when the thread is gone; then the reply is dropped and
            // the answer is `Closed`.
            let _ = jobs.send(Box::new(job));
        }
        pending
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has answered `Closed` to all.
            let _ = thread.join();
        }
    }
}

/// Something to do in a transaction, and to answer after it.
trait Job: Send {
    /// Does the work. Called once.
    fn run(&mut self, conn: &Connection) -> std::result::Result<(), Fault>;
    /// Whether it need not wait for the disk.
    fn may_lag(&self) -> bool;
    /// Answers: with what the work returned, or with why it is not durable.
    fn answer(self: Box<Self>, outcome: Result<()>);
}

struct Work<T, F> {
    work: Option<F>,
    value: Option<T>,
    reply: oneshot::Sender<Result<T>>,
    may_lag: bool,
}

impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> std::result::Result<T, Fault> + Send,
{
    fn run(&mut self, conn: &Connection) -> std::result::Result<(), Fault> {
        if let Some(work) = self.work.take() {
            self.value = Some(work(conn)?);
        }
        Ok(())
    }

    fn may_lag(&self) -> bool {
        self.may_lag
    }

    fn answer(self: Box<Self>, outcome: Result<()>) {
        let Self { value, reply, .. } = *self;
        let answer = outcome.and_then(|()| value.ok_or(Error::Closed));
        // Nobody may be waiting any more; the write counts all the same.
        let _ = reply.send(answer);
    }
}

/// The thread's side.
struct Serving {
    conn: Connection,
    path: PathBuf,
    wait_ms: u64,
    has_written: bool,
    /// How the connection is set: commits are not synced.
    is_lagging: bool,
    jobs: Receiver<Box<dyn Job>>,
    /// A job that did not fit into the last transaction.
    ahead: Option<Box<dyn Job>>,
    /// Commits since the last checkpoint.
    commits: u32,
}

/// Jobs of one transaction and how they fared.
type Batch = Vec<(Box<dyn Job>, Result<()>)>;

impl Serving {
    fn serve(&mut self) {
        let mut next = self.jobs.recv().ok();
        while let Some(first) = next {
            for (job, outcome) in self.transaction(first) {
                job.answer(outcome);
            }
            next = self.next_job();
            if self.commits >= CHECKPOINT_COMMITS_MAX
                || (next.is_none() && self.commits >= CHECKPOINT_COMMITS)
            {
                self.checkpoint();
            }
            next = next.or_else(|| self.jobs.recv().ok());
        }
    }

    fn next_job(&mut self) -> Option<Box<dyn Job>> {
        self.ahead.take().or_else(|| self.jobs.try_recv().ok())
    }

    /// Runs `first` and all that wait behind it in one transaction.
    fn transaction(&mut self, first: Box<dyn Job>) -> Batch {
        let may_lag = first.may_lag();
        if let Err(error) = self.set_lagging(may_lag).and_then(|()| self.begin()) {
            // Whoever waits behind would wait as long again for the same.
            let waiting = std::iter::once(first).chain(self.jobs.try_iter());
            return waiting.map(|job| (job, Err(error.clone()))).collect();
        }
        let mut batch = Batch::new();
        let mut next = Some(first);
        while let Some(mut job) = next {
            let outcome = self.in_savepoint(job.as_mut());
            let given_up = self.conn.is_autocommit();
            batch.push((job, outcome));
            if given_up {
                return fail_all(batch);
            }
            next = match batch.len() {
                JOBS_MAX => None,
                _ => self.next_job(),
            };
            if may_lag && next.as_ref().is_some_and(|job| !job.may_lag()) {
                self.ahead = next.take();
            }
        }
        match self.conn.execute_batch("COMMIT") {
            Ok(()) => {
                self.commits += 1;
                if !self.has_written {
                    self.has_written = true;
                    self.wait_ms *= LATER_WAIT_TIMES;
                }
                batch
            }
            Err(error) => {
                self.roll_back();
                let error = explain(error, &self.path, self.wait_ms);
                batch.iter_mut().for_each(|(_, outcome)| {
                    if outcome.is_ok() {
                        *outcome = Err(error.clone());
                    }
                });
                batch
            }
        }
    }

    /// Sets whether commits are synced; not within a transaction.
    fn set_lagging(&mut self, may_lag: bool) -> Result<()> {
        if may_lag == self.is_lagging {
            return Ok(());
        }
        let level = if may_lag { "normal" } else { "full" };
        self.conn
            .pragma_update(None, "synchronous", level)
            .map_err(|error| explain(error, &self.path, self.wait_ms))?;
        self.is_lagging = may_lag;
        Ok(())
    }

    /// Waits for its turn among all processes.
    fn begin(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_millis(self.wait_ms);
        loop {
            let Err(error) = self.conn.execute_batch("BEGIN IMMEDIATE") else {
                return Ok(());
            };
            let busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
            if !busy || Instant::now() >= deadline {
                return Err(explain(error, &self.path, self.wait_ms));
            }
            std::thread::sleep(BETWEEN_TRIES);
        }
    }

    fn in_savepoint(&self, job: &mut dyn Job) -> Result<()> {
        let outcome = execute(&self.conn, "SAVEPOINT job")
            .map_err(Fault::from)
            .and_then(|()| job.run(&self.conn))
            .and_then(|()| Ok(execute(&self.conn, "RELEASE job")?));
        outcome.map_err(|fault| {
            if !self.conn.is_autocommit() {
                let undone = self.conn.execute_batch("ROLLBACK TO job; RELEASE job");
                if undone.is_err() {
                    self.roll_back();
                }
            }
            fault.at(&self.path, self.wait_ms)
        })
    }

    fn roll_back(&self) {
        if !self.conn.is_autocommit() && self.conn.execute_batch("ROLLBACK").is_err() {
            // SQLite has given the transaction up already, which is the same.
            debug_assert!(
                self.conn.is_autocommit(),
                "a transaction outlived its rollback"
            );
        }
    }

    /// Writes the WAL back into the database. A failure costs only space: the
    /// WAL keeps what is not written back.
    fn checkpoint(&mut self) {
        self.commits = 0;
        let _ = self
            .conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }
}

fn execute(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(drop)
}

/// Fails the jobs of a transaction that SQLite gave up, by the error of the
/// last one.
fn fail_all(mut batch: Batch) -> Batch {
    let cause = match batch.last() {
        Some((_, Err(error))) => error.clone(),
        _ => Error::Closed,
    };
    for (_, outcome) in &mut batch {
        if outcome.is_ok() {
            *outcome = Err(cause.clone());
        }
    }
    batch
}
