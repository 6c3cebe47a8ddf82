//! A run in one JSON document: what `runs show`, `run --output json` and `GET /runs/{id}` return; and the short form
//! for lists, which needs no journal.

use std::collections::HashMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    ApprovalSummary, Failure, RecordedAmendment, RecordedChange, RecordedDifference, RecordedJson,
    Run, RunHead, RunId, RunState, RunTarget, StepOutcome, StepPath, StepProgress, StoreError,
    UndoStatus, text_diff,
};

/// A run in a list.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HeadSummary {
    /// The run's id.
    pub run: RunId,
    /// The runbook's name.
    pub runbook: String,
    /// SHA-256 of the runbook's text, in hexadecimal.
    pub digest: String,
    /// Its state.
    pub state: RunState,
    /// The message of `failure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why it stopped, where it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The step that failed, where it was a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_step: Option<StepPath>,
    /// The actor that asked for it.
    pub actor: String,
    /// When it was started.
    pub start_time: Timestamp,
    /// When it last stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// The cluster and account that it may touch.
    pub target: RunTarget,
    /// The steps that wait for approval.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_for_approval: Vec<StepPath>,
}

/// A run in a list whose journal cannot be read.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct UnreadableSummary {
    /// The run's id.
    pub run: RunId,
    /// `too_new` for a journal of a newer version, else `damaged`.
    pub state: &'static str,
    /// The message of the error.
    pub error: String,
    /// The remedy.
    pub hint: Option<String>,
}

/// A run with its steps.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunSummary {
    /// The summary that lists show.
    #[serde(flatten)]
    pub head: HeadSummary,
    /// Where the runbook's text came from: an absolute path, or `built in`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Why it was started outside the change windows, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside_window: Option<String>,
    /// Its inputs, defaults included.
    pub inputs: Map<String, Value>,
    /// The changes to the rest of it that persons made when they resumed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub amendments: Vec<AmendmentSummary>,
    /// The approvals that it waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalSummary>,
    /// The steps that have begun.
    pub steps: Vec<StepSummary>,
    /// The differences from its start, where it has ended and did not succeed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<RecordedDifference>,
}

/// A change of the rest of a run, for reading.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AmendmentSummary {
    /// When.
    pub time: Timestamp,
    /// The actor that asked for it.
    pub actor: String,
    /// The step from which the run continued, where a person named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<StepPath>,
    /// The steps that were not run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<StepPath>,
    /// The steps that were run again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<StepPath>,
    /// The runbook with which the run continued, where it was replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<RunbookChange>,
}

/// A runbook that replaced another.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunbookChange {
    /// Where the text came from: an absolute path, or `built in`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// SHA-256 of the text, in hexadecimal.
    pub digest: String,
    /// The difference from the text before, as a unified diff; empty unless it was added.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub diff: String,
}

/// A step, for reading.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StepSummary {
    /// Its address in the run.
    pub id: StepPath,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: StepState,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// The changes that the step decided on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<RecordedChange>,
    /// The output that later steps were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    pub output: Option<RecordedJson>,
    /// Why it failed, was skipped, or could not be undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same as data, where it failed or could not be undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// How many items the step runs for, if it runs for each of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_count: Option<usize>,
    /// The items that have begun. The output of each is in the output of the step, once that has ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<StepSummary>,
    /// The steps that have begun of the runbook that it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepSummary>,
    /// The targets that its undo did not restore.
    #[serde(rename = "left_alone", skip_serializing_if = "Vec::is_empty")]
    pub not_restored: Vec<String>,
}

/// The state of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// The step has begun and not ended.
    #[serde(rename = "begun")]
    Running,
    /// The step succeeded.
    Completed,
    /// The step was skipped.
    Skipped,
    /// The step failed.
    Failed,
    /// Its undo has begun and not ended.
    Undoing,
    /// The step was undone.
    Undone,
    /// Its undo failed.
    UndoFailed,
    /// The step succeeded, and its change was undone because the run ended.
    Restored,
}

impl StepState {
    /// Returns the name that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::UndoFailed => "undo_failed",
            Self::Restored => "restored",
        }
    }
}

impl HeadSummary {
    /// Summarizes a head; `is_live` says whether a process drives the run.
    pub fn of(head: &RunHead, is_live: bool) -> Self {
        Self {
            run: head.run.clone(),
            runbook: head.runbook.clone(),
            digest: head.digest.clone(),
            state: head.state(is_live),
            error: head.failure.as_ref().map(ToString::to_string),
            failure: head.failure.clone(),
            failed_step: head.failed_step.clone(),
            actor: head.requested_by.clone(),
            start_time: head.started_at,
            end_time: head.ended_at,
            target: head.target.clone(),
            waits_for_approval: head.open_approvals.iter().map(|open| open.step.clone()).collect(),
        }
    }
}

impl UnreadableSummary {
    /// Summarizes the reason why the journal of a run cannot be read.
    pub fn of(run: &RunId, error: &StoreError) -> Self {
        let state = match error {
            StoreError::TooNew { .. } => "too_new",
            _ => "damaged",
        };
        Self { run: run.clone(), state, error: error.to_string(), hint: error.hint() }
    }
}

