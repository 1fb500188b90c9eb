//! What we say ourselves, in the words of each API.
//!
//! A refusal must stop the client, not start its retries: status 402 for
//! everything that is our verdict, `x-should-retry: false`, no `retry-after`.
//! Not every client obeys; the supervisor ends the child in any case.
//!
//! While an answer is held, each API's clients accept another sign of life:
//! measured in `real-agents.md`, section 2.

use serde_json::{Value, json};

use super::api::Api;

/// Why we answer instead of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The budget of the run is used up.
    Cap,
    /// The time of the run is over.
    Deadline,
    /// The run goes in circles.
    Loop,
    /// What it may cost cannot be held back, and the run has a cap.
    Unpriced,
    /// The path is none that the gateway lets through.
    UnknownPath,
    /// The token is missing or not this run's.
    BadToken,
    /// The body is not JSON, or not what its API takes.
    BadRequest,
    /// The body is longer than the bound.
    TooLarge,
    /// No upstream could be reached, after our own retries.
    Unreachable,
    /// The upstream broke off, or fell silent, in the middle of its answer.
    Cut,
}

/// One row of the table of refusals.
struct Row {
    why: Why,
    status: u16,
    /// Stable word for machines.
    code: &'static str,
    anthropic: &'static str,
    openai: &'static str,
    google: &'static str,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // `insufficient_quota` is the one type that stops Codex at once.
    Row { why: Why::Cap,         status: 402, code: "agentguard_cap",          anthropic: "billing_error",         openai: "insufficient_quota",    google: "FAILED_PRECONDITION" },
    Row { why: Why::Deadline,    status: 402, code: "agentguard_deadline",     anthropic: "billing_error",         openai: "insufficient_quota",    google: "FAILED_PRECONDITION" },
    Row { why: Why::Loop,        status: 402, code: "agentguard_loop",         anthropic: "billing_error",         openai: "insufficient_quota",    google: "FAILED_PRECONDITION" },
    Row { why: Why::Unpriced,    status: 402, code: "agentguard_unpriced",     anthropic: "billing_error",         openai: "insufficient_quota",    google: "FAILED_PRECONDITION" },
    Row { why: Why::UnknownPath, status: 404, code: "agentguard_unknown_path", anthropic: "not_found_error",       openai: "invalid_request_error", google: "NOT_FOUND" },
    Row { why: Why::BadToken,    status: 401, code: "agentguard_bad_token",    anthropic: "authentication_error",  openai: "authentication_error",  google: "UNAUTHENTICATED" },
    Row { why: Why::BadRequest,  status: 400, code: "agentguard_bad_request",  anthropic: "invalid_request_error", openai: "invalid_request_error", google: "INVALID_ARGUMENT" },
    Row { why: Why::TooLarge,    status: 413, code: "agentguard_too_large",    anthropic: "request_too_large",     openai: "invalid_request_error", google: "INVALID_ARGUMENT" },
    Row { why: Why::Unreachable, status: 502, code: "agentguard_unreachable",  anthropic: "api_error",             openai: "server_error",          google: "UNAVAILABLE" },
    Row { why: Why::Cut,         status: 502, code: "agentguard_cut",          anthropic: "api_error",             openai: "server_error",          google: "UNAVAILABLE" },
];

/// A whole answer of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Headers, besides the length.
    pub headers: &'static [(&'static str, &'static str)],
    /// The body.
    pub body: String,
}

const HEADERS: &[(&str, &str)] = &[
    ("content-type", "application/json"),
    ("x-should-retry", "false"),
    ("cache-control", "no-store"),
];

impl Why {
    fn row(self) -> &'static Row {
        let row = ROWS.iter().find(|row| row.why == self);
        // Every reason has a row; a test says so.
        row.unwrap_or(&ROWS[0])
    }

    /// Returns the stable word for machines, such as `agentguard_cap`.
    pub fn code(self) -> &'static str {
        self.row().code
    }
}

/// Returns the answer that refuses a request.
///
/// - `api`: absent for a path that is none; the body then suits all clients.
/// - `message`: a sentence for people and models; ends up in the agent's log.
pub fn refuse(api: Option<Api>, why: Why, message: &str) -> Refusal {
    Refusal {
        status: why.row().status,
        headers: HEADERS,
        body: error(api, why, message).to_string(),
    }
}

