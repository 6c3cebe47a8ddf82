//! Errors as failures: the one place where an error of an action, a template or a start becomes journal data.

use super::StartError;
use crate::{
    actions,
    journal::{Failure, FailureKind, StoreError},
    lease::LeaseError,
    platform::{self, ErrorKind as PlatformErrorKind},
};

/// Returns the failure of a platform's call or of an action.
pub(super) fn of_action(error: &actions::Error) -> Failure {
    let kind = match error {
        actions::Error::Precondition { .. } | actions::Error::Conflict { .. } => {
            FailureKind::Precondition
        }
        actions::Error::Busy { .. } => FailureKind::Busy,
        actions::Error::OperationFailed { .. } => FailureKind::Invalid,
        actions::Error::Unrecoverable { .. } => FailureKind::Unrecoverable,
        actions::Error::Decode { .. } | actions::Error::Panicked { .. } => FailureKind::Internal,
        actions::Error::Platform(error) => return of_platform(error),
    };
    Failure::new(kind, error.to_string()).with_hint(error.hint())
}

fn of_platform(error: &platform::Error) -> Failure {
    let kind = match error.kind() {
        PlatformErrorKind::Transient => FailureKind::Transient,
        PlatformErrorKind::Busy | PlatformErrorKind::Fenced => FailureKind::Busy,
        PlatformErrorKind::Denied => FailureKind::Denied,
        PlatformErrorKind::NotFound => FailureKind::NotFound,
        PlatformErrorKind::Invalid => FailureKind::Invalid,
        PlatformErrorKind::Unreachable => FailureKind::Unreachable,
    };
    Failure {
        message: error.to_string(),
        call: error.call().map(str::to_owned),
        code: Some(error.code()).filter(|code| !code.is_empty()).map(str::to_owned),
        kind,
        hint: error.hint().map(str::to_owned),
    }
}

/// Returns the failure of a template.
pub(super) fn of_template(error: &runbook::EvaluationError) -> Failure {
    Failure::new(FailureKind::Template, error.to_string())
}

impl From<&StoreError> for Failure {
    fn from(error: &StoreError) -> Self {
        let kind = match error {
            StoreError::NotFound { .. } => FailureKind::RunNotFound,
            StoreError::Conflict { .. } => FailureKind::Conflict,
            StoreError::Locked { .. }
            | StoreError::Corrupt { .. }
            | StoreError::TooNew { .. }
            | StoreError::Cluster { .. }
            | StoreError::Unavailable { .. } => FailureKind::Store,
        };
        Self::new(kind, error.to_string()).with_hint(error.hint())
    }
}

impl From<&StartError> for Failure {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::Platform(error) => of_platform(error),
            StartError::Lease(LeaseError::Platform(platform)) => {
                of_platform(platform).with_hint(error.hint())
            }
            StartError::PreviewFailed { step, failure } => {
                Self { message: format!("{step}: {failure}"), ..(**failure).clone() }
            }
            StartError::Store(error) => error.into(),
            StartError::InvalidRunbook { .. } => {
                Self::new(FailureKind::InvalidRunbook, error.to_string())
            }
            StartError::DigestMismatch { .. } => {
                Self::new(FailureKind::Store, error.to_string()).with_hint(error.hint())
            }
            StartError::Amend(error) => {
                Self::new(error.kind(), error.to_string()).with_hint(error.hint())
            }
            StartError::NotPermitted(_) => {
                Self::new(FailureKind::Denied, error.to_string()).with_hint(error.hint())
            }
            StartError::Inputs(_) => {
                Self::new(FailureKind::InvalidInputs, error.to_string()).with_hint(error.hint())
            }
            StartError::Unfinished { .. }
            | StartError::Lease(
                LeaseError::Held { .. }
                | LeaseError::HeldByOther(_)
                | LeaseError::MayBeHeld { .. }
                | LeaseError::LockRemoved,
            )
            | StartError::AlreadyFinished { .. }
            | StartError::RevisionMismatch { .. }
            | StartError::TargetMismatch(_) => {
                Self::new(FailureKind::Conflict, error.to_string()).with_hint(error.hint())
            }
        }
    }
}
