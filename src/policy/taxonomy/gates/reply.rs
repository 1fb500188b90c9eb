//! Whether a reply is whole: not cut off, refused, empty or stuck.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::human::task_is_about;
use crate::policy::taxonomy::observation::{Kind, Observation, is_blank};
use crate::policy::taxonomy::outcome::{Delivery, is_blank_text};
use crate::policy::taxonomy::phrases::{Phrases, Places};
use crate::policy::taxonomy::text::{clip, head, regex};

/// Longest text in which a refusal is looked for; a longer one has something to say.
const REFUSAL_BYTES_MAX: usize = 900;

/// Returns how a reply was cut off, if it was.
pub(in super::super) fn truncated(
    observation: &Observation,
    delivery: &Delivery,
) -> Option<String> {
    if let Some(evidence) = &delivery.cut_off {
        return Some(evidence.clone());
    }
    let reply = delivery.reply.as_ref()?;
    if reply.is_cut {
        return Some("the stream ended without its closing event".to_owned());
    }
    let stop = plain(&reply.stop);
    let is_cut = matches!(
        stop.as_str(),
        "length"
            | "maxtokens"
            | "maxoutputtokens"
            | "modellength"
            | "maxlength"
            | "incomplete"
            | "tokenlimit"
            | "maxnewtokens"
    );
    // A caller that asks for a handful of tokens wants a label, and gets it.
    let limit = ["max_tokens", "max_completion_tokens", "max_output_tokens"]
        .iter()
        .find_map(|name| observation.request(name)?.as_u64());
    let is_wanted = limit.is_some_and(|limit| limit <= 8) && !reply.text.trim().is_empty();
    (is_cut && !is_wanted).then(|| format!("stop reason \"{}\"", reply.stop))
}

