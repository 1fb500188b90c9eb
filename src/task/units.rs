//! Values with a unit, as people write them: `1h30m`, `2.50`, `500k`, `80%`.
//!
//! Each is a newtype over an integer: milliseconds, nano-USD, a plain count,
//! whole percent. Never floats: a decimal number is read from its shortest
//! text, so `0.1` USD is exactly 100,000,000 nano-USD. A number that cannot be
//! held exactly is refused, not rounded.
//!
//! [`Unit`] is the one description of a unit: the serde visitor, the JSON
//! Schema and the messages of the task file all come from it.
//!
//! Not here: which fields must be above zero (`written` says so with
//! `x-positive`, `validate` checks it).

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

/// Nano-USD in one USD.
pub const NANO_USD: u64 = 1_000_000_000;
/// The longest duration a task file may name: ten years, in milliseconds.
pub const DURATION_MS_MAX: u64 = 3650 * DAY_MS;
/// The highest amount a task file may name: a thousand million USD, in nano-USD.
pub const USD_NANO_MAX: u64 = NANO_USD * 1_000_000_000;
/// The highest count a task file may name.
pub const COUNT_MAX: u64 = 1_000_000_000_000_000;

const DAY_MS: u64 = 86_400_000;

/// Why a text or number is not a value of a unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct Refused {
    /// What would have been right, as a noun phrase: "a duration such as `30s`".
    pub expected: String,
    /// What to write instead, if the intention can be guessed.
    pub fix: Option<String>,
}

impl Refused {
    fn new(expected: &str) -> Self {
        Self {
            expected: expected.to_owned(),
            fix: None,
        }
    }

    fn with_fix(expected: &str, fix: String) -> Self {
        Self {
            expected: expected.to_owned(),
            fix: Some(fix),
        }
    }
}

/// A value with a unit that a task file can hold.
pub trait Unit: Sized + Copy {
    /// The stable name of the unit: the value of `x-unit` in the JSON Schema.
    const NAME: &'static str;
    /// What is expected, as a noun phrase with an example.
    const EXPECTED: &'static str;
    /// What is expected where zero makes no sense.
    const EXPECTED_POSITIVE: &'static str;

    /// Reads the text form.
    fn from_text(text: &str) -> Result<Self, Refused>;

    /// Reads a bare YAML number, given as its shortest decimal text.
    fn from_number(decimal: &str) -> Result<Self, Refused>;

    /// Returns the integer inside.
    fn raw(self) -> u64;

    /// Returns what the JSON Schema says besides `x-unit`.
    fn schema() -> Value;
}

/// Reads a JSON value as a unit.
///
/// Errors: anything that is neither text nor a number the unit accepts.
pub fn from_value<U: Unit>(value: &Value) -> Result<U, Refused> {
    match value {
        Value::String(text) => U::from_text(text),
        Value::Number(number) => U::from_number(&decimal(number)),
        _ => Err(Refused::new(U::EXPECTED)),
    }
}

/// Checks a value against the unit called `name`; `None` if there is no such
/// unit. The number in the result is the integer inside.
pub fn check(name: &str, value: &Value) -> Option<Result<u64, Refused>> {
    fn raw<U: Unit>(value: &Value) -> Result<u64, Refused> {
        from_value::<U>(value).map(Unit::raw)
    }
    Some(match name {
        Duration::NAME => raw::<Duration>(value),
        UsdAmount::NAME => raw::<UsdAmount>(value),
        Count::NAME => raw::<Count>(value),
        Percent::NAME => raw::<Percent>(value),
        _ => return None,
    })
}

/// Returns what is expected of the unit called `name` where zero makes no sense.
pub fn expected_positive(name: &str) -> &'static str {
    match name {
        Duration::NAME => Duration::EXPECTED_POSITIVE,
        UsdAmount::NAME => UsdAmount::EXPECTED_POSITIVE,
        Percent::NAME => Percent::EXPECTED_POSITIVE,
        _ => Count::EXPECTED_POSITIVE,
    }
}

/// Returns a JSON number as plain decimal text, without an exponent.
pub(crate) fn decimal(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => float.to_string(),
        _ => number.to_string(),
    }
}

/// A length of time, in milliseconds: `500ms`, `30s`, `1h30m`, `2d`.
///
/// A bare number is refused, since nobody can see whether it means seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Duration(pub u64);

