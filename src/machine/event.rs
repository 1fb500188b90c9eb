//! Everything that can happen to a run, as the journal stores it.
//!
//! An event is plain data and complete: what the machine needs to know about
//! the outside (time, a random draw, whether a key was executed before, whether
//! a breaker lets a call through) is a field of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::UnixMs;
use crate::ids::{
    AttemptNo, BatchNo, CallId, ConversationNo, EscalationId, IdempotencyKey, StepNo,
};
use crate::machine::batch::ItemEnd;
use crate::machine::escalation::{Ask, Ruling, Seen};
use crate::machine::{Cause, How};
use crate::money::NanoUsd;
use crate::policy::batch::Want;
use crate::policy::breaker::Admission;
use crate::policy::budget::{Resource, Usage};
use crate::policy::loops::{Digest, Print};
use crate::policy::taxonomy::Class;

/// Names one request of the loop within one attempt; the answer carries it.
pub type RequestNo = u64;

/// Something that happened to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run exists. Always the first event.
    Created {
        /// Name of the task.
        name: String,
        /// SHA-256 over the resolved task and the input snapshot, hexadecimal.
        input_hash: String,
        /// Seeds every draw of the run.
        seed: u64,
    },
    /// The agent is about to be started.
    AttemptStarted {
        /// Which start this is.
        attempt: AttemptNo,
        /// Why it is started.
        cause: Cause,
        /// What the agent is told about the attempt before.
        note: Option<String>,
        /// What the start is to the attempt before.
        #[serde(default)]
        how: How,
    },
    /// The agent process runs.
    AgentSpawned {
        /// Its process id.
        pid: u32,
        /// Names the time since the machine was started, where the system tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot: Option<String>,
    },
    /// The agent asked its model what it had asked before a crash, and was given
    /// the same answer, free of charge.
    Replayed {
        /// The request to answer.
        request: RequestNo,
        /// What it cost when it was new.
        #[serde(default)]
        cost: NanoUsd,
    },
    /// The loop asked where it stands.
    Greeted {
        /// The request to answer.
        request: RequestNo,
    },
    /// The loop finished a turn.
    TurnReported(Turn),
    /// The loop is about to call the model and wants its worst case held back.
    Reserved {
        /// The request to answer.
        request: RequestNo,
        /// The worst case.
        worst: Usage,
        /// Output tokens it may ask the model for.
        max_tokens: u64,
        /// Which link of the chain is asked, by its place.
        /// `None` where the loop asks for itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link: Option<usize>,
        /// With the first call that no record answers: how many of its answers
        /// nobody asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unasked: Option<u64>,
        /// The conversation that it belongs to, where the gateway asks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<Place>,
    },
    /// A model call was not let out: nobody can take it, or its price is not known.
    CallRefused {
        /// Why.
        why: String,
        /// The exit code that says the same.
        exit_code: u8,
    },
    /// The loop asked for a guarded tool.
    ToolCalled(ToolCall),
    /// One try of a guarded tool ended.
    ToolEnded(ToolEnd),
    /// A wait before another try is over.
    RetryDue {
        /// The call that waits.
        call: CallId,
        /// The try that is due.
        attempt: u32,
        /// What the breaker says now.
        admission: Admission,
    },
    /// The loop handed several items to one guarded tool.
    BatchCalled(BatchCall),
    /// Items of a batch wait to be begun, and the tool's breaker was asked.
    BatchDue {
        /// The batch.
        batch: BatchNo,
        /// What the breaker says.
        admission: Admission,
    },
    /// An in-doubt call was settled.
    Settled {
        /// The call.
        call: CallId,
        /// Whether it had happened.
        settlement: Settlement,
        /// What settled it.
        by: SettledBy,
    },
    /// The loop ran a tool itself and reports it.
    ToolReported(Report),
    /// A limit was raised by the user.
    Raised {
        /// Which limit; `None` is the deadline.
        resource: Option<Resource>,
        /// Its new value, in the resource's unit (milliseconds for time).
        limit: u64,
    },
    /// The user goes on from an earlier checkpoint.
    Branched {
        /// The checkpoint.
        step: StepNo,
        /// The main conversation there.
        head: Option<String>,
        /// The tips of all conversations there; those not named had none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        heads: Vec<(ConversationNo, String)>,
    },
    /// A time limit passed.
    TimeUp {
        /// Which.
        limit: TimeLimit,
    },
    /// Somebody wants the run to stop.
    StopRequested {
        /// Who.
        by: StoppedBy,
    },
    /// The agent process ended.
    AgentExited {
        /// How.
        exit: Exit,
        /// The end of what it wrote to stderr, for people.
        tail: String,
    },
    /// Nothing of the attempt runs any more.
    Swept {
        /// Processes that were asked to end.
        asked: u32,
        /// Processes that had to be killed.
        killed: u32,
    },
    /// The work that the agent says is done is about to be checked.
    VerifyStarted {
        /// Which round of checks it is, from 1.
        round: u32,
    },
    /// A check is about to ask a model and wants its worst case held back.
    CheckReserved {
        /// The request to answer.
        request: RequestNo,
        /// The check.
        check: String,
        /// The worst case.
        worst: Usage,
        /// Output tokens it may ask for.
        max_tokens: u64,
        /// Which link of the chain is asked, by its place.
        link: usize,
    },
    /// A try of a model call of a check came back.
    CheckAnswered(Box<CheckAnswer>),
    /// The checks of a round ended.
    Verified {
        /// Which round.
        round: u32,
        /// How each check ended, in the order of the task file.
        checks: Vec<CheckEnd>,
    },
    /// The user wants what the run did taken back.
    RollbackStarted,
    /// An undo is about to run.
    UndoStarted {
        /// The call that is undone.
        call: CallId,
        /// The try, from 1.
        attempt: u32,
    },
    /// A try of an undo ended.
    UndoEnded(UndoEnd),
    /// A human said whether an undo had happened.
    UndoSettled {
        /// The call that was to be undone.
        call: CallId,
        /// Whether it had.
        undone: bool,
    },
    /// Everything that can be taken back is.
    RolledBack,
    /// The folder that the agent works on was copied; it works in the copy.
    Staged(Staged),
    /// The change is about to be put into the folder that was staged.
    CommitStarted {
        /// How.
        method: CommitMethod,
        /// Why not by exchange.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// How much it is.
        counts: FileCounts,
        /// SHA-256 over the change, hexadecimal.
        hash: String,
    },
    /// The folder that was staged has the change.
    Committed {
        /// How much it was.
        counts: FileCounts,
    },
    /// The folder that was staged is as it was: the change could not come in.
    CommitRefused {
        /// Why.
        refusal: Refusal,
    },
    /// A human is asked.
    Escalated {
        /// The request to answer, where the agent asks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestNo>,
        /// What.
        ask: Box<Ask>,
        /// In a replay: what was decided in the run that is played. Nobody is asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        played: Option<Ruling>,
    },
    /// A question was decided.
    Decided {
        /// The question.
        escalation: EscalationId,
        /// The decision.
        ruling: Ruling,
    },
    /// A human has seen a question.
    Acknowledged {
        /// The question.
        escalation: EscalationId,
        /// Who, and when.
        seen: Seen,
    },
    /// Nobody waits here for a decision; the run ends for now.
    Suspended,
    /// The supervisor itself cannot go on.
    Broke {
        /// What broke.
        error: String,
    },
}

