//! Between an MCP client and an MCP server that know nothing of us.
//!
//! ```text
//! tools/call ─► lend ─┬─ answered (record, refusal) ──────────────────────► client
//!                     └─ try N ─► server ─► response ─► lend_end ─┬─ answer ─► client
//!                          ▲                                      └─ try N+1 ─┐
//!                          └──────────────────────────────────────────────────┘
//! ```
//! Everything else passes untouched, in both directions: ids belong to the side that
//! made them, so nothing is renumbered. A second try alone goes out under an id of
//! ours, since a server need not take the same one twice.
//!
//! Fails closed: a line of the client that cannot be read is refused, since the
//! server may read it; and without a supervisor no tool is called.
//!
//! Not here: the server's process ([`super::end`]).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::link::Link;
use super::message::{self, Message, code, field, id_key, one_line, splice, with_field};
use super::told::{self, Answer, NativeKey};
use super::wires::{Line, Writer};
use crate::channel::frame::deeper_than;
use crate::channel::method::Verbatim;

/// Calls that are under way at once; the client waits with more.
const CALLS_MAX: usize = 200;
/// How long the answer of a call is waited for that the client has cancelled.
const CANCEL_GRACE: Duration = Duration::from_secs(5);
/// Longest response that is handed to the supervisor whole, in bytes.
const RESPONSE_BYTES_MAX: usize = 8 << 20;
/// How much of a longer one it is told.
const EXCERPT_BYTES: usize = 64 << 10;
/// Ids whose answers nobody waits for that are remembered.
const LATE_MAX: usize = 1_000;
/// Longest kept response that is read again, in bytes.
const KEPT_BYTES_MAX: u64 = message::FRAME_BYTES_MAX as u64;

/// Why there is no answer, in the word of the protocol.
const CANCELLED: &str = "cancelled";

/// The middle between both sides.
pub(super) struct Relay {
    link: Link,
    /// The server's name in the task file.
    name: String,
    client: Writer,
    /// Absent once the server is asked to end.
    server: Mutex<Option<Writer>>,
    state: Mutex<State>,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    /// Requests of the client that passed and are not answered: id as written.
    passing: HashMap<String, String>,
    /// Guarded calls by the client's id.
    calls: HashMap<String, Call>,
    /// Tries that the server has, by the id they went out under.
    tries: HashMap<String, oneshot::Sender<String>>,
    /// Ids of tries that were given up on.
    late: VecDeque<String>,
    fresh_ids: u64,
    is_server_gone: bool,
}

/// A guarded call under way.
#[derive(Default)]
struct Call {
    /// The id under which the server has it, as JSON.
    server_id: Option<String>,
    is_cancelled: bool,
    cancelled: Arc<Notify>,
}

/// What came of one try.
enum Came {
    Response(String),
    Lost(String),
    Unsent(String),
}

/// What the client asked.
struct Asked {
    /// The id, as written and to compare.
    id: String,
    key: String,
    line: String,
    is_modern: bool,
}

impl Relay {
    pub(super) fn new(link: Link, name: &str, client: Writer, server: Writer) -> Arc<Self> {
        Arc::new(Self {
            link,
            name: name.to_owned(),
            client,
            server: Mutex::new(Some(server)),
            state: Mutex::default(),
            room: Arc::new(Semaphore::new(CALLS_MAX)),
        })
    }

