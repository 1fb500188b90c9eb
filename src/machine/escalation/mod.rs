//! Questions to a human: asked, decided once, and what becomes of the answer.
//!
//! ```text
//!  agent asks ───┐                              ┌─► its request is answered
//!  approval ─────┤                              ├─► the call is made, or declined
//!  loop, cost ───┼─► open ──decided, once──────►┼─► what was held goes on, or the run ends
//!  in doubt ─────┘    │                         └─► the call is settled
//!                     └─ nobody waits here (suspended) ─► the run ends for now;
//!                        asked again after a resume, it is answered from here
//! ```
//! A question is opened by the event that needs it, in that event's transaction.
//! Its decision is made in the journal's own table by one conditional write of
//! whoever comes first (an answer, the deadline); the event that
//! tells the run comes after, and a second one changes nothing. What makes two questions the
//! same is [`Ask::key`]: a loop that asks again is given the recorded answer.
//!
//! Not here: who is told, and how answers come in (`human`, `cli`).
//!
//! - [`ask`]: what is asked, and when; [`approval`]: whether a call may be made;
//! - [`decide`]: what becomes of the answer;
//! - [`suspend`]: what nobody waits for.

mod approval;
mod ask;
mod decide;
mod suspend;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::ids::{CallId, EscalationId, StepNo};
use crate::machine::event::RequestNo;
use crate::machine::{Answer, State};
use crate::money::NanoUsd;
use crate::policy::budget::Usage;
use crate::policy::escalation::Kind;

pub(super) use approval::{Approval, approval, use_up};
pub(super) use ask::{about_cost, about_left, about_loop, about_undo, asked, hold, open};
pub use ask::{about_doubt, key_of};
pub(super) use decide::{acknowledged, decided};
pub(in crate::machine) use suspend::Unheld;
pub(super) use suspend::{
    decided_meanwhile, put_right, settled, suspended, told_by_note, undo_settled, withdrawn,
};

/// The option that lets an approval's call be made.
pub const APPROVE: &str = "approve";
/// The option that does not.
pub const DECLINE: &str = "decline";
/// The option that lets a loop or a spending run go on.
pub const CONTINUE: &str = "continue";
/// The option that ends it.
pub const STOP: &str = "stop";
/// The option that says an in-doubt call had happened.
pub const HAPPENED: &str = "happened";
/// The option that says it had not.
pub const NOT_HAPPENED: &str = "not_happened";
/// The option that says that somebody saw to what could not be undone.
pub const PUT_RIGHT: &str = "put_right";
/// The option that says that it stays as it is.
pub const LEFT: &str = "leave";

/// What is asked, before it has a number and a deadline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// What leads to it.
    pub kind: Kind,
    /// What makes two questions of a run the same.
    pub key: String,
    /// The question.
    pub question: String,
    /// What the asker would do: an option, or words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommendation: Option<String>,
    /// What a human should have seen first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
    /// The smallest decision that is needed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub decision: String,
    /// What can be chosen; empty: yes or no.
    pub options: Vec<Choice>,
    /// The option that stands when the deadline passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Whether what follows can be taken back.
    pub reversible: bool,
    /// The money at stake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<NanoUsd>,
    /// How sure the asker is, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// How long a human has, in milliseconds; `None`: as long as its kind says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The tool call it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
}

/// Something that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What is written to choose it.
    pub id: String,
    /// What it means.
    pub label: String,
}

impl Choice {
    /// Makes one.
    pub fn new(id: &str, label: &str) -> Self {
        Self {
            id: id.to_owned(),
            label: label.to_owned(),
        }
    }
}

/// A question as the journal's table keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Escalation {
    /// Its number.
    pub id: EscalationId,
    /// What is asked; options and default filled in.
    pub ask: Ask,
    /// When it was asked.
    pub opened_at: UnixMs,
    /// When the default stands; `None`: never.
    pub deadline: Option<UnixMs>,
    /// The step that was under way.
    pub step: StepNo,
}

impl Escalation {
    /// Returns the option named `id`.
    pub fn option(&self, id: &str) -> Option<&Choice> {
        self.ask.options.iter().find(|choice| choice.id == id)
    }

    /// Returns what stands when nobody has answered by the deadline.
    pub fn by_deadline(&self) -> Option<Ruling> {
        Some(Ruling {
            option: self.ask.default.clone()?,
            note: None,
            by: "the deadline".into(),
            at: self.deadline?,
            source: Source::Deadline,
        })
    }
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// The option.
    pub option: String,
    /// Words with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who.
    pub by: String,
    /// When.
    pub at: UnixMs,
    /// How it came.
    pub source: Source,
}

/// How a decision came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Somebody answered.
    Answer,
    /// Somebody answered with the token of a notification.
    Token,
    /// Nobody answered in time.
    Deadline,
    /// `agentguard settle` said it.
    Settled,
    /// Nobody needs it any more.
    Withdrawn,
}

