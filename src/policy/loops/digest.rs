//! A 64-bit digest: small, stable across builds, shown as 16 hex digits.
//!
//! FNV-1a with a final mix. Good for telling a few thousand calls apart; not
//! meant to resist someone who looks for collisions. Where a collision would
//! cost a side effect, `fingerprint::identity` uses SHA-256.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A 64-bit digest of some bytes; JSON form: 16 lower-case hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u64);

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.write(bytes);
        hasher.finish()
    }

    /// Returns the digest of several digests, in order.
    pub fn join(parts: &[Digest]) -> Self {
        let mut hasher = Hasher::new();
        for part in parts {
            hasher.write(&part.0.to_le_bytes());
        }
        hasher.finish()
    }

    /// Returns whether nothing was digested (the default value).
    pub fn is_none(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Digest;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("16 hex digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                let plain = text.len() <= 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
                u64::from_str_radix(text, 16)
                    .ok()
                    .filter(|_| plain)
                    .map(Digest)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Feeds bytes into a [`Digest`].
#[derive(Debug, Clone)]
pub(super) struct Hasher(u64);

impl Hasher {
    /// Returns a hasher that has seen nothing.
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        // Eight bytes a step: result texts are long, and FNV's byte loop
        // would be the slowest part of a print.
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let word = u64::from_le_bytes(chunk.try_into().expect("chunks of eight"));
            self.0 = mix(self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        }
        for &byte in chunks.remainder() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.0 = (self.0 ^ bytes.len() as u64).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// Returns the digest of all bytes added; never the none value.
    pub fn finish(&self) -> Digest {
        Digest(mix(self.0).max(1))
    }
}

/// Spreads every input bit over the word.
///
/// Source: the finaliser of SplitMix64 (Steele, Lea, Flood, 2014).
pub(super) fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_reads_back_what_it_wrote() {
        for text in ["", "a", "abcdefgh", "abcdefghi"] {
            let digest = Digest::of(text.as_bytes());
            let json = serde_json::to_string(&digest).unwrap();
            assert_eq!(json.len(), 18, "text: {text}");
            assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }
        for bad in ["\"xyz\"", "\"+1\"", "\"00112233445566778\"", "12"] {
            assert!(serde_json::from_str::<Digest>(bad).is_err(), "row: {bad}");
        }
    }

    #[test]
    fn digests_of_different_splits_differ() {
        let (mut one, mut two) = (Hasher::new(), Hasher::new());
        one.write(b"ab");
        one.write(b"c");
        two.write(b"a");
        two.write(b"bc");
        assert_ne!(one.finish(), two.finish());
    }
}
