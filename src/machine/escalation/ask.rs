//! Questions that are asked: by the agent, by a rule, and what each says.

use sha2::{Digest, Sha256};

use super::decide::label;
use super::suspend::{Unheld, suspended};
use super::{
    Ask, CONTINUE, Choice, Escalation, HAPPENED, Held, LEFT, NOT_HAPPENED, PUT_RIGHT, Question,
    Ruling, STOP, Told,
};
use crate::clock::UnixMs;
use crate::ids::{CallId, EscalationId};
use crate::machine::advance::run_note;
use crate::machine::event::RequestNo;
use crate::machine::saga::{Entry, Undo};
use crate::machine::turn::stopping;
use crate::machine::{Answer, Call, Effect, Policy, State, tool};
use crate::money::NanoUsd;
use crate::policy::budget::Resource;
use crate::policy::escalation::{self as rules, Kind};

/// Somebody asks: the agent, where there is a request to answer, or the driver.
pub(in crate::machine) fn asked(
    state: &mut State,
    at: UnixMs,
    request: Option<RequestNo>,
    ask: Ask,
    played: Option<Ruling>,
    policy: &Policy,
) -> Vec<Effect> {
    if let Some(request) = request {
        state.spoke = true;
        if let Some(stopping) = stopping(state, request) {
            return stopping;
        }
    }
    let known = state.question_by_key(&ask.key);
    let (id, mut effects) = match (known, played) {
        (Some(id), _) => (id, vec![]),
        (None, None) => open(state, at, ask, policy),
        (None, Some(ruling)) => {
            let what = new(state, at, ask, policy);
            let id = what.id.clone();
            keep(state, what, Some(ruling));
            (id, vec![])
        }
    };
    let Some(question) = state.question_mut(&id) else {
        return effects;
    };
    match (&question.ruling, request) {
        (Some(ruling), Some(request)) => {
            let answer = Answer::Ruled(Box::new(Told {
                escalation: id.clone(),
                ruling: ruling.clone(),
                label: label(&question.what, &ruling.option),
                is_recorded: true,
            }));
            question.is_told = true;
            let mut note = run_note(
                state,
                "answer_from_record",
                "escalation.recorded",
                "this was asked and decided before; the recorded decision answers",
            );
            note.evidence = format!("question {id}");
            effects.push(Effect::Note(note));
            effects.push(Effect::Reply { request, answer });
        }
        (None, Some(request)) => question.requests.push(request),
        (_, None) => {}
    }
    effects
}

/// Opens a question; returns its number, and what is stored with it.
pub(in crate::machine) fn open(
    state: &mut State,
    at: UnixMs,
    ask: Ask,
    policy: &Policy,
) -> (EscalationId, Vec<Effect>) {
    let what = new(state, at, ask, policy);
    let id = what.id.clone();
    if what.ask.kind.holds_the_run() {
        state.waits.since.get_or_insert(at);
    }
    let mut note = run_note(
        state,
        "escalate",
        &format!("escalation.{}", what.ask.kind.as_str()),
        &format!("a human is asked: {}", what.ask.question),
    );
    note.evidence = match what.ask.evidence.as_str() {
        "" => id.to_string(),
        evidence => format!("{id}: {evidence}"),
    };
    note.otherwise = match &what.ask.default {
        Some(default) => format!("without an answer, `{default}` stands"),
        None => "it stays open until somebody answers".into(),
    };
    keep(state, what.clone(), None);
    (
        id,
        vec![Effect::Note(note), Effect::Escalate(Box::new(what))],
    )
}

