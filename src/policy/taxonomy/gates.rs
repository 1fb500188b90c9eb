//! Whether something that arrived is fit for use.
//!
//! Each gate answers with evidence when the delivery fails it. Gates look at
//! structure first (stop reasons, tool names, schemas) and at words only for
//! refusals and requests for approval in a model's own reply, where no provider marks them.

use std::sync::LazyLock;

use jsonschema::PatternOptions;
use regex::Regex;
use serde_json::{Map, Value};

use super::codes;
use super::llm::Call;
use super::meaning::Meaning;
use super::observation::{Kind, Observation, is_blank, string_of};
use super::outcome::{Delivery, is_blank_text};
use super::text::{clip, head, regex};

/// Longest text in which a refusal is looked for; a longer one has something to say.
const REFUSAL_BYTES_MAX: usize = 900;

/// Returns what is asked of a human, if the delivery is such a request.
pub(super) fn asks_human(observation: &Observation, delivery: &Delivery) -> Option<String> {
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
        r"|\b(before I|so (that )?I can|in order to|to) (proceed|continue|go on|go ahead|move forward|complete this|do (this|that))[^.\n]{0,60}(please (approve|confirm|provide|tell|share|specify|let me know)|I('ll)? (will )?need (you|your|to know|the following))",
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

fn task_is_about(observation: &Observation, topic: &Regex) -> bool {
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

/// Returns the tool a reply calls though it was not offered.
pub(super) fn unknown_tool(observation: &Observation, delivery: &Delivery) -> Option<String> {
    let reply = delivery.reply.as_ref()?;
    let offered = offered_tools(observation)?;
    let stray = reply
        .calls
        .iter()
        .find(|call| !offered.contains_key(&call.name))?;
    Some(format!(
        "tool call \"{}\" is not among the {} offered",
        clip(&stray.name, 80),
        offered.len()
    ))
}

/// Returns what is wrong with the arguments of a tool call, if anything.
pub(super) fn bad_arguments(observation: &Observation, delivery: &Delivery) -> Option<String> {
    let reply = delivery.reply.as_ref()?;
    let offered = offered_tools(observation).unwrap_or_default();
    reply.calls.iter().find_map(|call| {
        let wrong = arguments_problem(call, offered.get(&call.name).and_then(Option::as_ref))?;
        Some(format!("tool call \"{}\": {wrong}", clip(&call.name, 80)))
    })
}

fn arguments_problem(call: &Call, schema: Option<&Value>) -> Option<String> {
    let arguments = match &call.arguments {
        Value::String(text) if text.trim().is_empty() => Value::Object(Map::new()),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(value) => value,
            Err(error) => return Some(format!("arguments are not JSON: {error}")),
        },
        Value::Null => Value::Object(Map::new()),
        other => other.clone(),
    };
    if !arguments.is_object() {
        return Some("arguments are not a JSON object".to_owned());
    }
    violation(schema?, &arguments)
}

/// Returns the offered tools: name and, where known, the schema of the arguments.
fn offered_tools(
    observation: &Observation,
) -> Option<std::collections::BTreeMap<String, Option<Value>>> {
    let tools = observation
        .known("tools_offered")
        .or_else(|| observation.request("tools"))
        .or_else(|| observation.request("body")?.get("tools"))?;
    let mut offered = std::collections::BTreeMap::new();
    match tools {
        Value::Array(tools) => tools
            .iter()
            .take(2_000)
            .for_each(|tool| offer(tool, &mut offered)),
        Value::Object(tools) => offered.extend(
            tools
                .iter()
                .map(|(name, tool)| (name.clone(), schema_of(tool))),
        ),
        _ => return None,
    }
    Some(offered)
}

fn offer(tool: &Value, offered: &mut std::collections::BTreeMap<String, Option<Value>>) {
    if let Some(name) = tool.as_str() {
        offered.insert(name.to_owned(), None);
        return;
    }
    let nested = ["functionDeclarations", "function_declarations"]
        .iter()
        .find_map(|name| tool.get(*name)?.as_array());
    if let Some(declarations) = nested {
        declarations.iter().for_each(|tool| offer(tool, offered));
        return;
    }
    let definition = tool
        .get("function")
        .or_else(|| tool.get("toolSpec"))
        .unwrap_or(tool);
    if let Some(name) = definition.get("name").and_then(Value::as_str) {
        offered.insert(name.to_owned(), schema_of(definition));
    }
}

fn schema_of(definition: &Value) -> Option<Value> {
    let schema = ["input_schema", "parameters", "inputSchema", "schema"]
        .iter()
        .find_map(|name| definition.get(*name))?;
    let schema = schema.get("json").unwrap_or(schema);
    schema.is_object().then(|| schema.clone())
}

/// Returns how a reply was cut off, if it was.
pub(super) fn truncated(observation: &Observation, delivery: &Delivery) -> Option<String> {
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
pub(super) fn refused(observation: &Observation, delivery: &Delivery) -> Option<String> {
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
    REFUSES
        .find(text)
        .map(|found| format!("text: \"{}\"", clip(found.as_str(), 120)))
}

static REFUSES: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"(?i)^\W*((i('m| am) (very |so |really )?sorry|my apologies|i apologi[sz]e|unfortunately|sorry|as an ai( language model| assistant| model)?|thanks?[^.]{0,40}|i understand[^.]{0,80})[\s,.;:—-]+(but )?)?(i('m| am) )?",
        r"(i )?((can't|cannot|can not|won't|will not|am (not able|unable) to|'m (not able|unable) to|not able to|unable to|must decline( to)?|have to decline( to)?|decline to|am not (going|comfortable|permitted|allowed) (to|with)|don't feel comfortable|not comfortable)",
        r"( (to|with|in))?\s+(help|assist|comply|fulfil|fulfill|provid|do (that|this)|creat|generat|writ|continu|answer|discuss|process this|complete (this|that|your)|support|engag|shar|offer|produc|participat|respond to|giv|carry out|perform (this|that)|talk about|recommend|advise|execute this|accommodate)",
        r"|must decline|(have|need) to decline|decline (this|your|that))",
        r"|^\W*(i('m| am) sorry|sorry),? (but )?(i )?(can't|cannot) (do|help|assist)",
        r"|^\W*((je suis )?désolée?|lo siento|es tut mir leid|tut mir leid|desculpe|sinto muito|mi dispiace|к сожалению|извините|простите|申し訳(ありません|ございません)|すみません|抱歉|对不起|很抱歉|죄송)[^\n]{0,60}(ne (peux|puis)|no puedo|kann (ich|nicht)|kann dabei|não posso|non posso|не могу|できません|できかねます|无法|不能|할 수 없|드릴 수 없|없습니다|dabei nicht helfen)",
        r"|^\W*(je ne (peux|puis) pas (vous |t')?(aider|faire|fournir|répondre)|no puedo (ayudar|proporcionar|cumplir)|ich kann (dabei|ihnen|dir|diese)[^.\n]{0,30} nicht (helfen|unterstützen|bereitstellen|erfüllen)|我(无法|不能)(协助|帮助|提供|满足)|お手伝いできません)",
    ))
});
static ABOUT_REFUSING: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)refus|apolog|\bsorry\b|\bdeclin|\breject|i can'?t|translat|paraphras|role-?play|proofread|dialog|\bquote\b|repeat (after|exactly|verbatim)|verbatim",
    )
});

