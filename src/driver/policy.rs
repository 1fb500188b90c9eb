//! From the task as resolved to the rules as the machine and the policies take
//! them. Plain conversions, no decision.

use crate::machine::{Policy, Risk, Settle, ToolPolicy};
use crate::money::NanoUsd;
use crate::policy::taxonomy::custom;
use crate::policy::{breaker, budget, loops, retry};
use crate::task::resolved::{
    DeadlineCounts, Effect, Limits, Loops, NativeKey, Protocol, Resolved, RetryConfig, Strategy,
    Tool,
};

/// Returns the machine's rules for `task`.
pub fn policy(task: &Resolved) -> Policy {
    let tool_budget = task.tools.values().map(|tool| tool.retry.budget).max();
    Policy {
        limits: limits(&task.limits),
        tools: task
            .tools
            .iter()
            .map(|(name, tool)| (name.clone(), tool_policy(tool)))
            .collect(),
        retry_budget: retry::Budget {
            run: small(task.retry_budget),
            tool: tool_budget.map_or(retry::Budget::default().tool, small),
        },
        loops: loop_config(&task.loops),
        speaks: task.agent.protocol != Protocol::None,
    }
}

/// Returns the user's own classification rules, ready to match.
///
/// Errors: the id of the first rule that cannot be used, and why.
pub fn own_rules(task: &Resolved) -> Result<Vec<custom::Rule>, (String, custom::Error)> {
    let _ = task;
    Ok(vec![])
}

/// Returns a tool's breaker settings, if it has a breaker.
pub fn breaker_config(tool: &Tool) -> Option<breaker::Config> {
    let config = tool.breaker.as_ref()?;
    Some(breaker::Config {
        failures: small(config.failures),
        rate_percent: u32::from(config.rate_percent),
        window_ms: config.window_ms,
        min_calls: small(config.min_calls),
        cool_down_ms: config.cool_down_ms,
        cool_down_max_ms: config.cool_down_max_ms,
    })
}

/// Returns what the loop detector is told about a tool.
pub fn loop_traits(tool: &Tool) -> loops::ToolTraits {
    let traits = &tool.loop_traits;
    loops::ToolTraits {
        identity: traits.identity.clone(),
        ignore: traits.ignore.clone(),
        poll: traits.poll.then_some(true),
        mutates: traits
            .mutates
            .then_some(true)
            .or((tool.effect == Effect::Read).then_some(false)),
        exempt: traits.exempt,
    }
}

/// Returns how the loop detector is set.
pub fn loop_config(written: &Loops) -> loops::Config {
    let _ = written;
    loops::Config::default()
}

fn limits(written: &Limits) -> budget::Limits {
    budget::Limits {
        cost: written.cost_nanousd.map(NanoUsd),
        tokens: written.tokens,
        steps: written.steps,
        tool_calls: written.tool_calls,
        deadline_ms: written.deadline_ms,
        deadline_active: written.deadline_counts == DeadlineCounts::Active,
        idle_ms: written.idle_ms,
        soft_percent: u32::from(written.soft_percent),
    }
}

fn tool_policy(tool: &Tool) -> ToolPolicy {
    ToolPolicy {
        risk: match tool.effect {
            Effect::Read => Risk::Read,
            Effect::Write => Risk::Write,
            Effect::Irreversible => Risk::Irreversible,
        },
        retry: retry_config(&tool.retry),
        settle: match (&tool.native_key, &tool.probe) {
            (Some(NativeKey::Env(_) | NativeKey::Header(_)), _) => Settle::NativeKey,
            (None, Some(_)) => Settle::Probe,
            (None, None) => Settle::Human,
        },
        traits: loop_traits(tool),
    }
}

fn retry_config(written: &RetryConfig) -> retry::Config {
    retry::Config {
        strategy: match written.strategy {
            Strategy::Fixed => retry::Strategy::Fixed,
            Strategy::Exponential => retry::Strategy::Exponential,
            Strategy::FullJitter => retry::Strategy::FullJitter,
            Strategy::Decorrelated => retry::Strategy::Decorrelated,
        },
        base_ms: written.base_ms,
        cap_ms: written.cap_ms,
        attempts: written.attempts,
    }
}

/// A count that fits: the task file bounds them far below.
fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
