//! Questions to humans and messages to them, as rows over all runs.
//!
//! Both come into being in the transaction of the event that needs them. A
//! question is decided by one conditional write, whoever makes it: two answers, or
//! an answer and the deadline, meet inside the store, and the first counts. A
//! message stays until it was sent; who wants to send one claims it for a while,
//! so that a sender that dies holds nobody up and nothing back.
//!
//! Not here: what a question or a message says. Their bodies are opaque text.

use crate::clock::UnixMs;
use crate::ids::{EscalationId, RunId};

use super::record::Committed;

/// A question on its way into the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewQuestion {
    /// Its number.
    pub id: EscalationId,
    /// When it was asked.
    pub opened: UnixMs,
    /// When its default stands; `None`: never.
    pub deadline: Option<UnixMs>,
    /// The question, as JSON.
    pub body: String,
}

/// A decision of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionRuling {
    /// The option.
    pub option: String,
    /// Words with it.
    pub note: Option<String>,
    /// Who.
    pub by: String,
    /// When.
    pub at: UnixMs,
    /// How it came, in one word.
    pub source: String,
    /// What identifies the token it came by.
    pub token: Option<String>,
}

/// What an event does to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuestionChange {
    /// It is asked.
    Open(NewQuestion),
    /// It is decided, unless it is already.
    Close {
        /// The question.
        id: EscalationId,
        /// The decision.
        ruling: QuestionRuling,
    },
}

/// A question as the journal lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionRow {
    /// Its run.
    pub run: RunId,
    /// The question.
    pub question: NewQuestion,
    /// Who has seen it first, and when.
    pub seen: Option<(String, UnixMs)>,
    /// Its decision.
    pub ruling: Option<QuestionRuling>,
}

/// What came of an attempt to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The question afterwards; it has a ruling.
    pub row: QuestionRow,
    /// Whether that ruling is the one that was handed in.
    pub is_ours: bool,
}

/// Returns the ruling that is written, if one is.
///
/// - `late`: what stands from the question's deadline on. An answer of the very
///   millisecond still counts; a later one finds the deadline's.
pub(super) fn ruled(
    row: &QuestionRow,
    ruling: &QuestionRuling,
    late: Option<&QuestionRuling>,
) -> Option<QuestionRuling> {
    if row.ruling.is_some() {
        return None;
    }
    let is_late = |deadline| ruling.at > deadline;
    let late = late.filter(|_| row.question.deadline.is_some_and(is_late));
    Some(late.unwrap_or(ruling).clone())
}

/// Tells whether a message is to be sent at all, once its event is known to be had.
pub type OnlyIf = Box<dyn FnOnce(&Committed) -> bool + Send>;

/// A message on its way into the outbox.
pub struct Letter {
    /// Names it to whoever gets it; the same when it comes twice.
    pub id: String,
    /// When it is to be sent.
    pub due: UnixMs,
    /// To whom and what, as JSON.
    pub body: String,
    /// Asked inside the transaction; absent: always.
    pub only_if: Option<OnlyIf>,
}

/// A message in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterRow {
    /// Names it.
    pub id: String,
    /// Its run.
    pub run: RunId,
    /// When it was put there.
    pub posted: UnixMs,
    /// When it is to be tried next.
    pub due: UnixMs,
    /// Tries so far.
    pub tries: u32,
    /// Why the last one failed.
    pub error: Option<String>,
    /// To whom and what, as JSON.
    pub body: String,
}

/// What came of a try to send a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It arrived; the row goes.
    Sent,
    /// It did not.
    Failed {
        /// Why.
        error: String,
        /// When it is tried again; `None`: it is given up, and the row goes.
        again: Option<UnixMs>,
    },
}
