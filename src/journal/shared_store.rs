//! What a store can do beside, to which several processes write: they find each other's runs, ask each other to stop
//! them, and find what other programs ask for.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{PostedAnswer, RunHead, RunId, StepPath, StoreError};

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

    /// Waits until there is an answer to the approval of a step, and returns it.
    async fn wait_for_answer(&self, run: &RunId, step: &StepPath) -> PostedAnswer;

    /// Returns what other processes drive, or drove until they died, as it was observed in this process; `None` while
    /// that is not known. It takes a while where a process has died: no two clocks are compared.
    async fn runs_elsewhere(&self) -> Option<RunsElsewhere>;

    /// Returns what other programs have asked for and no process has answered for good, the oldest first; `None` while
    /// that is not known. Such a request is not a run yet; it becomes one when its name is the id of a run that is
    /// started.
    fn requested_runs(&self) -> Option<Vec<RunRequest>>;

    /// Answers a request that has not become a run. What another process has answered meanwhile stays.
    ///
    /// # Errors
    /// The medium failed.
    async fn answer(&self, request: &RunRequest, answer: RequestAnswer) -> Result<(), StoreError>;

    /// Removes a run that is over, with its events, for good.
    ///
    /// # Errors
    /// No such run, it is not over or not readable, or the medium failed.
    async fn remove_run(&self, run: &RunId) -> Result<(), StoreError>;

    /// Removes runs that are over, for good. One that another process has removed meanwhile is no error. Returns how
    /// many were removed, and the first error of [`remove_run`](Self::remove_run): the others are tried, too.
    async fn remove_runs(&self, runs: &[RunId]) -> (usize, Result<(), StoreError>) {
        let (mut removed, mut result) = (0, Ok(()));
        for run in runs {
            match self.remove_run(run).await {
                Ok(()) => removed += 1,
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        (removed, result)
    }

    /// Returns a receiver that is told of each change by another process from now on.
    fn changes(&self) -> watch::Receiver<()>;
}

/// A run that was asked for by creating an object in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRequest {
    /// The name of the object.
    pub name: String,
    /// The version of the object, for the answer.
    pub version: Option<String>,
    /// The runbook's name.
    pub runbook: String,
    /// The inputs.
    pub inputs: Map<String, Value>,
    /// The idempotency key.
    pub key: Option<String>,
    /// The person who asks, as the object says, unchecked.
    pub requested_by: Option<String>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// The time from which on it must not be started.
    pub start_before: Option<Timestamp>,
    /// The codes of the findings of a plan in spite of which it starts.
    pub accept: Vec<String>,
    /// Why it is to start although no change window may be open.
    pub outside_window: Option<String>,
    /// The last answer, where the request waits.
    pub answer: Option<String>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestAnswer {
    /// Not yet, for this reason.
    Waits(String),
    /// Never, for this reason.
    Refused(String),
}

/// The runs that are not over and that this process does not drive.
#[derive(Debug, Default)]
pub struct RunsElsewhere {
    /// Whether a process may be driving one.
    pub may_be_driven: bool,
    /// Those whose process is gone, the oldest first.
    pub interrupted: Vec<InterruptedRun>,
}

/// A run whose process is gone, as it has said or as no change for a long time says.
#[derive(Debug)]
pub struct InterruptedRun {
    /// The run, as it was last seen.
    pub head: RunHead,
    /// When its process was alive last.
    pub alive_at: Timestamp,
}