/// An amount of money, in nano-USD: `2.50`, `"$0.75"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UsdAmount(pub u64);

/// A count: `40`, `500k`, `1.5M`, `2G`; the suffixes are powers of a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Count(pub u64);

/// A whole percentage, 0 to 100: `80%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Percent(pub u8);

/// Units of time, longest first, with their milliseconds.
const TIME_UNITS: [(&str, u64); 5] = [
    ("d", DAY_MS),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

impl Unit for Duration {
    const NAME: &'static str = "duration";
    const EXPECTED: &'static str = "a duration such as `500ms`, `30s` or `1h30m`";
    const EXPECTED_POSITIVE: &'static str = "a duration above 0";

    fn from_text(text: &str) -> Result<Self, Refused> {
        let mut rest = text.trim();
        if rest.starts_with('-') {
            return Err(Refused::new("a duration of 0 or more"));
        }
        if !rest.is_empty()
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            return Self::from_number(rest);
        }
        let refused = || Refused::new(Self::EXPECTED);
        let too_long = || Refused::new("a duration of at most `3650d`");
        let mut total_ms = 0_u64;
        let mut next_unit = 0;
        if rest.is_empty() {
            return Err(refused());
        }
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(refused)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            // Longest first and each once, so that `30m1h` and `1m1m`, which
            // are more likely slips than intentions, do not pass.
            let place = TIME_UNITS[next_unit..]
                .iter()
                .position(|(name, _)| *name == unit)
                .ok_or_else(refused)?;
            let unit_ms = TIME_UNITS[next_unit + place].1;
            next_unit += place + 1;
            let part = scaled(number, unit_ms).map_err(|problem| match problem {
                Scaled::TooLarge => too_long(),
                Scaled::TooFine => Refused::new("a duration in whole milliseconds"),
                Scaled::NotANumber => refused(),
            })?;
            total_ms = total_ms.checked_add(part).ok_or_else(too_long)?;
            rest = tail.trim_start();
        }
        if total_ms > DURATION_MS_MAX {
            Err(too_long())
        } else {
            Ok(Self(total_ms))
        }
    }

    fn from_number(decimal: &str) -> Result<Self, Refused> {
        if decimal.starts_with('-') {
            return Err(Refused::new("a duration of 0 or more"));
        }
        Err(Refused::with_fix(
            Self::EXPECTED,
            format!("write `{decimal}s` for seconds, or `{decimal}m` for minutes"),
        ))
    }

    fn raw(self) -> u64 {
        self.0
    }

    fn schema() -> Value {
        json!({
            "type": "string",
            "pattern": r"^\s*([0-9]+(\.[0-9]+)?(d|h|m|s|ms)\s*)+$",
            "description": "A length of time: `500ms`, `30s`, `1h30m`, `2d`. At most `3650d`.",
            "examples": ["30s", "1h30m"],
        })
    }
}

impl Unit for UsdAmount {
    const NAME: &'static str = "usd";
    const EXPECTED: &'static str = "an amount in USD such as `2.50`";
    const EXPECTED_POSITIVE: &'static str = "an amount above 0";

    fn from_text(text: &str) -> Result<Self, Refused> {
        let text = text.trim();
        Self::from_number(text.strip_prefix('$').unwrap_or(text))
    }

    fn from_number(decimal: &str) -> Result<Self, Refused> {
        if decimal.starts_with('-') {
            return Err(Refused::new("an amount of 0 or more"));
        }
        match scaled(decimal, NANO_USD) {
            Ok(nano) if nano <= USD_NANO_MAX => Ok(Self(nano)),
            Ok(_) | Err(Scaled::TooLarge) => {
                Err(Refused::new("an amount of at most 1000000000 USD"))
            }
            Err(Scaled::TooFine) => Err(Refused::new(
                "an amount with at most 9 digits after the point",
            )),
            Err(Scaled::NotANumber) => Err(Refused::new(Self::EXPECTED)),
        }
    }

    fn raw(self) -> u64 {
        self.0
    }

    fn schema() -> Value {
        json!({
            "type": ["number", "string"],
            "pattern": r"^\s*\$?[0-9]+(\.[0-9]{1,9}0*)?\s*$",
            "minimum": 0,
            "maximum": 1_000_000_000,
            "description": "An amount in USD: `2.50`.",
            "examples": [2.5],
        })
    }
}

