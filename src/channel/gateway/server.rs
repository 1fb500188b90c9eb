//! Who may ask, and what is answered without asking anybody.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use super::body::Answer;
use super::line::Line;
use super::memory::Failure;
use super::wire::bounds::BODY_BYTES_MAX;
use super::wire::{Refusal, Route, Why, api, refuse};
use super::{Shared, call};

/// Connections at once; more wait, or take the place of a stranger.
const CONNECTIONS_MAX: usize = 256;

/// Most that a head may take, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long a head, and then a body, may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that has not shown the token.
struct Stranger {
    /// It has, meanwhile.
    is_known: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Serves until it is dropped.
///
/// Whoever can reach the loopback can open connections and say nothing: where all
/// places are taken, the stranger who waits longest goes.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut strangers: VecDeque<Stranger> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the gateway cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        strangers.retain(|it| !it.is_known.load(Ordering::Relaxed) && !it.task.is_finished());
        if places.available_permits() == 0
            && let Some(oldest) = strangers.pop_front()
        {
            oldest.task.abort();
        }
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (shared, is_known) = (Arc::clone(&shared), Arc::<AtomicBool>::default());
        let shown = Arc::clone(&is_known);
        let task = connections.spawn(async move {
            connection(stream, shared, shown).await;
            drop(place);
        });
        strangers.push_back(Stranger { is_known, task });
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, is_known: Arc<AtomicBool>) {
    // Small frames must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request| {
        let (shared, is_known) = (Arc::clone(&shared), Arc::clone(&is_known));
        async move { Ok::<_, Infallible>(answer(request, shared, &is_known).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the gateway ended early");
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>, is_known: &AtomicBool) -> Answer {
    let (head, body) = request.into_parts();
    let path = head
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    let is_upgrade = head.headers.contains_key(header::UPGRADE);
    let route = api::route(head.method.as_str(), &path, is_upgrade);
    let asked_api = match &route {
        Route::Call { api, .. } => Some(*api),
        _ => None,
    };
    let refused = |why, message: &str| from_refusal(refuse::refuse(asked_api, why, message));
    if !is_known_host(&head.uri, &head.headers, &shared.hosts) {
        return refused(Why::BadToken, "this is the gateway of one agentguard run");
    }
    match route {
        // Looking whether anybody is there needs no token, and tells nothing.
        Route::Probe => return whole(StatusCode::OK, HeaderMap::new(), Bytes::new()),
        Route::Upgrade => return from_refusal(refuse::upgrade()),
        _ => {}
    }
    if !has_token(&head.headers, &path, &shared.token) {
        let message = "the key is not this run's; use the one in the environment of the agent";
        return refused(Why::BadToken, message);
    }
    is_known.store(true, Ordering::Relaxed);
    if route == Route::Unknown {
        let message = format!(
            "{} {} is not let through: it may cost money that is not counted",
            head.method,
            path.split('?').next().unwrap_or_default()
        );
        return refused(Why::UnknownPath, &message);
    }
    let too_large = || {
        let message = format!("the request body is longer than {BODY_BYTES_MAX} bytes");
        from_refusal(refuse::refuse(asked_api, Why::TooLarge, &message))
    };
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return too_large();
    }
    let collected = Limited::new(body, BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(PATIENCE, collected).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return too_large(),
        Ok(Err(_)) | Err(_) => {
            return refused(Why::BadRequest, "the request body did not come to its end");
        }
    };
    let asked = call::Request {
        route,
        method: head.method,
        path,
        headers: head.headers,
        body,
    };
    // A task of its own: a client that hangs up does not end a call that is paid.
    let (line, answered, _listener) = Line::open();
    tokio::spawn(call::answer(asked, shared, line));
    answered
        .await
        .unwrap_or_else(|_| refused(Why::Unreachable, "the call was given up"))
}

/// Against a page that has its name point to the loopback: every name that the
/// request gives must be one of ours, and one must be there.
fn is_known_host(uri: &Uri, headers: &HeaderMap, hosts: &[String]) -> bool {
    let is_ours = |name: &str| hosts.iter().any(|known| known == name);
    let mut named = headers.get_all(header::HOST).iter();
    let one = named.next().and_then(|host| host.to_str().ok());
    one.is_some_and(is_ours)
        && named.next().is_none()
        && uri.authority().is_none_or(|name| is_ours(name.as_str()))
}

/// Every client has its own place for the key.
fn has_token(headers: &HeaderMap, path: &str, token: &str) -> bool {
    let in_header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| is_same(value.strip_prefix("Bearer ").unwrap_or(value), token))
    };
    let query = path.split_once('?').map_or("", |(_, query)| query);
    ["authorization", "x-api-key", "x-goog-api-key"]
        .into_iter()
        .any(in_header)
        || query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("key="))
            .any(|key| is_same(key, token))
}

/// Compares in a time that does not tell how much of a guess was right.
fn is_same(guess: &str, token: &str) -> bool {
    let differs = |seen, (a, b): (u8, u8)| black_box(seen | (a ^ b));
    guess.len() == token.len() && guess.bytes().zip(token.bytes()).fold(0, differs) == 0
}

/// Answers with a body that is known.
pub(super) fn whole(status: StatusCode, headers: HeaderMap, body: Bytes) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body)));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

/// Answers with our own words.
pub(super) fn from_refusal(refusal: Refusal) -> Answer {
    let Failure {
        status,
        headers,
        body,
        ..
    } = Failure::from_refusal(refusal, tokio::time::Instant::now());
    whole(status, headers, body)
}
