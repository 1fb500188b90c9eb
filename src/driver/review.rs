//! A check of the work that asks a model.
//!
//! The question goes to a gateway of its own, which it has for itself, and from there
//! to the run's chain: prices, the hard limit, retries, breakers, fallbacks and
//! scripted models are those of the agent's calls. What the gateway asks comes here:
//!
//! ```text
//!  question ─► gateway ─┬─ reserve ─► CheckReserved ─► who is asked, or why nobody
//!                       └─ turn ────► CheckAnswered ─► take it, again, give up
//!  verdict  ◄── answer ◄┘
//! ```
//!
//! What it is shown and how its answer is read: `verify::review`.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::channel::gateway::Gateway;
use crate::channel::gateway::wire::{Api, Framing, reply};
use crate::channel::method::{self, Call};
use crate::channel::{self, Answers, Arrival, Inbox, Incoming, frame};
use crate::drill::{Side, fault};
use crate::driver::conclude::{self, Cut};
use crate::driver::recover;
use crate::driver::session::{Error, Released, Session};
use crate::driver::supervise::Ports;
use crate::driver::{gateway, judge, models, staging, translate};
use crate::machine::event::{CheckAnswer, CheckEnd};
use crate::machine::{Effect, Event};
use crate::task::resolved::{Check, Place, Provider, Review, Upstream, WireApi};
use crate::tools::client_builder;
use crate::verify::review::{SHOWN_BYTES_MAX, SYSTEM, Shown, read};
use crate::verify::{Said, ended, too_slow};

/// Output that a verdict may take, in tokens; models that think need some for that.
const OUTPUT_TOKENS: u64 = 4_096;

/// Longest answer of the gateway that is read, in bytes.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Makes a check that asks a model; says by what it was cut off, if it was.
///
/// - `round`: which round of checks it is.
///
/// Errors: the journal's.
pub(super) async fn check(
    session: &mut Session,
    ports: &mut Ports,
    round: u32,
    check: &Check,
    review: &Review,
) -> Result<Result<CheckEnd, Cut>, Error> {
    let started = Instant::now();
    let toolbox = std::sync::Arc::clone(&ports.toolbox);
    let hide = |text: &str| toolbox.hide(text);
    if let Some(playback) = &ports.playback {
        let end = played(session, &playback.source, round, check);
        return Ok(Ok(end));
    }
    let patience = Duration::from_millis(check.timeout_ms);
    let until = tokio::time::Instant::now() + patience;
    let shown = match tokio::time::timeout_at(until, show(session, ports, review)).await {
        Ok(shown) => shown,
        Err(_) => Err(too_slow(check.timeout_ms)),
    };
    let said = match shown {
        Err(said) => said,
        Ok(shown) => {
            let asked = ask(session, ports, check, review, &shown);
            match tokio::time::timeout_at(until, asked).await {
                Ok(said) => match said? {
                    Ok(said) => said,
                    Err(cut) => return Ok(Err(cut)),
                },
                Err(_) => too_slow(check.timeout_ms),
            }
        }
    };
    Ok(Ok(ended(check, said, started, &hide)))
}

/// In a replay the recorded verdict is given again: nothing is paid twice.
fn played(session: &Session, source: &crate::ids::RunId, round: u32, check: &Check) -> CheckEnd {
    let entries = recover::entries(session.store.as_ref(), source).unwrap_or_default();
    let mut recorded = entries.into_iter().filter_map(|entry| match entry.event {
        Event::Verified {
            round: then,
            checks,
        } if then == round => Some(checks),
        _ => None,
    });
    let recorded = recorded.next().unwrap_or_default();
    let found = recorded.into_iter().find(|it| it.name == check.name);
    found.unwrap_or_else(|| conclude::unchecked(check, "was not asked in the run that is played"))
}

/// Gathers what the model is shown.
async fn show(session: &Session, ports: &Ports, review: &Review) -> Result<Shown, Said> {
    let (folder, workspace) = (ports.folder.clone(), session.task.agent.cwd.clone());
    let is_staged = session.task.workspace.stage.is_some();
    let result = session.state().done.clone().filter(|it| !it.is_null());
    let (review, toolbox) = (review.clone(), std::sync::Arc::clone(&ports.toolbox));
    let gather = move || -> Result<Shown, Said> {
        let change = match is_staged {
            true => change(&folder)?,
            false => None,
        };
        let hide = |text: &str| toolbox.hide(text);
        Shown::gather(
            &workspace,
            &review,
            result.as_ref(),
            change.as_deref(),
            &hide,
        )
    };
    let work = tokio::task::spawn_blocking(gather).await;
    work.unwrap_or_else(|error| Err(Said::unchecked("broke off", error.to_string())))
}

