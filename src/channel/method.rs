//! The methods of the protocol: what each takes and what each gives.
//!
//! A [`Call`] is read from a frame by [`Call::parse`]; an [`Answer`] is written
//! into one. Pure data: what a call means for the run is the driver's matter.
//! The words for a wrong parameter are in [`super::params`]; the written
//! specification is `docs/protocol.md`, and a test compares the two.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::frame::Error;
use super::gateway::wire::Digest;
use super::heard::Heard;
use super::money;
pub use super::raw::Verbatim;
use crate::clock::UnixMs;
use crate::ids::{AttemptNo, BatchNo, CallId, ConversationNo, EscalationId, RunId, StepNo};

/// The version of the protocol that this build speaks.
pub const PROTOCOL: u64 = 1;

/// The methods, in the order of the specification.
pub const NAMES: [&str; 10] = [
    "start", "turn", "reserve", "tool", "lend", "lend_end", "batch", "report", "escalate", "state",
];

/// A request of the loop, its parameters read and checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Says hello; asks for everything a loop needs to begin or go on.
    Start(Start),
    /// Commits a turn.
    Turn(Box<Turn>),
    /// Holds back the worst case of a model call.
    Reserve(Reserve),
    /// Runs a guarded tool.
    Tool(Tool),
    /// Hands several items to a guarded tool.
    Batch(Box<Batch>),
    /// Asks to run a guarded tool oneself.
    Lend(Tool),
    /// Tells what came of it.
    LendEnd(LendEnd),
    /// Tells of a tool call that the loop ran itself.
    Report(Report),
    /// Asks a human.
    Escalate(Box<Escalate>),
    /// Asks where the run is; changes nothing.
    State(State),
    /// A model call was answered from the record; from the gateway only.
    Replayed(Box<Replayed>),
    /// Asks which conversation a model call belongs to; from the gateway only.
    Place(Box<Caller>),
}

impl Call {
    /// Returns the name of the method.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Turn(_) => "turn",
            Self::Reserve(_) => "reserve",
            Self::Tool(_) => "tool",
            Self::Batch(_) => "batch",
            Self::Lend(_) => "lend",
            Self::LendEnd(_) => "lend_end",
            Self::Report(_) => "report",
            Self::Escalate(_) => "escalate",
            Self::State(_) => "state",
            Self::Replayed(_) => "replayed",
            Self::Place(_) => "place",
        }
    }

    /// Reads the parameters of `method`.
    ///
    /// Errors: [`Error::UnknownMethod`]; [`Error::Params`] for the first
    /// parameter that is wrong.
    pub fn parse(method: &str, params: Option<&RawValue>) -> Result<Self, Error> {
        super::params::read(method, params)
    }
}

/// Parameters of `start`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Start {
    /// What the loop calls itself, for the log.
    pub client: Option<String>,
    /// How much of the conversation to send.
    pub messages: Window,
}

/// Parameters of `state`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// How much of the conversation to send.
    pub messages: Window,
}

/// How much of the conversation an answer carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Window {
    /// All of it.
    #[default]
    All,
    /// Nothing.
    None,
    /// The last so many messages; more than there are is all.
    Last(u64),
}

/// Parameters of `turn`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turn {
    /// The messages of the turn.
    pub said: Said,
    /// What the model call of the turn used.
    pub usage: Option<Usage>,
    /// The number of this turn, at least 1; absent means the next one.
    pub step: Option<StepNo>,
    /// The reservation that this turn settles.
    pub reservation: Option<ReservationNo>,
    /// The model call failed or was cut, and how; for the journal.
    pub error: Option<String>,
    /// The loop says that the task is done.
    pub done: bool,
    /// What the loop gives as its result; any JSON, not null.
    pub result: Option<Verbatim>,
    /// Set where the gateway saw the turn; not part of the protocol.
    pub wire: Option<Wire>,
}

