//! When to try again, and how long to wait first.
//!
//! Pure: the caller hands in one uniform draw per wait. Two bounds hold at
//! once: the attempts of one call, and a budget of retries per run and per
//! tool, so that retries cannot multiply with those of the agent's own SDK.
//!
//! Not here: whether a failure is worth a retry at all (`policy::taxonomy`),
//! whether the tool may be called (`policy::breaker`), and whose turn it is
//! among several runs (`store`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How the wait grows from one retry to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The same wait each time.
    Fixed,
    /// Doubling, without chance.
    Exponential,
    /// A uniform draw between nothing and the doubled wait.
    #[default]
    FullJitter,
    /// A uniform draw between the base and three times the wait before.
    Decorrelated,
}

/// The retry settings of one tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// How the wait grows.
    pub strategy: Strategy,
    /// The first wait, in milliseconds.
    pub base_ms: u64,
    /// The longest wait, in milliseconds.
    pub cap_ms: u64,
    /// Tries of one call in all, the first included; 1 means no retry.
    pub attempts: u32,
}

/// How many retries a run, and one tool within it, may use up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Retries of all tools together.
    pub run: u32,
    /// Retries of any one tool.
    pub tool: u32,
}

/// Retries used so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// By all tools together.
    pub run: u32,
    /// By each tool.
    pub tools: BTreeMap<String, u32>,
}

/// What to do after a failure that may be retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Wait, then try again.
    Retry {
        /// Milliseconds to wait.
        delay_ms: u64,
    },
    /// Conclude: the result goes to the model.
    GiveUp {
        /// Why no further try is made.
        reason: GaveUp,
    },
}

/// Why a call was not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GaveUp {
    /// All attempts of the call are used.
    Attempts,
    /// The run's retry budget is used up.
    RunBudget,
    /// The tool's retry budget is used up.
    ToolBudget,
    /// The wait would pass the deadline, or is longer than a step should take.
    TooLong,
}

impl GaveUp {
    /// Returns the reason as a clause of a sentence.
    pub fn as_clause(self) -> &'static str {
        match self {
            Self::Attempts => "all attempts of this call are used",
            Self::RunBudget => "the run's retry budget is used up",
            Self::ToolBudget => "the tool's retry budget is used up",
            Self::TooLong => "waiting would take longer than this run has time for",
        }
    }
}

/// What is known when a retryable failure comes in.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// The tool that failed.
    pub tool: &'a str,
    /// Tries of this call so far, from 1.
    pub attempt: u32,
    /// The wait before this try, in milliseconds; 0 before the first.
    pub waited_ms: u64,
    /// The other side's own hint, in milliseconds.
    pub hint_ms: Option<u64>,
    /// Milliseconds until the run's deadline.
    pub left_ms: Option<u64>,
    /// One uniform draw in `0.0..1.0`.
    pub unit: f64,
}

/// Decides whether a failed call is tried again, and after what wait.
///
/// A hint of the other side is a floor under the computed wait and may exceed
/// `cap_ms`. A wait that would reach the deadline is not begun.
pub fn decide(config: &Config, budget: &Budget, used: &Used, failure: &Failure<'_>) -> Decision {
    let give_up = |reason| Decision::GiveUp { reason };
    if failure.attempt >= config.attempts {
        return give_up(GaveUp::Attempts);
    }
    if used.run >= budget.run {
        return give_up(GaveUp::RunBudget);
    }
    if used.tools.get(failure.tool).copied().unwrap_or(0) >= budget.tool {
        return give_up(GaveUp::ToolBudget);
    }
    let computed = delay_ms(config, failure.attempt, failure.waited_ms, failure.unit);
    let delay_ms = computed.max(failure.hint_ms.unwrap_or(0));
    if failure.left_ms.is_some_and(|left| delay_ms >= left) {
        return give_up(GaveUp::TooLong);
    }
    Decision::Retry { delay_ms }
}

