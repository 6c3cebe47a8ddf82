//! Why a run was not started, resumed, rolled back or abandoned. Nothing has moved when one of these is returned.

use crate::{
    actions::PlatformError,
    journal::{RunId, RunState, StoreError, TargetMismatch},
};
use runbook::{Diagnostic, InputError, Source};

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The runbook has errors.
    #[error("runbook {} has {} it cannot run with", source_text.name(), count(findings.len(), "finding"))]
    Invalid {
        /// The runbook.
        source_text: Box<Source>,
        /// What is wrong with it.
        findings: Vec<Diagnostic>,
    },
    /// The inputs do not fit.
    #[error("{}", join(.0))]
    Inputs(Vec<InputError>),
    /// An earlier run holds the lock.
    #[error(
        "run {run} is {state}{}: {}", cause.as_ref().map(|c| format!(" ({c})")).unwrap_or_default(),
        next_actions(*state)
    )]
    Unfinished {
        /// The run that holds the lock.
        run: RunId,
        /// Its state.
        state: RunState,
        /// Why it is not finished.
        cause: Option<String>,
    },
    /// It is over.
    #[error("run {run} is {state}: only a run that is not finished can be {operation}")]
    AlreadyFinished {
        /// The run.
        run: RunId,
        /// Its state.
        state: RunState,
        /// What was asked for: resumed, rolled back, abandoned.
        operation: &'static str,
    },
    /// A newer program could not read what an older one wrote.
    #[error(
        "run {run} was written by version {version}, whose action {action} this version cannot continue: resume it with version {version}, or abandon it"
    )]
    RevisionMismatch {
        /// The run.
        run: RunId,
        /// The action.
        action: String,
        /// The version that wrote it.
        version: String,
    },
    /// It is not the cluster or account that the run began with.
    #[error("{0}; a run goes on only where it began")]
    TargetMismatch(#[from] TargetMismatch),
    /// The cluster or the account could not be asked who it is.
    #[error("{0}")]
    Platform(#[from] PlatformError),
    /// A step that only looks fails already now.
    #[error("{step}: {error}")]
    PreviewFailed {
        /// The step's name.
        step: String,
        /// Why.
        error: String,
    },
    /// The state folder.
    #[error("{0}")]
    Store(#[from] StoreError),
}

fn join(errors: &[InputError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// What can be done about a run that holds the lock.
fn next_actions(state: RunState) -> &'static str {
    if state.is_active() {
        return "wait for it to end, or cancel it";
    }
    "a new run would do again what it half did: resume it, roll it back or abandon it"
}