fn plain(stop: &str) -> String {
    head(stop, 80)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// Returns how a reply refuses, if it does.
pub(in super::super) fn refused(observation: &Observation, delivery: &Delivery) -> Option<String> {
    let reply = delivery.reply.as_ref()?;
    if let Some(refusal) = &reply.refusal {
        return Some(format!("refusal \"{}\"", clip(refusal, 120)));
    }
    let stop = plain(&reply.stop);
    let is_marked = matches!(
        stop.as_str(),
        "contentfilter"
            | "safety"
            | "recitation"
            | "blocklist"
            | "prohibitedcontent"
            | "spii"
            | "refusal"
            | "guardrailintervened"
            | "contentfiltered"
            | "errortoxic"
            | "sensitive"
            | "imagesafety"
            | "language"
            | "blocked"
            | "moderation"
    );
    if is_marked {
        return Some(format!("stop reason \"{}\"", reply.stop));
    }
    let text = reply.text.trim();
    if !reply.calls.is_empty()
        || text.len() > REFUSAL_BYTES_MAX
        || task_is_about(observation, &ABOUT_REFUSING)
    {
        return None;
    }
    if let Some(found) = REFUSES.find(text) {
        return Some(format!("text: \"{}\"", clip(&text[found], 120)));
    }
    let start = head(text, 240);
    let refuses = REFUSES_ABROAD.find(start).next().is_some();
    refuses.then(|| format!("text: \"{}\"", clip(start, 120)))
}

/// Refusals in other languages: an apology, and "I cannot" in the first person.
static REFUSES_ABROAD: LazyLock<Phrases> = LazyLock::new(|| {
    Phrases::new(&[
        r"^(lo lamento|lo siento|perdona|disculpa)[^\n]{0,40}no (puedo|podré) |^(não|nao) posso (ajudar|fornecer|responder|atender|cumprir|fazer isso)|^non posso (aiutar|fornire|rispondere|soddisfare)|^no puedo (ayudar|proporcionar|cumplir|responder|generar)|^[^\n.]{0,40}je ne (suis pas (en mesure (de|d')|autorisée?)|peux pas (vous |t')?(aider|répondre|fournir))|^[^\n.]{0,40}kann ich[^\n.]{0,30} nicht (helfen|behilflich|weiterhelfen|nachkommen)|^ich (darf|kann|werde) [^.\n]{0,60} nicht (erstellen|schreiben|verfassen|beantworten|ausgeben|bereitstellen|liefern|helfen)|^[^\n]{0,90}(처리|제공|도와|응답|답변|지원)[^\n]{0,20}(할 수 없|드릴 수 없)|(お応え|対応|お手伝い|お答え)(は)?(でき(ません|かねます)|いたしかねます)",
        r"^(przykro mi|niestety|przepraszam|bardzo mi przykro)[^\n]{0,60}(nie mogę|nie jestem w stanie)|^(bohužel|omlouvám se|je mi líto)[^\n]{0,60}(nemohu|nemůžu)|^(sajnálom|sajnos)[^\n]{0,60}(nem tudok|nem segíthetek)|^(îmi pare rău|din păcate)[^\n]{0,60}nu (te |vă )?pot",
        r"^(het spijt me|helaas|sorry)[^\n]{0,40}kan ik[^\n]{0,40} niet |^(tyvärr|jag är ledsen|förlåt|beklager|desværre|dessverre|undskyld)[^\n]{0,50}((kan|får) (jag|jeg) (inte|ikke)|(jag|jeg) (kan|får) (inte|ikke))|^(valitettavasti|pahoittelen|olen pahoillani)[^\n]{0,50}en voi",
        r"^(üzgünüm|maalesef|özür dilerim)[^\n]{0,100}(olamam|olamıyorum|yapamam|edemem|veremem|getiremem)|^(на жаль|вибачте|перепрошую)[^\n]{0,80}не можу|^(λυπάμαι|συγγνώμη)[^\n]{0,80}δεν μπορώ",
        r"^(عذر|آسف|أعتذر|نأسف)[^\n]{0,100}(لا أستطيع|لا يمكنني|لا أقدر)|^(מצטער|סליחה|אני מצטער)[^\n]{0,100}(לא יכול|איני יכול)|^(क्षमा|माफ)[^\n]{0,240}(नहीं कर सकत|सकता|सकती)|^(xin lỗi|rất tiếc)[^\n]{0,60}(tôi )?không thể|^(maaf|mohon maaf)[^\n]{0,60}(tidak (dapat|bisa)|tak (dapat|bisa))|^ขออภัย[^\n]{0,160}ไม่สามารถ",
    ])
});

/// Refusals in English, and the plainest in other languages; 60 letters of those that
/// take three bytes each.
static REFUSES: LazyLock<Places> = LazyLock::new(|| {
    Places::new(&[
        concat!(
            r"^\W*((i('m| am) (very |so |really )?sorry|my apologies|i apologi[sz]e|unfortunately|sorry|as an ai( language model| assistant| model)?|thanks?[^.]{0,40}|i understand[^.]{0,80})([\s,.;:-]|—)+(but )?)?(i('m| am) )?",
            r"(i )?((can't|cannot|can not|won't|will not|am (not able|unable) to|'m (not able|unable) to|not able to|unable to|must decline( to)?|have to decline( to)?|decline to|am not (going|comfortable|permitted|allowed) (to|with)|don't feel comfortable|not comfortable)",
            r"( (to|with|in))?\s+(help|assist|comply|fulfil|fulfill|provid|do (that|this)|creat|generat|writ|continu|answer|discuss|process this|complete (this|that|your)|support|engag|shar|offer|produc|participat|respond to|giv|carry out|perform (this|that)|talk about|(recommend|advise) (you|that|any|this|on)\b|execute this|accommodate)",
            r"|must (decline|refuse)|(have|need) to (decline|refuse)|decline (this|your|that))",
        ),
        r"^\W*I\b[^.\n]{0,80}\b(violates?|against) my ([\w-]+ ){0,2}(guidelines|polic(y|ies)|principles)\b",
        r"^[^.\n]{0,80}\b(violates?|against) (my|our) ([\w-]+ ){0,2}(guidelines|polic(y|ies)|principles)\b[^.\n]{0,40}(decline|can't|cannot|unable|not able|won't|$)",
        r"^[^.\n]{0,80}\bso I (can't|cannot|won't|am unable to|must decline) ?(help|assist|writ|creat|provid|do (that|this)|produc|generat|comply|answer)?",
        r"^\W*(that's|that is|this is) (not something|something) I (can('t|not)?|am (not )?able)\b|^\W*I (must|have to|will|need to) (\w+ )?decline\b|^as an ai[^.\n]{0,40}\bI (don't|do not|can't|cannot|won't)\b|^\W*let's (talk about|discuss|move on to) (something else|another (topic|subject)|a different)",
        r"^\W*(i('m| am) sorry|sorry),? (but )?(i )?(can't|cannot) (do|help|assist)",
        r"^\W*((je suis )?désolée?|lo siento|es tut mir leid|tut mir leid|desculpe|sinto muito|mi dispiace)[^\n]{0,60}(ne (peux|puis)|no puedo|kann (ich|nicht)|kann dabei|não posso|non posso|dabei nicht helfen)",
        r"^\W*(к сожалению|извините|простите|申し訳(ありません|ございません)|すみません|抱歉|对不起|很抱歉|죄송)[^\n]{0,180}(не могу|できません|できかねます|无法|不能|할 수 없|드릴 수 없|없습니다)",
        r"^\W*(je ne (peux|puis) pas (vous |t')?(aider|faire|fournir|répondre)|no puedo (ayudar|proporcionar|cumplir)|ich kann (dabei|ihnen|dir|diese)[^.\n]{0,30} nicht (helfen|unterstützen|bereitstellen|erfüllen)|我(无法|不能)(协助|帮助|提供|满足)|お手伝いできません)",
    ])
});

static ABOUT_REFUSING: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)refus|apolog|\bsorry\b|\bdeclin|\breject|i can'?t|translat|paraphras|role-?play|proofread|dialog|\bquote\b|repeat (after|exactly|verbatim)|verbatim",
    )
});