impl Unit for Count {
    const NAME: &'static str = "count";
    const EXPECTED: &'static str = "a count such as `40`, `500k` or `1.5M`";
    const EXPECTED_POSITIVE: &'static str = "a count above 0";

    fn from_text(text: &str) -> Result<Self, Refused> {
        let text = text.trim();
        let (digits, factor) = match text.as_bytes().last() {
            Some(b'k' | b'K') => (&text[..text.len() - 1], 1000),
            Some(b'M') => (&text[..text.len() - 1], 1_000_000),
            Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
            _ => (text, 1),
        };
        if digits.starts_with('-') {
            return Err(Refused::new("a count of 0 or more"));
        }
        match scaled(&digits.replace('_', ""), factor) {
            Ok(count) if count <= COUNT_MAX => Ok(Self(count)),
            Ok(_) | Err(Scaled::TooLarge) => {
                Err(Refused::new("a count of at most 1000000000000000"))
            }
            Err(Scaled::TooFine) => Err(Refused::new("a whole number")),
            Err(Scaled::NotANumber) => Err(Refused::new(Self::EXPECTED)),
        }
    }

    fn from_number(decimal: &str) -> Result<Self, Refused> {
        Self::from_text(decimal)
    }

    fn raw(self) -> u64 {
        self.0
    }

    fn schema() -> Value {
        json!({
            "type": ["integer", "string"],
            "pattern": r"^\s*[0-9][0-9_]*(\.[0-9_]+)?[kKMG]?\s*$",
            "minimum": 0,
            "maximum": 1_000_000_000_000_000_u64,
            "description": "A count: `40`, `500k`, `1.5M`.",
            "examples": [40, "500k"],
        })
    }
}

impl Unit for Percent {
    const NAME: &'static str = "percent";
    const EXPECTED: &'static str = "a whole percentage such as `80%`";
    const EXPECTED_POSITIVE: &'static str = "a percentage from `1%` to `100%`";

    fn from_text(text: &str) -> Result<Self, Refused> {
        let text = text.trim();
        let Some(digits) = text.strip_suffix('%') else {
            return Self::from_number(text);
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refused::new(Self::EXPECTED));
        }
        match digits.parse::<u8>() {
            Ok(percent) if percent <= 100 => Ok(Self(percent)),
            _ => Err(Refused::new("a percentage from `0%` to `100%`")),
        }
    }

    fn from_number(decimal: &str) -> Result<Self, Refused> {
        let whole = match scaled(decimal, 100) {
            Ok(percent) if decimal.contains('.') && percent <= 100 => Some(percent),
            _ => decimal
                .parse::<u64>()
                .ok()
                .filter(|percent| *percent <= 100),
        };
        match whole {
            Some(percent) => Err(Refused::with_fix(
                Self::EXPECTED,
                format!("write `{percent}%`"),
            )),
            None => Err(Refused::new(Self::EXPECTED)),
        }
    }

    fn raw(self) -> u64 {
        self.0.into()
    }

    fn schema() -> Value {
        json!({
            "type": "string",
            "pattern": r"^\s*(100|0*[0-9]{1,2})%\s*$",
            "description": "A whole percentage: `80%`.",
            "examples": ["80%"],
        })
    }
}

/// Why a decimal text could not be scaled to an integer.
enum Scaled {
    NotANumber,
    TooFine,
    TooLarge,
}

/// Returns `text * factor` exactly. `text` is digits with at most one point.
fn scaled(text: &str, factor: u64) -> Result<u64, Scaled> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(Scaled::NotANumber);
    }
    let whole: u64 = whole.parse().map_err(|_| Scaled::TooLarge)?;
    let whole = whole.checked_mul(factor).ok_or(Scaled::TooLarge)?;
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 18 {
        return Err(Scaled::TooFine);
    }
    let numerator = u128::from(fraction.parse::<u64>().unwrap_or(0)) * u128::from(factor);
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(18));
    if numerator % denominator != 0 {
        return Err(Scaled::TooFine);
    }
    let fraction = u64::try_from(numerator / denominator).map_err(|_| Scaled::TooLarge)?;
    whole.checked_add(fraction).ok_or(Scaled::TooLarge)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.pad("0s");
        }
        let mut text = String::new();
        let mut rest_ms = self.0;
        for (unit, unit_ms) in TIME_UNITS {
            let count = rest_ms / unit_ms;
            rest_ms %= unit_ms;
            if count > 0 {
                text.push_str(&format!("{count}{unit}"));
            }
        }
        f.pad(&text)
    }
}