/// Returns the wait before retry `retry`, in milliseconds.
///
/// - `retry`: counts from 1 (the first retry).
/// - `previous_ms`: the wait before the try that failed; 0 before the first.
/// - `unit`: one uniform draw in `0.0..1.0`.
///
/// The result lies in `0..=cap_ms`; large retry numbers saturate.
///
/// Source: "full jitter" and "decorrelated jitter", AWS Architecture Blog,
/// *Exponential Backoff And Jitter*, 2015.
pub fn delay_ms(config: &Config, retry: u32, previous_ms: u64, unit: f64) -> u64 {
    let doubled = 1u64
        .checked_shl(retry.saturating_sub(1))
        .and_then(|factor| config.base_ms.checked_mul(factor))
        .unwrap_or(config.cap_ms)
        .min(config.cap_ms);
    match config.strategy {
        Strategy::Fixed => config.base_ms.min(config.cap_ms),
        Strategy::Exponential => doubled,
        Strategy::FullJitter => between(0, doubled, unit),
        Strategy::Decorrelated => {
            let upper = previous_ms.max(config.base_ms).saturating_mul(3);
            between(config.base_ms, upper, unit).min(config.cap_ms)
        }
    }
}

/// Returns the number that lies at `unit` on the way from `low` to `high`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a wait needs no more than 53 bits, and unit is within 0..1"
)]
fn between(low: u64, high: u64, unit: f64) -> u64 {
    let span = high.saturating_sub(low) as f64;
    low.saturating_add((span * unit.clamp(0.0, 1.0)) as u64)
}

impl Used {
    /// Counts one retry of `tool`.
    pub fn count(&mut self, tool: &str) {
        self.run = self.run.saturating_add(1);
        let of_tool = self.tools.entry(tool.to_owned()).or_default();
        *of_tool = of_tool.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget { run: 3, tool: 2 };

    fn config(strategy: Strategy) -> Config {
        Config {
            strategy,
            base_ms: 100,
            cap_ms: 1_000,
            attempts: 3,
        }
    }

    #[test]
    fn waits_follow_their_strategy() {
        #[rustfmt::skip]
        let rows = [
            ("fixed stays", Strategy::Fixed, 3, 0, 0.9, 100),
            ("exponential doubles", Strategy::Exponential, 3, 0, 0.9, 400),
            ("exponential saturates at the cap", Strategy::Exponential, 60, 0, 0.9, 1_000),
            ("exponential survives absurd retry numbers", Strategy::Exponential, u32::MAX, 0, 0.9, 1_000),
            ("full jitter may be nothing", Strategy::FullJitter, 3, 0, 0.0, 0),
            ("full jitter stays below the doubled wait", Strategy::FullJitter, 3, 0, 0.5, 200),
            ("decorrelated starts at the base", Strategy::Decorrelated, 1, 0, 0.0, 100),
            ("decorrelated grows from the wait before", Strategy::Decorrelated, 2, 200, 1.0, 600),
            ("decorrelated is capped", Strategy::Decorrelated, 2, 900, 1.0, 1_000),
        ];
        for (name, strategy, retry, previous, unit, want) in rows {
            assert_eq!(
                delay_ms(&config(strategy), retry, previous, unit),
                want,
                "row: {name}"
            );
        }
    }

    #[test]
    fn decisions_hold_every_bound() {
        let failure = Failure {
            tool: "fetch",
            attempt: 1,
            waited_ms: 0,
            hint_ms: None,
            left_ms: None,
            unit: 0.5,
        };
        let spent_run = Used {
            run: 3,
            tools: BTreeMap::new(),
        };
        let spent_tool = Used {
            run: 2,
            tools: BTreeMap::from([("fetch".into(), 2)]),
        };
        let gave_up = |reason| Decision::GiveUp { reason };
        #[rustfmt::skip]
        let rows = [
            ("a first failure is retried", Used::default(), failure, Decision::Retry { delay_ms: 50 }),
            ("a hint is a floor", Used::default(), Failure { hint_ms: Some(7_000), ..failure }, Decision::Retry { delay_ms: 7_000 }),
            ("the last attempt concludes", Used::default(), Failure { attempt: 3, ..failure }, gave_up(GaveUp::Attempts)),
            ("the run's budget concludes", spent_run, failure, gave_up(GaveUp::RunBudget)),
            ("the tool's budget concludes", spent_tool, failure, gave_up(GaveUp::ToolBudget)),
            ("no wait reaches the deadline", Used::default(), Failure { left_ms: Some(50), ..failure }, gave_up(GaveUp::TooLong)),
        ];
        for (name, used, failure, want) in rows {
            assert_eq!(
                decide(&config(Strategy::FullJitter), &BUDGET, &used, &failure),
                want,
                "row: {name}"
            );
        }
    }
}
