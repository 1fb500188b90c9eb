//! The journal: what survives when everything else dies.
//!
//! A run is a sequence of events. The supervisor computes what an event means,
//! hands the store a [`Draft`], and carries out the effects when the draft is
//! durable. State is the fold of the events; the other tables (runs, executed
//! keys, breakers, the retry queue) serve questions over many runs and are
//! written in the same transaction.
//!
//! ```text
//! driver ── append(draft 7) ─┐                    ┌─► Pending 7 ─► effects of 7
//!        ── append(draft 8) ─┼─► writer: one tx, ─┼─► Pending 8 ─► effects of 8
//! breakers, queue, keys ─────┘   one fsync        └─► answers, in order
//! ```
//!
//! What holds after a crash, in every store:
//! - what a [`Pending`] or a method has answered with `Ok` is there;
//! - the events of a run are a prefix of those handed in, in order, no gaps;
//! - an event is there with all it brought along (messages, keys, notes,
//!   breaker, summary), or none of it is.
//!
//! Not here: any rule. Which failure trips a breaker, when a retry is due, what
//! a key consists of: `policy` decides, some of it inside our transaction
//! ([`BreakerEdit`]). Event bodies are opaque text. No clock: each write brings
//! its time along.
//!
//! Start with [`Store`]; then `sqlite/writer.rs` for the group commit, or
//! `conversation.rs` for how messages are stored once.

pub mod breaker;
pub mod conversation;
mod error;
pub mod human;
mod items;
pub mod key;
pub mod lock;
pub mod memory;
mod own;
pub mod path_lock;
pub mod paths;
mod pending;
mod record;
pub mod retry_queue;
pub mod sqlite;

pub use breaker::{BreakerEdit, BreakerRow, Change};
pub use conversation::{Head, Message};
pub use error::Error;
pub use human::{
    Decided, Letter, LetterRow, NewQuestion, Posted, QuestionChange, QuestionRow, QuestionRuling,
};
pub use items::{ItemEdit, ItemFilter, ItemNo, StoredItem};
pub use key::{KeyChange, KeyResult, KeyRow, KeyState, KeyUse};
pub use memory::Memory;
pub use own::{Holder, Ownership};
pub use paths::Paths;
pub use pending::Pending;
pub use record::{
    Collected, Committed, Draft, Filter, GcRules, NewRun, RunRecord, Stored, Summary,
};
pub use retry_queue::{RetryAsk, Ticket, Turn};
pub use sqlite::Sqlite;

use crate::clock::UnixMs;
use crate::ids::{EscalationId, IdempotencyKey, RunId, Seq};

/// The result of a store's method.
pub type Result<T> = std::result::Result<T, Error>;

/// A journal of runs, shared by all supervisors of one user.
///
/// Methods that return [`Pending`] never block: they queue the write and the
/// answer comes when it is durable, in the order of the calls. All others
/// return when their answer is there; reads take microseconds, `create` and
/// `own` one commit, `remove` and `gc` as long as the sweep takes.
pub trait Store: Send + Sync {
    /// Creates a run with its first event, owned by the caller.
    ///
    /// Once this returns, run, event and ownership survive a kill; until then,
    /// there is no such run. The first event has [`Seq`] 1.
    ///
    /// Errors: [`Error::RunExists`] for an id that is taken, and those of
    /// [`append`](Self::append).
    fn create(&self, new: NewRun, first: Draft) -> Result<Ownership>;

    /// Takes a run over whose former owner is gone.
    ///
    /// Once this returns, no write of a former owner is accepted any more, not
    /// even one that is under way.
    ///
    /// - `at`: the present instant, told to others that want the run.
    ///
    /// Errors: [`Error::Held`] while another owner lives, in this process or in
    /// another; [`Error::NoSuchRun`].
    fn own(&self, run: &RunId, at: UnixMs) -> Result<Ownership>;

    /// Appends one event, with all that it brings along, after those already
    /// handed in by this owner.
    ///
    /// The answer `Ok` says that the event is durable, as far as [`Draft::may_lag`]
    /// asks for it. Dropping the [`Pending`]
    /// does not take the event back. `Err` says that it is not stored; then no
    /// later event of this [`Ownership`] is stored either
    /// ([`Error::Broken`]), except after [`Error::TooLarge`], which is found
    /// before the event gets its number.
    ///
    /// A key that someone else holds does not stop the event:
    /// [`Committed::lost`] tells, and the effect must not be carried out.
    fn append(&self, own: &Ownership, draft: Draft) -> Pending<Committed>;

    /// Returns the events of a run from `from` on, in order.
    ///
    /// Only durable ones. An unknown run has none.
    fn events(&self, run: &RunId, from: Seq) -> Result<Vec<Stored>>;

    /// Returns the messages that lead to `head`, first to last, byte for byte
    /// as they came.
    ///
    /// Errors: [`Error::MissingMessage`] for a head that was never stored.
    fn conversation(&self, head: &Head) -> Result<Vec<String>>;

    /// Returns the bytes of the model's answer that was stored with an event,
    /// [`Draft::reply`].
    fn reply(&self, run: &RunId, event: Seq) -> Result<Option<Vec<u8>>>;

    /// Returns the runs that pass `filter`, the latest first.
    fn runs(&self, filter: &Filter) -> Result<Vec<RunRecord>>;

