//! `tools` as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Approve, BreakerSetting, ToolRetry};
use crate::task::defaults;
use crate::task::units::Duration;

/// A tool that the supervisor runs for the agent: either `command` or `http`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// What the tool does, for the model.
    #[serde(default)]
    pub description: Option<String>,
    /// The program and its arguments. `{name}` stands for an argument of the
    /// call and never becomes more than one word; `{{` and `}}` are braces.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// An HTTP request instead of a program.
    #[serde(default)]
    pub http: Option<Http>,
    /// What the program reads. Default: `json`.
    #[serde(default)]
    pub stdin: Option<Stdin>,
    /// Added to the program's environment. A value may hold `{name}` and
    /// `{env.NAME}`, a variable of the supervisor.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// A JSON Schema that the arguments must meet.
    #[serde(default)]
    pub input: Option<BTreeMap<String, Value>>,
    /// A JSON Schema that the result must meet, read as JSON.
    #[serde(default)]
    pub output: Option<BTreeMap<String, Value>>,
    /// How long one call may take.
    #[serde(default = "defaults::tool_timeout")]
    #[schemars(extend("x-positive" = "duration"))]
    pub timeout: Duration,
    /// What the tool does to the world.
    #[serde(default)]
    pub effect: Effect,
    /// What makes two calls the same one, such as
    /// `charge:{user_id}:{order_id}`. A repeat is answered with the recorded
    /// result. Default: a key for every step, kept over resumes.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub key: Option<String>,
    /// Among which calls a key is unique.
    #[serde(default)]
    pub key_scope: KeyScope,
    /// Where the tool itself takes an idempotency key: after a crash the call
    /// is then repeated under the same key.
    #[serde(default)]
    pub native_key: Option<NativeKey>,
    /// How to find out after a crash whether a call happened.
    #[serde(default)]
    pub probe: Option<Probe>,
    /// How a call is taken back when the run is rolled back.
    #[serde(default)]
    pub undo: Option<Undo>,
    /// Whether calls wait for a human's approval.
    #[serde(default)]
    pub approve: Option<Approve>,
    /// How this tool is retried; what is not written comes from the top.
    #[serde(default)]
    pub retry: ToolRetry,
    /// When this tool is no longer called. Default: as at the top.
    #[serde(default)]
    pub breaker: Option<BreakerSetting>,
    /// How many items of a batch are done at once.
    #[serde(default)]
    pub batch: Batch,
    /// Whether the tool is asked again and again until something changes.
    #[serde(default)]
    pub poll: bool,
    /// Whether a successful call changes what other calls answer. Default:
    /// yes, unless the effect is `read`.
    #[serde(default)]
    pub mutates: Option<bool>,
    /// For loop detection: only these arguments tell calls apart.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub identity: Option<Vec<String>>,
    /// For loop detection: these arguments do not tell calls apart.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Whether calls of this tool are left out of loop detection.
    #[serde(default)]
    pub exempt: bool,
}

/// How a call is taken back: either `command` or `http`. Placeholders stand for the
/// arguments of the call, `{result}` for what it gave, `{result.id}` for a part of a
/// JSON result.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// The program and its arguments. `AGENTGUARD_IDEMPOTENCY_KEY` is the same for
    /// every try.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// An HTTP request instead of a program.
    #[serde(default)]
    pub http: Option<Http>,
    /// Added to the program's environment, as in the tool's own `env`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where the undo itself takes an idempotency key: an undo that was cut off is
    /// then repeated under the same key.
    #[serde(default)]
    pub native_key: Option<NativeKey>,
    /// Whether a repetition does no harm, such as deleting what is gone already. An
    /// undo with neither this nor a `native_key` that was cut off waits for a human.
    #[serde(default)]
    pub idempotent: bool,
    /// How long one try may take.
    #[serde(default = "defaults::tool_timeout")]
    #[schemars(extend("x-positive" = "duration"))]
    pub timeout: Duration,
    /// How it is retried; what is not written comes from the top.
    #[serde(default)]
    pub retry: ToolRetry,
}

/// How a batch is done: several items for one tool.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Calls that are out at once. Default: 4.
    #[serde(default)]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: Option<u32>,
    /// The tool takes several items in one call, at most so many: it reads
    /// `{"items": [{"id", "key", "args"}]}` and answers for each. `input` describes the
    /// arguments of one item. Default: one item a call, as in any call.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub size: Option<u32>,
    /// A call with several items that fails did none of them, so a write may be made
    /// again in smaller parts. Default: false, a command that fails may have done some.
    #[serde(default)]
    pub atomic: bool,
}

/// An HTTP request.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// The URL. `{name}` stands for an argument, percent-encoded; `{env.NAME}`
    /// for a variable of the supervisor.
    pub url: String,
    /// The headers; values may hold `{name}` and `{env.NAME}`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body. Default: `json`, but `none` for GET and HEAD.
    #[serde(default)]
    pub body: Option<Body>,
}

/// The method of an HTTP request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET.
    #[default]
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

/// The body of an HTTP request.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[schemars(extend("x-expected" = "`json`, `none` or `{template: ...}`"))]
pub enum Body {
    /// One of the fixed bodies.
    Word(BodyWord),
    /// A body made from the arguments.
    Made {
        /// A text with placeholders, or any YAML whose texts have placeholders
        /// and which is sent as JSON.
        template: Value,
    },
}

/// A fixed body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BodyWord {
    /// The arguments as JSON.
    Json,
    /// No body.
    None,
}

/// What the program reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// The arguments as one line of JSON.
    #[default]
    Json,
    /// Nothing.
    None,
}

/// What a tool does to the world.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing: it may be repeated at will.
    Read,
    /// It changes something; a repeat must be avoided. What a tool is taken
    /// for that says nothing.
    #[default]
    Write,
    /// It changes something for good: mail sent, money moved.
    Irreversible,
}

/// Among which calls a key is unique.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// Those of one run, over its resumes.
    #[default]
    Run,
    /// Those of all runs of the task, by its name.
    Task,
    /// Those of all runs on this machine.
    Global,
}

/// Where a tool takes an idempotency key: either `env` or `header`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NativeKey {
    /// The environment variable of a `command`.
    #[serde(default)]
    pub env: Option<String>,
    /// The header of an `http` request.
    #[serde(default)]
    pub header: Option<String>,
}

/// A program that tells whether a call happened. Exit code 0: it did, and
/// stdout is its result. 1: it did not. Anything else: unknown.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The program and its arguments, with placeholders as in the tool's own
    /// `command`. The key is in `AGENTGUARD_IDEMPOTENCY_KEY`.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// How long it may take.
    #[serde(default = "defaults::tool_timeout")]
    #[schemars(extend("x-positive" = "duration"))]
    pub timeout: Duration,
}
