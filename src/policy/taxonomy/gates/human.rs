//! Whether a delivery asks for an approval, or for facts only a human has.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use crate::policy::taxonomy::acting;
use crate::policy::taxonomy::codes;
use crate::policy::taxonomy::http::tool_words;
use crate::policy::taxonomy::meaning::Meaning;
use crate::policy::taxonomy::observation::{Kind, Observation};
use crate::policy::taxonomy::outcome::Delivery;
use crate::policy::taxonomy::phrases::{Phrases, Places};
use crate::policy::taxonomy::signals::spelled_out;
use crate::policy::taxonomy::text::{clip, disarm, head, regex};
use crate::policy::taxonomy::words;

/// Longest answer of a tool that is a notice as a whole.
const NOTICE_BYTES_MAX: usize = 300;

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
            after_report(&delivery.text)
        }
        None => return None,
    };
    if delivery.reply.is_none() {
        if hands_out_text(observation) {
            return None;
        }
        if let Some(line) = notice(observation, text) {
            return Some(format!("text: \"{}\"", clip(line.trim(), 160)));
        }
    }
    let is_model = delivery.reply.is_some();
    if is_model && task_is_about(observation, &ABOUT_ASKING) {
        return None;
    }
    let (start, end) = (head(text, 500), tail(text, 700));
    let find = |text: &'_ str| {
        let found = match is_model {
            true => ASKS.find(text),
            false => WAITS.find(text).map(|found| found.range()),
        };
        let found = found.filter(|found| !is_about_others(text, found.start));
        found.map(|found| text[found].to_owned())
    };
    let Some(found) = find(end).or_else(|| find(start)) else {
        let asks = is_model && ASKS_ABROAD.find(end).next().is_some();
        return asks.then(|| format!("text: \"{}\"", clip(end.trim(), 160)));
    };
    Some(format!("text: \"{}\"", clip(found.trim(), 160)))
}

/// Whether the words at `at` say what others need: `You need approval above $500` asks nobody,
/// nor does what is quoted.
fn is_about_others(text: &str, at: usize) -> bool {
    if text[..at].ends_with(['"', '\'', '“', '«', '`']) {
        return true;
    }
    let before = text[..at].trim_end().to_lowercase();
    ["you", "they", "users", "customers", "employees", "who"]
        .iter()
        .any(|word| before.split_whitespace().next_back() == Some(*word))
}

/// Returns the line of a short answer that tells what a human has to do before the tool can act.
fn notice<'a>(observation: &Observation, text: &'a str) -> Option<&'a str> {
    static DEMANDS: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)\b(please|must|enter|provide|confirm|needs?|requires?|required|awaiting|waiting|pending|before|until|cannot|can't|approve)\b",
        )
    });
    if observation.kind != Kind::Mcp || text.len() > NOTICE_BYTES_MAX || !acting::acts(observation)
    {
        return None;
    }
    text.lines().find(|line| {
        (!line.is_ascii() || DEMANDS.is_match(line))
            && words::read(disarm(line)) == Some(Meaning::Human)
    })
}

/// Returns what a tool says after its report of what it did.
fn after_report(text: &str) -> &str {
    if !acting::reports(text) {
        return text;
    }
    let end = text.find(". ").or_else(|| text.find('\n'));
    end.map_or("", |end| &text[end..])
}

/// Whether the tool's answers are texts about something else: rules, translations, finds.
fn hands_out_text(observation: &Observation) -> bool {
    const WORDS: &[&str] = &[
        "docs",
        "policy",
        "policies",
        "faq",
        "help",
        "explain",
        "answer",
        "translate",
        "summarize",
        "summarise",
        "describe",
        "review",
        "reviews",
        "guide",
        "handbook",
        "knowledge",
    ];
    tool_words(&observation.tool)
        .iter()
        .any(|word| WORDS.contains(&word.as_str()))
}

fn tail(text: &str, max: usize) -> &str {
    let mut at = text.len().saturating_sub(max);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    &text[at..]
}

