//! The errors of actions, and what each allows the engine to do about them.

use crate::platform;

/// The result of an action's operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why an action failed. `Display` is the message without the remedy, which is [`Error::hint`]; the engine
/// puts the step's name before the message.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A target has neither the value that this run found nor the one that it should have.
    #[error("{target} was changed by another client: expected {expected}, found {found}")]
    Conflict {
        /// The target.
        target: String,
        /// The value that this run left there.
        expected: String,
        /// The value that is there.
        found: String,
    },
    /// The action refuses to run. Nothing was changed.
    #[error("{message}")]
    Precondition {
        /// Why the action refuses.
        message: String,
        /// The remedy, where one is known.
        hint: Option<String>,
    },
    /// Another client's operation is in progress; this one can follow it.
    #[error("{message}")]
    Busy {
        /// The operation in progress.
        message: String,
        /// The remedy, where one is known.
        hint: Option<String>,
    },
    /// The operation that was sent has failed on the platform's side. It may be sent again.
    #[error("{message}")]
    OperationFailed {
        /// Which operation failed, and why.
        message: String,
        /// The remedy, where one is known.
        hint: Option<String>,
    },
    /// The condition that the action waits for can no longer hold.
    #[error("{message}")]
    Unrecoverable {
        /// Why the condition can no longer hold.
        message: String,
        /// The remedy, where one is known.
        hint: Option<String>,
    },
    /// A value does not have the action's type.
    #[error("{what} does not match the action's type: {source}")]
    Decode {
        /// Which value.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The action, or a library that it uses, has a defect.
    #[error("internal error: {message}")]
    Panicked {
        /// The message of the panic.
        message: String,
    },
    /// A call failed.
    #[error(transparent)]
    Platform(#[from] platform::Error),
}

/// The reactions that an error allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Another attempt, as often as the step allows.
    Retry,
    /// Another attempt for as long as the step has time: another client must finish first.
    WaitAndRetry,
    /// Sending the same intent again, as a new operation.
    Resubmit,
    /// Nothing that a program could do.
    Fatal,
}

impl Error {
    /// Returns an [`Error::Precondition`] without a hint.
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::Precondition { message: message.into(), hint: None }
    }

    /// Returns an [`Error::Busy`] without a hint.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::Busy { message: message.into(), hint: None }
    }

    /// Returns an [`Error::OperationFailed`] without a hint.
    pub fn operation_failed(message: impl Into<String>) -> Self {
        Self::OperationFailed { message: message.into(), hint: None }
    }

    /// Returns an [`Error::Unrecoverable`] without a hint.
    pub fn unrecoverable(message: impl Into<String>) -> Self {
        Self::Unrecoverable { message: message.into(), hint: None }
    }

    /// Returns the same error with a remedy. Variants that carry no message of their own are returned unchanged.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            Self::Precondition { hint, .. }
            | Self::Busy { hint, .. }
            | Self::OperationFailed { hint, .. }
            | Self::Unrecoverable { hint, .. } => *hint = Some(text.into()),
            Self::Conflict { .. }
            | Self::Decode { .. }
            | Self::Panicked { .. }
            | Self::Platform(_) => {}
        }
        self
    }

    /// Returns the remedy, where one is known. It is not part of the message.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Precondition { hint, .. }
            | Self::Busy { hint, .. }
            | Self::OperationFailed { hint, .. }
            | Self::Unrecoverable { hint, .. } => hint.as_deref(),
            Self::Platform(error) => error.hint(),
            Self::Panicked { .. } => Some("this is a defect of the program; its log has the place"),
            Self::Conflict { .. } | Self::Decode { .. } => None,
        }
    }

    /// Returns what the error allows.
    pub fn recovery(&self) -> Recovery {
        use platform::ErrorKind;
        match self {
            Self::Busy { .. } => Recovery::WaitAndRetry,
            Self::OperationFailed { .. } => Recovery::Resubmit,
            Self::Platform(error) => match error.kind() {
                ErrorKind::Transient | ErrorKind::Unreachable => Recovery::Retry,
                // The renewal of the hold goes on: this costs time, and no attempts.
                ErrorKind::Busy | ErrorKind::Fenced => Recovery::WaitAndRetry,
                ErrorKind::Denied | ErrorKind::NotFound | ErrorKind::Invalid => Recovery::Fatal,
            },
            Self::Conflict { .. }
            | Self::Precondition { .. }
            | Self::Unrecoverable { .. }
            | Self::Decode { .. }
            | Self::Panicked { .. } => Recovery::Fatal,
        }
    }
}

impl From<platform::wait::Error> for Error {
    fn from(error: platform::wait::Error) -> Self {
        match error {
            platform::wait::Error::ConditionFailed(failure) => {
                Self::Unrecoverable { message: failure.message, hint: failure.hint }
            }
            platform::wait::Error::Platform(error) => Self::Platform(error),
        }
    }
}
