//! One execution of an action, for a step or for one item of it: attempts, each of which starts where the events left
//! it.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tracing::Instrument as _;

use super::{
    deadline::Deadline,
    drive::Driver,
    failure,
    interruptible::{Interruption, OperationOutcome, ProgressChannel, StopReason, caught},
    step::log_message,
};
use crate::{
    actions::{self, ActionDef, ChangeOps, Operations, PlannedChange, Recovery},
    journal::{Event, Failure, FailureKind, RecordedChange, StepEvent, StepPath, StoreError},
    lease,
    platform::{
        Caller, Error as PlatformError, ErrorKind as PlatformErrorKind, PlatformWriter, WriteFence,
    },
};
use clock::Backoff;
use runbook::{EvaluationScope, Retry, Step};
use text::hex;

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

/// An action that is executed.
pub(super) struct ActionRun<'d> {
    pub(super) driver: &'d Driver<'d>,
    pub(super) step: &'d Step,
    pub(super) path: StepPath,
    /// When the time of the step is up.
    pub(super) deadline: Deadline,
    /// The names that the templates of the step can use.
    scope: EvaluationScope,
    pub(super) progress_channel: ProgressChannel,
    /// The reason for the last wait until another operation, or a limit, lets the step go on.
    held_by: Option<String>,
}

/// Returns the span of a step: each line of the log within it has the path of the step.
pub(super) fn span_of(path: &StepPath) -> tracing::Span {
    tracing::info_span!("step", step = %path)
}

impl Driver<'_> {
    /// Returns who makes the calls of a step.
    pub(super) fn caller(&self, path: &StepPath) -> Caller {
        let run = self.run().id().as_str().into();
        Caller { run, step: path.to_string().into() }
    }
}

impl<'d> ActionRun<'d> {
    pub(super) fn new(
        driver: &'d Driver<'d>,
        step: &'d Step,
        path: &StepPath,
        scope: EvaluationScope,
        deadline: Deadline,
    ) -> Self {
        let progress_channel = ProgressChannel::new();
        Self { driver, step, path: path.clone(), deadline, scope, progress_channel, held_by: None }
    }

    /// Executes the action to its end, and returns its output.
    pub(super) async fn run(&mut self, action: &ActionDef) -> Result<Value, StopReason> {
        if let Operations::Approval(_) = action.operations {
            return self.run_attempts(action).await;
        }
        self.driver.begin_work(&self.path).await?;
        let (caller, span) = (self.driver.caller(&self.path), span_of(&self.path));
        let result = caller.scope(self.attempts(action)).instrument(span).await;
        self.driver.end_work().await;
        result
    }