    /// Takes in a line of the client.
    pub(super) async fn heard_client(self: &Arc<Self>, line: Line) {
        let refuse = |id: Option<&str>, code, why: &str| message::error(id, code, why);
        let line = match line {
            Line::Text(line) => line,
            Line::NotText(_) => {
                self.client
                    .line(refuse(None, code::PARSE, "the line is not UTF-8"))
                    .await;
                return;
            }
            Line::TooLong => {
                let why = format!("the line is longer than {} bytes", message::FRAME_BYTES_MAX);
                self.client
                    .line(refuse(None, code::INVALID_REQUEST, &why))
                    .await;
                return;
            }
        };
        let refused = match message::read(&line) {
            Err(refusal) => refuse(refusal.id.as_deref(), refusal.code, &refusal.why),
            Ok(Message::Batch) if message::batch_has_call(&line) => {
                let why =
                    "a batch with a call of a tool in it; send each call on a line of its own";
                refuse(None, code::INVALID_REQUEST, why)
            }
            Ok(Message::Request { id, method, params }) if method == "tools/call" => {
                match self.guard(&line, id, params).await {
                    Ok(()) => return,
                    Err((code, why)) => refuse(Some(id.get()), code, &why),
                }
            }
            Ok(Message::Notification { method, .. }) if method == "tools/call" => {
                refuse(None, code::INVALID_REQUEST, "tools/call without an id")
            }
            Ok(Message::Notification { method, params }) if method == "notifications/cancelled" => {
                let line = self.cancelled(&line, params);
                self.pass(&line).await;
                return;
            }
            Ok(Message::Request { id, .. }) => {
                let key = id_key(id);
                let is_gone = {
                    let mut state = self.state();
                    if !state.is_server_gone {
                        state.passing.insert(key, id.get().to_owned());
                    }
                    state.is_server_gone
                };
                if !is_gone {
                    self.pass(&line).await;
                    return;
                }
                refuse(
                    Some(id.get()),
                    code::CONNECTION_CLOSED,
                    "the MCP server has ended",
                )
            }
            Ok(Message::Notification { .. } | Message::Response { .. } | Message::Batch) => {
                self.pass(&line).await;
                return;
            }
        };
        self.client.line(refused).await;
    }

    /// Takes in a line of the server.
    pub(super) async fn heard_server(&self, line: Line) {
        let line = match line {
            Line::Text(line) => line,
            Line::NotText(bytes) => {
                self.client.line(bytes).await;
                return;
            }
            Line::TooLong => {
                let bytes_max = message::FRAME_BYTES_MAX;
                tracing::warn!(bytes_max, "a line of the MCP server is too long; skipped");
                return;
            }
        };
        if let Ok(Message::Response { id, .. }) = message::read(&line) {
            let key = id_key(id);
            let waiting = {
                let mut state = self.state();
                state.passing.remove(&key);
                if let Some(place) = state.late.iter().position(|late| *late == key) {
                    // Its call was answered without it.
                    state.late.remove(place);
                    return;
                }
                state.tries.remove(&key)
            };
            if let Some(waiting) = waiting {
                let _ = waiting.send(line);
                return;
            }
        }
        self.client.line(line).await;
    }

    /// The server is gone: nothing is waited for any more.
    pub(super) async fn server_gone(&self) {
        let passing = {
            let mut state = self.state();
            state.is_server_gone = true;
            state.tries.clear();
            std::mem::take(&mut state.passing)
        };
        for id in passing.into_values() {
            let why = "the MCP server ended before it answered";
            self.client
                .line(message::error(Some(&id), code::CONNECTION_CLOSED, why))
                .await;
        }
    }

    /// Waits until no call is under way.
    pub(super) async fn idle(&self) {
        let all = u32::try_from(CALLS_MAX).unwrap_or(u32::MAX);
        drop(self.room.acquire_many(all).await);
    }

    /// Lets the server know that nothing more will come.
    pub(super) fn close_server(&self) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        *server = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass(&self, line: &str) -> bool {
        let server = {
            let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
            server.clone()
        };
        match server {
            Some(server) => server.line(one_line(line).into_owned()).await,
            None => false,
        }
    }

    /// Takes a call of a tool on.
    async fn guard(
        self: &Arc<Self>,
        line: &str,
        id: &RawValue,
        params: Option<&RawValue>,
    ) -> Result<(), (i64, String)> {
        if deeper_than(line.as_bytes(), message::DEPTH_MAX) {
            let why = format!("objects and arrays nest deeper than {}", message::DEPTH_MAX);
            return Err((code::INVALID_PARAMS, why));
        }
        let call = message::tool_call(params).map_err(|why| (code::INVALID_PARAMS, why))?;
        let asked = Asked {
            id: id.get().to_owned(),
            key: id_key(id),
            line: one_line(line).into_owned(),
            is_modern: call.meta.is_modern(),
        };
        let mut params = json!({"name": format!("{}/{}", self.name, call.name)});
        if let Some(tool_use) = call.meta.tool_use {
            params["id"] = tool_use.into();
        }
        let args = call.args.map_or("{}", RawValue::get);
        let params = Verbatim::from_text(&with_field(&params.to_string(), "args", args));
        let params = params.map_err(|error| (code::INVALID_PARAMS, error.to_string()))?;
        let room = Arc::clone(&self.room).acquire_owned().await;
        {
            let mut state = self.state();
            if state.calls.contains_key(&asked.key) || state.passing.contains_key(&asked.key) {
                let why = format!("id {} is that of a request under way", asked.id);
                return Err((code::INVALID_REQUEST, why));
            }
            state.calls.insert(asked.key.clone(), Call::default());
        }
        let relay = Arc::clone(self);
        tokio::spawn(async move {
            let answer = relay.see_through(&asked, &params).await;
            let call = relay.state().calls.remove(&asked.key);
            // Who cancels a request wants no answer to it.
            if !call.is_some_and(|call| call.is_cancelled) {
                relay.client.line(answer).await;
            }
            drop(room);
        });
        Ok(())
    }

