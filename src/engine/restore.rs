//! The end of a run: changes with `restore: at_end` are undone, however the run ends. A run that is rolled back has
//! undone them with all others, each at its place in the reverse order; one that is interrupted does it when it ends.

use super::{
    drive::{Driver, Ending},
    interruptible::StopReason,
};
use crate::journal::{RunEvent, RunOutcome, StoreError};
use runbook::Step;

impl Driver<'_> {
    /// Returns how a run ends of which only the restoring is left.
    pub(super) fn restoring(&self) -> Option<Ending> {
        let run = self.run();
        let outcome = run.head.restoring()?;
        // The failure of a step is in an event of the step.
        let failure = run.head.failure.clone().filter(|_| run.head.failed_step.is_none());
        Some(Ending { outcome, failure })
    }

    /// Restores what is not to outlast the run, and records its end.
    pub(super) async fn finish(&mut self, ending: Ending) -> Result<(), StoreError> {
        let ending = match self.restore(ending).await {
            Ok(ending) => ending,
            Err(stop_reason) => self.ending_of(stop_reason).await?,
        };
        self.end(ending).await
    }

    async fn restore(&mut self, ending: Ending) -> Result<Ending, StopReason> {
        let Ending { outcome, failure } = ending;
        let ends = match outcome {
            RunOutcome::Succeeded
            | RunOutcome::SucceededWithFailures
            | RunOutcome::Failed
            | RunOutcome::Cancelled => true,
            RunOutcome::Interrupted | RunOutcome::RolledBack | RunOutcome::RollbackFailed => false,
        };
        let is_left = self.is_left_to_restore();
        if !ends || !is_left {
            return Ok(Ending { outcome, failure });
        }
        let has_begun = self.run().head.restoring().is_some();
        if !has_begun {
            // From here on the run does not go forward, whatever becomes of this process.
            self.append(RunEvent::RunRestoring { outcome, failure: failure.clone() }).await?;
        }
        self.control = self.control.at_the_end();
        let failures = self.undo_steps(|step, _| step.is_some_and(is_restored)).await?;
        let outcome = match outcome {
            RunOutcome::Succeeded if failures > 0 => RunOutcome::SucceededWithFailures,
            outcome => outcome,
        };
        Ok(Ending { outcome, failure })
    }

    /// Whether something is to be undone when the run ends.
    pub(super) fn is_left_to_restore(&self) -> bool {
        let run = self.run();
        let mut left = run.rollback_order().into_iter();
        left.any(|recorded| self.checked.step(&recorded.path).is_some_and(is_restored))
    }
}

fn is_restored(step: &Step) -> bool {
    step.restore_at_end
}
