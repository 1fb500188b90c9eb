//! What the driver is told of a call: tool results, the conversation, how a try went.

use std::collections::HashMap;

use hyper::StatusCode;
use hyper::header::HeaderMap;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::body::Answer;
use super::super::history::History;
use super::super::memory::{Around, Memory};
use super::super::server::whole;
use super::super::wire::reply::{self, Reader};
use super::super::wire::request::{Expects, ToolKind};
use super::super::wire::said::{self, Said};
use super::super::wire::{Api, Asked, Framing, Reply, Stop, sse};
use super::{Asking, Came, KEPT_BYTES_MAX, Open, Tries, told_off, why_stopped};
use crate::channel::method::{self, Call, Exchange, Report, Verbatim, Verdict};

/// Longest text of a foreign error that goes into the journal, in characters.
const ERROR_CHARS_MAX: usize = 500;

impl Asking<'_> {
    /// Answers from the record of an earlier attempt, where it has an answer.
    pub(super) async fn recorded(&self) -> Option<Answer> {
        let unheard = self.shared.memory().unheard(&self.identity);
        if let Some((content_type, body)) = unheard {
            return Some(from_kept(&content_type, body));
        }
        let recorded = self.shared.memory().replay(&self.identity)?;
        // A record that was lost is asked for again, at its price.
        let body = (self.shared.settings.reply)(recorded.event)?;
        let cost_nano_usd = recorded.cost_nano_usd;
        let replayed = Call::Replayed(Box::new(method::Replayed {
            cost_nano_usd,
            caller: self.caller(),
        }));
        if let Err(error) = self.shared.hub.ask(replayed).await {
            return Some(told_off(self.api(), &error));
        }
        let reply = read_back(self.api(), self.framing, &body);
        let mut memory = self.shared.memory();
        let model = reply.model.clone().unwrap_or_else(|| self.model.clone());
        learn(&mut memory, &reply, &self.history, &model, self.around);
        Some(from_kept(&recorded.content_type, body))
    }

    /// Tells of the tool results that are new.
    pub(super) async fn report(&self) -> Result<(), Answer> {
        for report in self.reports() {
            match self.shared.hub.ask(Call::Report(report)).await {
                Ok(method::Answer::Report(told)) => match told.verdict {
                    Verdict::Stop {
                        reason, exit_code, ..
                    } => return Err(self.refused(why_stopped(exit_code), &reason)),
                    // A steer comes with the reservation.
                    Verdict::Go | Verdict::Steer { .. } => {}
                },
                Ok(_) => {}
                Err(error) => return Err(told_off(self.api(), &error)),
            }
        }
        Ok(())
    }

    /// The tool results that the conversation did not have.
    fn reports(&self) -> Vec<Report> {
        let Some(first) = self.placed.new.iter().min() else {
            return Vec::new();
        };
        let in_full = |index: &usize| Some((*index, History::in_full(&self.asked, *index)?));
        let new: HashMap<usize, Said> = self.placed.new.iter().filter_map(in_full).collect();
        let history = self.history.said().enumerate();
        let from = said::calls_from(history.clone(), *first);
        let tail = history.skip(from);
        let tail = tail.map(|(index, said)| new.get(&index).unwrap_or(said));
        said::exchanges(tail)
            .iter()
            .filter(|exchange| new.contains_key(&(from + exchange.answered_in)))
            .filter_map(|exchange| report(exchange, self.placed.ticket))
            .collect()
    }

    /// What is new in the conversation, with the answer behind it.
    pub(super) fn said(&self, reply: &Reply) -> method::Said {
        let new = self.asked.messages.iter().skip(self.placed.from);
        let mut said: Vec<Verbatim> = new.map(|raw| stored(raw)).collect();
        said.extend(reply.messages.iter().map(Verbatim::from_value));
        method::Said::New(said)
    }

    pub(super) fn kept(&self, came: &Came) -> Option<method::WireReply> {
        (came.kept.len() <= KEPT_BYTES_MAX).then(|| method::WireReply {
            request: self.identity.clone(),
            content_type: content_type(&came.headers),
            body: came.kept.clone(),
        })
    }

    /// The try, as it is judged.
    pub(super) fn exchange(
        &self,
        open: &Open,
        came: &Came,
        reply: &Reply,
        tries: &Tries,
    ) -> Exchange {
        let broke = came.broke.clone();
        let headers: serde_json::Map<String, Value> = came
            .headers
            .iter()
            .filter_map(|(name, value)| {
                Some((name.as_str().to_owned(), value.to_str().ok()?.into()))
            })
            .collect();
        let result = match (&broke, &came.reply) {
            (Some(broke), _) => json!({"status": 0, "error": broke}),
            (None, Some(reply)) => {
                let body = reply
                    .error
                    .as_ref()
                    .map_or_else(|| as_chat(reply), as_error);
                let fault = reply.error.as_ref().and_then(|fault| fault.status);
                json!({"status": fault.unwrap_or(came.status), "headers": headers, "body": body})
            }
            (None, None) => {
                let body = serde_json::from_slice::<Value>(&came.rest)
                    .unwrap_or_else(|_| String::from_utf8_lossy(&came.rest).into());
                json!({"status": came.status, "headers": headers, "body": body})
            }
        };
        let fault = reply.error.as_ref();
        Exchange {
            link: open.link,
            model: open.model.clone(),
            attempt: tries.of_link.get(&open.link).copied().unwrap_or(1),
            waited_ms: tries.waited_ms,
            hold_ms: self.hold_ms(),
            status: fault.and_then(|fault| fault.status).unwrap_or(came.status),
            result,
            tools: tools(&self.asked, reply),
            format: match self.asked.expects {
                Expects::Text => Value::Null,
                Expects::Json => json!({"type": "json_object"}),
                Expects::Schema(schema) => {
                    json!({"type": "json_schema", "json_schema": {"schema": schema}})
                }
            },
            broke: match (broke, fault) {
                (None, Some(fault)) => Some(clipped(&format!("{}: {}", fault.kind, fault.message))),
                (broke, _) => broke.map(|broke| clipped(&broke)),
            },
            end: came.end,
            out: tries.out(),
            host: self.host_of(open.link),
        }
    }
}

