//! From the task as resolved to the rules as the machine and the policies take
//! them. Plain conversions, no decision.

use crate::machine::{ModelPolicy, Policy, Risk, Settle, Status, ToolPolicy, UndoPolicy};
use crate::money::NanoUsd;
use crate::policy::taxonomy::{Class, custom};
use crate::policy::{breaker, budget, degrade, escalation, loops, retry};
use crate::task::preset;
use crate::task::resolved::{
    self, BreakerConfig, DeadlineCounts, Effect, Level, Limits, Loops, NativeKey, OnLoop, Place,
    Protocol, Provider, Resolved, RetryConfig, RollbackOn, Rule, Strategy, Tool, Upstream,
};

/// Returns the machine's rules for `task`.
pub fn policy(task: &Resolved) -> Policy {
    let tool_budget = task.tools.values().map(|tool| tool.retry.budget).max();
    Policy {
        limits: limits(&task.limits),
        tools: task
            .tools
            .iter()
            .chain(&task.lent)
            .map(|(name, tool)| (name.clone(), tool_policy(tool)))
            .collect(),
        models: ModelPolicy {
            chain: task.upstreams.iter().map(|it| link(it, task)).collect(),
            retry: retry_config(&task.model_retry),
            rest: rest_config(task.model_breaker.as_ref()),
        },
        retry_budget: retry::Budget {
            run: small(task.retry_budget),
            tool: tool_budget.map_or(retry::Budget::default().tool, small),
        },
        loops: loop_config(&task.loops),
        escalation: escalation_config(task),
        speaks: task.agent.protocol != Protocol::None,
        rollback_on: task
            .rollback_on
            .iter()
            .copied()
            .flat_map(statuses)
            .collect(),
        verify_tries: task.verify.as_ref().map(|verify| verify.rounds),
        stages: task.workspace.stage.is_some(),
    }
}

/// Returns the user's own classification rules, ready to match.
///
/// Errors: the id of the first rule that cannot be used, and why.
pub fn own_rules(task: &Resolved) -> Result<Vec<custom::Rule>, (String, custom::Error)> {
    let rule = |rule: &Rule| {
        custom::Rule::compile(&as_written(rule)).map_err(|error| (rule.id.clone(), error))
    };
    task.rules.iter().map(rule).collect()
}

fn as_written(rule: &Rule) -> custom::AsWritten {
    let statuses = rule.when.statuses.iter().flat_map(|(from, to)| *from..=*to);
    let statuses: Vec<_> = statuses.map(custom::StatusMatch::Exact).collect();
    let exit_codes: Vec<i64> = rule
        .when
        .exit_codes
        .iter()
        .copied()
        .map(i64::from)
        .collect();
    custom::AsWritten {
        id: rule.id.clone(),
        when: custom::When {
            tool: rule.when.tool.clone(),
            exit_code: (!exit_codes.is_empty()).then_some(custom::OneOrMany::Many(exit_codes)),
            status: (!statuses.is_empty()).then_some(custom::OneOrMany::Many(statuses)),
            pattern: rule.when.pattern.clone(),
            pointer: rule.when.pointer.clone().map(|at| custom::PointerMatch {
                at,
                equals: rule.when.equals.clone(),
                matches: None,
                exists: rule.when.equals.is_none().then_some(true),
            }),
        },
        class: class(rule.class),
        retry_after: rule.retry_after_ms,
        why: Some(rule.why.clone()).filter(|why| !why.is_empty()),
    }
}

/// The task file names classes in a type of its own, so that `task` needs no
/// policy.
fn class(written: resolved::Class) -> Class {
    match written {
        resolved::Class::Success => Class::Success,
        resolved::Class::Transient => Class::Transient,
        resolved::Class::Persistent => Class::Persistent,
        resolved::Class::CostPressure => Class::CostPressure,
        resolved::Class::Quality => Class::Quality,
        resolved::Class::Semantic => Class::Semantic,
        resolved::Class::Partial => Class::Partial,
        resolved::Class::Unrecoverable => Class::Unrecoverable,
    }
}

/// Returns the settings of the breaker `name`, if there is to be one.
pub fn breaker_config(name: &str, task: &Resolved) -> Option<breaker::Config> {
    let config = match name.split_once(':') {
        Some(("tool", tool)) => task.tool(tool)?.breaker.as_ref(),
        Some(("model", _)) => task.model_breaker.as_ref(),
        _ => None,
    };
    config.map(as_breaker)
}

fn as_breaker(config: &BreakerConfig) -> breaker::Config {
    breaker::Config {
        failures: small(config.failures),
        rate_percent: u32::from(config.rate_percent),
        window_ms: config.window_ms,
        min_calls: small(config.min_calls),
        cool_down_ms: config.cool_down_ms,
        cool_down_max_ms: config.cool_down_max_ms,
    }
}

/// A link that was left rests as long as one whose breaker is open.
fn rest_config(breaker: Option<&BreakerConfig>) -> degrade::RestConfig {
    breaker.map_or_else(degrade::RestConfig::default, |breaker| {
        degrade::RestConfig {
            first_ms: breaker.cool_down_ms,
            max_ms: breaker.cool_down_max_ms,
        }
    })
}

