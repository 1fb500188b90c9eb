//! The messages of a request, read.
//!
//! Agents send their whole history with every call. What is told of one goes on from what was told
//! of the history that it begins with, so that a turn costs what is new in it.
//!
//! Of what follows the first answer the words are not kept, nor what tools gave
//! back: who needs them reads the message again ([`History::in_full`]).

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::quick::{Mark, Quick};
use super::volatile::Volatile;
use super::wire::said::{Role, Said};
use super::wire::{Api, Asked, Digest, extras};
use crate::channel::heard::{Heard, Speaker};

/// Shortest line that one text can quote from another, in characters.
const LINE_CHARS_MIN: usize = 40;

/// Most lines of a text that are kept.
const LINES_MAX: usize = 256;

/// Bytes that a message takes here at least.
const MESSAGE_BYTES: usize = 400;

/// The messages of a request.
#[derive(Clone, Debug)]
pub(super) struct History {
    api: Api,
    /// The request, and where the first message begins in it.
    body: Bytes,
    at: usize,
    messages: Vec<Message>,
    /// Where they stand, from the first one on.
    places: Vec<Range<usize>>,
    /// So many of the first are objects, so that it can be seen where they end.
    objects: usize,
    heard: Heard,
    /// Those that may ask for something besides text.
    notable: Vec<usize>,
    /// The first answer.
    answer: Option<usize>,
    /// Digests of the longer lines that are said before it.
    lines: Vec<u64>,
}

/// One of them.
#[derive(Clone, Debug)]
struct Message {
    said: Said,
    /// What it means, with everything volatile put aside.
    meaning: Option<Digest>,
    /// What all up to it mean.
    so_far: Digest,
    /// All up to it, to the word.
    mark: Mark,
}

impl History {
    /// Begins one.
    pub(super) fn new(api: Api) -> Self {
        Self {
            api,
            body: Bytes::new(),
            at: 0,
            messages: Vec::new(),
            places: Vec::new(),
            objects: 0,
            heard: Heard::default(),
            notable: Vec::new(),
            answer: None,
            lines: Vec::new(),
        }
    }

    /// Goes on with a request that begins with the same messages.
    ///
    /// - `kept`: how many of them;
    /// - `body`: that `asked` was read from.
    pub(super) fn go_on(
        &mut self,
        kept: usize,
        asked: &Asked<'_>,
        body: &Bytes,
        volatile: &Volatile,
        quick: &Quick,
    ) {
        self.truncate(kept);
        let had_answer = self.answer.is_some();
        let at = |text: &str| (text.as_ptr() as usize).wrapping_sub(body.as_ptr() as usize);
        let first = asked.messages.first().map_or(0, |first| at(first));
        (self.body, self.at) = (body.clone(), first);
        for raw in asked.messages.iter().skip(kept) {
            let start = at(raw).saturating_sub(first);
            self.places.push(start..start + raw.len());
            self.push(asked, raw, volatile, quick);
        }
        if !had_answer {
            self.lines = lines(self.opening());
        }
    }

    fn truncate(&mut self, kept: usize) {
        self.messages.truncate(kept);
        self.places.truncate(kept);
        self.objects = self.objects.min(kept);
        self.heard.truncate(kept);
        self.notable
            .truncate(self.notable.partition_point(|at| *at < kept));
        self.answer = self.answer.filter(|at| *at < kept);
    }

    fn push(&mut self, asked: &Asked<'_>, raw: &str, volatile: &Volatile, quick: &Quick) {
        let index = self.messages.len();
        let mut said = asked.said(raw);
        let meaning = meaning(self.api, raw, &said, volatile);
        let (so_far, mark) = self.messages.last().map_or_else(
            || (Digest::NONE, Mark::default()),
            |last| (last.so_far, last.mark),
        );
        self.heard.push(meaning, speaker(&said));
        if extras::is_worth_a_look(self.api, raw) {
            self.notable.push(index);
        }
        if self.objects == index && raw.ends_with('}') {
            self.objects += 1;
        }
        if self.answer.is_some() {
            (said.text, said.refusal) = (String::new(), String::new());
            for result in &mut said.results {
                result.text = String::new();
            }
        } else if said.role == Role::Assistant {
            self.answer = Some(index);
        }
        self.messages.push(Message {
            meaning,
            so_far: meaning.map_or(so_far, |meaning| so_far.then(meaning)),
            mark: said.hash.map_or(mark, |hash| quick.of((mark, hash.0))),
            said,
        });
    }

