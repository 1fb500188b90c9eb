//! One model call: held back, sent, read, settled, released.
//!
//! ```text
//!  request ─► report new tool results ─► reserve ─► patch ─► upstream
//!  answer  ◄── its end, once the turn is durable ◄── turn ◄──┘
//! ```
//!
//! What a call used is never guessed low: an answer whose usage is not known
//! (cut, or of an upstream that does not say) costs all that was held back for
//! it; one that never came to be (refused connection, an error status) nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Either;
use hyper::header::{HeaderMap, HeaderName};
use hyper::{Method, Response, StatusCode};
use serde_json::Value;

use super::Shared;
use super::body::{Answer, Broken, Coming, Pieces};
use super::memory::{self, Memory};
use super::server::{from_refusal, whole};
use super::wire::bounds::BODY_BYTES_MAX;
use super::wire::reply::{self, Reader};
use super::wire::said::{self, Said};
use super::wire::sse;
use super::wire::{Api, Asked, Framing, Patch, Reply, Route, Usage, Why, patch, refuse, request};
use crate::channel::frame::Error;
use crate::channel::method::{
    self, Call, Report, Reserve, ReserveAnswer, Turn, Verbatim, Verdict, Wire,
};

/// Output that a call without a limit is given where money is limited, in tokens.
/// What is not limited cannot be held back; more than this, models in use refuse.
fn output_tokens(api: Api) -> u64 {
    match api {
        Api::Gemini => 8_192,
        Api::Messages | Api::CountTokens | Api::Chat | Api::Responses => 16_384,
    }
}

/// Longest silence of an upstream before it counts as dead.
const SILENCE: Duration = Duration::from_secs(300);

/// How long a call goes on after its client hung up, to learn what it used.
const DRAIN: Duration = Duration::from_secs(60);

/// How long an upstream has to close a stream behind its end mark.
const REST: Duration = Duration::from_secs(1);

/// How long the last words before a break have to get out.
const FLUSH: Duration = Duration::from_millis(50);

/// Largest answer that is kept for another attempt, in bytes.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Longest text of a foreign error that goes into the journal, in characters.
const ERROR_CHARS_MAX: usize = 500;