impl Source {
    /// Returns it as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Token => "token",
            Self::Deadline => "deadline",
            Self::Settled => "settled",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A human saw the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Who.
    pub by: String,
    /// When.
    pub at: UnixMs,
}

/// A question of a run, with what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The question.
    pub what: Escalation,
    /// Requests of the agent that asked it.
    pub requests: Vec<RequestNo>,
    /// What waits for the decision.
    pub held: Vec<Held>,
    /// What was decided.
    pub ruling: Option<Ruling>,
    /// Who has seen it first.
    pub seen: Option<Seen>,
    /// Whether the agent knows what was decided.
    pub is_told: bool,
    /// Whether the approved call took effect: an approval is for one.
    pub is_used: bool,
}

/// What waits for a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Held {
    /// An answer to the agent.
    Reply {
        /// The request.
        request: RequestNo,
        /// The answer if the run goes on.
        answer: Answer,
    },
    /// A model call.
    Reserve {
        /// The request.
        request: RequestNo,
        /// Its worst case.
        worst: Usage,
        /// Output tokens it may ask for.
        max_tokens: u64,
    },
}

impl Held {
    fn request(&self) -> RequestNo {
        match self {
            Self::Reply { request, .. } | Self::Reserve { request, .. } => *request,
        }
    }
}

/// A decision as the agent is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The question.
    pub escalation: EscalationId,
    /// What was decided.
    pub ruling: Ruling,
    /// What the option means.
    pub label: String,
    /// Whether it had been decided before this was asked.
    pub is_recorded: bool,
}

/// How long the run has waited for humans; such time counts for no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Since when it waits, or the agent last did something else meanwhile.
    pub since: Option<UnixMs>,
    /// Waits that are over, in milliseconds.
    pub total_ms: u64,
    /// Those within the present attempt.
    pub attempt_ms: u64,
}

impl Waits {
    /// An agent that works while it waits is not idle.
    pub(super) fn interrupted(&mut self, at: UnixMs) {
        if self.since.is_some() {
            self.since = Some(at);
        }
    }

    /// Returns the milliseconds waited until `now`.
    pub fn until(&self, now: UnixMs) -> u64 {
        let present = self.since.map_or(0, |since| now.since(since));
        self.total_ms.saturating_add(present)
    }

    /// The same within the attempt that began at `attempt_at`.
    pub fn in_attempt(&self, attempt_at: UnixMs, now: UnixMs) -> u64 {
        let present = self
            .since
            .map_or(0, |since| now.since(since.max(attempt_at)));
        self.attempt_ms.saturating_add(present)
    }
}

impl State {
    /// Returns the questions that are not decided.
    pub fn open_questions(&self) -> impl Iterator<Item = &Question> {
        let questions = self.questions.iter();
        questions.filter(|question| question.ruling.is_none())
    }

    /// Returns the first undecided question for which the run stands still.
    pub fn waits_for(&self) -> Option<&Question> {
        self.open_questions()
            .find(|question| question.what.ask.kind.holds_the_run())
    }

    /// Returns the question about `call`, if it was asked.
    pub fn question_about(&self, call: CallId) -> Option<&Question> {
        let mut questions = self.questions.iter();
        questions.find(|question| {
            question.what.ask.call == Some(call) && question.what.ask.kind != Kind::Undo
        })
    }

    /// Returns the latest question about the undo of `call`, if one was asked.
    pub fn question_about_undo(&self, call: CallId) -> Option<&Question> {
        let mut questions = self.questions.iter().rev();
        questions.find(|question| {
            question.what.ask.call == Some(call) && question.what.ask.kind == Kind::Undo
        })
    }

    /// Returns the latest question about what a rollback has left, if one was asked.
    pub fn question_about_left(&self) -> Option<&Question> {
        let mut questions = self.questions.iter().rev();
        questions.find(|question| {
            question.what.ask.call.is_none() && question.what.ask.kind == Kind::Undo
        })
    }

    /// Returns the open question that a rollback has led to, if there is one.
    pub fn question_about_rollback(&self) -> Option<EscalationId> {
        let mut open = self.open_questions();
        let about = open.find(|question| question.what.ask.kind == Kind::Undo);
        about.map(|question| question.what.id.clone())
    }

    fn question_by_key(&self, key: &str) -> Option<EscalationId> {
        let mut questions = self.questions.iter();
        let found = questions.find(|question| question.what.ask.key == key);
        found.map(|question| question.what.id.clone())
    }

    /// Returns the question of that number.
    pub fn question(&self, id: &EscalationId) -> Option<&Question> {
        self.questions.iter().find(|it| it.what.id == *id)
    }

    fn question_mut(&mut self, id: &EscalationId) -> Option<&mut Question> {
        self.questions.iter_mut().find(|it| it.what.id == *id)
    }
}
