//! Resuming a run that stopped: forward, back, or not at all.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    AcceptedRun, AmendError, CheckedRunbook, Engine, ResumeRequest, StartError, VERSION,
    amend::amend,
    cluster_lock::{LockedRun, release},
};
use crate::{
    actions,
    journal::{
        Amendment, AuditLog, Format, Observers, ResumeMode, Run, RunEvent, RunId, RunStore,
        RunTarget, RunWriter, StepOutcome, StepProgress, StoreError,
    },
};

/// Everything that was found out before a run is resumed. Made once, by [`Engine::prepare_resume`].
pub struct ResumePreflight {
    pub(super) writer: RunWriter,
    pub(super) checked: CheckedRunbook,
    pub(super) mode: ResumeMode,
    pub(super) amendment: Option<Amendment>,
}

/// An unfinished run and the runbook with which it can continue, here and by this version, if the cluster and the
/// account are those of the run.
pub struct CheckedResume(ResumePreflight);

impl CheckedResume {
    /// Checks that a run can be resumed, as far as its journal says. This may take as long as the check of its runbook.
    ///
    /// # Errors
    /// The run has finished, was written by another revision of an action, or cannot be amended in the requested way.
    pub fn new(writer: RunWriter, request: ResumeRequest) -> Result<Self, StartError> {
        let mode = request.mode;
        let run = writer.run();
        let operation = match mode {
            ResumeMode::Continue => "resumed",
            ResumeMode::Rollback => "rolled back",
        };
        ensure_unfinished(run, operation)?;
        let (checked, amendment) = amend(run, request)?;
        ensure_same_revisions(run, &checked)?;
        let preflight = ResumePreflight { writer, checked, mode, amendment };
        preflight.evaluate_early()?;
        Ok(Self(preflight))
    }
}

impl ResumePreflight {
    /// Returns the run as it stopped.
    pub fn run(&self) -> &Run {
        self.writer.run()
    }

    /// Returns the runbook with which it continues.
    pub fn checked(&self) -> &CheckedRunbook {
        &self.checked
    }

    /// Whether the run rolls back.
    pub fn rolls_back(&self) -> bool {
        self.mode == ResumeMode::Rollback || self.run().head.is_rolling_back()
    }

    /// Returns where the text with which it continues came from, where that is known.
    pub fn origin(&self) -> Option<&str> {
        let replaced = self.amendment.as_ref().and_then(|amendment| amendment.runbook.as_ref());
        replaced.map_or_else(|| self.run().origin(), |runbook| runbook.origin.as_deref())
    }

    /// Returns the inputs with which it continues.
    pub(super) fn inputs(&self) -> &Map<String, Value> {
        let replaced = self.amendment.as_ref().and_then(|amendment| amendment.runbook.as_ref());
        replaced.map_or_else(|| self.run().inputs(), |runbook| &runbook.inputs)
    }

    /// Returns what is changed about the rest of the run.
    pub fn amendment(&self) -> Option<&Amendment> {
        self.amendment.as_ref()
    }
}

impl Engine {
    /// Checks that an unfinished run can be resumed, here and by this version. Changes nothing.
    ///
    /// # Errors
    /// It has finished, was written by another revision of an action, or was started against another cluster or
    /// account; or it cannot be amended in the requested way.
    pub async fn prepare_resume(
        &self,
        id: &RunId,
        request: impl Into<ResumeRequest>,
    ) -> Result<ResumePreflight, StartError> {
        let checked = CheckedResume::new(self.open(id).await?, request.into())?;
        self.prepare_checked_resume(checked).await
    }

    /// Reads a run to continue it.
    ///
    /// # Errors
    /// No such run, or its journal cannot be read.
    pub async fn open(&self, id: &RunId) -> Result<RunWriter, StoreError> {
        RunWriter::open(Arc::clone(&self.store), Arc::clone(&self.observers), id).await
    }

    /// Checks that the cluster and the account are those of a run. Changes nothing, and computes nothing that takes
    /// long.
    ///
    /// # Errors
    /// The run was started against others, or they cannot be asked.
    pub async fn prepare_checked_resume(
        &self,
        checked: CheckedResume,
    ) -> Result<ResumePreflight, StartError> {
        let CheckedResume(preflight) = checked;
        let here = self.identify(preflight.checked.runbook()).await?;
        let target = &preflight.run().spec.target;
        target.ensure_same(&here)?;
        // A run that had changed nothing held no lock.
        self.ensure_lock_is_free(target, Some(preflight.run().id())).await?;
        if preflight.amendment.is_some() {
            ensure_no_other_platform(target, &here)?;
        }
        self.ensure_permitted_to_continue(&preflight, &here).await?;
        Ok(preflight)
    }

    /// Resumes the run where its events left it.
    ///
    /// # Errors
    /// The store failed, or another process continued the run meanwhile.
    pub async fn resume(
        &self,
        preflight: ResumePreflight,
        actor: &str,
    ) -> Result<AcceptedRun, StartError> {
        self.resume_as(preflight, actor, false).await
    }