/// Headers of an answer that belong to one connection.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What the agent asked, with its body read.
pub(super) struct Request {
    pub route: Route,
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Answers a request.
pub(super) async fn answer(request: Request, shared: Arc<Shared>) -> Answer {
    match request.route.clone() {
        Route::Call {
            api,
            model,
            framing,
        } if api != Api::CountTokens => ask_model(request, shared, api, model, framing).await,
        _ => pass(&request, &shared).await,
    }
}

/// Passes a request that costs nothing.
async fn pass(asked: &Request, shared: &Shared) -> Answer {
    let sent = send(asked, shared, asked.body.clone(), &asked.path).await;
    let response = match sent {
        Ok(response) => response,
        Err(error) => return unreachable_upstream(None, &error),
    };
    let (status, headers) = (response.status(), passed_on(response.headers()));
    match bounded(response).await {
        Ok(body) => whole(status, headers, body),
        Err(why) => from_refusal(refuse::refuse(None, Why::Cut, &why)),
    }
}

/// Asks a model: the way that costs money.
async fn ask_model(
    request: Request,
    shared: Arc<Shared>,
    api: Api,
    model: Option<String>,
    framing: Option<Framing>,
) -> Answer {
    let refused = |why, message: &str| from_refusal(refuse::refuse(Some(api), why, message));
    let asked = match request::read(api, &request.body) {
        Ok(asked) => asked,
        Err(error @ request::Error::TooLarge { .. }) => {
            return refused(Why::TooLarge, &error.to_string());
        }
        Err(error) => return refused(Why::BadRequest, &error.to_string()),
    };
    let Some(model) = model.or_else(|| asked.model.clone()) else {
        return refused(Why::BadRequest, "the request names no model");
    };
    let framing = framing.unwrap_or(match asked.is_stream {
        true => Framing::Events,
        false => Framing::Whole,
    });
    let history = asked.history();
    let bytes = request.body.len() as u64;
    let mut input_tokens = shared.memory().input_bound(&history, bytes);
    if let Some(former) = &asked.previous_response_id {
        let carried = shared.memory().carried(former);
        if carried.is_none() && shared.settings.is_capped {
            let message = format!(
                "`previous_response_id` is {former}, an answer that this run has not seen: what its \
                 history costs cannot be held back; send the history itself"
            );
            return refused(Why::Unpriced, &message);
        }
        input_tokens = input_tokens.saturating_add(carried.unwrap_or(0));
    }
    let identity = memory::identity(&asked, &model, framing, &history);
    let recorded = shared.memory().replay(&identity);
    if let Some(recorded) = recorded {
        // A record that was lost is asked for again, at its price.
        if let Ok(body) = tokio::fs::read(&recorded.file).await {
            if let Err(error) = shared.hub.ask(Call::Replayed).await {
                return told_off(api, &error);
            }
            let reply = read_back(api, framing, &body);
            let mut memory = shared.memory();
            // They were told of when the answer was new.
            for (key, _) in reports(&history) {
                memory.is_first(key);
            }
            learn(&mut memory, &reply, &history, bytes);
            return replayed(&recorded.content_type, body);
        }
    }
    for (key, report) in reports(&history) {
        if !shared.memory().is_first(key) {
            continue;
        }
        match shared.hub.ask(Call::Report(report)).await {
            Ok(method::Answer::Report(told)) => match told.verdict {
                Verdict::Stop {
                    reason, exit_code, ..
                } => return refused(why_stopped(exit_code), &reason),
                // A steer comes with the reservation.
                Verdict::Go | Verdict::Steer { .. } => {}
            },
            Ok(_) => {}
            Err(error) => return told_off(api, &error),
        }
    }
    let output = asked.max_output.unwrap_or_else(|| output_tokens(api));
    let worst = Reserve {
        model: Some(model.clone()),
        input_tokens,
        max_tokens: output.saturating_mul(asked.choices.max(1)).max(1),
        cost_nano_usd: None,
        // The API refuses less than what is set aside for thinking.
        least_tokens: asked
            .thinking
            .map_or(0, |thinking| thinking.saturating_add(1)),
    };
    let (reservation, granted) = match shared.hub.ask(Call::Reserve(worst)).await {
        Ok(method::Answer::Reserve(ReserveAnswer::Go {
            reservation,
            max_tokens,
            steer,
        })) => {
            if steer.is_some() {
                shared.memory().steer = steer;
            }
            (reservation, max_tokens / asked.choices.max(1))
        }
        Ok(method::Answer::Reserve(ReserveAnswer::Stop {
            reason, exit_code, ..
        })) => return refused(why_stopped(exit_code), &reason),
        Ok(_) => return refused(Why::Unreachable, "the supervisor gave no answer"),
        Err(error) => return told_off(api, &error),
    };
    let mut open = Open {
        shared: Arc::clone(&shared),
        api,
        model,
        reservation,
        said: stored(&asked),
        identity,
        history,
        bytes,
        steer: shared.memory().steer.take(),
    };
    let steer = open.steer.clone();
    let is_capped = shared.settings.is_capped;
    let limit = match asked.max_output {
        Some(asked) => (granted < asked).then_some(granted),
        None => is_capped.then_some(granted),
    };
    let mut body = patched(&asked, &request.body, framing, limit, steer);
    if let Err(patch::PatchError::NoPlace { .. }) = body {
        // The model is to continue its own words; it is told with a later call.
        shared.memory().steer = open.steer.take();
        body = patched(&asked, &request.body, framing, limit, None);
    }
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            open.failed(format!("the call was not sent: {error}"), false)
                .await;
            return refused(Why::BadRequest, &error.to_string());
        }
    };
    let wants_usage = asked.asks_usage;
    drop(asked);
    let response = match send(&request, &shared, body, &request.path).await {
        Ok(response) => response,
        Err(error) => {
            // Refused at the door: nothing was asked. Anything later may be billed.
            open.failed(describe(&error), !error.is_connect()).await;
            return unreachable_upstream(Some(api), &error);
        }
    };
    let (status, headers) = (response.status(), passed_on(response.headers()));
    if !status.is_success() {
        return failed_status(open, response, status, headers).await;
    }
    match framing {
        Framing::Events => {
            let (pieces, coming) = Coming::new();
            let kind = content_type(&headers);
            tokio::spawn(relay(open, response, pieces, wants_usage, kind));
            let mut answer = Response::new(Either::Right(coming));
            *answer.status_mut() = status;
            *answer.headers_mut() = headers;
            answer
        }
        Framing::Whole | Framing::List => {
            let body = match bounded(response).await {
                Ok(body) => body,
                Err(why) => {
                    open.failed(why.clone(), true).await;
                    return refused(Why::Cut, &why);
                }
            };
            match reply::whole(api, framing, &body) {
                Ok(reply) => {
                    let kind = content_type(&headers);
                    if let Err(error) = open.settle(reply, kind, body.to_vec()).await {
                        return told_off(api, &error);
                    }
                }
                Err(error) => open.failed(error.to_string(), true).await,
            }
            whole(status, headers, body)
        }
    }
}

