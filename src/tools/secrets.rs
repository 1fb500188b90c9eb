//! What must not reach the model, the journal or a log.
//!
//! Values are hidden, not names: a server that repeats our token in its error
//! text, or a program that prints its environment, gives `***` instead. Which
//! values: those of variables that a header is made of, and of all variables
//! whose name says so (`API_KEY`, `DB_PASSWORD`, `GITHUB_TOKEN`).
//!
//! Not promised: encoded forms (base64, percent-encoding), and the files of
//! whole output on disk, which are as they came and for their owner only.

use std::borrow::Cow;

use regex::Regex;

/// Shorter values stand in too many harmless places.
const SECRET_BYTES_MIN: usize = 8;

/// What stands in the place of a hidden value.
const HIDDEN: &str = "***";

/// Parts of a name, between `_`, that tell a secret.
const TELLING: &[&str] = &[
    "APIKEY",
    "AUTH",
    "AUTHORIZATION",
    "CREDENTIAL",
    "CREDENTIALS",
    "KEY",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PRIVATE",
    "PWD",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "TOKENS",
];

/// Last parts of a name that tell a place or a number, not the secret itself.
const HARMLESS_ENDS: &[&str] = &["DIR", "FILE", "HOME", "ID", "NAME", "PATH", "SOCK", "TYPE"];

/// Values to hide.
#[derive(Default)]
pub(super) struct Secrets(Option<Regex>);

impl Secrets {
    /// Makes them of values, given in any order, with repeats.
    pub(super) fn new(values: impl IntoIterator<Item = String>) -> Self {
        let mut values: Vec<String> = values
            .into_iter()
            .filter(|value| value.len() >= SECRET_BYTES_MIN)
            .collect();
        // A value may contain another one: the longer one first.
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        let any: Vec<String> = values.iter().map(|value| regex::escape(value)).collect();
        Self(
            (!any.is_empty())
                .then(|| Regex::new(&any.join("|")).ok())
                .flatten(),
        )
    }

    /// Returns the text with every value hidden.
    pub(super) fn hide<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.0 {
            Some(values) => values.replace_all(text, HIDDEN),
            None => Cow::Borrowed(text),
        }
    }
}

/// Whether the name of a variable tells that its value is a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let parts: Vec<&str> = name.split('_').filter(|part| !part.is_empty()).collect();
    let harmless = parts.last().is_none_or(|last| HARMLESS_ENDS.contains(last));
    // The shell keeps its folder in `PWD` and `OLDPWD`.
    let telling = |part: &&str| TELLING.contains(part) && !(parts.len() == 1 && **part == *"PWD");
    !harmless && parts.iter().any(telling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_table() {
        #[rustfmt::skip]
        let rows = [
            ("OPENAI_API_KEY", true), ("GITHUB_TOKEN", true), ("db_password", true), ("TOKEN", true),
            ("DB_PWD", true), ("AWS_SECRET_ACCESS_KEY", true),
            ("PWD", false), ("OLDPWD", false), ("SSH_AUTH_SOCK", false), ("AWS_ACCESS_KEY_ID", false),
            ("GIT_AUTHOR_EMAIL", false), ("KEYBOARD", false), ("PATH", false), ("", false),
            ("API_BASE", false), ("PASSWORD_FILE", false),
        ];
        for (name, want) in rows {
            assert_eq!(is_secret_name(name), want, "row: {name}");
        }
    }

    #[test]
    fn values_are_hidden_the_longer_one_first() {
        let secrets = Secrets::new([
            "fake-key-1".to_owned(),
            "fake-key-1-longer".to_owned(),
            "ok".to_owned(),
        ]);
        assert_eq!(
            secrets.hide("a fake-key-1-longer b fake-key-1."),
            "a *** b ***."
        );
        assert_eq!(
            secrets.hide("ok stays: it is too short"),
            "ok stays: it is too short"
        );
        assert_eq!(
            Secrets::default().hide("nothing to hide"),
            "nothing to hide"
        );
    }
}
