//! Whether the right pattern answered a fault.
//!
//! Judged by what the journal of the rehearsal says (decisions, how it ended,
//! what it cost) and by the ledger of the stand-ins, which the supervisor does
//! not write. Pure.

use std::collections::BTreeMap;

use crate::drill::faults::{Fault, ModelFault, ToolKind};
use crate::drill::stand_in::Line;
use crate::exit_code;
use crate::machine::{About, Decision};
use crate::money::NanoUsd;
use crate::policy::taxonomy::Class;
use crate::task::resolved::{Effect, Place, Resolved, Tool};

/// What is known of a rehearsal that came to its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The run's exit code.
    pub exit_code: u8,
    /// How it ended, in words.
    pub outcome: String,
    /// Its decisions, in order.
    pub decisions: Vec<Decision>,
    /// What the stand-ins did, in order.
    pub ledger: Vec<Line>,
    /// What the journal says it cost.
    pub cost: NanoUsd,
    /// Calls of the agent's own tools and of guarded ones.
    pub tool_calls: u64,
    /// How often the supervisor was killed.
    pub kills: u32,
}

/// What a drill says of one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the pattern that was expected fired, and the run ended as it has to.
    pub passed: bool,
    /// What fired.
    pub fired: String,
    /// What shows it.
    pub evidence: String,
}

/// Judges the rehearsal of `fault`.
///
/// - `task`: as it was rehearsed.
/// - `seen`: with the fault; `well`: without.
pub fn judge(fault: &Fault, task: &Resolved, seen: &Evidence, well: &Evidence) -> Judgement {
    match fault {
        Fault::Model(kind) => model(*kind, task, seen, well),
        Fault::Tool(kind, name) => match task.tools.get(name) {
            Some(rules) => tool(*kind, name, rules, seen, well),
            None => say(false, "nothing", "the tool is gone"),
        },
        Fault::Budget => {
            let cap = NanoUsd(task.limits.cost_nanousd.unwrap_or_default());
            let passed = seen.exit_code == exit_code::BUDGET && seen.cost <= cap;
            let evidence = format!("{} of {cap} USD; {}", seen.cost, seen.outcome);
            say(passed, fired(seen, "limit."), &evidence)
        }
        Fault::Deadline => say(
            seen.exit_code == exit_code::DEADLINE,
            fired(seen, "limit."),
            &seen.outcome,
        ),
        Fault::Loop => say(
            seen.exit_code == exit_code::LOOP,
            fired(seen, "loop."),
            &seen.outcome,
        ),
        Fault::Verification => {
            let told = seen.decisions.iter().any(|it| it.action == "send_back");
            let tries = task.verify.as_ref().map_or(0, |it| it.rounds);
            let passed = seen.exit_code == exit_code::VERIFICATION && (told || tries == 0);
            say(passed, fired(seen, "verify."), &seen.outcome)
        }
        Fault::Crash(_) => crash(task, seen, well),
    }
}

fn say(passed: bool, fired: impl Into<String>, evidence: &str) -> Judgement {
    Judgement {
        passed,
        fired: fired.into(),
        evidence: evidence.to_owned(),
    }
}

/// Returns the decisions whose rule has `part`, each with its count.
fn fired(seen: &Evidence, part: &str) -> String {
    let rules = seen.decisions.iter().filter(|it| it.rule.contains(part));
    counted(rules)
}

fn counted<'a>(decisions: impl Iterator<Item = &'a Decision>) -> String {
    let mut counts: Vec<(String, u32)> = Vec::new();
    for decision in decisions {
        let last = decision.rule.rsplit(" > ").next().unwrap_or_default();
        let what = format!("{} ({last})", decision.action);
        match counts.iter_mut().find(|(known, _)| *known == what) {
            Some((_, count)) => *count += 1,
            None => counts.push((what, 1)),
        }
    }
    let texts: Vec<String> = counts
        .into_iter()
        .map(|(what, count)| match count {
            1 => what,
            _ => format!("{what} ×{count}"),
        })
        .collect();
    match texts.is_empty() {
        true => "nothing".to_owned(),
        false => texts.join(", "),
    }
}

fn same_end(seen: &Evidence, well: &Evidence) -> bool {
    seen.exit_code == well.exit_code && effects(seen) == effects(well)
}

