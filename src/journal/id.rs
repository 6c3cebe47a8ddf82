//! The name of a run: sorts by time, can be read aloud, is safe as a file name and in a URL.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// A run's name, such as `20261123T061700Z-relay-scale-7f3a`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// A text that cannot be a run's name.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a run's name: letters, digits and '-' only, 1 to 120 of them")]
pub struct NotARunId(String);

impl RunId {
    /// A new name for a run of `runbook` that starts `now`; `salt` tells runs of the same second apart.
    pub fn new(now: Timestamp, runbook: &str, salt: u16) -> Self {
        let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ");
        let stem: String = runbook.chars().filter(|c| is_allowed(*c)).take(80).collect();
        Self(format!("{time}-{stem}-{salt:04x}"))
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
    type Err = NotARunId;

    fn from_str(text: &str) -> Result<Self, NotARunId> {
        let fits = (1..=120).contains(&text.len()) && text.chars().all(is_allowed);
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotARunId(text.chars().take(120).collect()))
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = NotARunId;

    fn try_from(text: String) -> Result<Self, NotARunId> {
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
        let id = RunId::new(Timestamp::UNIX_EPOCH, "relay_scale/../x", 0x7f3a);
        assert_eq!(id.as_str(), "19700101T000000Z-relayscalex-7f3a");
        assert_eq!(id.as_str().parse::<RunId>().unwrap(), id);
    }

    #[test]
    fn what_could_leave_the_folder_is_refused() {
        for text in ["", "..", "a/b", "a\\b", "a b", "é"] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}
