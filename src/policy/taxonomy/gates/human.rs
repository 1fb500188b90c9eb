//! Whether a delivery asks for an approval, or for facts only a human has.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::policy::taxonomy::codes;
use crate::policy::taxonomy::meaning::Meaning;
use crate::policy::taxonomy::observation::{Kind, Observation};
use crate::policy::taxonomy::outcome::Delivery;
use crate::policy::taxonomy::text::{clip, head, regex};

/// Returns what is asked of a human, if the delivery is such a request.
pub(in super::super) fn asks_human(
    observation: &Observation,
    delivery: &Delivery,
) -> Option<String> {
    if delivery.is_document {
        return None;
    }
    if let Some(found) = delivery
        .json
        .as_ref()
        .and_then(|json| pending_status(observation, json))
    {
        return Some(found);
    }
    let text = match &delivery.reply {
        Some(reply) if reply.calls.is_empty() => reply.text.as_str(),
        Some(_) => return None,
        None if observation.kind != Kind::Http
            && delivery.json.is_none()
            && delivery.text.len() <= 1_500 =>
        {
            delivery.text.as_str()
        }
        None => return None,
    };
    let is_model = delivery.reply.is_some();
    if is_model && task_is_about(observation, &ABOUT_ASKING) {
        return None;
    }
    let pattern: &Regex = if is_model { &ASKS } else { &WAITS };
    let (start, end) = (head(text, 500), tail(text, 700));
    let found = pattern.find(end).or_else(|| pattern.find(start))?;
    Some(format!("text: \"{}\"", clip(found.as_str().trim(), 160)))
}

fn tail(text: &str, max: usize) -> &str {
    let mut at = text.len().saturating_sub(max);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    &text[at..]
}

static ASKS: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"(?i)\b(need|needs|require|requires|requiring|await|awaiting|waiting (for|on)|wait for|without|until I (have|get|receive)|asking for|ask for|request(ing)?) (your|explicit|human|user|manager|an?|the|written|prior|final|someone)( [\w'-]+){0,4} (approval|confirmation|permission|sign-?off|consent|authori[sz]ation|go-ahead|decision)\b",
        r"|\b(please|could you|can you|kindly|would you) (please )?(approve|confirm|authori[sz]e|provide|share|tell me|send me|supply|specify|give me|let me know|clarify|indicate|enter)\b[^\n]{0,160}\b(before I|so (that )?I can|in order (for me )?to|to (proceed|continue|go on|move forward|go ahead)|and I('ll| will| can))",
        r"|\b(before I|so (that )?I can|in order to|to) (proceed|continue|go on|go ahead|move forward|complete this|do (this|that))[^.\n]{0,60}(please (approve|confirm|provide|tell|share|specify|let me know)|I('ll)? (will )?(still )?need (you|your|the|a|an|to know)\b)",
        r"|\bI (can't|cannot|can not|am unable to|won't be able to|am not able to|won't|will not|must not|should not|shouldn't) (proceed|continue|go (on|ahead|further)|complete (this|the)|move forward|finish|do (this|that|so)|execute|run|deploy|delete|send|transfer|make)\b[^.\n]{0,80}\b(without|until|unless)\b",
        r"|\b(shall|should|may|can) I (proceed|go ahead|continue)\b|\bdo you (approve|confirm|authori[sz]e|consent|agree to proceed)\b|\b(would you like|do you want) me to (proceed|go ahead|continue)\b|\breply (with )?.?(yes|approve|confirm)\b|\(y(es)?/n(o)?\)|\bonly you (can|know)\b|\b(I|we) (will |'ll )?need (you to|to know (your|which|what|whether)|the following (information|details)|(some|more|additional) (information|details) (from you|about your)|your (account|password|pin|code|address|date|phone|card|bank|signature|approval|input|decision|choice))",
        r"|\bich (benötige|brauche) (ihre|deine|eine) [^.\n]{0,30}(freigabe|genehmigung|zustimmung|bestätigung|angaben?|entscheidung)|bitte (bestätigen|genehmigen|geben) sie|j'ai besoin de (votre|vos|ton|ta) [^.\n]{0,30}(approbation|accord|confirmation|autorisation|validation|décision)|veuillez (confirmer|approuver|valider|fournir|préciser)|necesito (tu|su|que)[^.\n]{0,30}(aprobación|confirmación|autorización|apruebe|confirme|proporcione)|preciso d[aeo] (sua|seu|tua)[^.\n]{0,20}(aprovação|confirmação|autorização)|ho bisogno d\S+ (tua|sua)[^.\n]{0,20}(approvazione|conferma|autorizzazione)",
        r"|请(您)?(确认|批准|审批|授权|提供)|需要(您|你)的?(批准|确认|授权|审批|提供|决定)|(承認|許可|ご?確認)(を|が)(お願い|必要)|教えてください|мне (нужно|требуется) ваше|пожалуйста, (подтвердите|утвердите|укажите|предоставьте)|승인(이|을) (필요|부탁)|확인(해| 부탁)",
    ))
});

static WAITS: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"(?i)\b(waiting (for|on)|awaiting|pending|requires?|needs?|sent for|submitted for|held for|queued for)( \w+){0,3} (approval|sign-?off|confirmation by|confirmation from|human review|manual review|consent)\b|approval (is )?(required|needed|pending|requested)",
        r"|(one[- ]time|verification|authenticator|mfa|2fa|otp) (code|password|passcode)\s*(\([^)]*\))?:\s*$|\bplease (approve|confirm|authori[sz]e) (the|this|in|on|at|by)\b[^\n]{0,80}(continue|proceed|device|browser|phone|app|https?:)|承認待ち|等待(审批|批准)|需要审批|freigabe ausstehend|en attente (d'approbation|de validation)|pendiente de aprobación",
    ))
});

static ABOUT_ASKING: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)\b(translat\w+|paraphras\w+|role-?play|proofread|rewrite|quote)\b|\b(write|draft|compose|create|generate|prepare)\b[^.\n]{0,60}\b(request|message|letter|e-?mail|template|form|question|dialog|script|reply|text|note|notice|survey|policy)",
    )
});

pub(super) fn task_is_about(observation: &Observation, topic: &Regex) -> bool {
    observation
        .known("task")
        .and_then(Value::as_str)
        .is_some_and(|task| topic.is_match(head(task, 4_000)))
}

/// A JSON answer whose status is the name of a human step.
///
/// Reading a record that happens to wait for approval is no request, so GET is left out.
fn pending_status(observation: &Observation, json: &Value) -> Option<String> {
    let fields = json.as_object()?;
    if observation
        .method()
        .is_some_and(|method| method == "GET" || method == "HEAD")
    {
        return None;
    }
    [
        "status",
        "state",
        "result",
        "code",
        "resultType",
        "outcome",
        "decision",
        "action",
        "type",
    ]
    .iter()
    .find_map(|name| {
        let text = fields.get(*name)?.as_str()?;
        let is_human = codes::lookup(text).is_some_and(|(meaning, _)| meaning == Meaning::Human)
            || matches!(
                text,
                "input_required"
                    | "approval"
                    | "needs_human"
                    | "awaiting_human"
                    | "waiting_for_human"
            );
        let is_real = text != "requires_action"
            || fields
                .get("next_action")
                .or(fields.get("required_action"))
                .is_some_and(|next| !next.is_null());
        (is_human && is_real).then(|| format!("{name} = \"{text}\""))
    })
}
