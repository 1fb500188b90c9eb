//! Who may ask, and what is answered without asking anybody.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::body::Answer;
use super::line::Line;
use super::memory::Failure;
use super::wire::bounds::BODY_BYTES_MAX;
use super::wire::{Refusal, Route, Why, api, refuse};
use super::{Shared, call};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;

/// Most that a head may take, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long a head, and then a body, may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the gateway cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            connection(stream, shared).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Small frames must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, shared).await) }
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

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Answer {
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
    if !is_known_host(&head.headers, &shared.hosts) {
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
    if route == Route::Unknown {
        let message = format!(
            "{} {} is not let through: it may cost money that is not counted",
            head.method,
            path.split('?').next().unwrap_or_default()
        );
        return refused(Why::UnknownPath, &message);
    }
    let collected = Limited::new(body, BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(PATIENCE, collected).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the request body is longer than {BODY_BYTES_MAX} bytes");
            return refused(Why::TooLarge, &message);
        }
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
    let (line, answered) = Line::open();
    tokio::spawn(call::answer(asked, shared, line));
    answered
        .await
        .unwrap_or_else(|_| refused(Why::Unreachable, "the call was given up"))
}

/// Against a page that has its name point to the loopback.
fn is_known_host(headers: &HeaderMap, hosts: &[String]) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    host.is_some_and(|host| hosts.iter().any(|known| known == host))
}

/// Every client has its own place for the key.
fn has_token(headers: &HeaderMap, path: &str, token: &str) -> bool {
    let in_header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.strip_prefix("Bearer ").unwrap_or(value) == token)
    };
    let query = path.split_once('?').map_or("", |(_, query)| query);
    ["authorization", "x-api-key", "x-goog-api-key"]
        .into_iter()
        .any(in_header)
        || query
            .split('&')
            .any(|pair| pair.strip_prefix("key=") == Some(token))
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
