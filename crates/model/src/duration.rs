//! Durations as Go writes them (`168h0m0s`), which is how Kubernetes objects carry them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A span of time that is never negative, read and printed like Go's `time.Duration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

/// A text that is not a duration, and why.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{text}' is not a duration such as '168h0m0s': {fault}")]
pub struct ParseDurationError {
    text: String,
    fault: DurationFault,
}

#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
enum DurationFault {
    #[error("it is empty")]
    Empty,
    #[error("it is negative")]
    Negative,
    #[error("a number is missing or malformed")]
    Number,
    #[error("a unit is missing or unknown (ns, us, ms, s, m, h)")]
    Unit,
    #[error("it is longer than 292 years")]
    TooLong,
}

/// Go counts nanoseconds in an `int64`.
const NANOSECONDS_MAX: u128 = i64::MAX as u128;

impl FromStr for GoDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, ParseDurationError> {
        parse_nanoseconds(text)
            .map(|nanoseconds| Self(Duration::from_nanos(nanoseconds)))
            .map_err(|fault| ParseDurationError { text: text.chars().take(80).collect(), fault })
    }
}

fn parse_nanoseconds(text: &str) -> Result<u64, DurationFault> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(DurationFault::Empty);
    }
    if rest.starts_with('-') {
        return Err(DurationFault::Negative);
    }
    if rest == "0" {
        return Ok(0);
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(DurationFault::Unit)?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        total += scale(number, unit_nanoseconds(unit)?)?;
        if total > NANOSECONDS_MAX {
            return Err(DurationFault::TooLong);
        }
        rest = next;
    }
    u64::try_from(total).map_err(|_| DurationFault::TooLong)
}

fn unit_nanoseconds(unit: &str) -> Result<u128, DurationFault> {
    match unit {
        "ns" => Ok(1),
        "us" | "µs" | "μs" => Ok(1_000),
        "ms" => Ok(1_000_000),
        "s" => Ok(1_000_000_000),
        "m" => Ok(60_000_000_000),
        "h" => Ok(3_600_000_000_000),
        _ => Err(DurationFault::Unit),
    }
}

/// Multiplies a decimal text exactly; digits below a nanosecond are cut off, as Go does.
fn scale(number: &str, unit: u128) -> Result<u128, DurationFault> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(DurationFault::Number);
    }
    let whole: u128 = match whole {
        "" => 0,
        digits if digits.len() <= 19 => digits.parse().map_err(|_| DurationFault::Number)?,
        _ => return Err(DurationFault::TooLong),
    };
    let mut total = whole * unit;
    let mut place = unit;
    for digit in fraction.bytes().take(18) {
        place /= 10;
        total += u128::from(digit - b'0') * place;
    }
    Ok(total)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanoseconds) = (self.0.as_secs(), self.0.subsec_nanos());
        if seconds == 0 {
            return match nanoseconds {
                0 => f.write_str("0s"),
                1..1_000 => write!(f, "{nanoseconds}ns"),
                1_000..1_000_000 => write_decimal(f, u64::from(nanoseconds), 1_000, "µs"),
                _ => write_decimal(f, u64::from(nanoseconds), 1_000_000, "ms"),
            };
        }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write_decimal(f, seconds % 60 * 1_000_000_000 + u64::from(nanoseconds), 1_000_000_000, "s")
    }
}

fn write_decimal(f: &mut fmt::Formatter<'_>, value: u64, one: u64, unit: &str) -> fmt::Result {
    write!(f, "{}", value / one)?;
    let remainder = value % one;
    if remainder != 0 {
        let width = one.ilog10() as usize;
        let digits = format!("{remainder:0width$}");
        write!(f, ".{}", digits.trim_end_matches('0'))?;
    }
    f.write_str(unit)
}

impl Serialize for GoDuration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_prints_as_go_prints_it() {
        for (text, printed) in [
            ("168h0m0s", "168h0m0s"),
            ("168h", "168h0m0s"),
            ("90m", "1h30m0s"),
            ("1.5s", "1.5s"),
            ("0", "0s"),
            ("100ms", "100ms"),
            ("1.5us", "1.5µs"),
            ("7ns", "7ns"),
            (".5h", "30m0s"),
            ("+1h", "1h0m0s"),
        ] {
            let duration: GoDuration = text.parse().unwrap();
            assert_eq!(duration.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_duration_is_refused_with_its_fault() {
        for (text, fault) in [
            ("", DurationFault::Empty),
            ("-1h", DurationFault::Negative),
            ("7", DurationFault::Unit),
            ("7d", DurationFault::Unit),
            ("h", DurationFault::Number),
            ("1.2.3s", DurationFault::Number),
            ("9999999999h", DurationFault::TooLong),
            ("99999999999999999999999s", DurationFault::TooLong),
        ] {
            assert_eq!(parse_nanoseconds(text), Err(fault), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(nanoseconds in 0..=i64::MAX as u64) {
            let duration = GoDuration(Duration::from_nanos(nanoseconds));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