/// What the gateway knows of a turn besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// What the call used is not known for certain: its reservation is spent.
    pub is_in_doubt: bool,
    /// The loop tells of its turns itself; only the money counts.
    pub is_quiet: bool,
    /// The answer, to be kept for another attempt.
    pub reply: Option<WireReply>,
    /// How the try went, to be judged; absent where it was before.
    pub exchange: Option<Box<Exchange>>,
    /// The call whose turn it is.
    pub ticket: Option<u64>,
    /// What the messages of the answer mean.
    pub meanings: Vec<Option<Digest>>,
    /// Digests of the longer lines that the answer says.
    pub lines: Vec<u64>,
    /// The id of the answer.
    pub id: Option<String>,
}

/// A model call, as far as it tells which conversation it belongs to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caller {
    /// The API that it is written for.
    pub api: String,
    /// The ids that the agent gives its sessions, as one.
    pub ids: Option<String>,
    /// What the agent calls a sub-agent.
    pub agent: Option<String>,
    /// Digest of the system prompt.
    pub system: String,
    /// Digest of the tools.
    pub tools: String,
    /// Whether there are tools that the agent runs.
    pub offers_tools: bool,
    /// The answer that it follows, where the upstream keeps the history.
    pub follows: Option<String>,
    /// Its messages.
    pub messages: Heard,
    /// Digests of the longer lines that are said before its first answer.
    pub lines: Vec<u64>,
    /// Whether somebody waits for it.
    pub pulse: Pulse,
}

/// Beats as long as whoever holds the other end lives.
#[derive(Clone, Debug, Default)]
pub struct Pulse(std::sync::Weak<()>);

impl Pulse {
    /// Beats as long as `life` is held.
    pub fn of(life: &std::sync::Arc<()>) -> Self {
        Self(std::sync::Arc::downgrade(life))
    }

    /// Whether it beats.
    pub fn beats(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl PartialEq for Pulse {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

/// Where a model call belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// Names the call in what is told of it.
    pub ticket: u64,
    /// The conversation.
    pub conversation: ConversationNo,
    /// The first of its messages that is new to the conversation.
    pub from: usize,
    /// Messages whose tool results were not told of.
    pub new: Vec<usize>,
    /// Whether it is a call beside the others.
    pub is_side: bool,
}

/// One try of a model call, as the gateway saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Which link of the chain was asked.
    pub link: usize,
    /// The model that was asked.
    pub model: String,
    /// Tries of this link for this call, this one included.
    pub attempt: u32,
    /// The wait before it, in milliseconds.
    pub waited_ms: u64,
    /// How long the client still waits, in milliseconds.
    pub hold_ms: Option<u64>,
    /// The HTTP status; 0 where there was no answer.
    pub status: u16,
    /// What came, in the taxonomy's terms: `status`, `headers`, `body`, `error`.
    pub result: serde_json::Value,
    /// The tools that were offered, as the taxonomy takes them.
    pub tools: serde_json::Value,
    /// What the answer must look like, as the taxonomy takes it.
    pub format: serde_json::Value,
    /// The call broke off or got no answer, and how.
    pub broke: Option<String>,
    /// How far the answer came to the agent.
    pub end: End,
    /// Links that this call cannot go to any more.
    pub out: Vec<usize>,
    /// Whose server was asked, for the breaker.
    pub host: String,
}

/// How far an answer came to the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// A model's answer as it went to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireReply {
    /// What identifies the request.
    pub request: String,
    /// Its content type.
    pub content_type: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// The messages of a turn, each a JSON object.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Said {
    /// Neither `messages` nor `history` was given.
    #[default]
    Nothing,
    /// Only what is new.
    New(Vec<Verbatim>),
    /// The whole conversation, which may have been rewritten.
    History(Vec<Verbatim>),
}

/// What a model call used. An absent count is unknown, not 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The model that answered; priced by the task's price list.
    pub model: Option<String>,
    /// Input tokens, cached ones included or not as the model's maker counts.
    pub input_tokens: Option<u64>,
    /// Output tokens.
    pub output_tokens: Option<u64>,
    /// Input tokens read from a cache.
    pub cached_input_tokens: Option<u64>,
    /// Input tokens written to a cache.
    pub cache_write_tokens: Option<u64>,
    /// The cost as the loop knows it, in nano-USD, rounded up.
    pub cost_nano_usd: Option<u64>,
    /// What only the gateway sees.
    pub seen: Seen,
}