impl RunSummary {
    /// Summarizes a run; `is_live` says whether a process drives it.
    pub fn of(run: &Run, is_live: bool) -> Self {
        Self {
            head: HeadSummary::of(&run.head, is_live),
            origin: run.origin().map(str::to_owned),
            outside_window: run.spec.outside_window.clone(),
            inputs: run.inputs().clone(),
            amendments: run.amendments().iter().map(amendment).collect(),
            approvals: run
                .open_approvals()
                .map(|(step, approval)| ApprovalSummary::of(step, approval))
                .collect(),
            steps: steps(run),
            differences: if is_live { Vec::new() } else { run.differences() },
        }
    }

    /// Adds the differences between the texts of the runbooks, for those who may read them.
    #[must_use]
    pub fn with_diffs(mut self, run: &Run) -> Self {
        let mut text = run.spec.text.as_str();
        for (summary, recorded) in self.amendments.iter_mut().zip(run.amendments()) {
            if let (Some(change), Some(replaced)) =
                (&mut summary.runbook, &recorded.amendment.runbook)
            {
                change.diff = text_diff(text, &replaced.text);
                text = &replaced.text;
            }
        }
        self
    }
}

fn amendment(recorded: &RecordedAmendment) -> AmendmentSummary {
    let RecordedAmendment { time, actor, amendment } = recorded;
    AmendmentSummary {
        time: *time,
        actor: actor.clone(),
        from: amendment.from.clone(),
        skip: amendment.skip.clone(),
        again: amendment.again.clone(),
        runbook: amendment.runbook.as_ref().map(|replaced| RunbookChange {
            origin: replaced.origin.clone(),
            digest: replaced.digest.clone(),
            diff: String::new(),
        }),
    }
}

/// Returns the steps, each with its items and the steps of a runbook that it calls.
fn steps(run: &Run) -> Vec<StepSummary> {
    let mut parts: HashMap<Option<StepPath>, Vec<&StepProgress>> = HashMap::new();
    for recorded in run.steps() {
        parts.entry(recorded.path.outer()).or_default().push(recorded);
    }
    summaries(&parts, None)
}

fn summaries(
    parts: &HashMap<Option<StepPath>, Vec<&StepProgress>>,
    of: Option<&StepPath>,
) -> Vec<StepSummary> {
    let parts_of = parts.get(&of.cloned()).into_iter().flatten();
    let with_parts = |recorded: &&StepProgress| {
        let mut summary = step(recorded);
        for mut part in summaries(parts, Some(&recorded.path)) {
            summary.state = with_undo(summary.state, part.state);
            if part.id.step_of_item().is_none() {
                summary.steps.push(part);
                continue;
            }
            if summary.output.is_some() {
                part.output = None;
            }
            summary.items.push(part);
        }
        summary
    };
    parts_of.map(with_parts).collect()
}

/// Returns the state of a step of which a part has this one: an undo of a part is one of the step.
fn with_undo(of_step: StepState, of_part: StepState) -> StepState {
    match (of_step, of_part) {
        (StepState::UndoFailed, _) | (_, StepState::UndoFailed) => StepState::UndoFailed,
        (StepState::Undoing, _) | (_, StepState::Undoing) => StepState::Undoing,
        // A call that has failed may have undone what it had changed.
        (StepState::Failed, _) => StepState::Failed,
        (_, StepState::Undone) => StepState::Undone,
        (of_step, _) => of_step,
    }
}

fn step(step: &StepProgress) -> StepSummary {
    let (state, error, failure) = state_of(step);
    let not_restored = match &step.undo {
        Some(UndoStatus::Finished(not_restored)) => not_restored.clone(),
        _ => Vec::new(),
    };
    StepSummary {
        id: step.path.clone(),
        name: step.name.clone(),
        state,
        start_time: step.started_at,
        end_time: step.ended_at,
        changes: step.intent.iter().flat_map(|intent| intent.changes.clone()).collect(),
        output: step.output().cloned(),
        error: error.or_else(|| failure.as_ref().map(ToString::to_string)),
        failure,
        item_count: step.item_count(),
        items: Vec::new(),
        steps: Vec::new(),
        not_restored,
    }
}

/// The latest state of a step: its undo, if there was one, comes after its end.
fn state_of(step: &StepProgress) -> (StepState, Option<String>, Option<Failure>) {
    match (&step.undo, &step.outcome) {
        (Some(UndoStatus::Started), _) => (StepState::Undoing, None, None),
        (Some(UndoStatus::Finished(_)), Some(StepOutcome::Completed { .. }))
            if step.is_restored() =>
        {
            (StepState::Restored, None, None)
        }
        (Some(UndoStatus::Finished(_)), _) => (StepState::Undone, None, None),
        (Some(UndoStatus::Failed(failure)), _) => {
            (StepState::UndoFailed, None, Some(failure.clone()))
        }
        (None, None) => (StepState::Running, None, None),
        (None, Some(StepOutcome::Completed { .. })) => (StepState::Completed, None, None),
        (None, Some(StepOutcome::Skipped { reason })) => {
            (StepState::Skipped, Some(reason.clone()), None)
        }
        (None, Some(StepOutcome::Failed { failure, .. })) => {
            (StepState::Failed, None, Some(failure.clone()))
        }
    }
}