/// Questions of a model in English, and the plainest in other languages.
static ASKS: LazyLock<Places> = LazyLock::new(|| {
    Places::new(&[
        r"\b(need|needs|require|requires|requiring|await|awaiting|waiting (for|on)|wait for|without|until I (have|get|receive)|asking for|ask for|request(ing)?) (your|explicit|human|user|manager|an?|the|written|prior|final|someone)( [\w'-]+){0,4} (approval|confirmation|permission|sign-?off|consent|authori[sz]ation|go-ahead|decision)\b",
        r"\b(please|could you|can you|kindly|would you) (please )?(approve|confirm|authori[sz]e|provide|share|tell me|send me|supply|specify|give me|let me know|clarify|indicate|enter)\b[^\n]{0,160}\b(before I|so (that )?I can|in order (for me )?to|to (proceed|continue|go on|move forward|go ahead)|and I('ll| will| can))",
        r"\b(before I|so (that )?I can|in order to|to) (proceed|continue|go on|go ahead|move forward|complete this|do (this|that))[^.\n]{0,60}(please (approve|confirm|provide|tell|share|specify|let me know)|I('ll)? (will )?(still )?need (you|your|the|a|an|to know)\b)",
        r"\bI (can't|cannot|can not|am unable to|won't be able to|am not able to|won't|will not|must not|should not|shouldn't) (proceed|continue|go (on|ahead|further)|complete (this|the)|move forward|finish|do (this|that|so)|execute|run|deploy|delete|send|transfer|make)\b[^.\n]{0,80}\b(without|until|unless)\b",
        r"\b(shall|should|may|can) I (proceed|go ahead|continue)\b|\bdo you (approve|confirm|authori[sz]e|consent|agree to proceed)\b|\b(would you like|do you want) me to (proceed|go ahead|continue)\b|\breply (with )?.?(yes|approve|confirm)\b|\(y(es)?/n(o)?\)|\bonly you (can|know)\b|\b(I|we) (will |'ll )?need (you to|to know (your|which|what|whether)|the following (information|details)|(some|more|additional) (information|details) (from you|about your)|your (account|password|pin|code|address|date|phone|card|bank|signature|approval|input|decision|choice))",
        r"\bbefore I\b[^.\n]{0,120}\b(please|could you|can you|do you) (\w+ )?(confirm|approve|authori[sz]e|sign)\b|\bplease (confirm|approve|authori[sz]e)( that)? (you|I|this|the|it|whether)\b[^.?!\n]{0,100}[.?!]?\s*$",
        r"\bplease (tell me|give me|send me|provide|supply|enter|share|specify) (me )?(with )?(what|which|who|whether|them|it|this|the|your|a|an)\b[^.?!\n]{0,100}[.?!]?\s*$|\b(could|can|would) you (please )?(provide|share|give me|send me|tell me|supply|specify) (it|them|this|that|the|your|which|what|whether)\b[^?\n]{0,120}\?\s*$",
        r"\bI('d| would| will|'ll)? (still )?need (an?|the|your) [\w' ]{1,40} to (authori[sz]e|approve|confirm|sign|decide)\b|\bI('d| would| will|'ll)? (still )?(need|require) (your|the (user|customer|patient|client|owner)'s)\b|\bdo you (want|wish) (me )?to (go ahead|proceed|continue)\b|\basking for (the|your|a) [\w -]{0,20}(code|pin|password|otp|tan)\b|\bwhich (one )?(do|would) you prefer\?\s*$|\b(after that|once (you|that|it)\b[^.\n]{0,60}) I (can|will|could) (continue|proceed|go on|finish)\b|\bwho (should|can|must|will|may) (approve|authori[sz]e|sign)\b|\b(approved|signed|confirmed|authori[sz]ed) by you\b|\btype\W+(yes|confirm)\W+(to|if|and)\b|\bwhich (one|of (them|these|the two)) (should (I|get|be)|do you mean|did you mean|is (right|correct))\b[^?\n]{0,80}\?\s*$|\bich (benötige|brauche) (ihre|deine|eine) [^.\n]{0,30}(freigabe|genehmigung|zustimmung|bestätigung|angaben?|entscheidung)|bitte (bestätigen|genehmigen|geben) sie|j'ai besoin de (votre|vos|ton|ta) [^.\n]{0,30}(approbation|accord|confirmation|autorisation|validation|décision)|veuillez (confirmer|approuver|valider|fournir|préciser)|necesito (tu|su|que)[^.\n]{0,30}(aprobación|confirmación|autorización|apruebe|confirme|proporcione)|preciso d[aeo] (sua|seu|tua)[^.\n]{0,20}(aprovação|confirmação|autorização)|ho bisogno d\S+ (tua|sua)[^.\n]{0,20}(approvazione|conferma|autorizzazione)",
        r"\b(do|would) you (want|like) me to (pay|send|delete|cancel|book|order|buy|sign|transfer|publish|submit|deploy|remove|drop|refund)\b|\b(need|want|require)s? your (ok|okay|go-?ahead|nod)\b|\basks? for (the|your|a) [\w -]{0,20}(code|pin|password|otp|tan)\b[^\n]{0,120}\?\s*$|\bsomeone\b[^.\n]{0,40}\b(has|needs) to (approve|sign|confirm|authori[sz]e)\b",
        r"\b(should|shall) I (really )?(pay|send|delete|cancel|book|order|buy|sign|transfer|publish|submit|deploy|approve|remove|drop|refund|reject) [^?\n]{0,60}\?\s*$|\bI('ll| still)? need (\w+ ){1,2}(things?|details|items|facts)\b[^.\n]{0,20}: (your|the)\b",
        r"\bwhich (one|\w+) (do|would|should|shall) (you|I)\b[^?\n]{0,60}\?\s*$|\bare you sure\b[^?\n]{0,60}\?\s*$|\bI('ll| can| will| could)\b[^.\n]{0,80}\b(as soon as|once) you (tell|give|send|provide|confirm|approve|sign|let me)\b|\b(could|can|would) you (please )?(give|send|tell) [^?\n]{0,40}\bme\?\s*$",
        r"\bwhat (is|are) your\b[^?\n]{0,60}\?( I('ll)? (need|require)\b[^.\n]{0,80}\.?)?\s*$|\b(what|which) (is|are) (it|they|that|those)\?\s*$|\bplease\b[^.\n]{0,80}[,.;] ?(and |so )?(then|after that|afterwards) I (can|will|could)\b",
        r"请(您)?(批准|审批|授权|提供)|请(您)?确认(是否|您|授权|以便|以下|后我|。)|(继续|付款|执行)[^\n]{0,36}之?前|需要(您|你)的?(批准|确认|授权|审批|提供|决定)|(承認|許可|ご?確認)(を|が)(お願い|必要)|教えてください|мне (нужно|требуется) ваше|пожалуйста, (подтвердите|утвердите|укажите|предоставьте)|승인(이|을) (필요|부탁)|확인(해| 부탁)",
    ])
});