/// Returns whom the agent asks, where we know the agent.
fn asked_provider(task: &Resolved) -> &'static str {
    let known = task.agent.preset.as_ref();
    let preset = known.and_then(|known| preset::by_name(&known.preset));
    match preset.and_then(|preset| preset.apis.first()) {
        Some(preset::Api::Messages) => "anthropic",
        Some(preset::Api::Chat | preset::Api::Responses) => "openai",
        Some(preset::Api::Gemini) => "google",
        None => "asked",
    }
}

/// Returns a link of the chain.
fn link(upstream: &Upstream, task: &Resolved) -> degrade::Link {
    degrade::Link {
        name: upstream.name.clone(),
        provider: provider(upstream, task),
        level: match upstream.level {
            Level::Primary => degrade::Level::Primary,
            Level::Cheaper => degrade::Level::Cheaper,
            Level::Other => degrade::Level::Other,
            Level::SelfHosted => degrade::Level::SelfHosted,
            Level::Fixed => degrade::Level::Fixed,
        },
    }
}

/// Names whose an upstream is; those of one name fail together.
fn provider(upstream: &Upstream, task: &Resolved) -> String {
    match &upstream.place {
        Place::Asked => asked_provider(task).to_owned(),
        Place::Provider(Provider::Anthropic) => "anthropic".to_owned(),
        Place::Provider(Provider::OpenAi) => "openai".to_owned(),
        Place::Provider(Provider::Google) => "google".to_owned(),
        Place::Url { url, .. } => url.as_str().to_owned(),
        Place::Script(file) => file.to_string_lossy().into_owned(),
        Place::Reply(_) => "reply".to_owned(),
    }
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

/// Returns how the loop detector is set; `None` where it is switched off.
pub fn loop_config(written: &Loops) -> Option<loops::Config> {
    let at = &written.thresholds;
    written.enabled.then(|| loops::Config {
        window: small(written.window),
        same_call: small(at.same_result),
        same_call_error: small(at.same_error),
        same_error: small(at.tool_error),
        cycle_two_laps: small(at.cycle_2),
        cycle_laps: small(at.cycle),
        recurrence_error: small(at.recurrence_error),
        recurrence: small(at.recurrence),
        density_percent: u32::from(at.density_percent),
        stagnation_near: small(at.stagnation),
        stagnation_free: small(at.stagnation_text),
        returns: small(at.reversal),
        growth: small(at.self_append),
        polls: small(at.polls),
        deaths: small(at.deaths),
        steers_max: if written.steer {
            loops::Config::default().steers_max
        } else {
            0
        },
        ..loops::Config::default()
    })
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
            (Some(NativeKey::Argument(_) | NativeKey::Meta(_)), _) => Settle::CallAgain,
            (None, Some(_)) => Settle::Probe,
            (None, None) => Settle::Human,
        },
        approve: approve(&tool.approve),
        traits: loop_traits(tool),
        undo: tool.undo.as_ref().map(|undo| UndoPolicy {
            retry: retry_config(&undo.tool.retry),
            is_repeatable: undo.is_idempotent || undo.tool.native_key.is_some(),
        }),
    }
}

/// Returns the ends that a word of `rollback.on` stands for.
fn statuses(end: RollbackOn) -> impl Iterator<Item = Status> {
    let (first, second) = match end {
        RollbackOn::Rejected => (Status::Rejected, None),
        RollbackOn::Failed => (Status::Failed, Some(Status::Crashed)),
        RollbackOn::Budget => (Status::Budget, None),
        RollbackOn::Deadline => (Status::Deadline, None),
        RollbackOn::Loop => (Status::Loop, None),
        RollbackOn::Unavailable => (Status::Unavailable, None),
        RollbackOn::Interrupted => (Status::Interrupted, None),
    };
    std::iter::once(first).chain(second)
}

fn approve(written: &resolved::Approve) -> escalation::Approve {
    match written {
        resolved::Approve::Never => escalation::Approve::Never,
        resolved::Approve::Always => escalation::Approve::Always,
        resolved::Approve::When {
            above_nanousd,
            arguments,
        } => escalation::Approve::When {
            above: above_nanousd
                .clone()
                .map(|(nano, path)| (NanoUsd(nano), path)),
            arguments: arguments.clone(),
        },
    }
}

fn escalation_config(task: &Resolved) -> escalation::Config {
    let terms = |kind: escalation::Kind| {
        let written = task.escalation.types.get(kind.as_str())?;
        let terms = escalation::Terms {
            deadline_ms: Some(written.deadline_ms),
            default: written.default.clone(),
        };
        Some((kind, terms))
    };
    escalation::Config {
        terms: escalation::Kind::ALL
            .into_iter()
            .filter_map(terms)
            .collect(),
        cost_step: task.escalation.cost_nanousd.map(NanoUsd),
        on_loop: task.loops.on_stop == OnLoop::Pause,
        longest_ms: task.escalation.longest_ms,
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