/// A call that was let out and has not been settled.
struct Open {
    shared: Arc<Shared>,
    api: Api,
    model: String,
    reservation: method::ReservationNo,
    /// The conversation as the agent sent it.
    said: Vec<Verbatim>,
    /// What identifies the request.
    identity: String,
    history: Vec<Said>,
    bytes: u64,
    /// What the model is told with it.
    steer: Option<String>,
}

impl Open {
    /// Settles a call whose answer came, whole or not.
    ///
    /// - `body`: the answer as the agent gets it, to be kept.
    async fn settle(self, reply: Reply, content_type: String, body: Vec<u8>) -> Result<(), Error> {
        if let Some(error) = &reply.error {
            let error = format!("{}: {}", error.kind, error.message);
            return self.close(Some(error), &reply, None).await;
        }
        if !reply.is_terminal {
            let why = "the answer broke off".to_owned();
            return self.close(Some(why), &reply, None).await;
        }
        let kept = method::WireReply {
            request: self.identity.clone(),
            content_type,
            body,
        };
        self.close(None, &reply, Some(kept)).await
    }

    /// Settles a call without an answer.
    ///
    /// - `is_in_doubt`: it may have been billed.
    async fn failed(mut self, error: String, is_in_doubt: bool) {
        let reservation = self.reservation;
        if let Some(steer) = self.steer.take() {
            // The model did not hear it.
            self.shared.memory().steer.get_or_insert(steer);
        }
        let turn = Turn {
            usage: Some(method::Usage {
                model: Some(self.model.clone()),
                ..method::Usage::default()
            }),
            reservation: Some(reservation),
            error: Some(clipped(&error)),
            wire: Some(Wire {
                is_in_doubt,
                reply: None,
            }),
            ..Turn::default()
        };
        // There is no answer that would have to wait for it.
        let _ = self.commit(turn).await;
    }

    async fn close(
        mut self,
        error: Option<String>,
        reply: &Reply,
        kept: Option<method::WireReply>,
    ) -> Result<(), Error> {
        let usage = reply.usage.clone().unwrap_or_default();
        let is_known = reply.is_usage_final && reply.usage.is_some();
        learn(&mut self.shared.memory(), reply, &self.history, self.bytes);
        let said = match error {
            Some(_) => method::Said::Nothing,
            None => {
                let mut said = std::mem::take(&mut self.said);
                said.extend(reply.messages.iter().map(Verbatim::from_value));
                method::Said::History(said)
            }
        };
        let turn = Turn {
            said,
            usage: Some(used(&usage, reply.model.as_deref().unwrap_or(&self.model))),
            reservation: Some(self.reservation),
            error: error.as_deref().map(clipped),
            wire: Some(Wire {
                is_in_doubt: !is_known,
                reply: kept.filter(|kept| kept.body.len() <= KEPT_BYTES_MAX),
            }),
            ..Turn::default()
        };
        self.commit(turn).await
    }