/// Questions of a model in other languages.
static ASKS_ABROAD: LazyLock<Phrases> = LazyLock::new(|| {
    Phrases::new(&[
        r"ohne (ihre|deine|diese|eine|die) [^.\n]{0,30}(freigabe|genehmigung|zustimmung|bestätigung|angaben?|unterschrift|information(en)?) (kann|darf|werde) ich|(kann|darf|werde) ich[^.\n]{0,60} ohne (ihre|deine|diese|eine) |\bdarf ich\b[^\n]{0,120}\?|\bsoll ich (fortfahren|das wirklich|[^.\n]{0,80}(löschen|überweisen|kündigen|abschicken|bestellen|buchen)\?)|(nennen|teilen|geben|bestätigen|genehmigen) sie (mir )?(bitte|mit|an)|können sie (mir )?[^.\n?]{0,60}(besorgen|nennen|mitteilen|bestätigen|freigeben)\?|nicht [^.\n]{0,40}solange [^.\n]{0,60}fehlt|geben sie .{0,20}frei",
        r"je ne (peux|puis)[^.\n]{0,80} sans (votre|ton|l'|une)|il (me|nous) manque (votre|vos) |(m')?autorisez-vous|confirmez-vous|(pouvez|pourriez)-vous (me )?(confirmer|communiquer|fournir|indiquer|donner|préciser|transmettre)|dois-je (procéder|continuer|valider)|puis-je (procéder|continuer|supprimer|envoyer)",
        r"no (puedo|podré)[^.\n]{0,80} sin (la |su |tu )|¿[^?\n]{0,20}(autoriza|aprueba|confirma)s?\b|¿(puede|podría|puedes|podrías) (proporcionar|indicar|confirmar|decir|facilitar|dar)|¿(procedo|continúo|debo (proceder|continuar))|me falta (tu|su) |¿me lo (puedes|puede) |no puedo decidirlo por (usted|ti)",
        r"non posso[^.\n]{0,80} senza (la )?(sua|tua|vostra|una)|\b(mi autorizza|confermi (che|se)|autorizzi)\b|posso procedere|(può|potrebbe|puoi) (fornir|indicar|confermar|comunicar)|não posso[^.\n]{0,80} sem (a )?(sua|tua)|posso (prosseguir|continuar com)|(pode|poderia) (fornecer|informar|confirmar|indicar)",
        r"жду (ваше|вашего|подтвержд)|не могу[^.\n]{0,120} без ваше(го|й)|(подтвердите|уточните|укажите), пожалуйста|(вы )?подтверждаете|(podaj|podać|potwierdź|potwierdzić)( mi)? proszę|proszę (podać|o podanie|potwierdzić|o potwierdzenie|o zgodę)|bez (twojej|pana|pani|państwa) (zgody|akceptacji)|czy mogę (kontynuować|usunąć|wysłać)",
        r"(kan|mag) ik[^.\n]{0,60} zonder (uw|jouw|je) |mag ik (doorgaan|verdergaan|dit)|kunt u (mij )?(bevestigen|doorgeven|vertellen|laten weten)|bekräfta att|får jag (fortsätta|ta bort)|onaylıyor musunuz|onayınız(ı|a)|devam edeyim mi",
        r"(実行|削除|送信|続行|進めて|デプロイ|購入|支払).{0,24}よろしい(です|でしょう)か|(ご指示|ご判断)ください|(教え|お知らせ)ていただけ(ます|ません)か|需要(您|你)的[^\n]{0,60}才能|是否(授权|同意|确认|批准|继续)|可以继续吗|请(您)?(告诉|告知)我|请(您)?(回复|输入)|(진행|삭제|전송|실행|결제).{0,12}(해도 될까요|할까요)|(알려|입력해|확인해) 주(세요|시)",
    ])
});