/// What the gateway sees of a model call besides its tokens; not part of the
/// protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The model as the agent asked for it; answers name it with its date.
    pub asked_model: Option<String>,
    /// The part of `cache_write_tokens` that was written for an hour.
    pub hour_write_tokens: u64,
    /// Searches of the provider, each with a fee.
    pub web_searches: u64,
    /// What changes the price.
    pub terms: Terms,
    /// What other models did within the same answer.
    pub others: Vec<Usage>,
}

/// What a call is billed by besides its model, in the provider's words; absent is
/// the standard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// `priority`, `flex` and their like.
    pub service_tier: Option<String>,
    /// `fast` (Anthropic).
    pub speed: Option<String>,
    /// `us` (Anthropic's `inference_geo`).
    pub region: Option<String>,
    /// Which link of the chain is asked; it may have a price of its own.
    pub link: Option<usize>,
}

/// Numbers the reservations of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ReservationNo(pub u64);

/// Parameters of `reserve`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserve {
    /// The model to be called.
    pub model: Option<String>,
    /// Input tokens of the call, counted or bounded above.
    pub input_tokens: u64,
    /// Most output tokens of the call, at least 1.
    pub max_tokens: u64,
    /// The worst case as the loop knows it, in nano-USD, rounded up.
    pub cost_nano_usd: Option<u64>,
    /// Fewest output tokens with which the call still makes sense; from the gateway
    /// only, as all below.
    pub least_tokens: u64,
    /// Who can be asked.
    pub offers: Vec<Offer>,
    /// Who is to be asked first.
    pub prefer: Option<usize>,
    /// With the first call that no record answers: how many of its answers nobody
    /// asked for.
    pub unasked: Option<u64>,
    /// What is asked for that changes the price.
    pub terms: Terms,
    /// The field that has caches written for longer than is usual, if one does.
    pub long_cache: Option<String>,
    /// A part of the input whose size is not known, if there is one: no more than
    /// what the model can read at once.
    pub unbounded: Option<String>,
    /// The call that it is for.
    pub ticket: Option<u64>,
}

/// An answer from the record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replayed {
    /// What it cost when it was new, in nano-USD.
    pub cost_nano_usd: u64,
    /// Who asked.
    pub caller: Caller,
}

/// A link of the chain that can take a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Its place in the chain.
    pub link: usize,
    /// The model it would be asked for.
    pub model: String,
    /// Whose server it is, for the breaker.
    pub host: String,
    /// Input tokens of the call, as this model counts at most.
    pub input_tokens: u64,
    /// As in the reservation.
    pub long_cache: Option<String>,
    /// As in the reservation.
    pub unbounded: Option<String>,
    /// It takes the API's terms as they were asked for.
    pub takes_terms: bool,
    /// It costs nothing.
    pub is_free: bool,
    /// Nothing like its history was answered yet: its bytes are all that bounds it.
    pub is_first: bool,
}

/// Parameters of `lend_end`.
#[derive(Clone, Debug, PartialEq)]
pub struct LendEnd {
    /// The call.
    pub call: CallId,
    /// The try, from 1.
    pub attempt: u32,
    /// What came of it.
    pub end: LentEnd,
}

/// What came of a lent try.
#[derive(Clone, Debug, PartialEq)]
pub enum LentEnd {
    /// The server's JSON-RPC response.
    Response(Verbatim),
    /// It was sent and not answered, and why.
    Lost(String),
    /// It was never sent, and why.
    Unsent(String),
}

/// Parameters of `tool` and `lend`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tool {
    /// The tool's name in the task file.
    pub name: String,
    /// The arguments; of a name given twice, the last counts.
    pub args: Map<String, Value>,
    /// The loop's own id of the call, such as the model's tool-use id.
    pub id: Option<String>,
}

