//! Runs one operation of an action while listening to its progress, to the clock and to requests to stop. This is the
//! only place where the engine waits.

use std::{future::Future, panic::AssertUnwindSafe, pin::pin, time::Duration};

use futures::FutureExt as _;
use tokio::{sync::mpsc, time::Instant};

use super::{action_run::ActionRun, control::StopRequest, failure};
use crate::{
    actions,
    journal::{Failure, StepEvent, StoreError},
    platform::{ErrorKind as PlatformErrorKind, Progress, ProgressEvent},
};
use runbook::EvaluationError;

/// Why a step stopped.
#[derive(Debug)]
pub(super) enum StopReason {
    /// The step failed.
    StepFailed(Failure),
    /// The run was canceled, or the process is asked to shut down.
    StopRequested(StopRequest),
    /// The journal cannot be written. Nothing more may be done, not even an orderly end.
    JournalError(StoreError),
}

impl StopReason {
    /// Returns the same reason; or, where the step waited for the fence until its time was up, that the lease is lost.
    /// A failure would begin a rollback, which the fence refuses as well.
    pub(super) fn unless_fenced(self, error: &actions::Error) -> Self {
        match (self, error) {
            (Self::StepFailed(_), actions::Error::Platform(platform))
                if platform.kind() == PlatformErrorKind::Fenced =>
            {
                Self::StopRequested(StopRequest::LeaseLost)
            }
            (reason, _) => reason,
        }
    }
}

impl From<EvaluationError> for StopReason {
    fn from(error: EvaluationError) -> Self {
        Self::StepFailed(failure::of_template(&error))
    }
}

impl From<StoreError> for StopReason {
    fn from(error: StoreError) -> Self {
        Self::JournalError(error)
    }
}

/// The outcome of an operation.
pub(super) enum OperationOutcome<T> {
    /// The operation returned.
    Finished(actions::Result<T>),
    /// The step's time was up; with what the operation was waiting for.
    TimedOut(Option<String>),
}

/// Whether an operation may be dropped before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interruption {
    /// The operation only reads, or converges when it is called again.
    Allowed,
    /// The operation sends, and always returns, so that its effect gets into the journal.
    Forbidden,
}

/// Where the progress of an operation arrives.
pub(super) struct ProgressChannel {
    receiver: mpsc::UnboundedReceiver<ProgressEvent>,
    progress: Progress,
}

impl ProgressChannel {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        // The receiver lives as long as the step; progress after that is of no interest.
        let progress = Progress::new(move |event| drop(sender.send(event)));
        Self { receiver, progress }
    }

    /// Returns the handle through which an action reports. All operations of a step share what was reported before: a
    /// step that is retried every few seconds does not say the same each time.
    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

/// Turns a panic of an operation into its failure: the run is journaled to its end, and a service goes on.
pub(super) async fn caught<T>(
    operation: impl Future<Output = actions::Result<T>>,
) -> actions::Result<T> {
    // What the operation has borrowed is not used again after a panic but to describe the failure.
    AssertUnwindSafe(operation).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let message = text.unwrap_or_else(|| "no reason given".into());
        Err(actions::Error::Panicked { message })
    })
}

impl ActionRun<'_> {
    /// Runs `operation` to its end, or until the deadline or a request cuts it off where that is allowed.
    pub(super) async fn run_interruptible<T>(
        &mut self,
        interruption: Interruption,
        operation: impl Future<Output = actions::Result<T>>,
    ) -> Result<OperationOutcome<T>, StopReason> {
        let mut operation = pin!(caught(operation));
        let mut is_recorded = false;
        let progress = self.progress_channel.progress();
        progress.begin_operation();
        let (control, deadline) = (self.driver.control.clone(), self.deadline.at);
        let result = loop {
            tokio::select! {
                biased;
                Some(event) = self.progress_channel.receiver.recv() => {
                    self.record_progress(event).await?;
                }
                result = &mut operation => break result,
                request = control.wait_for_stop(), if interruption == Interruption::Allowed => {
                    return Err(StopReason::StopRequested(request));
                }
                actor = control.wait_for_cancel(),
                    if interruption == Interruption::Forbidden && !is_recorded =>
                {
                    is_recorded = true;
                    // A journal that cannot be written shows itself when the receipt is; the call must end first.
                    let _ = self.driver.record_cancel(&actor).await;
                }
                () = tokio::time::sleep_until(deadline), if interruption == Interruption::Allowed => {
                    return Ok(OperationOutcome::TimedOut(progress.waiting_for()));
                }
            }
        };
        while let Ok(event) = self.progress_channel.receiver.try_recv() {
            self.record_progress(event).await?;
        }
        Ok(OperationOutcome::Finished(result))
    }

    /// Waits between two attempts; `false` when the step's time is up first.
    pub(super) async fn pause(&self, pause: Duration) -> Result<bool, StopReason> {
        let deadline = self.deadline.at;
        let until = Instant::now() + self.driver.engine.clock.delay(pause);
        tokio::select! {
            biased;
            request = self.driver.control.wait_for_stop() => Err(StopReason::StopRequested(request)),
            () = tokio::time::sleep_until(until.min(deadline)) => Ok(until < deadline),
        }
    }

    async fn record_progress(&self, event: ProgressEvent) -> Result<(), StoreError> {
        let event = match event {
            ProgressEvent::Message(message) => StepEvent::StepMessage { message },
            ProgressEvent::Waiting { message, so_far } => {
                let waited_ms = so_far.and_then(|so_far| u64::try_from(so_far.as_millis()).ok());
                StepEvent::StepWaiting { message, waited_ms }
            }
        };
        self.append(event).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::FailureKind;

    /// A name of 30,000 characters made a client library panic: the run was neither alive nor over.
    #[tokio::test]
    async fn a_panic_of_an_operation_is_a_failure_that_is_not_tried_again() {
        let name = "n".repeat(3);
        let operation = async {
            assert_eq!(name.len(), 4, "the name {name} does not fit");
            Ok(())
        };
        let error = caught(operation).await.unwrap_err();
        assert_eq!(error.recovery(), actions::Recovery::Fatal);
        let failure = failure::of_action(&error);
        assert_eq!(failure.kind, FailureKind::Internal);
        assert!(failure.message.contains("the name nnn does not fit"), "{failure}");
    }
}