/// A reply in the one shape that the taxonomy is given.
fn as_chat(reply: &Reply) -> Value {
    let calls: Vec<Value> = reply
        .calls
        .iter()
        .map(|call| {
            let arguments = match call.is_free_text {
                true => json!({}),
                false => call.arguments.as_str().into(),
            };
            json!({"function": {"name": call.name, "arguments": arguments}})
        })
        .collect();
    let stop = match &reply.stop {
        Some(Stop::End) => "stop",
        Some(Stop::ToolUse) => "tool_calls",
        Some(Stop::Length) => "length",
        Some(Stop::Refusal(_)) => "content_filter",
        Some(Stop::Paused) => "pause_turn",
        Some(Stop::Other(word)) => word,
        None => "",
    };
    let mut message = json!({"role": "assistant", "content": reply.text, "tool_calls": calls});
    if !reply.refusal.is_empty() {
        message["refusal"] = reply.refusal.as_str().into();
    }
    if reply.others > 0 {
        // Pictures and the upstream's own tools are answers, too.
        message["images"] = json!([reply.others]);
    }
    json!({"object": "chat.completion", "choices": [{"message": message, "finish_reason": stop}]})
}

fn as_error(fault: &reply::Fault) -> Value {
    json!({"error": {"type": fault.kind, "message": fault.message, "code": fault.code}})
}

/// The tools that were offered: all names, and the schemas of those that are called.
/// A text that may be a call is looked at with their names.
fn tools(asked: &Asked<'_>, reply: &Reply) -> Value {
    let may_be_call = reply.text.trim_start().starts_with(['<', '[', '{']);
    if asked.tools.is_empty() || reply.calls.is_empty() && !may_be_call {
        return Value::Null;
    }
    // What the upstream runs itself has names of its own.
    if asked
        .tools
        .iter()
        .any(|tool| tool.kind == ToolKind::BuiltIn)
    {
        return Value::Null;
    }
    let is_called = |name: &str| reply.calls.iter().any(|call| call.name == name);
    let offered = asked.tools.iter().map(|tool| match tool.schema {
        Some(schema) if is_called(&tool.name) => json!({"name": tool.name, "input_schema": schema}),
        _ => json!({"name": tool.name}),
    });
    offered.collect()
}

/// A tool result as it is told of.
fn report(exchange: &said::Exchange<'_>, ticket: u64) -> Option<Report> {
    let (call, result) = (exchange.call, exchange.result?);
    let args = serde_json::from_str(&call.arguments).unwrap_or_else(|_| {
        let text = Value::from(call.arguments.as_str());
        serde_json::Map::from_iter([("input".to_owned(), text)])
    });
    Some(Report {
        tool: call.name.clone(),
        args,
        result: Some(Verbatim::from_value(&Value::from(result.text.as_str()))),
        is_error: result.is_error,
        ticket: Some(ticket),
        wire_id: call.id.clone(),
        ..Report::default()
    })
}

/// Remembers what a call took, if that is known.
pub(super) fn learn(
    memory: &mut Memory,
    reply: &Reply,
    history: &History,
    model: &str,
    around: Around,
) {
    let Some(usage) = reply.usage.as_ref().filter(|_| reply.is_usage_final) else {
        return;
    };
    let tokens = usage.tokens();
    memory.learn(history, model, around, tokens.saturating_sub(usage.output));
    if let Some(id) = &reply.id {
        memory.carry(id.clone(), tokens);
    }
}

/// Reads an answer from the record as it was read when it came.
pub(super) fn read_back(api: Api, framing: Framing, body: &[u8]) -> Reply {
    if framing != Framing::Events {
        return reply::whole(api, framing, body).unwrap_or_default();
    }
    let (mut frames, mut reader) = (sse::Reader::default(), Reader::new(api));
    frames.feed(body);
    while let Ok(Some(frame)) = frames.next_frame() {
        reader.take(&frame);
    }
    reader.finish()
}

/// Answers from the record.
pub(super) fn from_kept(content_type: &str, body: Vec<u8>) -> Answer {
    let mut headers = HeaderMap::new();
    if let Ok(value) = content_type.parse() {
        headers.insert(hyper::header::CONTENT_TYPE, value);
    }
    whole(StatusCode::OK, headers, body.into())
}

/// A message to store. Clients write the same one in other bytes when they send it
/// again, and move cache marks along.
fn stored(raw: &str) -> Verbatim {
    match serde_json::from_str(raw) {
        Ok(message) => Verbatim::from_value(&unmarked(message)),
        // Deeper than trees go.
        Err(_) => match serde_json::from_str::<&RawValue>(raw) {
            Ok(raw) => Verbatim::from(raw),
            Err(_) => Verbatim::from_value(&raw.into()),
        },
    }
}

/// Takes the cache marks out of a message.
fn unmarked(message: Value) -> Value {
    match message {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, _)| name != "cache_control")
            .map(|(name, value)| (name, unmarked(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(unmarked).collect(),
        other => other,
    }
}

pub(super) fn clipped(text: &str) -> String {
    text.chars().take(ERROR_CHARS_MAX).collect()
}

pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(hyper::header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    value.unwrap_or("application/json").to_owned()
}
