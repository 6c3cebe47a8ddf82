//! Rollback: what took effect is undone, in the reverse of the order in which it was prepared. A failed undo does not
//! stop the others.

use futures::future::BoxFuture;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    action_run::{ActionRun, AttemptError, Phase, backoff_delay, span_of},
    deadline::Deadline,
    drive::Driver,
    failure,
    interruptible::{Interruption, StopReason},
};
use crate::{
    actions::{self, ActionDef, ChangeOps, Error, Operations, Recovery},
    journal::{Event, Failure, FailureKind, StepEvent, StepPath},
};
use runbook::{EvaluationScope, Reversibility, Step};

/// The failure of an undo whose step is gone: a changed runbook keeps the steps that have run.
const NO_SUCH_CHANGE: &str = "the runbook with which the run continues has no such change";

impl Driver<'_> {
    /// Undoes every step that may have had an effect and for which `is_meant` is true, and returns how many could not
    /// be undone. `is_meant` is given no step for a path that the runbook does not have.
    pub(super) async fn undo_steps(
        &self,
        is_meant: impl Fn(Option<&Step>, &StepPath) -> bool + Sync,
    ) -> Result<usize, StopReason> {
        let order: Vec<StepPath> =
            self.run().rollback_order().iter().map(|step| step.path.clone()).collect();
        let mut failures = 0;
        for path in order {
            let step = self.checked.step(&path);
            if !is_meant(step, &path) {
                continue;
            }
            if let Some(request) = self.control.stop_requested() {
                return Err(StopReason::StopRequested(request));
            }
            let found = step.and_then(|step| Some((step, actions::find(&step.action)?)));
            let Some((step, action @ ActionDef { operations: Operations::Change(operations), .. })) =
                found
            else {
                failures += 1;
                let failure = Failure::new(FailureKind::Internal, NO_SUCH_CHANGE);
                self.append(Event::step(&path, StepEvent::StepUndoFailed { failure })).await?;
                continue;
            };
            self.append(Event::step(&path, StepEvent::StepUndoStarted)).await?;
            let at = Instant::now() + self.engine.clock.deadline(step.timeout.std());
            let deadline = Deadline::new(at, step.timeout, &path);
            let scope = EvaluationScope::new(&serde_json::Map::new());
            let mut run = ActionRun::new(self, step, &path, scope, deadline);
            self.begin_work(&path).await?;
            let undone = self.caller(&path).scope(run.boxed_undo(operations));
            let undone = undone.instrument(span_of(&path)).await;
            self.end_work().await;
            if matches!(undone, Err(StopReason::StepFailed(_) | StopReason::StopRequested(_))) {
                self.clean_up(step, &path, Phase::Undo).await?;
            }
            let event = match undone {
                Ok(not_restored) => {
                    let irreversible = action.reversibility() == Reversibility::Irreversible;
                    StepEvent::StepUndoFinished { not_restored, irreversible }
                }
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
}

impl ActionRun<'_> {
    /// Returns the undo on the heap. It is a function of its own, so that what is large leaves the stack with it.
    fn boxed_undo<'a>(
        &'a mut self,
        operations: &'a ChangeOps,
    ) -> BoxFuture<'a, Result<Vec<String>, StopReason>> {
        Box::pin(self.undo(operations))
    }

    /// Undoes what the action changed, with as many attempts as the step allows.
    async fn undo(&mut self, operations: &ChangeOps) -> Result<Vec<String>, StopReason> {
        let mut attempt = 0;
        loop {
            let error = match self.undo_once(operations).await {
                Ok(not_restored) => return Ok(not_restored),
                Err(AttemptError::Stop(stop_reason)) => return Err(stop_reason),
                Err(AttemptError::Action(error)) => error,
            };
            let failure = failure::of_action(&error);
            match error.recovery() {
                Recovery::WaitAndRetry => {
                    let waited = self.wait_for_other(&failure).await;
                    waited.map_err(|reason| reason.unless_fenced(&error))?;
                    continue;
                }
                Recovery::Resubmit => self.note_operation_failed(&failure).await?,
                // An undo returns what it does not restore. A conflict that it meets half way is another client that is
                // at work right now: it reads again.
                Recovery::Fatal if matches!(error, Error::Conflict { .. }) => {}
                Recovery::Fatal => return Err(StopReason::StepFailed(failure)),
                Recovery::Retry => {}
            }
            attempt += 1;
            if attempt >= self.step.retry.attempts {
                return Err(StopReason::StepFailed(failure));
            }
            let message = format!("{failure}; retrying");
            self.append(StepEvent::StepMessage { message }).await?;
            if !self.pause(backoff_delay(self.step.retry, attempt)).await? {
                return Err(StopReason::StepFailed(failure));
            }
        }
    }

    /// An undo may be interrupted: it converges when it is called again.
    async fn undo_once(&mut self, operations: &ChangeOps) -> Result<Vec<String>, AttemptError> {
        let Some(intent) = self.driver.intent(&self.path) else { return Ok(Vec::new()) };
        let receipt = self.driver.run().step(&self.path).and_then(|s| s.receipt.clone());
        let mut writer = self.driver.writer(&self.path, Phase::Undo);
        let progress = self.progress_channel.progress();
        // Limits stop no undo. What they say is reported, where it can be told.
        if let Ok(Some(guard)) = self.driver.removal_guard(&self.path, Some(progress.clone())) {
            writer = writer.guarded_by(guard);
        }
        let undo = (operations.undo)(&intent, receipt.as_ref(), &writer, &progress);
        self.run_operation(Interruption::Allowed, undo).await
    }
}
