//! The journal in SQLite: one file for all runs of a user.
//!
//! - `open`        finds, checks and prepares the file; the pragmas with reasons
//! - `migrations`  the schema
//! - `writer`      one thread owns the write connection; group commit
//! - `write`       what is written in a transaction, statement by statement
//! - `queue`       the retry queue's statements
//! - `human`       questions to humans, messages to them
//! - `read`        queries, on a connection of their own
//! - `collect`     removal of runs and of what nothing refers to
//! - `fault`       what SQLite's errors mean to a reader
//!
//! Several processes share the file. Each has one writer; they take turns at
//! `BEGIN IMMEDIATE`. Readers see only what is durable, since WAL publishes a
//! commit after its fsync.

mod collect;
mod fault;
mod human;
mod migrations;
mod open;
mod queue;
mod read;
mod write;
mod writer;

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use crate::clock::UnixMs;
use crate::ids::{Epoch, EscalationId, IdempotencyKey, RunId, Seq};

use super::human::{Decided, LetterRow, Posted, QuestionRow, QuestionRuling};
use super::key::{INLINE_BYTES_MAX, KeyChange, KeyResult};
use super::{
    BreakerEdit, BreakerRow, Collected, Committed, Draft, Error, Filter, GcRules, Head, Holder,
    ItemFilter, ItemNo, KeyRow, NewRun, Ownership, Paths, Pending, Result, RetryAsk, RunRecord,
    Store, Stored, StoredItem, Ticket, Turn, lock,
};
use fault::Fault;
use writer::Writer;

pub use migrations::{APPLICATION_ID, KNOWN as SCHEMA};
pub use open::{FILE_PRAGMAS, PRAGMAS};

/// What may be chosen when a journal is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a write waits while another process writes, in milliseconds.
    pub wait_ms: u64,
    /// The largest single text (an event, a message, its notes), in bytes.
    pub text_bytes_max: usize,
}

impl Default for Options {
    /// Ten seconds; 64 MiB.
    fn default() -> Self {
        Self {
            wait_ms: 10_000,
            text_bytes_max: 64 << 20,
        }
    }
}

/// The journal in a SQLite file.
///
/// Dropping it waits until what was handed in is written.
pub struct Sqlite {
    paths: Paths,
    options: Options,
    reader: Mutex<Connection>,
    writer: Writer,
}

impl Sqlite {
    /// Opens the journal below `paths`, making or migrating it first if need be.
    ///
    /// Errors: [`Error::SchemaTooNew`], [`Error::NotAJournal`],
    /// [`Error::Corrupt`]: the file is untouched. [`Error::ReadOnly`],
    /// [`Error::Full`], [`Error::Busy`], [`Error::Io`].
    pub fn open(paths: Paths, options: Options) -> Result<Self> {
        let connection = open::writable(&paths, options)?;
        let database = paths.database();
        let reader = open::readable(&paths, options)?;
        Ok(Self {
            writer: Writer::start(connection, database, options.wait_ms)?,
            reader: Mutex::new(reader),
            paths,
            options,
        })
    }

    /// Reads in one snapshot.
    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> std::result::Result<T, Fault>,
    ) -> Result<T> {
        let reader = self.reader();
        let answer = reader
            .unchecked_transaction()
            .map_err(Fault::from)
            .and_then(|snapshot| read(&snapshot));
        answer.map_err(|fault| fault.at(&self.paths.database(), self.options.wait_ms))
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses what is too large before it gets a number.
    fn check_sizes(&self, draft: &Draft) -> Result<()> {
        let refuse = |what: String, bytes: usize, bytes_max: usize| {
            if bytes <= bytes_max {
                return Ok(());
            }
            Err(Error::TooLarge {
                what,
                bytes: bytes as u64,
                bytes_max: bytes_max as u64,
            })
        };
        let text_max = self.options.text_bytes_max;
        refuse(
            format!("event `{}`", draft.kind),
            draft.body.len(),
            text_max,
        )?;
        let notes = draft.notes.iter().map(String::len).sum();
        refuse(format!("notes of event `{}`", draft.kind), notes, text_max)?;
        let reply = draft.reply.as_ref().map_or(0, Vec::len);
        refuse(format!("reply of event `{}`", draft.kind), reply, text_max)?;
        for message in &draft.messages {
            let what = format!("message {}", message.head.len);
            refuse(what, message.body.len(), text_max)?;
        }
        for change in &draft.keys {
            if let KeyChange::Execute {
                key_use,
                result: KeyResult::Inline(text),
                ..
            } = change
            {
                let what = format!("inline result of call {}", key_use.call);
                refuse(what, text.len(), INLINE_BYTES_MAX)?;
            }
        }
        Ok(())
    }

    fn number(&self, run: &RunId) -> Result<i64> {
        let number = self.read(|conn| read::number(conn, run))?;
        number.ok_or_else(|| Error::NoSuchRun {
            asked: run.to_string(),
        })
    }
}