fn change(folder: &Path) -> Result<Option<String>, Said> {
    staging::change(folder, SHOWN_BYTES_MAX)
        .map_err(|error| Said::unchecked("cannot show the change", error.to_string()))
}

/// Asks, and carries out what the gateway asks meanwhile.
async fn ask(
    session: &mut Session,
    ports: &mut Ports,
    check: &Check,
    review: &Review,
    shown: &Shown,
) -> Result<Result<Said, Cut>, Error> {
    let (hub, arrivals) = channel::open(channel::Limits::default());
    let gateway = match gateway::open_for_checks(&hub, session, ports).await {
        Ok(gateway) => gateway,
        Err(why) => return Ok(Ok(Said::unchecked(format!("could not ask: {why}"), ""))),
    };
    let api = api_of(session.task.upstreams.first(), &review.model);
    let asked = post(&gateway, api, &review.model, shown.ask(&review.question));
    tokio::pin!(asked);
    let mut desk = Desk {
        check: &check.name,
        answers: hub.answers(),
        arrivals,
    };
    loop {
        if session.is_settling() {
            let released = session.durable().await?;
            desk.release(session, released);
            continue;
        }
        tokio::select! {
            biased;
            answer = &mut asked => return Ok(Ok(match answer {
                Ok(text) => read(&review.model, &text),
                Err(why) => Said::unchecked(format!("got no answer: {why}"), ""),
            })),
            cut = conclude::cut(&mut ports.outside.stops, session) => return Ok(Err(cut)),
            arrival = desk.arrivals.recv() => if let Some(Arrival::Request(incoming)) = arrival {
                desk.asked(session, ports, incoming).await?;
            },
        }
    }
}

/// Where the gateway of a check is answered.
struct Desk<'a> {
    check: &'a str,
    answers: Answers,
    arrivals: Inbox,
}

impl Desk<'_> {
    async fn asked(
        &self,
        session: &mut Session,
        ports: &Ports,
        incoming: Incoming,
    ) -> Result<(), Error> {
        let request = incoming.request.0;
        match incoming.call {
            Call::Place(_) => self.send(
                request,
                Ok(method::Answer::Placed(method::Placed::default())),
            ),
            Call::Reserve(asked) => return self.reserve(session, request, asked).await,
            Call::Turn(said) => return self.turn(session, ports, request, *said),
            _ => {
                let what = "a check asks its model only".to_owned();
                self.send(request, Err(frame::Error::Internal { what }));
            }
        }
        Ok(())
    }

    async fn reserve(
        &self,
        session: &mut Session,
        request: u64,
        asked: method::Reserve,
    ) -> Result<(), Error> {
        let unavailable = |reason: String| frame::Error::Stopping {
            reason,
            exit_code: crate::exit_code::UNAVAILABLE,
        };
        let bid = match models::choose(session, asked)? {
            models::Choice::Ask(bid) => bid,
            models::Choice::Down { why } => {
                self.send(request, Err(unavailable(why)));
                return Ok(());
            }
        };
        let (worst, max_tokens) = match &bid.alone {
            Ok(alone) => alone.clone(),
            Err(error) => {
                self.send(request, Err(error.clone()));
                return Ok(());
            }
        };
        if let Some(why) = models::admit(session, &bid).await? {
            self.send(request, Err(unavailable(why)));
            return Ok(());
        }
        session.feed(Event::CheckReserved {
            request,
            check: self.check.to_owned(),
            worst,
            max_tokens,
            link: bid.link.unwrap_or(0),
        })
    }

    fn turn(
        &self,
        session: &mut Session,
        ports: &Ports,
        request: u64,
        mut said: method::Turn,
    ) -> Result<(), Error> {
        let seen = said.wire.as_mut().and_then(|wire| wire.exchange.take());
        let Some(seen) = seen else {
            let what = "a model call came back without telling how".to_owned();
            self.send(request, Err(frame::Error::Internal { what }));
            return Ok(());
        };
        let (exchange, error) = judge::exchange(session, &ports.rules, request, *seen);
        // It belongs to no conversation.
        said.said = method::Said::Nothing;
        let task = std::sync::Arc::clone(&session.task);
        match translate::turn(request, said, &task, session.state(), None) {
            Ok((turn, _)) => session.feed(Event::CheckAnswered(Box::new(CheckAnswer {
                request,
                check: self.check.to_owned(),
                usage: turn.usage,
                reservation: turn.reservation,
                model: turn.model,
                error: error.or(turn.error),
                exchange,
            }))),
            Err(error) => {
                self.send(request, Err(error));
                Ok(())
            }
        }
    }

    /// Lets out what a durable event answers.
    fn release(&self, session: &Session, released: Released) {
        for effect in released.effects {
            if let Effect::Reply { request, answer } = effect {
                let now = session.clock.now();
                self.send(request, translate::answer(answer, session.state(), now));
            }
        }
        fault(released.boundary, Side::AfterRelease);
    }

    fn send(&self, request: u64, answer: Result<method::Answer, frame::Error>) {
        self.answers.send(channel::RequestNo(request), answer);
    }
}

