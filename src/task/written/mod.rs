//! The task file as written: one type per section, unknown keys refused.
//!
//! These types are the published JSON Schema: a doc comment is the text an
//! editor shows, a serde default is the default it shows (all in
//! `task::defaults`). `x-unit`, `x-positive` and `x-expected` in the schema are
//! read by `task::validate`; editors ignore them.
//!
//! What the types cannot say (one of two keys, a template that parses) is
//! checked where they are resolved, in `task::resolve`.

mod escalation;
mod mcp;
mod patterns;
mod rule;
mod tool;
mod upstream;
mod verify;
mod workspace;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use escalation::{Approve, ApproveWord, Escalation, EscalationType, EscalationTypes};
pub use mcp::{McpKey, McpServer, McpTool};
pub use patterns::{
    Breaker, BreakerSetting, Loops, OnLoop, Retry, RetryBudget, Strategy, Thresholds, ToolRetry,
};
pub use rule::{Class, Codes, Rule, Status, Statuses, When};
pub use tool::{
    Body, BodyWord, Effect, Http, KeyScope, Method, NativeKey, Probe, Stdin, Tool, Undo,
};
pub use upstream::{Feature, Level, Provider, Upstream, WireApi};
pub use verify::{Check, Rounds, SchemaCheck, Verify};
pub use workspace::{CommitMode, Workspace};

use super::units::{Count, Duration, Percent, UsdAmount};
use super::{defaults, preset};

/// A task for `agentguard run`: the agent, its limits, and its tools.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "agentguard task file")]
pub struct Task {
    /// The version of this format. Only 1 exists.
    #[serde(default)]
    #[schemars(extend("enum" = [1], "default" = 1))]
    pub version: Option<u32>,
    /// The name of the task, by which runs are listed. Default: the name of
    /// the file without its ending.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]{0,63}$"), extend("x-expected" = "1 to 64 of `a-z`, `0-9`, `.`, `_`, `-`"))]
    pub name: Option<String>,
    /// The program that is supervised.
    pub agent: Agent,
    /// What the agent works on; snapshotted and hashed when the run starts.
    #[serde(default)]
    pub input: Input,
    /// How much the run may use before it is stopped.
    #[serde(default)]
    pub limits: Limits,
    /// Prices by model name, in USD per million tokens, for loops that report
    /// tokens and a model instead of a cost, and for the gateway. A dearer tier or
    /// speed has its own, as `MODEL/TIER`; `*` is for models that nobody knows.
    #[serde(default)]
    pub prices: BTreeMap<String, Price>,
    /// Where model calls go that pass the gateway. Default: the provider that the
    /// agent asks.
    #[serde(default)]
    pub upstream: Upstream,
    /// Who answers when `upstream` does not, in this order.
    #[serde(default)]
    pub fallbacks: Vec<Upstream>,
    /// Guarded tools by name: the supervisor runs them for the agent.
    #[serde(default)]
    pub tools: BTreeMap<String, Tool>,
    /// MCP servers by the name given to `agentguard mcp proxy --name`: how the calls
    /// of their tools are guarded.
    #[serde(default)]
    pub mcp: BTreeMap<String, McpServer>,
    /// Own rules that class results. The first that matches wins, before the
    /// built-in ones.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// When an agent counts as going round in circles.
    #[serde(default)]
    pub loops: Loops,
    /// How tools are retried, unless a tool says otherwise.
    #[serde(default)]
    pub retry: Retry,
    /// When a failing tool is no longer called, unless a tool says otherwise.
    /// `false` switches breakers off.
    #[serde(default)]
    pub breaker: BreakerSetting,
    /// How the work is checked once the agent says that it is done. Without it a
    /// run is done, but unverified.
    #[serde(default)]
    pub verify: Option<Verify>,
    /// When what the run did is taken back by itself.
    #[serde(default)]
    pub rollback: Rollback,
    /// The folder that the agent works on, and locks on what it shares.
    #[serde(default)]
    pub workspace: Workspace,
    /// When a human is asked.
    #[serde(default)]
    pub escalation: Escalation,
    /// Who is told when something happens.
    #[serde(default)]
    pub notify: Vec<Notify>,
}

