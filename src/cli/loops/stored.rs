//! Judges a run of the journal with other thresholds.
//!
//! The journal is replayed with the run's own rules, so that tries of one call
//! count once, as they did then; what the run's detector saw goes to a second
//! one with the thresholds asked for. A run that was stopped for a loop ends
//! where it was stopped, whatever the thresholds.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::Global;
use crate::cli::error::{Failure, Kind};
use crate::driver::host::Setup;
use crate::driver::policy;
use crate::driver::recover::{self, ReadError};
use crate::ids::ConversationNo;
use crate::machine::{Answer as Told, Effect, Entry, Event, Policy, State, advance};
use crate::policy::loops::trace::{Answer, Verdict};
use crate::policy::loops::{Config, Detector, ErrorKind, Finding, Level, Print, ToolTraits};
use crate::policy::taxonomy::{Class, Layer};

/// Judges the run that `asked` names.
///
/// - `change`: changes the thresholds, which begin as those of the run's task.
pub fn judge(
    global: &Global,
    asked: &str,
    change: impl FnOnce(&mut Config),
) -> Result<Answer, Failure> {
    let store = crate::cli::open::store(global)?;
    let record = store.find(asked)?;
    let run = &record.new.run;
    let setup: Setup = serde_json::from_str(&record.new.body).map_err(|error| {
        Failure::from_error(Kind::Environment, &error)
            .within(format!("the task of run {run} cannot be read"))
    })?;
    let mut config = policy::loop_config(&setup.task.loops).unwrap_or_default();
    change(&mut config);
    let entries = recover::entries(store.as_ref(), run).map_err(|error| match error {
        ReadError::Store(error) => Failure::from(error),
        error => Failure::from_error(Kind::Environment, &error),
    })?;
    let rules = policy::policy(&setup.task);
    let finding = first_stop(entries, &rules, &config);
    Ok(answer(run.as_str(), finding))
}

/// What the detector says: a stop with its finding, or the loudest of the rest.
enum Heard {
    Stop(Finding),
    Quiet {
        loudest: Option<Finding>,
        calls: u64,
    },
}

fn first_stop(entries: Vec<Entry>, rules: &Policy, config: &Config) -> Heard {
    // One for each conversation, as in the run itself.
    let mut detectors: BTreeMap<ConversationNo, Detector> = BTreeMap::new();
    let mut state: Option<State> = None;
    let mut loudest: Option<Finding> = None;
    let mut calls = 0;
    for Entry { at, event, .. } in entries {
        let asked = state.as_ref().and_then(|state| asked(state, &event));
        let (after, effects) = advance(state, at, event.clone(), rules);
        if let Event::Branched { .. } = event {
            detectors.values_mut().for_each(Detector::human_input);
        }
        let conversation = match &event {
            Event::ToolReported(report) => report.conversation,
            _ => None,
        };
        let conversation = conversation.unwrap_or_else(|| after.main());
        let detector = detectors.entry(conversation);
        let detector = detector.or_insert_with(|| Detector::new(config.clone()));
        if let Some(print) = seen(event, asked, &after, &effects, rules) {
            calls += 1;
            match detector.observe(print, Some(at.0), None) {
                Some(finding) if finding.level == Level::Stop => return Heard::Stop(finding),
                Some(finding) => {
                    loudest = loudest
                        .filter(|loudest| loudest.level > finding.level)
                        .or(Some(finding));
                }
                None => {}
            }
        }
        state = Some(after);
    }
    Heard::Quiet { loudest, calls }
}

/// Returns tool and arguments of the call that an event is about, if it is
/// about one that is under way.
fn asked(state: &State, event: &Event) -> Option<(String, Value)> {
    let id = match event {
        Event::ToolEnded(end) => end.call,
        Event::RetryDue { call, .. } | Event::Settled { call, .. } => *call,
        Event::ToolCalled(asked) => return Some((asked.tool.clone(), asked.args.clone())),
        _ => return None,
    };
    let call = state.calls.get(&id).or_else(|| state.in_doubt.get(&id))?;
    if call.batch.is_some() {
        // The items of a batch are one call to the detector, and that is no event.
        return None;
    }
    Some((call.tool.clone(), call.args.clone()))
}

/// Returns what the run's own detector saw with this event, if it saw anything.
fn seen(
    event: Event,
    asked: Option<(String, Value)>,
    after: &State,
    effects: &[Effect],
    rules: &Policy,
) -> Option<Print> {
    match event {
        Event::ToolReported(report) => {
            let taken = |effect: &Effect| {
                let Effect::Reply { answer, .. } = effect else {
                    return false;
                };
                matches!(answer, Told::Reported { .. })
            };
            return effects.iter().any(taken).then_some(report.print);
        }
        // The last try of a call; what went before is the retry budget's business.
        Event::ToolEnded(end) => {
            asked?;
            return (!after.calls.contains_key(&end.call)).then_some(end.print);
        }
        _ => {}
    }
    // Answered without a try: refused, from the record, or for an open breaker.
    let (tool, args) = asked?;
    let (content, class) = effects.iter().find_map(|effect| match effect {
        Effect::Reply {
            answer: Told::Tool { content, class, .. },
            ..
        } => Some((content, *class)),
        _ => None,
    })?;
    let none = ToolTraits::default();
    let traits = rules.tool(&tool).map_or(&none, |tool| &tool.traits);
    let text = content.text.clone().into();
    let kind = error_kind(class);
    Some(Print::of(
        &tool,
        &args,
        &text,
        content.is_error,
        kind,
        traits,
    ))
}

fn error_kind(class: Class) -> ErrorKind {
    match class.layer() {
        Layer::Transport => ErrorKind::Transport,
        Layer::Semantic => ErrorKind::Semantic,
        Layer::None => ErrorKind::None,
    }
}

fn answer(run: &str, heard: Heard) -> Answer {
    let ok = |why| Answer {
        id: run.into(),
        verdict: Verdict::Ok,
        at_call: None,
        rung: None,
        period: None,
        first: None,
        last: None,
        why,
    };
    match heard {
        Heard::Stop(finding) => Answer {
            verdict: Verdict::Loop,
            at_call: Some(finding.last),
            rung: Some(finding.rung),
            period: finding.period,
            first: Some(finding.first),
            last: Some(finding.last),
            ..ok(finding.why)
        },
        Heard::Quiet {
            loudest: Some(finding),
            ..
        } => ok(format!(
            "no stop; the loudest answer came at call {}: {}",
            finding.last, finding.why
        )),
        Heard::Quiet { calls, .. } => ok(format!("{calls} calls, no repetition worth a word")),
    }
}
