//! Money in frames: decimal text to whole nano-USD and back, without floats.
//!
//! A loop writes `0.0123`, `1.2e-05` (as Python prints small numbers) or
//! `"0.0123"`. One nano-USD is 0.000000001 USD; what lies below it is rounded
//! up, so that rounding never hides spending.

/// One US dollar in nano-USD.
pub const USD: u64 = 1_000_000_000;
/// The largest amount one frame may carry, in nano-USD: a million dollars.
pub const NANO_USD_MAX: u64 = 1_000_000 * USD;

/// What a `cost_usd` is expected to be, for error messages.
pub(super) const EXPECTED: &str = "an amount in US dollars from 0 to 1000000, such as 0.0123";

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not a decimal number.
    NotDecimal,
    /// Below zero.
    Negative,
    /// Above [`NANO_USD_MAX`].
    TooLarge,
}

/// Returns the amount that decimal text stands for, in nano-USD.
///
/// - `text`: a JSON number, exponent allowed; of any length.
///
/// More than nine decimals are rounded up.
pub(super) fn nano_usd(text: &str) -> Result<u64, Fault> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return Err(Fault::NotDecimal);
    }
    let digits = format!("{whole}{fraction}");
    // The places of `digits` that are whole nano-USD: up to here it counts,
    // what follows is rounded.
    let leading_zeros = digits.bytes().take_while(|byte| *byte == b'0').count();
    let significant = digits[leading_zeros..].trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    if negative {
        return Err(Fault::Negative);
    }
    let places = whole.len() as i64 - leading_zeros as i64;
    scale(
        significant,
        places.saturating_add(exponent).saturating_add(9),
    )
}

/// Returns `0.significant × 10^places`, rounded up.
fn scale(significant: &str, places: i64) -> Result<u64, Fault> {
    const PLACES_MAX: i64 = 17;
    if places > PLACES_MAX {
        return Err(Fault::TooLarge);
    }
    let places = usize::try_from(places).unwrap_or(0);
    let (kept, cut) = significant.split_at(places.min(significant.len()));
    let mut amount = kept
        .bytes()
        .fold(0, |sum: u64, digit| sum * 10 + u64::from(digit - b'0'));
    for _ in kept.len()..places {
        amount *= 10;
    }
    amount += u64::from(!cut.is_empty());
    if amount > NANO_USD_MAX {
        Err(Fault::TooLarge)
    } else {
        Ok(amount)
    }
}

/// Returns the exponent; one beyond 64 bits saturates.
fn exponent_of(text: &str) -> Result<i64, Fault> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::NotDecimal);
    }
    let size = digits.parse::<i64>().unwrap_or(i64::MAX / 4);
    Ok(if negative { -size } else { size })
}

/// Returns an amount as the decimal text of a JSON number, without trailing
/// zeros.
pub fn usd_text(nano_usd: u64) -> String {
    let (whole, fraction) = (nano_usd / USD, nano_usd % USD);
    if fraction == 0 {
        return whole.to_string();
    }
    let text = format!("{whole}.{fraction:09}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nano_usd_table() {
        #[rustfmt::skip]
        let rows = [
            ("cents",                          "0.01",           Ok(10_000_000)),
            ("whole dollars",                  "5",              Ok(5 * USD)),
            ("a float that binary cannot hold", "0.1",           Ok(100_000_000)),
            ("as Python prints it",            "1.2e-05",        Ok(12_000)),
            ("a positive exponent",            "1.5E+2",         Ok(150 * USD)),
            ("nine decimals",                  "0.123456789",    Ok(123_456_789)),
            ("a tenth decimal rounds up",      "0.1234567890001", Ok(123_456_790)),
            ("almost nothing is not nothing",  "1e-300",         Ok(1)),
            ("an absurdly small exponent",     "1e-99999999999999999999", Ok(1)),
            ("zero",                           "0",              Ok(0)),
            ("minus zero",                     "-0.0",           Ok(0)),
            ("zero with an absurd exponent",   "0e999999999999999999999", Ok(0)),
            ("the most",                       "1000000",        Ok(NANO_USD_MAX)),
            ("a nano more",                    "1000000.000000001", Err(Fault::TooLarge)),
            ("absurdly much",                  "1e300",          Err(Fault::TooLarge)),
            ("beyond any float",               "1e99999999999999999999", Err(Fault::TooLarge)),
            ("below zero",                     "-0.01",          Err(Fault::Negative)),
            ("not a number",                   "NaN",            Err(Fault::NotDecimal)),
            ("infinite",                       "Infinity",       Err(Fault::NotDecimal)),
            ("a currency sign",                "$1",             Err(Fault::NotDecimal)),
            ("a comma",                        "1,5",            Err(Fault::NotDecimal)),
            ("hexadecimal",                    "0x10",           Err(Fault::NotDecimal)),
            ("nothing",                        "",               Err(Fault::NotDecimal)),
            ("no digit after the point",       "1.",             Err(Fault::NotDecimal)),
            ("an exponent without digits",     "1e",             Err(Fault::NotDecimal)),
            ("two signs",                      "--1",            Err(Fault::NotDecimal)),
        ];
        for (name, text, want) in rows {
            assert_eq!(nano_usd(text), want, "row: {name}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_survives_its_text(amount in 0..=NANO_USD_MAX) {
            prop_assert_eq!(nano_usd(&usd_text(amount)), Ok(amount));
        }

        #[test]
        fn any_text_has_an_answer(text in "[-+0-9.eE]{0,40}") {
            let _ = nano_usd(&text);
        }
    }
}
