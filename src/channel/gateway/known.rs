//! Histories that were read lately: who sends one of them again, with more behind it, has only
//! that read.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::history::History;
use super::quick::{Mark, Quick};
use super::volatile::Volatile;
use super::wire::{Api, Asked};

/// Histories that are kept, whatever they take: of an agent and its helpers.
const KEPT_LEAST: usize = 8;

/// Histories that are kept at most, and the bytes of them.
const KEPT_MAX: usize = 256;
const KEPT_BYTES_MAX: usize = 2 << 20;

/// Messages at its end that a history may differ in from the one it goes on from, and stands
/// in its place all the same. Others branch off.
const END_MESSAGES: usize = 8;

/// What was read lately.
#[derive(Default)]
pub(super) struct Known {
    quick: Quick,
    /// The latest first.
    histories: VecDeque<Arc<History>>,
    /// The last system prompt, and as what it is compared.
    system: Option<((Mark, usize), [u8; 32])>,
}

/// What a request begins with.
pub(super) struct Past {
    history: Arc<History>,
    /// So many messages of it.
    kept: usize,
}

impl Past {
    /// Where its messages stand, from the first one on.
    pub(super) fn places(&self) -> Vec<Range<usize>> {
        self.history.places(self.kept)
    }
}

impl Known {
    /// Finds the history that a request begins with.
    ///
    /// - `text`: the request from its first message on.
    pub(super) fn past(&mut self, api: Api, text: &str) -> Option<Past> {
        let mut best = (0, 0);
        for (index, history) in self.histories.iter().enumerate() {
            let kept = history.shared_with(api, text);
            if kept > best.0 {
                best = (kept, index);
            }
            if kept > 0 && kept == history.len() {
                break;
            }
        }
        let (kept, index) = best;
        let history = self.histories.get(index).filter(|_| kept > 0)?;
        let history = match kept + END_MESSAGES >= history.len() {
            true => self.histories.remove(index)?,
            false => Arc::clone(history),
        };
        Some(Past { history, kept })
    }

    /// Reads the messages of a request.
    ///
    /// - `past`: what it begins with;
    /// - `body`: that `asked` was read from.
    pub(super) fn read(
        &mut self,
        asked: &Asked<'_>,
        body: &Bytes,
        past: Option<Past>,
        volatile: &Volatile,
    ) -> Arc<History> {
        let (mut history, kept) = match past {
            Some(Past { history, kept }) => (Arc::unwrap_or_clone(history), kept),
            None => (History::new(asked.api), 0),
        };
        history.go_on(kept, asked, body, volatile, &self.quick);
        let history = Arc::new(history);
        self.histories.push_front(Arc::clone(&history));
        self.forget();
        history
    }

    /// Forgets the oldest.
    fn forget(&mut self) {
        let mut bytes: usize = self.histories.iter().map(|it| it.bytes()).sum();
        while self.histories.len() > KEPT_MAX
            || self.histories.len() > KEPT_LEAST && bytes > KEPT_BYTES_MAX
        {
            let oldest = self.histories.pop_back();
            bytes -= oldest.map_or(0, |it| it.bytes());
        }
    }

