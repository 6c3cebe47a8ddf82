//! The id of a run: sorts by time, can be read aloud, and is safe as a file name, in a URL and as a Kubernetes name.

use std::{fmt, str::FromStr};

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How an id begins; sorts by time.
const TIME: &str = "%Y%m%dt%H%M%Sz";
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The length of a Kubernetes label value (RFC 1123 label), which a run id must fit.
const MAX_NEW_LENGTH: usize = 63;
/// The longest id that is read. Ids of journal format 0 were upper-case and could be this long.
const MAX_LENGTH: usize = 120;

/// A run id, such as `20261123t061700z-relay-scale-7f3a`: a lower-case RFC 1123 name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// A text that is not a valid run id.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a valid run id: 1 to {MAX_LENGTH} letters, digits and '-'")]
pub struct InvalidRunId(String);

impl RunId {
    /// Returns a new id for a run of `runbook` that starts `now`. It sorts after `last`: of two runs in the same
    /// second, or after the clock went back, the later one is still the latest.
    pub fn new(now: Timestamp, runbook: &str, last: Option<&Self>) -> Self {
        let time = last.and_then(Self::time).map_or(now, |last| now.max(last + SECOND));
        let time = time.to_zoned(TimeZone::UTC).strftime(TIME).to_string();
        // Two state directories may hold runs of the same second.
        let salt = format!("{:04x}", fastrand::u16(..));
        let room = MAX_NEW_LENGTH - time.len() - salt.len() - 2;
        let stem: String = runbook
            .chars()
            .filter(|c| is_allowed(*c))
            .take(room)
            .collect::<String>()
            .to_lowercase();
        Self(format!("{time}-{stem}-{salt}"))
    }

    /// Returns the second in the id, also of the upper-case ids of journal format 0; `None` where a person chose it.
    pub fn time(&self) -> Option<Timestamp> {
        let time = self.0.split('-').next()?.to_lowercase();
        let parsed = DateTime::strptime(TIME, &time).ok()?;
        Some(parsed.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }

    /// Returns the id of the trace of the run: the same in each process that drives it.
    pub fn trace_id(&self) -> [u8; 16] {
        let digest = Sha256::digest(self.0.as_bytes());
        std::array::from_fn(|index| digest[index])
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Everything else could leave the state directory or need quoting in a shell.
fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        let is_valid = (1..=MAX_LENGTH).contains(&text.len()) && text.chars().all(is_allowed);
        if is_valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRunId(text.chars().take(MAX_LENGTH).collect()))
        }
    }
}

impl JsonSchema for RunId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RunId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The id of a run.",
            "type": "string",
            "pattern": format!("^[A-Za-z0-9-]{{1,{MAX_LENGTH}}}$"),
        })
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
    fn a_new_id_is_an_rfc_1123_name_and_reads_back() {
        for runbook in ["relay_scale/../X", "", "-a-", &"long-name-".repeat(20)] {
            let id = RunId::new(Timestamp::UNIX_EPOCH, runbook, None);
            let text = id.as_str();
            assert!(text.starts_with("19700101t000000z-"), "{id}");
            assert!(text.len() <= 63, "{id}");
            assert!(text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
            assert!(text.ends_with(|c: char| c.is_ascii_alphanumeric()), "{id}");
            assert_eq!(text.parse::<RunId>().unwrap(), id);
        }
    }

    #[test]
    fn a_later_run_has_a_later_id_whatever_the_clock_says() {
        let mut last: RunId = "20261123T061700Z-z-0000".parse().unwrap();
        for runbook in ["z", "a", "m"] {
            let next = RunId::new(Timestamp::UNIX_EPOCH, runbook, Some(&last));
            assert!(next > last, "{next} > {last}");
            last = next;
        }
    }

    #[test]
    fn an_id_that_could_leave_the_directory_is_refused() {
        for text in ["", "..", "a/b", "a\\b", "a b", "é"] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}
