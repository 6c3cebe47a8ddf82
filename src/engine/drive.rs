//! The loop over the steps, and the one place from which a run's events are written while it is driven.

use super::{
    Control, Engine,
    control::StopRequest,
    interruptible::{ProgressChannel, StopReason},
    resume::runbook_of,
};
use crate::journal::{
    AfterFailure, Event, RunOutcome, RunState, RunWriter, StepOutcome, StoreError,
};
use runbook::{EvaluationScope, OnFailure, Runbook, Step};

/// A run being driven.
pub(super) struct Driver<'a> {
    pub(super) engine: &'a Engine,
    pub(super) run_writer: RunWriter,
    pub(super) control: Control,
    pub(super) scope: EvaluationScope,
    pub(super) progress_channel: ProgressChannel,
}

/// How the steps ended.
enum ForwardOutcome {
    Completed,
    Stopped { error: String },
    RollBack,
}

impl Engine {
    /// Drives an accepted or taken-up run until it stops, and says how.
    ///
    /// # Errors
    /// The journal could not be written. The run is then interrupted: nothing was done that is not in the journal,
    /// and it can be resumed when the journal can be written again.
    pub async fn drive(
        &self,
        run_writer: RunWriter,
        control: Control,
    ) -> Result<RunState, StoreError> {
        let inputs = &run_writer.run().spec.inputs;
        let scope = EvaluationScope::new(inputs);
        let mut driver = Driver {
            engine: self,
            scope,
            run_writer,
            control,
            progress_channel: ProgressChannel::new(),
        };
        match driver.drive().await {
            Ok(state) => Ok(state),
            Err(StopReason::JournalError(error)) => Err(error),
            Err(StopReason::StopRequested(request)) => driver.end_as_requested(request),
            Err(StopReason::StepFailed(error)) => driver.end(RunOutcome::Failed, Some(error)),
        }
    }
}

impl Driver<'_> {
    async fn drive(&mut self) -> Result<RunState, StopReason> {
        let runbook = runbook_of(self.run_writer.run())
            .map_err(|error| StopReason::StepFailed(error.to_string()))?;
        if !self.run_writer.run().is_rolling_back() {
            match self.run_steps(&runbook).await? {
                ForwardOutcome::Completed => return Ok(self.end(self.success_outcome(), None)?),
                ForwardOutcome::Stopped { error } => {
                    return Ok(self.end(RunOutcome::Failed, Some(error))?);
                }
                ForwardOutcome::RollBack => {}
            }
        }
        let failures = self.roll_back(&runbook).await?;
        let outcome =
            if failures.is_empty() { RunOutcome::RolledBack } else { RunOutcome::RollbackFailed };
        let error = self.rollback_message(&failures);
        Ok(self.end(outcome, error)?)
    }

    async fn run_steps(&mut self, runbook: &Runbook) -> Result<ForwardOutcome, StopReason> {
        for step in &runbook.steps {
            if self.is_finished(step) {
                continue;
            }
            if let Some(request) = self.control.stop_requested() {
                return Err(StopReason::StopRequested(request));
            }
            let Err(stop_reason) = self.run_step(step).await else { continue };
            let StopReason::StepFailed(error) = stop_reason else { return Err(stop_reason) };
            self.fail(step, &error)?;
            match step.on_failure {
                OnFailure::Continue => {}
                OnFailure::Stop => return Ok(ForwardOutcome::Stopped { error }),
                OnFailure::Rollback => return Ok(ForwardOutcome::RollBack),
            }
        }
        Ok(ForwardOutcome::Completed)
    }

    fn fail(&mut self, step: &Step, error: &str) -> Result<(), StoreError> {
        let then = match step.on_failure {
            OnFailure::Continue => AfterFailure::Continue,
            OnFailure::Stop => AfterFailure::Stop,
            OnFailure::Rollback => AfterFailure::Rollback,
        };
        self.append(Event::StepFailed { step: step.id.clone(), error: error.to_owned(), then })
    }

    /// Whether a step's events say that it is over; its output, if it has one, is put within reach of later steps.
    fn is_finished(&mut self, step: &Step) -> bool {
        let Some(recorded) = self.run_writer.run().step(&step.id) else { return false };
        match &recorded.outcome {
            // A failure that ended the run is what a resume is for.
            None
            | Some(StepOutcome::Failed {
                then: AfterFailure::Stop | AfterFailure::Rollback, ..
            }) => false,
            Some(StepOutcome::Completed { output, .. }) => {
                self.scope.insert(&step.id, output);
                true
            }
            Some(StepOutcome::Skipped { .. } | StepOutcome::Failed { .. }) => true,
        }
    }

    fn success_outcome(&self) -> RunOutcome {
        let has_failed = |step: &crate::journal::StepProgress| {
            matches!(step.outcome, Some(StepOutcome::Failed { .. }))
        };
        if self.run_writer.run().steps().iter().any(has_failed) {
            RunOutcome::SucceededWithFailures
        } else {
            RunOutcome::Succeeded
        }
    }

    /// The failure that led to the rollback, and whatever went wrong on the way back.
    fn rollback_message(&self, failures: &[String]) -> Option<String> {
        let cause = self.run_writer.run().steps().iter().find_map(|step| match &step.outcome {
            Some(StepOutcome::Failed { then: AfterFailure::Continue, .. }) => None,
            Some(StepOutcome::Failed { error, .. }) => Some(format!("{}: {error}", step.name)),
            _ => None,
        });
        let all: Vec<String> = cause.into_iter().chain(failures.iter().cloned()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn end_as_requested(&mut self, request: StopRequest) -> Result<RunState, StoreError> {
        match request {
            StopRequest::Cancel(actor) => {
                self.record_cancel(&actor)?;
                self.end(RunOutcome::Cancelled, Some(format!("cancelled by {actor}")))
            }
            StopRequest::ShutDown => {
                self.end(RunOutcome::Interrupted, Some("its process was asked to go away".into()))
            }
        }
    }

    /// Writes down once that somebody asked the run to stop. It stands in the journal before anything else is done
    /// about it: a process that dies meanwhile must not be followed by one that goes on.
    pub(super) fn record_cancel(&mut self, actor: &str) -> Result<(), StoreError> {
        if self.run_writer.run().is_cancel_requested() {
            return Ok(());
        }
        self.append(Event::CancelRequested { actor: actor.to_owned() })
    }

    fn end(&mut self, outcome: RunOutcome, error: Option<String>) -> Result<RunState, StoreError> {
        self.append(Event::RunEnded { outcome, error })?;
        Ok(outcome.into())
    }

    /// Writes an event. When this fails, nothing that depends on the event may be done.
    pub(super) fn append(&mut self, event: Event) -> Result<(), StoreError> {
        self.run_writer.append(self.engine.clock.now(), event)
    }
}
