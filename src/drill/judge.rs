//! Whether the right pattern answered a fault.
//!
//! Judged by what the journal of the rehearsal says (decisions, how it ended,
//! what it cost) and by the ledger of the stand-ins, which the supervisor does
//! not write. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::drill::faults::{Fault, HumanFault, ModelFault, ToolKind};
use crate::drill::stand_in::Line;
use crate::exit_code;
use crate::machine::escalation::Source;
use crate::machine::{About, Decision};
use crate::money::NanoUsd;
use crate::policy::taxonomy::Class;
use crate::task::resolved::{Approve, Effect, Place, Resolved, Tool};

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
    /// How each question that was asked was decided.
    pub questions: Vec<Option<Source>>,
    /// Why each message to people that did not arrive did not.
    pub unsent: Vec<String>,
    /// The files of the staged folder, where the task has one.
    pub files: BTreeSet<String>,
    /// Whether what somebody else wrote into the staged folder is there.
    pub others_kept: bool,
    /// Whether a model decides what the agent does; here it is a scripted one, which
    /// hears nothing.
    pub asks_model: bool,
    /// Tools that were handed batches, whose failed items are a result.
    pub batched: BTreeSet<String>,
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
            // A chain goes on with a cheaper model as long as that lasts.
            let moves = |it: &Decision| it.action == "degrade" && it.why.contains("budget");
            let moved_on = seen.decisions.iter().any(moves) && same_end(seen, well);
            let ended = seen.exit_code == exit_code::BUDGET || moved_on;
            let evidence = format!("{} of {cap} USD; {}", seen.cost, seen.outcome);
            let fired = match moved_on {
                true => fired(seen, "degrade."),
                false => fired(seen, "limit."),
            };
            say(ended && seen.cost <= cap, fired, &evidence)
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
        Fault::Human(kind) => human(*kind, task, seen, well),
        Fault::Conflict => {
            let passed = seen.exit_code == exit_code::CONFLICT && seen.others_kept;
            let kept = match seen.others_kept {
                true => "what others wrote is there",
                false => "what others wrote is lost",
            };
            let evidence = format!("{kept}; {}", seen.outcome);
            say(passed, fired(seen, "commit"), &evidence)
        }
        Fault::Crash(_) | Fault::CrashBetween(_) => crash(task, seen, well),
    }
}

fn human(kind: HumanFault, task: &Resolved, seen: &Evidence, well: &Evidence) -> Judgement {
    let all = |source| {
        let mut questions = seen.questions.iter();
        !seen.questions.is_empty() && questions.all(|it| *it == Some(source))
    };
    let asked = seen.questions.len();
    let (passed, evidence) = match kind {
        HumanFault::Silent => {
            // What cannot be taken back is not done by default.
            let unapproved = |line: &&Line| {
                let tool = task.tools.get(&line.tool);
                let says = task.escalation.types.get("approval");
                let says_nothing = says.is_none_or(|it| it.default.is_none());
                tool.is_some_and(|tool| {
                    tool.approve == Approve::Always && tool.effect == Effect::Irreversible
                }) && says_nothing
            };
            let mut effects = seen.ledger.iter().filter(|line| line.effect);
            let went_on = ![exit_code::WAITING, exit_code::INTERNAL, exit_code::DEADLINE]
                .contains(&seen.exit_code);
            let passed = all(Source::Deadline) && went_on && !effects.any(|it| unapproved(&it));
            let decided = seen.questions.iter().filter(|it| it.is_some()).count();
            (passed, format!("{decided} of {asked} questions decided"))
        }
        HumanFault::Early => {
            let passed = all(Source::Answer)
                && asked == well.questions.len()
                && seen.kills > 0
                && same_end(seen, well);
            (passed, format!("{} kills, {asked} questions", seen.kills))
        }
        HumanFault::Webhook => {
            let passed = !seen.unsent.is_empty() && same_end(seen, well);
            let why = seen.unsent.first().map_or("none waits", String::as_str);
            (
                passed,
                format!("{} messages wait: {why}", seen.unsent.len()),
            )
        }
    };
    let evidence = format!("{evidence}; {}", seen.outcome);
    let fired = match kind {
        HumanFault::Webhook => format!("kept ×{}", seen.unsent.len()),
        HumanFault::Silent | HumanFault::Early => fired(seen, "escalation."),
    };
    say(passed, fired, &evidence)
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
        .filter(|it| match &it.about {
            About::Call { tool, .. } | About::Batch { tool, .. } => tool == name,
            About::Run | About::Turn => false,
        })
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
    // A loop that is told of a failure and says that all is done has not listened.
    let is_loop = !seen.asks_model && !seen.batched.contains(name);
    let got = effects(seen);
    let is_missing = |what: &&(String, String)| what.0 == name && !got.contains_key(*what);
    let missing = want.keys().filter(is_missing).count();
    let is_unheard = is_loop && !reads && missing > 0 && seen.exit_code == exit_code::DONE;
    let passed = match kind {
        _ if is_unheard => false,
        ToolKind::Transient | ToolKind::RateLimit if retries => {
            did("retry") > 0 && same_end(seen, well)
        }
        // Nothing may be tried again: the conclusion reaches the model at once.
        ToolKind::Transient | ToolKind::RateLimit => did("retry") == 0 && did("conclude") > 0,
        ToolKind::Persistent => did("retry") == 0 && classed(Class::Persistent),
        ToolKind::Quality => did("retry") == 0 && classed(Class::Quality),
        // A tool that takes many is handed the failed ones again, and no other.
        ToolKind::Partial if rules.batch.size.is_some() => once && same_end(seen, well),
        ToolKind::Partial => classed(Class::Partial),
        ToolKind::Unrecoverable => did("retry") == 0 && classed(Class::Unrecoverable),
        ToolKind::Timeout => {
            let settled = did("retry") + did("settle") + did("probe") > 0;
            let asks = seen.exit_code == exit_code::IN_DOUBT;
            once && (settled || asks || (reads && did("conclude") > 0))
        }
    };
    let end = match is_unheard {
        true => format!("{}, without {missing} of its effects", seen.outcome),
        false => seen.outcome.clone(),
    };
    let first = about.iter().find(|it| it.class.is_some());
    let evidence = match first {
        Some(first) => format!("{tries} tries; {}; {end}", first.evidence),
        None => format!("{tries} tries; {end}"),
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
    let resumed: Vec<_> = seen
        .decisions
        .iter()
        .filter(|it| it.action == "resume")
        .collect();
    let fired = match resumed.is_empty() {
        // Nothing was left to decide; it went on where it was.
        true => format!("resumed ×{}", seen.kills),
        false => counted(resumed.into_iter()),
    };
    let asks = seen.exit_code == exit_code::IN_DOUBT;
    // A target is the old one or the new one, never between.
    let is_whole = seen.files == well.files;
    let passed =
        doubled.is_empty() && (asks || (lost == 0 && seen.exit_code == well.exit_code && is_whole));
    let evidence = if !is_whole && !asks {
        let other = seen.files.symmetric_difference(&well.files).next();
        let other = other.map_or("", String::as_str);
        format!("the staged folder differs: `{other}`; {}", seen.outcome)
    } else if !doubled.is_empty() {
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
            first: false,
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
                "a failure that the loop was told of, and did not hear",
                tool(ToolKind::Persistent),
                vec![decision("conclude", Class::Persistent)],
                vec![line("a", false)],
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
