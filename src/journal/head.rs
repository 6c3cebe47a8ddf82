//! The head of a run: the little that listing, accepting and finding a run need, so that they need not read its
//! journal.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    AfterFailure, Event, Failure, Format, OpenApproval, RecordedEvent, ResumeMode, RunEvent, RunId,
    RunOutcome, RunState, RunTarget, StepEvent, StepPath,
};

/// The summary of a run that a store keeps beside its journal. It is a fold over the run's events, and is rebuilt from
/// them where it is missing or stale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHead {
    /// The run's id.
    pub run: RunId,
    /// The newest format of its events.
    pub format: Format,
    /// The version of the program that wrote to it last.
    pub version: String,
    /// The runbook's name.
    pub runbook: String,
    /// SHA-256 of the text of the runbook that it is to finish with, in hexadecimal.
    pub digest: String,
    /// The caller's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The actor that asked for the run.
    pub requested_by: String,
    /// The actor that started or resumed it last.
    pub actor: String,
    /// The cluster and account that the run may touch.
    pub target: RunTarget,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it last stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The time of its last event.
    pub last_event_at: Timestamp,
    /// How many events it has.
    pub events: u64,
    /// Why it stopped, where it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The step that failed, where it was a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_step: Option<StepPath>,
    /// Whether it may have changed something: a step had decided on its changes.
    #[serde(default)]
    pub has_changed: bool,
    /// The approvals that it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_approvals: Vec<OpenApproval>,
    /// The state while a process drives it.
    state: RunState,
    is_rolling_back: bool,
    is_cancel_requested: bool,
    /// How the run ends once its changes are undone that are not to outlast it; none for a run that has not come so
    /// far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restoring: Option<RunOutcome>,
}

impl RunHead {
    /// Returns the head of a run that has this first event; `None` when the event does not start a run.
    pub fn start(run: &RunId, first: &RecordedEvent) -> Option<Self> {
        let Event::Run(RunEvent::RunStarted(spec)) = &first.event else { return None };
        Some(Self {
            run: run.clone(),
            format: spec.format,
            version: spec.version.clone(),
            runbook: spec.runbook.clone(),
            digest: spec.digest.clone(),
            key: spec.key.clone(),
            requested_by: spec.actor.clone(),
            actor: spec.actor.clone(),
            target: spec.target.clone(),
            started_at: first.time,
            ended_at: None,
            last_event_at: first.time,
            events: 1,
            failure: None,
            failed_step: None,
            has_changed: false,
            open_approvals: Vec::new(),
            state: RunState::Running,
            is_rolling_back: false,
            is_cancel_requested: false,
            restoring: None,
        })
    }

    /// Folds a journal's events; `None` when the first of them does not start a run.
    pub fn of(run: &RunId, events: &[RecordedEvent]) -> Option<Self> {
        let (first, rest) = events.split_first()?;
        let mut head = Self::start(run, first)?;
        rest.iter().for_each(|event| head.apply(event));
        Some(head)
    }

    /// Returns the state; `is_live` says whether a process drives the run. A run whose process died after it was asked
    /// to stop counts as cancelled: only a person may resume it.
    pub fn state(&self, is_live: bool) -> RunState {
        match (self.state, is_live) {
            // No person is needed to bring it to its end.
            _ if self.restoring.is_some() && !is_live => RunState::Interrupted,
            (RunState::Running | RunState::RollingBack, false) if self.is_cancel_requested => {
                RunState::Cancelled
            }
            (RunState::Running | RunState::RollingBack, false) => RunState::Interrupted,
            (state, _) => state,
        }
    }

    /// Whether no other run may be started on the target: a process drives the run, or it is unfinished and has changed
    /// something, which the natural next run would do again.
    pub fn holds_lock(&self, is_live: bool) -> bool {
        let state = self.state(is_live);
        state.is_active() || (state.is_unfinished() && self.has_changed)
    }

    /// Whether nothing can be appended any more.
    pub fn is_final(&self) -> bool {
        self.state(false).is_over()
    }

    /// Whether the run was asked to stop since it was started or resumed.
    pub fn is_cancel_requested(&self) -> bool {
        self.is_cancel_requested
    }

    /// Whether the run is rolling back: a resume keeps undoing.
    pub fn is_rolling_back(&self) -> bool {
        self.is_rolling_back
    }

    /// Returns how the run ends, if only its changes that are not to outlast it are left to be undone.
    pub fn restoring(&self) -> Option<RunOutcome> {
        self.restoring
    }

