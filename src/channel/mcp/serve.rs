//! A server of ours: the guarded tools of the run, for any MCP client.
//!
//! Calls go to the supervisor as `tool` requests: keys, retries, breakers and the
//! taxonomy are there. Which tools there are, and whether each would be tried now, is
//! asked anew for every list, so that a breaker that opened is seen before it is met.
//!
//! stdout carries nothing but messages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::Error;
use super::link::Link;
use super::message::{self, Message, Meta, code, field, id_key};
use super::offer::{self, Offer};
use super::told::{self, Answer};
use super::wires::{Line, Reader, Writer};
use crate::channel::client;
use crate::channel::frame::deeper_than;
use crate::channel::method::Verbatim;

/// Versions with a handshake, the newest last.
const HANDSHAKE_VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// Versions without one.
const VERSIONS: [&str; 1] = ["2026-07-28"];

/// Requests that are answered at once; the client waits with more.
const REQUESTS_MAX: usize = 200;
/// How long answers may take when the client has ended its side.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// When a call that takes long is told of, first and then each time.
const PROGRESS_FIRST: Duration = Duration::from_secs(1);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

const INSTRUCTIONS: &str = "Tools of a supervised run. Each call is recorded; what fails and \
    passes by itself is retried for you, so do not repeat a call because it was slow. A tool that \
    is called unavailable is not called until the time it names: use another way, or go on without it. \
    When a result says that the run is being ended, stop.";

/// Serves a client until it ends its side or `stopped` comes. Returns the exit code.
///
/// Errors: the supervisor does not answer at all.
pub async fn serve(
    link: Link,
    client: (
        impl AsyncRead + Unpin,
        impl AsyncWrite + Unpin + Send + 'static,
    ),
    stopped: impl Future<Output = ()>,
) -> Result<u8, Error> {
    let (to_client, writing) = Writer::new(client.1);
    let writing = tokio::spawn(writing);
    let session = Arc::new(Session {
        link,
        client: to_client,
        state: Mutex::default(),
        room: Arc::new(Semaphore::new(REQUESTS_MAX)),
    });
    // A supervisor that is not there is told at once, not with the first call.
    session.offer().await?;
    let mut lines = Reader::new(client.0);
    let reading = async {
        while let Some(line) = lines.next().await {
            session.take(line).await;
        }
    };
    tokio::select! {
        () = reading => {}
        () = stopped => {}
    }
    let all = u32::try_from(REQUESTS_MAX).unwrap_or(u32::MAX);
    let _ = timeout(LAST_ANSWERS, session.room.acquire_many(all)).await;
    drop(session);
    let _ = timeout(LAST_ANSWERS, writing).await;
    Ok(0)
}

struct Session {
    link: Link,
    client: Writer,
    state: Mutex<State>,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    /// The handshake is done, so that changes may be told.
    is_ready: bool,
    /// Clients of the other era that asked to be told of changes: ids as written.
    listeners: HashMap<String, String>,
    /// Calls under way, by id.
    calls: HashMap<String, Arc<Notify>>,
    /// Which tools were available when they were last looked at.
    seen: Option<Vec<bool>>,
}

/// A request, and how it is answered.
struct Asked {
    id: String,
    key: String,
    is_modern: bool,
}

/// The error that answers a request.
type Refused = (i64, String, Option<Value>);

