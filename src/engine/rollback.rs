//! The way back: what took effect is undone, the last step first. A failed undo does not stop the others.

use tokio::time::Instant;

use super::{
    attend::{Cut, Halt},
    drive::Driver,
    step::{Trouble, Way, back_off, entry_of},
};
use crate::{
    actions::{ChangeOps, Error, Operations, Recovery},
    journal::Event,
};
use runbook::{Runbook, Step};

impl Driver<'_> {
    /// Undoes every step that may have had an effect, and returns what could not be undone.
    pub(super) async fn roll_back(&mut self, runbook: &Runbook) -> Result<Vec<String>, Halt> {
        let mut failures = Vec::new();
        for step in runbook.steps.iter().rev() {
            if !self.recorder.run().step(&step.id).is_some_and(|s| s.may_need_undo()) {
                continue;
            }
            let Operations::Change(verbs) = &entry_of(step)?.operations else { continue };
            if let Some(asked) = self.control.asked() {
                return Err(Halt::Asked(asked));
            }
            self.append(Event::Undoing { step: step.id.clone() })?;
            match self.undo(step, verbs).await {
                Ok(left_alone) => {
                    self.append(Event::Undone { step: step.id.clone(), left_alone })?;
                }
                Err(Halt::Failed(error)) => {
                    failures.push(format!("could not undo {}: {error}", step.name));
                    self.append(Event::UndoFailed { step: step.id.clone(), error })?;
                }
                Err(halt) => return Err(halt),
            }
        }
        Ok(failures)
    }

    /// Undoes one step, trying as often as the step allows.
    async fn undo(&mut self, step: &Step, verbs: &ChangeOps) -> Result<Vec<String>, Halt> {
        let deadline = Instant::now() + self.engine.clock.deadline(step.timeout.std());
        let mut attempt = 0;
        loop {
            let error = match self.undo_once(step, verbs, deadline).await {
                Ok(left_alone) => return Ok(left_alone),
                Err(Trouble::Halt(halt)) => return Err(halt),
                Err(Trouble::Action(error)) => error,
            };
            let text = error.to_string();
            match error.recovery() {
                Recovery::WaitAndRetry => {
                    self.be_patient(step, &text, deadline).await?;
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
                Recovery::Fatal => return Err(Halt::Failed(text)),
                Recovery::Retry => {}
            }
            attempt += 1;
            if attempt >= step.retry.attempts {
                return Err(Halt::Failed(text));
            }
            let message = format!("{text}; trying again");
            self.append(Event::Said { step: step.id.clone(), message })?;
            if !self.pause(back_off(step.retry, attempt), deadline).await? {
                return Err(Halt::Failed(text));
            }
        }
    }

    /// An undo may be cut off: it converges when it is called again.
    async fn undo_once(
        &mut self,
        step: &Step,
        verbs: &ChangeOps,
        deadline: Instant,
    ) -> Result<Vec<String>, Trouble> {
        let so_far = self.recorder.run().step(&step.id);
        let Some(intent) = so_far.and_then(|s| s.intent.as_ref()).map(|i| i.value.clone()) else {
            return Ok(Vec::new());
        };
        let receipt = so_far.and_then(|s| s.receipt.clone());
        let writer = self.writer(step, Way::Undo);
        let progress = self.notes.progress();
        let undo = (verbs.undo)(&intent, receipt.as_ref(), &writer, &progress);
        self.verb(step, deadline, Cut::Allowed, undo).await
    }
}
