//! Amounts with their unit, as people write them in the config and on the command line: `128MiB`, `300ms`.
//!
//! A bare number is refused where a unit could be meant: `timeout = 5` has been read as five milliseconds before.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnitError {
    /// There is no number, or it is not a plain decimal one.
    #[error("expected a number and a unit, like `{example}`")]
    NotANumber { example: &'static str },
    /// A number without unit.
    #[error("the unit is missing: use one of {units}")]
    NoUnit { units: &'static str },
    /// A unit this amount does not have.
    #[error("unknown unit `{unit}`: use one of {units}")]
    UnknownUnit { unit: String, units: &'static str },
    /// More than 64 bits hold, or finer than the smallest unit.
    #[error("out of range")]
    OutOfRange,
}

/// Splits `1.5GiB` in number and unit and scales: the result counts the smallest unit.
fn scale(
    text: &str,
    example: &'static str,
    units: &'static str,
    factor: impl Fn(&str) -> Option<u64>,
) -> Result<u64, UnitError> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (number, unit) = (text[..end].replace('_', ""), text[end..].trim());
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || (number.contains('.') && !digits(fraction)) {
        return Err(UnitError::NotANumber { example });
    }
    if unit.is_empty() && (whole != "0" || number.contains('.')) {
        return Err(UnitError::NoUnit { units });
    }
    let factor = match unit {
        "" => 1,
        unit => factor(unit).ok_or_else(|| UnitError::UnknownUnit { unit: unit.to_owned(), units })?,
    };
    let whole: u64 = whole.parse().map_err(|_| UnitError::OutOfRange)?;
    let total = whole.checked_mul(factor).ok_or(UnitError::OutOfRange)?;
    if fraction.is_empty() {
        return Ok(total);
    }
    if fraction.len() > 9 {
        return Err(UnitError::OutOfRange);
    }
    // Exact in u128: nine digits times 2^40 fit easily.
    let part: u128 = fraction.parse().map_err(|_| UnitError::OutOfRange)?;
    let part = part * u128::from(factor) / 10_u128.pow(fraction.len() as u32);
    u64::try_from(part).ok().and_then(|p| total.checked_add(p)).ok_or(UnitError::OutOfRange)
}

/// A number of bytes, written with a unit: `128MiB`, `64 KiB`, `1.5GB`, `512B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    const UNITS: &'static str = "B, KiB, MiB, GiB, TiB, kB, MB, GB, TB";

    pub const fn kib(n: u64) -> ByteSize {
        ByteSize(n << 10)
    }

    pub const fn mib(n: u64) -> ByteSize {
        ByteSize(n << 20)
    }

    pub const fn gib(n: u64) -> ByteSize {
        ByteSize(n << 30)
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// For buffers in memory: saturates where `usize` is narrower.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<ByteSize, UnitError> {
        scale(text, "128MiB", ByteSize::UNITS, |unit| {
            Some(match unit {
                "B" => 1,
                "KiB" | "K" => 1 << 10,
                "MiB" | "M" => 1 << 20,
                "GiB" | "G" => 1 << 30,
                "TiB" | "T" => 1 << 40,
                "kB" | "KB" => 1_000,
                "MB" => 1_000_000,
                "GB" => 1_000_000_000,
                "TB" => 1_000_000_000_000,
                _ => return None,
            })
        })
        .map(ByteSize)
    }
}

/// The largest unit that divides: what is printed parses to the same number.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A length of time, written with a unit: `300ms`, `5s`, `1.5h`, `3d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(pub Duration);

impl Period {
    const UNITS: &'static str = "ns, us, ms, s, m, h, d";

    pub const fn millis(n: u64) -> Period {
        Period(Duration::from_millis(n))
    }

    pub const fn secs(n: u64) -> Period {
        Period(Duration::from_secs(n))
    }

    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Period, UnitError> {
        scale(text, "300ms", Period::UNITS, |unit| {
            Some(match unit {
                "ns" => 1,
                "us" | "µs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" | "min" => 60 * 1_000_000_000,
                "h" => 3_600 * 1_000_000_000,
                "d" => 86_400 * 1_000_000_000,
                _ => return None,
            })
        })
        .map(|nanos| Period(Duration::from_nanos(nanos)))
    }
}

