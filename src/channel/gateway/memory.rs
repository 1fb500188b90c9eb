//! What earlier calls tell about the next one.
//!
//! Agents send their whole history with every call. A history that begins like
//! one we have seen costs at most what that one cost, and its new bytes; and the
//! tool results in the part we have seen were told of already.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest as _, Sha256};

use super::Recorded;
use super::wire::{Asked, Digest, Said};

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
    /// Tokens of the histories that lie with the upstream, by the answer they end
    /// with (Responses).
    carried: HashMap<String, u64>,
    /// Answers of earlier attempts, by their request, in the order they came.
    recorded: HashMap<String, VecDeque<Recorded>>,
}

/// A history that was answered.
#[derive(Clone, Copy)]
struct Seen {
    input_tokens: u64,
    body_bytes: u64,
}

/// What a history is known to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Messages at its beginning that were seen before.
    pub messages: usize,
    /// Most input tokens that it takes.
    pub input_tokens: u64,
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

    /// Looks a history up by its longest beginning that was seen.
    pub(super) fn known(&self, history: &[Said], body_bytes: u64) -> Known {
        let bound = |bytes: u64| bytes.div_ceil(TOKEN_BYTES).saturating_add(EXTRA_TOKENS);
        let mut known = Known {
            messages: 0,
            input_tokens: bound(body_bytes),
        };
        for (at, digest) in beginnings(history) {
            if let Some(seen) = self.seen.get(&digest) {
                let new = bound(body_bytes.saturating_sub(seen.body_bytes));
                known = Known {
                    messages: at,
                    input_tokens: seen.input_tokens.saturating_add(new),
                };
            }
        }
        known
    }

    /// Remembers what a history took.
    pub(super) fn learn(&mut self, history: &[Said], body_bytes: u64, input_tokens: u64) {
        let Some((_, digest)) = beginnings(history).last() else {
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
pub(super) fn identity(asked: &Asked<'_>, model: &str, history: &[Said]) -> String {
    let mut whole = Sha256::new();
    let mut add = |part: &[u8]| {
        whole.update((part.len() as u64).to_le_bytes());
        whole.update(part);
    };
    add(format!("{:?} {}", asked.api, asked.is_stream).as_bytes());
    add(model.as_bytes());
    add(&asked.system_hash().map_or([0; 32], |hash| hash.0));
    for tool in &asked.tools {
        add(tool.name.as_bytes());
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

/// Every beginning of a history, shortest first: its length and its digest.
fn beginnings(history: &[Said]) -> impl Iterator<Item = (usize, Digest)> {
    let mut chain = Sha256::new();
    history.iter().enumerate().filter_map(move |(at, said)| {
        chain.update(said.hash?.0);
        Some((at + 1, Digest(chain.clone().finalize().into())))
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
        let unknown = memory.known(&first, 10_000);
        assert_eq!((unknown.messages, unknown.input_tokens), (0, 5_064));
        memory.learn(&first, 10_000, 1_500);
        let longer = memory.known(&history(&["a", "b"]), 10_400);
        assert_eq!(
            (longer.messages, longer.input_tokens),
            (1, 1_500 + 200 + 64)
        );
        let other = memory.known(&history(&["b", "a"]), 10_400);
        assert_eq!(other.messages, 0, "another beginning is another history");
    }
}