impl Event {
    /// Returns the event's name in the journal.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::AttemptStarted { .. } => "attempt_started",
            Self::AgentSpawned { .. } => "agent_spawned",
            Self::Greeted { .. } => "greeted",
            Self::Replayed { .. } => "replayed",
            Self::TurnReported(_) => "turn_reported",
            Self::Reserved { .. } => "reserved",
            Self::CallRefused { .. } => "call_refused",
            Self::ToolCalled(_) => "tool_called",
            Self::ToolEnded(_) => "tool_ended",
            Self::RetryDue { .. } => "retry_due",
            Self::BatchCalled(_) => "batch_called",
            Self::BatchDue { .. } => "batch_due",
            Self::Settled { .. } => "settled",
            Self::ToolReported(_) => "tool_reported",
            Self::Raised { .. } => "raised",
            Self::Branched { .. } => "branched",
            Self::TimeUp { .. } => "time_up",
            Self::StopRequested { .. } => "stop_requested",
            Self::AgentExited { .. } => "agent_exited",
            Self::Swept { .. } => "swept",
            Self::VerifyStarted { .. } => "verify_started",
            Self::CheckReserved { .. } => "check_reserved",
            Self::CheckAnswered(_) => "check_answered",
            Self::Verified { .. } => "verified",
            Self::RollbackStarted => "rollback_started",
            Self::UndoStarted { .. } => "undo_started",
            Self::UndoEnded(_) => "undo_ended",
            Self::UndoSettled { .. } => "undo_settled",
            Self::RolledBack => "rolled_back",
            Self::Staged(_) => "staged",
            Self::CommitStarted { .. } => "commit_started",
            Self::Committed { .. } => "committed",
            Self::CommitRefused { .. } => "commit_refused",
            Self::Escalated { .. } => "escalated",
            Self::Decided { .. } => "decided",
            Self::Acknowledged { .. } => "acknowledged",
            Self::Suspended => "suspended",
            Self::Broke { .. } => "broke",
        }
    }
}

