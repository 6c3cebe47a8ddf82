//! A run from its acceptance to its end, and the one place from which its events are written while it is driven.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLockReadGuard, atomic::AtomicBool};

use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::{
    AcceptedRun, CheckedRunbook, Control, Engine,
    block::{Block, ForwardOutcome},
    cluster_lock::release,
    control::StopRequest,
    interruptible::StopReason,
    lease_use::LeaseUse,
};
use crate::{
    actions::KnownTargets,
    journal::{
        AfterFailure, Event, Failure, FailureKind, Run, RunEvent, RunId, RunOutcome,
        SharedRunWriter, StepOutcome, StepProgress, StoreError,
    },
    lease::HeldLease,
    limits::KeptRemovals,
};
use runbook::EvaluationScope;
use text::hex;

/// A run being driven. Several items of a step share it.
pub(super) struct Driver<'a> {
    pub(super) engine: &'a Engine,
    pub(super) checked: CheckedRunbook,
    run_writer: SharedRunWriter,
    /// The lease of the cluster, where the run needs it.
    pub(super) lease: Option<HeldLease>,
    pub(super) control: Control,
    /// The parts of the run that need the lease now.
    pub(super) lease_use: tokio::sync::Mutex<LeaseUse>,
    /// The targets that completed steps have read.
    known_targets: Mutex<Arc<KnownTargets>>,
    /// Whether later steps have been evaluated with what was known before the first change.
    pub(super) has_evaluated_early: AtomicBool,
    /// Held by the step that is being compared with the limits of the runbook.
    pub(super) limits_turn: tokio::sync::Mutex<()>,
    /// The removals of steps that are at work at the same time, as far as a limit is about them.
    pub(super) kept_removals: Arc<KeptRemovals>,
}

/// How a run ends.
pub(super) struct Ending {
    pub(super) outcome: RunOutcome,
    /// Why, where no event of a step says it.
    pub(super) failure: Option<Failure>,
}

impl From<RunOutcome> for Ending {
    fn from(outcome: RunOutcome) -> Self {
        Self { outcome, failure: None }
    }
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
        let action_of = checked.action_of();
        self.observers.iter().for_each(|one| one.on_drive(run_writer.run(), &action_of));
        let mut driver = Driver {
            engine: self,
            checked,
            run_writer: run_writer.shared(),
            lease,
            control,
            lease_use: tokio::sync::Mutex::default(),
            known_targets: Mutex::default(),
            has_evaluated_early: AtomicBool::new(false),
            limits_turn: tokio::sync::Mutex::default(),
            kept_removals: Arc::default(),
        };
        let span = span_of(driver.run().id());
        let runbook = driver.run().head.runbook.clone();
        span.in_scope(|| tracing::info!(runbook, "driving the run"));
        let ended = driver.boxed_drive_to_end().instrument(span).await;
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

/// Returns the span in which a run is driven: each line of the log within it has the ids of the run and of its trace.
fn span_of(run: &RunId) -> tracing::Span {
    let trace = hex(&run.trace_id());
    tracing::info_span!("run", run = run.as_str(), trace)
}

impl Driver<'_> {
    /// Returns the run as it is now. Nothing can be appended while the result is held.
    pub(super) fn run(&self) -> RwLockReadGuard<'_, Run> {
        self.run_writer.run()
    }

    pub(super) fn lock_known_targets(&self) -> MutexGuard<'_, Arc<KnownTargets>> {
        // A holder that panics has added some targets, or none.
        self.known_targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the whole on the heap. It is a function of its own, so that what is large leaves the stack with it.
    fn boxed_drive_to_end(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.drive_to_end())
    }

    async fn drive_to_end(&mut self) -> Result<(), StoreError> {
        let ending = match self.drive().await {
            Ok(ending) => ending,
            Err(stop_reason) => self.ending_of(stop_reason).await?,
        };
        self.finish(ending).await
    }

    async fn drive(&self) -> Result<Ending, StopReason> {
        if let Some(ending) = self.restoring() {
            return Ok(ending);
        }
        let is_rolling_back = self.run().head.is_rolling_back();
        if !is_rolling_back {
            let scope = EvaluationScope::new(self.run().inputs());
            let runbook = self.checked.runbook();
            let mut block = Block { runbook, caller: None, scope };
            let outcome = match self.run_steps(&mut block).await? {
                ForwardOutcome::Completed => Some(self.success_outcome()),
                ForwardOutcome::Stopped | ForwardOutcome::Left(_) => Some(RunOutcome::Failed),
                ForwardOutcome::RollBack => None,
            };
            if let Some(outcome) = outcome {
                return Ok(outcome.into());
            }
        }
        let outcome = match self.undo_steps(|_, _| true).await? {
            0 => RunOutcome::RolledBack,
            _ => RunOutcome::RollbackFailed,
        };
        Ok(outcome.into())
    }

    fn success_outcome(&self) -> RunOutcome {
        let run = self.run();
        let has_failed = |step: &StepProgress| match &step.outcome {
            // One that stopped the run is over only where a changed runbook no longer has it.
            Some(StepOutcome::Failed { then, .. }) => *then == AfterFailure::Continue,
            // A person skipped it after it had begun to change something.
            Some(StepOutcome::Skipped { .. }) => run.has_decided(&step.path),
            _ => false,
        };
        if run.steps().iter().any(has_failed) {
            RunOutcome::SucceededWithFailures
        } else {
            RunOutcome::Succeeded
        }
    }

    /// Returns how a run ends whose steps were stopped.
    pub(super) async fn ending_of(&self, stop_reason: StopReason) -> Result<Ending, StoreError> {
        let request = match stop_reason {
            StopReason::JournalError(error) => return Err(error),
            StopReason::StepFailed(failure) => {
                return Ok(Ending { outcome: RunOutcome::Failed, failure: Some(failure) });
            }
            StopReason::StopRequested(request) => request,
        };
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
        Ok(Ending { outcome, failure: Some(Failure::new(FailureKind::Interrupted, message)) })
    }

    /// Records a cancel request once, before acting on it, so that a crash cannot lose it.
    pub(super) async fn record_cancel(&self, actor: &str) -> Result<(), StoreError> {
        if self.run().head.is_cancel_requested() {
            return Ok(());
        }
        self.append(RunEvent::RunCancelRequested { actor: actor.to_owned() }).await
    }

    /// Records that the run ends, and what it has left different.
    pub(super) async fn end(&self, ending: Ending) -> Result<(), StoreError> {
        let Ending { outcome, failure } = ending;
        let differences = match outcome {
            RunOutcome::Succeeded | RunOutcome::SucceededWithFailures => None,
            // The process has little time left, and the run goes on by itself.
            RunOutcome::Interrupted => None,
            RunOutcome::Failed
            | RunOutcome::Cancelled
            | RunOutcome::RolledBack
            | RunOutcome::RollbackFailed => Some(self.differences().await),
        };
        self.append(RunEvent::RunEnded { outcome, failure, differences }).await
    }

    /// Appends events of which the later ones follow from the first.
    pub(super) async fn append_all(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.run_writer.append_all(self.engine.clock.now(), events).await
    }

    /// Appends an event. When this fails, nothing that depends on the event may be done.
    pub(super) async fn append(&self, event: impl Into<Event>) -> Result<(), StoreError> {
        self.run_writer.append(self.engine.clock.now(), event).await
    }
}
