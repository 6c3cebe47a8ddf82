//! Durations as people write them: `5s`, `10m`, `1h30m`, `250ms`.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration as StdDuration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The units, longest first, in the order in which they are written.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The longest valid duration: far longer than any step, and far from overflowing an `Instant`.
const MAX_DURATION: StdDuration = StdDuration::from_hours(24 * 365);

/// A duration; its text form has whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(StdDuration);

/// The error for a text that is not a valid duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDurationError {
    /// The text does not have the format of a duration.
    #[error(
        "'{0}' is not a valid duration, expected a number and a unit, as in 250ms, 5s or 1h30m"
    )]
    InvalidFormat(String),
    /// The text is a number without a unit.
    #[error("'{0}' has no unit, expected {0}s, {0}m or {0}h")]
    MissingUnit(String),
    /// The units are out of order, as in `30m1h`, or repeated.
    #[error("'{0}' has its units out of order, expected the longest first and each at most once")]
    UnitsOutOfOrder(String),
    /// The duration exceeds one year.
    #[error("'{0}' exceeds one year")]
    TooLong(String),
}

impl Duration {
    /// Creates a duration of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(StdDuration::from_secs(seconds))
    }

    /// Returns the duration as the standard library's type.
    pub const fn std(self) -> StdDuration {
        self.0
    }
}

impl From<StdDuration> for Duration {
    fn from(duration: StdDuration) -> Self {
        Self(duration)
    }
}

impl From<Duration> for StdDuration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, ParseDurationError> {
        if text == "0" {
            return Ok(Self::default());
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseDurationError::MissingUnit(text.to_owned()));
        }
        let too_long = || ParseDurationError::TooLong(text.to_owned());
        let mut rest = text;
        let mut units = UNITS.as_slice();
        let mut total: u64 = 0;
        while !rest.is_empty() || total == 0 && units.len() == UNITS.len() {
            let (count, unit, after) = split_part(rest)
                .ok_or_else(|| ParseDurationError::InvalidFormat(text.to_owned()))?;
            let known = |units: &[(&str, u64)]| units.iter().position(|(name, _)| *name == unit);
            let Some(place) = known(units) else {
                return Err(match known(&UNITS) {
                    Some(_) => ParseDurationError::UnitsOutOfOrder(text.to_owned()),
                    None => ParseDurationError::InvalidFormat(text.to_owned()),
                });
            };
            let count: u64 = count.parse().map_err(|_| too_long())?;
            let part = count.checked_mul(units[place].1).ok_or_else(too_long)?;
            total = total.checked_add(part).ok_or_else(too_long)?;
            units = &units[place + 1..];
            rest = after;
        }
        let duration = StdDuration::from_millis(total);
        if duration > MAX_DURATION {
            return Err(too_long());
        }
        Ok(Self(duration))
    }
}

/// Splits `5m30s` into `5`, `m` and `30s`.
fn split_part(text: &str) -> Option<(&str, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let after = &text[digits..];
    let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
    (digits > 0).then(|| (&text[..digits], &after[..letters], &after[letters..]))
}

impl Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, millis) in UNITS {
            if rest >= millis {
                write!(f, "{}{name}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for text in ["5s", "10m", "1h30m", "250ms", "1d", "2m500ms", "0s"] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.to_string(), text);
        }
        assert_eq!("90s".parse::<Duration>().unwrap().to_string(), "1m30s");
        assert_eq!("0".parse::<Duration>().unwrap(), Duration::default());
    }

    #[test]
    fn a_wrong_duration_says_what_is_wrong() {
        let error = |text: &str| text.parse::<Duration>().unwrap_err().to_string();
        assert!(error("10").contains("10s, 10m or 10h"));
        assert!(error("30m1h").contains("out of order"));
        assert!(error("1m1m").contains("out of order"));
        assert!(error("400d").contains("exceeds one year"));
        assert!(error("99999999999999999999s").contains("exceeds one year"));
        for text in ["", "m", "5 m", "-5m", "1.5h", "5 minutes", "5mm", "5m3"] {
            assert!(error(text).contains("is not a valid duration"), "{text}");
        }
    }
}