/// Returns why the delivery counts as empty, if it does.
pub(in super::super) fn empty(observation: &Observation, delivery: &Delivery) -> Option<String> {
    if let Some(reply) = &delivery.reply {
        let stop = plain(&reply.stop);
        if reply.calls.is_empty() && is_blank_text(&reply.text) && stop != "pauseturn" {
            return Some(format!(
                "no text and no tool call, stop reason \"{}\"",
                reply.stop
            ));
        }
        if matches!(
            stop.as_str(),
            "malformedfunctioncall"
                | "unexpectedtoolcall"
                | "malformedtoolcall"
                | "malformedmodeloutput"
                | "malformedtooluse"
                | "malformedresponse"
        ) {
            return Some(format!("stop reason \"{}\"", reply.stop));
        }
        return None;
    }
    let is_expected = observation.known("expect").and_then(Value::as_str) == Some("nonempty")
        || delivery.must_not_be_empty;
    // `{}` may be all a service has to say; from a model it is no answer.
    let says_nothing = observation.kind == Kind::Llm
        && is_blank_text(&delivery.text)
        && delivery.json.as_ref().is_some_and(is_blank);
    (is_expected && (delivery.is_empty() || says_nothing))
        .then(|| format!("{}, nothing in it", delivery.evidence))
}

/// Returns how a reply repeats itself without end, if it does.
pub(in super::super) fn degenerate(delivery: &Delivery) -> Option<String> {
    let reply = delivery.reply.as_ref()?;
    let words: Vec<&str> = head(&reply.text, 20_000).split_whitespace().collect();
    if words.len() < 120 || !reply.calls.is_empty() {
        return None;
    }
    let distinct: HashSet<&&str> = words.iter().collect();
    (distinct.len() * 20 < words.len()).then(|| {
        format!(
            "{} words, {} different ones: \"{}\"",
            words.len(),
            distinct.len(),
            clip(&reply.text, 60)
        )
    })
}