/// Counts the effects, by tool and arguments.
fn effects(seen: &Evidence) -> BTreeMap<(String, String), u32> {
    let mut counts = BTreeMap::new();
    for line in seen.ledger.iter().filter(|line| line.effect) {
        *counts
            .entry((line.tool.clone(), line.args.to_string()))
            .or_default() += 1;
    }
    counts
}

fn model(kind: ModelFault, task: &Resolved, seen: &Evidence, well: &Evidence) -> Judgement {
    let fired = fired(seen, "degrade.");
    let did = |action: &str| {
        let decisions = seen.decisions.iter();
        decisions.filter(|it| it.action == action).count()
    };
    let retries = did("retry");
    let first = task.upstreams.first().map(|it| &it.place);
    let has_other = task.upstreams.iter().any(|it| Some(&it.place) != first);
    let moved_on = did("fall_back") + did("degrade") > 0;
    let attempts = usize::try_from(task.model_retry.attempts).unwrap_or(usize::MAX);
    let same = same_end(seen, well);
    let replies = task
        .upstreams
        .iter()
        .any(|it| matches!(it.place, Place::Reply(_)));
    // A fixed reply answers, and an agent may take it for the end.
    let carried_on = moved_on && (same || replies);
    let passed = match kind {
        ModelFault::Transient | ModelFault::RateLimit => {
            (retries > 0 && same) || (has_other && carried_on)
        }
        ModelFault::Quality => {
            let is_asked_again =
                |it: &Decision| it.action == "retry" && it.rule.contains("degrade.unfit");
            (seen.decisions.iter().any(is_asked_again) && same) || (has_other && carried_on)
        }
        ModelFault::Persistent if has_other => carried_on,
        ModelFault::Persistent => {
            let bound = attempts.saturating_mul(4);
            seen.exit_code != exit_code::DONE && retries > 0 && retries <= bound
        }
        ModelFault::Credentials if has_other => retries == 0 && carried_on,
        ModelFault::Credentials => retries == 0 && seen.exit_code != exit_code::DONE,
        // What the agent makes of it is its own affair; we must not hide it.
        ModelFault::Cut => seen
            .decisions
            .iter()
            .any(|it| it.rule.contains("degrade.cut") || it.rule.contains("degrade.server_error")),
    };
    let evidence = match seen
        .decisions
        .iter()
        .find(|it| it.rule.contains("degrade."))
    {
        Some(first) => format!("{}; {}", first.evidence, seen.outcome),
        None => seen.outcome.clone(),
    };
    say(passed, fired, &evidence)
}

fn tool(kind: ToolKind, name: &str, rules: &Tool, seen: &Evidence, well: &Evidence) -> Judgement {
    let about: Vec<&Decision> = seen
        .decisions
        .iter()
        .filter(|it| matches!(&it.about, About::Call { tool, .. } if tool == name))
        .collect();
    let did = |action: &str| about.iter().filter(|it| it.action == action).count();
    let classed = |class: Class| about.iter().any(|it| it.class == Some(class));
    let fired = counted(about.iter().copied());
    let tries = seen.ledger.iter().filter(|line| line.tool == name).count();
    let reads = rules.effect == Effect::Read;
    let want = effects(well);
    let once = effects(seen)
        .into_iter()
        .filter(|((tool, _), _)| tool == name)
        .all(|(what, count)| reads || count <= want.get(&what).copied().unwrap_or(1));
    let retries = rules.retry.attempts > 1;
    let passed = match kind {
        ToolKind::Transient | ToolKind::RateLimit if retries => {
            did("retry") > 0 && same_end(seen, well)
        }
        // Nothing may be tried again: the conclusion reaches the model at once.
        ToolKind::Transient | ToolKind::RateLimit => did("retry") == 0 && did("conclude") > 0,
        ToolKind::Persistent => did("retry") == 0 && classed(Class::Persistent),
        ToolKind::Quality => did("retry") == 0 && classed(Class::Quality),
        ToolKind::Partial => classed(Class::Partial),
        ToolKind::Unrecoverable => did("retry") == 0 && classed(Class::Unrecoverable),
        ToolKind::Timeout => {
            let settled = did("retry") + did("settle") + did("probe") > 0;
            let asks = seen.exit_code == exit_code::IN_DOUBT;
            once && (settled || asks || (reads && did("conclude") > 0))
        }
    };
    let first = about.iter().find(|it| it.class.is_some());
    let evidence = match first {
        Some(first) => format!("{tries} tries; {}; {}", first.evidence, seen.outcome),
        None => format!("{tries} tries; {}", seen.outcome),
    };
    say(passed, fired, &evidence)
}