    /// Makes the turn durable.
    ///
    /// Errors: the run is ending and takes it no more; what was held back then
    /// counts as spent, and the answer must not leave.
    async fn commit(&self, turn: Turn) -> Result<(), Error> {
        if let method::Answer::Turn(told) = self.shared.hub.ask(Call::Turn(Box::new(turn))).await?
            && let Verdict::Steer { text, .. } = told.verdict
        {
            self.shared.memory().steer = Some(text);
        }
        Ok(())
    }
}

/// Passes a stream on, frame by frame; its end waits for the turn.
async fn relay(
    open: Open,
    mut response: reqwest::Response,
    pieces: Pieces,
    wants_usage: bool,
    content_type: String,
) {
    let api = open.api;
    let mut frames = sse::Reader::default();
    let mut reader = Reader::new(api);
    let mut held: Vec<u8> = Vec::new();
    let mut kept: Vec<u8> = Vec::new();
    let mut is_heard = true;
    let mut hung_up = None;
    let broke = loop {
        let patience = if is_heard { SILENCE } else { DRAIN };
        let chunk = tokio::select! {
            chunk = tokio::time::timeout(patience, response.chunk()) => chunk,
            () = pieces.closed(), if is_heard => {
                is_heard = false;
                hung_up = Some(tokio::time::Instant::now());
                continue;
            }
        };
        let chunk = match chunk {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => break None,
            Ok(Err(error)) => break Some(describe(&error)),
            Err(_) => break Some("the upstream fell silent".to_owned()),
        };
        if hung_up.is_some_and(|since| since.elapsed() > DRAIN) {
            break Some("the agent hung up".to_owned());
        }
        frames.feed(&chunk);
        let mut out = Vec::new();
        let too_long = loop {
            match frames.next_frame() {
                Ok(Some(frame)) => {
                    let seen = reader.take(&frame);
                    let is_held = !held.is_empty() || seen.is_terminal || seen.is_error;
                    match (seen.is_usage_extra && !wants_usage, is_held) {
                        (true, _) => {}
                        (false, true) => held.extend_from_slice(&frame.raw),
                        (false, false) => out.extend_from_slice(&frame.raw),
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        if kept.len() <= KEPT_BYTES_MAX {
            kept.extend_from_slice(&out);
        }
        if !out.is_empty() && is_heard {
            is_heard = pieces.send(Ok(out.into())).await.is_ok();
            if !is_heard {
                hung_up.get_or_insert_with(tokio::time::Instant::now);
            }
        }
        // Nothing comes behind the end mark; Gemini's may be followed by usage.
        if reader.is_terminal() && api != Api::Gemini {
            break None;
        }
        if too_long.is_some() {
            break too_long;
        }
    };
    if let Some(rest) = frames.finish() {
        reader.take(&rest);
        held.extend_from_slice(&rest.raw);
    }
    let reply = reader.finish();
    let is_whole = reply.is_terminal || reply.error.is_some();
    let mut why = broke.unwrap_or_else(|| "the answer ended without its end mark".to_owned());
    let taken = match is_whole {
        true => {
            kept.extend_from_slice(&held);
            open.settle(reply, content_type, kept).await
        }
        false => open.close(Some(why.clone()), &reply, None).await,
    };
    if let Err(error) = &taken {
        why = error.to_string();
    } else if !held.is_empty() {
        let _ = pieces.send(Ok(held.into())).await;
    }
    if is_whole && taken.is_ok() {
        drop(pieces);
        // Read to its end, so that the connection can be used again.
        let rest = async { while let Ok(Some(_)) = response.chunk().await {} };
        let _ = tokio::time::timeout(REST, rest).await;
        return;
    }
    let frame = refuse::error_frame(api, Why::Cut, &why, u64::MAX >> 11);
    let _ = pieces.send(Ok(frame.into())).await;
    // What is still in a buffer when we break off would be lost.
    tokio::time::sleep(FLUSH).await;
    let _ = pieces.send(Err(Broken)).await;
}

/// Settles a call that was answered with an error, and passes the answer on.
async fn failed_status(
    open: Open,
    response: reqwest::Response,
    status: StatusCode,
    headers: HeaderMap,
) -> Answer {
    let api = open.api;
    match bounded(response).await {
        Ok(body) => {
            let said = serde_json::from_slice::<Value>(&body).ok();
            let message = said
                .as_ref()
                .and_then(|said| said.pointer("/error/message")?.as_str())
                .map_or_else(String::new, |message| format!(": {message}"));
            open.failed(format!("HTTP {}{message}", status.as_u16()), false)
                .await;
            whole(status, headers, body)
        }
        Err(why) => {
            open.failed(format!("HTTP {}: {why}", status.as_u16()), false)
                .await;
            from_refusal(refuse::refuse(Some(api), Why::Cut, &why))
        }
    }
}

/// Changes what money and the steer need, and nothing else.
fn patched(
    asked: &Asked<'_>,
    body: &Bytes,
    framing: Framing,
    max_output: Option<u64>,
    steer: Option<String>,
) -> Result<Bytes, patch::PatchError> {
    let patch = Patch {
        max_output,
        include_usage: asked.api == Api::Chat && framing == Framing::Events && !asked.asks_usage,
        steer,
        ..Patch::default()
    };
    Ok(match patch::apply(asked.api, body, &patch)? {
        std::borrow::Cow::Borrowed(_) => body.clone(),
        std::borrow::Cow::Owned(body) => body.into(),
    })
}

async fn send(
    asked: &Request,
    shared: &Shared,
    body: Bytes,
    path: &str,
) -> Result<reqwest::Response, reqwest::Error> {
    let upstreams = &shared.settings.upstreams;
    shared
        .settings
        .client
        .request(
            asked.method.clone(),
            upstreams.address(&asked.route, &asked.headers, path),
        )
        .headers(upstreams.headers(&asked.route, &asked.headers, path))
        .body(body)
        .send()
        .await
}

/// Reads an answer whole, as far as the bound allows.
async fn bounded(mut response: reqwest::Response) -> Result<Bytes, String> {
    let mut body = Vec::new();
    loop {
        match tokio::time::timeout(SILENCE, response.chunk()).await {
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() <= BODY_BYTES_MAX => {
                body.extend_from_slice(&chunk);
            }
            Ok(Ok(Some(_))) => return Err(format!("the answer is above {BODY_BYTES_MAX} bytes")),
            Ok(Ok(None)) => return Ok(body.into()),
            Ok(Err(error)) => return Err(describe(&error)),
            Err(_) => return Err("the upstream fell silent".to_owned()),
        }
    }
}

/// The tool results of a history, each with what tells it from all others: its
/// place among equal ones too, since ids may be missing.
fn reports(history: &[Said]) -> Vec<(String, Report)> {
    let mut equal: HashMap<String, u32> = HashMap::new();
    let mut told = |exchange: said::Exchange<'_>| {
        let (call, result) = (exchange.call, exchange.result?);
        let same = format!(
            "{}\n{}\n{}\n{}",
            call.id, call.name, call.arguments, result.text
        );
        let nth = equal.entry(same.clone()).or_default();
        *nth += 1;
        let key = format!("{nth}\n{same}");
        let args = serde_json::from_str(&exchange.call.arguments).unwrap_or_else(|_| {
            let text = Value::from(exchange.call.arguments.as_str());
            serde_json::Map::from_iter([("input".to_owned(), text)])
        });
        let report = Report {
            tool: exchange.call.name.clone(),
            args,
            result: Some(Verbatim::from_value(&Value::from(result.text.as_str()))),
            is_error: result.is_error,
            ..Report::default()
        };
        Some((key, report))
    };
    let all = said::exchanges(history).into_iter();
    all.filter_map(&mut told).collect()
}

/// Remembers what a call took, if that is known.
fn learn(memory: &mut Memory, reply: &Reply, history: &[Said], bytes: u64) {
    let Some(usage) = reply.usage.as_ref().filter(|_| reply.is_usage_final) else {
        return;
    };
    let tokens = usage.tokens();
    memory.learn(history, bytes, tokens.saturating_sub(usage.output));
    if let Some(id) = &reply.id {
        memory.carry(id.clone(), tokens);
    }
}

/// Reads an answer from the record as it was read when it came.
fn read_back(api: Api, framing: Framing, body: &[u8]) -> Reply {
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
fn replayed(content_type: &str, body: Vec<u8>) -> Answer {
    let mut headers = HeaderMap::new();
    if let Ok(value) = content_type.parse() {
        headers.insert(hyper::header::CONTENT_TYPE, value);
    }
    whole(StatusCode::OK, headers, body.into())
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(hyper::header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    value.unwrap_or("application/json").to_owned()
}

/// The conversation to store. Clients write the same message in other bytes when
/// they send it again, and move cache marks along: stored without both, a history
/// that only grew is one.
fn stored(asked: &Asked<'_>) -> Vec<Verbatim> {
    let raw = asked.messages.iter();
    raw.map(|raw| match serde_json::from_str(raw.get()) {
        Ok(message) => Verbatim::from_value(&unmarked(message)),
        Err(_) => Verbatim::from(*raw),
    })
    .collect()
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

/// Our protocol's counts of an API's.
fn used(usage: &Usage, model: &str) -> method::Usage {
    method::Usage {
        model: Some(model.to_owned()),
        input_tokens: Some(usage.input),
        output_tokens: Some(usage.output),
        cached_input_tokens: Some(usage.cache_read),
        cache_write_tokens: Some(usage.cache_write_5m.saturating_add(usage.cache_write_1h)),
        cost_nano_usd: None,
    }
}

fn why_stopped(exit_code: u8) -> Why {
    match exit_code {
        crate::exit_code::DEADLINE => Why::Deadline,
        crate::exit_code::LOOP => Why::Loop,
        _ => Why::Cap,
    }
}

/// Says in the API's words what the driver refused.
fn told_off(api: Api, error: &Error) -> Answer {
    let why = match error {
        Error::Stopping { exit_code, .. } => why_stopped(*exit_code),
        Error::Params(_) => Why::Unpriced,
        _ => Why::Unreachable,
    };
    let message = error.to_string();
    // The agent may keep it to itself.
    tracing::warn!(why = why.code(), message, "a model call was refused");
    from_refusal(refuse::refuse(Some(api), why, &message))
}

fn unreachable_upstream(api: Option<Api>, error: &reqwest::Error) -> Answer {
    from_refusal(refuse::refuse(api, Why::Unreachable, &describe(error)))
}

/// An error with its causes, without the address.
fn describe(error: &reqwest::Error) -> String {
    let mut text = match error {
        _ if error.is_connect() => "the upstream cannot be reached".to_owned(),
        _ if error.is_timeout() => "the upstream took too long".to_owned(),
        _ => "the upstream broke off".to_owned(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        if next.source().is_none() {
            text = format!("{text}: {next}");
        }
        cause = next.source();
    }
    text
}

fn clipped(text: &str) -> String {
    text.chars().take(ERROR_CHARS_MAX).collect()
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let passes = |name: &&HeaderName| !HOP_BY_HOP.contains(&name.as_str());
    headers
        .keys()
        .filter(passes)
        .flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
