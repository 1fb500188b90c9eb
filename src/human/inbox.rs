//! Questions between the machine's words and the journal's rows.
//!
//! A question is decided by whoever comes: a command in another process, the
//! run's own process, a waiting one. All of them do it here, by the store's one
//! conditional write; who loses is told who was first.

use crate::clock::UnixMs;
use crate::drill::{Boundary, Side, fault};
use crate::machine::escalation::{Escalation, Ruling, Seen, Source};
use crate::observe::question::View;
use crate::store::{
    self, Decided, NewQuestion, QuestionChange, QuestionRow, QuestionRuling, Store,
};

/// A question with what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The run that asks.
    pub run: crate::ids::RunId,
    /// The question.
    pub what: Escalation,
    /// Who has seen it.
    pub seen: Option<Seen>,
    /// What was decided.
    pub ruling: Option<Ruling>,
    /// Which token decided, if one did.
    pub token: Option<String>,
}

impl Entry {
    /// Reads a row.
    ///
    /// Errors: a body that this build cannot read.
    pub fn read(row: QuestionRow) -> Result<Self, serde_json::Error> {
        let token = row.ruling.as_ref().and_then(|it| it.token.clone());
        Ok(Self {
            what: serde_json::from_str(&row.question.body)?,
            seen: row.seen.map(|(by, at)| Seen { by, at }),
            ruling: row.ruling.map(ruling),
            run: row.run,
            token,
        })
    }

    /// Shows it to programs.
    pub fn view(&self, now: UnixMs) -> View<'_> {
        let (seen, ruling) = (self.seen.as_ref(), self.ruling.as_ref());
        View::of(&self.run, &self.what, seen, ruling, now)
    }

    /// Whether nobody has answered, and nobody can any more.
    pub fn is_overdue(&self, now: UnixMs) -> bool {
        self.ruling.is_none() && self.what.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// Returns the row of a question that is asked.
///
/// Errors: serde's.
pub fn opened(what: &Escalation) -> Result<QuestionChange, serde_json::Error> {
    Ok(QuestionChange::Open(NewQuestion {
        id: what.id.clone(),
        opened: what.opened_at,
        deadline: what.deadline,
        body: serde_json::to_string(what)?,
    }))
}

/// Decides `what` by `ruling`, unless it is decided or its deadline has passed.
///
/// - `token`: which token brings it, if one does.
///
/// Once this returns, the decision is durable and final.
pub async fn decide(
    store: &dyn Store,
    what: &Escalation,
    ruling: &Ruling,
    token: Option<String>,
) -> store::Result<Decided> {
    let row = stored(ruling, token);
    let late = what.by_deadline().map(|late| stored(&late, None));
    fault(Boundary::QuestionDecided, Side::BeforeSave);
    let decided = store.decide(&what.id, row, late).await?;
    fault(Boundary::QuestionDecided, Side::AfterSave);
    Ok(decided)
}

/// Lets the deadline decide; somebody may have answered first.
pub async fn expire(store: &dyn Store, what: &Escalation) -> store::Result<Option<Decided>> {
    match what.by_deadline() {
        Some(ruling) => decide(store, what, &ruling, None).await.map(Some),
        None => Ok(None),
    }
}

/// Returns the row of a decision.
pub fn stored(ruling: &Ruling, token: Option<String>) -> QuestionRuling {
    QuestionRuling {
        option: ruling.option.clone(),
        note: ruling.note.clone(),
        by: ruling.by.clone(),
        at: ruling.at,
        source: ruling.source.as_str().to_owned(),
        token,
    }
}

/// Returns the decision of a row.
pub fn ruling(row: QuestionRuling) -> Ruling {
    let sources = [
        Source::Token,
        Source::Deadline,
        Source::Settled,
        Source::Withdrawn,
    ];
    let source = sources.into_iter().find(|it| it.as_str() == row.source);
    Ruling {
        option: row.option,
        note: row.note,
        by: row.by,
        at: row.at,
        source: source.unwrap_or(Source::Answer),
    }
}
