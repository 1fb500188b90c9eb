//! Answers that travel: a token for one option of one question.
//!
//! A notification carries one for each option, so that whoever gets it can answer
//! without an account here: by a command, a link, a bot. It is signed with a secret
//! of the state folder, ends with the question's deadline (after a week, where that is
//! later or there is none), and works once, since a
//! question is decided once.
//!
//! ```text
//! e-7f3ak2m9.approve.1790000000000.4k2…   question . option . expiry (ms) . signature
//! ```
//! The signature is HMAC-SHA256 over all before it. Whoever holds the secret can
//! sign; it never leaves the machine.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock::UnixMs;
use crate::ids::EscalationId;
use crate::store::{self, Paths};

/// What begins the signed text, so that a signature serves nothing else.
const PURPOSE: &[u8] = b"agentguard answer 1\n";

/// How long a token lives at most, whatever its question's deadline.
pub const LIFE_MS: u64 = crate::task::defaults::TOKEN_LIFE_MS;

/// Longest token that is read, in bytes.
const TOKEN_BYTES_MAX: usize = 512;

/// The secret that signs tokens.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// Hidden wherever it is printed.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The question.
    pub escalation: EscalationId,
    /// The option.
    pub option: String,
    /// Until when it can be used.
    pub expires_at: UnixMs,
    /// What identifies the token in the journal; not enough to use it.
    pub mark: String,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is none.
    #[error("this is no token of agentguard")]
    Malformed,

    /// Nobody here has signed it.
    #[error("the token was not made here: its signature does not fit")]
    Forged,

    /// Its time is over.
    #[error("the token has expired")]
    Expired {
        /// When.
        at: UnixMs,
    },
}

impl Secret {
    /// Takes the secret of the state folder, making it first if there is none.
    ///
    /// Errors: what the disk says, and a file that is no secret.
    pub fn load(paths: &Paths) -> store::Result<Self> {
        paths
            .keep_secret("answer.key", rand::random::<[u8; 32]>())
            .map(Self)
    }

    /// Makes the token for `option` of a question.
    pub fn sign(&self, escalation: &EscalationId, option: &str, expires_at: UnixMs) -> String {
        let text = format!("{escalation}.{option}.{}", expires_at.0);
        let signature = hex(&self.mac(&text).finalize().into_bytes());
        format!("{text}.{signature}")
    }

    /// Reads a token that is used at `now`.
    pub fn verify(&self, token: &str, now: UnixMs) -> Result<Claim, Error> {
        let token = token.trim();
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Error::Malformed);
        }
        let (text, signature) = token.rsplit_once('.').ok_or(Error::Malformed)?;
        let (rest, expires_at) = text.rsplit_once('.').ok_or(Error::Malformed)?;
        // An option may have points itself.
        let (escalation, option) = rest.split_once('.').ok_or(Error::Malformed)?;
        let escalation = escalation.parse().map_err(|_| Error::Malformed)?;
        let expires_at = expires_at
            .parse()
            .map(UnixMs)
            .map_err(|_| Error::Malformed)?;
        let bytes = unhex(signature).ok_or(Error::Malformed)?;
        // Compared in constant time.
        self.mac(text)
            .verify_slice(&bytes)
            .map_err(|_| Error::Forged)?;
        if now > expires_at {
            return Err(Error::Expired { at: expires_at });
        }
        Ok(Claim {
            escalation,
            option: option.to_owned(),
            expires_at,
            mark: signature.chars().take(16).collect(),
        })
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(PURPOSE);
        mac.update(text.as_bytes());
        mac
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|it| u8::try_from(it).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    Some(
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_say_what_they_are_for_and_nothing_else_passes() {
        let (secret, other) = (Secret(vec![1; 32]), Secret(vec![2; 32]));
        let id = EscalationId::from_bits(7);
        let (now, later) = (UnixMs(1_000), UnixMs(2_000));
        let token = secret.sign(&id, "v1.2", later);
        let claim = secret.verify(&token, now).expect("our own");
        assert_eq!(
            (claim.escalation.clone(), claim.option.as_str()),
            (id.clone(), "v1.2")
        );
        assert_eq!(
            secret.verify(&token, later).as_ref(),
            Ok(&claim),
            "to the last moment"
        );
        let cut = &token[..token.len() - 1];
        let another = token.replace("v1.2", "v1.3");
        let longer = token.replace("2000", "9000");
        let long = format!("{token}{}", "0".repeat(600));
        let foreign = other.sign(&id, "v1.2", later);
        #[rustfmt::skip]
        let rows = [
            ("expired", token.as_str(), UnixMs(2_001), Error::Expired { at: later }),
            ("another option", &another, now, Error::Forged),
            ("a longer life", &longer, now, Error::Forged),
            ("another secret", &foreign, now, Error::Forged),
            ("cut off", cut, now, Error::Malformed),
            ("too long", &long, now, Error::Malformed),
            ("nothing", "", now, Error::Malformed),
            ("points", "....", now, Error::Malformed),
            ("no text at all", "e-7f3ak2m9.é.1.é", now, Error::Malformed),
        ];
        for (name, token, now, want) in rows {
            assert_eq!(secret.verify(token, now), Err(want), "row: {name}");
        }
    }
}