    /// Folds one more event.
    pub fn apply(&mut self, recorded: &RecordedEvent) {
        match &recorded.event {
            Event::Run(event) => self.apply_run_event(event, recorded.time),
            Event::Step { path, event } => self.apply_step_event(path, event),
        }
        self.last_event_at = recorded.time;
        self.events += 1;
    }

    fn apply_run_event(&mut self, event: &RunEvent, time: Timestamp) {
        match event {
            RunEvent::RunStarted(_) => {}
            RunEvent::RunResumed { actor, version, format, mode, amendment } => {
                actor.clone_into(&mut self.actor);
                version.clone_into(&mut self.version);
                if let Some(runbook) = amendment.as_ref().and_then(|a| a.runbook.as_ref()) {
                    runbook.digest.clone_into(&mut self.digest);
                }
                self.format = self.format.max(*format);
                self.is_rolling_back |= *mode == ResumeMode::Rollback;
                if self.is_rolling_back {
                    self.restoring = None;
                }
                self.is_cancel_requested = false;
                self.state =
                    if self.is_rolling_back { RunState::RollingBack } else { RunState::Running };
                // A rollback keeps the failure that led to it; an undo that fails replaces it.
                if !self.is_rolling_back && self.restoring.is_none() {
                    self.failure = None;
                    self.failed_step = None;
                }
                self.ended_at = None;
            }
            RunEvent::RunCancelRequested { .. } => self.is_cancel_requested = true,
            RunEvent::RunRestoring { outcome, failure } => {
                self.restoring = Some(*outcome);
                self.state = RunState::Running;
                if failure.is_some() {
                    self.failure.clone_from(failure);
                    self.failed_step = None;
                }
            }
            RunEvent::RunEnded { outcome, failure, .. } => {
                self.state = (*outcome).into();
                self.ended_at = Some(time);
                if *outcome != RunOutcome::Interrupted {
                    self.restoring = None;
                    self.open_approvals.clear();
                }
                match outcome {
                    // A change that could not be undone at the end is still there.
                    RunOutcome::SucceededWithFailures if self.failure.is_some() => {}
                    RunOutcome::Succeeded | RunOutcome::SucceededWithFailures => {
                        self.failure = None;
                        self.failed_step = None;
                    }
                    // Format 0 repeats the failure of the step here.
                    RunOutcome::Failed | RunOutcome::RolledBack | RunOutcome::RollbackFailed
                        if self.failure.is_some() => {}
                    _ if failure.is_some() => {
                        self.failure.clone_from(failure);
                        self.failed_step = None;
                    }
                    _ => {}
                }
            }
            RunEvent::RunAbandoned { .. } => {
                self.state = RunState::Abandoned;
                self.restoring = None;
                self.ended_at = Some(time);
                self.open_approvals.clear();
            }
        }
    }

    fn apply_step_event(&mut self, path: &StepPath, event: &StepEvent) {
        self.note_approval(path, event);
        match event {
            StepEvent::StepFailed { failure, then } => {
                match then {
                    AfterFailure::Continue | AfterFailure::Leave => return,
                    // The end of the run follows. A crash before it must not make the run look resumable by itself.
                    AfterFailure::Stop => self.state = RunState::Failed,
                    AfterFailure::Rollback => {
                        self.is_rolling_back = true;
                        self.state = RunState::RollingBack;
                    }
                }
                self.fail(path, failure);
            }
            StepEvent::StepPrepared { .. } => self.has_changed = true,
            // Why the run has come to its end counts more.
            StepEvent::StepUndoFailed { .. }
                if self.restoring.is_some() && self.failure.is_some() => {}
            StepEvent::StepUndoFailed { failure } => self.fail(path, failure),
            _ => {}
        }
    }

    fn note_approval(&mut self, path: &StepPath, event: &StepEvent) {
        match event {
            StepEvent::StepApprovalRequested { expires_at, .. } => {
                self.open_approvals.retain(|open| open.step != *path);
                let (step, expires_at) = (path.clone(), *expires_at);
                self.open_approvals.push(OpenApproval { step, expires_at });
            }
            StepEvent::StepRejected { .. }
            | StepEvent::StepCompleted { .. }
            | StepEvent::StepFailed { .. }
            | StepEvent::StepSkipped { .. } => {
                self.open_approvals.retain(|open| !open.step.is_part_of(path));
            }
            _ => {}
        }
    }

    fn fail(&mut self, path: &StepPath, failure: &Failure) {
        self.failure = Some(failure.clone());
        self.failed_step = Some(path.clone());
    }
}