    /// Returns the system prompt as it is compared.
    pub(super) fn system(&mut self, asked: &Asked<'_>, volatile: &Volatile) -> [u8; 32] {
        let raw = asked.system.map_or("", |raw| raw.get());
        let key = (self.quick.of((asked.api.name(), raw)), raw.len());
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
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::wire::request;
    use super::super::wire::said::Said;
    use super::*;

    /// An agent's messages; `x` in front of a word makes it another one.
    fn messages(number: usize, x: &str) -> Vec<Value> {
        let turn = |turn: usize| {
            let id = format!("t{turn}");
            [
                json!({"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "ls", "input": {"at": turn}}]}),
                json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": format!("{x}file {turn}")}]}),
            ]
        };
        let first = json!({"role": "user", "content": "It is 2026-11-30. Look through all of these folders, please."});
        let turns = (0..number).flat_map(turn);
        std::iter::once(first).chain(turns).collect()
    }

    fn body(messages: &[Value], limit: u64) -> Bytes {
        let body = json!({"a_limit": limit, "messages": messages, "model": "m", "stream": true});
        body.to_string().into()
    }

    #[derive(Default)]
    struct World {
        known: Known,
        volatile: Volatile,
    }

    impl World {
        /// Reads a request, and says how many messages were known.
        fn read(&mut self, body: &Bytes) -> (usize, Arc<History>) {
            let mut past = None;
            let asked = request::read_on(Api::Messages, body, |text| {
                past = self.known.past(Api::Messages, text);
                past.as_ref().map_or_else(Vec::new, Past::places)
            });
            let asked = asked.unwrap();
            let alone = request::read(Api::Messages, body).unwrap();
            assert_eq!(asked.messages, alone.messages);
            assert_eq!(asked.model, alone.model);
            assert_eq!(asked.is_stream, alone.is_stream);
            let kept = past.as_ref().map_or(0, |past| past.kept);
            let history = self.known.read(&alone, body, past, &self.volatile);
            (kept, history)
        }

        /// Looks whether a history is what it would be, read alone.
        fn is_as_read_alone(&self, body: &Bytes, history: &History) {
            let asked = request::read(Api::Messages, body).unwrap();
            let mut alone = History::new(Api::Messages);
            alone.go_on(0, &asked, body, &self.volatile, &self.known.quick);
            assert_eq!(format!("{alone:?}"), format!("{history:?}"));
        }
    }

    #[test]
    fn what_was_read_before_is_not_read_again() {
        let mut world = World::default();
        let rows: [(&str, Vec<Value>, u64, usize); 6] = [
            ("nothing is known", messages(5, ""), 1, 0),
            ("it goes on", messages(9, ""), 1, 11),
            ("something else stands before it", messages(10, ""), 22, 19),
            (
                "its end is another",
                [&messages(9, "")[..18], &messages(1, "x")[2..]].concat(),
                22,
                18,
            ),
            ("it branches off", messages(2, "")[..3].to_vec(), 22, 3),
            ("another one", messages(2, "x"), 22, 2),
        ];
        for (name, messages, limit, known) in rows {
            let body = body(&messages, limit);
            let (kept, history) = world.read(&body);
            assert_eq!(kept, known, "row: {name}");
            assert_eq!(history.len(), messages.len(), "row: {name}");
            world.is_as_read_alone(&body, &history);
        }
        let (kept, _) = world.read(&body(&messages(9, "")[..18], 22));
        assert_eq!(kept, 18, "who branched off took nothing away");
    }

    #[test]
    fn what_is_volatile_is_put_aside() {
        let volatile = Volatile::new([(r"20\d\d-\d\d-\d\d", "DAY")]).unwrap();
        let mut world = World {
            volatile,
            ..World::default()
        };
        let today = body(&messages(3, ""), 1);
        let text = String::from_utf8(today.to_vec()).unwrap();
        let (_, today) = world.read(&today);
        let (kept, tomorrow) = world.read(&text.replace("11-30", "12-01").into());
        assert_eq!((kept, tomorrow.meaning()), (0, today.meaning()));
        assert_ne!(
            tomorrow.beginnings().next(),
            today.beginnings().next(),
            "what it costs depends on every word"
        );
    }

    #[test]
    fn words_behind_the_first_answer_are_read_again() {
        let body = body(&messages(2, ""), 1);
        let (_, history) = World::default().read(&body);
        let asked = request::read(Api::Messages, &body).unwrap();
        let said: Vec<&Said> = history.said().collect();
        assert!(said[0].text.starts_with("It is 2026"));
        assert_eq!(said[2].results[0].text, "");
        assert_eq!(
            History::in_full(&asked, 2).unwrap().results[0].text,
            "file 0"
        );
    }

    #[test]
    fn numbers_and_texts_may_go_on_where_they_ended() {
        let mut world = World::default();
        for (text, known) in [
            ("[1]", 0),
            ("[12]", 0),
            (r#"["a"]"#, 0),
            (r#"["a","b"]"#, 0),
        ] {
            let body = format!(r#"{{"model":"m","messages":{text}}}"#).into();
            assert_eq!(world.read(&body).0, known, "{text}");
        }
    }

    #[test]
    fn little_is_kept() {
        let mut world = World::default();
        for number in 0..2_000 {
            let text = format!("{number} {}", "a".repeat(10_000));
            world.read(&body(&[json!({"role": "user", "content": text})], 1));
        }
        let kept: usize = world.known.histories.iter().map(|it| it.bytes()).sum();
        assert!(kept <= KEPT_BYTES_MAX && world.known.histories.len() > KEPT_LEAST);
        for number in 0..20 {
            let text = format!("{number} {}", "a".repeat(1 << 20));
            world.read(&body(&[json!({"role": "user", "content": text})], 1));
        }
        assert_eq!(world.known.histories.len(), KEPT_LEAST);
    }
}
