//! One model call: held back, sent, read, judged, settled, released; and again.
//!
//! ```text
//!  request ─► report new tool results ─► reserve ─► prepare ─► upstream
//!                                           ▲                     │
//!                                     again ├──── judge ◄── turn ◄┘
//!  answer  ◄── its end, once the turn is durable ◄──┘
//! ```
//!
//! What a call used is never guessed low: an answer whose usage is not known
//! (cut, or of an upstream that does not say) costs all that was held back for
//! it; one that never came to be (refused connection, an error status) nothing.
//!
//! Whether a try is made again, and of whom, is the driver's to say. Until the
//! agent has seen the first words of an answer it does not notice; behind them
//! nothing is tried again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Shared;
use super::body::Answer;
use super::chain::{Change, Place, Prepared, Unfit};
use super::line::Line;
use super::memory::{self, Around, Failure, Memory};
use super::server::{from_refusal, whole};
use super::stream;
use super::wire::bounds::BODY_BYTES_MAX;
use super::wire::extras::{self, Extras, Uncounted};
use super::wire::reply::{self, Reader};
use super::wire::request::{Expects, ToolKind};
use super::wire::said::{self, Said};
use super::wire::sse;
use super::wire::{
    Api, Asked, Framing, Reply, Route, Stop, Usage, Why, refuse, request, translate,
};
use crate::channel::frame::Error;
use crate::channel::method::{
    self, Call, End, Exchange, Next, Offer, Report, Reserve, ReserveAnswer, Turn, Verbatim,
    Verdict, Wire,
};

/// Output that a call without a limit is given where money is limited, in tokens.
/// What is not limited cannot be held back; more than this, models in use refuse.
fn output_tokens(api: Api) -> u64 {
    match api {
        Api::Gemini => 8_192,
        Api::Messages | Api::CountTokens | Api::Chat | Api::Responses => 16_384,
    }
}

/// Fewest tokens that Messages takes as set aside for thinking.
const THINKING_LEAST: u64 = 1_024;

/// How often the agent gets a sign of life while it waits.
const HOLD_EVERY: Duration = Duration::from_secs(10);

/// How long a call that failed for good is not tried again, whoever asks: the
/// retries of the agent's own client come to nothing.
const FAILED_FOR: Duration = Duration::from_secs(30);

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
pub(super) async fn answer(request: Request, shared: Arc<Shared>, mut line: Line) {
    match request.route.clone() {
        Route::Call {
            api,
            model,
            framing,
        } if api != Api::CountTokens => {
            ask_model(&request, shared, &mut line, api, model, framing).await;
        }
        _ => line.answer(pass(&request, &shared).await),
    }
}

/// Passes a request that costs nothing.
async fn pass(asked: &Request, shared: &Shared) -> Answer {
    let settings = &shared.settings;
    let upstream = settings.chain[0].upstream(
        &settings.upstreams,
        &asked.route,
        asked,
        settings.chain[0].api.unwrap_or(Api::Chat),
    );
    let url = upstream.address(&asked.path);
    let headers = upstream.headers(&asked.headers);
    let sent = send(
        shared,
        asked.method.clone(),
        url,
        headers,
        asked.body.clone(),
    )
    .await;
    let response = match sent {
        Ok(response) => response,
        Err(error) => {
            let message = describe(&error);
            return from_refusal(refuse::refuse(None, Why::Unreachable, &message));
        }
    };
    let (status, headers) = (response.status(), passed_on(response.headers()));
    match bounded(response, shared.settings.patience).await {
        Ok(body) => whole(status, headers, body),
        Err(why) => from_refusal(refuse::refuse(None, Why::Cut, &why)),
    }
}

