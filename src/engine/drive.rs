//! The loop over the steps, and the one place from which a run's events are written while it is driven.

use super::{
    Control, Engine,
    attend::{Halt, Notes},
    control::Asked,
    take_up::runbook_of,
};
use crate::journal::{AfterFailure, Ending, Event, Outcome, Recorder, State, StoreError};
use runbook::{EvaluationScope, OnFailure, Runbook, Step};

/// A run being driven.
pub(super) struct Driver<'a> {
    pub(super) engine: &'a Engine,
    pub(super) recorder: Recorder,
    pub(super) control: Control,
    pub(super) scope: EvaluationScope,
    pub(super) notes: Notes,
}

/// How the steps ended.
enum Forward {
    Done,
    Stopped { error: String },
    RollBack,
}

impl Engine {
    /// Drives an accepted or taken-up run until it stops, and says how.
    ///
    /// # Errors
    /// The journal could not be written. The run is then interrupted: nothing was done that is not in the journal,
    /// and it can be resumed when the journal can be written again.
    pub async fn drive(&self, recorder: Recorder, control: Control) -> Result<State, StoreError> {
        let inputs = &recorder.run().started.inputs;
        let scope = EvaluationScope::new(inputs);
        let mut driver = Driver { engine: self, scope, recorder, control, notes: Notes::new() };
        match driver.drive().await {
            Ok(state) => Ok(state),
            Err(Halt::Journal(error)) => Err(error),
            Err(Halt::Asked(asked)) => driver.end_as_asked(asked),
            Err(Halt::Failed(error)) => driver.end(Ending::Failed, Some(error)),
        }
    }
}

impl Driver<'_> {
    async fn drive(&mut self) -> Result<State, Halt> {
        let runbook =
            runbook_of(self.recorder.run()).map_err(|refusal| Halt::Failed(refusal.to_string()))?;
        if !self.recorder.run().is_rolling_back() {
            match self.take_steps(&runbook).await? {
                Forward::Done => return Ok(self.end(self.good_ending(), None)?),
                Forward::Stopped { error } => return Ok(self.end(Ending::Failed, Some(error))?),
                Forward::RollBack => {}
            }
        }
        let failures = self.roll_back(&runbook).await?;
        let ending = if failures.is_empty() { Ending::RolledBack } else { Ending::RollbackFailed };
        let error = self.why_rolled_back(&failures);
        Ok(self.end(ending, error)?)
    }

    async fn take_steps(&mut self, runbook: &Runbook) -> Result<Forward, Halt> {
        for step in &runbook.steps {
            if self.is_behind_us(step) {
                continue;
            }
            if let Some(asked) = self.control.asked() {
                return Err(Halt::Asked(asked));
            }
            let Err(halt) = self.take_step(step).await else { continue };
            let Halt::Failed(error) = halt else { return Err(halt) };
            self.fail(step, &error)?;
            match step.on_failure {
                OnFailure::Continue => {}
                OnFailure::Stop => return Ok(Forward::Stopped { error }),
                OnFailure::Rollback => return Ok(Forward::RollBack),
            }
        }
        Ok(Forward::Done)
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
    fn is_behind_us(&mut self, step: &Step) -> bool {
        let Some(so_far) = self.recorder.run().step(&step.id) else { return false };
        match &so_far.outcome {
            // A failure that ended the run is what a resume is for.
            None
            | Some(Outcome::Failed { then: AfterFailure::Stop | AfterFailure::Rollback, .. }) => {
                false
            }
            Some(Outcome::Completed { output, .. }) => {
                self.scope.insert(&step.id, output);
                true
            }
            Some(Outcome::Skipped { .. } | Outcome::Failed { .. }) => true,
        }
    }

    fn good_ending(&self) -> Ending {
        let has_failed =
            |step: &crate::journal::Step| matches!(step.outcome, Some(Outcome::Failed { .. }));
        if self.recorder.run().steps().iter().any(has_failed) {
            Ending::SucceededWithFailures
        } else {
            Ending::Succeeded
        }
    }

    /// The failure that led to the rollback, and whatever went wrong on the way back.
    fn why_rolled_back(&self, failures: &[String]) -> Option<String> {
        let cause = self.recorder.run().steps().iter().find_map(|step| match &step.outcome {
            Some(Outcome::Failed { then: AfterFailure::Continue, .. }) => None,
            Some(Outcome::Failed { error, .. }) => Some(format!("{}: {error}", step.name)),
            _ => None,
        });
        let all: Vec<String> = cause.into_iter().chain(failures.iter().cloned()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn end_as_asked(&mut self, asked: Asked) -> Result<State, StoreError> {
        match asked {
            Asked::Cancel(actor) => {
                self.note_cancel(&actor)?;
                self.end(Ending::Cancelled, Some(format!("cancelled by {actor}")))
            }
            Asked::ShutDown => {
                self.end(Ending::Interrupted, Some("its process was asked to go away".into()))
            }
        }
    }

    /// Writes down once that somebody asked the run to stop. It stands in the journal before anything else is done
    /// about it: a process that dies meanwhile must not be followed by one that goes on.
    pub(super) fn note_cancel(&mut self, actor: &str) -> Result<(), StoreError> {
        if self.recorder.run().is_cancel_requested() {
            return Ok(());
        }
        self.append(Event::CancelRequested { actor: actor.to_owned() })
    }

    fn end(&mut self, ending: Ending, error: Option<String>) -> Result<State, StoreError> {
        self.append(Event::RunEnded { ending, error })?;
        Ok(ending.into())
    }

    /// Writes an event. When this fails, nothing that depends on the event may be done.
    pub(super) fn append(&mut self, event: Event) -> Result<(), StoreError> {
        self.recorder.append(self.engine.clock.now(), event)
    }
}
