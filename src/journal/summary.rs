//! A run in one JSON document: what `runs show`, `run --output json` and `GET /runs/{id}` give.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    RecordedChange, Run, RunId, RunState, RunTarget, StepOutcome, StepProgress, UndoStatus,
};

/// A run, for reading.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    /// Its name.
    pub run: RunId,
    /// The runbook's name.
    pub runbook: String,
    /// SHA-256 of the runbook's text.
    pub digest: String,
    /// Where it stands.
    pub state: RunState,
    /// Why it stopped, where it did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// When it began.
    #[serde(rename = "start_time")]
    pub started_at: Timestamp,
    /// When it last came to a stop.
    #[serde(rename = "end_time", skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Its inputs, defaults included.
    pub inputs: Map<String, Value>,
    /// What it may touch.
    pub target: RunTarget,
    /// The steps that have begun.
    pub steps: Vec<StepSummary>,
}

/// A step, for reading.
#[derive(Debug, Clone, Serialize)]
pub struct StepSummary {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// When it began.
    #[serde(rename = "start_time", skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(rename = "end_time", skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// What it decided to change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<RecordedChange>,
    /// What it gave to later steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why it failed, was left out, or could not be undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What its undo left as somebody else had made it.
    #[serde(rename = "left_alone", skip_serializing_if = "Vec::is_empty")]
    pub not_restored: Vec<String>,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It has begun and not ended.
    #[serde(rename = "begun")]
    Running,
    /// It ended well.
    Completed,
    /// It was left out.
    Skipped,
    /// It ended badly.
    Failed,
    /// Its undo has begun and not ended.
    Undoing,
    /// It was undone.
    Undone,
    /// Its undo failed.
    UndoFailed,
}

impl StepState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "begun",
            Self::Completed => "completed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::UndoFailed => "undo_failed",
        }
    }
}

impl RunSummary {
    /// The run as it stands; `is_live` says whether a process is at work on it.
    pub fn new(run: &Run, is_live: bool) -> Self {
        let spec = &run.spec;
        Self {
            run: run.id.clone(),
            runbook: spec.runbook.clone(),
            digest: spec.digest.clone(),
            state: run.state(is_live),
            error: run.error.clone(),
            actor: spec.actor.clone(),
            started_at: run.started_at,
            ended_at: run.ended_at,
            inputs: spec.inputs.clone(),
            target: spec.target.clone(),
            steps: run.steps().iter().map(step_summary).collect(),
        }
    }
}

fn step_summary(step: &StepProgress) -> StepSummary {
    let (state, error) = state_of(step);
    let not_restored = match &step.undo {
        Some(UndoStatus::Finished(not_restored)) => not_restored.clone(),
        _ => Vec::new(),
    };
    StepSummary {
        id: step.id.clone(),
        name: step.name.clone(),
        state,
        started_at: step.started_at,
        ended_at: step.ended_at,
        changes: step.intent.iter().flat_map(|intent| intent.changes.clone()).collect(),
        output: step.output().cloned(),
        error,
        not_restored,
    }
}

/// The latest word on a step: its undo, if there was one, comes after its end.
fn state_of(step: &StepProgress) -> (StepState, Option<String>) {
    match (&step.undo, &step.outcome) {
        (Some(UndoStatus::Started), _) => (StepState::Undoing, None),
        (Some(UndoStatus::Finished(_)), _) => (StepState::Undone, None),
        (Some(UndoStatus::Failed(error)), _) => (StepState::UndoFailed, Some(error.clone())),
        (None, None) => (StepState::Running, None),
        (None, Some(StepOutcome::Completed { .. })) => (StepState::Completed, None),
        (None, Some(StepOutcome::Skipped { reason })) => (StepState::Skipped, Some(reason.clone())),
        (None, Some(StepOutcome::Failed { error, .. })) => (StepState::Failed, Some(error.clone())),
    }
}