/// Asks a model: the way that costs money.
async fn ask_model(
    request: &Request,
    shared: Arc<Shared>,
    line: &mut Line,
    api: Api,
    model: Option<String>,
    framing: Option<Framing>,
) {
    let refused = |why, message: &str| from_refusal(refuse::refuse(Some(api), why, message));
    let asked = match request::read(api, &request.body) {
        Ok(asked) => asked,
        Err(error @ request::Error::TooLarge { .. }) => {
            return line.answer(refused(Why::TooLarge, &error.to_string()));
        }
        Err(error) => return line.answer(refused(Why::BadRequest, &error.to_string())),
    };
    let Some(model) = model.or_else(|| asked.model.clone()) else {
        return line.answer(refused(Why::BadRequest, "the request names no model"));
    };
    let framing = framing.unwrap_or(match asked.is_stream {
        true => Framing::Events,
        false => Framing::Whole,
    });
    let history = asked.history();
    let around = Around::of(&asked, request.body.len() as u64);
    let offers = offers(&shared, &asked, &model, &history, around);
    let agent = request.headers.get(USER_AGENT);
    let agent = agent
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    let asking = Asking {
        identity: memory::identity(&asked, &model, framing, &history, &shared.settings.volatile),
        hold: refuse::hold(api, framing == Framing::Events, agent),
        began: Instant::now(),
        shared,
        request,
        framing,
        model,
        history,
        around,
        offers,
        terms: terms(&asked, &request.headers),
        asked,
    };
    if let Some(answer) = asking.recorded().await {
        return line.answer(answer);
    }
    if let Some(answer) = asking.failed_before() {
        return line.answer(answer);
    }
    if let Err(answer) = asking.report().await {
        return line.answer(answer);
    }
    asking.ask(line).await;
}

/// A model call, understood.
struct Asking<'a> {
    shared: Arc<Shared>,
    request: &'a Request,
    asked: Asked<'a>,
    framing: Framing,
    /// The model that the agent names.
    model: String,
    /// What identifies the request.
    identity: String,
    history: Vec<Said>,
    around: Around,
    /// Who can be asked, and what that costs at most; or why nobody can.
    offers: Result<Vec<Offer>, String>,
    /// What it asks for that changes the price.
    terms: method::Terms,
    /// How its answer is held.
    hold: refuse::Hold,
    began: Instant,
}

/// Tries of a call so far.
#[derive(Default)]
struct Tries {
    /// By link.
    of_link: HashMap<usize, u32>,
    /// The wait before the present one, in milliseconds.
    waited_ms: u64,
    /// Links that cannot take it.
    unfit: Vec<usize>,
    /// Links that were left.
    left: Vec<usize>,
    /// Why the last of them could not.
    why_unfit: String,
    /// Who is to be asked next.
    prefer: Option<usize>,
}

impl Tries {
    /// Links that this call cannot move to.
    fn out(&self) -> Vec<usize> {
        self.unfit.iter().chain(&self.left).copied().collect()
    }
}

/// Whether a call may go out.
enum Let {
    /// It may, and is settled afterwards.
    Out(Open),
    /// It may; the loop tells of it itself. What was held back is settled.
    Through(Option<Open>),
}

/// A try that was let out and has not been settled.
struct Open {
    reservation: method::ReservationNo,
    link: usize,
    /// The model that is asked.
    model: String,
    /// Output tokens it may ask for.
    max_tokens: u64,
    /// What the model is told with it.
    steer: Option<String>,
}

/// What came of a try.
#[derive(Default)]
pub(super) struct Came {
    /// The HTTP status; 0 where there was no answer.
    pub status: u16,
    /// The head of the answer, as far as it is passed on.
    pub headers: HeaderMap,
    /// The answer, as far as it came and is one.
    pub reply: Option<Reply>,
    /// What the agent has not got yet: held frames, or the whole body.
    pub rest: Vec<u8>,
    /// All that the agent gets, for the record.
    pub kept: Vec<u8>,
    /// How it broke off, if it did.
    pub broke: Option<String>,
    /// It may have been billed, though nobody says how much.
    pub is_in_doubt: bool,
    /// How far it came to the agent.
    pub end: End,
}

impl Came {
    /// Whether it is an answer, whole and without an error in it.
    fn is_answer(&self) -> bool {
        let is_whole = |reply: &Reply| reply.error.is_none() && reply.is_terminal;
        self.broke.is_none()
            && (200..300).contains(&self.status)
            && self.reply.as_ref().is_some_and(is_whole)
    }
}

