//! An answer that comes as events: passed on frame by frame, its beginning and
//! its end held.
//!
//! The beginning is held until the first words, so that a try that fails before
//! them can be made again unseen; a reply that is nothing but tool calls is held
//! whole, so that it can be looked at. The end is held until the turn is durable.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use super::call::{Came, describe};
use super::line::Line;
use super::secret::Secrets;
use super::wire::reply::Reader;
use super::wire::{Api, Frame, Reply, Seen, refuse::Hold, sse, translate};
use crate::channel::method::End;

/// What is wrong with an answer that just ends.
pub(super) const NO_END: &str = "the answer ended without its end mark";

/// How long a call goes on after its client hung up, to learn what it used.
const DRAIN: Duration = Duration::from_secs(60);

/// How long an upstream has to close a stream behind its end mark.
const REST: Duration = Duration::from_secs(1);

/// Most of an answer that is held before its first words, in bytes.
const OPENING_BYTES_MAX: usize = 1 << 20;

/// How an answer is passed on.
pub(super) struct Way {
    /// The API that the upstream speaks.
    pub from: Api,
    /// The API that the agent speaks.
    pub to: Api,
    /// Whether the agent asked for a chat's usage itself.
    pub wants_usage: bool,
    /// How the agent is held while nothing comes.
    pub hold: Hold,
    /// How often.
    pub hold_every: Duration,
    /// Longest silence of the upstream before it counts as dead.
    pub patience: Duration,
    /// Most that is kept for the record, in bytes.
    pub kept_bytes_max: usize,
    /// What nobody is to read.
    pub secrets: Secrets,
}

