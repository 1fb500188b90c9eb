//! Messages stored once: a conversation is a chain of hashes.
//!
//! Each message is kept under the hash of its parent's hash and its own bytes,
//! as commits are in git. So a loop that sends its whole history on each call,
//! a sub-agent that starts from a shared prefix, and a branch from an earlier
//! step cost what is new in them. A [`Head`] names a conversation by its last
//! message.
//!
//! ```text
//! EMPTY ◄─ system ◄─ user ◄─ assistant ◄─ tool      head A
//!                       ▲
//!                       └─ assistant'               head B, shares two
//! ```
//!
//! Pure. Bytes are hashed as given: the same JSON written differently is
//! another message. Whoever wants them equal makes them canonical first.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256 over the parent's hash and the message's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

/// The tip of a conversation. Written as `6-1f0c…`: the number of messages and
/// the hash of the last in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Head {
    /// How many messages lead here.
    pub len: u64,
    /// The hash of the last one; all zero for none.
    pub hash: Hash,
}

impl Head {
    /// The conversation without a message.
    pub const EMPTY: Self = Self {
        len: 0,
        hash: Hash([0; 32]),
    };

    /// Returns the head one message further on.
    #[must_use]
    pub fn then(&self, body: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(self.hash.0)
            .chain_update(body.as_bytes())
            .finalize();
        Self {
            len: self.len + 1,
            hash: Hash(digest.into()),
        }
    }
}

impl Default for Head {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// One message of a conversation.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The conversation before it.
    pub parent: Head,
    /// The conversation with it.
    pub head: Head,
    /// The message as it came, JSON.
    pub body: String,
}

/// What a loop's whole list means for what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The conversation now.
    pub head: Head,
    /// How many leading messages are stored for certain.
    pub kept: usize,
    /// The messages after those. Of a rewritten history some may be stored
    /// too; the store notices and keeps one.
    pub messages: Vec<Message>,
    /// Whether the former conversation is not the beginning of the new one: a
    /// compaction, an edit, a rewind.
    pub rewritten: bool,
}

/// Adds `bodies` to the conversation `head`.
///
/// Returns the new head and the messages to store, in order.
pub fn extend<S: AsRef<str>>(head: Head, bodies: &[S]) -> (Head, Vec<Message>) {
    let mut tip = head;
    let messages = bodies
        .iter()
        .map(|body| {
            let parent = tip;
            tip = parent.then(body.as_ref());
            Message {
                parent,
                head: tip,
                body: body.as_ref().to_owned(),
            }
        })
        .collect();
    (tip, messages)
}

/// Makes `bodies` the whole conversation, where `head` was it before.
///
/// Hashes all of `bodies` and copies only those that may be new.
pub fn replace<S: AsRef<str>>(head: Head, bodies: &[S]) -> Replaced {
    let shared = usize::try_from(head.len).unwrap_or(usize::MAX);
    let grown = shared <= bodies.len()
        && bodies[..shared]
            .iter()
            .fold(Head::EMPTY, |tip, body| tip.then(body.as_ref()))
            == head;
    let (base, kept) = if grown {
        (head, shared)
    } else {
        (Head::EMPTY, 0)
    };
    let (tip, messages) = extend(base, &bodies[kept..]);
    Replaced {
        head: tip,
        kept,
        messages,
        rewritten: !grown,
    }
}

/// The text does not name a conversation.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a conversation head, expected a number, `-` and 64 hexadecimal digits")]
pub struct InvalidHead(String);

impl FromStr for Head {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidHead(text.chars().take(80).collect());
        let (len, hex) = text.split_once('-').ok_or_else(invalid)?;
        let len = len.parse().map_err(|_| invalid())?;
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(pair).map_err(|_| invalid())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| invalid())?;
        }
        Ok(Self {
            len,
            hash: Hash(hash),
        })
    }
}

impl TryFrom<String> for Head {
    type Error = InvalidHead;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Head> for String {
    fn from(head: Head) -> Self {
        head.to_string()
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.len, self.hash)
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({}-{:.8})", self.len, self.hash.to_string())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bodies hold what users and tools said; they stay out of logs.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("head", &self.head)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_of(bodies: &[&str]) -> Head {
        extend(Head::EMPTY, bodies).0
    }

    #[test]
    fn replace_table() {
        type Row = (
            &'static str,
            &'static [&'static str],
            &'static [&'static str],
            usize,
            usize,
            bool,
        );
        const A: &str = r#"{"a":1}"#;
        const B: &str = r#"{"b":2}"#;
        const C: &str = r#"{"c":3}"#;
        #[rustfmt::skip]
        let rows: [Row; 7] = [
            ("a first list is all new", &[], &[A, B], 0, 2, false),
            ("a longer list brings its tail", &[A], &[A, B, C], 1, 2, false),
            ("the same list brings nothing", &[A, B], &[A, B], 2, 0, false),
            ("a changed message is a new base", &[A, B], &[A, C], 0, 2, true),
            ("a changed first message is a new base", &[A, B], &[C, B], 0, 2, true),
            ("a shorter list is a rewind", &[A, B], &[A], 0, 1, true),
            ("a compaction to nothing", &[A, B], &[], 0, 0, true),
        ];
        for (name, before, after, kept, new, rewritten) in rows {
            let got = replace(head_of(before), after);
            assert_eq!(got.head, head_of(after), "row: {name}");
            assert_eq!(
                (got.kept, got.messages.len(), got.rewritten),
                (kept, new, rewritten),
                "row: {name}"
            );
        }
    }

    #[test]
    fn the_same_text_after_another_is_another_message() {
        assert_ne!(head_of(&["1", "2"]).hash, head_of(&["2"]).hash);
        // Where one message ends and the next begins is part of the chain.
        assert_ne!(head_of(&["1", "2"]), head_of(&["12"]));
    }

    #[test]
    fn a_head_survives_text_and_bad_text_is_refused() {
        let head = head_of(&["{}", "[]"]);
        assert_eq!(head.to_string().parse::<Head>().unwrap(), head);
        let zeros = "0".repeat(64);
        for text in [
            "",
            "1",
            "x-00",
            "1-zz",
            &format!("-1-{zeros}"),
            &format!("1-{zeros}0"),
            "1-é",
        ] {
            assert!(text.parse::<Head>().is_err(), "row: {text}");
        }
    }
}