/// Returns the answer to a WebSocket upgrade: Codex then uses HTTP at once.
pub fn upgrade() -> Refusal {
    Refusal {
        status: 426,
        headers: HEADERS,
        body: error(
            Some(Api::Responses),
            Why::UnknownPath,
            "WebSockets are not served here; use HTTP",
        )
        .to_string(),
    }
}

/// Returns the frame that ends a stream that has begun. The connection is to be
/// broken behind it, never ended neatly.
///
/// - `id`: of the answer that it ends, where the client has one (Responses): OpenAI's
///   SDK takes no other.
/// - `sequence`: number of the frame, where frames are numbered (Responses):
///   one more than the last that was sent.
pub fn error_frame(api: Api, why: Why, message: &str, id: Option<&str>, sequence: u64) -> String {
    let row = why.row();
    match api {
        Api::Messages | Api::CountTokens => {
            format!("event: error\ndata: {}\n\n", error(Some(api), why, message))
        }
        Api::Chat | Api::Gemini => format!("data: {}\n\n", error(Some(api), why, message)),
        // Clients look at the code of a failed response, and Codex at no other
        // event: its word must be one they know.
        Api::Responses => {
            let data = json!({
                "type": "response.failed",
                "sequence_number": sequence,
                "response": {
                    "id": id.unwrap_or("resp_agentguard"),
                    "object": "response",
                    "status": "failed",
                    "error": {"code": row.openai, "message": message},
                    "incomplete_details": null,
                    "output": [],
                    "usage": null,
                },
            });
            format!("event: response.failed\ndata: {data}\n\n")
        }
    }
}

fn error(api: Option<Api>, why: Why, message: &str) -> Value {
    let row = why.row();
    match api {
        Some(Api::Messages | Api::CountTokens) => json!({
            "type": "error",
            "error": {"type": row.anthropic, "message": message, "details": {"error_code": row.code}},
            "request_id": null,
        }),
        Some(Api::Gemini) => json!({
            "error": {"code": row.status, "message": message, "status": row.google,
                "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": row.code, "domain": "agentguard"}]},
        }),
        Some(Api::Chat | Api::Responses) => json!({
            "error": {"message": message, "type": row.openai, "param": null, "code": row.code},
        }),
        None => json!({
            "type": "error",
            "error": {"type": row.anthropic, "message": message, "param": null, "code": row.code},
        }),
    }
}

/// How an answer is held while we wait for a limit, a retry or a human.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Bytes to send from time to time, behind the head of the answer. Empty:
    /// neither head nor byte may be sent.
    pub keep_alive: &'static str,
    /// Longest wait the clients bear, in seconds; absent where none was found.
    pub longest_s: Option<u64>,
}

/// Returns how an answer of `api` is held.
///
/// - `is_stream`: events were asked for. Otherwise nothing can be sent: the
///   status must come first, and it is not known yet.
/// - `user_agent`: the client's header; Codex needs another sign than the rest.
/// - `timeout_s`: how long the client says that it waits for a byte.
pub fn hold(api: Api, is_stream: bool, user_agent: &str, timeout_s: Option<u64>) -> Hold {
    let (keep_alive, longest_s) = match (api, is_stream) {
        // Gemini CLI throws an answer away that begins with a comment, and asks
        // again after a minute.
        (Api::Gemini, _) => ("", Some(50)),
        // Claude Code 2.1.197, Codex, opencode ask again at 300 s without
        // events of the API; Qwen Code at 120 s without any byte.
        (_, false) => ("", Some(110)),
        (Api::Messages | Api::CountTokens, true) => {
            ("event: ping\ndata: {\"type\": \"ping\"}\n\n", None)
        }
        (Api::Responses, true) if user_agent.contains("codex") => (CODEX_WAIT, None),
        (Api::Chat | Api::Responses, true) => (": keep-alive\n\n", None),
    };
    // Where it hears nothing meanwhile, its own word goes before what others bear;
    // a tenth is for the way.
    let own = timeout_s.filter(|_| keep_alive.is_empty());
    Hold {
        keep_alive,
        longest_s: own.map(|own| own - own / 10).or(longest_s),
    }
}

/// Comments do not count for Codex. OpenAI's SDKs, whose stream helper wants the
/// upstream's own `response.created` first, get comments.
const CODEX_WAIT: &str = concat!(
    "event: response.in_progress\n",
    "data: {\"type\":\"response.in_progress\",\"sequence_number\":0,",
    "\"response\":{\"id\":\"resp_agentguard\",\"object\":\"response\",\"status\":\"in_progress\",\"output\":[]}}\n\n"
);

