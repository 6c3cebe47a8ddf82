//! One step: attempts, each of which starts where the step's events left it.

use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{
    checked::early_failure,
    drive::Driver,
    failure,
    interruptible::{Interruption, OperationOutcome, StopReason, caught},
};
use crate::{
    actions::{self, ActionDef, ChangeOps, Operations, PlannedChange, Recovery},
    journal::{
        Event, Failure, FailureKind, RecordedChange, RecordedIntent, StepEvent, StepPath,
        StoreError,
    },
    lease,
    platform::{
        Error as PlatformError, ErrorKind as PlatformErrorKind, PlatformWriter, WriteFence,
    },
};
use clock::Backoff;
use runbook::{ActionKind, Retry, Step};

/// How often a step retries while another operation must finish first. EKS updates take tens of seconds.
const BUSY_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The time for removing what a step put on the platform for the time of its work. A person who pressed Ctrl-C waits
/// for it, and so does a service that shuts down.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an attempt failed.
pub(super) enum AttemptError {
    /// The action failed; it may be retried.
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

/// Whether a change is applied or undone; part of the client token.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    Apply,
    Undo,
}

impl Driver<'_> {
    /// Runs a step to its end. `later` are the steps after it.
    pub(super) async fn run_step(
        &mut self,
        step: &Step,
        path: &StepPath,
        later: &[Step],
    ) -> Result<(), StopReason> {
        if let Some(actor) = self.run_writer.run().skipped_by(path).map(str::to_owned) {
            self.clean_up(step, path, Phase::Apply).await?;
            let reason = match self.intent(path) {
                Some(_) => format!("skipped by {actor}; what it has changed stays"),
                None => format!("skipped by {actor}"),
            };
            let event = StepEvent::StepSkipped { name: step.name.clone(), reason };
            return Ok(self.append(Event::step(path, event)).await?);
        }
        let should_run = step.should_run(&self.scope);
        if let Ok(false) = should_run {
            let reason = match step.explain_when(&self.scope) {
                Some(condition) => format!("`when` is false: {condition}"),
                None => "`when` is false".into(),
            };
            let name = step.name.clone();
            let event = StepEvent::StepSkipped { name, reason };
            return Ok(self.append(Event::step(path, event)).await?);
        }
        let deadline = self.start_step(step, path).await?;
        should_run.map_err(|error| StopReason::StepFailed(failure::of_template(&error)))?;
        let action = action_of(step)?;
        if action.kind() == ActionKind::Change && self.intent(path).is_none() {
            self.evaluate_early(later)?;
        }
        loop {
            match self.attempt(step, path, action, deadline).await {
                Ok(()) => return Ok(()),
                Err(AttemptError::Stop(stop_reason)) => return Err(stop_reason),
                Err(AttemptError::Action(error)) => {
                    self.retry_or_fail(step, path, &error, deadline).await?;
                }
            }
        }
    }

    /// Evaluates, before the first change, what can be evaluated of the later steps: one that would fail whatever
    /// happens before it must not fail after something was changed.
    fn evaluate_early(&mut self, later: &[Step]) -> Result<(), StopReason> {
        if std::mem::replace(&mut self.has_evaluated_early, true) {
            return Ok(());
        }
        let run = self.run_writer.run();
        let is_run = |step: &&Step| run.skipped_by(&StepPath::top_level(&step.id)).is_none();
        match early_failure(later.iter().filter(is_run), &self.scope) {
            None => Ok(()),
            Some((step, failure)) => {
                let message =
                    format!("the later step '{}' would fail: {}", step.name, failure.message);
                self.has_refused_early = true;
                Err(StopReason::StepFailed(Failure { message, ..failure }))
            }
        }
    }

    /// Records that the step starts, or continues, and returns its deadline.
    async fn start_step(&mut self, step: &Step, path: &StepPath) -> Result<Instant, StoreError> {
        self.progress_channel.begin_step();
        let name = step.name.clone();
        let (event, elapsed) = match self.run_writer.run().step(path) {
            // What is done again has all its time again.
            Some(recorded) if recorded.has_ended() => {
                (StepEvent::StepResumed { name }, Duration::ZERO)
            }
            Some(recorded) => (StepEvent::StepResumed { name }, recorded.elapsed()),
            None => (StepEvent::StepStarted { name }, Duration::ZERO),
        };
        self.append(Event::step(path, event)).await?;
        let timeout = self.engine.clock.deadline(step.timeout.std());
        Ok(Instant::now() + timeout.saturating_sub(elapsed))
    }

    async fn attempt(
        &mut self,
        step: &Step,
        path: &StepPath,
        action: &ActionDef,
        deadline: Instant,
    ) -> Result<(), AttemptError> {
        let output = match &action.operations {
            Operations::Read(operation) | Operations::Wait(operation) => {
                let arguments = self.arguments(step)?;
                let reader = self.engine.platform.reader();
                let progress = self.progress_channel.progress();
                let operation = operation(arguments, &reader, &progress);
                self.run_operation(step, path, deadline, Interruption::Allowed, operation).await?
            }
            Operations::Change(operations) => {
                self.change(step, path, action, operations, deadline).await?
            }
        };
        self.complete(step, path, action, output).await?;
        Ok(())
    }

    /// prepare → `step_prepared` → apply → `step_applied` → settle, from where the events end.
    async fn change(
        &mut self,
        step: &Step,
        path: &StepPath,
        action: &ActionDef,
        operations: &ChangeOps,
        deadline: Instant,
    ) -> Result<Value, AttemptError> {
        let intent = match self.intent(path) {
            Some(intent) => intent.value.clone(),
            None => self.prepare(step, path, action, operations, deadline).await?,
        };
        let receipt = match self.run_writer.run().step(path).and_then(|s| s.receipt.clone()) {
            Some(receipt) => receipt,
            None => self.apply(step, path, operations, &intent, deadline).await?,
        };
        let reader = self.engine.platform.reader();
        let progress = self.progress_channel.progress();
        let settle = (operations.settle)(&intent, &receipt, &reader, &progress);
        self.run_operation(step, path, deadline, Interruption::Allowed, settle).await
    }

    async fn prepare(
        &mut self,
        step: &Step,
        path: &StepPath,
        action: &ActionDef,
        operations: &ChangeOps,
        deadline: Instant,
    ) -> Result<Value, AttemptError> {
        let arguments = self.arguments(step)?;
        let reader = self.engine.platform.reader();
        let progress = self.progress_channel.progress();
        // The operation borrows the driver's targets while the driver runs it.
        let known = std::mem::take(&mut self.known_targets);
        let prepare = (operations.prepare)(arguments, &known, &reader, &progress);
        let prepared =
            self.run_operation(step, path, deadline, Interruption::Allowed, prepare).await;
        self.known_targets = known;
        let intent = prepared?;
        let changes = (operations.planned_changes)(&intent).map_err(AttemptError::Action)?;
        if let Some(lease) = &self.lease {
            // Before the journal says so, so that no other run starts after a crash in between.
            lease.note_change().await.map_err(of_lease)?;
        }
        let event = StepEvent::StepPrepared {
            revision: action.revision,
            intent: intent.clone(),
            changes: changes.into_iter().map(to_journal_change).collect(),
        };
        self.append(Event::step(path, event)).await?;
        Ok(intent)
    }

    async fn apply(
        &mut self,
        step: &Step,
        path: &StepPath,
        operations: &ChangeOps,
        intent: &Value,
        deadline: Instant,
    ) -> Result<Value, AttemptError> {
        // The last moment at which nothing has been sent.
        if let Some(request) = self.control.stop_requested() {
            return Err(StopReason::StopRequested(request).into());
        }
        let generation = self.generation(path);
        let writer = self.writer(path, Phase::Apply);
        let apply = (operations.apply)(intent, &writer);
        let receipt =
            self.run_operation(step, path, deadline, Interruption::Forbidden, apply).await?;
        let event = StepEvent::StepApplied { generation, receipt: receipt.clone() };
        self.append(Event::step(path, event)).await?;
        Ok(receipt)
    }

    async fn complete(
        &mut self,
        step: &Step,
        path: &StepPath,
        action: &ActionDef,
        output: Value,
    ) -> Result<(), StoreError> {
        self.scope.insert(&step.id, &output);
        (action.add_known_targets)(&output, &mut self.known_targets);
        let message = match step.message(&self.scope) {
            Ok(message) => message,
            // What was done is done: a message that cannot be rendered does not undo it.
            Err(error) => Some(format!("(cannot render the step's `log` message: {error})")),
        };
        let event = StepEvent::StepCompleted { revision: action.revision, output, message };
        self.append(Event::step(path, event)).await
    }

    /// Lets a step that ends without success remove what it put on the platform for the time of its work. A failure is
    /// reported and changes nothing about how the step ends.
    pub(super) async fn clean_up(
        &mut self,
        step: &Step,
        path: &StepPath,
        phase: Phase,
    ) -> Result<(), StoreError> {
        let operations = actions::find(&step.action).map(|action| &action.operations);
        let (Some(Operations::Change(operations)), Some(intent)) = (operations, self.intent(path))
        else {
            return Ok(());
        };
        let intent = intent.value.clone();
        let writer = self.writer(path, phase);
        let clean_up = caught((operations.clean_up)(&intent, &writer));
        let problem = match tokio::time::timeout(CLEAN_UP_TIMEOUT, clean_up).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => failure::of_action(&error).to_string(),
            Err(_) => {
                format!("the platform did not answer within {} s", CLEAN_UP_TIMEOUT.as_secs())
            }
        };
        let message = format!("cannot clean up after the step: {problem}");
        self.append(Event::step(path, StepEvent::StepMessage { message })).await
    }

    /// Runs an operation of a step. When the step's time is up, the step has failed.
    pub(super) async fn run_operation<T>(
        &mut self,
        step: &Step,
        path: &StepPath,
        deadline: Instant,
        interruption: Interruption,
        operation: impl Future<Output = actions::Result<T>>,
    ) -> Result<T, AttemptError> {
        match self.run_interruptible(path, deadline, interruption, operation).await? {
            OperationOutcome::Finished(result) => result.map_err(AttemptError::Action),
            OperationOutcome::TimedOut(waiting_for) => {
                Err(StopReason::StepFailed(timed_out(step, waiting_for.as_deref())).into())
            }
        }
    }

    /// Waits until the step can be retried, or returns why it cannot.
    async fn retry_or_fail(
        &mut self,
        step: &Step,
        path: &StepPath,
        error: &actions::Error,
        deadline: Instant,
    ) -> Result<(), StopReason> {
        let failure = failure::of_action(error);
        match error.recovery() {
            Recovery::Fatal => {
                return Err(StopReason::StepFailed(self.with_conditions(step, failure)));
            }
            Recovery::WaitAndRetry => {
                let waited = self.wait_for_other(step, path, &failure, deadline).await;
                return waited.map_err(|reason| reason.unless_fenced(error));
            }
            Recovery::Resubmit => {
                let (generation, failure) = (self.generation(path), failure.clone());
                let event = StepEvent::StepOperationFailed { generation, failure };
                self.append(Event::step(path, event)).await?;
            }
            Recovery::Retry => {}
        }
        let attempt = 1 + self.run_writer.run().step(path).map_or(0, |s| s.failed_attempts);
        if attempt >= step.retry.attempts {
            return Err(StopReason::StepFailed(attempts_exhausted(failure, attempt)));
        }
        let pause = backoff_delay(step.retry, attempt);
        let scaled_delay = self.engine.clock.delay(pause);
        let event = StepEvent::StepAttemptFailed {
            attempt,
            failure: failure.clone(),
            retry_in_ms: u64::try_from(scaled_delay.as_millis()).unwrap_or(u64::MAX),
        };
        self.append(Event::step(path, event)).await?;
        self.pause_or_fail(step, &failure, pause, deadline).await
    }

    /// Waits while another operation must finish first: that costs time, but no attempts.
    pub(super) async fn wait_for_other(
        &mut self,
        step: &Step,
        path: &StepPath,
        reason: &Failure,
        deadline: Instant,
    ) -> Result<(), StopReason> {
        let progress = self.progress_channel.progress();
        progress.waiting(reason.message.as_str());
        self.run_interruptible(path, deadline, Interruption::Allowed, async { Ok(()) }).await?;
        self.pause_or_fail(step, reason, BUSY_POLL_INTERVAL, deadline).await
    }

    async fn pause_or_fail(
        &self,
        step: &Step,
        reason: &Failure,
        pause: Duration,
        deadline: Instant,
    ) -> Result<(), StopReason> {
        if self.pause(pause, deadline).await? {
            return Ok(());
        }
        Err(StopReason::StepFailed(timed_out(step, Some(&reason.message))))
    }

    /// Adds the conditions that were false to the failure of an action that reads nothing but its parameters: the
    /// message alone does not say which values were compared.
    fn with_conditions(&self, step: &Step, mut failure: Failure) -> Failure {
        let is_decided_by_parameters =
            actions::registry().get(&step.action).is_some_and(|action| !action.retries);
        if is_decided_by_parameters {
            for condition in step.explain_false_parameters(&self.scope) {
                failure.message = format!("{} ({condition})", failure.message);
            }
        }
        failure
    }

    fn arguments(&self, step: &Step) -> Result<Value, StopReason> {
        step.arguments(&self.scope)
            .map_err(|error| StopReason::StepFailed(failure::of_template(&error)))
    }

    fn intent(&self, path: &StepPath) -> Option<&RecordedIntent> {
        self.run_writer.run().step(path)?.intent.as_ref()
    }

    pub(super) fn generation(&self, path: &StepPath) -> u32 {
        self.run_writer.run().step(path).map_or(0, |recorded| recorded.generation)
    }

    /// Returns the writer for this step. Its client token is stable across retries of the same operation, including in
    /// a later process.
    pub(super) fn writer(&self, path: &StepPath, phase: Phase) -> PlatformWriter {
        let run = self.run_writer.run();
        // A person may give a run the name of an earlier one that was deleted.
        let (run, started) = (run.id(), run.head.started_at);
        let token = format!("{run}|{started}|{path}|{phase:?}|{}", self.generation(path));
        let hash = Sha256::digest(token.as_bytes());
        let text: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let fence = self.lease.as_ref().map(|lease| lease.fence().clone());
        self.engine.platform.writer(&text, &fence.unwrap_or_else(WriteFence::unlimited))
    }
}