/// A turn as the loop reports it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The request to answer.
    pub request: RequestNo,
    /// Tip of the conversation after this turn; `None` while it is empty.
    pub head: Option<String>,
    /// Messages that are new with this turn.
    pub added: u64,
    /// Whether the loop rewrote earlier messages (compaction).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rewritten: bool,
    /// The conversation that it is a turn of.
    #[serde(default, skip_serializing_if = "ConversationNo::is_first")]
    pub conversation: ConversationNo,
    /// Messages that were kept, where the agent left the end of the conversation:
    /// it went back and asked otherwise, or put a summary in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<u64>,
    /// What the turn used.
    pub usage: Usage,
    /// The model that was asked, where the loop says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The reservation that this turn settles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<u64>,
    /// Why the model call failed or was cut; such a turn is no step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether the loop says its work is done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
    /// What the loop gives as its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Whether it is no turn: the gateway has counted what a loop used that tells of
    /// its turns itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_quiet: bool,
    /// Whether it was read from the agent's model calls, not told by the agent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_wire: bool,
    /// The model's answer as it was, where it is kept for another attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<KeptReply>,
    /// How the try of the model call went that this turn is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
}

/// The conversation that a model call belongs to. What is known of it besides its
/// number stands in the first call only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its number.
    pub conversation: ConversationNo,
    /// Whether the call offers tools that the agent runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offers_tools: bool,
    /// The API that its messages are written for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api: String,
    /// What the agent calls it, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The conversation whose beginning it shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ConversationNo>,
    /// Digest of its system prompt.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// Digest of its tools.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tools: String,
}

/// One try of a model call, as the gateway saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// Which link of the chain was asked, by its place.
    pub link: usize,
    /// The breaker of the model that was asked.
    pub breaker: String,
    /// Tries of this link for this call, this one included.
    pub attempt: u32,
    /// The wait before it, in milliseconds.
    pub waited_ms: u64,
    /// The HTTP status; 0 where there was no answer.
    pub status: u16,
    /// How it is classed.
    pub judged: Judged,
    /// How far the answer came to the agent.
    #[serde(default)]
    pub end: End,
    /// Links that this call cannot go to any more: left, or unfit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out: Vec<usize>,
    /// The model that was asked.
    #[serde(default)]
    pub model: String,
    /// How long the agent's client still waits, in milliseconds; `None`: as long
    /// as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// What the answer asks of the agent's tools: all its calls; none where it asks
    /// for nothing.
    #[serde(default, skip_serializing_if = "Digest::is_none")]
    pub asks: Digest,
    /// A uniform draw.
    pub draw: u32,
}

/// How far an answer came to the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Nothing of it: it can still be made again.
    #[default]
    Unseen,
    /// Its first words.
    Begun,
    /// The agent hung up.
    HungUp,
    /// The call did not go out at all.
    Unsent,
}

/// A model's answer that an attempt after a crash gets again, without paying. Its
/// bytes lie in the journal beside the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReply {
    /// What identifies the request.
    pub request: String,
    /// Its content type.
    pub content_type: String,
}