#[cfg(test)]
mod tests {
    use super::super::{Framing, Reader, Seen, reply, sse};
    use super::*;

    const APIS: [Api; 5] = [
        Api::Messages,
        Api::CountTokens,
        Api::Chat,
        Api::Responses,
        Api::Gemini,
    ];

    #[test]
    fn bodies_table() {
        #[rustfmt::skip]
        let rows = [
            (Some(Api::Messages), Why::Cap, 402, r#"{"error":{"details":{"error_code":"agentguard_cap"},"message":"m","type":"billing_error"},"request_id":null,"type":"error"}"#),
            (Some(Api::Chat), Why::Cap, 402, r#"{"error":{"code":"agentguard_cap","message":"m","param":null,"type":"insufficient_quota"}}"#),
            (Some(Api::Responses), Why::TooLarge, 413, r#"{"error":{"code":"agentguard_too_large","message":"m","param":null,"type":"invalid_request_error"}}"#),
            (Some(Api::Gemini), Why::Loop, 402, r#"{"error":{"code":402,"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","domain":"agentguard","reason":"agentguard_loop"}],"message":"m","status":"FAILED_PRECONDITION"}}"#),
            (None, Why::UnknownPath, 404, r#"{"error":{"code":"agentguard_unknown_path","message":"m","param":null,"type":"not_found_error"},"type":"error"}"#),
        ];
        for (api, why, status, want) in rows {
            let refusal = refuse(api, why, "m");
            let body: Value = serde_json::from_str(&refusal.body).unwrap();
            assert_eq!(
                (refusal.status, body),
                (status, serde_json::from_str(want).unwrap()),
                "row: {api:?} {why:?}"
            );
            assert!(refusal.headers.contains(&("x-should-retry", "false")));
        }
    }

    #[test]
    fn every_reason_has_a_row_and_every_refusal_reads_as_an_error() {
        use Why::*;
        for why in [
            Cap,
            Deadline,
            Loop,
            Unpriced,
            UnknownPath,
            BadToken,
            BadRequest,
            TooLarge,
            Unreachable,
            Cut,
        ] {
            assert_eq!(
                ROWS.iter().filter(|row| row.why == why).count(),
                1,
                "row: {why:?}"
            );
            for api in APIS {
                let body = refuse(Some(api), why, "so \"it\" is").body;
                let reply = reply::whole(api, Framing::Whole, body.as_bytes()).unwrap();
                assert_eq!(
                    reply.error.unwrap().message,
                    "so \"it\" is",
                    "row: {api:?} {why:?}"
                );
                let mut frames = sse::Reader::default();
                frames.feed(error_frame(api, why, "a\nb", None, 7).as_bytes());
                let frame = frames.next_frame().unwrap().unwrap();
                let mut reader = Reader::new(api);
                assert!(reader.take(&frame).is_error, "row: {api:?} {why:?}");
                let reply = reader.finish();
                assert_eq!(reply.error.unwrap().message, "a\nb");
            }
        }
    }

    #[test]
    fn who_says_how_long_it_waits_is_not_kept_longer() {
        #[rustfmt::skip]
        let rows = [
            ("a whole answer",              Api::Chat,     false, None,      Some(110)),
            ("of a client that says more",  Api::Chat,     false, Some(600), Some(540)),
            ("of one that says less",       Api::Messages, false, Some(20),  Some(18)),
            ("a stream has signs of life",  Api::Messages, true,  Some(20),  None),
            ("Gemini's has none",           Api::Gemini,   true,  Some(20),  Some(18)),
        ];
        for (name, api, is_stream, timeout_s, want) in rows {
            let held = hold(api, is_stream, "", timeout_s);
            assert_eq!(held.longest_s, want, "row: {name}");
        }
    }

    #[test]
    fn keep_alives_are_whole_frames_and_no_content() {
        for api in APIS {
            for client in ["codex_exec/0.169.0", "OpenAI/Python 3.54.0"] {
                let sent = hold(api, true, client, Some(20)).keep_alive;
                let mut frames = sse::Reader::default();
                frames.feed(sent.as_bytes());
                let Some(frame) = frames.next_frame().unwrap() else {
                    assert_eq!(sent, "");
                    continue;
                };
                assert_eq!(frame.raw, sent.as_bytes());
                let mut reader = Reader::new(api);
                assert_eq!(reader.take(&frame), Seen::default(), "row: {api:?}");
                assert_eq!(reader.finish().stop, None);
            }
        }
    }
}
