//! The loop over the steps, and the one place from which a run's events are written while it is driven.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{
    AcceptedRun, CheckedRunbook, Control, Engine,
    checked::is_of_kind,
    cluster_lock::release,
    control::StopRequest,
    interruptible::{ProgressChannel, StopReason},
    step::Phase,
};
use crate::{
    actions::{self, KnownTargets},
    journal::{
        AfterFailure, Event, Failure, FailureKind, Run, RunEvent, RunId, RunOutcome, RunWriter,
        StepEvent, StepOutcome, StepPath, StepProgress, StoreError,
    },
    lease::HeldLease,
};
use runbook::{ActionKind, EvaluationScope, OnFailure, Runbook, Step};

/// A run being driven.
pub(super) struct Driver<'a> {
    pub(super) engine: &'a Engine,
    pub(super) run_writer: RunWriter,
    /// The lease of the cluster, where the run needs it.
    pub(super) lease: Option<HeldLease>,
    pub(super) control: Control,
    pub(super) scope: EvaluationScope,
    /// The targets that completed steps have read.
    pub(super) known_targets: KnownTargets,
    /// Whether later steps have been evaluated with what was known before the first change.
    pub(super) has_evaluated_early: bool,
    /// Whether one of them would fail.
    pub(super) has_refused_early: bool,
    pub(super) progress_channel: ProgressChannel,
}

/// How the steps ended.
enum ForwardOutcome {
    Completed,
    Stopped,
    RollBack,
}

impl Engine {
    /// Drives an accepted or resumed run until it stops, and returns it.
    ///
    /// # Errors
    /// The journal could not be written. The run is then interrupted: nothing was done that is not in the journal,
    /// and the run can be resumed when the journal can be written again.
    pub async fn drive(&self, accepted: AcceptedRun, control: Control) -> Result<Run, StoreError> {
        let AcceptedRun { writer: run_writer, checked, lease } = accepted;
        let control = match &lease {
            Some(lease) => control.with_lease(lease.lost().clone()),
            None => control,
        };
        let _requests = self.cancel_on_request(run_writer.run().id(), &control);
        let scope = EvaluationScope::new(run_writer.run().inputs());
        let progress_channel = ProgressChannel::new();
        let known_targets = KnownTargets::default();
        let mut driver = Driver {
            engine: self,
            run_writer,
            lease,
            control,
            scope,
            known_targets,
            has_evaluated_early: false,
            has_refused_early: false,
            progress_channel,
        };
        let ended = match driver.drive(&checked).await {
            Ok(()) => Ok(()),
            Err(StopReason::JournalError(error)) => Err(error),
            Err(StopReason::StopRequested(request)) => {
                driver.end_as_requested(request, &checked).await
            }
            Err(StopReason::StepFailed(failure)) => {
                driver.end(RunOutcome::Failed, Some(failure), &checked).await
            }
        };
        let run = driver.run_writer.into_run();
        release(driver.lease, Some(&run.head)).await;
        ended.map(|()| run)
    }

    /// Cancels a run when another process has recorded in the store that it is to be canceled; until the result is
    /// dropped.
    fn cancel_on_request(&self, run: &RunId, control: &Control) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        if self.store.shared().is_some() {
            let (store, run, control) = (Arc::clone(&self.store), run.clone(), control.clone());
            tasks.spawn(async move {
                if let Some(shared) = store.shared() {
                    control.cancel(&shared.wait_for_cancel(&run).await);
                }
            });
        }
        tasks
    }
}