/// Returns the API in which a model is asked: the one that the first link speaks, else
/// that of the provider whose model it is.
fn api_of(first: Option<&Upstream>, model: &str) -> Api {
    let Some(first) = first else {
        return Api::Chat;
    };
    match (&first.api, &first.place) {
        (Some(WireApi::Messages), _) => Api::Messages,
        (Some(WireApi::Gemini), _) => Api::Gemini,
        // What speaks Responses only is asked in its words by the chain.
        (Some(WireApi::Chat | WireApi::Responses), _) => Api::Chat,
        (None, Place::Provider(Provider::Anthropic)) => Api::Messages,
        (None, Place::Provider(Provider::Google)) => Api::Gemini,
        (None, Place::Asked) if model.starts_with("claude") => Api::Messages,
        (None, Place::Asked) if model.starts_with("gemini") => Api::Gemini,
        (None, _) => Api::Chat,
    }
}

/// Asks over the gateway; returns the words of the answer.
///
/// Errors: why there is none, as a clause.
async fn post(gateway: &Gateway, api: Api, model: &str, text: String) -> Result<String, String> {
    let access = gateway.access();
    let (path, body) = request(api, model, &text);
    let client = client_builder()
        .no_proxy()
        .build()
        .map_err(|error| error.to_string())?;
    let sent = client
        .post(format!("{}{path}", access.base))
        .header("x-api-key", access.token)
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await;
    let mut response = sent.map_err(|error| error.to_string())?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| error.to_string())? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(format!("it is above {BODY_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = said.pointer("/error/message").and_then(Value::as_str);
        return Err(match message {
            Some(message) => message.chars().take(500).collect(),
            None => format!("the model's server answers with HTTP {}", status.as_u16()),
        });
    }
    let read = reply::whole(api, Framing::Whole, &body).map_err(|error| error.to_string())?;
    Ok(read.text)
}

/// Returns the path and the body of the question.
fn request(api: Api, model: &str, text: &str) -> (String, Value) {
    match api {
        Api::Messages | Api::CountTokens => (
            "/v1/messages".to_owned(),
            json!({
                "model": model,
                "max_tokens": OUTPUT_TOKENS,
                "system": SYSTEM,
                "messages": [{"role": "user", "content": text}],
            }),
        ),
        Api::Gemini => (
            format!("/v1beta/models/{model}:generateContent"),
            json!({
                "systemInstruction": {"parts": [{"text": SYSTEM}]},
                "contents": [{"role": "user", "parts": [{"text": text}]}],
                "generationConfig": {"maxOutputTokens": OUTPUT_TOKENS},
            }),
        ),
        Api::Chat | Api::Responses => (
            "/v1/chat/completions".to_owned(),
            json!({
                "model": model,
                "max_completion_tokens": OUTPUT_TOKENS,
                "messages": [
                    {"role": "system", "content": SYSTEM},
                    {"role": "user", "content": text},
                ],
            }),
        ),
    }
}
