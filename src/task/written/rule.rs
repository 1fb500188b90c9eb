//! `rules` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::task::units::Duration;

/// An own rule that classes results.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The name of the rule, by which decisions quote it.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]{0,63}$"), extend("x-expected" = "1 to 64 of `a-z`, `0-9`, `.`, `_`, `-`"))]
    pub id: String,
    /// What a result must be; everything written here must hold.
    pub when: When,
    /// What such a result is.
    pub class: Class,
    /// How long to wait before the next attempt.
    #[serde(default)]
    pub retry_after: Option<Duration>,
    /// Why, in a sentence for the person who reads `agentguard why`.
    #[serde(default)]
    pub why: Option<String>,
    /// Results that this rule must match, each as one line of the input of
    /// `agentguard classify`. `agentguard check` tries them.
    #[serde(default)]
    pub examples: Vec<serde_json::Map<String, Value>>,
}

/// What a result must be; at least one key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The name of the tool; `*` stands for any letters.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub tool: Option<String>,
    /// The exit code of a program: one or a list.
    #[serde(default)]
    pub exit_code: Option<Codes>,
    /// The HTTP status: `429`, `5xx`, or a list.
    #[serde(default)]
    pub status: Option<Statuses>,
    /// A regular expression that is found in the output or body.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub pattern: Option<String>,
    /// A JSON pointer (RFC 6901) such as `/error/code` that leads to a value in
    /// the output or body.
    #[serde(default)]
    #[schemars(regex(pattern = r"^(/.*)?$"), extend("x-expected" = "a JSON pointer such as `/error/code`"))]
    pub pointer: Option<String>,
    /// The value that `pointer` leads to. Without it, any value will do.
    #[serde(default)]
    #[schemars(extend("x-any" = true))]
    pub equals: Option<Value>,
}

/// One exit code or several.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("x-expected" = "an exit code from 0 to 255, or a list of them"))]
pub enum Codes {
    /// One.
    One(#[schemars(range(min = 0, max = 255))] i32),
    /// Several.
    Many(#[schemars(length(min = 1), inner(range(min = 0, max = 255)))] Vec<i32>),
}

impl Codes {
    /// Returns them all.
    pub fn into_vec(self) -> Vec<i32> {
        match self {
            Self::One(code) => vec![code],
            Self::Many(codes) => codes,
        }
    }
}

/// One HTTP status or several.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("x-expected" = "a status such as `429` or `5xx`, or a list of them"))]
pub enum Statuses {
    /// One.
    One(Status),
    /// Several.
    Many(#[schemars(length(min = 1))] Vec<Status>),
}

impl Statuses {
    /// Returns them all.
    pub fn into_vec(self) -> Vec<Status> {
        match self {
            Self::One(status) => vec![status],
            Self::Many(statuses) => statuses,
        }
    }
}

/// An HTTP status, or a hundred of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("x-expected" = "a status such as `429` or `5xx`"))]
pub enum Status {
    /// One; 0 stands for no response at all.
    Code(#[schemars(range(min = 0, max = 599))] u16),
    /// All of a hundred, such as `5xx`.
    Hundred(#[schemars(regex(pattern = r"^[1-5]xx$"))] String),
}

/// What a result is; see `agentguard classify`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It worked.
    Success,
    /// It will work later: retried below, unseen by the model.
    Transient,
    /// It will not work for now: no retry, the breaker counts it.
    Persistent,
    /// Quota or money: no retry, degrade.
    CostPressure,
    /// Delivered, but not good enough: told to the model once.
    Quality,
    /// The call was wrong: told to the model word for word.
    Semantic,
    /// Some items worked.
    Partial,
    /// Only a human can help.
    Unrecoverable,
}