/// The program that is supervised: `command`, `script`, or the command of a
/// `preset`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// The program and its arguments, one item each; no shell is involved.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// Patterns of what differs between two starts of the agent that are the same
    /// (regular expressions over its requests); times, days and UUIDs are known.
    #[serde(default)]
    pub volatile: Vec<String>,
    /// A script, written here; run by `interpreter`.
    #[serde(default)]
    pub script: Option<String>,
    /// An agent that agentguard knows: how it is started without a terminal, where
    /// it takes the address of its model, how it takes up a session. Default: found
    /// by the program of `command`.
    #[serde(default)]
    #[schemars(extend("enum" = preset::names().collect::<Vec<_>>()))]
    pub preset: Option<String>,
    /// Whether an agent that agentguard knows gets the task's tools as an MCP server,
    /// `agentguard`. Default: if the task has any.
    #[serde(default)]
    pub mcp: Option<bool>,
    /// How an agent that knows nothing of agentguard goes on after a crash.
    /// Default: the preset's way, else `replay`.
    #[serde(default)]
    pub resume: Option<ResumeMode>,
    /// What runs `script`; the path of the script's file is appended.
    #[serde(default = "defaults::interpreter")]
    #[schemars(length(min = 1))]
    pub interpreter: Vec<String>,
    /// The working folder, relative to the task file's folder; inside of
    /// `workspace.stage` it is that of the copy. Default: the copy, where something is
    /// staged, else the task file's folder. Tools and checks run there too.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub cwd: Option<String>,
    /// Added to the environment. A value may hold `{env.NAME}`, a variable of
    /// the supervisor; `{{` and `}}` are braces.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Which variables of the supervisor the agent sees: all (`true`), none
    /// (`false`), or a list of names, where `*` stands for any letters.
    #[serde(default)]
    pub inherit_env: InheritEnv,
    /// How the agent talks to the supervisor.
    #[serde(default)]
    pub protocol: Protocol,
    /// How long the agent may take to end after it was asked to (SIGTERM)
    /// before it is killed (SIGKILL).
    #[serde(default = "defaults::grace")]
    pub grace: Duration,
}

/// Which variables of the supervisor the agent sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("x-expected" = "`true`, `false` or a list of names"))]
pub enum InheritEnv {
    /// All or none.
    Switch(bool),
    /// These names; `*` stands for any letters.
    Only(Vec<String>),
}

impl Default for InheritEnv {
    fn default() -> Self {
        Self::Switch(true)
    }
}

/// How the agent talks to the supervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Whichever of `socket` and `gateway` it uses.
    #[default]
    Auto,
    /// JSON lines over the Unix socket named by `AGENTGUARD_SOCKET`.
    Socket,
    /// The same lines over the agent's stdin and stdout.
    Stdio,
    /// Not at all, but its model calls go through the gateway: any agent that
    /// takes its provider's address from the environment.
    Gateway,
    /// Not at all: any program. Only what can be seen from outside is limited.
    None,
}

/// How an agent that knows nothing of agentguard goes on after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResumeMode {
    /// By its own command for it, with the session of the attempt before.
    Native,
    /// From its beginning; what it asks as before is answered from the journal,
    /// free of charge.
    Replay,
    /// From its beginning, with a note to its model; every call is paid again.
    Restart,
}

/// What the agent works on: at most one of `prompt` and `prompt_file`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The prompt.
    #[serde(default)]
    pub prompt: Option<String>,
    /// A file with the prompt, relative to the task file's folder.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub prompt_file: Option<String>,
    /// Files that belong to the input, relative to the task file's folder; `*`
    /// and `**` find several.
    #[serde(default)]
    pub files: Vec<String>,
    /// Any further values, handed to the agent as JSON.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
}

