//! How an action can fail, and what may cure it.

use crate::platform;

/// What an action returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an action failed. Each text stands alone: the engine puts the step's name before it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A target is neither as we found it nor as it should be.
    #[error("{target} was changed by somebody else meanwhile: expected {expected}, found {found}")]
    Conflict {
        /// The target.
        target: String,
        /// What we left there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// It will not do it, and says why and what to do instead. Nothing was changed.
    #[error("{0}")]
    Precondition(String),
    /// Somebody else's operation is under way; ours can follow it.
    #[error("{0}")]
    Busy(String),
    /// What was sent has definitely failed on the platform's side. It may be sent again.
    #[error("{0}")]
    OperationFailed(String),
    /// What it waits for can no longer come.
    #[error("{0}")]
    Unrecoverable(String),
    /// A value does not fit the action's types.
    #[error("{what} does not fit the action: {source}")]
    Decode {
        /// Which value.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// A call failed.
    #[error(transparent)]
    Platform(#[from] platform::Error),
}

/// What may cure an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Trying again, as often as the step allows.
    Retry,
    /// Trying again for as long as the step has time: somebody else must finish first.
    WaitAndRetry,
    /// Sending the same intent again, as a new operation.
    Resubmit,
    /// Nothing that a program could do.
    Fatal,
}

impl Error {
    /// Returns the remedy, where one is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Platform(error) => error.hint(),
            _ => None,
        }
    }

    /// Returns the call that failed, where it was one.
    pub fn call(&self) -> Option<&str> {
        match self {
            Self::Platform(error) => error.call(),
            _ => None,
        }
    }

    /// Returns the platform's code, where it gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Platform(error) => Some(error.code()).filter(|code| !code.is_empty()),
            _ => None,
        }
    }

    /// What may cure it.
    pub fn recovery(&self) -> Recovery {
        use platform::ErrorKind;
        match self {
            Self::Busy(_) => Recovery::WaitAndRetry,
            Self::OperationFailed(_) => Recovery::Resubmit,
            Self::Platform(error) => match error.kind() {
                ErrorKind::Transient | ErrorKind::Unreachable => Recovery::Retry,
                ErrorKind::Busy => Recovery::WaitAndRetry,
                ErrorKind::Denied | ErrorKind::NotFound | ErrorKind::Invalid => Recovery::Fatal,
            },
            Self::Conflict { .. }
            | Self::Precondition(_)
            | Self::Unrecoverable(_)
            | Self::Decode { .. } => Recovery::Fatal,
        }
    }
}

impl From<platform::wait::Error> for Error {
    fn from(error: platform::wait::Error) -> Self {
        match error {
            platform::wait::Error::ConditionFailed(why) => Self::Unrecoverable(why),
            platform::wait::Error::Platform(error) => Self::Platform(error),
        }
    }
}