fn refused(code: i64, why: impl Into<String>) -> Refused {
    (code, why.into(), None)
}

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn offer(&self) -> Result<Offer, client::Error> {
        let nothing = Verbatim::from_value(&json!({"messages": "none"}));
        let state = self.link.ask("state", &nothing).await?;
        Offer::read(state.get()).map_err(|why| client::Error::Unreadable {
            method: "state".into(),
            why,
        })
    }

    /// Takes in a line of the client.
    async fn take(self: &Arc<Self>, line: Line) {
        let why = match line {
            Line::Text(line) => match message::read(&line) {
                Ok(Message::Batch) => message::error(
                    None,
                    code::INVALID_REQUEST,
                    "a batch; send each message on a line of its own",
                ),
                Ok(message) => return self.took(message).await,
                Err(refusal) => message::error(refusal.id.as_deref(), refusal.code, &refusal.why),
            },
            Line::NotText(_) => message::error(None, code::PARSE, "the line is not UTF-8"),
            Line::TooLong => {
                let why = format!("the line is longer than {} bytes", message::FRAME_BYTES_MAX);
                message::error(None, code::INVALID_REQUEST, &why)
            }
        };
        self.client.line(why).await;
    }

    async fn took(self: &Arc<Self>, message: Message<'_>) {
        match message {
            Message::Request { id, method, params } => {
                let room = Arc::clone(&self.room).acquire_owned().await;
                let params = params.map(RawValue::to_owned);
                let cancelled = Arc::new(Notify::new());
                let (id, key) = (id.get().to_owned(), id_key(id));
                self.state()
                    .calls
                    .insert(key.clone(), Arc::clone(&cancelled));
                let session = Arc::clone(self);
                tokio::spawn(async move {
                    let answer = tokio::select! {
                        answer = session.answer(&id, &key, &method, params.as_deref()) => answer,
                        // Who cancels a request wants no answer; what was asked of the
                        // supervisor goes on there, and is recorded.
                        () = cancelled.notified() => None,
                    };
                    session.state().calls.remove(&key);
                    if let Some(answer) = answer {
                        session.client.line(answer).await;
                    }
                    drop(room);
                });
            }
            Message::Notification { method, params } => match method.as_str() {
                "notifications/initialized" => self.state().is_ready = true,
                "notifications/cancelled" => {
                    if let Some(id) = field(params, "requestId") {
                        let mut state = self.state();
                        state.listeners.remove(&id_key(id));
                        if let Some(call) = state.calls.get(&id_key(id)) {
                            call.notify_one();
                        }
                    }
                }
                _ => {}
            },
            // We ask nothing.
            Message::Response { .. } | Message::Batch => {}
        }
    }

    /// Returns the line that answers a request; `None` for one that stays open.
    async fn answer(
        self: &Arc<Self>,
        id: &str,
        key: &str,
        method: &str,
        params: Option<&RawValue>,
    ) -> Option<String> {
        let meta = match message::meta(params) {
            Ok(meta) => meta,
            Err(why) => return Some(message::error(Some(id), code::INVALID_PARAMS, &why)),
        };
        let asked = Asked {
            id: id.to_owned(),
            key: key.to_owned(),
            is_modern: meta.is_modern(),
        };
        let answered = match method {
            "initialize" => Ok(Some(hello(params))),
            _ if !meta
                .version
                .as_deref()
                .is_none_or(|it| VERSIONS.contains(&it)) =>
            {
                Err(other_version(&meta))
            }
            "server/discover" => Ok(Some(discovered())),
            "ping" => Ok(Some("{}".to_owned())),
            "tools/list" => self.list(&asked).await.map(Some),
            "tools/call" => self.call(&asked, params).await.map(Some),
            "subscriptions/listen" if asked.is_modern => {
                self.listen(&asked, params).await;
                Ok(None)
            }
            other => {
                let why = format!("there is no method `{other}` here: only tools are served");
                Err(refused(code::UNKNOWN_METHOD, why))
            }
        };
        match answered {
            Ok(result) => result.map(|it| message::result(id, &told::in_era(it, asked.is_modern))),
            Err((code, why, data)) => {
                let mut error = json!({"code": code, "message": why});
                if let Some(data) = data {
                    error["data"] = data;
                }
                Some(message::error_as_it_is(id, &error.to_string()))
            }
        }
    }

    async fn list(self: &Arc<Self>, asked: &Asked) -> Result<String, Refused> {
        let offer = self.offer().await;
        let offer = offer.map_err(|error| refused(code::CONNECTION_CLOSED, error.to_string()))?;
        self.look(&offer);
        Ok(offer.list(asked.is_modern))
    }

    async fn call(
        self: &Arc<Self>,
        asked: &Asked,
        params: Option<&RawValue>,
    ) -> Result<String, Refused> {
        if params.is_some_and(|it| deeper_than(it.get().as_bytes(), message::DEPTH_MAX)) {
            let why = format!("objects and arrays nest deeper than {}", message::DEPTH_MAX);
            return Err(refused(code::INVALID_PARAMS, why));
        }
        let call = message::tool_call(params).map_err(|why| refused(code::INVALID_PARAMS, why))?;
        let is_modern = asked.is_modern;
        let failed = |error: client::Error| told::refused(&error, is_modern);
        let offer = match self.offer().await {
            Ok(offer) => offer,
            Err(error) => return Ok(failed(error)),
        };
        let args = call.args.map_or("{}", RawValue::get);
        let request = offer
            .request(&call.name, args, call.meta.tool_use.as_deref())
            .map_err(|why| refused(code::INVALID_PARAMS, why))?;
        let offer::Request::Ask {
            method,
            params,
            has_schema,
        } = request
        else {
            return Ok(offer.state(is_modern));
        };
        let asking = self.link.ask(method, &params);
        let answer = match call.meta.progress_token {
            Some(token) => self.with_progress(token, &call.name, asking).await,
            None => asking.await,
        };
        let answer = match answer.as_ref().map(|it| Answer::read(it.get())) {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return Ok(told::failed(&why, is_modern)),
            Err(error) => return Ok(told::refused(error, is_modern)),
        };
        let was_all_well = offer.is_available() && answer.is_servers_own();
        if !was_all_well && let Ok(offer) = self.offer().await {
            self.look(&offer);
            self.tell(&offer).await;
        }
        Ok(answer.result(has_schema, is_modern))
    }

    /// Tells of a call that takes long, while `work` is under way.
    async fn with_progress<T>(
        &self,
        token: &RawValue,
        tool: &str,
        work: impl Future<Output = T>,
    ) -> T {
        let token = serde_json::from_str::<Value>(token.get()).unwrap_or_default();
        let (began, mut wait) = (Instant::now(), PROGRESS_FIRST);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep(wait) => {}
            }
            wait = PROGRESS_EVERY;
            let seconds = began.elapsed().as_secs();
            let params = json!({
                "progressToken": token, "progress": seconds,
                "message": format!("`{tool}` has been running for {seconds} s"),
            });
            let line = message::notification("notifications/progress", &params);
            self.client.line(line).await;
        }
    }

    /// Remembers which tools are available; looks again when one is expected back.
    fn look(self: &Arc<Self>, offer: &Offer) {
        self.state().seen.get_or_insert_with(|| offer.available());
        let Some(wait) = offer.back_in(jiff::Timestamp::now()) else {
            return;
        };
        let session = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(wait).await;
            let Some(session) = session.upgrade() else {
                return;
            };
            if let Ok(offer) = session.offer().await {
                session.tell(&offer).await;
            }
        });
    }

    /// Tells that the list has changed, where it has.
    async fn tell(&self, offer: &Offer) {
        let lines = {
            let mut state = self.state();
            let now = offer.available();
            if state.seen.replace(now.clone()).as_ref() == Some(&now) {
                return;
            }
            let method = "notifications/tools/list_changed";
            let subscribed = |id: &String| {
                let id = serde_json::from_str::<Value>(id).unwrap_or_default();
                let meta = json!({"io.modelcontextprotocol/subscriptionId": id});
                message::notification(method, &json!({"_meta": meta}))
            };
            let mut lines: Vec<String> = state.listeners.values().map(subscribed).collect();
            if state.is_ready {
                lines.push(message::notification(method, &json!({})));
            }
            lines
        };
        for line in lines {
            self.client.line(line).await;
        }
    }

    /// Takes on somebody who wants to be told of changes, as long as the request is open.
    async fn listen(&self, asked: &Asked, params: Option<&RawValue>) {
        let wanted = field(field(params, "notifications"), "toolsListChanged");
        let is_wanted = wanted.is_some_and(|raw| raw.get() == "true");
        let id = serde_json::from_str::<Value>(&asked.id).unwrap_or_default();
        let params = json!({
            "notifications": if is_wanted { json!({"toolsListChanged": true}) } else { json!({}) },
            "_meta": {"io.modelcontextprotocol/subscriptionId": id},
        });
        let method = "notifications/subscriptions/acknowledged";
        self.client
            .line(message::notification(method, &params))
            .await;
        if is_wanted {
            let mut state = self.state();
            state.listeners.insert(asked.key.clone(), asked.id.clone());
        }
    }
}

