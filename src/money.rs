//! Money as integers: nano-USD.
//!
//! One US dollar is 1,000,000,000 nano-USD, so that a thousandth of a cent per
//! token stays exact. Floats never enter: text is read digit by digit, and what
//! does not fit nine decimals is rounded up, against the spender.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount of money in nano-USD, never negative.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NanoUsd(pub u64);

/// Nano-USD in one US dollar.
pub const NANO_PER_USD: u64 = 1_000_000_000;

/// Why a text is not an amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAmount {
    /// The text is not a plain decimal number.
    #[error("not a decimal number such as 2.50")]
    NotANumber,
    /// The number is below zero.
    #[error("below zero")]
    Negative,
    /// The number is above what is kept, about 18 billion USD.
    #[error("too large")]
    TooLarge,
}

impl NanoUsd {
    /// Reads a decimal number of US dollars, such as `2.50`, `.5` or `1e-6`.
    ///
    /// More than nine decimals round up.
    ///
    /// Errors: anything that is not such a number, is negative, or is above
    /// `u64::MAX` nano-USD.
    pub fn from_usd_text(text: &str) -> Result<Self, InvalidAmount> {
        let text = text.trim();
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => {
                let exponent: i32 = exponent.parse().map_err(|_| InvalidAmount::NotANumber)?;
                (mantissa, exponent)
            }
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidAmount::NotANumber);
        }
        let significant = digits.trim_start_matches('0');
        if significant.is_empty() {
            return Ok(Self(0));
        }
        if negative {
            return Err(InvalidAmount::Negative);
        }
        // value = significant * 10^(exponent - decimals), wanted in units of 10^-9.
        let decimals = i32::try_from(fraction.len()).map_err(|_| InvalidAmount::TooLarge)?;
        let shift = exponent.saturating_sub(decimals).saturating_add(9);
        if shift >= 0 {
            let places = u32::try_from(shift).unwrap_or(u32::MAX);
            let scale = 10u64.checked_pow(places).ok_or(InvalidAmount::TooLarge)?;
            let value: u64 = significant.parse().map_err(|_| InvalidAmount::TooLarge)?;
            return value
                .checked_mul(scale)
                .map(Self)
                .ok_or(InvalidAmount::TooLarge);
        }
        let dropped = usize::try_from(-i64::from(shift)).unwrap_or(usize::MAX);
        if dropped >= significant.len() {
            return Ok(Self(1));
        }
        let (kept, lost) = significant.split_at(significant.len() - dropped);
        let value: u64 = kept.parse().map_err(|_| InvalidAmount::TooLarge)?;
        let up = u64::from(lost.bytes().any(|byte| byte != b'0'));
        value
            .checked_add(up)
            .map(Self)
            .ok_or(InvalidAmount::TooLarge)
    }

    /// Returns the price of `tokens` tokens at this price per million tokens,
    /// rounded up.
    #[must_use]
    pub fn per_million(self, tokens: u64) -> Self {
        let nano = (u128::from(self.0) * u128::from(tokens)).div_ceil(1_000_000);
        Self(u64::try_from(nano).unwrap_or(u64::MAX))
    }

    /// Returns the sum; saturates.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Returns what is left after `other`, zero when nothing is.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for NanoUsd {
    /// Writes US dollars with two to nine decimals, such as `2.50` or `0.000125`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, nano) = (self.0 / NANO_PER_USD, self.0 % NANO_PER_USD);
        let nano = format!("{nano:09}");
        let kept = nano.trim_end_matches('0').len().max(2);
        f.pad(&format!("{whole}.{}", &nano[..kept]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_exactly_and_written_back() {
        #[rustfmt::skip]
        let rows = [
            ("2.50", Ok(2_500_000_000), "2.50"),
            ("0.1", Ok(100_000_000), "0.10"),
            (".5", Ok(500_000_000), "0.50"),
            ("3", Ok(3_000_000_000), "3.00"),
            ("1e-6", Ok(1_000), "0.000001"),
            ("1.5E2", Ok(150_000_000_000), "150.00"),
            ("0.0000000001", Ok(1), "0.000000001"),
            ("0.0000000010", Ok(1), "0.000000001"),
            ("0.00000000101", Ok(2), "0.000000002"),
            ("1e-400", Ok(1), "0.000000001"),
            ("0", Ok(0), "0.00"),
            ("-0.0", Ok(0), "0.00"),
            ("-3", Err(InvalidAmount::Negative), ""),
            ("1e40", Err(InvalidAmount::TooLarge), ""),
            ("99999999999999999999", Err(InvalidAmount::TooLarge), ""),
            ("", Err(InvalidAmount::NotANumber), ""),
            ("1,5", Err(InvalidAmount::NotANumber), ""),
            ("NaN", Err(InvalidAmount::NotANumber), ""),
            ("1e", Err(InvalidAmount::NotANumber), ""),
        ];
        for (text, want, shown) in rows {
            let got = NanoUsd::from_usd_text(text);
            assert_eq!(got.map(|amount| amount.0), want, "row: {text}");
            if let Ok(amount) = got {
                assert_eq!(amount.to_string(), shown, "row: {text}");
            }
        }
    }

    #[test]
    fn a_price_per_million_rounds_up() {
        let price = NanoUsd::from_usd_text("3").expect("a number");
        assert_eq!(price.per_million(1_000).0, 3_000_000);
        assert_eq!(NanoUsd(1).per_million(1).0, 1);
        assert_eq!(NanoUsd(u64::MAX).per_million(u64::MAX).0, u64::MAX);
    }
}