impl Store for Sqlite {
    fn create(&self, new: NewRun, first: Draft) -> Result<Ownership> {
        self.check_sizes(&first)?;
        let run = new.run.clone();
        if self.read(|conn| read::number(conn, &run))?.is_some() {
            return Err(Error::RunExists { run });
        }
        // The lock comes first: from its first moment the run has an owner.
        self.paths.make_run(&run)?;
        let hold = lock::acquire(&self.paths.lock(&run), &run, Some(new.at))?;
        let created = self.writer.submit(move |conn| {
            let number = write::create(conn, &new)?;
            write::append(conn, &new.run, number, Epoch(1), Seq(1), first)?;
            Ok(number)
        });
        let number = created.wait()?;
        Ok(Ownership::new(
            run,
            number,
            Epoch(1),
            Seq(1),
            Box::new(hold),
        ))
    }

    fn own(&self, run: &RunId, at: UnixMs) -> Result<Ownership> {
        let number = self.number(run)?;
        self.paths.make_run(run)?;
        let hold = lock::acquire(&self.paths.lock(run), run, Some(at))?;
        let id = run.clone();
        let taken = self
            .writer
            .submit(move |conn| write::take_over(conn, &id, number));
        let (epoch, last) = taken.wait()?;
        Ok(Ownership::new(
            run.clone(),
            number,
            epoch,
            last,
            Box::new(hold),
        ))
    }

    fn append(&self, own: &Ownership, draft: Draft) -> Pending<Committed> {
        if let Err(error) = self.check_sizes(&draft) {
            return Pending::ready(Err(error));
        }
        let (run, number, epoch) = (own.run().clone(), own.number(), own.epoch());
        let mut last = own.last();
        *last = last.next();
        let seq = *last;
        let may_lag = draft.may_lag;
        let write = move |conn: &Connection| write::append(conn, &run, number, epoch, seq, draft);
        match may_lag {
            true => self.writer.submit_lagging(write),
            false => self.writer.submit(write),
        }
    }

    fn events(&self, run: &RunId, from: Seq) -> Result<Vec<Stored>> {
        self.read(|conn| read::events(conn, run, from))
    }

    fn conversation(&self, head: &Head) -> Result<Vec<String>> {
        self.read(|conn| read::conversation(conn, head))
    }

    fn reply(&self, run: &RunId, event: Seq) -> Result<Option<Vec<u8>>> {
        self.read(|conn| read::reply(conn, run, event))
    }

    fn runs(&self, filter: &Filter) -> Result<Vec<RunRecord>> {
        self.read(|conn| read::runs(conn, filter))
    }

    fn find(&self, asked: &str) -> Result<RunRecord> {
        self.read(|conn| read::find(conn, asked))
    }

    fn holder(&self, run: &RunId) -> Result<Option<Holder>> {
        lock::holder(&self.paths.lock(run))
    }

    fn key(&self, key: &IdempotencyKey) -> Result<Option<KeyRow>> {
        self.read(|conn| Ok(read::key(conn, key)?))
    }

    fn claims(&self, run: &RunId) -> Result<Vec<KeyRow>> {
        self.read(|conn| Ok(read::claims(conn, run)?))
    }