fn about() -> Value {
    json!({"name": "agentguard", "title": "agentguard", "version": env!("CARGO_PKG_VERSION")})
}

fn abilities() -> Value {
    json!({"tools": {"listChanged": true}})
}

/// Answers the handshake: in the client's version where we know it.
fn hello(params: Option<&RawValue>) -> String {
    let asked = field(params, "protocolVersion").map(RawValue::get);
    let asked = asked.and_then(|json| serde_json::from_str::<String>(json).ok());
    let known = HANDSHAKE_VERSIONS.iter().rev();
    let version = known.clone().find(|it| asked.as_deref() == Some(it));
    let version = version
        .or(known.clone().next())
        .copied()
        .unwrap_or_default();
    let hello = json!({
        "protocolVersion": version, "capabilities": abilities(), "serverInfo": about(),
        "instructions": INSTRUCTIONS,
    });
    hello.to_string()
}

fn discovered() -> String {
    let discovered = json!({
        "supportedVersions": VERSIONS, "capabilities": abilities(), "instructions": INSTRUCTIONS,
        "cacheScope": "private", "ttlMs": 0, "resultType": "complete",
        "_meta": {"io.modelcontextprotocol/serverInfo": about()},
    });
    discovered.to_string()
}

fn other_version(meta: &Meta<'_>) -> Refused {
    let requested = meta.version.clone().unwrap_or_default();
    let why = format!("version {requested} of the protocol is not spoken here");
    let data = json!({"supported": VERSIONS, "requested": requested});
    (code::UNSUPPORTED_VERSION, why, Some(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_takes_the_clients_version_where_it_is_known() {
        let version = |asked: &str| {
            let params = format!("{{\"protocolVersion\":{asked}}}");
            let params = RawValue::from_string(params).unwrap();
            let hello: Value = serde_json::from_str(&hello(Some(&params))).unwrap();
            hello["protocolVersion"].as_str().unwrap().to_owned()
        };
        assert_eq!(version("\"2024-11-05\""), "2024-11-05");
        assert_eq!(version("\"1999-01-01\""), "2025-11-25");
        assert_eq!(version("7"), "2025-11-25");
    }
}
