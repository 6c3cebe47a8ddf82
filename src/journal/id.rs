//! The name of a run: sorts by time, can be read aloud, is safe as a file name and in a URL.

use std::{fmt, str::FromStr};

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// How a name begins; sorts by time.
const TIME_FORMAT: &str = "%Y%m%dT%H%M%SZ";
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// A run's name, such as `20261123T061700Z-relay-scale-7f3a`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// A text that cannot be a run's name.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a run's name: letters, digits and '-' only, 1 to 120 of them")]
pub struct InvalidRunId(String);

impl RunId {
    /// A new name for a run of `runbook` that starts `now`, which sorts after `last`: of two runs in the same second,
    /// or after the clock went back, the later one must still be the latest.
    pub fn new(now: Timestamp, runbook: &str, last: Option<&Self>) -> Self {
        let time = last.and_then(Self::second).map_or(now, |last| now.max(last + SECOND));
        let time = time.to_zoned(TimeZone::UTC).strftime(TIME_FORMAT);
        let stem: String = runbook.chars().filter(|c| is_allowed(*c)).take(80).collect();
        // Two state folders may hold runs of the same second; people carry their names about.
        let salt = fastrand::u16(..);
        Self(format!("{time}-{stem}-{salt:04x}"))
    }

    /// The second in its name.
    fn second(&self) -> Option<Timestamp> {
        let time = self.0.split('-').next()?;
        let parsed = DateTime::strptime(TIME_FORMAT, time).ok()?;
        Some(parsed.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Everything else could climb out of the state folder or need quoting in a shell.
fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        let is_valid = (1..=120).contains(&text.len()) && text.chars().all(is_allowed);
        if is_valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRunId(text.chars().take(120).collect()))
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = InvalidRunId;

    fn try_from(text: String) -> Result<Self, InvalidRunId> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_reads_back() {
        let id = RunId::new(Timestamp::UNIX_EPOCH, "relay_scale/../x", None);
        assert!(id.as_str().starts_with("19700101T000000Z-relayscalex-"), "{id}");
        assert_eq!(id.as_str().parse::<RunId>().unwrap(), id);
    }

    #[test]
    fn a_later_run_has_a_later_name_whatever_the_clock_says() {
        let mut last = RunId::new(Timestamp::UNIX_EPOCH, "z", None);
        for runbook in ["z", "a", "m"] {
            let next = RunId::new(Timestamp::UNIX_EPOCH, runbook, Some(&last));
            assert!(next > last, "{next} > {last}");
            last = next;
        }
    }

    #[test]
    fn what_could_leave_the_folder_is_refused() {
        for text in ["", "..", "a/b", "a\\b", "a b", "é"] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}
