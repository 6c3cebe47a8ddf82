//! What went wrong, as data: in the journal, in `/status` and in `--output json`. It is rendered at the edge, once.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The failed operation and the cause, in one line.
    pub message: String,
    /// The call to a platform that failed, such as `eks:DescribeNodegroup rafay-cluster/relay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The platform's own code, such as `AccessDeniedException` or `Forbidden`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Its kind: what a program decides by.
    #[serde(default)]
    pub kind: FailureKind,
    /// The remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The kind of a failure. Exit codes and HTTP statuses derive from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The program, or the service, was called in the wrong way.
    Usage,
    /// The runbook has errors.
    InvalidRunbook,
    /// The inputs do not fit the runbook.
    InvalidInputs,
    /// No such runbook.
    RunbookNotFound,
    /// No such run.
    RunNotFound,
    /// The run, the lock or the target is in a state that does not allow what was asked for.
    Conflict,
    /// The store of runs cannot be read or written.
    Store,
    /// The platform does not allow the call, or has no credentials for it.
    Denied,
    /// The platform has no such object.
    NotFound,
    /// The platform refused the call as wrong; it fails in the same way every time.
    Invalid,
    /// Another client's change is in progress on the platform.
    Busy,
    /// Throttled, a server error, a broken connection, a call that took too long.
    Transient,
    /// The platform cannot be reached.
    Unreachable,
    /// A condition that the action needs did not hold.
    Precondition,
    /// The condition that the step waits for can no longer hold.
    Unrecoverable,
    /// The step's time was up.
    TimedOut,
    /// A template could not be evaluated.
    Template,
    /// The process was asked to shut down, or the run was canceled.
    Interrupted,
    /// A defect of this program.
    Internal,
    /// A kind that this version does not know, or a failure of journal format 0, which had none.
    #[default]
    #[serde(other)]
    Other,
}

impl Failure {
    /// Returns a failure that has nothing but a message and a kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), call: None, code: None, kind, hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// Returns the lines for a person: the message, and the hint on a line of its own.
    pub fn lines(&self) -> Vec<String> {
        let hint = self.hint.iter().map(|hint| format!("hint: {hint}"));
        let lines = std::iter::once(self.message.clone()).chain(hint);
        lines.map(|line| text::printable(&line).into_owned()).collect()
    }
}

/// The message alone. A hint is rendered on a line of its own.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_a_later_version_is_read_as_other() {
        let text = r#"{"message":"m","kind":"out_of_quota"}"#;
        assert_eq!(serde_json::from_str::<Failure>(text).unwrap().kind, FailureKind::Other);
    }

    #[test]
    fn a_hint_has_a_line_of_its_own() {
        let failure = Failure::new(FailureKind::Denied, "denied").with_hint(Some("allow it"));
        assert_eq!(failure.lines(), ["denied", "hint: allow it"]);
    }
}
