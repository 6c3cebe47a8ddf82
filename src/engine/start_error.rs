//! Why a run was not started, resumed, rolled back or abandoned. Nothing was changed when one of these is returned.

use super::AmendError;
use crate::{
    journal::{Failure, RunId, RunState, RunTarget, StoreError, TargetMismatch},
    lease::LeaseError,
    permissions::{self, PermissionReport},
    platform::Error as PlatformError,
};
use runbook::{Diagnostic, InputError, Severity, Source};

/// Why nothing was done. `Display` is the message; [`hint`](Self::hint) is the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The runbook has errors.
    #[error("runbook {} has {}", source_text.name(), counts(diagnostics))]
    InvalidRunbook {
        /// The runbook.
        source_text: Box<Source>,
        /// The diagnostics, warnings included.
        diagnostics: Vec<Diagnostic>,
    },
    /// The inputs do not fit.
    #[error("{}", join(.0))]
    Inputs(Vec<InputError>),
    /// Another run holds the lock of the target.
    #[error("run {run} {} on {target}{}", describe(*state), cause.as_ref().map(|c| format!(" ({c})")).unwrap_or_default())]
    Unfinished {
        /// The run that holds the lock.
        run: RunId,
        /// Its state.
        state: RunState,
        /// The cluster and account that it may touch.
        target: Box<RunTarget>,
        /// Why it stopped.
        cause: Option<String>,
    },
    /// The run has finished.
    #[error("run {run} is {state}: only an unfinished run can be {operation}")]
    AlreadyFinished {
        /// The run.
        run: RunId,
        /// Its state.
        state: RunState,
        /// The requested operation: resumed, rolled back, abandoned.
        operation: &'static str,
    },
    /// Another revision of an action wrote to the run.
    #[error(
        "run {run} was written by version {version}, whose action {action} this version cannot continue"
    )]
    RevisionMismatch {
        /// The run.
        run: RunId,
        /// The action.
        action: String,
        /// The version that wrote it.
        version: String,
    },
    /// The journal of the run has been damaged or edited.
    #[error(
        "the runbook in the journal of run {run} does not have the digest that is recorded there"
    )]
    DigestMismatch {
        /// The run.
        run: RunId,
    },
    /// The rest of the run cannot be changed in the requested way.
    #[error(transparent)]
    Amend(#[from] AmendError),
    /// This is not the cluster or account that the run was started against.
    #[error(transparent)]
    TargetMismatch(#[from] TargetMismatch),
    /// Another run holds the cluster, whatever its store, or the lease of the cluster cannot be taken.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The cluster or the account could not be asked for its identity.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The account lacks permissions.
    #[error("the account lacks permissions: {}", describe_missing(.0))]
    NotPermitted(Box<PermissionReport>),
    /// A leading step that only reads fails before the run starts.
    #[error("{step}: {failure}")]
    PreviewFailed {
        /// The step's name.
        step: String,
        /// Why.
        failure: Box<Failure>,
    },
    /// The store of runs failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StartError {
    /// Returns whether the same start can succeed later without a person's help.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Platform(error) | Self::Lease(LeaseError::Platform(error)) => {
                error.is_retryable()
            }
            Self::Lease(LeaseError::MayBeHeld { .. }) => true,
            // A person adds the permission, and the run that this process is to continue must not be forgotten.
            Self::NotPermitted(_) => true,
            _ => false,
        }
    }

    /// Returns whether another process has the lease of the cluster, or may have it.
    pub fn is_about_lease(&self) -> bool {
        matches!(
            self,
            Self::Lease(
                LeaseError::Held { .. } | LeaseError::HeldByOther(_) | LeaseError::MayBeHeld { .. }
            )
        )
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unfinished { state, .. } if state.is_active() => {
                Some("wait for it to end, or cancel it".into())
            }
            Self::Unfinished { .. } => {
                Some("resume, roll back or abandon it before starting another".into())
            }
            Self::RevisionMismatch { version, .. } => {
                Some(format!("resume it with version {version}, or abandon it"))
            }
            Self::DigestMismatch { .. } => {
                Some("restore the journal from a copy, or abandon the run".into())
            }
            Self::Amend(error) => error.hint(),
            Self::Lease(error) => error.hint(),
            Self::TargetMismatch(_) => Some("a run continues only where it was started".into()),
            Self::Platform(error) => error.hint().map(str::to_owned),
            Self::NotPermitted(report) => {
                Some(format!("add {}", report.rules_to_add().join("; and ")))
            }
            Self::PreviewFailed { failure, .. } => failure.hint.clone(),
            Self::Store(error) => error.hint(),
            Self::Inputs(errors) => {
                let hints: Vec<String> = errors.iter().filter_map(InputError::hint).collect();
                (!hints.is_empty()).then(|| hints.join("; "))
            }
            Self::InvalidRunbook { .. } | Self::AlreadyFinished { .. } => None,
        }
    }
}

/// Returns what is missing, each with what needs it.
fn describe_missing(report: &PermissionReport) -> String {
    let missing = report.required().map(|missing| &missing.requirement);
    permissions::describe_all(missing).join("; ")
}

fn join(errors: &[InputError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Returns how many errors there are, and beside them how many warnings and notes, with which a runbook can be run.
fn counts(diagnostics: &[Diagnostic]) -> String {
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let others = [(Severity::Warning, "warning"), (Severity::Note, "note")];
    let others = others.map(|(severity, noun)| (count(severity), noun));
    let others = others.into_iter().filter(|(count, _)| *count > 0);
    let all = std::iter::once((count(Severity::Error), "error")).chain(others);
    let all: Vec<String> = all.map(|(count, noun)| text::plural(count, noun)).collect();
    all.join(", ")
}

fn describe(state: RunState) -> String {
    if state.is_active() {
        return format!("is {state}");
    }
    match state {
        RunState::Failed => "failed and is unfinished".into(),
        _ => format!("is {state} and unfinished"),
    }
}