/// Passes an answer on as far as it comes.
pub(super) async fn relay(
    line: &mut Line,
    mut response: reqwest::Response,
    way: Way,
    mut came: Came,
) -> Came {
    let mut frames = sse::Reader::default();
    let mut reader = Reader::new(way.from);
    let mut words = Words::new(&way);
    let mut hung_up: Option<Instant> = None;
    let mut last_sent = Instant::now();
    let mut silent_since = Instant::now();
    let (mut is_over, mut is_readable) = (false, true);
    let broke = loop {
        let patience = match hung_up {
            // Behind the end there may be usage, and little else.
            _ if is_over => REST,
            None => way.patience,
            Some(_) => DRAIN,
        };
        let holds = !way.hold.keep_alive.is_empty() && hung_up.is_none();
        let chunk = tokio::select! {
            chunk = response.chunk() => chunk,
            () = tokio::time::sleep_until(silent_since + patience) => {
                break (!is_over).then(|| "the upstream fell silent".to_owned());
            }
            () = tokio::time::sleep_until(last_sent + way.hold_every), if holds => {
                line.hold(way.hold.keep_alive).await;
                last_sent = Instant::now();
                continue;
            }
            () = line.gone(), if hung_up.is_none() => {
                hung_up = Some(Instant::now());
                continue;
            }
        };
        silent_since = Instant::now();
        let chunk = match chunk {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break None,
            Err(error) => break Some(describe(&error)),
        };
        if hung_up.is_some_and(|since| since.elapsed() > DRAIN) {
            break Some("the agent hung up".to_owned());
        }
        frames.feed(&chunk);
        let mut out = Vec::new();
        let too_long = loop {
            match frames.next_frame() {
                Ok(Some(frame)) => {
                    let frame = way.secrets.hide_in_frame(frame);
                    let seen = reader.take(&frame);
                    let bytes = words.of(&frame, seen);
                    is_over |= seen.is_terminal || seen.is_error;
                    if words.is_ending || is_over {
                        words.is_ending = true;
                        came.rest.extend_from_slice(&bytes);
                    } else {
                        words.is_spoken |=
                            seen.is_content && !words.is_spoken && !is_unspoken(&frame);
                        out.extend_from_slice(&bytes);
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        if came.kept.len() <= way.kept_bytes_max {
            came.kept.extend_from_slice(&out);
        }
        words.opening.append(&mut out);
        if words.is_spoken || words.opening.len() > OPENING_BYTES_MAX {
            words.is_spoken = true;
            came.end = End::Begun;
            line.begin(status(&came), came.headers.clone());
            line.send(std::mem::take(&mut words.opening).into()).await;
            last_sent = Instant::now();
        }
        // Nothing comes behind the end mark; Gemini's may be followed by usage.
        if reader.is_terminal() && way.from != Api::Gemini {
            break None;
        }
        if too_long.is_some() {
            is_readable = false;
            break too_long;
        }
    };
    // Nothing is made of what was too long to be read.
    if is_readable && let Some(rest) = frames.finish() {
        let rest = way.secrets.hide_in_frame(rest);
        let seen = reader.take(&rest);
        came.rest.extend(words.of(&rest, seen));
    }
    let reply = words.as_client_has_it(reader.finish());
    if reply.is_terminal || reply.error.is_some() {
        came.kept.extend_from_slice(&came.rest);
        // Read to its end, so that the connection can be used again.
        tokio::spawn(tokio::time::timeout(REST, async move {
            while let Ok(Some(_)) = response.chunk().await {}
        }));
    } else {
        came.broke = broke.or_else(|| Some(NO_END.to_owned()));
        if hung_up.is_some() {
            came.end = End::HungUp;
        }
    }
    // What was held of the beginning comes before what was held of the end.
    words.opening.append(&mut came.rest);
    came.rest = words.opening;
    came.reply = Some(reply);
    came
}

/// The answer in the agent's words, and how much of it the agent has.
struct Words {
    wants_usage: bool,
    /// Where the upstream speaks another API.
    translator: Option<Translator>,
    /// Held until the first words.
    opening: Vec<u8>,
    is_spoken: bool,
    /// Everything from here on is held until the turn is durable.
    is_ending: bool,
}

struct Translator {
    stream: translate::Stream,
    frames: sse::Reader,
    reader: Reader,
}

impl Words {
    fn new(way: &Way) -> Self {
        let translator = (way.from != way.to).then(|| Translator {
            stream: translate::Stream::new(way.from, way.to),
            frames: sse::Reader::default(),
            reader: Reader::new(way.to),
        });
        Self {
            wants_usage: way.wants_usage,
            translator,
            opening: Vec::new(),
            is_spoken: false,
            is_ending: false,
        }
    }

    /// Returns a frame of the upstream as the agent gets it.
    fn of(&mut self, frame: &Frame, seen: Seen) -> Vec<u8> {
        let Some(translator) = &mut self.translator else {
            return match seen.is_usage_extra && !self.wants_usage {
                true => Vec::new(),
                false => frame.raw.clone(),
            };
        };
        translator.frames.feed(&translator.stream.take(frame));
        let mut out = Vec::new();
        while let Ok(Some(own)) = translator.frames.next_frame() {
            let seen = translator.reader.take(&own);
            if self.wants_usage || !seen.is_usage_extra {
                out.extend_from_slice(&own.raw);
            }
        }
        out
    }

    fn as_client_has_it(&mut self, read: Reply) -> Reply {
        let own = self.translator.take();
        as_client_has_it(read, own.map(|translator| translator.reader.finish()))
    }
}

/// Joins what the upstream counted with the messages as the agent will send them
/// again.
pub(super) fn as_client_has_it(read: Reply, own: Option<Reply>) -> Reply {
    match own {
        None => read,
        Some(own) => Reply {
            messages: own.messages,
            hashes: own.hashes,
            // What cannot be translated is seen in its words alone.
            error: own.error.or(read.error),
            id: own.id.or(read.id),
            ..read
        },
    }
}

/// Whether a frame is a piece of a tool call, or blank space as many models write it
/// before one: until there are words besides, such a reply can still be made again.
fn is_unspoken(frame: &Frame) -> bool {
    let data = frame.data.as_deref().unwrap_or_default();
    let event = serde_json::from_str::<Value>(data);
    event.is_ok_and(|event| calls_a_tool(&event) || is_blank(&event))
}

/// Whether all that an event says is blank space.
fn is_blank(event: &Value) -> bool {
    let said = [
        "/delta/text",
        "/choices/0/delta/content",
        "/candidates/0/content/parts/0/text",
    ];
    let is_text = event.get("type").and_then(Value::as_str) == Some("response.output_text.delta");
    let said = said.into_iter().chain(is_text.then_some("/delta"));
    let mut words = said.filter_map(|at| event.pointer(at)?.as_str());
    let is_more = |at: &str| event.pointer(at).is_some_and(|it| !it.is_null());
    // Reasoning beside it is shown, and a second part is not looked at.
    let has_more = [
        "/choices/0/delta/reasoning_content",
        "/choices/0/delta/reasoning",
    ]
    .into_iter()
    .chain(["/choices/1", "/candidates/0/content/parts/1"])
    .any(is_more);
    !has_more && words.next().is_some_and(|word| word.trim().is_empty())
}

fn calls_a_tool(event: &Value) -> bool {
    let says = |at: &str, word: &str| event.pointer(at).and_then(Value::as_str) == Some(word);
    let holds = |at: &str| match event.pointer(at) {
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        _ => false,
    };
    let begins = |word: &str| {
        let kind = event.get("type").and_then(Value::as_str);
        kind.is_some_and(|kind| kind.starts_with(word))
    };
    says("/content_block/type", "tool_use")
        || says("/delta/type", "input_json_delta")
        || holds("/choices/0/delta/tool_calls")
        || holds("/choices/0/delta/function_call")
        || begins("response.function_call_arguments")
        || begins("response.custom_tool_call_input")
        || says("/item/type", "function_call")
        || says("/item/type", "custom_tool_call")
        || holds("/candidates/0/content/parts/0/functionCall")
}

fn status(came: &Came) -> StatusCode {
    StatusCode::from_u16(came.status).unwrap_or(StatusCode::OK)
}