/// Killed and resumed, nothing is lost and nothing happens twice.
fn crash(task: &Resolved, seen: &Evidence, well: &Evidence) -> Judgement {
    let is_write = |tool: &str| {
        let known = task.tools.get(tool);
        known.is_none_or(|tool| tool.effect != Effect::Read)
    };
    let writes = |evidence: &Evidence| {
        let mut counts = effects(evidence);
        counts.retain(|(tool, _), _| is_write(tool));
        counts
    };
    let (want, got) = (writes(well), writes(seen));
    let doubled: Vec<String> = got
        .iter()
        .filter(|(what, count)| **count > want.get(*what).copied().unwrap_or(1))
        .map(|((tool, args), count)| format!("{tool} {args} ×{count}"))
        .collect();
    let lost = want.len().saturating_sub(got.len());
    let fired = counted(seen.decisions.iter().filter(|it| it.action == "resume"));
    let asks = seen.exit_code == exit_code::IN_DOUBT;
    let passed = doubled.is_empty() && (asks || (lost == 0 && seen.exit_code == well.exit_code));
    let evidence = if !doubled.is_empty() {
        format!("happened twice: {}", doubled.join("; "))
    } else if asks {
        // Which the task chose, by giving a write neither native key nor probe.
        format!("asks whether it happened; {}", seen.outcome)
    } else {
        format!(
            "{} kills, {} effects once each; {}",
            seen.kills,
            got.len(),
            seen.outcome
        )
    };
    say(passed, fired, &evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn task(text: &str) -> Resolved {
        crate::task::load(text, "task.yaml").expect("a good task")
    }

    const TASK: &str = "
name: t
agent: {command: [sh, loop.sh]}
tools:
  mail: {command: [./mail], effect: write, key: 'mail:{to}', retry: {attempts: 3}}
";

    fn line(to: &str, effect: bool) -> Line {
        Line {
            tool: "mail".into(),
            key: None,
            args: json!({"to": to}),
            effect,
        }
    }

    fn decision(action: &str, class: Class) -> Decision {
        Decision {
            about: About::Call {
                call: crate::ids::CallId(1),
                tool: "mail".into(),
            },
            step: crate::ids::StepNo(1),
            class: Some(class),
            action: action.into(),
            rule: "r".into(),
            why: String::new(),
            evidence: String::new(),
            otherwise: String::new(),
        }
    }

    #[test]
    fn a_drill_that_did_not_show_its_pattern_fails() {
        let task = task(TASK);
        let well = Evidence {
            ledger: vec![line("a", true)],
            ..Evidence::default()
        };
        let tool = |kind| Fault::Tool(kind, "mail".into());
        let rows = [
            (
                "retried, and the effect once",
                tool(ToolKind::Transient),
                vec![decision("retry", Class::Transient)],
                vec![line("a", false), line("a", true)],
                true,
            ),
            (
                "not retried at all",
                tool(ToolKind::Transient),
                vec![],
                vec![line("a", true)],
                false,
            ),
            (
                "retried, and the effect lost",
                tool(ToolKind::Transient),
                vec![decision("retry", Class::Transient)],
                vec![line("a", false)],
                false,
            ),
            (
                "a lasting failure that was tried again",
                tool(ToolKind::Persistent),
                vec![
                    decision("retry", Class::Transient),
                    decision("conclude", Class::Persistent),
                ],
                vec![],
                false,
            ),
            (
                "an effect that a crash doubled",
                Fault::Crash(crate::drill::Boundary::ToolEnded),
                vec![],
                vec![line("a", true), line("a", true)],
                false,
            ),
            (
                "an effect that a crash lost",
                Fault::Crash(crate::drill::Boundary::ToolEnded),
                vec![],
                vec![],
                false,
            ),
            (
                "a crash that changed nothing",
                Fault::Crash(crate::drill::Boundary::ToolEnded),
                vec![],
                vec![line("a", true)],
                true,
            ),
        ];
        for (name, fault, decisions, ledger, want) in rows {
            let seen = Evidence {
                decisions,
                ledger,
                ..Evidence::default()
            };
            let judged = judge(&fault, &task, &seen, &well);
            assert_eq!(judged.passed, want, "row: {name}: {judged:?}");
        }
    }
}
