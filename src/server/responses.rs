//! The types of the JSON that the service answers with: what a handler returns is also what `/openapi.json` says.
//!
//! `/run`, `/status` and `/health` have the words and the members of the Go service first; everything else is added to
//! them. This file makes nothing: `views` does.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{
    journal::{
        ApprovalSummary, Failure, HeadSummary, RunId, RunState, StepPath, UnreadableSummary,
    },
    plan::Finding,
};

/// A run was started or resumed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Started {
    /// `started`.
    pub(super) status: &'static str,
    /// The same in words.
    pub(super) message: &'static str,
    /// When, to the second.
    pub(super) time: String,
    /// The run.
    pub(super) run: RunId,
    /// The runbook's name.
    pub(super) runbook: String,
    /// Warnings: facts that speak against the run and do not prevent it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<String>,
    /// A note about the text with which the run continues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// The state of a run, or of a service that has none.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "`status` is the word of the Go service")]
pub(super) struct Status {
    /// `Idle`, `Running`, `Success` or `Failed`, as in the Go service.
    pub(super) status: &'static str,
    /// When the run was started, to the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_time: Option<String>,
    /// When it last stopped, to the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_time: Option<String>,
    /// Its log lines.
    pub(super) logs: Vec<String>,
    /// The rest that is known of the run.
    #[serde(flatten)]
    pub(super) run: Option<RunStatus>,
    /// Whether a change window is open, where the service has windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) change_window: Option<ChangeWindow>,
}

/// The members of `/status` beside those of the Go service.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunStatus {
    /// The run.
    pub(super) run: RunId,
    /// The runbook's name.
    pub(super) runbook: String,
    /// SHA-256 of the runbook's text, in hexadecimal.
    pub(super) digest: String,
    /// The state of the run.
    pub(super) state: RunState,
    /// The approvals that it waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) approvals: Vec<ApprovalSummary>,
    /// Why it was started outside the change windows, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outside_window: Option<String>,
    /// Where the runbook's text came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<String>,
    /// A note that the service is about to resume an interrupted run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resuming: Option<String>,
    /// The same as data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recovery: Option<Recovery>,
    /// Why it did not succeed, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// The same as data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<Failure>,
    /// The step that failed, where it was a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failed_step: Option<StepPath>,
}

/// An interrupted run that the service is about to resume.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Recovery {
    /// Always true.
    pub(super) pending: bool,
    /// Why it could not be resumed so far.
    pub(super) reason: Option<String>,
}

/// The health of the process.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Health {
    /// `healthy`.
    pub(super) status: &'static str,
    /// Whether a change window is open, where the service has windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) change_window: Option<ChangeWindow>,
}

/// A service that could start a run now.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Ready {
    /// `ready`.
    pub(super) status: &'static str,
}

/// A change window.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum ChangeWindow {
    /// An open window.
    Open {
        /// True.
        open: bool,
        /// Until when; null for ever.
        until: Option<Timestamp>,
    },
    /// A closed window.
    Closed {
        /// False.
        open: bool,
        /// When the next one opens; null for never.
        opens: Option<Timestamp>,
    },
}

/// The names of the runbooks.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Runbooks {
    /// In the order of the alphabet.
    pub(super) runbooks: Vec<String>,
}

/// A page of runs, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunsPage {
    /// The runs.
    pub(super) runs: Vec<ListedRun>,
    /// The value of `continue` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) r#continue: Option<RunId>,
}

/// A run in a list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "almost every one is the large one")]
pub(super) enum ListedRun {
    /// A run that can be read.
    Readable(HeadSummary),
    /// A run whose journal cannot be read.
    Unreadable(UnreadableSummary),
}

/// The response to a request that was done.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// `cancelling` or `abandoned`.
    pub(super) status: &'static str,
    /// The run.
    pub(super) run: RunId,
}

/// An answer to an approval was taken.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AnswerTaken {
    /// `approved` or `rejected`; `recorded` where it waits for a process that drives the run.
    pub(super) status: &'static str,
    /// The run.
    pub(super) run: RunId,
    /// The step that asked.
    pub(super) step: StepPath,
    /// How many approvals are missing, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missing: Option<u32>,
}

/// A runbook without errors.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Valid {
    /// `valid`.
    pub(super) status: &'static str,
    /// The runbook's name.
    pub(super) runbook: String,
    /// How many steps it has.
    pub(super) steps: usize,
    /// Its warnings and notes.
    pub(super) diagnostics: Value,
}

/// A request that was refused, or that failed. `status` and `error` are those of the Go service; `type`, `title` and
/// `detail` are those of RFC 9457.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Refused {
    /// `error`, `busy` or `invalid`.
    status: String,
    /// The refusal or the failure, and its cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The same, in the answer of a target that is busy.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// A name of the kind of problem, as a URI.
    r#type: String,
    /// The kind of problem in words.
    title: String,
    /// The same as `error`.
    detail: String,
    /// The remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The failure as data.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    /// The run that is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunId>,
    /// Its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<RunState>,
    /// The choices, as requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<Vec<String>>,
    /// The faults of the runbook, with their places; or those of the inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostics: Option<Value>,
    /// The findings that speak against the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<Finding>>,
    /// The change window that is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    change_window: Option<ChangeWindow>,
}