/// Gives a question its number and its deadline.
fn new(state: &State, at: UnixMs, ask: Ask, policy: &Policy) -> Escalation {
    let terms = policy.escalation.terms(ask.kind);
    let ask = completed(ask, terms.default.as_deref());
    let longest_ms = policy.escalation.longest_ms.unwrap_or(u64::MAX);
    let deadline_ms = ask.deadline_ms.or(terms.deadline_ms);
    let deadline_ms = deadline_ms.map(|ms| ms.min(longest_ms));
    Escalation {
        id: number(state.seed, state.questions.len() as u64),
        deadline: deadline_ms
            .filter(|_| ask.default.is_some())
            .map(|ms| at.plus(ms)),
        opened_at: at,
        step: state.step,
        ask,
    }
}

fn keep(state: &mut State, what: Escalation, ruling: Option<Ruling>) {
    state.questions.push(Question {
        what,
        requests: vec![],
        held: vec![],
        ruling,
        seen: None,
        is_told: false,
        is_used: false,
    });
}

/// Fills in options and default.
pub(super) fn completed(mut ask: Ask, of_kind: Option<&str>) -> Ask {
    if ask.options.is_empty() {
        ask.options = vec![
            Choice::new("yes", "go ahead"),
            Choice::new("no", "do nothing"),
        ];
    }
    if matches!(ask.kind, Kind::InDoubt | Kind::Undo) {
        // No guess is better than another.
        ask.default = None;
        return ask;
    }
    let options: Vec<&str> = ask.options.iter().map(|it| it.id.as_str()).collect();
    let written = [ask.default.as_deref(), of_kind];
    let chosen = written
        .into_iter()
        .flatten()
        .find(|name| options.contains(name))
        .or_else(|| rules::fallback(&options, ask.reversible, ask.recommendation.as_deref()));
    match chosen.map(str::to_owned) {
        Some(chosen) => ask.default = Some(chosen),
        None => {
            ask.options
                .push(Choice::new(rules::NOTHING[0], "do nothing"));
            ask.default = Some(rules::NOTHING[0].to_owned());
        }
    }
    ask
}

/// Numbers the questions of a run so that they differ from those of others.
pub(super) fn number(seed: u64, place: u64) -> EscalationId {
    let mut hash = Sha256::new();
    hash.update(b"escalation");
    hash.update(seed.to_be_bytes());
    hash.update(place.to_be_bytes());
    let bytes = hash.finalize();
    let bits = bytes.iter().take(8);
    EscalationId::from_bits(bits.fold(0, |bits, byte| (bits << 8) | u64::from(*byte)))
}

