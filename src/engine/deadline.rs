//! When the time of a step is up, and whose time that is: its own, or that of a call that it is a part of.

use tokio::time::Instant;

use crate::journal::{Failure, FailureKind, StepPath};

/// The end of the time of a step.
#[derive(Debug, Clone)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    /// The time limit that the runbook sets.
    limit: runbook::Duration,
    /// The step that has this limit.
    path: StepPath,
}

impl Deadline {
    pub(super) fn new(at: Instant, limit: runbook::Duration, path: &StepPath) -> Self {
        Self { at, limit, path: path.clone() }
    }

    /// Returns this deadline, or that of a caller if it comes first.
    #[must_use]
    pub(super) fn within(self, caller: Option<&Self>) -> Self {
        caller.filter(|caller| caller.at < self.at).cloned().unwrap_or(self)
    }

    /// Returns the failure of a step whose time is up.
    pub(super) fn passed(&self, path: &StepPath, waiting_for: Option<&str>) -> Failure {
        let limit = self.limit;
        let is_own = *path == self.path || path.step_of_item().as_ref() == Some(&self.path);
        let mut message = match is_own {
            true => format!("timed out after {limit}"),
            false => format!("timed out after the {limit} of step '{}'", self.path),
        };
        if let Some(what) = waiting_for {
            message = format!("{message}, waiting for {what}");
        }
        Failure::new(FailureKind::TimedOut, message)
    }
}
