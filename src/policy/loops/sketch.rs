//! A small sketch of the words of a call, to tell near-duplicates.
//!
//! MinHash over character triples with 16 one-byte minima: two sketches agree
//! in about the share of triples their texts share (standard error 0.12).
//! Digits count as one digit, so `page 2` and `page 3` are the same.
//!
//! Source: Broder, *On the resemblance and containment of documents*, 1997.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::digest::mix;

/// Bytes of text that are read.
const TEXT_BYTES_MAX: usize = 256;

/// Sixteen minima; all zero where there was no text.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Sketch([u8; 16]);

impl Sketch {
    /// Returns the sketch of `text`: case, order of words and digits do not count.
    pub fn of(text: &str) -> Self {
        let mut minima = [u16::MAX; 16];
        let mut any = false;
        let mut window = [b' ', b' ', b' '];
        let bytes = text.as_bytes();
        for &byte in bytes.iter().take(TEXT_BYTES_MAX).chain(b" ") {
            let letter = match byte {
                b'0'..=b'9' => b'0',
                byte if byte.is_ascii_alphanumeric() || byte >= 0x80 => byte.to_ascii_lowercase(),
                _ => b' ',
            };
            if letter == b' ' && window[2] == b' ' || letter == b'0' && window[2] == b'0' {
                continue;
            }
            // Triples do not reach across words, so their order is free.
            window = match (window[2], letter) {
                (b' ', _) => [b' ', b' ', letter],
                _ => [window[1], window[2], letter],
            };
            if window[1] == b' ' && letter == b' ' {
                continue;
            }
            any = true;
            note(&mut minima, window);
        }
        if !any {
            return Self::default();
        }
        // Zero is kept for "no text".
        Self(minima.map(|minimum| (minimum % 255) as u8 + 1))
    }

    /// Returns whether the two texts share at least about a third of their triples.
    pub fn is_near(&self, other: &Self) -> bool {
        self.agreement(other) >= 5
    }

    fn agreement(&self, other: &Self) -> usize {
        self.0.iter().zip(&other.0).filter(|(a, b)| a == b).count()
    }
}

fn note(minima: &mut [u16; 16], triple: [u8; 3]) {
    let seed = u64::from(u32::from_le_bytes([triple[0], triple[1], triple[2], 1]));
    // Four 16-bit values come out of each mixed word.
    for (lane, four) in minima.chunks_exact_mut(4).enumerate() {
        let word = mix(seed.wrapping_add((lane as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        for (part, minimum) in four.iter_mut().enumerate() {
            *minimum = (*minimum).min((word >> (16 * part)) as u16);
        }
    }
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sketch({:032x})", u128::from_be_bytes(self.0))
    }
}

impl Serialize for Sketch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:032x}", u128::from_be_bytes(self.0)))
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        u128::from_str_radix(&text, 16)
            .ok()
            .filter(|_| plain)
            .map(|word| Self(word.to_be_bytes()))
            .ok_or_else(|| de::Error::custom("expected 32 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_table() {
        #[rustfmt::skip]
        let rows = [
            ("words in another order are near", "tokio timeout async", "async tokio timeout", true),
            ("another page is near", "list page 2", "list page 31", true),
            ("an added word is near", "refund policy for orders", "refund policy for late orders", true),
            ("another spelling is near", "handle_login", "handleLogin", true),
            ("another subject is not", "parse_config", "weather in berlin", false),
            ("no text is near nothing written", "", "weather", false),
        ];
        for (name, one, other, want) in rows {
            assert_eq!(
                Sketch::of(one).is_near(&Sketch::of(other)),
                want,
                "row: {name}"
            );
        }
    }

    #[test]
    fn sketch_survives_json() {
        let sketch = Sketch::of("a few words");
        let json = serde_json::to_string(&sketch).unwrap();
        assert_eq!(serde_json::from_str::<Sketch>(&json).unwrap(), sketch);
        assert!(serde_json::from_str::<Sketch>("\"12\"").is_err());
    }
}
