//! The model's HTTP server: what a request gets, and how it goes wrong.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::super::body::{self, Broken, Coming, Pieces};
use super::super::wire::bounds::BODY_BYTES_MAX;
use super::super::wire::request::{self, Asked};
use super::super::wire::{Api, Framing, Route, api, refuse};
use super::file::{Fault, Kind, Script, Stop, Usage, Words};
use super::ledger::{Entry, Ledger, Outcome};
use super::plan::{self, Choice};
use super::render::{self, Answer};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// Most that a head may take, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long a head, and then a body, may take to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// What was sent is on its way before a reset, which would throw it away.
const BEFORE_RESET: Duration = Duration::from_millis(20);
/// Where the ledger is read.
const LEDGER_PATH: &str = "/_script/ledger";
/// The model that is listed when the script names none.
const MODEL: &str = "scripted-1";

/// A model that answers from a script, on the loopback. Dropping it ends it,
/// and every answer under way.
#[derive(Debug)]
pub struct Model {
    address: SocketAddr,
    most_input: u64,
    server: JoinHandle<()>,
}

/// What all requests share.
struct Shared {
    script: Script,
    ledger: Mutex<Ledger>,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Model {
    /// Listens on the loopback.
    ///
    /// - `port`: a free one if none is given.
    /// - `ledger`: a file that every request is written to, one line of JSON
    ///   each; if it holds requests already, the model goes on behind them.
    ///
    /// Errors: the system's, for the port and for the file.
    pub async fn open(
        script: Script,
        port: Option<u16>,
        ledger: Option<&Path>,
    ) -> io::Result<Self> {
        let ledger = Ledger::open(ledger, script.price)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await?;
        let address = listener.local_addr()?;
        let most_input = script.most_input();
        let shared = Arc::new(Shared {
            script,
            ledger: Mutex::new(ledger),
        });
        Ok(Self {
            address,
            most_input,
            server: tokio::spawn(serve(listener, shared)),
        })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the most input tokens that an answer says it used, whatever was asked.
    pub fn most_input(&self) -> u64 {
        self.most_input
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            if let Err(error) = connection(stream, shared).await {
                tracing::debug!(%error, "a connection to the scripted model ended early");
            }
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) -> Result<(), hyper::Error> {
    let Ok((stream, line)) = Line::of(stream) else {
        return Ok(());
    };
    let service = hyper::service::service_fn(move |request| {
        let (shared, line) = (Arc::clone(&shared), line.clone());
        async move { answer(request, shared, line).await }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// A second hold on a connection, to reset it while hyper has the first.
#[derive(Clone)]
struct Line(Arc<std::net::TcpStream>);

impl Line {
    fn of(stream: TcpStream) -> io::Result<(TcpStream, Self)> {
        stream.set_nodelay(true)?;
        let stream = stream.into_std()?;
        let twin = stream.try_clone()?;
        Ok((TcpStream::from_std(stream)?, Self(Arc::new(twin))))
    }

    /// Makes the coming close a reset.
    fn reset(&self) -> Broken {
        let _ = rustix::net::sockopt::set_socket_linger(&*self.0, Some(Duration::ZERO));
        Broken
    }
}

/// Notes in the ledger that a client is gone, unless its answer is over.
struct Watch {
    shared: Arc<Shared>,
    nth: u64,
    is_over: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.ledger().hung_up(self.nth);
        }
    }
}

/// What goes out; an error resets the connection instead.
type Served = Result<body::Answer, Broken>;

async fn answer(request: Request<Incoming>, shared: Arc<Shared>, line: Line) -> Served {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let is_upgrade = head.headers.contains_key(header::UPGRADE);
    let route = api::route(head.method.as_str(), path, is_upgrade);
    let path = head.uri.path();
    let collected = Limited::new(body, BODY_BYTES_MAX).collect();
    let Ok(Ok(body)) = tokio::time::timeout(PATIENCE, collected).await else {
        let why = "the request body is too long, or did not come to its end";
        return Ok(refused(Api::Messages, 413, why));
    };
    let body = body.to_bytes();
    let (api, model, framing) = match route {
        Route::Call {
            api,
            model,
            framing,
        } => (api, model, framing),
        _ if path == LEDGER_PATH => return Ok(json_answer(200, &shared.ledger().show())),
        Route::Probe => return Ok(json_answer(200, &json!({}))),
        Route::Upgrade => {
            let refusal = refuse::upgrade();
            return Ok(whole(refusal.status, "application/json", refusal.body));
        }
        Route::Free if head.method == "POST" => {
            let tokens = shared.script.usage.over(shared.script.usage).prompt();
            let counted = json!({"totalTokens": tokens, "input_tokens": tokens});
            return Ok(json_answer(200, &counted));
        }
        Route::Free if path.contains("/models") => {
            let listed = shared.script.model.as_deref().unwrap_or(MODEL);
            return Ok(json_answer(200, &render::models(path, listed)));
        }
        Route::Free | Route::Unknown => {
            let why = format!("{} {path} is not served", head.method);
            return Ok(refused(Api::Chat, 404, &why));
        }
    };
    let asked = match request::read(api, &body) {
        Ok(asked) => asked,
        Err(error) => return Ok(refused(api, 400, &error.to_string())),
    };
    let usual = match asked.is_stream {
        true => Framing::Events,
        false => Framing::Whole,
    };
    let framing = framing.unwrap_or(usual);
    let text = |name: &str| head.headers.get(name)?.to_str().ok();
    let entry = Entry {
        at_ms: jiff::Timestamp::now().as_millisecond(),
        api: api_name(api).to_owned(),
        path: path.to_owned(),
        model: model
            .or_else(|| asked.model.clone())
            .unwrap_or(MODEL.to_owned()),
        is_stream: framing != Framing::Whole,
        retry_count: text("x-stainless-retry-count").and_then(|count| count.parse().ok()),
        user_agent: text("user-agent").map(str::to_owned),
        ..Entry::default()
    };
    call(&shared, &asked, &body, framing, entry, line).await
}

/// Answers one call of the model.
async fn call(
    shared: &Arc<Shared>,
    asked: &Asked<'_>,
    body: &[u8],
    framing: Framing,
    mut entry: Entry,
    line: Line,
) -> Served {
    let script = &shared.script;
    let choice = plan::choose(script, asked);
    let composed = compose(script, &choice, asked, body, &mut entry);
    if asked.api == Api::CountTokens {
        let used = std::mem::take(&mut entry.usage);
        entry.outcome = Outcome::Counted;
        shared.ledger().enter(entry);
        return Ok(json_answer(200, &json!({"input_tokens": used.prompt()})));
    }
    let (fault, mut watch) = enter(shared, &choice, entry);
    let mut answer = match composed {
        Ok(answer) => answer,
        Err(why) => {
            watch.is_over = true;
            return Ok(refused(asked.api, 400, &why));
        }
    };
    let kind = fault.map(|fault| fault.kind);
    if let Some(Kind::Slow(wait, 0) | Kind::Silence(wait, 0)) = kind {
        tokio::time::sleep(wait).await;
    }
    if let Some(Kind::Empty) = kind {
        answer.text.clear();
        answer.calls.clear();
    }
    let instead = match (kind, fault) {
        (Some(Kind::Status(status)), Some(fault)) => Ok(failed(asked.api, status, &fault.words)),
        // Only a stream has begun when its error comes.
        (Some(Kind::Error(status, _)), Some(fault)) if framing == Framing::Whole => {
            Ok(failed(asked.api, status, &fault.words))
        }
        (Some(Kind::Reset | Kind::Silence(_, 0)), _) => Err(line.reset()),
        (Some(Kind::Garbage), _) => {
            let page = "<html><body><h1>Welcome</h1>Please sign in.</body></html>\n";
            Ok(whole(200, "text/html; charset=utf-8", page))
        }
        _ => {
            let pace = match &choice {
                Choice::Turn { turn, .. } => turn.pace.unwrap_or(script.pace).0,
                _ => script.pace.0,
            };
            return Ok(deliver(&answer, framing, fault, pace, line, watch));
        }
    };
    watch.is_over = true;
    instead
}

/// Makes the answer to a choice, faults aside, and notes it in the entry.
///
/// Errors: why there is none.
fn compose(
    script: &Script,
    choice: &Choice<'_>,
    asked: &Asked<'_>,
    body: &[u8],
    entry: &mut Entry,
) -> Result<Answer, String> {
    let mut answer = Answer {
        api: asked.api,
        model: script.model.as_ref().unwrap_or(&entry.model).clone(),
        label: String::new(),
        text: String::new(),
        calls: Vec::new(),
        usage: script.usage.over(script.usage),
        stop: Stop::End,
        shows_usage: asked.asks_usage,
    };
    match choice {
        Choice::Turn { number, turn, .. } => {
            entry.turn = Some(*number);
            answer.label = number.to_string();
            answer.usage = turn.usage.over(script.usage);
            answer.stop = turn.stop;
            (answer.text, answer.calls) = plan::fit(script, turn, *number, asked, body);
        }
        Choice::Side { place, side } => {
            entry.outcome = Outcome::Side;
            answer.label = format!("side{place}");
            answer.usage = side.usage.over(script.usage);
            answer.text.clone_from(&side.say);
        }
        Choice::Schema(value) => {
            entry.outcome = Outcome::Side;
            answer.label = "schema".to_owned();
            answer.text = value.to_string();
        }
        Choice::Refused { number, why } => {
            entry.turn = Some(*number);
            entry.outcome = Outcome::Refused;
            entry.why = Some(why.clone());
            return Err(why.clone());
        }
    }
    if asked.api == Api::Gemini {
        // It knows no writing of a cache: that is a request of its own.
        answer.usage.input += std::mem::take(&mut answer.usage.cache_write);
    }
    shorten(&mut answer, asked.max_output);
    entry.usage = answer.usage;
    Ok(answer)
}

/// Keeps to the limit of the output, as any model does: fewer tokens, no calls,
/// a part of the text.
fn shorten(answer: &mut Answer, max_output: Option<u64>) {
    let Some(most) = max_output.filter(|most| *most < answer.usage.output) else {
        return;
    };
    let kept = answer.text.len() as u64 * most / answer.usage.output;
    let kept = answer.text.floor_char_boundary(kept as usize);
    answer.text.truncate(kept);
    answer.calls.clear();
    answer.usage.output = most;
    answer.stop = Stop::Length;
}

/// Enters a request in the ledger, with the fault that is due.
fn enter<'s>(
    shared: &'s Arc<Shared>,
    choice: &Choice<'s>,
    mut entry: Entry,
) -> (Option<&'s Fault>, Watch) {
    let mut ledger = shared.ledger();
    let due = due(&shared.script, choice, &ledger, &entry.model);
    if let Some((place, fault)) = &due {
        let (name, is_billed) = describe(fault.kind);
        entry.fault = Some(place.clone());
        entry.why = Some(name);
        // A slow answer is one; of the others the turn is still to come.
        if !matches!(fault.kind, Kind::Slow(..)) {
            entry.outcome = Outcome::Fault;
        }
        if !fault.billed.unwrap_or(is_billed) {
            entry.usage = Usage::default();
        }
    }
    let nth = ledger.enter(entry);
    let watch = Watch {
        shared: Arc::clone(shared),
        nth,
        is_over: false,
    };
    (due.map(|(_, fault)| fault), watch)
}

/// Finds the first fault that has not happened often enough, with its place in
/// the script.
fn due<'s>(
    script: &'s Script,
    choice: &Choice<'s>,
    ledger: &Ledger,
    model: &str,
) -> Option<(String, &'s Fault)> {
    let (general, own, prefix, number): (&'s [Fault], &'s [Fault], _, _) = match choice {
        Choice::Turn {
            number,
            place,
            turn,
        } => (
            &script.faults,
            &turn.faults,
            format!("turns[{place}]."),
            Some(*number),
        ),
        Choice::Side { place, side } => (&[], &side.faults, format!("sides[{place}]."), None),
        Choice::Schema(_) | Choice::Refused { .. } => return None,
    };
    let of = |list: &'s [Fault], prefix: String| {
        let place = move |(at, fault)| (format!("{prefix}faults[{at}]"), fault);
        list.iter().enumerate().map(place)
    };
    let mut all = of(general, String::new()).chain(of(own, prefix));
    all.find(|(place, fault)| {
        let is_here = fault.turn.is_none() || fault.turn == number;
        let is_its = fault.model.as_deref().is_none_or(|only| only == model);
        is_here && is_its && ledger.happened(place) < fault.times.0
    })
}

/// Returns what a fault is called, and whether a provider bills the answer that
/// did not reach the client whole.
fn describe(kind: Kind) -> (String, bool) {
    let (name, is_billed) = match kind {
        Kind::Status(status) => return (format!("status {status}"), false),
        Kind::Error(status, _) => return (format!("error {status}"), false),
        Kind::Reset => ("reset", false),
        Kind::Garbage => ("garbage", false),
        Kind::Silence(_, after) => ("silence", after > 0),
        Kind::Cut(_) => ("cut", true),
        Kind::End(_) => ("end", true),
        Kind::Slow(..) => ("slow", true),
        Kind::Empty => ("empty", true),
    };
    (name.to_owned(), is_billed)
}

/// Sends an answer, as far as its fault lets it.
fn deliver(
    answer: &Answer,
    framing: Framing,
    fault: Option<&Fault>,
    pace: Duration,
    line: Line,
    watch: Watch,
) -> body::Answer {
    let mut frames = render::frames(answer, framing);
    let is_whole = framing == Framing::Whole;
    let mut length = frames.iter().map(String::len).sum::<usize>();
    if is_whole {
        // Two parts, so that it can break in the middle too.
        let text = frames.concat();
        let (left, right) = text.split_at(text.floor_char_boundary(text.len() / 2));
        frames = vec![left.to_owned(), right.to_owned()];
    }
    // What breaks an answer leaves out its end at least.
    let at_most = |after: usize| after.min(frames.len() - 1);
    let kind = fault.map(|fault| fault.kind);
    let mut hold = None;
    let (sent, ending) = match kind {
        Some(Kind::Cut(after)) => (at_most(after), Ending::Reset(BEFORE_RESET)),
        Some(Kind::Silence(wait, after)) => (at_most(after), Ending::Reset(wait)),
        Some(Kind::Error(status, after)) => {
            let words = fault.map(|fault| &fault.words);
            let frame = render::error_frame(answer, status, words, at_most(after));
            (at_most(after), Ending::Frame(frame))
        }
        Some(Kind::End(after)) => {
            length = frames[..at_most(after)].iter().map(String::len).sum();
            (at_most(after), Ending::Neat)
        }
        Some(Kind::Slow(wait, after @ 1..)) => {
            hold = Some((at_most(after), wait));
            (frames.len(), Ending::Neat)
        }
        _ => (frames.len(), Ending::Neat),
    };
    frames.truncate(sent);
    let (pieces, coming) = Coming::new(None);
    let pace = if is_whole { Duration::ZERO } else { pace };
    tokio::spawn(send(pieces, frames, pace, hold, ending, line, watch));
    let mut response = Response::new(Either::Right(coming));
    let content_type = match framing {
        Framing::Events => "text/event-stream; charset=utf-8",
        Framing::Whole | Framing::List => "application/json",
    };
    put(&mut response, "content-type", content_type);
    put(&mut response, "cache-control", "no-cache");
    if is_whole {
        put(&mut response, "content-length", &length.to_string());
    }
    let request_id = match answer.api {
        Api::Messages | Api::CountTokens => "request-id",
        Api::Chat | Api::Responses | Api::Gemini => "x-request-id",
    };
    put(&mut response, request_id, &plan::id("req", &answer.label));
    response
}

/// How the pieces of an answer end.
enum Ending {
    Neat,
    Frame(String),
    Reset(Duration),
}

/// Sends frames one by one; ends early when the client is gone.
async fn send(
    pieces: Pieces,
    frames: Vec<String>,
    pace: Duration,
    hold: Option<(usize, Duration)>,
    ending: Ending,
    line: Line,
    mut watch: Watch,
) {
    for (at, frame) in frames.into_iter().enumerate() {
        let wait = match hold {
            Some((after, wait)) if after == at => wait,
            _ if at == 0 => Duration::ZERO,
            _ => pace,
        };
        if !pause(&pieces, wait).await || pieces.send(Ok(frame.into())).await.is_err() {
            return;
        }
    }
    match ending {
        Ending::Neat => {}
        Ending::Frame(frame) => {
            let _ = pieces.send(Ok(frame.into())).await;
        }
        Ending::Reset(wait) => {
            if !pause(&pieces, wait).await {
                return;
            }
            let _ = pieces.send(Err(line.reset())).await;
        }
    }
    watch.is_over = true;
}

/// Waits, at least until what was sent is on its way; returns whether the client
/// is still there.
async fn pause(pieces: &Pieces, wait: Duration) -> bool {
    tokio::task::yield_now().await;
    if wait.is_zero() {
        return !pieces.is_closed();
    }
    tokio::select! {
        () = pieces.closed() => false,
        () = tokio::time::sleep(wait) => true,
    }
}

fn api_name(api: Api) -> &'static str {
    match api {
        Api::Messages => "messages",
        Api::CountTokens => "count_tokens",
        Api::Chat => "chat",
        Api::Responses => "responses",
        Api::Gemini => "gemini",
    }
}

