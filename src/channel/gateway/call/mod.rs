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
//!
//! To read: this file (the way of a call), `one_try`, `money`, `told`, `place`.

mod money;
mod one_try;
mod place;
mod told;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, StatusCode};
use tokio::time::Instant;

use super::Shared;
use super::body::Answer;
use super::chain::Unfit;
use super::history::History;
use super::known::Past;
use super::line::Line;
use super::memory::{self, Around, Failure};
use super::server::{from_refusal, whole};
use super::wire::{Api, Asked, Framing, Reply, Route, Why, refuse, request};
use crate::channel::frame::Error;
use crate::channel::method::{self, End, Next, Offer};
use money::{offers, terms};
pub(super) use one_try::describe;
use one_try::{bounded, passed_on, send};
use told::content_type;

/// How often the agent gets a sign of life while it waits.
const HOLD_EVERY: Duration = Duration::from_secs(10);

/// How long a call that failed for good is not tried again, whoever asks: the
/// retries of the agent's own client come to nothing.
const FAILED_FOR: Duration = Duration::from_secs(30);

/// Largest answer that is kept for another attempt, in bytes.
const KEPT_BYTES_MAX: usize = 16 << 20;

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
    let secrets = &shared.secrets;
    let headers = secrets.hide_in_headers(passed_on(response.headers()));
    let status = response.status();
    match bounded(response, shared.settings.patience).await {
        Ok(body) => whole(status, headers, secrets.hide(body)),
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
    let mut past = None;
    let read = request::read_on(api, &request.body, |text| {
        past = shared.memory().known.past(api, text);
        past.as_ref().map_or_else(Vec::new, Past::places)
    });
    let asked = match read {
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
    let volatile = &shared.settings.volatile;
    let (system, history, around) = {
        let mut memory = shared.memory();
        let around = memory.around(&asked, request.body.len() as u64);
        let known = &mut memory.known;
        let history = known.read(&asked, &request.body, past, volatile);
        (known.system(&asked, volatile), history, around)
    };
    let offers = offers(&shared, &asked, &model, &history, around);
    let agent = request.headers.get(USER_AGENT);
    let agent = agent
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    let mut asking = Asking {
        identity: memory::identity(&asked, &model, framing, history.meaning(), &system),
        hold: refuse::hold(
            api,
            framing == Framing::Events,
            agent,
            timeout_s(&request.headers),
        ),
        began: Instant::now(),
        shared,
        request,
        framing,
        model,
        history,
        system,
        placed: method::Placed::default(),
        life: place::life(),
        around,
        offers,
        terms: terms(&asked, &request.headers),
        asked,
    };
    if !asking.take_up(line).await {
        return;
    }
    if let Some(answer) = asking.recorded().await {
        return line.answer(answer);
    }
    if let Some(answer) = asking.failed_before() {
        return line.answer(answer);
    }
    if let Err(answer) = asking.place().await {
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
    history: Arc<History>,
    /// The system prompt as it is compared.
    system: [u8; 32],
    /// The conversation that it belongs to.
    placed: method::Placed,
    /// Dropped when nobody waits for it any more.
    life: Arc<()>,
    around: Around,
    /// Who can be asked, and what that costs at most; or why nobody can.
    offers: Result<Vec<Offer>, (Why, String)>,
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
    /// Links for which it let another call go first.
    stood_back: Vec<usize>,
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
    /// How the model counts was not known when it was held back.
    is_unproven: bool,
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
    /// Takes a count that cannot be one for none.
    ///
    /// - `is_script`: a scripted model is believed what its file says.
    fn doubt(&mut self, is_script: bool) {
        if let Some(reply) = self.reply.as_mut().filter(|_| !is_script) {
            reply.is_usage_final &= reply.is_usage_believable();
        }
    }

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

    /// Whether a link is a scripted model.
    fn is_script(&self, link: usize) -> bool {
        let link = self.shared.settings.chain.get(link);
        link.is_some_and(|link| link.server == Some("script"))
    }

    fn refused(&self, why: Why, message: &str) -> Answer {
        from_refusal(refuse::refuse(Some(self.api()), why, message))
    }

    /// Waits for the end of the same call whose client hung up: its answer is for whoever
    /// asks again, and the model hears nothing of it. Tells whether the agent is still
    /// there.
    async fn take_up(&self, line: &mut Line) -> bool {
        let Some(ends) = self.shared.memory().abandoned(&self.identity) else {
            return true;
        };
        tracing::debug!("the agent's client asks again for what is under way");
        tokio::select! {
            _ended = ends.lock() => !line.is_gone(),
            () = line.gone() => false,
        }
    }

    /// Answers a call that failed for good a moment ago.
    fn failed_before(&self) -> Option<Answer> {
        let failure = self.shared.memory().failed(self.request)?;
        tracing::debug!("the agent's client asks again for what failed for good");
        Some(whole(failure.status, failure.headers, failure.body))
    }

    /// Asks until there is an answer, or none is to be had.
    async fn ask(&self, line: &mut Line) {
        let listener = line.listener();
        let _until_its_end = self.shared.memory().goes_out(&self.identity, listener);
        let (mut tries, mut proving) = (Tries::default(), None);
        loop {
            self.prove(line, &tries, &mut proving).await;
            let mut open = match self.reserve(line, &tries).await {
                Ok(Let::Out(open)) => open,
                Ok(Let::Through(open)) => return self.pass_through(line, open).await,
                Err((why, message)) => return self.refuse(line, why, &message).await,
            };
            if !self.is_proven(&open, &mut proving) && !tries.stood_back.contains(&open.link) {
                tries.stood_back.push(open.link);
                tries.prefer = Some(open.link);
                let why = "another call shows first how the model counts";
                self.unsent(open, why, &tries).await;
                continue;
            }
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
            came.doubt(self.is_script(open.link));
            let (link, steer) = (open.link, open.steer.clone());
            let told = self.settle(open, &came, &tries).await;
            if !matches!(told, Ok(Next::Take))
                && let Some(steer) = steer
            {
                // The model did not hear it, or is asked again.
                self.steer_later(steer);
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

    /// Keeps a text for the next call of the conversation.
    fn steer_later(&self, text: String) {
        let conversation = self.placed.conversation;
        self.shared.memory().steer(conversation, text);
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
                // Some clients go by this word alone (opencode).
                false => {
                    let message = format!("the upstream is unavailable: {message}");
                    let id = came.reply.as_ref().and_then(|reply| reply.id.as_deref());
                    error_frame(self.api(), Why::Cut, &message, id)
                }
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
            false => {
                line.break_off(error_frame(self.api(), why, message, None))
                    .await
            }
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

fn error_frame(api: Api, why: Why, message: &str, id: Option<&str>) -> Bytes {
    refuse::error_frame(api, why, message, id, u64::MAX >> 11).into()
}

/// How long the agent's client waits for a byte, in seconds; the official SDKs say so.
fn timeout_s(headers: &HeaderMap) -> Option<u64> {
    let said = ["x-stainless-read-timeout", "x-stainless-timeout"]
        .into_iter()
        .find_map(|name| headers.get(name)?.to_str().ok()?.parse::<f64>().ok());
    said.filter(|said| *said >= 1.0).map(|said| said as u64)
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