impl Driver<'_> {
    async fn drive(&mut self, checked: &CheckedRunbook) -> Result<(), StopReason> {
        let runbook = checked.runbook();
        if !self.run_writer.run().head.is_rolling_back() {
            let outcome = match self.run_steps(runbook).await? {
                ForwardOutcome::Completed => Some(self.success_outcome()),
                ForwardOutcome::Stopped => Some(RunOutcome::Failed),
                ForwardOutcome::RollBack => None,
            };
            if let Some(outcome) = outcome {
                return Ok(self.end(outcome, None, checked).await?);
            }
        }
        let outcome = match self.roll_back(checked).await? {
            0 => RunOutcome::RolledBack,
            _ => RunOutcome::RollbackFailed,
        };
        Ok(self.end(outcome, None, checked).await?)
    }

    async fn run_steps(&mut self, runbook: &Runbook) -> Result<ForwardOutcome, StopReason> {
        let read_again = self.steps_to_read_again(runbook);
        // Without a change there was no lock: another run may have changed since what was read before.
        let has_been_alone = self.lease.as_ref().is_none_or(HeldLease::is_continued);
        let begins_again = !has_been_alone && !self.run_writer.run().head.has_changed;
        for (index, step) in runbook.steps.iter().enumerate() {
            let path = StepPath::top_level(&step.id);
            // Its old output is not given to later steps, whatever becomes of the new read.
            let is_skipped = self.run_writer.run().skipped_by(&path).is_some();
            let runs_again = read_again.contains(&step.id) || (begins_again && !is_skipped);
            if !runs_again && self.is_finished(step, &path) {
                continue;
            }
            if let Some(request) = self.control.stop_requested() {
                return Err(StopReason::StopRequested(request));
            }
            let Err(stop_reason) = self.run_step(step, &path, &runbook.steps[index + 1..]).await
            else {
                continue;
            };
            if !matches!(stop_reason, StopReason::JournalError(_)) {
                self.clean_up(step, &path, Phase::Apply).await?;
            }
            let StopReason::StepFailed(failure) = stop_reason else { return Err(stop_reason) };
            let (then, outcome) = match step.on_failure {
                // The step was not run: what fails is a later one.
                OnFailure::Continue if self.has_refused_early => {
                    (AfterFailure::Stop, Some(ForwardOutcome::Stopped))
                }
                OnFailure::Continue => (AfterFailure::Continue, None),
                OnFailure::Stop => (AfterFailure::Stop, Some(ForwardOutcome::Stopped)),
                OnFailure::Rollback => (AfterFailure::Rollback, Some(ForwardOutcome::RollBack)),
            };
            self.append(Event::step(&path, StepEvent::StepFailed { failure, then })).await?;
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
        }
        Ok(ForwardOutcome::Completed)
    }

    /// Returns the ids of the completed steps that a resumed run reads again: those that read directly before the step
    /// at which the run stopped. A person may have changed what they read, and the step would fail in the same way for
    /// ever. A step that has decided on its changes no longer depends on what was read.
    fn steps_to_read_again(&self, runbook: &Runbook) -> Vec<String> {
        let recorded = |step: &Step| self.run_writer.run().step(&StepPath::top_level(&step.id));
        let is_skipped = |step: &Step| {
            self.run_writer.run().skipped_by(&StepPath::top_level(&step.id)).is_some()
        };
        let has_stopped = |step: &Step| {
            let outcome = recorded(step).and_then(|recorded| recorded.outcome.as_ref());
            matches!(outcome, Some(StepOutcome::Failed { then: AfterFailure::Stop, .. }))
                && !is_skipped(step)
        };
        let Some(stopped) = runbook.steps.iter().position(has_stopped) else { return Vec::new() };
        if recorded(&runbook.steps[stopped]).is_some_and(|recorded| recorded.intent.is_some()) {
            return Vec::new();
        }
        let has_read = |step: &&Step| {
            is_of_kind(step, ActionKind::Read)
                && recorded(step).is_some_and(|recorded| recorded.output().is_some())
                && !is_skipped(step)
        };
        let before = runbook.steps[..stopped].iter().rev();
        before.take_while(has_read).map(|step| step.id.clone()).collect()
    }

    /// Whether a step's events say that it is over; its output, if it has one, is given to later steps.
    fn is_finished(&mut self, step: &Step, path: &StepPath) -> bool {
        let Some(recorded) = self.run_writer.run().step(path) else { return false };
        if let Some(output) = recorded.output() {
            self.scope.insert(&step.id, output);
            if let Some(action) = actions::find(&step.action) {
                (action.add_known_targets)(output, &mut self.known_targets);
            }
        }
        recorded.has_ended()
    }

    fn success_outcome(&self) -> RunOutcome {
        let has_failed = |step: &StepProgress| match &step.outcome {
            // One that stopped the run is over only where a changed runbook no longer has it.
            Some(StepOutcome::Failed { then, .. }) => *then == AfterFailure::Continue,
            // A person skipped it after it had begun to change something.
            Some(StepOutcome::Skipped { .. }) => step.intent.is_some(),
            _ => false,
        };
        if self.run_writer.run().steps().iter().any(has_failed) {
            RunOutcome::SucceededWithFailures
        } else {
            RunOutcome::Succeeded
        }
    }

    async fn end_as_requested(
        &mut self,
        request: StopRequest,
        checked: &CheckedRunbook,
    ) -> Result<(), StoreError> {
        let (outcome, message) = match request {
            StopRequest::Cancel(actor) => {
                self.record_cancel(&actor).await?;
                (RunOutcome::Cancelled, format!("cancelled by {actor}"))
            }
            StopRequest::ShutDown => {
                (RunOutcome::Interrupted, "the process was asked to shut down".to_owned())
            }
            StopRequest::LeaseLost => {
                let loss = self.lease.as_ref().and_then(|lease| lease.loss()).map(str::to_owned);
                let message = "the lease of the cluster could not be renewed";
                (RunOutcome::Interrupted, loss.unwrap_or_else(|| message.to_owned()))
            }
        };
        let failure = Failure::new(FailureKind::Interrupted, message);
        self.end(outcome, Some(failure), checked).await
    }

    /// Records a cancel request once, before acting on it, so that a crash cannot lose it.
    pub(super) async fn record_cancel(&mut self, actor: &str) -> Result<(), StoreError> {
        if self.run_writer.run().head.is_cancel_requested() {
            return Ok(());
        }
        self.append(RunEvent::RunCancelRequested { actor: actor.to_owned() }).await
    }

    /// `failure` is given where no event of a step says why.
    async fn end(
        &mut self,
        outcome: RunOutcome,
        failure: Option<Failure>,
        checked: &CheckedRunbook,
    ) -> Result<(), StoreError> {
        let differences = match outcome {
            RunOutcome::Succeeded | RunOutcome::SucceededWithFailures => None,
            // The process has little time left, and the run goes on by itself.
            RunOutcome::Interrupted => None,
            RunOutcome::Failed
            | RunOutcome::Cancelled
            | RunOutcome::RolledBack
            | RunOutcome::RollbackFailed => Some(self.differences(checked).await),
        };
        self.append(RunEvent::RunEnded { outcome, failure, differences }).await
    }

    /// Appends an event. When this fails, nothing that depends on the event may be done.
    pub(super) async fn append(&mut self, event: impl Into<Event>) -> Result<(), StoreError> {
        self.run_writer.append(self.engine.clock.now(), event).await
    }
}
