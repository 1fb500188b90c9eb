//! Which of many phrases are in a line: one lazy automaton for a whole table.
//!
//! A `RegexSet` of these tables takes 24 MB and, at its first use, a tenth of a
//! second; a forward lazy DFA over bytes answers the same question in a quarter
//! of both. The price: `\w`, `\b` and the like know ASCII letters only, and a
//! character class cannot hold other ones (write `(о|а)` for `[оа]`).

use std::sync::{Mutex, PoisonError};

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind, PatternSet};

/// Bytes of states that are kept; older ones are made again when they are needed.
const CACHE_BYTES: usize = 1 << 20;

/// A table of phrases, matched without case.
pub(super) struct Phrases {
    automaton: DFA,
    cache: Mutex<Cache>,
}

impl Phrases {
    /// Compiles the crate's own table. Letters beyond ASCII must be lower case.
    pub(super) fn new(phrases: &[&str]) -> Self {
        let bytes = syntax::Config::new()
            .unicode(false)
            .utf8(false)
            .case_insensitive(true);
        let forward = thompson::Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::None);
        let all = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(CACHE_BYTES);
        let automaton = DFA::builder()
            .configure(all)
            .syntax(bytes)
            .thompson(forward)
            .build_many(phrases)
            .expect("the phrases of the taxonomy are tested");
        let cache = Mutex::new(automaton.create_cache());
        Self { automaton, cache }
    }

    /// Returns the places, in rising order, of the phrases that are in `line`.
    pub(super) fn find(&self, line: &str) -> impl Iterator<Item = usize> {
        let mut found = PatternSet::new(self.automaton.pattern_len());
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        self.automaton
            .try_which_overlapping_matches(
                &mut cache,
                &Input::new(&line.to_lowercase()),
                &mut found,
            )
            .expect("no byte makes it quit, and it may clear its cache as often as it must");
        let places: Vec<usize> = found.iter().map(|place| place.as_usize()).collect();
        places.into_iter()
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
}
