//! Every default of the task file, in one place.
//!
//! The as-written types name these functions, so that the published JSON
//! Schema shows the same values. Where a default depends on something else
//! (attempts by the effect of a tool) the function takes it.

use super::units::{Count, Duration, Percent};
use super::written::{Effect, Occasion};

/// `agent.interpreter`: the POSIX shell.
pub fn interpreter() -> Vec<String> {
    vec!["sh".to_owned()]
}

/// `agent.grace`: between asking (SIGTERM) and killing (SIGKILL).
pub fn grace() -> Duration {
    Duration(10_000)
}

/// `workspace.lock_wait`: how long a lock that somebody else holds is waited for.
pub fn lock_wait() -> Duration {
    Duration(30_000)
}

/// `limits.soft`: where a limit begins to warn.
pub fn soft() -> Percent {
    Percent(80)
}

/// `limits.model_call_timeout`.
pub fn model_call_timeout() -> Duration {
    Duration(300_000)
}

/// `tools.*.timeout` and the timeout of a probe.
pub fn tool_timeout() -> Duration {
    Duration(60_000)
}

/// `retry.base`: the first wait.
pub fn retry_base() -> Duration {
    Duration(500)
}

/// `retry.cap`: the longest wait.
pub fn retry_cap() -> Duration {
    Duration(30_000)
}

/// `retry.attempts`, the first one counted: more where nothing can go wrong.
pub fn attempts(effect: Effect) -> u32 {
    match effect {
        Effect::Read => 4,
        Effect::Write => 2,
        Effect::Irreversible => 1,
    }
}

/// `retry.attempts` for model calls: an overload is gone after half a minute, or
/// stays.
pub fn model_attempts() -> u32 {
    6
}

/// The most attempts that a default for all tools may give to a tool.
pub fn attempts_max(effect: Effect) -> u32 {
    match effect {
        Effect::Read => ATTEMPTS_MAX,
        Effect::Write => 3,
        Effect::Irreversible => 1,
    }
}

/// The most attempts anyone may ask for.
pub const ATTEMPTS_MAX: u32 = 20;

/// `retry.budget.run`: retries of all tools of one run together.
pub fn retry_budget_run() -> Count {
    Count(60)
}

/// `retry.budget.tool`: retries of one tool of one run.
pub fn retry_budget_tool() -> Count {
    Count(20)
}

/// `breaker.failures`: failures in a row that open it.
pub fn breaker_failures() -> Count {
    Count(3)
}

/// `breaker.rate`: share of failures in the window that opens it.
pub fn breaker_rate() -> Percent {
    Percent(50)
}

/// `breaker.window`.
pub fn breaker_window() -> Duration {
    Duration(60_000)
}

/// `breaker.min_calls`: calls in the window before the rate counts.
pub fn breaker_min_calls() -> Count {
    Count(10)
}

/// `breaker.cool_down`: the first wait; it doubles.
pub fn cool_down() -> Duration {
    Duration(30_000)
}

/// `breaker.cool_down_max`.
pub fn cool_down_max() -> Duration {
    Duration(300_000)
}

/// `loops.window`: calls that are remembered.
pub fn loop_window() -> Count {
    Count(64)
}

/// The most calls that `loops.window` may remember.
pub const LOOP_WINDOW_MAX: u64 = 1024;

/// `verify.rounds`: how often the agent is sent back to its work.
pub fn verify_rounds() -> u32 {
    2
}

/// `verify[].timeout`: enough for the tests of most projects.
pub fn check_timeout() -> Duration {
    Duration(300_000)
}

/// `escalation.types.*.deadline`: long enough to come back from lunch.
pub fn escalation_deadline() -> Duration {
    Duration(1_800_000)
}

/// How long a token of a notification answers at most: a week.
pub const TOKEN_LIFE_MS: u64 = 7 * 24 * 3_600_000;

/// `notify[].on`: every end that a person should hear of.
pub fn occasions() -> Vec<Occasion> {
    vec![
        Occasion::Failed,
        Occasion::Rejected,
        Occasion::Conflict,
        Occasion::Budget,
        Occasion::Deadline,
        Occasion::Loop,
        Occasion::Unavailable,
        Occasion::Waiting,
        Occasion::InDoubt,
    ]
}

/// For switches that are on.
pub fn yes() -> bool {
    true
}