/// Returns why the delivery counts as empty, if it does.
pub(super) fn empty(observation: &Observation, delivery: &Delivery) -> Option<String> {
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
    (is_expected && delivery.is_empty()).then(|| format!("{}, nothing in it", delivery.evidence))
}

/// Returns how a reply repeats itself without end, if it does.
pub(super) fn degenerate(delivery: &Delivery) -> Option<String> {
    let reply = delivery.reply.as_ref()?;
    let words: Vec<&str> = head(&reply.text, 20_000).split_whitespace().collect();
    if words.len() < 120 || !reply.calls.is_empty() {
        return None;
    }
    let distinct: std::collections::HashSet<&&str> = words.iter().collect();
    (distinct.len() * 20 < words.len()).then(|| {
        format!(
            "{} words, {} different ones: \"{}\"",
            words.len(),
            distinct.len(),
            clip(&reply.text, 60)
        )
    })
}

/// Returns why the payload is not the JSON it should be, or breaks its schema.
pub(super) fn not_json(observation: &Observation, delivery: &Delivery) -> Option<String> {
    let wants = wants_json(observation) || schema(observation).is_some() || delivery.promises_json;
    if !wants || has_calls(delivery) {
        return None;
    }
    match payload(delivery) {
        Ok(_) => None,
        Err(problem) => Some(problem),
    }
}

/// Returns how the payload breaks the schema it should satisfy.
pub(super) fn breaks_schema(observation: &Observation, delivery: &Delivery) -> Option<String> {
    let schema = schema(observation)?;
    if has_calls(delivery) {
        return None;
    }
    violation(&schema, &payload(delivery).ok()?)
}

fn has_calls(delivery: &Delivery) -> bool {
    delivery
        .reply
        .as_ref()
        .is_some_and(|reply| !reply.calls.is_empty())
}

/// Returns the payload as JSON, or why it is none.
fn payload(delivery: &Delivery) -> Result<Value, String> {
    let text = match (&delivery.reply, &delivery.json) {
        (Some(reply), _) => reply.text.as_str(),
        (None, Some(json)) => return Ok(json.clone()),
        (None, None) => delivery.text.as_str(),
    };
    serde_json::from_str(text.trim_start_matches('\u{feff}').trim()).map_err(|error| {
        format!(
            "payload is not JSON ({error}): \"{}\"",
            clip(text.trim(), 80)
        )
    })
}

fn wants_json(observation: &Observation) -> bool {
    let expects = observation
        .known("expect")
        .and_then(Value::as_str)
        .is_some_and(|expect| expect.eq_ignore_ascii_case("json"));
    let format = response_format(observation);
    let kind = format
        .and_then(|format| string_of(format.get("type")).or_else(|| string_of(Some(format))))
        .unwrap_or_default();
    expects || kind.contains("json")
}