/// Parameters of `batch`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The tool's name in the task file.
    pub tool: String,
    /// The items, from 1 to [`ITEMS_MAX`].
    pub items: Vec<BatchItem>,
    /// What has to succeed, as text such as `required` or `95%`.
    pub policy: Option<String>,
    /// Whether nothing more is begun once that cannot be reached.
    pub fail_fast: bool,
    /// Calls that may be out at once; no more than the task file allows.
    pub concurrency: Option<u32>,
}

/// Most items of one batch.
pub const ITEMS_MAX: usize = 10_000;

/// One item of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchItem {
    /// Its id, which makes it the same item wherever it stands.
    pub id: String,
    /// The arguments; of a name given twice, the last counts.
    pub args: Map<String, Value>,
}

/// Parameters of `report`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The tool the loop ran.
    pub tool: String,
    /// Its arguments.
    pub args: Map<String, Value>,
    /// What it gave; any JSON, not null.
    pub result: Option<Verbatim>,
    /// Whether the loop takes it for an error.
    pub is_error: Option<bool>,
    /// Exit status, of a command.
    pub exit_code: Option<i32>,
    /// HTTP status, of a request; 0 is no response.
    pub status: Option<u16>,
    /// The model call in which the gateway found it; not part of the protocol.
    pub ticket: Option<u64>,
    /// The model's id of the call, where the gateway found it.
    pub wire_id: String,
}

/// Parameters of `escalate`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Escalate {
    /// The question.
    pub question: String,
    /// What can be chosen, as id and label; empty: yes or no.
    pub options: Vec<(String, String)>,
    /// The option that stands when nobody answers.
    pub default: Option<String>,
    /// What the loop would do.
    pub recommendation: Option<String>,
    /// What a human should have seen first.
    pub evidence: Option<String>,
    /// The smallest decision that is needed.
    pub decision: Option<String>,
    /// What leads to it: `agent`, `low_confidence` or `uncovered`.
    pub kind: Option<String>,
    /// Whether what follows can be taken back; absent means yes.
    pub reversible: Option<bool>,
    /// The money at stake, in nano-USD.
    pub cost_nano_usd: Option<u64>,
    /// How sure the loop is, from 0 to 1.
    pub confidence: Option<f64>,
    /// How long a human has, in milliseconds.
    pub deadline_ms: Option<u64>,
}

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To `start` and `state`.
    Briefing(Box<Briefing>),
    /// To `turn`.
    Turn(TurnAnswer),
    /// To `reserve`.
    Reserve(ReserveAnswer),
    /// To `tool`, `lend` and `lend_end`.
    Tool(Box<ToolAnswer>),
    /// To `batch`.
    Batch(Box<BatchAnswer>),
    /// To `lend` and `lend_end`.
    Lent(LentAnswer),
    /// To `report`.
    Report(ReportAnswer),
    /// To the gateway.
    Placed(Placed),
    /// To `escalate`.
    Escalate(Box<EscalateAnswer>),
}

/// Where the run is and what the loop has at hand.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Briefing {
    /// Version of the protocol, [`PROTOCOL`].
    pub protocol: u64,
    /// The run.
    pub run_id: RunId,
    /// How many times the agent was started for this run, this one included.
    pub attempt: AttemptNo,
    /// Turns committed so far.
    pub step: StepNo,
    /// Why this attempt began.
    pub cause: Cause,
    /// With `reflection`: what went wrong, and the request for another way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The conversation, oldest first, as far as it was asked for.
    pub messages: Vec<Verbatim>,
    /// What the run was started with.
    pub input: Input,
    /// The guarded tools, in the order of the task file.
    pub tools: Vec<ToolInfo>,
    /// What is left of the limits.
    pub limits: Limits,
    /// Calls of the step being redone that have happened already; not to be
    /// repeated.
    pub unfinished: Vec<Unfinished>,
}