    /// Returns the attempts on the heap. It is a function of its own, so that what is large leaves the stack with it.
    fn attempts<'a>(
        &'a mut self,
        action: &'a ActionDef,
    ) -> BoxFuture<'a, Result<Value, StopReason>> {
        Box::pin(self.run_attempts(action))
    }

    async fn run_attempts(&mut self, action: &ActionDef) -> Result<Value, StopReason> {
        loop {
            match self.attempt(action).await {
                Ok(output) => return Ok(output),
                Err(AttemptError::Stop(stop_reason)) => return Err(stop_reason),
                Err(AttemptError::Action(error)) => self.retry_or_fail(&error).await?,
            }
        }
    }

    async fn attempt(&mut self, action: &ActionDef) -> Result<Value, AttemptError> {
        let output = match &action.operations {
            Operations::Read(operation) | Operations::Wait(operation) => {
                let arguments = self.arguments()?;
                let reader = self.driver.engine.platform.reader();
                let progress = self.progress_channel.progress();
                let operation = operation(arguments, &reader, &progress);
                self.run_operation(Interruption::Allowed, operation).await?
            }
            Operations::Change(operations) => self.change(action, operations).await?,
            Operations::Approval(operations) => self.approval(operations).await?,
        };
        self.complete(action, &output).await?;
        Ok(output)
    }

    /// prepare → `step_prepared` → apply → `step_applied` → settle, from where the events end.
    async fn change(
        &mut self,
        action: &ActionDef,
        operations: &ChangeOps,
    ) -> Result<Value, AttemptError> {
        let intent = match self.driver.intent(&self.path) {
            Some(intent) => intent,
            None => self.prepare(action, operations).await?,
        };
        let receipt = self.driver.run().step(&self.path).and_then(|s| s.receipt.clone());
        let receipt = match receipt {
            Some(receipt) => receipt,
            None => self.apply(operations, &intent).await?,
        };
        let reader = self.driver.engine.platform.reader();
        let progress = self.progress_channel.progress();
        let settle = (operations.settle)(&intent, &receipt, &reader, &progress);
        self.run_operation(Interruption::Allowed, settle).await
    }

    async fn prepare(
        &mut self,
        action: &ActionDef,
        operations: &ChangeOps,
    ) -> Result<Value, AttemptError> {
        let arguments = self.arguments()?;
        let reader = self.driver.engine.platform.reader();
        let progress = self.progress_channel.progress();
        let known = self.driver.known_targets();
        let prepare = (operations.prepare)(arguments, &known, &reader, &progress);
        let intent = self.run_operation(Interruption::Allowed, prepare).await?;
        let changes = (operations.planned_changes)(&intent).map_err(AttemptError::Action)?;
        let changes: Vec<RecordedChange> = changes.into_iter().map(to_journal_change).collect();
        self.ensure_approved(&changes)?;
        let impact = (operations.impact)(&intent).map_err(AttemptError::Action)?;
        // Until the journal has the intent, which the next step counts.
        let _turn = self.driver.take_limits_turn().await;
        self.ensure_within_limits(&impact).await?;
        if let Some(lease) = &self.driver.lease {
            // Before the journal says so, so that no other run starts after a crash in between.
            lease.note_change().await.map_err(of_lease)?;
        }
        let event =
            StepEvent::StepPrepared { revision: action.revision, intent: intent.clone(), changes };
        self.append(event).await?;
        Ok(intent)
    }

    /// Checks that the changes are those that a person has approved, where a plan was.
    fn ensure_approved(&self, changes: &[RecordedChange]) -> Result<(), StopReason> {
        let run = self.driver.run();
        let Some(plan) = &run.spec.consent.plan else { return Ok(()) };
        let differences = plan.differences(&self.path, changes);
        if differences.is_empty() {
            return Ok(());
        }
        let message = format!("not as in the approved plan: {}", differences.join("; "));
        let hint =
            "nothing of this step was sent; roll the run back, or abandon it, and plan another";
        let failure = Failure::new(FailureKind::Precondition, message).with_hint(Some(hint));
        Err(StopReason::StepFailed(failure))
    }

    async fn apply(
        &mut self,
        operations: &ChangeOps,
        intent: &Value,
    ) -> Result<Value, AttemptError> {
        // The last moment at which nothing has been sent.
        if let Some(request) = self.driver.control.stop_requested() {
            return Err(StopReason::StopRequested(request).into());
        }
        let generation = self.driver.generation(&self.path);
        let mut writer = self.driver.writer(&self.path, Phase::Apply);
        let guard = self.driver.removal_guard(&self.path, None).map_err(StopReason::from)?;
        if let Some(guard) = guard {
            writer = writer.guarded_by(guard);
        }
        let apply = (operations.apply)(intent, &writer);
        let receipt = self.run_operation(Interruption::Forbidden, apply).await?;
        let event = StepEvent::StepApplied { generation, receipt: receipt.clone() };
        self.append(event).await?;
        Ok(receipt)
    }

    async fn complete(&self, action: &ActionDef, output: &Value) -> Result<(), StoreError> {
        self.driver.add_known_targets(action, output);
        let message = log_message(self.step, &self.scope, output);
        let (revision, output) = (action.revision, output.into());
        self.append(StepEvent::StepCompleted { revision, output, message }).await
    }

    /// Runs an operation of the step. When the step's time is up, the step has failed.
    pub(super) async fn run_operation<T>(
        &mut self,
        interruption: Interruption,
        operation: impl Future<Output = actions::Result<T>>,
    ) -> Result<T, AttemptError> {
        match self.run_interruptible(interruption, operation).await? {
            OperationOutcome::Finished(result) => result.map_err(AttemptError::Action),
            OperationOutcome::TimedOut(waiting_for) => {
                // The time may be up while the state is read by which the step may go on.
                let waiting_for = waiting_for.or_else(|| self.held_by.clone());
                let failure = self.timed_out(waiting_for.as_deref());
                Err(StopReason::StepFailed(failure).into())
            }
        }
    }

    /// Waits until the step can be retried, or returns why it cannot.
    async fn retry_or_fail(&mut self, error: &actions::Error) -> Result<(), StopReason> {
        let failure = failure::of_action(error);
        match error.recovery() {
            Recovery::Fatal => {
                return Err(StopReason::StepFailed(self.with_conditions(failure)));
            }
            Recovery::WaitAndRetry => {
                let waited = self.wait_for_other(&failure).await;
                return waited.map_err(|reason| reason.unless_fenced(error));
            }
            Recovery::Resubmit => self.note_operation_failed(&failure).await?,
            Recovery::Retry => {}
        }
        let failed_attempts = self.driver.run().step(&self.path).map_or(0, |s| s.failed_attempts);
        let attempt = 1 + failed_attempts;
        if attempt >= self.step.retry.attempts {
            return Err(StopReason::StepFailed(attempts_exhausted(failure, attempt)));
        }
        let pause = backoff_delay(self.step.retry, attempt);
        let scaled_delay = self.driver.engine.clock.delay(pause);
        let event = StepEvent::StepAttemptFailed {
            attempt,
            failure: failure.clone(),
            retry_in_ms: u64::try_from(scaled_delay.as_millis()).unwrap_or(u64::MAX),
        };
        self.append(event).await?;
        self.pause_or_fail(&failure, pause).await
    }

    /// Records that the operation that was sent has failed: the same may be sent again.
    pub(super) async fn note_operation_failed(&self, failure: &Failure) -> Result<(), StoreError> {
        let (generation, failure) = (self.driver.generation(&self.path), failure.clone());
        self.append(StepEvent::StepOperationFailed { generation, failure }).await
    }

    /// Waits while another operation must finish first: that costs time, but no attempts.
    pub(super) async fn wait_for_other(&mut self, reason: &Failure) -> Result<(), StopReason> {
        self.held_by = Some(reason.message.clone());
        let progress = self.progress_channel.progress();
        progress.waiting(reason.message.as_str());
        self.run_interruptible(Interruption::Allowed, async { Ok(()) }).await?;
        self.pause_or_fail(reason, BUSY_POLL_INTERVAL).await
    }

    async fn pause_or_fail(&self, reason: &Failure, pause: Duration) -> Result<(), StopReason> {
        if self.pause(pause).await? {
            return Ok(());
        }
        Err(StopReason::StepFailed(self.timed_out(Some(&reason.message))))
    }

    pub(super) fn timed_out(&self, waiting_for: Option<&str>) -> Failure {
        self.deadline.passed(&self.path, waiting_for)
    }

    /// Adds the conditions that were false to the failure of an action that reads nothing but its parameters: the
    /// message alone does not say which values were compared.
    fn with_conditions(&self, mut failure: Failure) -> Failure {
        let is_decided_by_parameters =
            actions::registry().get(&self.step.action).is_some_and(|action| !action.retries);
        if is_decided_by_parameters {
            for condition in self.step.explain_false_parameters(&self.scope) {
                failure.message = format!("{} ({condition})", failure.message);
            }
        }
        failure
    }

    pub(super) fn arguments(&self) -> Result<Value, StopReason> {
        Ok(self.step.arguments(&self.scope)?)
    }

    /// Appends an event of the step.
    pub(super) async fn append(&self, event: StepEvent) -> Result<(), StoreError> {
        self.driver.append(Event::step(&self.path, event)).await
    }
}