fn response_format(observation: &Observation) -> Option<&Value> {
    observation
        .known("response_format")
        .or_else(|| observation.request("response_format"))
        .or_else(|| observation.request("text")?.get("format"))
}

/// Returns the schema the payload should satisfy.
fn schema(observation: &Observation) -> Option<Value> {
    let own = ["schema", "output_schema", "outputSchema"]
        .iter()
        .find_map(|name| observation.known(name));
    let schema = own.cloned().or_else(|| {
        let format = response_format(observation)?;
        let wrapped = format.get("json_schema").unwrap_or(format);
        wrapped.get("schema").cloned()
    })?;
    (schema.is_object() && !is_blank(&schema)).then_some(schema)
}

/// Returns the first violation of `schema`; a schema that cannot be compiled is no gate.
///
/// Patterns run on the linear engine; references to other documents are not followed.
fn violation(schema: &Value, value: &Value) -> Option<String> {
    let validator = jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .ok()?;
    let error = validator.iter_errors(value).next()?;
    let place = error.instance_path().to_string();
    let place = if place.is_empty() {
        "/".to_owned()
    } else {
        place
    };
    Some(format!(
        "schema: at {place}: {}",
        clip(&error.to_string(), 160)
    ))
}

#[cfg(test)]
mod tests {
    use super::super::llm::Reply;
    use super::*;
    use serde_json::json;

    fn observed(context: Value) -> Observation {
        Observation::from_value(
            json!({"kind": "llm", "tool": "model", "context": context, "result": {}}),
        )
    }

    fn said(text: &str) -> Delivery {
        Delivery {
            reply: Some(Reply {
                text: text.to_owned(),
                stop: "stop".to_owned(),
                ..Reply::default()
            }),
            ..Delivery::default()
        }
    }

    #[test]
    fn refusal_table() {
        #[rustfmt::skip]
        let rows = [
            ("plain", "I'm sorry, but I can't help with that.", json!({}), true),
            ("as an AI", "As an AI language model, I cannot provide medical advice.", json!({}), true),
            ("German", "Es tut mir leid, dabei kann ich nicht helfen.", json!({}), true),
            ("Chinese", "抱歉，我无法协助完成这个请求。", json!({}), true),
            ("a finding is no refusal", "I can't find any bug in this function.", json!({}), false),
            ("a diagnosis is no refusal", "The server can't help with that request type; use POST.", json!({}), false),
            ("a translation may contain one", "Je suis désolé, je ne peux pas vous aider.", json!({"task": "Translate to French: sorry, I can't help"}), false),
        ];
        for (name, text, context, want) in rows {
            assert_eq!(
                refused(&observed(context), &said(text)).is_some(),
                want,
                "row: {name}"
            );
        }
    }

    #[test]
    fn asking_table() {
        #[rustfmt::skip]
        let rows = [
            ("approval", "I need your approval before I drop the table.", true),
            ("a fact", "Could you tell me your customer number so that I can continue?", true),
            ("a stop", "I can't proceed without the signed contract.", true),
            ("a question", "This will delete 4,000 rows. Shall I proceed?", true),
            ("French", "J'ai besoin de votre approbation avant de continuer.", true),
            ("an offer is no question of approval", "Done. Would you like me to also add tests?", false),
            ("a report", "The approval was given yesterday and the change is live.", false),
        ];
        for (name, text, want) in rows {
            assert_eq!(
                asks_human(&observed(json!({})), &said(text)).is_some(),
                want,
                "row: {name}"
            );
        }
    }

    #[test]
    fn arguments_are_held_against_the_offer() {
        let offered = json!({"tools_offered": [{"name": "f", "input_schema": {"type": "object", "required": ["a"]}}]});
        let calling = |name: &str, arguments: Value| Delivery {
            reply: Some(Reply {
                calls: vec![Call {
                    name: name.to_owned(),
                    arguments,
                }],
                ..Reply::default()
            }),
            ..Delivery::default()
        };
        let observation = observed(offered);
        assert!(unknown_tool(&observation, &calling("g", json!({}))).is_some());
        assert!(unknown_tool(&observation, &calling("f", json!({}))).is_none());
        assert!(bad_arguments(&observation, &calling("f", json!({}))).is_some());
        assert!(bad_arguments(&observation, &calling("f", json!("{\"a\":"))).is_some());
        assert!(bad_arguments(&observation, &calling("f", json!("{\"a\": 1}"))).is_none());
    }

    #[test]
    fn a_schema_that_cannot_be_compiled_is_no_gate() {
        let observation = observed(json!({"schema": {"type": 7}}));
        assert_eq!(breaks_schema(&observation, &said("{}")), None);
    }

    #[test]
    fn endless_repetition_is_found() {
        assert!(degenerate(&said(&"the ".repeat(500))).is_some());
        assert!(degenerate(&said("a short answer")).is_none());
    }
}