    /// Finds one run by its id, by the start of its id (with or without `r-`),
    /// or by the word `latest`.
    ///
    /// Errors: [`Error::NoSuchRun`], [`Error::Ambiguous`].
    fn find(&self, asked: &str) -> Result<RunRecord>;

    /// Returns who holds the run at this moment, or `None` when nobody does.
    ///
    /// The kernel knows, not the database: a killed holder is gone at once.
    fn holder(&self, run: &RunId) -> Result<Option<Holder>>;

    /// Returns what is known about an idempotency key, by whichever run.
    fn key(&self, key: &IdempotencyKey) -> Result<Option<KeyRow>>;

    /// Returns the keys a run has claimed and not executed: after a crash,
    /// the calls in doubt.
    fn claims(&self, run: &RunId) -> Result<Vec<KeyRow>>;

    /// Forgets a key, so that the next call with it executes again. A human
    /// decides this; nothing else calls it. Answers whether there was one.
    fn forget_key(&self, key: &IdempotencyKey) -> Pending<bool>;

    /// Returns all breakers that were ever touched, by name.
    fn breakers(&self) -> Result<Vec<BreakerRow>>;

    /// Reads, decides and writes one breaker, as one step for all processes.
    ///
    /// [`BreakerEdit::decide`] runs while no other process can write, so of
    /// many that ask for the half-open probe exactly one gets it. Answers the
    /// state afterwards, `None` for no row.
    fn edit_breaker(&self, edit: BreakerEdit) -> Pending<Option<String>>;

    /// Returns the items of batches that pass `filter`, the latest first.
    fn items(&self, filter: &ItemFilter) -> Result<Vec<StoredItem>>;

    /// Takes items off the list of dead letters, until something happens to them
    /// again; answers how many were on it.
    fn drop_items(&self, items: &[ItemNo]) -> Pending<u64>;

    /// Takes a run off the list of dead letters, until its status changes again;
    /// answers whether there is such a run.
    fn drop_run(&self, run: &RunId) -> Pending<bool>;

    /// Puts a retry into the queue that all runs share.
    ///
    /// The place is lost when the run's owner dies or the run is taken over.
    fn enqueue(&self, own: &Ownership, ask: RetryAsk) -> Pending<Ticket>;

    /// Asks whether it is this ticket's turn; ask again until it is.
    ///
    /// - `at`: the present instant; a ticket that is not due waits.
    /// - `slots`: how many retries of this tool may be out at once, at least 1.
    ///
    /// Among those that are due, the run served least recently goes first.
    /// A granted turn is held until [`leave`](Self::leave), or until the owner
    /// dies. Errors: [`Error::NoSuchTicket`].
    fn take_turn(&self, own: &Ownership, ticket: Ticket, at: UnixMs, slots: u32) -> Pending<Turn>;

    /// Gives a turn back, or leaves the queue before it came. Leaving twice is
    /// no error.
    fn leave(&self, own: &Ownership, ticket: Ticket) -> Pending<()>;

    /// Returns questions to humans, the oldest first.
    ///
    /// - `run`: only those of this run.
    /// - `start`: only those whose number begins so, `e-` included; empty for any.
    /// - `open_only`: without those that are decided.
    fn questions(
        &self,
        run: Option<&RunId>,
        start: &str,
        open_only: bool,
    ) -> Result<Vec<QuestionRow>>;

    /// Decides a question, unless it is decided: of many that try, in whatever
    /// process, exactly one succeeds, and once the answer is there its decision
    /// survives a kill and never changes.
    ///
    /// - `late`: the decision that stands instead if `ruling` comes after the
    ///   deadline.
    ///
    /// Errors: [`Error::NoSuchQuestion`].
    fn decide(
        &self,
        id: &EscalationId,
        ruling: QuestionRuling,
        late: Option<QuestionRuling>,
    ) -> Pending<Decided>;

    /// Notes that a human has seen a question; the first one is kept.
    ///
    /// Errors: [`Error::NoSuchQuestion`].
    fn acknowledge(&self, id: &EscalationId, by: &str, at: UnixMs) -> Pending<QuestionRow>;

    /// Returns the messages to humans that are not sent, the oldest first.
    fn letters(&self, run: Option<&RunId>) -> Result<Vec<LetterRow>>;

    /// Claims a message that is due at `at`: until `until` nobody else gets it.
    /// Answers whether it was had.
    fn claim_letter(&self, id: &str, at: UnixMs, until: UnixMs) -> Pending<bool>;

    /// Notes what came of a try to send a message.
    fn posted(&self, id: &str, posted: Posted) -> Pending<()>;

    /// Removes a run: its events, its folder, and the messages no other run
    /// needs. Its executed keys stay, because a side effect outlives its run.
    ///
    /// Errors: [`Error::Held`] for a live run, [`Error::NoSuchRun`].
    fn remove(&self, run: &RunId) -> Result<Collected>;

    /// Removes ended runs by `rules`, then whatever nothing refers to:
    /// messages, result files, folders of runs that never came to be.
    ///
    /// A live run, and a message that a kept run shares, is never touched.
    fn gc(&self, rules: &GcRules) -> Result<Collected>;

    /// Returns where the files of the runs are.
    fn paths(&self) -> &Paths;
}
