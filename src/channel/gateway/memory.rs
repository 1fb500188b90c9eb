//! What earlier calls tell about the next one.
//!
//! Agents send their whole history with every call. A history that begins like
//! one we have seen costs at most what that one cost, and its new bytes; and the
//! tool results in the part we have seen were told of already.

use std::collections::{HashMap, HashSet, VecDeque};

use sha2::{Digest as _, Sha256};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::Recorded;
use super::wire::request::Expects;
use super::wire::{Asked, Digest, Framing, Refusal, Said};

/// Histories that are remembered; the oldest is forgotten.
const HISTORIES_MAX: usize = 1024;

/// Bytes of a text that are one token in the worst case.
const TOKEN_BYTES: u64 = 2;

/// Tokens that an API adds by itself, generously.
const EXTRA_TOKENS: u64 = 64;

/// What is remembered of a run's calls.
#[derive(Default)]
pub(super) struct Memory {
    seen: HashMap<Digest, Seen>,
    order: VecDeque<Digest>,
    /// A text for the model, to go out with the next call.
    pub steer: Option<String>,
    /// Tool results that were told of, by a digest.
    told: HashSet<Digest>,
    /// Tokens of the histories that lie with the upstream, by the answer they end
    /// with (Responses).
    carried: HashMap<String, u64>,
    /// Answers of earlier attempts, by their request, in the order they came.
    recorded: HashMap<String, VecDeque<Recorded>>,
    /// Calls that failed for good, by their request.
    failed: HashMap<String, Failure>,
}