    /// Sees a call through to the line that answers it.
    async fn see_through(&self, asked: &Asked, params: &Verbatim) -> String {
        let mut told = self.link.ask("lend", params).await;
        let mut own = None;
        loop {
            let answer = match &told {
                Ok(answer) => Answer::read(answer.get()),
                Err(error) => {
                    return message::result(&asked.id, &told::refused(error, asked.is_modern));
                }
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(why) => {
                    return message::result(&asked.id, &told::failed(&why, asked.is_modern));
                }
            };
            let Some(attempt) = answer.attempt else {
                return conclude(asked, &answer, own.as_deref());
            };
            let came = self.carry_out(asked, attempt, &answer).await;
            let end = match &came {
                Came::Response(line) => with_field(
                    &json!({"call": answer.call, "attempt": attempt}).to_string(),
                    "response",
                    &bounded(line),
                ),
                Came::Lost(why) => {
                    json!({"call": answer.call, "attempt": attempt, "lost": why}).to_string()
                }
                Came::Unsent(why) => {
                    json!({"call": answer.call, "attempt": attempt, "unsent": why}).to_string()
                }
            };
            own = match came {
                Came::Response(line) => Some(line),
                Came::Lost(_) | Came::Unsent(_) => None,
            };
            told = match Verbatim::from_text(&end) {
                Ok(end) => self.link.ask("lend_end", &end).await,
                Err(error) => {
                    let why = format!("the server's answer cannot be passed on: {error}");
                    return message::result(&asked.id, &told::failed(&why, asked.is_modern));
                }
            };
        }
    }

    /// Has the server carry out one try.
    async fn carry_out(&self, asked: &Asked, attempt: u64, answer: &Answer) -> Came {
        let (sender, mut response) = oneshot::channel();
        let (server_id, cancelled) = {
            let mut state = self.state();
            if state.is_server_gone {
                return Came::Unsent("Connection closed: the MCP server has ended".to_owned());
            }
            state.fresh_ids += u64::from(attempt > 1);
            let server_id = match attempt {
                1 => asked.id.clone(),
                _ => format!("\"agentguard-{}\"", state.fresh_ids),
            };
            let Some(call) = state.calls.get_mut(&asked.key) else {
                return Came::Unsent(CANCELLED.to_owned());
            };
            if call.is_cancelled {
                return Came::Unsent(CANCELLED.to_owned());
            }
            call.server_id = Some(server_id.clone());
            let cancelled = Arc::clone(&call.cancelled);
            state.tries.insert(key_of(&server_id), sender);
            (server_id, cancelled)
        };
        let line = request_line(asked, &server_id, answer);
        if !self.pass(&line).await {
            self.give_up(&server_id);
            return Came::Unsent("Connection closed: the MCP server has ended".to_owned());
        }
        let ended = "Connection closed: the MCP server ended before it answered";
        let is_cancelled = tokio::select! {
            biased;
            came = &mut response => return match came {
                Ok(line) => Came::Response(line),
                Err(_) => Came::Lost(ended.to_owned()),
            },
            () = cancelled.notified() => true,
            () = sleep(Duration::from_millis(answer.timeout_ms)) => false,
        };
        if !is_cancelled {
            let why = format!("Request timed out after {} ms", answer.timeout_ms);
            let id = serde_json::from_str(&server_id).unwrap_or(Value::Null);
            let params = json!({"requestId": id, "reason": why});
            self.give_up(&server_id);
            self.pass(&message::notification("notifications/cancelled", &params))
                .await;
            return Came::Lost(why);
        }
        // The server has been told; it need not answer, and often does.
        match timeout(CANCEL_GRACE, response).await {
            Ok(Ok(line)) => Came::Response(line),
            Ok(Err(_)) | Err(_) => {
                self.give_up(&server_id);
                Came::Lost(CANCELLED.to_owned())
            }
        }
    }

