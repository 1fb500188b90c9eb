//! What becomes of a question once it is decided.

use super::{APPROVE, CONTINUE, Escalation, Held, Ruling, Seen, Source, Told};
use crate::clock::UnixMs;
use crate::ids::EscalationId;
use crate::machine::advance::{run_note, unexpected};
use crate::machine::ending::stop;
use crate::machine::{
    Answer, Call, Decision, Effect, Outcome, Phase, Policy, Stage, State, Verdict, tool, turn,
};
use crate::money::NanoUsd;
use crate::policy::budget::{Hit, Resource};
use crate::policy::escalation::Kind;
use crate::policy::loops::Detector;

pub(super) fn label(what: &Escalation, option: &str) -> String {
    what.option(option)
        .map_or_else(|| option.to_owned(), |choice| choice.label.clone())
}

/// A human saw a question.
pub(in crate::machine) fn acknowledged(
    state: &mut State,
    id: &EscalationId,
    seen: Seen,
) -> Vec<Effect> {
    let Some(question) = state.question_mut(id) else {
        return unexpected(state, "the sight of a question that was not asked");
    };
    if question.seen.is_some() {
        return vec![];
    }
    let why = format!("{} has seen question {id}", seen.by);
    question.seen = Some(seen);
    vec![Effect::Note(run_note(
        state,
        "acknowledge",
        "escalation.seen",
        &why,
    ))]
}

/// A question was decided. The first decision counts.
pub(in crate::machine) fn decided(
    state: &mut State,
    at: UnixMs,
    id: &EscalationId,
    ruling: Ruling,
    policy: &Policy,
) -> Vec<Effect> {
    let question = match state.question_mut(id) {
        Some(question) if question.ruling.is_none() => question,
        Some(_) => return unexpected(state, "a second decision of a question"),
        None => return unexpected(state, "the decision of a question that was not asked"),
    };
    question.ruling = Some(ruling.clone());
    let what = question.what.clone();
    let (requests, held) = (
        std::mem::take(&mut question.requests),
        std::mem::take(&mut question.held),
    );
    end_wait(state, at);
    let mut effects = vec![Effect::Note(ruling_note(state, &what, &ruling))];
    if ruling.source == Source::Withdrawn {
        return effects;
    }
    let (chosen, words) = (ruling.option.as_str(), words(&ruling));
    match (what.ask.kind, chosen) {
        (Kind::Approval, _) => {
            let waits = |call: &Call| matches!(&call.stage, Stage::Approving { escalation } if escalation == id);
            let call = state.calls.iter().find(|(_, call)| waits(call));
            let Some(call) = call.map(|(id, _)| *id) else {
                return effects;
            };
            if state.phase != Phase::Running {
                return effects;
            }
            told(state, id);
            effects.extend(match chosen {
                APPROVE => tool::approved(state, call),
                _ => tool::declined(state, at, call, declined_text(&words), policy),
            });
        }
        (Kind::Loop | Kind::Cost, CONTINUE) => {
            if what.ask.kind == Kind::Cost {
                raise_gate(state, what.ask.cost.unwrap_or_default(), policy);
            }
            for it in state.conversations.values_mut() {
                it.detector.iter_mut().for_each(Detector::human_input);
                it.detector_then.clone_from(&it.detector);
            }
            if !held.is_empty() {
                told(state, id);
            }
            let steer = (what.ask.kind == Kind::Loop).then(|| steer_text(&what, &words));
            for held in held {
                effects.extend(go_on(state, at, held, steer.as_deref(), policy));
            }
        }
        (Kind::Loop | Kind::Cost, _) => {
            let outcome = match what.ask.kind {
                Kind::Loop => Outcome::Loop {
                    why: format!("{}; {words}", what.ask.evidence),
                },
                _ => Outcome::Budget {
                    hit: Hit {
                        resource: Resource::CostUsd,
                        limit: state.cost_gate.0,
                        used: state.spend.of(Resource::CostUsd),
                        next: what.ask.cost.unwrap_or_default().0,
                    },
                },
            };
            effects.extend(end_with(state, outcome, held));
        }
        (Kind::InDoubt | Kind::Undo, _) => {}
        (Kind::LowConfidence | Kind::Uncovered | Kind::Agent, _) => {
            if !requests.is_empty() {
                told(state, id);
            }
            let answer = Answer::Ruled(Box::new(Told {
                escalation: id.clone(),
                label: label(&what, chosen),
                ruling,
                is_recorded: false,
            }));
            effects.extend(requests.into_iter().map(|request| Effect::Reply {
                request,
                answer: answer.clone(),
            }));
        }
    }
    effects
}

pub(super) fn told(state: &mut State, id: &EscalationId) {
    if let Some(question) = state.question_mut(id) {
        question.is_told = true;
    }
}

/// Time that was waited for a human counts for no limit.
pub(super) fn end_wait(state: &mut State, at: UnixMs) {
    let Some(since) = state.waits.since.take() else {
        return;
    };
    let span = at.since(since);
    state.waits.total_ms = state.waits.total_ms.saturating_add(span);
    if matches!(state.phase, Phase::Running | Phase::Ending { .. }) {
        let within = at.since(since.max(state.attempt_at));
        state.waits.attempt_ms = state.waits.attempt_ms.saturating_add(within);
        for reserved in state.reserved_at.values_mut() {
            *reserved = reserved.plus(within).min(at);
        }
    }
    if state.waits_for().is_some() {
        state.waits.since = Some(at);
    }
}

