//! The errors of platform calls: a message for people, and an [`ErrorKind`] that decides whether a retry can help.
//!
//! `Display` says what was called, where, and what came back; the remedy, where one is known, is [`Error::hint`].
//! Print an [`Error`] without its chain of sources, because the message already contains what the source says. The
//! source is kept for logs and tests.

use std::error::Error as StdError;
use std::fmt;

/// The error that a client library returned.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// The class of a failure. It decides what can resolve the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Throttling, a server error, a broken connection or a timeout. A retry can succeed; whether the call took
    /// effect may be unknown.
    Transient,
    /// Another client's operation is in the way: an update in progress, a write conflict, a disruption budget. A retry
    /// can succeed once that operation is done.
    Busy,
    /// Missing or expired credentials, or a missing permission.
    Denied,
    /// The named resource does not exist.
    NotFound,
    /// The call or the configuration is wrong. Every retry fails in the same way.
    Invalid,
    /// No server answers at the address.
    Unreachable,
    /// This process may not change the cluster now. It can once its hold on the cluster is renewed.
    Fenced,
}

impl ErrorKind {
    /// Returns whether a later retry can succeed without human help.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Transient | Self::Busy | Self::Unreachable | Self::Fenced)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transient => "transient",
            Self::Busy => "busy",
            Self::Denied => "denied",
            Self::NotFound => "not found",
            Self::Invalid => "invalid",
            Self::Unreachable => "unreachable",
            Self::Fenced => "fenced",
        })
    }
}

/// A failure to reach a platform, or a failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration names no usable platform: no kubeconfig, an unknown context or profile, an invalid file.
    #[error("{message}")]
    Access {
        /// The problem.
        message: Box<str>,
        /// The remedy, where one is known.
        hint: Option<Box<str>>,
        /// The class of the failure.
        kind: ErrorKind,
        /// The client library's error.
        #[source]
        source: Option<BoxError>,
    },
    /// A call that failed.
    #[error("{call} ({server}): {message}")]
    Call {
        /// The call and its target: `get node ip-10-0-0-1`, `eks:DescribeNodegroup rafay-cluster/relay`.
        call: Box<str>,
        /// The address of the API server, or the service and its region.
        server: Box<str>,
        /// The platform's name for the failure: `Forbidden`, `ResourceInUseException`; empty without an answer.
        code: Box<str>,
        /// The response.
        message: Box<str>,
        /// The remedy, where one is known.
        hint: Option<Box<str>>,
        /// The class of the failure.
        kind: ErrorKind,
        /// The client library's error.
        #[source]
        source: BoxError,
    },
    /// A call that succeeded with a response that lacks a field which the platform documents.
    #[error("{call} ({server}): {message}")]
    InvalidResponse {
        /// The call and its target.
        call: Box<str>,
        /// The server that answered.
        server: Box<str>,
        /// The problem.
        message: Box<str>,
    },
    /// A change that was not sent, or not sent to its end, because this process may no longer hold the cluster.
    #[error(
        "{call} ({server}): not sent, or not to its end, because the lease of the cluster could not be renewed"
    )]
    Fenced {
        /// The call and its target.
        call: Box<str>,
        /// The server that would have been called.
        server: Box<str>,
    },
    /// A removal that was not sent, because what was to be removed must be kept for now.
    #[error("{message}")]
    Held {
        /// Why.
        message: Box<str>,
        /// The remedy, where one is known.
        hint: Option<Box<str>>,
    },
}

impl Error {
    /// Returns the class of the failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Access { kind, .. } | Self::Call { kind, .. } => *kind,
            Self::InvalidResponse { .. } => ErrorKind::Invalid,
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::Held { .. } => ErrorKind::Busy,
        }
    }

    /// Returns whether a later retry can succeed without human help.
    pub fn is_retryable(&self) -> bool {
        self.kind().is_retryable()
    }

    /// Returns the platform's name for the failure, such as `ResourceInUseException` or `Conflict`; empty if the
    /// platform gave none.
    pub fn code(&self) -> &str {
        match self {
            Self::Call { code, .. } => code,
            Self::Access { .. }
            | Self::InvalidResponse { .. }
            | Self::Fenced { .. }
            | Self::Held { .. } => "",
        }
    }

    /// Returns the call that failed and its target; none if no call was made.
    pub fn call(&self) -> Option<&str> {
        match self {
            Self::Call { call, .. }
            | Self::InvalidResponse { call, .. }
            | Self::Fenced { call, .. } => Some(call),
            Self::Access { .. } | Self::Held { .. } => None,
        }
    }

    /// Returns the remedy, where one is known. It is not part of the message.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Access { hint, .. } | Self::Call { hint, .. } | Self::Held { hint, .. } => {
                hint.as_deref()
            }
            Self::InvalidResponse { .. } => None,
            Self::Fenced { .. } => {
                Some("the API server must answer, and no other process may have taken the lease")
            }
        }
    }

    pub(super) fn access(message: impl Into<Box<str>>, kind: ErrorKind) -> Self {
        Self::Access { message: message.into(), hint: None, kind, source: None }
    }

    pub(super) fn access_from(
        message: impl Into<Box<str>>,
        kind: ErrorKind,
        source: impl Into<BoxError>,
    ) -> Self {
        Self::Access { message: message.into(), hint: None, kind, source: Some(source.into()) }
    }

    /// Returns the same error with a remedy, where the variant has one.
    #[must_use]
    pub(super) fn with_hint(mut self, text: impl Into<Box<str>>) -> Self {
        if let Self::Access { hint, .. } | Self::Call { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }
}

/// The classification of a failed call, before it is joined with the call's name.
#[derive(Debug)]
pub(super) struct Classified {
    pub kind: ErrorKind,
    pub code: String,
    pub message: String,
    pub hint: Option<String>,
}

impl Classified {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, code: String::new(), message: message.into(), hint: None }
    }

    pub(super) fn code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn into_error(self, call: &str, server: &str, source: impl Into<BoxError>) -> Error {
        Error::Call {
            call: call.into(),
            server: server.into(),
            code: self.code.into(),
            message: self.message.into(),
            hint: self.hint.map(Into::into),
            kind: self.kind,
            source: source.into(),
        }
    }
}

/// Returns an error and everything below it.
pub(super) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Returns the innermost error's message, without those of the layers that passed the error on.
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

/// Returns the messages of an error and of everything below it, each once.
pub fn error_chain(error: &(dyn StdError + 'static)) -> String {
    let mut messages: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        if !messages.iter().any(|known| known.contains(&text)) {
            messages.push(text);
        }
    }
    messages.join(": ")
}