    /// Stops waiting for the answer to `server_id`.
    fn give_up(&self, server_id: &str) {
        let key = key_of(server_id);
        let mut state = self.state();
        state.tries.remove(&key);
        state.late.push_back(key);
        if state.late.len() > LATE_MAX {
            state.late.pop_front();
        }
    }

    /// The client cancels a request; returns the line for the server.
    fn cancelled(&self, line: &str, params: Option<&RawValue>) -> String {
        let Some(id) = field(params, "requestId") else {
            return line.to_owned();
        };
        let key = id_key(id);
        let mut state = self.state();
        state.passing.remove(&key);
        let Some(call) = state.calls.get_mut(&key) else {
            return line.to_owned();
        };
        call.is_cancelled = true;
        call.cancelled.notify_one();
        match &call.server_id {
            Some(server_id) => splice(line, id, server_id),
            None => line.to_owned(),
        }
    }
}

fn key_of(id: &str) -> String {
    serde_json::from_str::<&RawValue>(id).map_or_else(|_| id.to_owned(), id_key)
}

/// Makes the line by which the server gets a try.
fn request_line(asked: &Asked, server_id: &str, answer: &Answer) -> String {
    let mut line = asked.line.clone();
    if let (Some(native), Some(key)) = (&answer.native_key, &answer.key)
        && let Ok(Message::Request {
            params: Some(params),
            ..
        }) = message::read(&asked.line)
    {
        let (place, name) = match native {
            NativeKey::Argument(name) => ("arguments", name),
            NativeKey::Meta(name) => ("_meta", name),
        };
        // As a tree, so that no second field of that name is left.
        let there = field(Some(params), place).map_or("{}", RawValue::get);
        let mut there: Map<String, Value> = serde_json::from_str(there).unwrap_or_default();
        there.insert(name.clone(), key.as_str().into());
        let with_key = with_field(params.get(), place, &Value::from(there).to_string());
        line = splice(&asked.line, params, &with_key);
    }
    if server_id == asked.id {
        return line;
    }
    match message::read(&line) {
        Ok(Message::Request { id, .. }) => splice(&line, id, server_id),
        _ => line,
    }
}

/// Returns a response as the supervisor can take it.
fn bounded(line: &str) -> String {
    let is_small = line.len() <= RESPONSE_BYTES_MAX;
    if is_small && !deeper_than(line.as_bytes(), message::DEPTH_MAX) {
        return line.to_owned();
    }
    let result = match message::read(line) {
        Ok(Message::Response { result, .. }) => result,
        _ => None,
    };
    let is_error = field(result, "isError").is_some_and(|raw| raw.get() == "true");
    let text = &line[..line.floor_char_boundary(EXCERPT_BYTES)];
    let text = format!("{text}\n[... of {} bytes ...]", line.len());
    let content = json!([{"type": "text", "text": text}]);
    json!({"result": {"content": content, "isError": is_error || result.is_none()}}).to_string()
}

/// Makes the line that answers the client.
fn conclude(asked: &Asked, answer: &Answer, own: Option<&str>) -> String {
    let words = || message::result(&asked.id, &answer.result(false, asked.is_modern));
    let Some(line) = own else {
        return kept(answer)
            .and_then(|response| told::again(&asked.id, &response, answer))
            .unwrap_or_else(words);
    };
    if !answer.is_servers_own() {
        return words();
    }
    match message::read(line) {
        Ok(Message::Response {
            id,
            result: Some(result),
            ..
        }) => {
            let fitted = answer.fit(result);
            match fitted == result.get() && id.get() == asked.id {
                true => line.to_owned(),
                false => message::result(&asked.id, &fitted),
            }
        }
        Ok(Message::Response {
            error: Some(error), ..
        }) => message::error_as_it_is(&asked.id, error.get()),
        _ => words(),
    }
}

