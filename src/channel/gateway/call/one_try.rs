//! One try: put into the words of a link, sent, read.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::super::Shared;
use super::super::chain::{Change, Prepared, Unfit};
use super::super::line::Line;
use super::super::server::from_refusal;
use super::super::wire::bounds::FRAME_BYTES_MAX;
use super::super::wire::{Api, Framing, Usage, Why, refuse, reply, translate};
use super::super::{script, stream};
use super::money::THINKING_LEAST;
use super::told::read_back;
use super::{Asking, Came, HOLD_EVERY, KEPT_BYTES_MAX, Open, Tries, release, stopped};
use crate::channel::method::{self, Turn, Wire};

/// Headers of an answer that belong to one connection, or would lead the agent to
/// another server, past us.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "location",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Asking<'_> {
    /// Puts the call into the words of the link that is asked.
    pub(super) fn prepare(&self, open: &mut Open) -> Result<Prepared, Unfit> {
        let settings = &self.shared.settings;
        let link = settings.chain.get(open.link).ok_or_else(|| Unfit::Link {
            link: "?".to_owned(),
            why: "it is not there".to_owned(),
        })?;
        let change = Change {
            max_output: match self.asked.max_output {
                Some(asked) => (open.max_tokens < asked).then_some(open.max_tokens),
                None => {
                    (settings.is_capped && open.max_tokens < u64::MAX).then_some(open.max_tokens)
                }
            },
            thinking: self
                .asked
                .thinking
                .filter(|thinking| open.max_tokens <= *thinking)
                .map(|_| (open.max_tokens / 2).max(THINKING_LEAST)),
            steer: open.steer.clone(),
        };
        let prepare = |change: &Change| {
            let (upstreams, asked) = (&settings.upstreams, &self.asked);
            link.prepare(
                upstreams,
                self.request,
                asked,
                &self.model,
                self.framing,
                change,
            )
        };
        match prepare(&change) {
            Err(Unfit::NoPlace) => {
                // It is told with a later call.
                if let Some(steer) = open.steer.take() {
                    self.steer_later(steer);
                }
                let steer = None;
                prepare(&Change { steer, ..change })
            }
            prepared => prepared,
        }
    }

    /// Makes one try.
    pub(super) async fn try_once(&self, line: &mut Line, prepared: Prepared) -> Came {
        let (url, headers, body, from) = match prepared {
            Prepared::Fixed(text) => return self.fixed(&text),
            Prepared::Sent {
                url,
                headers,
                body,
                api,
            } => (url, headers, body, api),
        };
        let method = self.request.method.clone();
        let patience = self.shared.settings.patience;
        let secrets = &self.shared.secrets;
        let sent = send(&self.shared, method, url, headers, body);
        let sent = self.held(line, tokio::time::timeout(patience, sent)).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                return Came {
                    // Refused at the door: nothing was asked. Anything later may be billed.
                    is_in_doubt: !error.is_connect(),
                    broke: Some(describe(&error)),
                    ..Came::default()
                };
            }
            Err(_) => {
                return Came {
                    is_in_doubt: true,
                    broke: Some("the upstream fell silent".to_owned()),
                    ..Came::default()
                };
            }
        };
        let came = Came {
            status: response.status().as_u16(),
            headers: secrets.hide_in_headers(passed_on(response.headers())),
            ..Came::default()
        };
        if self.framing == Framing::Events && (200..300).contains(&came.status) {
            let way = stream::Way {
                from,
                to: self.api(),
                wants_usage: self.asked.asks_usage,
                hold: self.hold,
                hold_every: HOLD_EVERY,
                patience: self.shared.settings.idle,
                kept_bytes_max: KEPT_BYTES_MAX,
                secrets: secrets.clone(),
            };
            return stream::relay(line, response, way, came).await;
        }
        let body = self.held(line, bounded(response, patience)).await;
        self.read_whole(came, body.map(|body| secrets.hide(body)), from)
    }

    /// Reads an answer that came as a whole.
    pub(super) fn read_whole(
        &self,
        mut came: Came,
        body: Result<Bytes, String>,
        from: Api,
    ) -> Came {
        let body = match body {
            Ok(body) => body,
            Err(why) => {
                came.is_in_doubt = true;
                came.broke = Some(why);
                return came;
            }
        };
        let is_answer = (200..300).contains(&came.status);
        let is_foreign = from != self.api();
        came.is_in_doubt = may_be_billed(came.status);
        came.rest = body.to_vec();
        if is_foreign {
            came.headers.remove("content-encoding");
            came.rest = match is_answer {
                true => match translate::reply(from, self.api(), &body) {
                    Ok(reply) => reply,
                    Err(error) => {
                        came.is_in_doubt = true;
                        came.broke = Some(format!("its answer cannot be translated: {error}"));
                        return came;
                    }
                },
                false => translate::error(from, self.api(), came.status, &body),
            };
        }
        if is_answer {
            match reply::whole(from, self.framing, &body) {
                Ok(read) => {
                    let own = is_foreign
                        .then(|| reply::whole(self.api(), self.framing, &came.rest).ok())
                        .flatten();
                    let reply = stream::as_client_has_it(read, own);
                    if !reply.is_terminal && reply.error.is_none() {
                        came.broke = Some(stream::NO_END.to_owned());
                    }
                    came.reply = Some(reply);
                    came.kept.clone_from(&came.rest);
                }
                // HTML and the like: nothing can be made of it.
                Err(error) => {
                    came.is_in_doubt = true;
                    came.broke = Some(error.to_string());
                }
            }
        }
        came
    }

    /// Answers with a fixed text.
    pub(super) fn fixed(&self, text: &str) -> Came {
        let (content_type, body) = script::say(self.api(), self.framing, &self.model, text);
        let mut headers = HeaderMap::new();
        headers.insert(
            hyper::header::CONTENT_TYPE,
            HeaderValue::from_static(content_type),
        );
        let mut reply = read_back(self.api(), self.framing, &body);
        (reply.usage, reply.is_usage_final) = (Some(Usage::default()), true);
        Came {
            status: 200,
            headers,
            reply: Some(reply),
            kept: body.clone(),
            rest: body,
            ..Came::default()
        }
    }

    /// Passes the call of a loop that tells of its turns itself.
    pub(super) async fn pass_through(&self, line: &mut Line, open: Option<Open>) {
        let is_held = open.is_some();
        let mut open = open.unwrap_or_else(|| Open {
            reservation: method::ReservationNo(0),
            link: 0,
            model: self.model.clone(),
            max_tokens: u64::MAX,
            steer: None,
            is_unproven: false,
        });
        let prepared = match self.prepare(&mut open) {
            Ok(prepared) => prepared,
            Err(error) => {
                if is_held {
                    self.unsent(open, &error.to_string(), &Tries::default())
                        .await;
                }
                return self.refuse(line, Why::BadRequest, &error.to_string()).await;
            }
        };
        let mut came = self.try_once(line, prepared).await;
        came.doubt(self.is_script(open.link));
        if is_held {
            let turn = Turn {
                wire: Some(Wire {
                    is_in_doubt: !self.is_known(&came),
                    is_quiet: true,
                    ..Wire::default()
                }),
                ..self.settled(&open, &came)
            };
            if let Err(error) = self.commit(turn).await {
                let (why, message) = stopped(&error);
                return self.refuse(line, why, &message).await;
            }
        }
        // What fails is the loop's to deal with, its client's retries included.
        match came.broke.clone() {
            None => release(line, came).await,
            Some(_) if !line.is_silent() => line.break_off(came.rest.into()).await,
            Some(broke) => {
                let refusal = refuse::refuse(Some(self.api()), Why::Unreachable, &broke);
                let (mut head, body) = from_refusal(refusal).into_parts();
                head.headers.remove("x-should-retry");
                line.answer(hyper::Response::from_parts(head, body));
            }
        }
    }
}

