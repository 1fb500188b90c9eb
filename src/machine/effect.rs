//! What the driver has to do after an event, in order.
//!
//! Two kinds: what is stored in the event's own transaction ([`Effect::Note`],
//! [`Effect::Record`], [`Effect::Free`], [`Effect::Unrecord`], [`Effect::Breaker`],
//! [`Effect::Item`], [`Effect::Escalate`], [`Effect::Close`]), and what leaves the
//! supervisor and waits until that transaction is durable (everything else).

use serde::{Deserialize, Serialize};

use crate::ids::{BatchNo, CallId, EscalationId, IdempotencyKey, StepNo};
use crate::machine::Outcome;
use crate::machine::batch::{BatchAnswer, ItemRow};
use crate::machine::escalation::{Escalation, Ruling, Told};
use crate::machine::event::{Content, RequestNo};
use crate::policy::breaker;
use crate::policy::taxonomy::Class;

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Store a decision, for `why`.
    Note(Decision),
    /// Store that a key was executed.
    Record {
        /// The call that executed it; its key is in the state before.
        call: CallId,
        /// The key.
        key: IdempotencyKey,
        /// The step it belongs to.
        step: StepNo,
        /// The tool.
        tool: String,
        /// Hash of the normalised arguments.
        identity: String,
        /// How the result is classed.
        class: Class,
        /// The result that answers repeats.
        content: Content,
    },
    /// Store that a claimed key was not executed after all.
    Free {
        /// The call that claimed it.
        call: CallId,
        /// The key.
        key: IdempotencyKey,
    },
    /// Store that what a key stands for was taken back: it may be done again.
    Unrecord {
        /// The call that executed it.
        call: CallId,
        /// The key.
        key: IdempotencyKey,
    },
    /// Tell a breaker how a try went.
    Breaker {
        /// The breaker, such as `tool:mail`.
        name: String,
        /// How it went.
        outcome: breaker::Outcome,
    },
    /// Store a question to a human.
    Escalate(Box<Escalation>),
    /// Store that a question is decided, unless it is already.
    Close {
        /// The question.
        escalation: EscalationId,
        /// How.
        ruling: Ruling,
    },
    /// Store where an item of a batch stands, for lists over all runs.
    Item(Box<ItemRow>),
    /// Ask a tool's breaker whether items of a batch may be begun.
    Admit {
        /// The batch.
        batch: BatchNo,
    },
    /// Answer a request of the loop.
    Reply {
        /// The request.
        request: RequestNo,
        /// The answer.
        answer: Answer,
    },
    /// Run a try of a guarded tool.
    Execute {
        /// The call.
        call: CallId,
        /// The try, from 1.
        attempt: u32,
    },
    /// Let whoever asked run a try of a tool that is not ours to run.
    Lend {
        /// The request that waits for it.
        request: RequestNo,
        /// The call.
        call: CallId,
        /// The try, from 1.
        attempt: u32,
    },
    /// Ask a tool's probe whether a call had happened.
    Probe {
        /// The call.
        call: CallId,
    },
    /// Wait before another try.
    Wait {
        /// The call that waits.
        call: CallId,
        /// The try that comes after.
        attempt: u32,
        /// Milliseconds to wait.
        delay_ms: u64,
    },
    /// End the agent: ask, wait the grace period, kill.
    EndAgent {
        /// Whether the loop was told in an answer and may leave by itself first.
        told: bool,
    },
    /// The run is over for now; nothing of it runs any more.
    Finish {
        /// How it ended.
        outcome: Outcome,
    },
    /// The machine was given an event that cannot happen in its state.
    Unexpected {
        /// What and where.
        what: String,
    },
}

impl Effect {
    /// Returns whether it is stored in the event's own transaction.
    pub fn is_stored(&self) -> bool {
        matches!(
            self,
            Self::Note(_)
                | Self::Record { .. }
                | Self::Free { .. }
                | Self::Unrecord { .. }
                | Self::Breaker { .. }
                | Self::Item(_)
                | Self::Escalate(_)
                | Self::Close { .. }
        )
    }
}

/// An answer to the loop.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Where the run stands; the driver fills in the rest.
    Standing,
    /// A turn was taken in.
    Turn {
        /// The step it made.
        step: StepNo,
        /// What the loop should do.
        verdict: Verdict,
        /// Things worth knowing, in words.
        warnings: Vec<String>,
        /// What becomes of the model call, where the gateway asks.
        next: Next,
    },
    /// A model call may go out.
    Reserved {
        /// Names the reservation.
        reservation: u64,
        /// Output tokens to ask the model for at most.
        max_tokens: u64,
        /// For the model, where the call is one of the gateway's.
        steer: Option<String>,
        /// Which link of the chain is asked, by its place.
        link: usize,
        /// The loop tells of its turns itself.
        is_quiet: bool,
    },
    /// A tool call ended.
    Tool {
        /// The call.
        call: CallId,
        /// What it gave.
        content: Content,
        /// How it is classed.
        class: Class,
        /// What the loop should do.
        verdict: Verdict,
    },
    /// A batch ended.
    Batch(Box<BatchAnswer>),
    /// A human decided what the loop asked.
    Ruled(Box<Told>),
    /// A reported tool call was taken in.
    Reported {
        /// The call.
        call: CallId,
        /// How it is classed.
        class: Class,
        /// What the loop should do.
        verdict: Verdict,
    },
    /// The run is ending; the request was not carried out.
    Stopping {
        /// Why.
        reason: String,
        /// The exit code the run will have.
        exit_code: u8,
    },
}

/// What becomes of a model call after a try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// The agent gets the answer.
    #[default]
    Take,
    /// It is tried again; which link is asked comes with the reservation.
    Again {
        /// Milliseconds to wait first.
        delay_ms: u64,
        /// Another link, where this one is left.
        link: Option<usize>,
    },
    /// The agent gets what there is.
    GiveUp,
}

/// What the loop should do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Go on.
    Go,
    /// Go on, and show the model this text.
    Steer {
        /// The text.
        text: String,
    },
    /// Stop.
    Stop {
        /// Why.
        reason: String,
        /// The exit code the run will have.
        exit_code: u8,
    },
}

impl Verdict {
    /// Makes the verdict that ends a run with `outcome`.
    pub fn stop(outcome: &Outcome) -> Self {
        Self::Stop {
            reason: outcome.describe(),
            exit_code: outcome.exit_code(),
        }
    }
}

/// A decision, as `agentguard why` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What it was about.
    pub about: About,
    /// The step that was under way.
    pub step: StepNo,
    /// The class of the result, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// What was done, such as `retry` or `stop`.
    pub action: String,
    /// The rule that led to it.
    pub rule: String,
    /// The rule in a sentence, for this case.
    pub why: String,
    /// What the rule saw.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
    /// What would have happened otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub otherwise: String,
}

/// What a decision was about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum About {
    /// The run as a whole.
    Run,
    /// The turn that was under way.
    Turn,
    /// A tool call.
    Call {
        /// Which.
        call: CallId,
        /// Its tool.
        tool: String,
    },
    /// Several items for one tool.
    Batch {
        /// Which.
        batch: BatchNo,
        /// Its tool.
        tool: String,
    },
}