    /// Resumes the run where its events left it, without a person who has asked for it: not if the run has changed
    /// something and its lock was removed from the cluster, because others may have changed the same since.
    ///
    /// # Errors
    /// As [`resume`](Self::resume), and the lock of the run was removed.
    pub async fn resume_unattended(
        &self,
        preflight: ResumePreflight,
        actor: &str,
    ) -> Result<AcceptedRun, StartError> {
        self.resume_as(preflight, actor, true).await
    }

    async fn resume_as(
        &self,
        preflight: ResumePreflight,
        actor: &str,
        is_unattended: bool,
    ) -> Result<AcceptedRun, StartError> {
        let ResumePreflight { mut writer, checked, mode, amendment } = preflight;
        let run = writer.run();
        let has_changed = run.head.has_changed;
        let requires_lock = has_changed && is_unattended;
        let locked = LockedRun { id: run.id(), actor, has_changed, requires_lock };
        let lease = self.take_lease(checked.runbook(), &run.spec.target, locked).await?;
        if let Err(error) = self.ensure_left(writer.run(), lease.is_some(), is_unattended).await {
            release(lease, Some(&writer.run().head)).await;
            return Err(error);
        }
        let resumed = RunEvent::RunResumed {
            actor: actor.into(),
            version: VERSION.into(),
            format: Format::CURRENT,
            mode,
            amendment: amendment.map(Box::new),
        };
        if let Err(error) = writer.append(self.clock.now(), resumed).await {
            release(lease, Some(&writer.run().head)).await;
            return Err(error.into());
        }
        Ok(AcceptedRun { writer, checked, lease })
    }
}

impl Engine {
    /// Declares an unfinished run to be over, and tells the observers of this engine. The cluster is neither asked nor
    /// changed.
    ///
    /// # Errors
    /// As [`abandon`].
    pub async fn abandon(&self, id: &RunId, actor: &str) -> Result<(), StartError> {
        let (store, observers) = (Arc::clone(&self.store), Observers::clone(&self.observers));
        abandon_observed(store, observers, id, actor).await
    }

    /// Checks, in a store to which several processes write, that no other process drives a run. The holder of the lease
    /// of the cluster knows that. A person who continues a run does not want it to be canceled by an earlier request.
    async fn ensure_left(
        &self,
        run: &Run,
        has_lease: bool,
        is_unattended: bool,
    ) -> Result<(), StartError> {
        let Some(shared) = self.store.shared() else { return Ok(()) };
        let is_active = run.state(true).is_active();
        if is_active && !has_lease && self.store.is_live(run.id()).await {
            let (state, target) = (run.state(true), Box::new(run.spec.target.clone()));
            return Err(StartError::Unfinished {
                run: run.id().clone(),
                state,
                target,
                cause: None,
            });
        }
        if !is_unattended {
            shared.withdraw_cancel(run.id()).await?;
        }
        Ok(())
    }
}

/// Declares an unfinished run to be over. The cluster is neither asked nor changed.
///
/// # Errors
/// It has finished already, or its journal cannot be read or written.
pub async fn abandon(store: Arc<dyn RunStore>, id: &RunId, actor: &str) -> Result<(), StartError> {
    abandon_observed(store, Arc::new([Arc::new(AuditLog)]), id, actor).await
}

async fn abandon_observed(
    store: Arc<dyn RunStore>,
    observers: Observers,
    id: &RunId,
    actor: &str,
) -> Result<(), StartError> {
    let mut writer = RunWriter::open(store, observers, id).await?;
    ensure_unfinished(writer.run(), "abandoned")?;
    writer.append(Timestamp::now(), RunEvent::RunAbandoned { actor: actor.into() }).await?;
    Ok(())
}

/// Checks that a changed runbook stays within the lock of the run.
fn ensure_no_other_platform(held: &RunTarget, here: &RunTarget) -> Result<(), AmendError> {
    let platform = match (held, here) {
        (RunTarget { aws: None, .. }, RunTarget { aws: Some(_), .. }) => "AWS",
        (RunTarget { kubernetes: None, .. }, RunTarget { kubernetes: Some(_), .. }) => "Kubernetes",
        _ => return Ok(()),
    };
    Err(AmendError::OtherPlatform { platform })
}

fn ensure_unfinished(run: &Run, operation: &'static str) -> Result<(), StartError> {
    let state = run.state(false);
    if state.is_unfinished() {
        return Ok(());
    }
    Err(StartError::AlreadyFinished { run: run.id().clone(), state, operation })
}

fn ensure_same_revisions(run: &Run, checked: &CheckedRunbook) -> Result<(), StartError> {
    for recorded in run.steps() {
        let step = checked.step(&recorded.path);
        let Some(action) = step.and_then(|step| actions::find(&step.action)) else { continue };
        if revisions(recorded).any(|revision| revision != action.revision) {
            return Err(StartError::RevisionMismatch {
                run: run.id().clone(),
                action: action.name.to_owned(),
                version: run.spec.version.clone(),
            });
        }
    }
    Ok(())
}

/// Returns the revisions of everything that a step has left in the journal.
fn revisions(step: &StepProgress) -> impl Iterator<Item = u32> + '_ {
    let output = match &step.outcome {
        Some(StepOutcome::Completed { revision, .. }) => Some(*revision),
        _ => None,
    };
    step.intent.iter().map(|intent| intent.revision).chain(output)
}