/// Reports whether an error came from somewhere between us and the model, which may
/// have worked all the same, and is billed then.
fn may_be_billed(status: u16) -> bool {
    matches!(status, 408 | 499 | 502 | 504 | 520..=527)
}

pub(super) async fn send(
    shared: &Shared,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
) -> Result<reqwest::Response, reqwest::Error> {
    let client = &shared.settings.client;
    client
        .request(method, url)
        .headers(headers)
        .body(body)
        .send()
        .await
}

/// Reads an answer whole, as far as the bound allows.
pub(super) async fn bounded(
    mut response: reqwest::Response,
    patience: Duration,
) -> Result<Bytes, String> {
    let mut body = Vec::new();
    let until = Instant::now() + patience;
    loop {
        match tokio::time::timeout_at(until, response.chunk()).await {
            // As large as the last event of a stream may be, which repeats all of it.
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() <= FRAME_BYTES_MAX => {
                body.extend_from_slice(&chunk);
            }
            Ok(Ok(Some(_))) => return Err(format!("the answer is above {FRAME_BYTES_MAX} bytes")),
            Ok(Ok(None)) => return Ok(body.into()),
            Ok(Err(error)) => return Err(describe(&error)),
            Err(_) => return Err("the upstream took too long".to_owned()),
        }
    }
}

/// An error with its causes, without the address.
pub(in super::super) fn describe(error: &reqwest::Error) -> String {
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

pub(super) fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let passes = |name: &&HeaderName| !HOP_BY_HOP.contains(&name.as_str());
    headers
        .keys()
        .filter(passes)
        .flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