impl fmt::Display for UsdAmount {
    /// Two digits after the point, more where they are needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:09}", self.0 % NANO_USD);
        let kept = fraction.trim_end_matches('0').len().max(2);
        f.pad(&format!("{}.{}", self.0 / NANO_USD, &fraction[..kept]))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            0 => "0".to_owned(),
            count if count % 1_000_000_000 == 0 => format!("{}G", count / 1_000_000_000),
            count if count % 1_000_000 == 0 => format!("{}M", count / 1_000_000),
            count if count % 1000 == 0 => format!("{}k", count / 1000),
            count => count.to_string(),
        };
        f.pad(&text)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", self.0))
    }
}

/// Reads any unit; used by the `Deserialize` of each.
struct UnitVisitor<U>(std::marker::PhantomData<U>);

impl<U: Unit> Visitor<'_> for UnitVisitor<U> {
    type Value = U;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(U::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<U, E> {
        U::from_text(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<U, E> {
        U::from_number(&number.to_string()).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<U, E> {
        U::from_number(&number.to_string()).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<U, E> {
        U::from_number(&number.to_string()).map_err(E::custom)
    }
}

macro_rules! unit_impls {
    ($($name:ident),*) => {$(
        impl FromStr for $name {
            type Err = Refused;

            fn from_str(text: &str) -> Result<Self, Refused> {
                Self::from_text(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(UnitVisitor(std::marker::PhantomData))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut schema = <Self as Unit>::schema();
                schema["x-unit"] = Value::from(<Self as Unit>::NAME);
                schemars::Schema::try_from(schema).unwrap_or_default()
            }
        }
    )*};
}

unit_impls!(Duration, UsdAmount, Count, Percent);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(expected: &str, fix: Option<&str>) -> Result<u64, Refused> {
        Err(Refused {
            expected: expected.to_owned(),
            fix: fix.map(str::to_owned),
        })
    }

    #[test]
    fn unit_table() {
        const DURATION: &str = "a duration such as `500ms`, `30s` or `1h30m`";
        const COUNT: &str = "a count such as `40`, `500k` or `1.5M`";
        const USD: &str = "an amount in USD such as `2.50`";
        const PERCENT: &str = "a whole percentage such as `80%`";
        #[rustfmt::skip]
        let rows = [
            ("seconds", "duration", json!("30s"), Ok(30_000)),
            ("two units", "duration", json!("1h30m"), Ok(5_400_000)),
            ("a space between units", "duration", json!("1h 30m"), Ok(5_400_000)),
            ("milliseconds", "duration", json!("500ms"), Ok(500)),
            ("a fraction that is whole in milliseconds", "duration", json!("1.5s"), Ok(1500)),
            ("zero is a duration", "duration", json!("0s"), Ok(0)),
            ("ten years is the most", "duration", json!("3650d"), Ok(DURATION_MS_MAX)),
            ("a bare number hides its unit", "duration", json!(30), refused(DURATION, Some("write `30s` for seconds, or `30m` for minutes"))),
            ("a bare number in quotes too", "duration", json!("30"), refused(DURATION, Some("write `30s` for seconds, or `30m` for minutes"))),
            ("a negative duration", "duration", json!("-5s"), refused("a duration of 0 or more", None)),
            ("a negative number", "duration", json!(-5), refused("a duration of 0 or more", None)),
            ("an unknown unit", "duration", json!("30min"), refused(DURATION, None)),
            ("the shorter unit first", "duration", json!("30m1h"), refused(DURATION, None)),
            ("the same unit twice", "duration", json!("1m1m"), refused(DURATION, None)),
            ("a number after the units", "duration", json!("1h30"), refused(DURATION, None)),
            ("half a millisecond", "duration", json!("0.5ms"), refused("a duration in whole milliseconds", None)),
            ("longer than ten years", "duration", json!("3651d"), refused("a duration of at most `3650d`", None)),
            ("past 64 bits", "duration", json!("99999999999999999999d"), refused("a duration of at most `3650d`", None)),
            ("no text", "duration", json!(""), refused(DURATION, None)),
            ("two points", "duration", json!("1.2.3s"), refused(DURATION, None)),
            ("letters beyond ASCII", "duration", json!("３０s"), refused(DURATION, None)),
            ("not a scalar", "duration", json!(["30s"]), refused(DURATION, None)),
            ("dollars and cents", "usd", json!("2.50"), Ok(2_500_000_000)),
            ("a YAML float is exact", "usd", json!(0.1), Ok(100_000_000)),
            ("a whole number", "usd", json!(3), Ok(3 * NANO_USD)),
            ("a dollar sign", "usd", json!("$0.75"), Ok(750_000_000)),
            ("one nano-dollar", "usd", json!(1e-9), Ok(1)),
            ("trailing zeros", "usd", json!("1.0000000000"), Ok(NANO_USD)),
            ("a negative amount", "usd", json!(-3), refused("an amount of 0 or more", None)),
            ("finer than a nano-dollar", "usd", json!("0.0000000001"), refused("an amount with at most 9 digits after the point", None)),
            ("another currency", "usd", json!("2 EUR"), refused(USD, None)),
            ("a comma for the point", "usd", json!("2,50"), refused(USD, None)),
            ("more money than there is", "usd", json!(1e30), refused("an amount of at most 1000000000 USD", None)),
            ("true is no amount", "usd", json!(true), refused(USD, None)),
            ("a plain count", "count", json!(40), Ok(40)),
            ("thousands", "count", json!("500k"), Ok(500_000)),
            ("a fraction of a million", "count", json!("1.5M"), Ok(1_500_000)),
            ("underscores", "count", json!("1_000_000"), Ok(1_000_000)),
            ("a float that is whole", "count", json!(1e6), Ok(1_000_000)),
            ("half a step", "count", json!(0.5), refused("a whole number", None)),
            ("a negative count", "count", json!("-1k"), refused("a count of 0 or more", None)),
            ("an unknown suffix", "count", json!("5m"), refused(COUNT, None)),
            ("a suffix alone", "count", json!("k"), refused(COUNT, None)),
            ("past the most", "count", json!("9999999G"), refused("a count of at most 1000000000000000", None)),
            ("a percentage", "percent", json!("80%"), Ok(80)),
            ("a bare number could be 80 or 0.8", "percent", json!(80), refused(PERCENT, Some("write `80%`"))),
            ("a fraction", "percent", json!(0.8), refused(PERCENT, Some("write `80%`"))),
            ("above the whole", "percent", json!("101%"), refused("a percentage from `0%` to `100%`", None)),
            ("a sign", "percent", json!("-1%"), refused(PERCENT, None)),
            ("a far too large number", "percent", json!(8000), refused(PERCENT, None)),
        ];
        for (name, unit, value, want) in rows {
            assert_eq!(check(unit, &value), Some(want), "row: {name}");
        }
        assert_eq!(check("furlong", &json!(1)), None);
    }

    #[test]
    fn display_is_short_and_exact() {
        assert_eq!(Duration(5_400_000).to_string(), "1h30m");
        assert_eq!(Duration(0).to_string(), "0s");
        assert_eq!(Duration(90_061_001).to_string(), "1d1h1m1s1ms");
        assert_eq!(UsdAmount(2_500_000_000).to_string(), "2.50");
        assert_eq!(UsdAmount(1).to_string(), "0.000000001");
        assert_eq!(Count(500_000).to_string(), "500k");
        assert_eq!(Count(1_500_000).to_string(), "1500k");
        assert_eq!(Percent(80).to_string(), "80%");
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_read_back(ms in 0..=DURATION_MS_MAX, nano in 0..=USD_NANO_MAX, count in 0..=COUNT_MAX, percent in 0_u8..=100) {
            prop_assert_eq!(Duration(ms).to_string().parse(), Ok(Duration(ms)));
            prop_assert_eq!(UsdAmount(nano).to_string().parse(), Ok(UsdAmount(nano)));
            prop_assert_eq!(Count(count).to_string().parse(), Ok(Count(count)));
            prop_assert_eq!(Percent(percent).to_string().parse(), Ok(Percent(percent)));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            for unit in ["duration", "usd", "count", "percent"] {
                let _ = check(unit, &Value::from(text.as_str()));
            }
        }
    }
}