pub(super) fn ruling_note(state: &State, what: &Escalation, ruling: &Ruling) -> Decision {
    let why = match ruling.source {
        Source::Deadline => format!(
            "nobody answered in time, so `{}` stands: {}",
            ruling.option, what.ask.question
        ),
        Source::Withdrawn => format!("nobody needs an answer any more: {}", what.ask.question),
        Source::Answer | Source::Token | Source::Settled => format!(
            "{} chose `{}`: {}",
            ruling.by, ruling.option, what.ask.question
        ),
    };
    let rule = format!("escalation.{}", ruling.source.as_str());
    let mut note = run_note(state, "decide", &rule, &why);
    note.evidence = what.id.to_string();
    if let Some(words) = &ruling.note {
        note.evidence = format!("{}: {words}", what.id);
    }
    note
}

/// `anna: not before Monday`, or `nobody answered by the deadline`.
pub(super) fn words(ruling: &Ruling) -> String {
    let who = match ruling.source {
        Source::Deadline => "nobody: the deadline passed without an answer",
        _ => ruling.by.as_str(),
    };
    match &ruling.note {
        Some(note) => format!("{who}: {note}"),
        None => who.to_owned(),
    }
}

pub(super) fn declined_text(words: &str) -> String {
    format!("Declined by {words}\nThe call was not made. Do not repeat it as it is.")
}

pub(super) fn steer_text(what: &Escalation, words: &str) -> String {
    format!(
        "You were going in circles ({}). A human looked at it and lets you go on. {words}\n\
         Do not repeat the same calls; take another approach.",
        what.ask.evidence
    )
}

/// Lets out what a decision held back.
pub(super) fn go_on(
    state: &mut State,
    at: UnixMs,
    held: Held,
    steer: Option<&str>,
    policy: &Policy,
) -> Vec<Effect> {
    match held {
        Held::Reply { request, answer } => {
            let answer = match steer {
                Some(text) => {
                    state.counters.steers += 1;
                    with_verdict(answer, Verdict::Steer { text: text.into() })
                }
                None => answer,
            };
            vec![Effect::Reply { request, answer }]
        }
        Held::Reserve {
            request,
            worst,
            max_tokens,
        } => {
            let call = turn::Call {
                request,
                worst,
                max_tokens,
                link: None,
                place: None,
            };
            turn::reserved(state, at, call, policy)
        }
    }
}

/// Ends the run with `outcome`, also where it has ended for now already.
pub(super) fn end_with(state: &mut State, outcome: Outcome, held: Vec<Held>) -> Vec<Effect> {
    match &mut state.phase {
        // The first reason wins, but for one that only waits for this.
        Phase::Ending { outcome: ending } => {
            if matches!(ending, Outcome::Waiting { .. }) {
                ending.clone_from(&outcome);
                state.last_error = Some(outcome.describe());
            }
            return vec![];
        }
        // Whatever ended the attempt: it is not to be started again by itself.
        Phase::Ended { outcome: ended } if !matches!(ended, Outcome::Done { .. }) => {
            ended.clone_from(&outcome);
            state.last_error = Some(outcome.describe());
            return vec![Effect::Finish { outcome }];
        }
        Phase::Ended { .. } => return vec![],
        Phase::Created | Phase::Running | Phase::Concluding { .. } => {}
    }
    let mut effects = refused(&outcome, held);
    let is_told = !effects.is_empty();
    effects.extend(stop(state, outcome, None));
    if is_told {
        effects.pop_if(|last| matches!(last, Effect::EndAgent { .. }));
        effects.push(Effect::EndAgent { told: true });
    }
    effects
}

pub(super) fn refused(outcome: &Outcome, held: Vec<Held>) -> Vec<Effect> {
    let verdict = Verdict::stop(outcome);
    let stopping = Answer::Stopping {
        reason: outcome.describe(),
        exit_code: outcome.exit_code(),
    };
    let reply = |held: Held| {
        let request = held.request();
        let answer = match held {
            Held::Reply { answer, .. } => with_verdict(answer, verdict.clone()),
            Held::Reserve { .. } => stopping.clone(),
        };
        Effect::Reply { request, answer }
    };
    held.into_iter().map(reply).collect()
}

pub(super) fn with_verdict(mut answer: Answer, with: Verdict) -> Answer {
    match &mut answer {
        Answer::Tool { verdict, .. }
        | Answer::Reported { verdict, .. }
        | Answer::Turn { verdict, .. } => *verdict = with,
        Answer::Batch(batch) => batch.verdict = with,
        Answer::Standing | Answer::Reserved { .. } | Answer::Ruled(_) | Answer::Stopping { .. } => {
        }
    }
    answer
}

/// The next question about money comes a step later, after what was asked for.
pub(super) fn raise_gate(state: &mut State, more: NanoUsd, policy: &Policy) {
    let step = policy.escalation.cost_step.unwrap_or_default().0.max(1);
    let needed = NanoUsd(state.spend.of(Resource::CostUsd)).plus(more);
    let steps = needed.minus(state.cost_gate).0.div_ceil(step).max(1);
    state.cost_gate = state.cost_gate.plus(NanoUsd(steps.saturating_mul(step)));
}
