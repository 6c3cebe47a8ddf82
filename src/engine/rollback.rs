//! Rollback: what took effect is undone, in the reverse of the order in which it was prepared. A failed undo does not
//! stop the others.

use tokio::time::Instant;

use super::{
    CheckedRunbook,
    drive::Driver,
    failure,
    interruptible::{Interruption, StopReason},
    step::{AttemptError, Phase, action_of, backoff_delay},
};
use crate::{
    actions::{ChangeOps, Error, Operations, Recovery},
    journal::{Event, StepEvent, StepPath},
};
use runbook::Step;

impl Driver<'_> {
    /// Undoes every step that may have had an effect, and returns how many could not be undone.
    pub(super) async fn roll_back(
        &mut self,
        checked: &CheckedRunbook,
    ) -> Result<usize, StopReason> {
        let order: Vec<StepPath> =
            self.run_writer.run().rollback_order().iter().map(|step| step.path.clone()).collect();
        let mut failures = 0;
        for path in order {
            let Some(step) = checked.step(&path) else { continue };
            let Operations::Change(operations) = &action_of(step)?.operations else { continue };
            if let Some(request) = self.control.stop_requested() {
                return Err(StopReason::StopRequested(request));
            }
            self.progress_channel.begin_step();
            self.append(Event::step(&path, StepEvent::StepUndoStarted)).await?;
            let undone = self.undo(step, &path, operations).await;
            if matches!(undone, Err(StopReason::StepFailed(_) | StopReason::StopRequested(_))) {
                self.clean_up(step, &path, Phase::Undo).await?;
            }
            let event = match undone {
                Ok(not_restored) => StepEvent::StepUndoFinished { not_restored },
                Err(StopReason::StepFailed(failure)) => {
                    failures += 1;
                    StepEvent::StepUndoFailed { failure }
                }
                Err(stop_reason) => return Err(stop_reason),
            };
            self.append(Event::step(&path, event)).await?;
        }
        Ok(failures)
    }

    /// Undoes one step, with as many attempts as the step allows.
    async fn undo(
        &mut self,
        step: &Step,
        path: &StepPath,
        operations: &ChangeOps,
    ) -> Result<Vec<String>, StopReason> {
        let deadline = Instant::now() + self.engine.clock.deadline(step.timeout.std());
        let mut attempt = 0;
        loop {
            let error = match self.undo_once(step, path, operations, deadline).await {
                Ok(not_restored) => return Ok(not_restored),
                Err(AttemptError::Stop(stop_reason)) => return Err(stop_reason),
                Err(AttemptError::Action(error)) => error,
            };
            let failure = failure::of_action(&error);
            match error.recovery() {
                Recovery::WaitAndRetry => {
                    let waited = self.wait_for_other(step, path, &failure, deadline).await;
                    waited.map_err(|reason| reason.unless_fenced(&error))?;
                    continue;
                }
                Recovery::Resubmit => {
                    let generation = self.generation(path);
                    let failure = failure.clone();
                    let event = StepEvent::StepOperationFailed { generation, failure };
                    self.append(Event::step(path, event)).await?;
                }
                // An undo returns what it does not restore. A conflict that it meets half way is another client that is
                // at work right now: it reads again.
                Recovery::Fatal if matches!(error, Error::Conflict { .. }) => {}
                Recovery::Fatal => return Err(StopReason::StepFailed(failure)),
                Recovery::Retry => {}
            }
            attempt += 1;
            if attempt >= step.retry.attempts {
                return Err(StopReason::StepFailed(failure));
            }
            let message = format!("{failure}; retrying");
            self.append(Event::step(path, StepEvent::StepMessage { message })).await?;
            if !self.pause(backoff_delay(step.retry, attempt), deadline).await? {
                return Err(StopReason::StepFailed(failure));
            }
        }
    }

    /// An undo may be interrupted: it converges when it is called again.
    async fn undo_once(
        &mut self,
        step: &Step,
        path: &StepPath,
        operations: &ChangeOps,
        deadline: Instant,
    ) -> Result<Vec<String>, AttemptError> {
        let recorded = self.run_writer.run().step(path);
        let Some(intent) = recorded.and_then(|s| s.intent.as_ref()).map(|i| i.value.clone()) else {
            return Ok(Vec::new());
        };
        let receipt = recorded.and_then(|s| s.receipt.clone());
        let writer = self.writer(path, Phase::Undo);
        let progress = self.progress_channel.progress();
        let undo = (operations.undo)(&intent, receipt.as_ref(), &writer, &progress);
        self.run_operation(step, path, deadline, Interruption::Allowed, undo).await
    }
}
