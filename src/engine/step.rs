//! One step: attempts, each of which starts where the step's events say that it stands.

use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{
    attend::{Attended, Cut, Halt},
    drive::Driver,
};
use crate::{
    actions::{self, ActionDef, ChangeOps, Operations, PlannedChange, PlatformWriter, Recovery},
    journal::{self, Change, Event, Intent, StoreError},
};
use runbook::{Retry, Step};

/// How often a step looks again while somebody else must finish first. EKS updates take tens of seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// How an attempt can end badly.
pub(super) enum Trouble {
    /// The action failed; something may cure it.
    Action(actions::Error),
    /// The step ends here.
    Halt(Halt),
}

impl From<Halt> for Trouble {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Halt(Halt::Journal(error))
    }
}

/// Which way a change is sent; part of the client token.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    Apply,
    Undo,
}

impl Driver<'_> {
    /// Takes a step to its end.
    pub(super) async fn take_step(&mut self, step: &Step) -> Result<(), Halt> {
        let applies = step.should_run(&self.scope);
        if let Ok(false) = applies {
            return Ok(self.append(Event::StepSkipped {
                step: step.id.clone(),
                name: step.name.clone(),
                because: "its `when` is false".into(),
            })?);
        }
        let deadline = self.begin(step)?;
        applies.map_err(|error| Halt::Failed(error.to_string()))?;
        let entry = entry_of(step)?;
        loop {
            match self.attempt(step, entry, deadline).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Halt(halt)) => return Err(halt),
                Err(Trouble::Action(error)) => self.recover(step, &error, deadline).await?,
            }
        }
    }

    /// Says that the step begins, or goes on, and by when it must be done.
    fn begin(&mut self, step: &Step) -> Result<Instant, StoreError> {
        let (id, name) = (step.id.clone(), step.name.clone());
        let (event, spent) = match self.recorder.run().step(&step.id) {
            Some(so_far) => (Event::StepResumed { step: id, name }, so_far.spent()),
            None => (Event::StepStarted { step: id, name }, Duration::ZERO),
        };
        self.append(event)?;
        let whole = self.engine.clock.deadline(step.timeout.std());
        Ok(Instant::now() + whole.saturating_sub(spent))
    }

    async fn attempt(
        &mut self,
        step: &Step,
        entry: &ActionDef,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let output = match &entry.operations {
            Operations::Read(verb) | Operations::Wait(verb) => {
                let arguments = self.arguments(step)?;
                let reader = self.engine.platform.reader();
                let progress = self.notes.progress();
                self.verb(step, deadline, Cut::Allowed, verb(arguments, &reader, &progress)).await?
            }
            Operations::Change(verbs) => self.change(step, entry, verbs, deadline).await?,
        };
        self.complete(step, entry, output)?;
        Ok(())
    }

    /// prepare → `prepared` → apply → `applied` → settle, from wherever the events say.
    async fn change(
        &mut self,
        step: &Step,
        entry: &ActionDef,
        verbs: &ChangeOps,
        deadline: Instant,
    ) -> Result<Value, Trouble> {
        let intent = match self.intent(step) {
            Some(intent) => intent.value.clone(),
            None => self.prepare(step, entry, verbs, deadline).await?,
        };
        let receipt = match self.recorder.run().step(&step.id).and_then(|s| s.receipt.clone()) {
            Some(receipt) => receipt,
            None => self.apply(step, verbs, &intent, deadline).await?,
        };
        let reader = self.engine.platform.reader();
        let progress = self.notes.progress();
        let settle = (verbs.settle)(&intent, &receipt, &reader, &progress);
        self.verb(step, deadline, Cut::Allowed, settle).await
    }

    async fn prepare(
        &mut self,
        step: &Step,
        entry: &ActionDef,
        verbs: &ChangeOps,
        deadline: Instant,
    ) -> Result<Value, Trouble> {
        let arguments = self.arguments(step)?;
        let reader = self.engine.platform.reader();
        let progress = self.notes.progress();
        let prepare = (verbs.prepare)(arguments, &reader, &progress);
        let intent = self.verb(step, deadline, Cut::Allowed, prepare).await?;
        let changes = (verbs.planned_changes)(&intent).map_err(Trouble::Action)?;
        self.append(Event::Prepared {
            step: step.id.clone(),
            revision: entry.revision,
            intent: intent.clone(),
            changes: changes.into_iter().map(kept).collect(),
        })?;
        Ok(intent)
    }

    async fn apply(
        &mut self,
        step: &Step,
        verbs: &ChangeOps,
        intent: &Value,
        deadline: Instant,
    ) -> Result<Value, Trouble> {
        // The last moment at which nothing has been sent.
        if let Some(asked) = self.control.asked() {
            return Err(Halt::Asked(asked).into());
        }
        let generation = self.generation(step);
        let writer = self.writer(step, Way::Apply);
        let apply = (verbs.apply)(intent, &writer);
        let receipt = self.verb(step, deadline, Cut::Never, apply).await?;
        self.append(Event::Applied {
            step: step.id.clone(),
            generation,
            receipt: receipt.clone(),
        })?;
        Ok(receipt)
    }

    fn complete(
        &mut self,
        step: &Step,
        entry: &ActionDef,
        output: Value,
    ) -> Result<(), StoreError> {
        self.scope.insert(&step.id, &output);
        let message = match step.message(&self.scope) {
            Ok(message) => message,
            // What was done is done: a message that cannot be made does not undo it.
            Err(error) => Some(format!("(the step's log message cannot be made: {error})")),
        };
        self.append(Event::Completed {
            step: step.id.clone(),
            revision: entry.revision,
            output,
            message,
        })
    }

    /// Runs a verb of a step; its time being up is the step's failure.
    pub(super) async fn verb<T>(
        &mut self,
        step: &Step,
        deadline: Instant,
        cut: Cut,
        verb: impl Future<Output = actions::Result<T>>,
    ) -> Result<T, Trouble> {
        match self.attend(&step.id, deadline, cut, verb).await? {
            Attended::Ended(result) => result.map_err(Trouble::Action),
            Attended::LateBecause(waiting_for) => {
                Err(Halt::Failed(late(step, waiting_for.as_deref())).into())
            }
        }
    }

    /// Waits until the step can be tried again, or says that it cannot.
    async fn recover(
        &mut self,
        step: &Step,
        error: &actions::Error,
        deadline: Instant,
    ) -> Result<(), Halt> {
        let text = error.to_string();
        match error.recovery() {
            Recovery::Fatal => return Err(Halt::Failed(text)),
            Recovery::WaitAndRetry => return self.be_patient(step, &text, deadline).await,
            Recovery::Resubmit => {
                let generation = self.generation(step);
                let (step, error) = (step.id.clone(), text.clone());
                self.append(Event::OperationFailed { step, generation, error })?;
            }
            Recovery::Retry => {}
        }
        let attempt = 1 + self.recorder.run().step(&step.id).map_or(0, |s| s.failed_attempts);
        if attempt >= step.retry.attempts {
            return Err(Halt::Failed(given_up(&text, attempt)));
        }
        let pause = back_off(step.retry, attempt);
        let really = self.engine.clock.delay(pause);
        self.append(Event::AttemptFailed {
            step: step.id.clone(),
            attempt,
            error: text.clone(),
            retry_in_ms: u64::try_from(really.as_millis()).unwrap_or(u64::MAX),
        })?;
        self.pause_or_fail(step, &text, pause, deadline).await
    }

    /// Somebody else must finish first: that costs time, but no attempts.
    pub(super) async fn be_patient(
        &mut self,
        step: &Step,
        why: &str,
        deadline: Instant,
    ) -> Result<(), Halt> {
        let progress = self.notes.progress();
        progress.waiting(why);
        self.attend(&step.id, deadline, Cut::Allowed, async { Ok(()) }).await?;
        self.pause_or_fail(step, why, PATIENCE, deadline).await
    }

    async fn pause_or_fail(
        &self,
        step: &Step,
        why: &str,
        pause: Duration,
        deadline: Instant,
    ) -> Result<(), Halt> {
        if self.pause(pause, deadline).await? {
            return Ok(());
        }
        Err(Halt::Failed(late(step, Some(why))))
    }

    fn arguments(&self, step: &Step) -> Result<Value, Halt> {
        step.arguments(&self.scope).map_err(|error| Halt::Failed(error.to_string()))
    }

    fn intent(&self, step: &Step) -> Option<&Intent> {
        self.recorder.run().step(&step.id)?.intent.as_ref()
    }

    pub(super) fn generation(&self, step: &Step) -> u32 {
        self.recorder.run().step(&step.id).map_or(0, |so_far| so_far.generation)
    }

    /// The hands with which a step changes the world. The client token in them is the same for every repetition of
    /// the same sending, in this process or a later one, and another for every other.
    pub(super) fn writer(&self, step: &Step, way: Way) -> PlatformWriter {
        let run = &self.recorder.run().id;
        let token = format!("{run}|{}|{way:?}|{}", step.id, self.generation(step));
        let hash = Sha256::digest(token.as_bytes());
        let text: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        self.engine.platform.writer(&text)
    }
}

/// The action of a step that the checks let through.
pub(super) fn entry_of(step: &Step) -> Result<&'static ActionDef, Halt> {
    actions::find(&step.action)
        .ok_or_else(|| Halt::Failed(format!("there is no action {}", step.action)))
}

fn kept(diff: PlannedChange) -> Change {
    journal::Change { target: diff.target, before: diff.before, after: diff.after }
}

fn late(step: &Step, waiting_for: Option<&str>) -> String {
    match waiting_for {
        Some(what) => format!("timed out after {}, waiting for {what}", step.timeout),
        None => format!("timed out after {}", step.timeout),
    }
}

fn given_up(error: &str, attempts: u32) -> String {
    if attempts == 1 { error.to_owned() } else { format!("{error} (after {attempts} attempts)") }
}

/// Doubles with every attempt up to the longest, and takes a random half off, so that many clients do not come back
/// at the same instant.
pub(super) fn back_off(retry: Retry, attempt: u32) -> Duration {
    let doubled = retry.backoff.std().saturating_mul(1 << attempt.saturating_sub(1).min(20));
    doubled.min(retry.max_backoff.std()).mul_f64(0.5 + fastrand::f64() / 2.0)
}
