//! What a store can do beside, to which several processes write: they find each other's runs, and ask each other to
//! stop them.

use async_trait::async_trait;

use super::{RunHead, RunId, StoreError};

/// A store to which several processes write, each to its own runs.
#[async_trait]
pub trait SharedStore: Send + Sync {
    /// Records that a run is to be canceled. The process that drives it finds that, or the one that continues the run
    /// after that process has died.
    ///
    /// # Errors
    /// No such run, or the medium failed.
    async fn request_cancel(&self, run: &RunId, actor: &str) -> Result<(), StoreError>;

    /// Waits until such a request is there, and returns its actor.
    async fn wait_for_cancel(&self, run: &RunId) -> String;

    /// Withdraws such a request: a person wants the run to continue.
    ///
    /// # Errors
    /// As [`request_cancel`](Self::request_cancel).
    async fn withdraw_cancel(&self, run: &RunId) -> Result<(), StoreError>;

    /// Returns what other processes drive, or drove until they died, as it was observed in this process. That takes a
    /// while where a process has died: no two clocks are compared.
    ///
    /// # Errors
    /// The medium failed.
    async fn runs_elsewhere(&self) -> Result<RunsElsewhere, StoreError>;

    /// Waits until another process has changed a run since the last call.
    async fn wait_for_change(&self);
}

/// The runs that are not over and that this process does not drive.
#[derive(Debug, Default)]
pub struct RunsElsewhere {
    /// Whether a process may be driving one.
    pub may_be_driven: bool,
    /// Those whose process is gone, as it has said or as no change for a long time says, the oldest first.
    pub interrupted: Vec<RunHead>,
}