    /// Returns with how many of its messages a request begins that was not read yet.
    ///
    /// - `text`: the request from its first message on.
    pub(super) fn shared_with(&self, api: Api, text: &str) -> usize {
        if api != self.api {
            return 0;
        }
        let known = self.body.get(self.at..).unwrap_or_default();
        let same = same(known, text.as_bytes());
        let kept = self.places.partition_point(|place| place.end <= same);
        kept.min(self.objects)
    }

    /// Returns where the first messages stand, from the first one on.
    pub(super) fn places(&self, kept: usize) -> Vec<Range<usize>> {
        self.places.iter().take(kept).cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Bytes that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.body.len() + MESSAGE_BYTES * self.messages.len()
    }

    /// The messages; words only up to the first answer.
    pub(super) fn said(
        &self,
    ) -> impl DoubleEndedIterator<Item = &Said> + ExactSizeIterator + Clone {
        self.messages.iter().map(|message| &message.said)
    }

    /// Reads one of the messages again, with all its words.
    pub(super) fn in_full(asked: &Asked<'_>, index: usize) -> Option<Said> {
        asked.messages.get(index).map(|raw| asked.said(raw))
    }

    /// What each message means, with everything volatile put aside.
    pub(super) fn meanings(&self) -> impl Iterator<Item = Option<Digest>> {
        self.messages.iter().map(|message| message.meaning)
    }

    /// What all of it means.
    pub(super) fn meaning(&self) -> Digest {
        let last = self.messages.last();
        last.map_or(Digest::NONE, |last| last.so_far)
    }

    /// Every beginning of it that means something, with its length, longest first.
    pub(super) fn beginnings(&self) -> impl Iterator<Item = (usize, Mark)> {
        let messages = self.messages.iter().enumerate().rev();
        let messages = messages.filter(|(_, it)| it.said.hash.is_some());
        messages.map(|(index, it)| (index + 1, it.mark))
    }

    pub(super) fn heard(&self) -> &Heard {
        &self.heard
    }

    pub(super) fn notable(&self) -> &[usize] {
        &self.notable
    }

    /// Digests of the longer lines that are said before its first answer.
    pub(super) fn lines(&self) -> &[u64] {
        &self.lines
    }

    fn opening(&self) -> impl Iterator<Item = &str> {
        let before = self.answer.unwrap_or(self.messages.len());
        self.said().take(before).map(|said| said.text.as_str())
    }
}

/// Returns what a message means, with everything volatile put aside.
///
/// - `raw`: that `said` was read from.
pub(super) fn meaning(api: Api, raw: &str, said: &Said, volatile: &Volatile) -> Option<Digest> {
    match volatile.without(raw) {
        Cow::Borrowed(_) => said.hash,
        // What is put in its place may break it.
        Cow::Owned(plain) => match serde_json::from_str::<&RawValue>(&plain) {
            Ok(plain) => Said::of_item(api, plain.get()).hash,
            Err(_) => said.hash,
        },
    }
}

pub(super) fn speaker(said: &Said) -> Speaker {
    match said.role {
        Role::System => Speaker::Operator,
        Role::Assistant => Speaker::Model,
        Role::User | Role::Tool | Role::Other => Speaker::Other,
    }
}

/// Returns how many bytes at the beginning are the same.
fn same(one: &[u8], other: &[u8]) -> usize {
    const PART: usize = 4096;
    let parts = one.chunks(PART).zip(other.chunks(PART));
    let parts = parts.take_while(|(one, other)| one == other).count();
    let from = (parts * PART).min(one.len()).min(other.len());
    let rest = one[from..].iter().zip(&other[from..]);
    from + rest.take_while(|(one, other)| one == other).count()
}

/// Returns digests of the longer lines of texts.
pub(super) fn lines<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<u64> {
    let lines = texts.flat_map(str::lines).map(str::trim);
    let long = lines.filter(|line| line.chars().nth(LINE_CHARS_MIN - 1).is_some());
    long.take(LINES_MAX)
        .map(|line| {
            let mut hasher = DefaultHasher::new();
            line.hash(&mut hasher);
            hasher.finish()
        })
        .collect()
}
