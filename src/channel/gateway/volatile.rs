//! What differs between requests that ask the same: times, ids, our own address.
//!
//! A request is known again by what it means. Agents write the time of day, the id
//! of their session and the like into their prompts; with these put aside, an
//! agent that was started again asks what it had asked before.

use std::borrow::Cow;

use regex::Regex;

/// Patterns and what stands for what they match.
#[derive(Clone, Debug, Default)]
pub struct Volatile(Vec<(Regex, String)>);

impl Volatile {
    /// Compiles patterns.
    ///
    /// Errors: the first one that cannot be compiled.
    pub fn new<'a>(
        patterns: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, regex::Error> {
        let compile = |(pattern, word): (&str, &str)| Ok((Regex::new(pattern)?, word.to_owned()));
        patterns
            .into_iter()
            .map(compile)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Returns the text with everything volatile put aside; borrowed if there is
    /// nothing.
    pub(super) fn without<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.0
            .iter()
            .fold(Cow::Borrowed(text), |text, (pattern, word)| {
                match pattern.replace_all(&text, word.as_str()) {
                    Cow::Borrowed(_) => text,
                    Cow::Owned(replaced) => Cow::Owned(replaced),
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_volatile_is_put_aside() {
        let volatile = Volatile::new([(r"\b20\d\d-\d\d-\d\d\b", "DAY"), ("id=[0-9a-f]+", "ID")]);
        let volatile = volatile.unwrap();
        let today = "Today is 2026-11-22, id=ab12.";
        assert_eq!(volatile.without(today), "Today is DAY, ID.");
        assert!(matches!(volatile.without("the same"), Cow::Borrowed(_)));
        assert!(Volatile::new([("(", "X")]).is_err());
    }
}