impl Asking<'_> {
    fn api(&self) -> Api {
        self.asked.api
    }

    fn refused(&self, why: Why, message: &str) -> Answer {
        from_refusal(refuse::refuse(Some(self.api()), why, message))
    }

    /// Answers from the record of an earlier attempt, where it has an answer.
    async fn recorded(&self) -> Option<Answer> {
        let unheard = self.shared.memory().unheard(&self.identity);
        if let Some((content_type, body)) = unheard {
            return Some(from_kept(&content_type, body));
        }
        let recorded = self.shared.memory().replay(&self.identity)?;
        // A record that was lost is asked for again, at its price.
        let body = tokio::fs::read(&recorded.file).await.ok()?;
        let cost_nano_usd = recorded.cost_nano_usd;
        let replayed = Call::Replayed(method::Replayed { cost_nano_usd });
        if let Err(error) = self.shared.hub.ask(replayed).await {
            return Some(told_off(self.api(), &error));
        }
        let reply = read_back(self.api(), self.framing, &body);
        let mut memory = self.shared.memory();
        // They were told of when the answer was new.
        for (key, _) in reports(&self.history) {
            memory.is_first(key);
        }
        let model = reply.model.clone().unwrap_or_else(|| self.model.clone());
        learn(&mut memory, &reply, &self.history, &model, self.around);
        Some(from_kept(&recorded.content_type, body))
    }

    /// Answers a call that failed for good a moment ago.
    fn failed_before(&self) -> Option<Answer> {
        let failure = self.shared.memory().failed(self.request)?;
        tracing::debug!("the agent's client asks again for what failed for good");
        Some(whole(failure.status, failure.headers, failure.body))
    }

    /// Tells of the tool results that are new.
    async fn report(&self) -> Result<(), Answer> {
        for (key, report) in reports(&self.history) {
            if !self.shared.memory().is_first(key) {
                continue;
            }
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

    /// Asks until there is an answer, or none is to be had.
    async fn ask(&self, line: &mut Line) {
        let mut tries = Tries::default();
        loop {
            let mut open = match self.reserve(line, &tries).await {
                Ok(Let::Out(open)) => open,
                Ok(Let::Through(open)) => return self.pass_through(line, open).await,
                Err((why, message)) => return self.refuse(line, why, &message).await,
            };
            if line.is_gone() {
                return self
                    .unsent(open, "the agent hung up before the call went out", &tries)
                    .await;
            }
            let prepared = match self.prepare(&mut open) {
                Ok(prepared) => prepared,
                Err(Unfit::Link { link, why }) => {
                    tries.unfit.push(open.link);
                    tries.why_unfit = format!("`{link}` cannot take this call: {why}");
                    self.unsent(open, &tries.why_unfit, &tries).await;
                    continue;
                }
                Err(error) => {
                    self.unsent(open, &error.to_string(), &tries).await;
                    return self.refuse(line, Why::BadRequest, &error.to_string()).await;
                }
            };
            *tries.of_link.entry(open.link).or_default() += 1;
            let mut came = self.try_once(line, prepared).await;
            let (link, steer) = (open.link, open.steer.clone());
            let told = self.settle(open, &came, &tries).await;
            if !matches!(told, Ok(Next::Take)) && steer.is_some() {
                // The model did not hear it, or is asked again.
                self.shared.memory().steer = steer;
            }
            match told {
                Err(error) => {
                    let (why, message) = stopped(&error);
                    return self.refuse(line, why, &message).await;
                }
                Ok(Next::Take) => return self.release(line, came).await,
                Ok(Next::Again {
                    delay_ms,
                    link: next,
                }) => {
                    if next.is_some() {
                        tries.left.push(link);
                    }
                    (tries.prefer, tries.waited_ms) = (next, delay_ms);
                    if !self.wait(line, Duration::from_millis(delay_ms)).await {
                        return;
                    }
                }
                Ok(Next::GiveUp) if !came.is_answer() => return self.give_up(line, came).await,
                // Unfit twice: it is the agent's to deal with.
                Ok(Next::GiveUp) => {
                    return match self.accept(&mut came).await {
                        Ok(()) => self.release(line, came).await,
                        Err(error) => {
                            let (why, message) = stopped(&error);
                            self.refuse(line, why, &message).await;
                        }
                    };
                }
            }
        }
    }

    /// Does `work` while the agent gets signs of life.
    async fn held<T>(&self, line: &mut Line, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(HOLD_EVERY), if !self.hold.keep_alive.is_empty() => {
                    line.hold(self.hold.keep_alive).await;
                }
            }
        }
    }

    /// Waits before another try; tells whether the agent is still there.
    async fn wait(&self, line: &mut Line, delay: Duration) -> bool {
        let until = Instant::now() + delay;
        loop {
            let holds = !self.hold.keep_alive.is_empty();
            tokio::select! {
                () = tokio::time::sleep_until(until) => return !line.is_gone(),
                () = line.gone() => return false,
                () = tokio::time::sleep(HOLD_EVERY), if holds => {
                    line.hold(self.hold.keep_alive).await;
                }
            }
        }
    }

    /// How long the agent's client still waits, in milliseconds.
    fn hold_ms(&self) -> Option<u64> {
        let longest = Duration::from_secs(self.hold.longest_s?);
        let left = longest.saturating_sub(self.began.elapsed());
        Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    /// Holds the worst case of the call back, and learns who is asked.
    async fn reserve(&self, line: &mut Line, tries: &Tries) -> Result<Let, (Why, String)> {
        let chain = &self.shared.settings.chain;
        let offers = match &self.offers {
            Ok(offers) => offers,
            Err(why) => return Err((Why::Unpriced, why.clone())),
        };
        let can = |offer: &&Offer| !tries.unfit.contains(&offer.link);
        let mut left: Vec<Offer> = offers.iter().filter(can).cloned().collect();
        // Who was left is asked again when nobody else can take it.
        if left.iter().any(|offer| !tries.left.contains(&offer.link)) {
            left.retain(|offer| !tries.left.contains(&offer.link));
        }
        let fits = |offer: &Offer| {
            let most = chain.get(offer.link).and_then(|link| link.context_tokens);
            most.is_none_or(|most| offer.input_tokens <= most)
        };
        // The bound is a high one: who may be too small is asked when nobody is left.
        if left.iter().any(fits) {
            left.retain(fits);
        }
        if left.is_empty() {
            let why = match tries.why_unfit.as_str() {
                "" => "every upstream was asked",
                why => why,
            };
            return Err((Why::Unreachable, why.to_owned()));
        }
        let first = left[0].clone();
        let choices = self.asked.choices.max(1);
        let output = self
            .asked
            .max_output
            .unwrap_or_else(|| output_tokens(self.api()));
        let worst = Reserve {
            model: Some(self.model.clone()),
            input_tokens: first.input_tokens,
            max_tokens: output.saturating_mul(choices).max(1),
            cost_nano_usd: None,
            // The API refuses less than what is set aside for thinking, and that less
            // than its least.
            least_tokens: self
                .asked
                .thinking
                .map_or(0, |thinking| thinking.min(THINKING_LEAST).saturating_mul(2)),
            offers: left,
            prefer: tries.prefer,
            unasked: self.shared.memory().goes_live(),
            terms: self.terms.clone(),
            long_cache: first.long_cache,
            unbounded: first.unbounded,
        };
        match self
            .held(line, self.shared.hub.ask(Call::Reserve(worst)))
            .await
        {
            Ok(method::Answer::Reserve(ReserveAnswer::Go {
                reservation,
                max_tokens,
                steer,
                link,
                is_quiet,
            })) => {
                let mut memory = self.shared.memory();
                if steer.is_some() {
                    memory.steer = steer;
                }
                let model = chain
                    .get(link)
                    .map_or(self.model.as_str(), |it| it.model_for(&self.model));
                let open = Open {
                    reservation,
                    link,
                    model: model.to_owned(),
                    max_tokens: max_tokens / choices,
                    steer: memory.steer.take(),
                };
                Ok(match is_quiet {
                    true => Let::Through(Some(open)),
                    false => Let::Out(open),
                })
            }
            Ok(method::Answer::Reserve(ReserveAnswer::Pass)) => Ok(Let::Through(None)),
            Ok(method::Answer::Reserve(ReserveAnswer::Stop {
                reason, exit_code, ..
            })) => Err((why_stopped(exit_code), reason)),
            Ok(_) => Err((Why::Unreachable, "the supervisor gave no answer".to_owned())),
            Err(error) => Err(stopped(&error)),
        }
    }

    /// Puts the call into the words of the link that is asked.
    fn prepare(&self, open: &mut Open) -> Result<Prepared, Unfit> {
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
                self.shared.memory().steer = open.steer.take();
                let steer = None;
                prepare(&Change { steer, ..change })
            }
            prepared => prepared,
        }
    }

    /// Makes one try.
    async fn try_once(&self, line: &mut Line, prepared: Prepared) -> Came {
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
        let (status, headers) = (response.status().as_u16(), passed_on(response.headers()));
        let came = Came {
            status,
            headers,
            ..Came::default()
        };
        if self.framing == Framing::Events && (200..300).contains(&status) {
            let way = stream::Way {
                from,
                to: self.api(),
                wants_usage: self.asked.asks_usage,
                hold: self.hold,
                hold_every: HOLD_EVERY,
                patience: self.shared.settings.idle,
                kept_bytes_max: KEPT_BYTES_MAX,
            };
            return stream::relay(line, response, way, came).await;
        }
        let body = self.held(line, bounded(response, patience)).await;
        self.read_whole(came, body, from)
    }

    /// Reads an answer that came as a whole.
    fn read_whole(&self, mut came: Came, body: Result<Bytes, String>, from: Api) -> Came {
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
    fn fixed(&self, text: &str) -> Came {
        let (content_type, body) = super::script::say(self.api(), self.framing, &self.model, text);
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
    async fn pass_through(&self, line: &mut Line, open: Option<Open>) {
        let is_held = open.is_some();
        let mut open = open.unwrap_or_else(|| Open {
            reservation: method::ReservationNo(0),
            link: 0,
            model: self.model.clone(),
            max_tokens: u64::MAX,
            steer: None,
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
        let came = self.try_once(line, prepared).await;
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

    /// Settles a try, and hears what becomes of it.
    async fn settle(&self, open: Open, came: &Came, tries: &Tries) -> Result<Next, Error> {
        let is_answer = came.is_answer();
        let reply = came.reply.clone().unwrap_or_default();
        if is_answer {
            learn(
                &mut self.shared.memory(),
                &reply,
                &self.history,
                &open.model,
                self.around,
            );
        }
        let turn = Turn {
            said: match is_answer {
                true => self.said(&reply),
                false => method::Said::Nothing,
            },
            wire: Some(Wire {
                is_in_doubt: !self.is_known(came),
                is_quiet: false,
                reply: is_answer.then(|| self.kept(came)).flatten(),
                exchange: Some(Box::new(self.exchange(&open, came, &reply, tries))),
            }),
            ..self.settled(&open, came)
        };
        self.commit(turn).await
    }

    /// What settles a reservation.
    fn settled(&self, open: &Open, came: &Came) -> Turn {
        let usage = came.reply.as_ref().and_then(|reply| reply.usage.clone());
        let model = came.reply.as_ref().and_then(|reply| reply.model.as_deref());
        let model = model.unwrap_or(&open.model);
        Turn {
            usage: Some(self.used(&usage.unwrap_or_default(), model, &open.model, open.link)),
            reservation: Some(open.reservation),
            ..Turn::default()
        }
    }

    /// Whether it is known for certain what a try used.
    fn is_known(&self, came: &Came) -> bool {
        let Some(reply) = &came.reply else {
            return !came.is_in_doubt;
        };
        // An overload instead of the first word: the model did nothing.
        let is_overload = |fault: &reply::Fault| matches!(fault.status, Some(429 | 503 | 529));
        let is_turned_away = came.end == End::Unseen
            && reply.usage.is_none()
            && reply.text.is_empty()
            && reply.calls.is_empty()
            && reply.error.as_ref().is_some_and(is_overload);
        is_turned_away || reply.is_usage_final && reply.usage.is_some()
    }

    /// Takes an answer that is unfit for what it is.
    async fn accept(&self, came: &mut Came) -> Result<(), Error> {
        let reply = came.reply.clone().unwrap_or_default();
        let turn = Turn {
            said: self.said(&reply),
            wire: Some(Wire {
                reply: self.kept(came),
                ..Wire::default()
            }),
            ..Turn::default()
        };
        self.commit(turn).await.map(drop)
    }

    /// Settles a reservation whose call was not sent.
    async fn unsent(&self, mut open: Open, why: &str, tries: &Tries) {
        if let Some(steer) = open.steer.take() {
            self.shared.memory().steer.get_or_insert(steer);
        }
        let turn = Turn {
            usage: Some(self.used(&Usage::default(), &open.model, &open.model, open.link)),
            reservation: Some(open.reservation),
            error: Some(clipped(&format!("the call was not sent: {why}"))),
            wire: Some(Wire {
                exchange: Some(Box::new(Exchange {
                    link: open.link,
                    host: self.host_of(open.link),
                    model: open.model,
                    out: tries.out(),
                    broke: Some(why.to_owned()),
                    end: End::Unsent,
                    ..Exchange::default()
                })),
                ..Wire::default()
            }),
            ..Turn::default()
        };
        // There is no answer that would have to wait for it.
        let _ = self.commit(turn).await;
    }

    /// Our protocol's counts of an API's.
    ///
    /// - `model`: that used them;
    /// - `named`: that was asked;
    /// - `link`: of the chain.
    fn used(&self, usage: &Usage, model: &str, named: &str, link: usize) -> method::Usage {
        let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
        let terms = method::Terms {
            // Anthropic's is paid for beforehand, and no dearer a token.
            service_tier: match self.api() {
                Api::Messages | Api::CountTokens => self.terms.service_tier.clone(),
                _ => said_or_asked(&usage.service_tier, &self.terms.service_tier),
            },
            speed: said_or_asked(&usage.speed, &self.terms.speed),
            region: said_or_asked(&usage.region, &self.terms.region),
            link: Some(link),
        };
        let others = usage.others.iter().map(|(model, usage)| {
            let mut other = self.used(usage, model, named, link);
            // What was asked for is another one.
            other.seen.asked_model = None;
            other
        });
        method::Usage {
            model: Some(model.to_owned()),
            input_tokens: Some(usage.input),
            output_tokens: Some(usage.output),
            cached_input_tokens: Some(usage.cache_read),
            cache_write_tokens: Some(written),
            cost_nano_usd: None,
            seen: method::Seen {
                asked_model: Some(named.to_owned()),
                hour_write_tokens: usage.cache_write_1h,
                web_searches: usage.web_searches,
                terms,
                others: others.collect(),
            },
        }
    }

    /// Makes the turn durable.
    ///
    /// Errors: the run is ending and takes it no more; what was held back then
    /// counts as spent, and the answer must not leave.
    async fn commit(&self, turn: Turn) -> Result<Next, Error> {
        match self.shared.hub.ask(Call::Turn(Box::new(turn))).await? {
            method::Answer::Turn(told) => {
                match told.verdict {
                    Verdict::Steer { text, .. } => self.shared.memory().steer = Some(text),
                    Verdict::Stop {
                        reason, exit_code, ..
                    } if told.next != Next::Take => {
                        return Err(Error::Stopping { reason, exit_code });
                    }
                    Verdict::Go | Verdict::Stop { .. } => {}
                }
                Ok(told.next)
            }
            _ => Ok(Next::Take),
        }
    }

    /// The conversation with the answer behind it.
    fn said(&self, reply: &Reply) -> method::Said {
        let mut said = stored(&self.asked);
        said.extend(reply.messages.iter().map(Verbatim::from_value));
        method::Said::History(said)
    }

    fn kept(&self, came: &Came) -> Option<method::WireReply> {
        (came.kept.len() <= KEPT_BYTES_MAX).then(|| method::WireReply {
            request: self.identity.clone(),
            content_type: content_type(&came.headers),
            body: came.kept.clone(),
        })
    }

    /// Whose server a link is.
    fn host_of(&self, link: usize) -> String {
        let offers = self.offers.as_deref().unwrap_or_default();
        let offer = offers.iter().find(|offer| offer.link == link);
        offer.map(|offer| offer.host.clone()).unwrap_or_default()
    }

    /// The try, as it is judged.
    fn exchange(&self, open: &Open, came: &Came, reply: &Reply, tries: &Tries) -> Exchange {
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

    /// Tells the agent that there is no answer, in the upstream's own words where
    /// it has any.
    async fn give_up(&self, line: &mut Line, mut came: Came) {
        let message = match (
            &came.broke,
            came.reply.as_ref().and_then(|it| it.error.as_ref()),
        ) {
            (_, Some(fault)) => fault.message.clone(),
            (Some(broke), _) => broke.clone(),
            _ => format!("the upstream answers with HTTP {}", came.status),
        };
        let failure = self.failure(&mut came, &message);
        if came.end == End::Unseen {
            self.shared.memory().fail(self.request, failure.clone());
        }
        if !line.is_silent() {
            // Its own error frame, if it sent one, says it best.
            let own = std::mem::take(&mut came.rest);
            let has_fault = came
                .reply
                .as_ref()
                .is_some_and(|reply| reply.error.is_some());
            let last = match has_fault && !own.is_empty() {
                true => own.into(),
                false => error_frame(self.api(), Why::Cut, &message),
            };
            return line.break_off(last).await;
        }
        let Failure {
            status,
            headers,
            body,
            ..
        } = failure;
        line.answer(whole(status, headers, body));
    }

    /// What the agent is answered where there is no answer.
    fn failure(&self, came: &mut Came, message: &str) -> Failure {
        let until = Instant::now() + FAILED_FOR;
        let is_status = !(200..300).contains(&came.status) && came.status > 0;
        if !is_status || came.broke.is_some() {
            let refusal = refuse::refuse(Some(self.api()), Why::Unreachable, message);
            return Failure::from_refusal(refusal, until);
        }
        // Our retries are over; the client's would only multiply them.
        let mut headers = came.headers.clone();
        let no = HeaderValue::from_static("false");
        headers.insert(HeaderName::from_static("x-should-retry"), no);
        headers.remove(hyper::header::LOCATION);
        Failure {
            until,
            status: StatusCode::from_u16(came.status).unwrap_or(StatusCode::BAD_GATEWAY),
            headers,
            body: std::mem::take(&mut came.rest).into(),
        }
    }

    /// Lets out what the agent has not got yet. An answer that nobody hears any more
    /// is kept for whoever asks the same.
    async fn release(&self, line: &mut Line, came: Came) {
        if line.is_gone() && came.kept.len() <= KEPT_BYTES_MAX {
            let (content_type, body) = (content_type(&came.headers), came.kept);
            let mut memory = self.shared.memory();
            return memory.keep_unheard(self.identity.clone(), content_type, body);
        }
        release(line, came).await;
    }

    /// Tells the agent what the driver refused.
    async fn refuse(&self, line: &mut Line, why: Why, message: &str) {
        // The agent may keep it to itself.
        tracing::warn!(why = why.code(), message, "a model call was refused");
        match line.is_silent() {
            true => line.answer(self.refused(why, message)),
            false => line.break_off(error_frame(self.api(), why, message)).await,
        }
    }
}

/// Lets out what the agent has not got yet.
async fn release(line: &mut Line, came: Came) {
    let status = StatusCode::from_u16(came.status).unwrap_or(StatusCode::OK);
    if content_type(&came.headers).starts_with("text/event-stream") || !line.is_silent() {
        line.begin(status, came.headers);
        line.send(came.rest.into()).await;
        return line.end();
    }
    line.answer(whole(status, came.headers, came.rest.into()));
}

/// Reports whether an error came from somewhere between us and the model, which may
/// have worked all the same, and is billed then.
fn may_be_billed(status: u16) -> bool {
    matches!(status, 408 | 499 | 502 | 504 | 520..=527)
}

/// Who can take a call, and what it costs there at most.
///
/// Errors: why nobody can.
fn offers(
    shared: &Shared,
    asked: &Asked<'_>,
    named: &str,
    history: &[Said],
    around: Around,
) -> Result<Vec<Offer>, String> {
    let settings = &shared.settings;
    let (mut offers, mut why) = (Vec::new(), None);
    for (place, link) in settings.chain.iter().enumerate() {
        let model = link.model_for(named);
        let is_free = matches!(link.place, Place::Reply(_));
        let seen = shared.memory().beginning(history, model);
        let extras = match settings.is_capped && !is_free {
            true => extras::read(asked, model, seen.messages),
            false => Extras::default(),
        };
        if let Some(lack) = link.lack(asked) {
            why.get_or_insert(format!("`{}` cannot take this call: {lack}", link.name));
            continue;
        }
        if let Some(Uncounted { field, why: reason }) = &extras.uncounted {
            why.get_or_insert(format!("{field} {reason}"));
            continue;
        }
        let former = asked.previous_response_id.as_deref();
        let carried = former.map(|former| shared.memory().carried(former));
        let own = seen
            .input_bound(asked, around, extras.image_bytes)
            .saturating_add(extras.hidden_tokens);
        // An earlier answer that this run has not seen holds a window at most.
        let hidden = (carried == Some(None)).then(|| "previous_response_id".to_owned());
        offers.push(Offer {
            link: place,
            model: model.to_owned(),
            host: link.host(&settings.upstreams, asked.api),
            input_tokens: own.saturating_add(carried.flatten().unwrap_or(0)),
            long_cache: extras.long_cache,
            unbounded: extras.unbounded.or(hidden.filter(|_| settings.is_capped)),
            takes_terms: link.api.is_none_or(|api| api == asked.api),
            is_free,
        });
    }
    match (offers.iter().all(|offer| offer.is_free), why) {
        (true, Some(why)) => Err(why),
        _ => Ok(offers),
    }
}

fn error_frame(api: Api, why: Why, message: &str) -> Bytes {
    refuse::error_frame(api, why, message, u64::MAX >> 11).into()
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
fn tools(asked: &Asked<'_>, reply: &Reply) -> Value {
    if asked.tools.is_empty() || reply.calls.is_empty() {
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

async fn send(
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
async fn bounded(mut response: reqwest::Response, patience: Duration) -> Result<Bytes, String> {
    let mut body = Vec::new();
    loop {
        match tokio::time::timeout(patience, response.chunk()).await {
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
            is_from_wire: true,
            ..Report::default()
        };
        Some((key, report))
    };
    let all = said::exchanges(history).into_iter();
    all.filter_map(&mut told).collect()
}

/// Remembers what a call took, if that is known.
fn learn(memory: &mut Memory, reply: &Reply, history: &[Said], model: &str, around: Around) {
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
fn from_kept(content_type: &str, body: Vec<u8>) -> Answer {
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

/// What the request asks for that changes its price.
fn terms(asked: &Asked<'_>, headers: &HeaderMap) -> method::Terms {
    // One platform of Google's takes the tier from a header.
    let header = headers.get("x-vertex-ai-llm-shared-request-type");
    let header = header.and_then(|value| value.to_str().ok());
    let header = header.filter(|word| !word.eq_ignore_ascii_case("flex"));
    let mut terms = extras::terms(asked);
    terms.service_tier = terms.service_tier.or(header.map(str::to_owned));
    terms
}

/// What an answer says, else what was asked for.
fn said_or_asked(said: &Option<String>, asked: &Option<String>) -> Option<String> {
    said.as_ref().or(asked.as_ref()).cloned()
}

fn why_stopped(exit_code: u8) -> Why {
    match exit_code {
        crate::exit_code::DEADLINE => Why::Deadline,
        crate::exit_code::LOOP => Why::Loop,
        crate::exit_code::UNAVAILABLE => Why::Unreachable,
        _ => Why::Cap,
    }
}

/// Says in the API's words what the driver refused.
fn told_off(api: Api, error: &Error) -> Answer {
    let (why, message) = stopped(error);
    from_refusal(refuse::refuse(Some(api), why, &message))
}

/// Why the driver refused, in the gateway's terms.
fn stopped(error: &Error) -> (Why, String) {
    let why = match error {
        Error::Stopping { exit_code, .. } => why_stopped(*exit_code),
        Error::Params(_) => Why::Unpriced,
        _ => Why::Unreachable,
    };
    (why, error.to_string())
}

/// An error with its causes, without the address.
pub(super) fn describe(error: &reqwest::Error) -> String {
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