/// A request for a guarded tool, with what is known about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The request to answer.
    pub request: RequestNo,
    /// The tool's name as the loop gave it.
    pub tool: String,
    /// The arguments; long ones are cut for the journal and kept in a file.
    pub args: Value,
    /// Hash of the normalised arguments: the same call again has the same.
    pub identity: String,
    /// The key, where the tool declares one or the supervisor made one.
    pub key: Option<IdempotencyKey>,
    /// What the key's first execution gave, if there was one.
    pub recorded: Option<Content>,
    /// In a replay: how the recorded answer was classed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_class: Option<Class>,
    /// A write of this step that was done before a crash and may be this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resembles: Option<CallId>,
    /// What the tool's breaker says.
    pub admission: Admission,
    /// Whoever asks carries the tries out and tells what came of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_lent: bool,
    /// The loop's own id of the call, such as the model's tool-use id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_id: Option<String>,
    /// Why the call cannot be made at all (unknown tool, arguments that break
    /// the schema), in words for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What a tool call gives back to the loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// Text for the model, bounded.
    pub text: String,
    /// Whether the model should see it as an error.
    pub is_error: bool,
    /// Whether `text` leaves something out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// File with the whole output, where it was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// The end of one try of a guarded tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolEnd {
    /// The call.
    pub call: CallId,
    /// The try, from 1.
    pub attempt: u32,
    /// Of a lent call: the request that told of it, and waits for what comes next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestNo>,
    /// How the result is classed, and why.
    pub judged: Judged,
    /// What is known about whether the tool did its work.
    pub delivery: Delivery,
    /// What it gave.
    pub content: Content,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The call and its result, for the loop detector.
    pub print: Print,
    /// A uniform draw in `0..2^32` for the wait before the next try.
    pub draw: u32,
    /// What it gave for each item, where the call carried several and the answer
    /// tells them apart; else all that is above holds for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<ItemAnswer>,
}

/// What an answer says about one item of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemAnswer {
    /// The item's place in its batch.
    pub item: usize,
    /// How it is classed, and why.
    pub judged: Judged,
    /// What is known about whether the tool did its work on it.
    pub delivery: Delivery,
    /// What it gave.
    pub content: Content,
}

/// A request to do one thing to several items, with what is known about each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchCall {
    /// The request to answer.
    pub request: RequestNo,
    /// The tool's name.
    pub tool: String,
    /// The items; no id stands twice.
    pub items: Vec<BatchItem>,
    /// Calls that may be out at once, at least 1.
    pub concurrency: u32,
    /// Items that one call carries at most, at least 1.
    pub size: u32,
    /// What the loop wants to have succeeded.
    #[serde(default)]
    pub want: Want,
    /// Whether nothing more is begun once that cannot be reached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fail_fast: bool,
    /// Whether a human has it done while no agent runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_human: bool,
}

/// One item of a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchItem {
    /// Its id, as the loop gave it.
    pub id: String,
    /// The arguments.
    pub args: Value,
    /// Hash of the normalised arguments.
    pub identity: String,
    /// The key; `None` for tools that only read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<IdempotencyKey>,
    /// What the key's first execution gave, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Content>,
    /// Why it cannot be done at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The place of an earlier item with the same key, which stands for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<usize>,
    /// In a replay: how it ended in the run that is played.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub played: Option<Box<PlayedItem>>,
}

/// How an item of a batch ended in a run that is played again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayedItem {
    /// How.
    pub end: ItemEnd,
    /// Tries it took.
    pub attempts: u32,
}

/// A verdict of the taxonomy, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The class.
    pub class: Class,
    /// The other side's hint, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Id of the rule that matched.
    pub rule: String,
    /// The rule's sentence.
    pub why: String,
    /// What it matched.
    pub evidence: String,
}

/// What is known about whether a tool did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// It answered, so the answer tells.
    Answered,
    /// It was never reached.
    NeverSent,
    /// It was reached and did not answer (time-out, killed, cut connection).
    Unknown,
}

