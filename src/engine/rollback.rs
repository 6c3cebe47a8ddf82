//! The way back: what took effect is undone, the last step first. A failed undo does not stop the others.

use tokio::time::Instant;

use super::{
    drive::Driver,
    interruptible::{Interruption, StopReason},
    step::{AttemptError, Phase, action_of, backoff_delay},
};
use crate::{
    actions::{ChangeOps, Error, Operations, Recovery},
    journal::Event,
};
use runbook::{Runbook, Step};

impl Driver<'_> {
    /// Undoes every step that may have had an effect, and returns what could not be undone.
    pub(super) async fn roll_back(&mut self, runbook: &Runbook) -> Result<Vec<String>, StopReason> {
        let mut failures = Vec::new();
        for step in runbook.steps.iter().rev() {
            if !self.run_writer.run().step(&step.id).is_some_and(|s| s.may_need_undo()) {
                continue;
            }
            let Operations::Change(operations) = &action_of(step)?.operations else { continue };
            if let Some(request) = self.control.stop_requested() {
                return Err(StopReason::StopRequested(request));
            }
            self.append(Event::UndoStarted { step: step.id.clone() })?;
            match self.undo(step, operations).await {
                Ok(not_restored) => {
                    self.append(Event::UndoFinished { step: step.id.clone(), not_restored })?;
                }
                Err(StopReason::StepFailed(error)) => {
                    failures.push(format!("could not undo {}: {error}", step.name));
                    self.append(Event::UndoFailed { step: step.id.clone(), error })?;
                }
                Err(stop_reason) => return Err(stop_reason),
            }
        }
        Ok(failures)
    }

    /// Undoes one step, trying as often as the step allows.
    async fn undo(
        &mut self,
        step: &Step,
        operations: &ChangeOps,
    ) -> Result<Vec<String>, StopReason> {
        let deadline = Instant::now() + self.engine.clock.deadline(step.timeout.std());
        let mut attempt = 0;
        loop {
            let error = match self.undo_once(step, operations, deadline).await {
                Ok(not_restored) => return Ok(not_restored),
                Err(AttemptError::Stop(stop_reason)) => return Err(stop_reason),
                Err(AttemptError::Action(error)) => error,
            };
            let text = error.to_string();
            match error.recovery() {
                Recovery::WaitAndRetry => {
                    self.wait_for_other(step, &text, deadline).await?;
                    continue;
                }
                Recovery::Resubmit => {
                    let generation = self.generation(step);
                    let (step, error) = (step.id.clone(), text.clone());
                    self.append(Event::OperationFailed { step, generation, error })?;
                }
                // An undo returns what it leaves alone. A conflict that it stumbles over half way is somebody who is
                // at work right now: it looks again.
                Recovery::Fatal if matches!(error, Error::Conflict { .. }) => {}
                Recovery::Fatal => return Err(StopReason::StepFailed(text)),
                Recovery::Retry => {}
            }
            attempt += 1;
            if attempt >= step.retry.attempts {
                return Err(StopReason::StepFailed(text));
            }
            let message = format!("{text}; trying again");
            self.append(Event::StepMessage { step: step.id.clone(), message })?;
            if !self.pause(backoff_delay(step.retry, attempt), deadline).await? {
                return Err(StopReason::StepFailed(text));
            }
        }
    }

    /// An undo may be cut off: it converges when it is called again.
    async fn undo_once(
        &mut self,
        step: &Step,
        operations: &ChangeOps,
        deadline: Instant,
    ) -> Result<Vec<String>, AttemptError> {
        let recorded = self.run_writer.run().step(&step.id);
        let Some(intent) = recorded.and_then(|s| s.intent.as_ref()).map(|i| i.value.clone()) else {
            return Ok(Vec::new());
        };
        let receipt = recorded.and_then(|s| s.receipt.clone());
        let writer = self.writer(step, Phase::Undo);
        let progress = self.progress_channel.progress();
        let undo = (operations.undo)(&intent, receipt.as_ref(), &writer, &progress);
        self.run_operation(step, deadline, Interruption::Allowed, undo).await
    }
}