/// What a call that failed for good was answered.
#[derive(Clone)]
pub(super) struct Failure {
    /// How long whoever asks the same gets the same answer.
    pub until: Instant,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Failure {
    /// Makes one of our own words.
    pub(super) fn from_refusal(refusal: Refusal, until: Instant) -> Self {
        let headers = refusal.headers.iter().map(|(name, value)| {
            let name = hyper::header::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        Self {
            until,
            status: StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_GATEWAY),
            headers: headers.collect(),
            body: refusal.body.into(),
        }
    }
}

/// A history that was answered.
#[derive(Clone, Copy, Default)]
struct Seen {
    input_tokens: u64,
    body_bytes: u64,
}

/// The beginning of a history that was answered before.
#[derive(Clone, Copy, Default)]
pub(super) struct Beginning {
    /// How many messages it has.
    pub messages: usize,
    seen: Seen,
}

impl Beginning {
    /// Returns the most input tokens that a body takes that goes on from here.
    ///
    /// - `body_bytes`: those of its text.
    pub(super) fn input_bound(&self, body_bytes: u64) -> u64 {
        let new = body_bytes.saturating_sub(self.seen.body_bytes);
        let bound = new.div_ceil(TOKEN_BYTES).saturating_add(EXTRA_TOKENS);
        self.seen.input_tokens.saturating_add(bound)
    }
}

impl Memory {
    /// Makes the memory of an attempt.
    pub(super) fn new(answers: Vec<Recorded>, steer: Option<String>) -> Self {
        let mut recorded: HashMap<String, VecDeque<Recorded>> = HashMap::new();
        for answer in answers {
            let same = recorded.entry(answer.request.clone()).or_default();
            same.push_back(answer);
        }
        Self {
            steer,
            recorded,
            ..Self::default()
        }
    }

    /// Takes note of a tool result; tells whether it is new.
    pub(super) fn is_first(&mut self, key: String) -> bool {
        self.told.insert(Digest(Sha256::digest(key).into()))
    }

    /// Returns the tokens of a history that lies with the upstream.
    pub(super) fn carried(&self, answer: &str) -> Option<u64> {
        self.carried.get(answer).copied()
    }

    /// Remembers what a history that lies with the upstream holds.
    pub(super) fn carry(&mut self, answer: String, tokens: u64) {
        if self.carried.len() < HISTORIES_MAX {
            self.carried.insert(answer, tokens);
        }
    }

    /// Takes the answer that this request was given before.
    pub(super) fn replay(&mut self, request: &str) -> Option<Recorded> {
        self.recorded.get_mut(request)?.pop_front()
    }

    /// Remembers a call that failed for good.
    pub(super) fn fail(&mut self, request: String, failure: Failure) {
        let now = Instant::now();
        self.failed.retain(|_, failure| now < failure.until);
        self.failed.insert(request, failure);
    }

    /// Returns what a call that failed a moment ago was answered.
    pub(super) fn failed(&self, request: &str) -> Option<Failure> {
        let failure = self.failed.get(request)?;
        (Instant::now() < failure.until).then(|| failure.clone())
    }

    /// Returns the longest beginning of a history that was seen.
    pub(super) fn beginning(&self, history: &[Said]) -> Beginning {
        let seen = beginnings(history)
            .enumerate()
            .filter_map(|(last, digest)| {
                let seen = *self.seen.get(&digest)?;
                let messages = last + 1;
                Some(Beginning { messages, seen })
            });
        seen.last().unwrap_or_default()
    }

    /// Remembers what a history took.
    pub(super) fn learn(&mut self, history: &[Said], body_bytes: u64, input_tokens: u64) {
        let Some(digest) = beginnings(history).last() else {
            return;
        };
        let seen = Seen {
            input_tokens,
            body_bytes,
        };
        if self.seen.insert(digest, seen).is_none() {
            self.order.push_back(digest);
        }
        if self.order.len() > HISTORIES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }
}

/// Returns what identifies a request: all that the answer depends on and that
/// means something, so not ids, cache marks or the order of keys.
pub(super) fn identity(
    asked: &Asked<'_>,
    model: &str,
    framing: Framing,
    history: &[Said],
) -> String {
    let mut whole = Sha256::new();
    let mut add = |part: &[u8]| {
        whole.update((part.len() as u64).to_le_bytes());
        whole.update(part);
    };
    let expects = match asked.expects {
        Expects::Text => "",
        Expects::Json => "json",
        Expects::Schema(schema) => schema.get(),
    };
    let former = asked.previous_response_id.as_deref().unwrap_or_default();
    let settings = (asked.max_output, asked.thinking, asked.choices);
    add(format!("{:?} {framing:?} {settings:?}", asked.api).as_bytes());
    add(expects.as_bytes());
    add(former.as_bytes());
    add(model.as_bytes());
    add(&asked.system_hash().map_or([0; 32], |hash| hash.0));
    for tool in &asked.tools {
        add(tool.name.as_bytes());
        add(tool.schema.map_or("", |schema| schema.get()).as_bytes());
    }
    for hash in history.iter().filter_map(|said| said.hash) {
        add(&hash.0);
    }
    whole
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Digests of every beginning of a history, shortest first.
fn beginnings(history: &[Said]) -> impl Iterator<Item = Digest> {
    let mut chain = Sha256::new();
    history.iter().filter_map(move |said| {
        chain.update(said.hash?.0);
        Some(Digest(chain.clone().finalize().into()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::wire::Api;
    use super::*;

    fn history(texts: &[&str]) -> Vec<Said> {
        let read = |text: &&str| {
            let message = serde_json::json!({"role": "user", "content": text});
            Said::read(Api::Messages, &message.to_string())
        };
        texts.iter().map(read).collect()
    }

    #[test]
    fn only_what_is_new_is_bounded_by_its_bytes() {
        let mut memory = Memory::default();
        let first = history(&["a"]);
        let bound = |memory: &Memory, history, bytes| {
            let seen = memory.beginning(history);
            (seen.messages, seen.input_bound(bytes))
        };
        assert_eq!(bound(&memory, &first, 10_000), (0, 5_064));
        memory.learn(&first, 10_000, 1_500);
        let longer = history(&["a", "b"]);
        assert_eq!(bound(&memory, &longer, 10_400), (1, 1_500 + 200 + 64));
        let other = history(&["b", "a"]);
        assert_eq!(
            bound(&memory, &other, 10_400),
            (0, 5_264),
            "another beginning"
        );
    }
}