/// Why an attempt began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The first attempt.
    Fresh,
    /// After a crash of the machine or a process: go on as if nothing happened.
    Verbatim,
    /// After a crash of the logic: go on differently, the note says why.
    Reflection,
}

/// What the run was started with.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Input {
    /// The prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The parameters.
    pub params: Map<String, Value>,
    /// The folder with the snapshot of the input files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
}

/// A guarded tool as the loop may offer it to its model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolInfo {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its arguments.
    pub input_schema: Value,
    /// JSON Schema of its result, where the task has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// `read`, `write` or `irreversible`.
    pub effect: String,
    /// Whether a call would be tried now.
    pub available: bool,
    /// Why not, in words a model can use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
    /// When it is expected back; RFC 3339 in the frame.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "rfc3339")]
    pub back_at: Option<UnixMs>,
}

/// What is left of the limits; a limit the task does not set is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Money>,
    /// Input and output tokens together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Count>,
    /// Turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Count>,
    /// Guarded and reported tool calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Count>,
    /// The end of the run's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
}

/// An amount of money under a limit, in nano-USD; US dollars in the frame,
/// exact to the last digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Money {
    /// The cap.
    #[serde(rename = "limit", serialize_with = "usd")]
    pub limit_nano_usd: u64,
    /// Spent and held back so far.
    #[serde(rename = "used", serialize_with = "usd")]
    pub used_nano_usd: u64,
    /// What is left.
    #[serde(rename = "left", serialize_with = "usd")]
    pub left_nano_usd: u64,
}

/// A count under a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The cap.
    pub limit: u64,
    /// Used so far.
    pub used: u64,
    /// What is left.
    pub left: u64,
}

/// The end of the run's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Deadline {
    /// When; RFC 3339 in the frame.
    #[serde(serialize_with = "instant")]
    pub at: UnixMs,
    /// Milliseconds until then, 0 when it has passed.
    pub left_ms: u64,
}

/// A call of the step being redone that has happened already.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unfinished {
    /// The call's number.
    pub call: CallId,
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub args: Verbatim,
    /// What it gave.
    pub content: String,
    /// Whether that was an error.
    pub is_error: bool,
}

/// What the loop does next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// Go on.
    Go,
    /// Go on, and give the model this text first.
    Steer {
        /// For the model.
        text: String,
        /// Which rule asked for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// End the loop.
    Stop {
        /// Why, in one word or a short code.
        reason: String,
        /// The exit code the run will have.
        exit_code: u8,
        /// The same for a person.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
}

/// The result of `turn`. Once it is sent, the turn survives any crash.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TurnAnswer {
    /// The number of the turn now durable.
    pub step: StepNo,
    /// What to do next.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What is left of the limits.
    pub limits: Limits,
    /// What a person should know and the loop may ignore.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What becomes of the model call; to the gateway only.
    #[serde(skip)]
    pub next: Next,
}

/// What becomes of a model call after a try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// The agent gets the answer.
    #[default]
    Take,
    /// It is tried again.
    Again {
        /// Milliseconds to wait first.
        delay_ms: u64,
        /// Another link, where this one is left.
        link: Option<usize>,
    },
    /// The agent gets what there is.
    GiveUp,
}

/// The result of `reserve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum ReserveAnswer {
    /// The worst case is held back; make the call.
    Go {
        /// To be named by the turn that settles it.
        reservation: ReservationNo,
        /// Most output tokens to ask for; may be fewer than asked.
        max_tokens: u64,
        /// For the model; to the gateway only.
        #[serde(skip)]
        steer: Option<String>,
        /// Which link of the chain is asked; to the gateway only.
        #[serde(skip)]
        link: usize,
        /// The loop tells of its turns itself; to the gateway only.
        #[serde(skip)]
        is_quiet: bool,
    },
    /// The call does not fit; end the loop.
    Stop {
        /// Why, in one word or a short code.
        reason: String,
        /// The exit code the run will have.
        exit_code: u8,
        /// The same for a person.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// The loop speaks for itself and counts its calls; to the gateway only.
    Pass,
}

