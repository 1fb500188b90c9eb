//! `verify` as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::task::defaults;
use crate::task::units::Duration;

/// How the work is checked once the agent says that it is done: a list of checks,
/// or a mapping with `checks` and `rounds`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("x-expected" = "a list of checks, or `{checks: [...], rounds: 2}`"))]
pub enum Verify {
    /// The checks.
    Checks(#[schemars(length(min = 1))] Vec<Check>),
    /// The checks, and how often the agent may try again.
    Full(Rounds),
}

/// The checks, and how often the agent may try again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rounds {
    /// The checks.
    #[schemars(length(min = 1))]
    pub checks: Vec<Check>,
    /// How often the agent is told what was found and may try again.
    #[serde(default = "defaults::verify_rounds")]
    #[schemars(range(max = 20), extend("x-expected" = "a whole number from 0 to 20"))]
    pub rounds: u32,
}

/// A check: `command`, `script`, `schema`, `file`, `files` or `model`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What the check is called in findings and lists. Default: what it looks at.
    #[serde(default)]
    #[schemars(length(min = 1, max = 80))]
    pub name: Option<String>,
    /// A program and its arguments, run in the agent's folder. It passes with exit
    /// code 0; 126 and 127 (it cannot be run) say nothing about the work.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// A script for `sh`, run like `command`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 65536))]
    pub script: Option<String>,
    /// A JSON Schema that a file, or the result that the agent reports, must meet.
    #[serde(default)]
    pub schema: Option<SchemaCheck>,
    /// A file that must be there, in the agent's folder (the copy, where something is
    /// staged).
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub file: Option<String>,
    /// Files that must be there; `*` and `**` find several. At least one must be
    /// found.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub files: Option<String>,
    /// With `file` or `files`: `false` if there must be none.
    #[serde(default)]
    pub exists: Option<bool>,
    /// Regular expressions that every file must match somewhere; `^` and `$` stand
    /// for the ends of a line.
    #[serde(default)]
    pub must_match: Vec<String>,
    /// Regular expressions that no file may match anywhere.
    #[serde(default)]
    pub must_not_match: Vec<String>,
    /// A model that is asked about the work, over the run's `upstream`; what it costs
    /// counts in the run. It is shown the agent's result, the change of a staged
    /// folder, and what `file` or `files` finds. Whatever it answers but a verdict
    /// says nothing about the work.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    pub model: Option<String>,
    /// What `model` is asked about the work.
    #[serde(default)]
    #[schemars(length(min = 1, max = 16384))]
    pub question: Option<String>,
    /// How long the check may take. One that takes longer says nothing about the
    /// work.
    #[serde(default = "defaults::check_timeout")]
    #[schemars(extend("x-positive" = "duration"))]
    pub timeout: Duration,
}

/// A JSON Schema and what must meet it: `file` or `result`, `schema` or
/// `schema_file`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaCheck {
    /// A JSON file in the agent's folder.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub file: Option<String>,
    /// `true`: the result that the agent reported with its last turn.
    #[serde(default)]
    pub result: bool,
    /// The schema.
    #[serde(default)]
    pub schema: Option<BTreeMap<String, Value>>,
    /// A file with the schema, relative to the task file's folder; read when the
    /// run starts.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub schema_file: Option<String>,
}
