//! One step: attempts, each of which starts where the step's events say that it stands.

use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{
    drive::Driver,
    interruptible::{Interruption, OperationOutcome, StopReason},
};
use crate::{
    actions::{self, ActionDef, ChangeOps, Operations, PlannedChange, PlatformWriter, Recovery},
    journal::{self, Event, RecordedChange, RecordedIntent, StoreError},
};
use runbook::{Retry, Step};

/// How often a step looks again while somebody else must finish first. EKS updates take tens of seconds.
const BUSY_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// How an attempt can end badly.
pub(super) enum AttemptError {
    /// The action failed; something may cure it.
    Action(actions::Error),
    /// The step ends here.
    Stop(StopReason),
}

impl From<StopReason> for AttemptError {
    fn from(stop_reason: StopReason) -> Self {
        Self::Stop(stop_reason)
    }
}

impl From<StoreError> for AttemptError {
    fn from(error: StoreError) -> Self {
        Self::Stop(StopReason::JournalError(error))
    }
}

/// Which way a change is sent; part of the client token.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    Apply,
    Undo,
}

impl Driver<'_> {
    /// Takes a step to its end.
    pub(super) async fn run_step(&mut self, step: &Step) -> Result<(), StopReason> {
        let should_run = step.should_run(&self.scope);
        if let Ok(false) = should_run {
            return Ok(self.append(Event::StepSkipped {
                step: step.id.clone(),
                name: step.name.clone(),
                reason: "its `when` is false".into(),
            })?);
        }
        let deadline = self.start_step(step)?;
        should_run.map_err(|error| StopReason::StepFailed(error.to_string()))?;
        let action = action_of(step)?;
        loop {
            match self.attempt(step, action, deadline).await {
                Ok(()) => return Ok(()),
                Err(AttemptError::Stop(stop_reason)) => return Err(stop_reason),
                Err(AttemptError::Action(error)) => {
                    self.retry_or_fail(step, &error, deadline).await?
                }
            }
        }
    }

    /// Says that the step begins, or goes on, and by when it must be done.
    fn start_step(&mut self, step: &Step) -> Result<Instant, StoreError> {
        let (id, name) = (step.id.clone(), step.name.clone());
        let (event, elapsed) = match self.run_writer.run().step(&step.id) {
            Some(recorded) => (Event::StepResumed { step: id, name }, recorded.elapsed()),
            None => (Event::StepStarted { step: id, name }, Duration::ZERO),
        };
        self.append(event)?;
        let timeout = self.engine.clock.deadline(step.timeout.std());
        Ok(Instant::now() + timeout.saturating_sub(elapsed))
    }

    async fn attempt(
        &mut self,
        step: &Step,
        action: &ActionDef,
        deadline: Instant,
    ) -> Result<(), AttemptError> {
        let output = match &action.operations {
            Operations::Read(operation) | Operations::Wait(operation) => {
                let arguments = self.arguments(step)?;
                let reader = self.engine.platform.reader();
                let progress = self.progress_channel.progress();
                self.run_operation(
                    step,
                    deadline,
                    Interruption::Allowed,
                    operation(arguments, &reader, &progress),
                )
                .await?
            }
            Operations::Change(operations) => {
                self.change(step, action, operations, deadline).await?
            }
        };
        self.complete(step, action, output)?;
        Ok(())
    }

    /// prepare → `prepared` → apply → `applied` → settle, from wherever the events say.
    async fn change(
        &mut self,
        step: &Step,
        action: &ActionDef,
        operations: &ChangeOps,
        deadline: Instant,
    ) -> Result<Value, AttemptError> {
        let intent = match self.intent(step) {
            Some(intent) => intent.value.clone(),
            None => self.prepare(step, action, operations, deadline).await?,
        };
        let receipt = match self.run_writer.run().step(&step.id).and_then(|s| s.receipt.clone()) {
            Some(receipt) => receipt,
            None => self.apply(step, operations, &intent, deadline).await?,
        };
        let reader = self.engine.platform.reader();
        let progress = self.progress_channel.progress();
        let settle = (operations.settle)(&intent, &receipt, &reader, &progress);
        self.run_operation(step, deadline, Interruption::Allowed, settle).await
    }

    async fn prepare(
        &mut self,
        step: &Step,
        action: &ActionDef,
        operations: &ChangeOps,
        deadline: Instant,
    ) -> Result<Value, AttemptError> {
        let arguments = self.arguments(step)?;
        let reader = self.engine.platform.reader();
        let progress = self.progress_channel.progress();
        let prepare = (operations.prepare)(arguments, &reader, &progress);
        let intent = self.run_operation(step, deadline, Interruption::Allowed, prepare).await?;
        let changes = (operations.planned_changes)(&intent).map_err(AttemptError::Action)?;
        self.append(Event::StepPrepared {
            step: step.id.clone(),
            revision: action.revision,
            intent: intent.clone(),
            changes: changes.into_iter().map(to_journal_change).collect(),
        })?;
        Ok(intent)
    }

    async fn apply(
        &mut self,
        step: &Step,
        operations: &ChangeOps,
        intent: &Value,
        deadline: Instant,
    ) -> Result<Value, AttemptError> {
        // The last moment at which nothing has been sent.
        if let Some(request) = self.control.stop_requested() {
            return Err(StopReason::StopRequested(request).into());
        }
        let generation = self.generation(step);
        let writer = self.writer(step, Phase::Apply);
        let apply = (operations.apply)(intent, &writer);
        let receipt = self.run_operation(step, deadline, Interruption::Forbidden, apply).await?;
        self.append(Event::StepApplied {
            step: step.id.clone(),
            generation,
            receipt: receipt.clone(),
        })?;
        Ok(receipt)
    }

    fn complete(
        &mut self,
        step: &Step,
        action: &ActionDef,
        output: Value,
    ) -> Result<(), StoreError> {
        self.scope.insert(&step.id, &output);
        let message = match step.message(&self.scope) {
            Ok(message) => message,
            // What was done is done: a message that cannot be made does not undo it.
            Err(error) => Some(format!("(the step's log message cannot be made: {error})")),
        };
        self.append(Event::StepCompleted {
            step: step.id.clone(),
            revision: action.revision,
            output,
            message,
        })
    }

    /// Runs a verb of a step; its time being up is the step's failure.
    pub(super) async fn run_operation<T>(
        &mut self,
        step: &Step,
        deadline: Instant,
        interruption: Interruption,
        operation: impl Future<Output = actions::Result<T>>,
    ) -> Result<T, AttemptError> {
        match self.run_interruptible(&step.id, deadline, interruption, operation).await? {
            OperationOutcome::Finished(result) => result.map_err(AttemptError::Action),
            OperationOutcome::TimedOut(waiting_for) => {
                Err(StopReason::StepFailed(timeout_message(step, waiting_for.as_deref())).into())
            }
        }
    }

    /// Waits until the step can be tried again, or says that it cannot.
    async fn retry_or_fail(
        &mut self,
        step: &Step,
        error: &actions::Error,
        deadline: Instant,
    ) -> Result<(), StopReason> {
        let text = error.to_string();
        match error.recovery() {
            Recovery::Fatal => return Err(StopReason::StepFailed(text)),
            Recovery::WaitAndRetry => return self.wait_for_other(step, &text, deadline).await,
            Recovery::Resubmit => {
                let generation = self.generation(step);
                let (step, error) = (step.id.clone(), text.clone());
                self.append(Event::OperationFailed { step, generation, error })?;
            }
            Recovery::Retry => {}
        }
        let attempt = 1 + self.run_writer.run().step(&step.id).map_or(0, |s| s.failed_attempts);
        if attempt >= step.retry.attempts {
            return Err(StopReason::StepFailed(attempts_exhausted_message(&text, attempt)));
        }
        let pause = backoff_delay(step.retry, attempt);
        let scaled_delay = self.engine.clock.delay(pause);
        self.append(Event::AttemptFailed {
            step: step.id.clone(),
            attempt,
            error: text.clone(),
            retry_in_ms: u64::try_from(scaled_delay.as_millis()).unwrap_or(u64::MAX),
        })?;
        self.pause_or_fail(step, &text, pause, deadline).await
    }

    /// Somebody else must finish first: that costs time, but no attempts.
    pub(super) async fn wait_for_other(
        &mut self,
        step: &Step,
        why: &str,
        deadline: Instant,
    ) -> Result<(), StopReason> {
        let progress = self.progress_channel.progress();
        progress.waiting(why);
        self.run_interruptible(&step.id, deadline, Interruption::Allowed, async { Ok(()) }).await?;
        self.pause_or_fail(step, why, BUSY_POLL_INTERVAL, deadline).await
    }

    async fn pause_or_fail(
        &self,
        step: &Step,
        why: &str,
        pause: Duration,
        deadline: Instant,
    ) -> Result<(), StopReason> {
        if self.pause(pause, deadline).await? {
            return Ok(());
        }
        Err(StopReason::StepFailed(timeout_message(step, Some(why))))
    }

    fn arguments(&self, step: &Step) -> Result<Value, StopReason> {
        step.arguments(&self.scope).map_err(|error| StopReason::StepFailed(error.to_string()))
    }

    fn intent(&self, step: &Step) -> Option<&RecordedIntent> {
        self.run_writer.run().step(&step.id)?.intent.as_ref()
    }

    pub(super) fn generation(&self, step: &Step) -> u32 {
        self.run_writer.run().step(&step.id).map_or(0, |recorded| recorded.generation)
    }

    /// The hands with which a step changes the world. The client token in them is the same for every repetition of
    /// the same sending, in this process or a later one, and another for every other.
    pub(super) fn writer(&self, step: &Step, phase: Phase) -> PlatformWriter {
        let run = &self.run_writer.run().id;
        let token = format!("{run}|{}|{phase:?}|{}", step.id, self.generation(step));
        let hash = Sha256::digest(token.as_bytes());
        let text: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        self.engine.platform.writer(&text)
    }
}

/// The action of a step that the checks let through.
pub(super) fn action_of(step: &Step) -> Result<&'static ActionDef, StopReason> {
    actions::find(&step.action)
        .ok_or_else(|| StopReason::StepFailed(format!("there is no action {}", step.action)))
}

fn to_journal_change(diff: PlannedChange) -> RecordedChange {
    journal::RecordedChange { target: diff.target, before: diff.before, after: diff.after }
}

fn timeout_message(step: &Step, waiting_for: Option<&str>) -> String {
    match waiting_for {
        Some(what) => format!("timed out after {}, waiting for {what}", step.timeout),
        None => format!("timed out after {}", step.timeout),
    }
}

fn attempts_exhausted_message(error: &str, attempts: u32) -> String {
    if attempts == 1 { error.to_owned() } else { format!("{error} (after {attempts} attempts)") }
}

/// Doubles with every attempt up to the longest, and takes a random half off, so that many clients do not come back
/// at the same instant.
pub(super) fn backoff_delay(retry: Retry, attempt: u32) -> Duration {
    let doubled = retry.backoff.std().saturating_mul(1 << attempt.saturating_sub(1).min(20));
    doubled.min(retry.max_backoff.std()).mul_f64(0.5 + fastrand::f64() / 2.0)
}
