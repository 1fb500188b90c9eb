//! What messages mean that were read before.
//!
//! Agents send their whole history with every call. Reading all of it anew, and
//! putting aside what is volatile in it, would take longer with every turn; a
//! message that is the same to the byte says the same.
//!
//! Of what follows the first answer the words are not kept, nor what tools gave
//! back: who needs them reads the message again ([`Known::in_full`]).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::quick::{Mark, Quick};
use super::volatile::Volatile;
use super::wire::said::{Role, Said};
use super::wire::{Asked, Digest};

/// Bytes that are kept of messages, or twice those of the longest history, before
/// those go that were not seen since the last time that so many were kept.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Bytes that a message takes at least.
const ENTRY_BYTES: usize = 400;

/// Tells messages apart, to the byte.
type Key = (Mark, usize);

/// Messages that were read, the latest first.
#[derive(Default)]
pub(super) struct Known {
    quick: Quick,
    young: HashMap<Key, Entry>,
    old: HashMap<Key, Entry>,
    young_bytes: usize,
    /// Messages of the longest history so far.
    longest: usize,
    /// The last system prompt, and as what it is compared.
    system: Option<(Key, [u8; 32])>,
}

/// A message as it is remembered, and what it means.
type Read = (Arc<Said>, Option<Digest>);

struct Entry {
    read: Read,
    bytes: usize,
}

impl Known {
    /// Reads the messages of a request, and what they mean with everything volatile
    /// put aside.
    pub(super) fn read(
        &mut self,
        asked: &Asked<'_>,
        volatile: &Volatile,
    ) -> (Vec<Arc<Said>>, Vec<Option<Digest>>) {
        self.longest = self.longest.max(asked.messages.len());
        let mut is_answered = false;
        let messages = asked.messages.iter().map(|raw| {
            let key = self.key(asked, raw.get(), is_answered);
            let read = self.recall(&key).unwrap_or_else(|| {
                let said = Arc::new(asked.said(raw));
                let meaning = meaning(asked, raw, &said, volatile);
                self.keep(key, &said, meaning, is_answered);
                (said, meaning)
            });
            is_answered |= read.0.role == Role::Assistant;
            read
        });
        messages.unzip()
    }

    /// Reads a message again whose words were not kept.
    pub(super) fn in_full(asked: &Asked<'_>, said: &mut Arc<Said>, place: usize) {
        let is_short = said.results.iter().any(|result| result.text.is_empty());
        if let (true, Some(raw)) = (is_short, asked.messages.get(place)) {
            *said = Arc::new(asked.said(raw));
        }
    }

    /// Returns the system prompt as it is compared.
    pub(super) fn system(&mut self, asked: &Asked<'_>, volatile: &Volatile) -> [u8; 32] {
        let raw = asked.system.map_or("", |raw| raw.get());
        let key = self.key(asked, raw, false);
        if let Some((_, meaning)) = self.system.filter(|(known, _)| *known == key) {
            return meaning;
        }
        let meaning = match volatile.without(raw) {
            Cow::Borrowed(_) => asked.system_hash().map_or([0; 32], |hash| hash.0),
            Cow::Owned(plain) => Sha256::digest(plain).into(),
        };
        self.system = Some((key, meaning));
        meaning
    }

    fn recall(&mut self, key: &Key) -> Option<Read> {
        if let Some(entry) = self.young.get(key) {
            return Some(entry.read.clone());
        }
        let entry = self.old.remove(key)?;
        let read = entry.read.clone();
        self.add(*key, entry);
        Some(read)
    }

    fn keep(&mut self, key: Key, said: &Arc<Said>, meaning: Option<Digest>, is_answered: bool) {
        let mut said = Arc::clone(said);
        let is_wordless = |said: &Said| {
            let mut results = said.results.iter();
            said.text.is_empty()
                && said.refusal.is_empty()
                && results.all(|result| result.text.is_empty())
        };
        if is_answered && !is_wordless(&said) {
            let said = Arc::make_mut(&mut said);
            (said.text, said.refusal) = (String::new(), String::new());
            for result in &mut said.results {
                result.text = String::new();
            }
        }
        let calls = said.calls.iter().map(|call| call.arguments.len());
        let results = said.results.iter().map(|result| result.text.len());
        let bytes = ENTRY_BYTES + said.text.len() + calls.chain(results).sum::<usize>();
        let read = (said, meaning);
        self.add(key, Entry { read, bytes });
    }

    fn add(&mut self, key: Key, entry: Entry) {
        if self.young_bytes > KEPT_BYTES_MAX.max(2 * ENTRY_BYTES * self.longest) {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += entry.bytes;
        self.young.insert(key, entry);
    }

    fn key(&self, asked: &Asked<'_>, raw: &str, is_answered: bool) -> Key {
        let mark = self.quick.of((asked.api.name(), is_answered, raw));
        (mark, raw.len())
    }
}

fn meaning(asked: &Asked<'_>, raw: &RawValue, said: &Said, volatile: &Volatile) -> Option<Digest> {
    match volatile.without(raw.get()) {
        Cow::Borrowed(_) => said.hash,
        Cow::Owned(plain) => match RawValue::from_string(plain) {
            Ok(plain) => asked.said(&plain).hash,
            Err(_) => said.hash,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Api, request};
    use super::*;

    fn body() -> String {
        serde_json::json!({"model": "m", "messages": [
            {"role": "user", "content": "It is 2026-11-30. Look."},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "ls", "input": {"at": "."}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a.rs"}]},
            {"role": "assistant", "content": "One file, as of 2026-11-30."},
        ]})
        .to_string()
    }

    #[test]
    fn what_was_read_before_means_the_same() {
        let volatile = Volatile::new([(r"20\d\d-\d\d-\d\d", "DAY")]).unwrap();
        let body = body();
        let asked = request::read(Api::Messages, body.as_bytes()).unwrap();
        let mut known = Known::default();
        let (first, meant) = known.read(&asked, &volatile);
        let history: Vec<_> = asked.history().into_iter().map(Arc::new).collect();
        assert_eq!(first, history);
        let (mut again, means) = known.read(&asked, &volatile);
        assert_eq!(means, meant);
        assert_eq!(
            again[0], first[0],
            "what is before the first answer is kept"
        );
        assert_eq!(again[1].calls, first[1].calls);
        assert_eq!(
            (again[2].results[0].text.as_str(), again[3].text.as_str()),
            ("", "")
        );
        for (place, said) in again.iter_mut().enumerate() {
            Known::in_full(&asked, said, place);
        }
        assert_eq!(again[2], first[2]);
        let tomorrow = body.replace("11-30", "12-01");
        let asked = request::read(Api::Messages, tomorrow.as_bytes()).unwrap();
        assert_eq!(
            known.read(&asked, &volatile).1,
            meant,
            "the day is put aside"
        );
    }

    #[test]
    fn little_is_kept() {
        let volatile = Volatile::default();
        let mut known = Known::default();
        for number in 0..20_000 {
            let message = serde_json::json!({"role": "user", "content": format!("{number}")});
            let body = serde_json::json!({"model": "m", "messages": [message]}).to_string();
            let asked = request::read(Api::Messages, body.as_bytes()).unwrap();
            known.read(&asked, &volatile);
        }
        let entries = known.young.len() + known.old.len();
        assert!(
            entries <= 2 * (KEPT_BYTES_MAX / ENTRY_BYTES + 2),
            "{entries}"
        );
    }
}
