//! Writes that may or may not have happened: asked about, put before a human, settled.

use super::{give_answer, judged_note};
use crate::clock::UnixMs;
use crate::ids::CallId;
use crate::machine::advance::{run_note, unexpected};
use crate::machine::batch;
use crate::machine::ending::stop;
use crate::machine::escalation::{self, HAPPENED, NOT_HAPPENED};
use crate::machine::event::{Content, Judged, SettledBy, Settlement, ToolEnd};
use crate::machine::{About, Answer, Call, Effect, Outcome, Phase, Policy, Settle, Stage, State};
use crate::policy::taxonomy::Class;

/// A write did not answer and its tool cannot be asked twice.
pub(super) fn unanswered_write(
    state: &mut State,
    at: UnixMs,
    end: &ToolEnd,
    call: &Call,
    policy: &Policy,
) -> Vec<Effect> {
    let settle = policy
        .tool(&call.tool)
        .map_or(Settle::Human, |tool| tool.settle);
    if settle != Settle::Probe {
        return in_doubt(state, at, end.call, &end.judged, policy);
    }
    if let Some(call) = state.calls.get_mut(&end.call) {
        call.stage = Stage::Probing;
    }
    let mut note = judged_note(state, end, call, "probe");
    note.otherwise = "the write would have been repeated blindly".into();
    vec![Effect::Note(note), Effect::Probe { call: end.call }]
}

/// A write may or may not have happened and nothing here can tell.
pub(super) fn in_doubt(
    state: &mut State,
    at: UnixMs,
    id: CallId,
    judged: &Judged,
    policy: &Policy,
) -> Vec<Effect> {
    let Some(call) = state.calls.remove(&id) else {
        return unexpected(state, "doubt about a call that is not under way");
    };
    let outcome = Outcome::InDoubt {
        call: id,
        tool: call.tool.clone(),
    };
    let mut note = run_note(
        state,
        "stop",
        "write.in_doubt",
        "a write that did not answer is settled before anything else happens",
    );
    note.about = About::Call {
        call: id,
        tool: call.tool.clone(),
    };
    note.class = Some(judged.class);
    note.evidence.clone_from(&judged.evidence);
    note.otherwise = "its effect could have happened twice, or never".into();
    let reason = outcome.describe();
    let exit_code = outcome.exit_code();
    let mut effects = vec![Effect::Note(note)];
    if state.question_about(id).is_none() {
        let ask = escalation::about_doubt(id, &call, &judged.why);
        effects.extend(escalation::open(state, at, ask, policy).1);
    }
    for request in &call.requests {
        let answer = Answer::Stopping {
            reason: reason.clone(),
            exit_code,
        };
        effects.push(Effect::Reply {
            request: *request,
            answer,
        });
    }
    state.in_doubt.insert(
        id,
        Call {
            requests: vec![],
            ..call
        },
    );
    if state.phase == Phase::Running {
        effects.extend(stop(state, outcome, None));
    }
    effects
}

/// An in-doubt call was settled, live by its probe or before a resume.
pub(in super::super) fn settled(
    state: &mut State,
    at: UnixMs,
    id: CallId,
    settlement: Settlement,
    by: SettledBy,
    policy: &Policy,
) -> Vec<Effect> {
    let option = match &settlement {
        Settlement::Happened { .. } => Some(HAPPENED),
        Settlement::NotHappened => Some(NOT_HAPPENED),
        Settlement::Unknown { .. } => None,
    };
    let closed = option.map_or_else(Vec::new, |it| escalation::settled(state, at, id, it));
    // Before a resume the call is in doubt; put it back to where it was.
    if let Some(call) = state.in_doubt.remove(&id) {
        state.calls.insert(id, call);
    }
    let Some(call) = state.calls.get(&id).cloned() else {
        return unexpected(state, "the settlement of a call that is not in doubt");
    };
    let mut note = run_note(state, "settle", "write.settled", "");
    note.about = About::Call {
        call: id,
        tool: call.tool.clone(),
    };
    note.evidence = format!("settled by {}", by.as_str());
    if let Some(members) = &call.batch {
        note.why = match &settlement {
            Settlement::Happened { .. } => "it had happened; its result is recorded".into(),
            Settlement::NotHappened => "it had not happened".into(),
            Settlement::Unknown { why } => {
                format!("it cannot be told whether it happened: {why}")
            }
        };
        let mut effects = vec![Effect::Note(note)];
        effects.extend(closed);
        effects.extend(batch::settled(state, at, id, members, settlement, policy));
        done_after_doubt(state);
        return effects;
    }
    let mut effects = match settlement {
        Settlement::Happened { content } => {
            note.why = "it had happened; its result is recorded".into();
            let mut effects = vec![Effect::Note(note)];
            effects.extend(give_answer(
                state,
                at,
                id,
                content,
                Class::Success,
                None,
                policy,
            ));
            effects
        }
        Settlement::NotHappened => {
            note.why = "it had not happened".into();
            let mut effects = vec![Effect::Note(note)];
            if state.phase == Phase::Running && !call.requests.is_empty() {
                let text = format!("`{}` failed and had no effect.", call.tool);
                let content = Content {
                    text,
                    is_error: true,
                    ..Content::default()
                };
                effects.extend(give_answer(
                    state,
                    at,
                    id,
                    content,
                    Class::Persistent,
                    None,
                    policy,
                ));
            } else {
                state.calls.remove(&id);
                effects.extend(call.key.map(|key| Effect::Free { call: id, key }));
            }
            effects
        }
        Settlement::Unknown { why } => {
            note.why = format!("it cannot be told whether it happened: {why}");
            let mut effects = vec![Effect::Note(note)];
            let judged = Judged {
                class: Class::Unrecoverable,
                retry_after_ms: None,
                rule: "write.in_doubt".into(),
                why: why.clone(),
                evidence: why,
            };
            effects.extend(in_doubt(state, at, id, &judged, policy));
            effects
        }
    };
    effects.extend(closed);
    done_after_doubt(state);
    effects
}

/// An agent that had said done before a doubt came up is done when it is settled.
fn done_after_doubt(state: &mut State) {
    let was_doubt = matches!(
        state.phase,
        Phase::Ended {
            outcome: Outcome::InDoubt { .. }
        }
    );
    if was_doubt && state.in_doubt.is_empty() && state.done.is_some() {
        state.phase = Phase::Ended {
            outcome: Outcome::Done { verified: false },
        };
    }
}
