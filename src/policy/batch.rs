//! How much of a batch has to succeed.
//!
//! Pure numbers. Not here: what becomes of an item (`machine::batch`), and which
//! item of an answer failed (`policy::taxonomy`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What the loop wants of a batch. Written as `required`, `optional`, `90` or `90%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Want {
    /// Every item succeeds.
    #[default]
    Required,
    /// Whatever succeeds is welcome.
    Optional,
    /// At least so many items succeed.
    AtLeast(u64),
    /// At least so many of a hundred succeed; from 0 to 100.
    AtLeastPercent(u8),
}

/// The text says no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no policy of a batch, expected {EXPECTED}")]
pub struct NoWant(String);

/// What a policy looks like.
pub const EXPECTED: &str = "`required`, `optional`, a count such as `90`, or a share such as `90%`";

impl Want {
    /// Returns how many of `total` items have to succeed.
    pub fn needed(self, total: usize) -> usize {
        match self {
            Self::Required => total,
            Self::Optional => 0,
            Self::AtLeast(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::AtLeastPercent(percent) => {
                total.saturating_mul(usize::from(percent)).div_ceil(100)
            }
        }
    }

    /// Returns whether enough of `total` items succeeded.
    pub fn is_met(self, succeeded: usize, total: usize) -> bool {
        succeeded >= self.needed(total)
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required => f.write_str("required"),
            Self::Optional => f.write_str("optional"),
            Self::AtLeast(count) => count.fmt(f),
            Self::AtLeastPercent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Want {
    type Err = NoWant;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || NoWant(text.chars().take(40).collect());
        match text.trim() {
            "required" | "all" => Ok(Self::Required),
            "optional" => Ok(Self::Optional),
            number => match number.strip_suffix('%') {
                Some(percent) => percent
                    .trim()
                    .parse()
                    .ok()
                    .filter(|percent| *percent <= 100)
                    .map(Self::AtLeastPercent)
                    .ok_or_else(bad),
                None => number.parse().map(Self::AtLeast).map_err(|_| bad()),
            },
        }
    }
}

impl TryFrom<String> for Want {
    type Error = NoWant;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Want> for String {
    fn from(want: Want) -> Self {
        want.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn met_table() {
        let rows = [
            ("required", 9, 10, false),
            ("required", 10, 10, true),
            ("required", 0, 0, true),
            ("optional", 0, 10, true),
            ("9", 9, 10, true),
            ("9", 8, 10, false),
            ("11", 10, 10, false),
            ("95%", 95, 100, true),
            ("95%", 94, 100, false),
            ("50%", 1, 3, false),
            ("50%", 2, 3, true),
            ("0%", 0, 3, true),
        ];
        for (text, succeeded, total, met) in rows {
            let want: Want = text.parse().unwrap();
            assert_eq!(
                want.is_met(succeeded, total),
                met,
                "row: {text}: {succeeded} of {total}"
            );
            assert_eq!(want.to_string().parse(), Ok(want), "row: {text}");
        }
    }

    #[test]
    fn what_is_no_policy_is_refused_with_what_is_one() {
        for text in ["", "most", "-1", "101%", "1.5", "%", "99999999999999999999"] {
            let error = text.parse::<Want>().unwrap_err().to_string();
            assert!(
                error.contains("expected `required`"),
                "row: {text}: {error}"
            );
        }
    }
}
