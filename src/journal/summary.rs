//! A run in one JSON document: what `runs show`, `run --output json` and `GET /runs/{id}` give.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Change, Outcome, Run, RunId, State, Step, Target, Undo};

/// A run, for reading.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Its name.
    pub run: RunId,
    /// The runbook's name.
    pub runbook: String,
    /// SHA-256 of the runbook's text.
    pub digest: String,
    /// Where it stands.
    pub state: State,
    /// Why it stopped, where it did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// When it began.
    pub start_time: Timestamp,
    /// When it last came to a stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// Its inputs, defaults included.
    pub inputs: Map<String, Value>,
    /// What it may touch.
    pub target: Target,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// What it decided to change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// What it gave to later steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why it failed, was left out, or could not be undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What its undo left as somebody else had made it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_alone: Vec<String>,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It has begun and not ended.
    Begun,
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
            Self::Begun => "begun",
            Self::Completed => "completed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::UndoFailed => "undo_failed",
        }
    }
}

impl Summary {
    /// The run as it stands; `is_live` says whether a process is at work on it.
    pub fn of(run: &Run, is_live: bool) -> Self {
        let started = &run.started;
        Self {
            run: run.id.clone(),
            runbook: started.runbook.clone(),
            digest: started.digest.clone(),
            state: run.state(is_live),
            error: run.error.clone(),
            actor: started.actor.clone(),
            start_time: run.began_at,
            end_time: run.ended_at,
            inputs: started.inputs.clone(),
            target: started.target.clone(),
            steps: run.steps().iter().map(step).collect(),
        }
    }
}

fn step(step: &Step) -> StepSummary {
    let (state, error) = state_of(step);
    let left_alone = match &step.undo {
        Some(Undo::Done(left_alone)) => left_alone.clone(),
        _ => Vec::new(),
    };
    StepSummary {
        id: step.id.clone(),
        name: step.name.clone(),
        state,
        start_time: step.began_at,
        end_time: step.ended_at,
        changes: step.intent.iter().flat_map(|intent| intent.changes.clone()).collect(),
        output: step.output().cloned(),
        error,
        left_alone,
    }
}

/// The latest word on a step: its undo, if there was one, comes after its end.
fn state_of(step: &Step) -> (StepState, Option<String>) {
    match (&step.undo, &step.outcome) {
        (Some(Undo::Started), _) => (StepState::Undoing, None),
        (Some(Undo::Done(_)), _) => (StepState::Undone, None),
        (Some(Undo::Failed(error)), _) => (StepState::UndoFailed, Some(error.clone())),
        (None, None) => (StepState::Begun, None),
        (None, Some(Outcome::Completed { .. })) => (StepState::Completed, None),
        (None, Some(Outcome::Skipped { because })) => (StepState::Skipped, Some(because.clone())),
        (None, Some(Outcome::Failed { error, .. })) => (StepState::Failed, Some(error.clone())),
    }
}
