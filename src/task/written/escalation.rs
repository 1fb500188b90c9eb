//! `escalation`, and `approve` of a tool, as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::task::units::{Duration, UsdAmount};

/// When a human is asked, how long they have, and what stands when they do not
/// answer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// Each time the run is about to have spent this much more, in USD, a human is
    /// asked whether it may go on.
    #[serde(default)]
    #[schemars(extend("x-positive" = "usd"))]
    pub cost_usd: Option<UsdAmount>,
    /// Deadline and default of each type of question.
    #[serde(default)]
    pub types: EscalationTypes,
}

/// The types of questions.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EscalationTypes {
    /// A tool that needs an approval; options `approve` and `decline`.
    pub approval: EscalationType,
    /// A loop, with `loops.on_stop: pause`; options `continue` and `stop`.
    pub r#loop: EscalationType,
    /// `escalation.cost_usd`; options `continue` and `stop`.
    pub cost: EscalationType,
    /// The agent is not sure.
    pub low_confidence: EscalationType,
    /// The agent met a case that its instructions do not cover.
    pub uncovered: EscalationType,
    /// The agent's own request.
    pub agent: EscalationType,
}

/// How questions of a type are treated.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EscalationType {
    /// How long a human has. Default: 30m. A question may bring its own.
    #[schemars(extend("x-positive" = "duration"))]
    pub deadline: Option<Duration>,
    /// The option that stands when nobody answers in time. Default: do nothing
    /// where it cannot be taken back, else proceed.
    #[schemars(length(min = 1))]
    pub default: Option<String>,
}

/// Whether calls of a tool wait for an approval: `never`, `always`, or under
/// conditions that must all hold.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[schemars(extend("x-expected" = "`always`, `never` or `{above_usd: 50}`"))]
pub enum Approve {
    /// All or none.
    Word(ApproveWord),
    /// Some.
    When {
        /// Only calls that move more money than this, in USD. A call whose amount
        /// cannot be read is asked about.
        #[serde(default)]
        above_usd: Option<UsdAmount>,
        /// The argument with the amount; `.` leads into objects. Default:
        /// `amount`.
        #[serde(default)]
        amount: Option<String>,
        /// Only calls whose arguments have these values; a list is any of them.
        #[serde(default)]
        when: BTreeMap<String, Value>,
    },
}

/// All or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApproveWord {
    /// No call waits.
    Never,
    /// Every call waits.
    Always,
}
