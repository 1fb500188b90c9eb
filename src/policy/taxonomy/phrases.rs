//! Which of many phrases are in a line: a few lazy automata for a whole table.
//!
//! A `RegexSet` of these tables takes 24 MB and, at its first use, a tenth of a
//! second. Forward lazy DFAs over bytes answer the same question for a small
//! part of both; they are made of a few phrases each, since what is needed while
//! one is made grows with all that is in it. The price: `\w`, `\b` and the like
//! know ASCII letters only, and a character class cannot hold other ones (write
//! `(о|а)` for `[оа]`).

use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use regex::Regex;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind, PatternSet};

use super::text::regex;

/// Bytes of states that an automaton keeps; older ones are made again when they
/// are needed.
const CACHE_BYTES: usize = 256 << 10;
/// Phrases of one automaton.
const PHRASES_OF_ONE: usize = 6;

/// A table of phrases, matched without case.
pub(super) struct Phrases {
    parts: Vec<Part>,
}

struct Part {
    automaton: DFA,
    cache: Mutex<Cache>,
}

impl Phrases {
    /// Compiles the crate's own table. Letters beyond ASCII must be lower case.
    pub(super) fn new(phrases: &[&str]) -> Self {
        Self {
            parts: phrases.chunks(PHRASES_OF_ONE).map(Part::new).collect(),
        }
    }

    /// Returns the places, in rising order, of the phrases that are in `line`.
    pub(super) fn find(&self, line: &str) -> impl Iterator<Item = usize> {
        let line = line.to_lowercase();
        self.parts.iter().enumerate().flat_map(move |(nth, part)| {
            let places = part.find(&line);
            places.into_iter().map(move |at| nth * PHRASES_OF_ONE + at)
        })
    }
}

impl Part {
    fn new(phrases: &[&str]) -> Self {
        let bytes = syntax::Config::new()
            .unicode(false)
            .utf8(false)
            .case_insensitive(true);
        let forward = thompson::Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::None);
        let all = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(CACHE_BYTES)
            .skip_cache_capacity_check(true);
        let automaton = DFA::builder()
            .configure(all)
            .syntax(bytes)
            .thompson(forward)
            .build_many(phrases)
            .expect("the phrases of the taxonomy are tested");
        let cache = Mutex::new(automaton.create_cache());
        Self { automaton, cache }
    }

    fn find(&self, line: &str) -> Vec<usize> {
        let mut found = PatternSet::new(self.automaton.pattern_len());
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        self.automaton
            .try_which_overlapping_matches(&mut cache, &Input::new(line), &mut found)
            .expect("no byte makes it quit, and it may clear its cache as often as it must");
        found.iter().map(|place| place.as_usize()).collect()
    }
}

/// A table of phrases that say where they are. In one expression they would take
/// megabytes while it is made, so it is looked first which of them are there.
pub(super) struct Places {
    seen: Phrases,
    places: Vec<(&'static str, OnceLock<Regex>)>,
}

impl Places {
    /// Compiles the crate's own table; see [`Phrases::new`].
    pub(super) fn new(phrases: &[&'static str]) -> Self {
        let places = phrases.iter().map(|phrase| (*phrase, OnceLock::new()));
        Self {
            seen: Phrases::new(phrases),
            places: places.collect(),
        }
    }

    /// Returns where the first of the phrases is that are in `text`.
    pub(super) fn find(&self, text: &str) -> Option<Range<usize>> {
        let found = self.seen.find(text).filter_map(|at| {
            let (phrase, place) = self.places.get(at)?;
            let place = place.get_or_init(|| regex(&format!("(?i){phrase}")));
            place.find(text).map(|found| found.range())
        });
        found.min_by_key(|found| found.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_phrases_of_a_line_are_found_without_case() {
        let phrases = Phrases::new(&["timed? out", r"\bport\b", "соединени(е|я) разорвано", "é?t"]);
        let found = |line: &str| phrases.find(line).collect::<Vec<_>>();
        assert_eq!(found("Port 80 TIMED OUT"), [0, 1, 3]);
        assert_eq!(found("СОЕДИНЕНИЕ разорвано"), [2]);
        assert_eq!(found("passports"), [3], "no word of its own");
        assert!(found("").is_empty());
    }

    #[test]
    fn the_first_phrase_of_a_text_says_where_it_is() {
        let places = Places::new(&[r"(не|no) могу", r"^\W*I (can't|won't)", "so .{0,9}sorry"]);
        assert_eq!(places.find("— I WON'T, so very sorry"), Some(0..11));
        assert_eq!(places.find("But, so very sorry"), Some(5..18));
        assert_eq!(places.find("Нет, НЕ могу"), Some(8..21));
        assert_eq!(places.find("I can"), None);
    }
}