static WAITS: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"(?i)\b(waiting (for|on)|awaiting|pending|requires?|needs?|sent for|submitted for|held for|queued for)( \w+){0,3} (approval|sign-?off|confirmation by|confirmation from|human review|manual review|consent)\b|approval (is )?(required|needed|pending|requested)",
        r"|(one[- ]time|verification|authenticator|mfa|2fa|otp) (code|password|passcode)\s*(\([^)]*\))?:\s*$|\bplease (approve|confirm|authori[sz]e) (the|this|in|on|at|by)\b[^\n]{0,80}(continue|proceed|device|browser|phone|app|https?:)|\b(open|visit|click|follow|use|go to) (this|the following|the|on this|on the) (link|url|page)\b[^\n]{0,60}\b(authori[sz]e|authenticate|sign in|log in|connect|grant|approve)\b|\b(ask|check with|confirm with) the (user|customer|account owner)\b|\b(enter|provide|reply with|type) (the|your|this) ([\w-]+ )?(code|pin|otp|passcode) (to|that|so|[A-Z0-9]{3,6}-[A-Z0-9]{3,6})\b|承認待ち|等待(审批|批准)|需要审批|freigabe ausstehend|en attente (d'approbation|de validation)|pendiente de aprobación",
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
    if let Some(found) = held_back(fields) {
        return Some(found);
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
        "ChallengeName",
    ]
    .iter()
    .find_map(|name| {
        let text = fields.get(*name)?.as_str()?;
        let is_human = codes::lookup(text).is_some_and(|(meaning, _)| meaning == Meaning::Human)
            || matches!(
                text,
                "input_required"
                    | "authentication_required"
                    | "approval"
                    | "needs_human"
                    | "awaiting_human"
                    | "waiting_for_human"
            )
            || words::read(&spelled_out(text)) == Some(Meaning::Human);
        let is_real = text != "requires_action"
            || fields
                .get("next_action")
                .or(fields.get("required_action"))
                .is_some_and(|next| !next.is_null());
        (is_human && is_real).then(|| format!("{name} = \"{text}\""))
    })
}

/// A status that holds the work back, with a reason that names a human step.
fn held_back(fields: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let status = text("status").or_else(|| text("state"))?;
    matches!(
        status.to_ascii_lowercase().as_str(),
        "action_required"
            | "blocked"
            | "denied"
            | "rejected"
            | "held"
            | "on_hold"
            | "pending"
            | "waiting"
            | "paused"
    )
    .then_some(())?;
    let why = ["reason", "message", "detail", "waiting_for"]
        .iter()
        .find_map(|name| Some(format!("{} {}", name.replace('_', " "), text(name)?)))?;
    (words::read(disarm(&why)) == Some(Meaning::Human))
        .then(|| format!("status \"{status}\": \"{}\"", clip(&why, 120)))
}
