//! `loops`, `retry` and `breaker` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::task::defaults;
use crate::task::units::{Count, Duration, Percent};

/// When an agent counts as going round in circles.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Loops {
    /// Whether loops are looked for.
    pub enabled: bool,
    /// How many of the last calls are remembered.
    pub window: Count,
    /// Whether the model is told once, before the run is stopped.
    pub steer: bool,
    /// What happens when telling did not help.
    pub on_stop: OnLoop,
    /// How many repeats are too many, by kind of loop.
    pub thresholds: Thresholds,
}

impl Default for Loops {
    fn default() -> Self {
        Self {
            enabled: true,
            window: defaults::loop_window(),
            steer: true,
            on_stop: OnLoop::default(),
            thresholds: Thresholds::default(),
        }
    }
}

/// What happens when an agent goes round in circles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLoop {
    /// The run ends.
    #[default]
    Stop,
    /// The run waits for a human.
    Pause,
}

/// How many repeats are too many, by kind of loop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// The same call with the same result, in a row.
    pub same_result: Count,
    /// The same call with a permanent error, in a row.
    pub same_error: Count,
    /// The same tool with the same error, whatever the arguments.
    pub tool_error: Count,
    /// Laps of a cycle of two calls.
    pub cycle_2: Count,
    /// Laps of a cycle of three to twelve calls.
    pub cycle: Count,
    /// Returns of a call without order that fails.
    pub recurrence_error: Count,
    /// Returns of a call without order.
    pub recurrence: Count,
    /// Share of repeats in the last 24 calls.
    pub density: Percent,
    /// Different arguments, nearly alike, with the same result.
    pub stagnation: Count,
    /// Different free texts with the same result.
    pub stagnation_text: Count,
    /// Returns to an earlier state of a file.
    pub reversal: Count,
    /// Calls whose input grows by their own output.
    pub self_append: Count,
    /// Polls where nothing changes.
    pub polls: Count,
    /// Deaths of the agent during the same call.
    pub deaths: Count,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            same_result: Count(5),
            same_error: Count(4),
            tool_error: Count(6),
            cycle_2: Count(4),
            cycle: Count(3),
            recurrence_error: Count(5),
            recurrence: Count(6),
            density: Percent(70),
            stagnation: Count(6),
            stagnation_text: Count(10),
            reversal: Count(3),
            self_append: Count(6),
            polls: Count(20),
            deaths: Count(4),
        }
    }
}

/// How the waits between attempts grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Always `base`.
    Fixed,
    /// Doubling, up to `cap`.
    Exponential,
    /// Any wait from 0 to the doubled one.
    #[default]
    FullJitter,
    /// Any wait from `base` to three times the last one, up to `cap`.
    Decorrelated,
}

/// How tools are retried, unless a tool says otherwise.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// How the waits grow.
    pub strategy: Strategy,
    /// The first wait.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// How often a call is tried, the first time counted. Default: 6 for models,
    /// 4 for `read` tools, 2 for `write`, 1 for `irreversible`. Written here it
    /// gives `write` tools 3 at most and `irreversible` ones 1; a tool's own
    /// `retry.attempts` is taken as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub attempts: Option<u32>,
    /// How many retries there may be altogether.
    pub budget: RetryBudget,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            base: defaults::retry_base(),
            cap: defaults::retry_cap(),
            attempts: None,
            budget: RetryBudget::default(),
        }
    }
}

/// How many retries there may be altogether.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBudget {
    /// Of one run.
    pub run: Count,
    /// Of one tool in one run.
    pub tool: Count,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            run: defaults::retry_budget_run(),
            tool: defaults::retry_budget_tool(),
        }
    }
}

/// How one tool is retried; what is not written comes from the top.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ToolRetry {
    /// How the waits grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// The first wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Duration>,
    /// The longest wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<Duration>,
    /// How often a call is tried, the first time counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub attempts: Option<u32>,
    /// How many retries of this tool there may be in one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Count>,
}

/// A breaker, or a switch for one with the defaults.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("x-expected" = "`false`, `true` or a mapping such as `{failures: 3}`"))]
pub enum BreakerSetting {
    /// `false`: none. `true`: one with the defaults.
    Switch(bool),
    /// One with these values.
    On(Breaker),
}

impl Default for BreakerSetting {
    fn default() -> Self {
        Self::On(Breaker::default())
    }
}

/// When a failing tool is no longer called, and for how long.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures in a row that open it.
    #[schemars(extend("x-positive" = "count"))]
    pub failures: Count,
    /// Share of failures in `window` that opens it.
    #[schemars(extend("x-positive" = "percent"))]
    pub rate: Percent,
    /// The time over which `rate` is taken.
    #[schemars(extend("x-positive" = "duration"))]
    pub window: Duration,
    /// Calls in `window` before `rate` counts.
    #[schemars(extend("x-positive" = "count"))]
    pub min_calls: Count,
    /// How long it stays open at first; doubles each time in a row. A model that a
    /// call moved away from rests as long.
    #[schemars(extend("x-positive" = "duration"))]
    pub cool_down: Duration,
    /// How long it stays open at most.
    #[schemars(extend("x-positive" = "duration"))]
    pub cool_down_max: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: defaults::breaker_failures(),
            rate: defaults::breaker_rate(),
            window: defaults::breaker_window(),
            min_calls: defaults::breaker_min_calls(),
            cool_down: defaults::cool_down(),
            cool_down_max: defaults::cool_down_max(),
        }
    }
}
