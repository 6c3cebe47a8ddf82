//! Reads `timeout`, `retry` and `on_failure`. They are literals, so that a plan can print them and the
//! rules can compare them.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::super::duration::Duration;
use super::super::yaml::{Node, ScalarValue};
use super::read::DocumentReader;
use super::{DocumentIssueKind, MappingKind};

/// The effect of a failure of a step on the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Undoes the changes of the run.
    Rollback,
    /// Changes nothing more and keeps the state; the run is resumable.
    Stop,
    /// Continues the run; the step's output is absent.
    Continue,
}

impl OnFailure {
    pub(crate) const NAMES: &[&str] = &["rollback", "stop", "continue"];

    fn from_name(word: &str) -> Option<Self> {
        match word {
            "rollback" => Some(Self::Rollback),
            "stop" => Some(Self::Stop),
            "continue" => Some(Self::Continue),
            _ => None,
        }
    }
}

/// The policy as written, each value with its span.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    pub(crate) timeout: Option<(Duration, Range<usize>)>,
    pub(crate) retry: Option<Range<usize>>,
    pub(crate) attempts: Option<(u32, Range<usize>)>,
    pub(crate) backoff: Option<(Duration, Range<usize>)>,
    pub(crate) max_backoff: Option<(Duration, Range<usize>)>,
    pub(crate) on_failure: Option<(OnFailure, Range<usize>)>,
}

/// The timeout when neither the step nor `defaults` sets one: long enough for a node to boot.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// The built-in number of attempts: the delays between them outlast a minute of throttling.
pub(crate) const DEFAULT_ATTEMPTS: u32 = 3;
/// The built-in delay after the first failed attempt.
pub(crate) const DEFAULT_BACKOFF: Duration = Duration::from_secs(5);
/// The built-in maximum delay.
pub(crate) const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The maximum number of attempts.
const MAX_ATTEMPTS: i128 = 100;

impl Policy {
    /// Reads one key of the policy.
    pub(crate) fn accept(
        &mut self,
        name: &str,
        key: &Node,
        value: &Node,
        reader: &mut DocumentReader,
    ) {
        match name {
            "timeout" => self.timeout = timeout(value, reader),
            "retry" => self.accept_retry(key, value, reader),
            "on_failure" => self.on_failure = on_failure(value, reader),
            _ => {}
        }
    }

    fn accept_retry(&mut self, key: &Node, value: &Node, reader: &mut DocumentReader) {
        self.retry = Some(key.span.clone());
        let Some(pairs) = reader.map(value, "retry") else {
            return;
        };
        for (key, value) in pairs {
            match reader.resolve(key, value, MappingKind::Retry, pairs) {
                Some("attempts") => self.attempts = attempts(value, reader),
                Some("backoff") => self.backoff = duration("backoff", value, reader),
                Some("max_backoff") => self.max_backoff = duration("max_backoff", value, reader),
                _ => {}
            }
        }
    }
}

fn duration(
    what: &str,
    value: &Node,
    reader: &mut DocumentReader,
) -> Option<(Duration, Range<usize>)> {
    let text = reader.literal(value, what, "a duration such as 30s, 10m or 1h30m")?;
    match text.parse() {
        Ok(duration) => Some((duration, value.span.clone())),
        Err(error) => {
            let error: super::super::duration::ParseDurationError = error;
            reader.add_issue(
                value.span.clone(),
                DocumentIssueKind::InvalidDuration(error.to_string()),
            );
            None
        }
    }
}

fn timeout(value: &Node, reader: &mut DocumentReader) -> Option<(Duration, Range<usize>)> {
    let timeout = duration("timeout", value, reader)?;
    if timeout.0 == Duration::default() {
        let message = "timeout must be longer than 0s".to_owned();
        reader.add_issue(value.span.clone(), DocumentIssueKind::InvalidDuration(message));
        return None;
    }
    Some(timeout)
}

fn attempts(value: &Node, reader: &mut DocumentReader) -> Option<(u32, Range<usize>)> {
    const WANTED: &str = "an integer from 1 to 100";
    reader.literal(value, "attempts", WANTED)?;
    match value.scalar_value() {
        Some(ScalarValue::Integer(count)) if (1..=MAX_ATTEMPTS).contains(&count) => {
            Some((u32::try_from(count).ok()?, value.span.clone()))
        }
        _ => {
            reader.add_type_issue(value, "attempts", WANTED);
            None
        }
    }
}

fn on_failure(value: &Node, reader: &mut DocumentReader) -> Option<(OnFailure, Range<usize>)> {
    let word = reader.literal(value, "on_failure", "rollback, stop or continue")?;
    let named = OnFailure::from_name(word);
    if named.is_none() {
        reader.add_issue(
            value.span.clone(),
            DocumentIssueKind::InvalidEnumValue {
                what: "on_failure",
                found: word.to_owned(),
                choices: OnFailure::NAMES,
            },
        );
    }
    Some((named?, value.span.clone()))
}