/// Returns the error of a call for the lease.
fn of_lease(error: PlatformError) -> AttemptError {
    if error.kind() == PlatformErrorKind::Denied {
        let failure = failure::of_action(&error.into());
        let failure = Failure { hint: Some(lease::PERMISSION_HINT.into()), ..failure };
        return AttemptError::Stop(StopReason::StepFailed(failure));
    }
    AttemptError::Action(error.into())
}

/// Returns the action of a checked step.
pub(super) fn action_of(step: &Step) -> Result<&'static ActionDef, StopReason> {
    actions::find(&step.action).ok_or_else(|| {
        let message = format!("action {} not found", step.action);
        StopReason::StepFailed(Failure::new(FailureKind::Internal, message))
    })
}

fn to_journal_change(change: PlannedChange) -> RecordedChange {
    let PlannedChange { target, before, after } = change;
    RecordedChange { target, before, after }
}

fn timed_out(step: &Step, waiting_for: Option<&str>) -> Failure {
    let message = match waiting_for {
        Some(what) => format!("timed out after {}, waiting for {what}", step.timeout),
        None => format!("timed out after {}", step.timeout),
    };
    Failure::new(FailureKind::TimedOut, message)
}

fn attempts_exhausted(mut failure: Failure, attempts: u32) -> Failure {
    if attempts > 1 {
        failure.message = format!("{failure} (after {attempts} attempts)");
    }
    failure
}

/// The share of a delay that is taken off at random, so that clients that failed together do not retry together.
const RETRY_JITTER: f64 = 0.5;

/// The shortest delay between two attempts, whatever the runbook says.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Returns the delay before the attempt that follows `attempt`, which counts from 1.
pub(super) fn backoff_delay(retry: Retry, attempt: u32) -> Duration {
    let backoff = Backoff::new(retry.backoff.std(), retry.max_backoff.std());
    backoff.with_jitter(RETRY_JITTER).delay(attempt.saturating_sub(1)).max(MIN_RETRY_DELAY)
}