fn put(answer: &mut body::Answer, name: &str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
        answer.headers_mut().insert(name, value);
    }
}

fn whole(status: u16, content_type: &str, body: impl Into<Bytes>) -> body::Answer {
    let mut answer = Response::new(Either::Left(Full::new(body.into())));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    put(&mut answer, "content-type", content_type);
    answer
}

fn json_answer(status: u16, body: &Value) -> body::Answer {
    whole(status, "application/json", body.to_string())
}

/// Our own refusal: trying again changes nothing.
fn refused(api: Api, status: u16, why: &str) -> body::Answer {
    let words = Words {
        message: Some(why.to_owned()),
        ..Words::default()
    };
    let mut answer = failed(api, status, &words);
    put(&mut answer, "x-should-retry", "false");
    answer
}

/// An HTTP error in the words of its API, or in those of the script.
fn failed(api: Api, status: u16, words: &Words) -> body::Answer {
    let usual = || render::error(api, status, words).to_string();
    let body = words.body.clone().unwrap_or_else(usual);
    let mut answer = whole(status, "application/json", body);
    if let Some(wait) = words.retry_after {
        put(&mut answer, "retry-after", &wait.seconds().to_string());
        if wait.0.subsec_millis() > 0 {
            put(
                &mut answer,
                "retry-after-ms",
                &wait.0.as_millis().to_string(),
            );
        }
    }
    for (name, value) in &words.headers {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        // The length of the body is ours to say.
        if !name.eq_ignore_ascii_case("content-length") {
            put(&mut answer, name, &text);
        }
    }
    answer
}
