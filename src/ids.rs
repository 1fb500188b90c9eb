//! Names for what can be mixed up: runs, steps, attempts, calls, keys.
//!
//! Newtypes without logic. Every room may use them; they use none.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Letters and digits that cannot be mistaken for one another (Crockford).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $invalid:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Makes an id from 40 random bits; higher bits are ignored.
            pub fn from_bits(bits: u64) -> Self {
                let mut text = String::from($prefix);
                for place in (0..8).rev() {
                    let index = (bits >> (place * 5)) & 31;
                    text.push(ALPHABET[index as usize] as char);
                }
                Self(text)
            }

            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        #[doc = concat!("The text is not ", $what, ".")]
        #[derive(Debug, thiserror::Error)]
        #[error("`{0}` is not {what}, expected `{prefix}` and eight of 0-9 a-z", what = $what, prefix = $prefix)]
        pub struct $invalid(String);

        impl FromStr for $name {
            type Err = $invalid;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let valid = text.strip_prefix($prefix).is_some_and(|rest| {
                    rest.len() == 8 && rest.bytes().all(|byte| ALPHABET.contains(&byte))
                });
                if valid {
                    Ok(Self(text.to_owned()))
                } else {
                    Err($invalid(text.chars().take(40).collect()))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $invalid;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

named!(
    /// A run: one task file, supervised from its start to its end, over any number
    /// of attempts. Written as `r-` and eight characters, such as `r-7f3ak2m9`.
    RunId, InvalidRunId, "r-", "a run id"
);
named!(
    /// A question to a human, such as `e-7f3ak2m9`.
    EscalationId, InvalidEscalationId, "e-", "an escalation id"
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Returns the number after this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Counts the turns committed so far. Step 0 is a run that has none.
    StepNo
);
number!(
    /// Counts the times the agent was started for a run, from 1.
    AttemptNo
);
/// Numbers the conversations of a run, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConversationNo(pub u64);

impl ConversationNo {
    /// The first conversation of a run; the only one of a loop that tells of its
    /// turns itself.
    pub const FIRST: Self = Self(1);

    /// Whether it is the first one.
    pub fn is_first(&self) -> bool {
        *self == Self::FIRST
    }

    /// Returns the number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Default for ConversationNo {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for ConversationNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

number!(
    /// Counts the owners of a run, from 1: each `run`, `resume` or take-over is
    /// one, however often it starts the agent. By it a late write of a former
    /// owner is recognised.
    Epoch
);
number!(
    /// Numbers the guarded and reported tool calls of a run, from 1.
    CallId
);
number!(
    /// Numbers the batches of a run, from 1.
    BatchNo
);
number!(
    /// The place of an event in a run's journal, from 1, without gaps.
    Seq
);

/// What makes two executions of a write the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(pub String);

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_survive_text_and_reject_what_is_not_one() {
        let id = RunId::from_bits(0x00ab_cdef_0123);
        assert_eq!(id.as_str().parse::<RunId>().expect("own text"), id);
        for text in [
            "",
            "r-",
            "r-123",
            "x-12345678",
            "r-1234567l",
            "r-12345678/../x",
        ] {
            assert!(text.parse::<RunId>().is_err(), "row: {text}");
        }
    }
}
