//! Whether a call may be made.

use super::ask::{key_of, open};
use super::decide::{declined_text, words};
use super::{APPROVE, Ask, Choice, DECLINE};
use crate::clock::UnixMs;
use crate::ids::{CallId, EscalationId};
use crate::machine::event::ToolCall;
use crate::machine::{Call, Effect, Policy, Risk, State, tool};
use crate::policy::escalation::Kind;

/// What an approval says about a call.
pub(in crate::machine) enum Approval {
    /// It needs none, or has it.
    Go,
    /// It was declined; in words for the model.
    Declined(String),
    /// A human is asked.
    Wait {
        /// The question.
        escalation: EscalationId,
        /// What is stored with it.
        effects: Vec<Effect>,
    },
}

/// Looks whether a call may be made.
pub(in crate::machine) fn approval(
    state: &mut State,
    at: UnixMs,
    id: CallId,
    asked: &ToolCall,
    policy: &Policy,
) -> Approval {
    let Some(tool) = policy.tool(&asked.tool) else {
        return Approval::Go;
    };
    let Some(why) = tool.approve.asks(&asked.args) else {
        return Approval::Go;
    };
    let key = approval_key(&asked.tool, &asked.args);
    let mut known = state.questions.iter_mut();
    let known = known.find(|question| question.what.ask.key == key && !question.is_used);
    if let Some(question) = known {
        let Some(ruling) = &question.ruling else {
            let (escalation, effects) = (question.what.id.clone(), vec![]);
            return Approval::Wait {
                escalation,
                effects,
            };
        };
        let is_approved = ruling.option == APPROVE;
        let text = declined_text(&words(ruling));
        question.is_told = true;
        return match is_approved {
            true => Approval::Go,
            false => Approval::Declined(text),
        };
    }
    let ask = Ask {
        kind: Kind::Approval,
        key,
        question: format!("May `{}` be called?", asked.tool),
        evidence: format!(
            "{why}; arguments: {}",
            tool::excerpt(&asked.args.to_string())
        ),
        decision: "approve or decline this one call".into(),
        options: vec![
            Choice::new(APPROVE, "make the call"),
            Choice::new(DECLINE, "do not make it"),
        ],
        reversible: tool.risk != Risk::Irreversible,
        cost: tool.approve.amount(&asked.args),
        call: Some(id),
        ..Ask::default()
    };
    let (escalation, effects) = open(state, at, ask, policy);
    Approval::Wait {
        escalation,
        effects,
    }
}

/// An approval is for these very arguments.
pub(super) fn approval_key(tool: &str, args: &serde_json::Value) -> String {
    key_of(&["approval", tool, &args.to_string()])
}

/// An approved call took effect: another one needs another approval.
pub(in crate::machine) fn use_up(state: &mut State, call: &Call) {
    let key = approval_key(&call.tool, &call.args);
    for question in &mut state.questions {
        question.is_used |= question.what.ask.key == key
            && question
                .ruling
                .as_ref()
                .is_some_and(|ruling| ruling.option == APPROVE);
    }
}