/// How much the run may use. A limit that is not written does not exist.
/// Spend, counters and the deadline go on over crashes and resumes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The most the run may cost, in USD.
    #[serde(default)]
    #[schemars(extend("x-positive" = "usd"))]
    pub cost_usd: Option<UsdAmount>,
    /// The most tokens, input and output together.
    #[serde(default)]
    #[schemars(extend("x-positive" = "count"))]
    pub tokens: Option<Count>,
    /// The most steps (turns).
    #[serde(default)]
    #[schemars(extend("x-positive" = "count"))]
    pub steps: Option<Count>,
    /// The most calls of tools.
    #[serde(default)]
    #[schemars(extend("x-positive" = "count"))]
    pub tool_calls: Option<Count>,
    /// How long the run may take.
    #[serde(default)]
    #[schemars(extend("x-positive" = "duration"))]
    pub deadline: Option<Duration>,
    /// Which time the deadline counts.
    #[serde(default)]
    pub deadline_counts: DeadlineCounts,
    /// How long the agent may go without a sign of life.
    #[serde(default)]
    #[schemars(extend("x-positive" = "duration"))]
    pub idle: Option<Duration>,
    /// The share of a limit at which a warning goes out.
    #[serde(default = "defaults::soft")]
    #[schemars(extend("x-positive" = "percent"))]
    pub soft: Percent,
    /// How long one call of a model may take, where the supervisor sees it.
    #[serde(default = "defaults::model_call_timeout")]
    #[schemars(extend("x-positive" = "duration"))]
    pub model_call_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cost_usd: None,
            tokens: None,
            steps: None,
            tool_calls: None,
            deadline: None,
            deadline_counts: DeadlineCounts::default(),
            idle: None,
            soft: defaults::soft(),
            model_call_timeout: defaults::model_call_timeout(),
        }
    }
}

/// Which time the deadline counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadlineCounts {
    /// The clock on the wall, since the run began.
    #[default]
    Wall,
    /// The time the agent was actually running.
    Active,
}

/// The price of a model, in USD per million tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of input tokens.
    pub input: UsdAmount,
    /// Of output tokens.
    pub output: UsdAmount,
    /// Of input tokens read from a cache. Default: as `input`.
    #[serde(default)]
    pub cached_input: Option<UsdAmount>,
    /// Of input tokens written to a cache. Default: as `input`. Written for an hour,
    /// they cost twice the `input`, or this if it is more.
    #[serde(default)]
    pub cache_write: Option<UsdAmount>,
}

/// When what the run did is taken back by itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// Ends after which the undos of the tools are run, last call first. Default:
    /// none, since most runs can go on from such an end (`agentguard resume`); see
    /// `agentguard rollback`.
    #[serde(default)]
    pub on: Vec<RollbackOn>,
}

/// An end after which a run can be rolled back.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RollbackOn {
    /// The agent said it was done, and the verification disagreed for good.
    Rejected,
    /// The agent failed or crashed.
    Failed,
    /// A cost, token, step or tool-call limit was reached.
    Budget,
    /// The deadline passed, or the agent was idle for too long.
    Deadline,
    /// The agent was going round in circles.
    Loop,
    /// A tool or an upstream is not available.
    Unavailable,
    /// Someone stopped the run.
    Interrupted,
}

/// Who is told when something happens: either `command` or `webhook`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// What is told. Default: every end but `done` and `interrupted`.
    #[serde(default = "defaults::occasions")]
    #[schemars(length(min = 1))]
    pub on: Vec<Occasion>,
    /// A program and its arguments; the event comes as JSON on its stdin.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// A URL the event is posted to. May hold `{env.NAME}`.
    #[serde(default)]
    pub webhook: Option<String>,
    /// What is posted to `webhook`. Default: `json`.
    #[serde(default)]
    pub format: Option<WebhookFormat>,
}

/// What can be told.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// The run ended and the agent said it was done.
    Done,
    /// The agent failed.
    Failed,
    /// The agent said it was done, and the verification disagreed.
    Rejected,
    /// The work is done, and others changed the same files meanwhile.
    Conflict,
    /// A cost, token, step or tool-call limit was reached.
    Budget,
    /// The deadline passed, or the agent was idle for too long.
    Deadline,
    /// The agent was going round in circles.
    Loop,
    /// A tool or an upstream is not available.
    Unavailable,
    /// The run waits for a human.
    Waiting,
    /// A side effect may or may not have happened.
    InDoubt,
    /// Someone stopped the run.
    Interrupted,
    /// A limit passed its soft threshold.
    Soft,
    /// A breaker opened.
    Breaker,
}

/// The shape of what is posted to a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// The event as it is.
    #[default]
    Json,
    /// A message as Slack takes it.
    Slack,
}
