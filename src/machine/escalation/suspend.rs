//! Questions that nobody waits for: here, or at all; and what the agent is told later.

use super::decide::{end_wait, label, with_verdict, words};
use super::{Held, Question, Ruling, Source};
use crate::clock::UnixMs;
use crate::ids::{CallId, EscalationId};
use crate::machine::advance::run_note;
use crate::machine::ending::stop;
use crate::machine::{Answer, Effect, Outcome, Phase, Stage, State, Verdict};
use crate::policy::escalation::Kind;

/// Why the agent is ended where a human is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::machine) enum Unheld {
    /// Nobody waits here for the answer.
    Detached,
    /// The agent knows nothing of us, and its client would give up.
    Impatient,
}

/// The agent cannot be kept until there is a decision: it is ended, the run goes on
/// when there is one.
pub(in crate::machine) fn suspended(state: &mut State, why: Unheld) -> Vec<Effect> {
    let Some(question) = state.waits_for() else {
        // Decided in the meantime.
        return vec![];
    };
    if state.phase != Phase::Running {
        return vec![];
    }
    let outcome = Outcome::Waiting {
        escalation: question.what.id.clone(),
        question: question.what.ask.question.clone(),
    };
    let (rule, why) = match why {
        Unheld::Detached => (
            "escalation.detached",
            "nobody waits here for an answer; the run goes on when there is one",
        ),
        Unheld::Impatient => (
            "escalation.impatient",
            "the agent cannot be kept within a model call; it is started again with the answer",
        ),
    };
    let mut note = run_note(state, "suspend", rule, why);
    note.evidence = outcome.describe();
    let mut effects = vec![Effect::Note(note)];
    let stopping = Answer::Stopping {
        reason: outcome.describe(),
        exit_code: outcome.exit_code(),
    };
    let mut waiting = Vec::new();
    for question in &mut state.questions {
        waiting.append(&mut question.requests);
        for held in question.held.drain(..) {
            match held {
                // What it was held for is done already.
                Held::Reply { request, answer } => effects.push(Effect::Reply {
                    request,
                    answer: with_verdict(answer, Verdict::stop(&outcome)),
                }),
                Held::Reserve { request, .. } => waiting.push(request),
            }
        }
    }
    for call in state.calls.values_mut() {
        if matches!(call.stage, Stage::Approving { .. }) {
            waiting.append(&mut call.requests);
        }
    }
    effects.extend(waiting.into_iter().map(|request| Effect::Reply {
        request,
        answer: stopping.clone(),
    }));
    effects.extend(stop(state, outcome, None));
    effects.pop_if(|last| matches!(last, Effect::EndAgent { .. }));
    effects.push(Effect::EndAgent { told: true });
    effects
}

/// Closes the questions of a run that is done: nobody needs them any more.
pub(in crate::machine) fn withdrawn(state: &mut State, at: UnixMs) -> Vec<Effect> {
    let open: Vec<EscalationId> = state
        .open_questions()
        .filter(|question| question.what.ask.kind.holds_the_run())
        .map(|question| question.what.id.clone())
        .collect();
    let ruling = Ruling {
        option: String::new(),
        note: None,
        by: "agentguard".into(),
        at,
        source: Source::Withdrawn,
    };
    close(state, at, open, &ruling)
}

/// Closes the question about a call that was settled in another way.
pub(in crate::machine) fn settled(
    state: &mut State,
    at: UnixMs,
    call: CallId,
    option: &str,
) -> Vec<Effect> {
    let about = state
        .question_about(call)
        .filter(|it| it.ruling.is_none() && it.what.ask.kind == Kind::InDoubt);
    let Some(id) = about.map(|question| question.what.id.clone()) else {
        return vec![];
    };
    let ruling = Ruling {
        option: option.to_owned(),
        note: None,
        by: "agentguard settle".into(),
        at,
        source: Source::Settled,
    };
    close(state, at, vec![id], &ruling)
}

/// Closes the question about an undo that was settled in another way.
pub(in crate::machine) fn undo_settled(
    state: &mut State,
    at: UnixMs,
    call: CallId,
    option: &str,
) -> Vec<Effect> {
    let about = state.question_about_undo(call);
    let open = about.filter(|question| question.ruling.is_none());
    let Some(id) = open.map(|question| question.what.id.clone()) else {
        return vec![];
    };
    close(state, at, vec![id], &by_itself(option, at, Source::Settled))
}

/// Closes the question about what a rollback had left: another one has seen to it.
pub(in crate::machine) fn put_right(state: &mut State, at: UnixMs) -> Vec<Effect> {
    let about = state.question_about_left();
    let open = about.filter(|question| question.ruling.is_none());
    let Some(id) = open.map(|question| question.what.id.clone()) else {
        return vec![];
    };
    close(state, at, vec![id], &by_itself("", at, Source::Withdrawn))
}

fn by_itself(option: &str, at: UnixMs, source: Source) -> Ruling {
    Ruling {
        option: option.to_owned(),
        note: None,
        by: "agentguard rollback".into(),
        at,
        source,
    }
}

pub(super) fn close(
    state: &mut State,
    at: UnixMs,
    questions: Vec<EscalationId>,
    ruling: &Ruling,
) -> Vec<Effect> {
    let mut effects = Vec::new();
    for id in questions {
        if let Some(question) = state.question_mut(&id) {
            question.ruling = Some(ruling.clone());
            question.is_told = true;
        }
        effects.push(Effect::Close {
            escalation: id,
            ruling: ruling.clone(),
        });
    }
    end_wait(state, at);
    effects
}

/// Tells an agent that could not wait what was decided meanwhile.
pub(in crate::machine) fn decided_meanwhile(state: &State) -> Option<String> {
    let line = |question: &Question| {
        let ruling = question.ruling.as_ref()?;
        let is_news = !question.is_told && question.what.ask.kind.holds_the_run();
        is_news.then(|| {
            let ask = &question.what.ask;
            format!(
                "- {} ({}) Decided: `{}` ({}), by {}",
                ask.question,
                ask.evidence,
                ruling.option,
                label(&question.what, &ruling.option),
                words(ruling)
            )
        })
    };
    let lines: Vec<String> = state.questions.iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| {
        format!(
            "While the run waited, a human was asked:\n{}",
            lines.join("\n")
        )
    })
}

/// The agent was told with the note of its start.
pub(in crate::machine) fn told_by_note(state: &mut State) {
    for question in &mut state.questions {
        question.is_told |= question.ruling.is_some();
    }
}