impl Driver<'_> {
    /// Lets a step, or an item, that ends without success remove what it put on the platform for the time of its work.
    /// A failure is reported and changes nothing about how the step ends.
    pub(super) async fn clean_up(
        &self,
        step: &Step,
        path: &StepPath,
        phase: Phase,
    ) -> Result<(), StoreError> {
        let operations = actions::find(&step.action).map(|action| &action.operations);
        let (Some(Operations::Change(operations)), Some(intent)) = (operations, self.intent(path))
        else {
            return Ok(());
        };
        // Without the lease nothing can be sent, and the problem is reported.
        match self.begin_work(path).await {
            Ok(()) | Err(StopReason::StepFailed(_) | StopReason::StopRequested(_)) => {}
            Err(StopReason::JournalError(error)) => return Err(error),
        }
        let writer = self.writer(path, phase);
        let clean_up = caught((operations.clean_up)(&intent, &writer));
        let cleaned_up = tokio::time::timeout(CLEAN_UP_TIMEOUT, clean_up).await;
        self.end_work().await;
        let problem = match cleaned_up {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => failure::of_action(&error).to_string(),
            Err(_) => {
                format!("the platform did not answer within {} s", CLEAN_UP_TIMEOUT.as_secs())
            }
        };
        let message = format!("cannot clean up after the step: {problem}");
        self.append(Event::step(path, StepEvent::StepMessage { message })).await
    }

    /// Returns the intent of a step that has decided on its changes.
    pub(super) fn intent(&self, path: &StepPath) -> Option<Value> {
        Some(self.run().step(path)?.intent.as_ref()?.value.clone())
    }

    fn generation(&self, path: &StepPath) -> u32 {
        self.run().step(path).map_or(0, |recorded| recorded.generation)
    }

    /// Returns the writer for a step. Its client token is stable across retries of the same operation, including in a
    /// later process.
    pub(super) fn writer(&self, path: &StepPath, phase: Phase) -> PlatformWriter {
        let generation = self.generation(path);
        let token = {
            let run = self.run();
            // A person may give a run the name of an earlier one that was deleted.
            let (run, started) = (run.id(), run.head.started_at);
            format!("{run}|{started}|{path}|{phase:?}|{generation}")
        };
        let hash = Sha256::digest(token.as_bytes());
        let text = hex(&hash[..16]);
        let fence = self.lease.as_ref().map(|lease| lease.fence().clone());
        self.engine.platform.writer(&text, &fence.unwrap_or_else(WriteFence::unlimited))
    }

    /// Returns the targets that completed steps have read.
    fn known_targets(&self) -> Arc<actions::KnownTargets> {
        Arc::clone(&self.lock_known_targets())
    }

    /// Adds the targets that an output names.
    pub(super) fn add_known_targets(&self, action: &ActionDef, output: &Value) {
        (action.add_known_targets)(output, Arc::make_mut(&mut self.lock_known_targets()));
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

pub(super) fn to_journal_change(change: PlannedChange) -> RecordedChange {
    let PlannedChange { target, before, after } = change;
    RecordedChange { target, before, after }
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