/// The largest unit that divides: what is printed parses to the same length.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let units: [(u128, &str); 6] = [
            (86_400_000_000_000, "d"),
            (3_600_000_000_000, "h"),
            (60_000_000_000, "m"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
        ];
        match units.into_iter().find(|(size, _)| nanos != 0 && nanos.is_multiple_of(*size)) {
            Some((size, unit)) => write!(f, "{}{unit}", nanos / size),
            None if nanos == 0 => f.write_str("0s"),
            None => write!(f, "{nanos}ns"),
        }
    }
}

/// Everything an amount needs to stand in the config: text in, text out, and a schema that says so.
macro_rules! amount_in_config {
    ($amount:ident, $format:literal, $what:literal, $pattern:literal) => {
        impl Serialize for $amount {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $amount {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$amount, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $amount;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$amount, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<$amount, E> {
                        Err(E::invalid_type(Unexpected::Signed(n), &self))
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl JsonSchema for $amount {
            fn schema_name() -> Cow<'static, str> {
                stringify!($amount).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format, "pattern": $pattern })
            }
        }
    };
}

amount_in_config!(
    ByteSize,
    "byte-size",
    "a size in quotes, like \"128MiB\"",
    r"^\s*([0-9][0-9_]*(\.[0-9]+)?\s*([KMGT]iB|[kKMGT]B|[KMGT]|B)|0)\s*$"
);
amount_in_config!(
    Period,
    "duration",
    "a duration in quotes, like \"300ms\"",
    r"^\s*([0-9][0-9_]*(\.[0-9]+)?\s*(ns|us|µs|ms|s|min|m|h|d)|0)\s*$"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        let read = |s: &str| s.parse::<ByteSize>().map(ByteSize::bytes);
        assert_eq!(read("128MiB"), Ok(128 << 20));
        assert_eq!(read("64 KiB"), Ok(64 << 10));
        assert_eq!(read("1.5GiB"), Ok(3 << 29));
        assert_eq!(read("1_000 kB"), Ok(1_000_000));
        assert_eq!(read("0"), Ok(0));
        assert_eq!(read("12"), Err(UnitError::NoUnit { units: ByteSize::UNITS }));
        assert_eq!(
            read("12 elephants"),
            Err(UnitError::UnknownUnit { unit: "elephants".into(), units: ByteSize::UNITS })
        );
        assert_eq!(read("-1MiB"), Err(UnitError::NotANumber { example: "128MiB" }));
        assert_eq!(read("1.MiB"), Err(UnitError::NotANumber { example: "128MiB" }));
        assert_eq!(read("99999999TiB"), Err(UnitError::OutOfRange));
        assert_eq!(read(""), Err(UnitError::NotANumber { example: "128MiB" }));
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        let read = |s: &str| s.parse::<Period>().map(Period::duration);
        assert_eq!(read("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(read("1.5h"), Ok(Duration::from_mins(90)));
        assert_eq!(read("3d"), Ok(Duration::from_hours(72)));
        assert_eq!(read("5"), Err(UnitError::NoUnit { units: Period::UNITS }));
        assert_eq!(read("1e3s"), Err(UnitError::UnknownUnit { unit: "e3s".into(), units: Period::UNITS }));
    }

    #[test]
    fn what_is_printed_reads_back() {
        for size in [0, 1, 1023, 1024, 1 << 20, 3 << 29, (1 << 40) + 1, u64::MAX] {
            assert_eq!(ByteSize(size).to_string().parse(), Ok(ByteSize(size)));
        }
        for nanos in [0, 1, 999, 5_000_000, 90_000_000_000, 86_400_000_000_000, u64::MAX] {
            let period = Period(Duration::from_nanos(nanos));
            assert_eq!(period.to_string().parse(), Ok(period));
        }
        assert_eq!(ByteSize::mib(1).to_string(), "1MiB");
        assert_eq!(Period::millis(300).to_string(), "300ms");
        assert_eq!(Period::secs(90).to_string(), "90s");
    }

    #[test]
    fn a_bare_number_in_the_config_names_the_form() {
        #[derive(Debug, Deserialize)]
        struct Holder {
            #[allow(dead_code, reason = "only the error is of interest")]
            interval: Period,
        }
        let error = toml::from_str::<Holder>("interval = 5").unwrap_err();
        assert!(error.message().contains("a duration in quotes, like \"300ms\""), "{}", error.message());
    }
}