/// Returns what makes two questions the same.
pub fn key_of(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks whether a loop may go on.
pub(in crate::machine) fn about_loop(state: &State, why: &str, identity: &str) -> Ask {
    Ask {
        kind: Kind::Loop,
        key: format!("loop:{}", state.questions.len()),
        question: "The agent goes in circles. May it go on?".into(),
        evidence: format!("{why} ({})", tool::excerpt(identity)),
        decision: "continue, with a word for the agent in the note, or stop".into(),
        options: go_or_stop(),
        reversible: false,
        ..Ask::default()
    }
}

/// Asks whether more may be spent, if this much more would pass the gate.
pub(in crate::machine) fn about_cost(state: &State, more: NanoUsd, policy: &Policy) -> Option<Ask> {
    policy.escalation.cost_step?;
    let gate = state.cost_gate;
    let used = NanoUsd(state.spend.of(Resource::CostUsd));
    if used.plus(more) <= gate {
        return None;
    }
    Some(Ask {
        kind: Kind::Cost,
        key: format!("cost:{}", gate.0),
        question: format!("The run is about to spend more than {gate} USD. May it?"),
        evidence: match more {
            NanoUsd(0) => format!("{used} USD are spent after step {}", state.step),
            more => format!("{used} USD are spent or held back, the next call may take {more} USD"),
        },
        decision: "continue to the next threshold, or stop".into(),
        options: go_or_stop(),
        reversible: false,
        cost: Some(more).filter(|more| more.0 > 0),
        ..Ask::default()
    })
}

pub(super) fn go_or_stop() -> Vec<Choice> {
    vec![
        Choice::new(CONTINUE, "let the run go on"),
        Choice::new(STOP, "end the run"),
    ]
}

/// Holds something back until a question is decided. What an agent asks that
/// knows nothing of us cannot be held: its client gives up, so the run is
/// suspended.
pub(in crate::machine) fn hold(
    state: &mut State,
    at: UnixMs,
    ask: Ask,
    held: Vec<Held>,
    is_from_wire: bool,
    policy: &Policy,
) -> Vec<Effect> {
    let known = state.question_by_key(&ask.key);
    let (id, mut effects) = match known {
        Some(id) => (id, vec![]),
        None => open(state, at, ask, policy),
    };
    if let Some(question) = state.question_mut(&id) {
        question.held.extend(held);
    }
    if is_from_wire {
        effects.extend(suspended(state, Unheld::Impatient));
    }
    effects
}

/// Asks whether the undo of a call has happened.
pub(in crate::machine) fn about_undo(state: &State, entry: &Entry, why: &str) -> Ask {
    let (call, tool) = (entry.call, &entry.tool);
    Ask {
        kind: Kind::Undo,
        key: format!("undo:{call}:{}", state.questions.len()),
        question: format!("Did the undo of call {call} of `{tool}` happen?"),
        evidence: format!("{why}; {}", line_of(entry)),
        decision: "look at the other side: is it still there or not?".into(),
        options: vec![
            Choice::new(HAPPENED, "it did; the rollback goes on before it"),
            Choice::new(NOT_HAPPENED, "it did not; it may be made again"),
        ],
        reversible: false,
        call: Some(call),
        ..Ask::default()
    }
}

/// Tells what a rollback could not undo, and asks somebody to see to it.
pub(in crate::machine) fn about_left(state: &State, left: &[&Entry]) -> Ask {
    /// So many are named; the rest is in the list of the rollback.
    const NAMED_MAX: usize = 20;
    let line = |entry: &&Entry| match &entry.undo {
        Undo::Failed { why } => format!("- {}: its undo failed: {why}", line_of(entry)),
        _ => format!("- {}: its tool declares no undo", line_of(entry)),
    };
    let mut lines: Vec<String> = left.iter().take(NAMED_MAX).map(line).collect();
    if let more @ 1.. = left.len().saturating_sub(NAMED_MAX) {
        lines.push(format!("- and {more} more"));
    }
    let what = match left.len() {
        1 => "A call was not undone. What becomes of what it did?".to_owned(),
        count => format!("{count} calls were not undone. What becomes of what they did?"),
    };
    Ask {
        kind: Kind::Undo,
        key: format!("undo:left:{}", state.questions.len()),
        question: what,
        evidence: lines.join("\n"),
        decision: "put it right by hand, or let it stand".into(),
        options: vec![
            Choice::new(PUT_RIGHT, "it was put right by hand"),
            Choice::new(LEFT, "it stays as it is"),
        ],
        reversible: false,
        ..Ask::default()
    }
}

fn line_of(entry: &Entry) -> String {
    let args = tool::excerpt(&entry.args.to_string());
    format!("call {} of `{}` {args}", entry.call, entry.tool)
}

/// Asks whether a call had happened.
pub fn about_doubt(id: CallId, call: &Call, why: &str) -> Ask {
    Ask {
        kind: Kind::InDoubt,
        key: format!("in_doubt:{id}"),
        question: format!("Did call {id} of `{}` happen?", call.tool),
        evidence: format!(
            "{why}; arguments: {}",
            tool::excerpt(&call.args.to_string())
        ),
        decision: "look at the other side: did it take effect or not?".into(),
        options: vec![
            Choice::new(HAPPENED, "it did; it is not made again"),
            Choice::new(NOT_HAPPENED, "it did not; it may be made again"),
        ],
        reversible: false,
        call: Some(id),
        ..Ask::default()
    }
}