    fn forget_key(&self, key: &IdempotencyKey) -> Pending<bool> {
        let key = key.clone();
        self.writer
            .submit(move |conn| Ok(write::forget_key(conn, &key)?))
    }

    fn breakers(&self) -> Result<Vec<BreakerRow>> {
        self.read(|conn| Ok(read::breakers(conn)?))
    }

    fn edit_breaker(&self, edit: BreakerEdit) -> Pending<Option<String>> {
        self.writer
            .submit(move |conn| Ok(write::edit_breaker(conn, edit)?))
    }

    fn items(&self, filter: &ItemFilter) -> Result<Vec<StoredItem>> {
        self.read(|conn| Ok(read::items(conn, filter)?))
    }

    fn drop_items(&self, items: &[ItemNo]) -> Pending<u64> {
        let items = items.to_vec();
        self.writer
            .submit(move |conn| Ok(write::drop_items(conn, &items)?))
    }

    fn drop_run(&self, run: &RunId) -> Pending<bool> {
        let run = run.clone();
        self.writer
            .submit(move |conn| Ok(write::drop_run(conn, &run)?))
    }

    fn enqueue(&self, own: &Ownership, ask: RetryAsk) -> Pending<Ticket> {
        let (number, epoch) = (own.number(), own.epoch());
        self.writer
            .submit(move |conn| Ok(queue::enqueue(conn, number, epoch, &ask)?))
    }

    fn take_turn(&self, own: &Ownership, ticket: Ticket, at: UnixMs, slots: u32) -> Pending<Turn> {
        let number = own.number();
        let paths = self.paths.clone();
        self.writer
            .submit(move |conn| queue::take_turn(conn, &paths, number, ticket, at, slots))
    }

    fn leave(&self, own: &Ownership, ticket: Ticket) -> Pending<()> {
        let number = own.number();
        self.writer
            .submit(move |conn| Ok(queue::leave(conn, number, ticket)?))
    }

    fn questions(
        &self,
        run: Option<&RunId>,
        start: &str,
        open_only: bool,
    ) -> Result<Vec<QuestionRow>> {
        let number = run.map(|run| self.number(run)).transpose()?;
        self.read(|conn| Ok(human::questions(conn, number, start, open_only)?))
    }

    fn decide(
        &self,
        id: &EscalationId,
        ruling: QuestionRuling,
        late: Option<QuestionRuling>,
    ) -> Pending<Decided> {
        let id = id.clone();
        self.writer
            .submit(move |conn| human::decide(conn, &id, &ruling, late.as_ref()))
    }

    fn acknowledge(&self, id: &EscalationId, by: &str, at: UnixMs) -> Pending<QuestionRow> {
        let (id, by) = (id.clone(), by.to_owned());
        self.writer
            .submit(move |conn| human::acknowledge(conn, &id, &by, at))
    }

    fn letters(&self, run: Option<&RunId>) -> Result<Vec<LetterRow>> {
        let number = run.map(|run| self.number(run)).transpose()?;
        self.read(|conn| Ok(human::letters(conn, number)?))
    }

    fn claim_letter(&self, id: &str, at: UnixMs, until: UnixMs) -> Pending<bool> {
        let id = id.to_owned();
        self.writer
            .submit(move |conn| Ok(human::claim_letter(conn, &id, at, until)?))
    }

    fn posted(&self, id: &str, posted: Posted) -> Pending<()> {
        let id = id.to_owned();
        self.writer
            .submit(move |conn| Ok(human::posted(conn, &id, &posted)?))
    }

    fn remove(&self, run: &RunId) -> Result<Collected> {
        self.number(run)?;
        self.paths.make_run(run)?;
        let hold = lock::acquire(&self.paths.lock(run), run, None)?;
        self.collect(vec![(run.clone(), hold)], None)
    }

    fn gc(&self, rules: &GcRules) -> Result<Collected> {
        let ended = self.read(|conn| Ok(read::ended(conn)?))?;
        let doomed = self.lock_doomed(ended, rules)?;
        let mut collected = self.collect(doomed, rules.keys_before)?;
        collected.files += self.remove_strays()?;
        Ok(collected)
    }

    fn paths(&self) -> &Paths {
        &self.paths
    }
}
