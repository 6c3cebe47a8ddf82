//! The states of a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RunOutcome;

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its steps are being run.
    Running,
    /// Every step succeeded or was skipped.
    Succeeded,
    /// The end was reached, and some step failed under `on_failure: continue`.
    SucceededWithFailures,
    /// A step failed; nothing more was changed.
    Failed,
    /// The run was asked to stop.
    Cancelled,
    /// Its process died, or was asked to shut down.
    Interrupted,
    /// Its steps are being undone.
    RollingBack,
    /// Changes that took effect were undone.
    RolledBack,
    /// Some step could not be undone.
    RollbackFailed,
    /// A person declared it to be over.
    Abandoned,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Running,
        Self::Succeeded,
        Self::SucceededWithFailures,
        Self::Failed,
        Self::Cancelled,
        Self::Interrupted,
        Self::RollingBack,
        Self::RolledBack,
        Self::RollbackFailed,
        Self::Abandoned,
    ];

    /// Whether a process drives the run.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::RollingBack)
    }

    /// Whether the run has stopped before its end: it can be resumed, rolled back or abandoned. While it may have
    /// changed something, it keeps the lock of its target ([`holds_lock`](super::RunHead::holds_lock)).
    pub fn is_unfinished(self) -> bool {
        matches!(self, Self::Failed | Self::Cancelled | Self::Interrupted | Self::RollbackFailed)
    }

    /// Whether nothing can happen to the run any more.
    pub fn is_over(self) -> bool {
        !self.is_active() && !self.is_unfinished()
    }

    /// Returns the name that is used everywhere: in JSON, on the command line, in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::SucceededWithFailures => "succeeded_with_failures",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::RollbackFailed => "rollback_failed",
            Self::Abandoned => "abandoned",
        }
    }
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<RunOutcome> for RunState {
    fn from(outcome: RunOutcome) -> Self {
        match outcome {
            RunOutcome::Succeeded => Self::Succeeded,
            RunOutcome::SucceededWithFailures => Self::SucceededWithFailures,
            RunOutcome::Failed => Self::Failed,
            RunOutcome::Cancelled => Self::Cancelled,
            RunOutcome::Interrupted => Self::Interrupted,
            RunOutcome::RolledBack => Self::RolledBack,
            RunOutcome::RollbackFailed => Self::RollbackFailed,
        }
    }
}
