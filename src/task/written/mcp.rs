//! `mcp` as written: servers whose tools are guarded by `agentguard mcp proxy`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Approve, BreakerSetting, Effect, KeyScope, Probe, Tool, ToolRetry, Undo};
use crate::task::defaults;
use crate::task::units::Duration;

/// An MCP server that the agent reaches through `agentguard mcp proxy`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct McpServer {
    /// Tools of the server that are not named below. What the server says of them
    /// itself (`readOnlyHint` and the like) is not believed.
    #[serde(rename = "default")]
    pub others: McpTool,
    /// Tools of the server by name.
    pub tools: BTreeMap<String, McpTool>,
}

/// How the calls of a server's tool are guarded; the server runs them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct McpTool {
    /// What the tool does to the world.
    pub effect: Effect,
    /// What makes two calls the same one, such as `mail:{to}:{subject}`. A repeat is
    /// answered with the recorded result. Default: a key for every step, kept over
    /// resumes.
    #[schemars(length(min = 1))]
    pub key: Option<String>,
    /// Among which calls a key is unique.
    pub key_scope: KeyScope,
    /// Where the server itself takes an idempotency key: after a crash the call may
    /// then be made again under the same key.
    pub native_key: Option<McpKey>,
    /// How to find out after a crash whether a call happened.
    pub probe: Option<Probe>,
    /// How a successful call is taken back.
    pub undo: Option<Undo>,
    /// Whether calls wait for a human's approval.
    pub approve: Option<Approve>,
    /// How long one call may take.
    #[schemars(extend("x-positive" = "duration"))]
    pub timeout: Duration,
    /// How this tool is retried; what is not written comes from the top.
    pub retry: ToolRetry,
    /// When this tool is no longer called. Default: as at the top.
    pub breaker: Option<BreakerSetting>,
    /// Whether the tool is asked again and again until something changes.
    pub poll: bool,
    /// Whether a successful call changes what other calls answer. Default: yes,
    /// unless the effect is `read`.
    pub mutates: Option<bool>,
    /// For loop detection: only these arguments tell calls apart.
    #[schemars(length(min = 1))]
    pub identity: Option<Vec<String>>,
    /// For loop detection: these arguments do not tell calls apart.
    pub ignore: Vec<String>,
    /// Whether calls of this tool are left out of loop detection.
    pub exempt: bool,
    /// A JSON Schema that the arguments must meet, beside the server's own.
    pub input: Option<BTreeMap<String, Value>>,
}

/// Where a server takes an idempotency key: either `argument` or `meta`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct McpKey {
    /// The argument of the tool.
    #[serde(default)]
    pub argument: Option<String>,
    /// The field of the call's `_meta`.
    #[serde(default)]
    pub meta: Option<String>,
}

impl Default for McpTool {
    fn default() -> Self {
        Self {
            effect: Effect::default(),
            key: None,
            key_scope: KeyScope::default(),
            native_key: None,
            probe: None,
            undo: None,
            approve: None,
            timeout: defaults::tool_timeout(),
            retry: ToolRetry::default(),
            breaker: None,
            poll: false,
            mutates: None,
            identity: None,
            ignore: Vec::new(),
            exempt: false,
            input: None,
        }
    }
}

impl McpTool {
    /// Returns it as a tool without anything to run, and where it takes a key.
    pub fn split(self) -> (Tool, Option<McpKey>) {
        let tool = Tool {
            description: None,
            command: None,
            http: None,
            stdin: None,
            env: BTreeMap::new(),
            input: self.input,
            output: None,
            timeout: self.timeout,
            effect: self.effect,
            key: self.key,
            key_scope: self.key_scope,
            native_key: None,
            probe: self.probe,
            undo: self.undo,
            approve: self.approve,
            retry: self.retry,
            breaker: self.breaker,
            batch: super::tool::Batch::default(),
            poll: self.poll,
            mutates: self.mutates,
            identity: self.identity,
            ignore: self.ignore,
            exempt: self.exempt,
        };
        (tool, self.native_key)
    }
}