/// A tool call that the loop carried out by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The request to answer.
    pub request: RequestNo,
    /// The tool's name.
    pub tool: String,
    /// Its arguments, bounded.
    pub args: Value,
    /// How the result is classed, and why.
    pub judged: Judged,
    /// The call and its result, for the loop detector.
    pub print: Print,
    /// The conversation that it belongs to, where the gateway found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationNo>,
}

/// Whether an in-doubt call had happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "settlement", rename_all = "snake_case")]
pub enum Settlement {
    /// It had; this is its result.
    Happened {
        /// What it gave.
        content: Content,
    },
    /// It had not.
    NotHappened,
    /// It cannot be told.
    Unknown {
        /// Why not.
        why: String,
    },
}

/// What settled an in-doubt call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettledBy {
    /// The tool only reads; repeating it does no harm.
    Read,
    /// The tool's own idempotency key.
    NativeKey,
    /// The tool's probe.
    Probe,
    /// A human.
    Human,
}

impl SettledBy {
    /// Returns it in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "the nature of the tool, which only reads",
            Self::NativeKey => "carrying it out again under its own key",
            Self::Probe => "the tool's probe",
            Self::Human => "a human",
        }
    }
}

/// The end of one try of an undo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UndoEnd {
    /// The call that was to be undone.
    pub call: CallId,
    /// How the result is classed, and why.
    pub judged: Judged,
    /// What is known about whether the undo did its work.
    pub delivery: Delivery,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// A uniform draw in `0..2^32` for the wait before the next try.
    pub draw: u32,
}

/// How a check of the work ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckEnd {
    /// The name of the check.
    pub name: String,
    /// What it says.
    pub verdict: CheckVerdict,
    /// Why, as a clause that follows the name: "exited with code 1".
    pub why: String,
    /// What it found, for the agent; bounded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub findings: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// How a try of a model call ended that a check made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// The request to answer.
    pub request: RequestNo,
    /// The check.
    pub check: String,
    /// What it used.
    pub usage: Usage,
    /// What was held back for it.
    pub reservation: Option<u64>,
    /// The model that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How it went.
    pub exchange: Exchange,
}

/// What a check says about the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    /// It is as it should be.
    Passed,
    /// It is not.
    Failed,
    /// Nothing: the check itself could not be carried out.
    Unchecked,
}

/// A copy of the folder that the agent works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The folder.
    pub target: String,
    /// The copy.
    pub stage: String,
    /// SHA-256 over paths, kinds, modes and contents, hexadecimal: the input that
    /// the folder was.
    pub hash: String,
    /// Files and links.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Paths that the copy does not have; some of them, where there are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// How a change comes into the folder that was staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitMethod {
    /// The folder is exchanged as a whole.
    Exchange,
    /// File by file.
    Files,
}

/// How many files a change is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCounts {
    /// New ones.
    pub added: u64,
    /// Changed ones.
    pub changed: u64,
    /// Deleted ones.
    pub deleted: u64,
}

impl FileCounts {
    /// Returns it in words: "2 files added, 1 changed, 0 deleted".
    pub fn describe(self) -> String {
        let Self {
            added,
            changed,
            deleted,
        } = self;
        if added + changed + deleted == 0 {
            return "no files changed".into();
        }
        format!("files: {added} added, {changed} changed, {deleted} deleted")
    }
}

/// Why a change could not come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// Others changed the same paths.
    Conflict {
        /// Some of them.
        paths: Vec<String>,
        /// How many there are.
        count: u64,
    },
    /// Somebody else has locked the folder.
    Locked {
        /// Who, in words.
        why: String,
    },
    /// The copy is not there any more, and with it what the agent did.
    Gone {
        /// Where it was.
        stage: String,
    },
}

/// A limit in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeLimit {
    /// The run's deadline.
    Deadline,
    /// No word from the agent.
    Idle,
    /// A model call that takes too long.
    ModelCall,
}

/// Who stops a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoppedBy {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM or a closed terminal.
    Terminate,
    /// `agentguard stop`.
    User,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody knows: whoever watched it is gone.
    Lost,
    /// With the machine, which was started anew since.
    MachineDown,
}

/// When something happened; kept beside the event in the journal.
pub type At = UnixMs;