/// The result of `tool`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolAnswer {
    /// The call's number in the run.
    pub call: CallId,
    /// What goes to the model.
    pub content: String,
    /// The same as JSON, where the tool gave JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Verbatim>,
    /// Whether it is an error to the model.
    pub is_error: bool,
    /// Its class in the failure taxonomy, such as `success`.
    pub class: String,
    /// The file with the whole output, where `content` is only a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_path: Option<String>,
    /// Whether `content` was shortened.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// What to do next.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The result of `batch`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BatchAnswer {
    /// The batch's number in the run.
    pub batch: BatchNo,
    /// The tool.
    pub tool: String,
    /// What had to succeed, as text.
    pub policy: String,
    /// Whether it did.
    pub met: bool,
    /// How many items ended how.
    pub counts: BatchCounts,
    /// Each item, in the order in which they were handed in; one that stood twice
    /// stands once.
    pub items: Vec<ItemAnswer>,
    /// What to do next.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// How many items ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchCounts {
    /// All of them.
    pub items: usize,
    /// Done.
    pub succeeded: usize,
    /// Not done; the next batch with them tries again.
    pub queued: usize,
    /// Failed for good.
    pub dead: usize,
    /// Perhaps done.
    pub in_doubt: usize,
    /// Nobody tried them.
    pub not_attempted: usize,
}

/// How one item ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ItemAnswer {
    /// Its id.
    pub id: String,
    /// `succeeded`, `queued`, `dead`, `in_doubt` or `not_attempted`.
    pub status: String,
    /// The class of its last result.
    pub class: String,
    /// The rule that found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The rule in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What the rule saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Tries it took; 0 where none was made for this answer.
    pub attempts: u32,
    /// Whether the record of an earlier execution answers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub from_record: bool,
    /// Its number among the calls of the run.
    pub call: CallId,
    /// What it gave, for the model.
    pub content: String,
    /// The same as JSON, where the tool gave JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Verbatim>,
    /// The file with the whole output, where `content` is only a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_path: Option<String>,
    /// Whether `content` was shortened.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// When another try makes sense; RFC 3339 in the frame.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "rfc3339")]
    pub at: Option<UnixMs>,
}

/// The result of `lend` and `lend_end` where a try is to be carried out now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LentAnswer {
    /// The call's number in the run.
    pub call: CallId,
    /// The try, from 1.
    pub attempt: u32,
    /// How long it may take.
    pub timeout_ms: u64,
    /// The key of a write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Where the tool takes the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native_key: Option<NativeKey>,
}

/// Where a lent tool takes its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NativeKey {
    /// In this argument.
    Argument(String),
    /// In this field of `_meta`.
    Meta(String),
}

/// The result of `report`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportAnswer {
    /// The call's number in the run.
    pub call: CallId,
    /// Its class in the failure taxonomy, such as `success`.
    pub class: String,
    /// What to do next.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The result of `escalate`: what was decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EscalateAnswer {
    /// The question's number.
    pub escalation: EscalationId,
    /// The option that was chosen.
    pub option: String,
    /// What it means.
    pub label: String,
    /// Words with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who decided.
    pub by: String,
    /// When; RFC 3339 in the frame.
    #[serde(serialize_with = "instant")]
    pub at: UnixMs,
    /// How it came: `answer`, `token` or `deadline`.
    pub source: String,
    /// Whether it had been decided before it was asked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
    /// The same for the model.
    pub content: String,
    /// What to do next.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Writes nano-USD as an exact decimal number.
fn usd<S: Serializer>(nano_usd: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    let text = money::usd_text(*nano_usd);
    RawValue::from_string(text)
        .map_err(serde::ser::Error::custom)?
        .serialize(serializer)
}

fn instant<S: Serializer>(at: &UnixMs, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(at) => serializer.collect_str(&at),
        Err(error) => Err(serde::ser::Error::custom(error)),
    }
}

fn rfc3339<S: Serializer>(at: &Option<UnixMs>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => instant(at, serializer),
        None => serializer.serialize_none(),
    }
}