/// Reads the response that an earlier call was answered with.
fn kept(answer: &Answer) -> Option<String> {
    let path = answer
        .output_path
        .as_deref()
        .filter(|_| answer.is_servers_own())?;
    let is_small = std::fs::metadata(path).is_ok_and(|file| file.len() <= KEPT_BYTES_MAX);
    is_small.then(|| std::fs::read_to_string(path).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Asked {
        let Ok(Message::Request { id, .. }) = message::read(line) else {
            panic!("a request")
        };
        Asked {
            id: id.get().to_owned(),
            key: id_key(id),
            line: line.to_owned(),
            is_modern: false,
        }
    }

    fn answer(json: Value) -> Answer {
        Answer::read(&json.to_string()).unwrap()
    }

    #[test]
    fn a_first_try_goes_out_as_it_came() {
        let line = r#"{"jsonrpc":"2.0" , "id":"a","method":"tools/call","params":{"name":"t"}, "x":1e400}"#;
        let call = asked(line);
        assert_eq!(request_line(&call, "\"a\"", &answer(json!({}))), line);
        let second = request_line(&call, "\"agentguard-1\"", &answer(json!({})));
        assert_eq!(second, line.replacen("\"a\"", "\"agentguard-1\"", 1));
    }

    #[test]
    fn a_native_key_is_put_where_the_server_takes_it() {
        let call = asked(
            r#"{"id":1,"method":"tools/call","params":{"name":"t","arguments":{"a":1,"request_id":"own"}}}"#,
        );
        let native =
            |place: &str, name: &str| answer(json!({"key": "k", "native_key": {place: name}}));
        let sent =
            |answer| serde_json::from_str::<Value>(&request_line(&call, "2", &answer)).unwrap();
        let line = sent(native("argument", "request_id"));
        assert_eq!(
            line["params"]["arguments"],
            json!({"a": 1, "request_id": "k"})
        );
        assert_eq!(line["id"], 2);
        let line = sent(native("meta", "x/key"));
        assert_eq!(line["params"]["_meta"], json!({"x/key": "k"}));
        assert_eq!(line["params"]["arguments"]["request_id"], "own");
    }

    #[test]
    fn conclusions_table() {
        let call = asked(r#"{"id":1,"method":"tools/call","params":{"name":"t"}}"#);
        let ok = r#"{"jsonrpc":"2.0","id":1, "result":{"content":[],"n":1.50}}"#;
        let renamed = r#"{"jsonrpc":"2.0","id":"agentguard-1","result":{"n":1.50}}"#;
        let error =
            r#"{"jsonrpc":"2.0","id":"agentguard-1","error":{"code":-32602,"message":"m"}}"#;
        let success = json!({"class": "success", "verdict": "go", "content": "ours"});
        let semantic = json!({"class": "semantic", "verdict": "go", "content": "ours"});
        let down =
            json!({"class": "persistent", "verdict": "go", "content": "ours", "is_error": true});
        #[rustfmt::skip]
        let rows = [
            ("as it came", &success, Some(ok), ok.to_owned()),
            ("under the client's id again", &success, Some(renamed), r#"{"jsonrpc":"2.0","id":1,"result":{"n":1.50}}"#.to_owned()),
            ("a protocol error is the model's", &semantic, Some(error), r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"m"}}"#.to_owned()),
            ("what kept failing is told by us", &down, Some(error), r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"text":"ours","type":"text"}],"isError":true}}"#.to_owned()),
            ("refused before it went out", &down, None, r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"text":"ours","type":"text"}],"isError":true}}"#.to_owned()),
        ];
        for (name, told, own, want) in rows {
            assert_eq!(
                conclude(&call, &answer(told.clone()), own),
                want,
                "row: {name}"
            );
        }
    }

    #[test]
    fn a_response_that_is_too_much_is_cut_for_the_journal_only() {
        let long = format!(
            r#"{{"id":1,"result":{{"isError":true,"content":[{{"type":"text","text":"{}"}}]}}}}"#,
            "ä".repeat(RESPONSE_BYTES_MAX)
        );
        let cut: Value = serde_json::from_str(&bounded(&long)).unwrap();
        assert_eq!(cut["result"]["isError"], true);
        assert!(cut.to_string().len() < 2 * EXCERPT_BYTES);
        let deep = format!(
            r#"{{"id":1,"result":{}{}}}"#,
            "[".repeat(500),
            "]".repeat(500)
        );
        assert!(!deeper_than(bounded(&deep).as_bytes(), message::DEPTH_MAX));
    }
}
