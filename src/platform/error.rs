//! What went wrong with a call, in words for the person who must act on it, and in one word ([`ErrorKind`]) for the
//! engine that must decide whether to try again.
//!
//! `Display` tells the whole story (the call, the place, the answer, what to do about it): print an [`Error`] alone,
//! without its chain of sources, or the answer is said twice. The source is kept for logs and for tests.

use std::error::Error as StdError;
use std::fmt;

/// The error that a client library returned.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// What kind of failure it is. It decides who can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Throttled, a server's fault, a connection that broke, a call that took too long. It heals by itself; whether
    /// the call took effect may be unknown.
    Transient,
    /// Somebody else is at it: an update in progress, a write conflict, a disruption budget. It heals when they are
    /// done.
    Busy,
    /// No credentials, expired ones, or not allowed.
    Denied,
    /// The named thing does not exist.
    NotFound,
    /// The call itself, or the configuration, is wrong. It fails in the same way every time.
    Invalid,
    /// Nobody answers at all.
    Unreachable,
}

impl ErrorKind {
    /// Whether trying again later can succeed without a person's help.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Transient | Self::Busy | Self::Unreachable)
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
        })
    }
}

/// A failure to reach a platform, or a call that it did not grant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no way to the platform: no kubeconfig, an unknown context or profile, a broken file.
    #[error("{problem}")]
    Access {
        /// What is missing or wrong, and what to do.
        problem: Box<str>,
        /// Its class.
        kind: ErrorKind,
        /// The client library's own words.
        #[source]
        source: Option<BoxError>,
    },
    /// A call that failed.
    #[error("{call} ({server}): {message}")]
    Call {
        /// What was called and on what: `get node ip-10-0-0-1`, `eks:DescribeNodegroup rafay-cluster/relay`.
        call: Box<str>,
        /// Who was asked: an API server's address, or a service and its region.
        server: Box<str>,
        /// The platform's name for the failure: `Forbidden`, `ResourceInUseException`; empty when nobody answered.
        code: Box<str>,
        /// What came back.
        message: Box<str>,
        /// What the reader can do, where that is known.
        hint: Option<Box<str>>,
        /// Its class.
        kind: ErrorKind,
        /// The client library's error.
        #[source]
        source: BoxError,
    },
    /// A call that succeeded with an answer that lacks what the platform documents.
    #[error("{call} ({server}): {problem}")]
    InvalidResponse {
        /// What was called and on what.
        call: Box<str>,
        /// Who was asked.
        server: Box<str>,
        /// What is missing or strange.
        problem: Box<str>,
    },
}

impl Error {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Access { kind, .. } | Self::Call { kind, .. } => *kind,
            Self::InvalidResponse { .. } => ErrorKind::Invalid,
        }
    }

    /// Whether trying again later can succeed without a person's help.
    pub fn is_retryable(&self) -> bool {
        self.kind().is_retryable()
    }

    /// The platform's own name for the failure, such as `ResourceInUseException` or `Conflict`; empty if it gave none.
    pub fn code(&self) -> &str {
        match self {
            Self::Call { code, .. } => code,
            Self::Access { .. } | Self::InvalidResponse { .. } => "",
        }
    }

    /// Returns the remedy, where one is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Call { hint, .. } => hint.as_deref(),
            Self::Access { .. } | Self::InvalidResponse { .. } => None,
        }
    }

    /// Returns the call that failed, where it was one.
    pub fn call(&self) -> Option<&str> {
        match self {
            Self::Call { call, .. } | Self::InvalidResponse { call, .. } => Some(call),
            Self::Access { .. } => None,
        }
    }

    pub(super) fn access(problem: impl Into<Box<str>>, kind: ErrorKind) -> Self {
        Self::Access { problem: problem.into(), kind, source: None }
    }

    pub(super) fn access_from(
        problem: impl Into<Box<str>>,
        kind: ErrorKind,
        source: impl Into<BoxError>,
    ) -> Self {
        Self::Access { problem: problem.into(), kind, source: Some(source.into()) }
    }
}

/// The verdict on a failed call, before it is joined with the call's own name.
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

fn hint_suffix(hint: &Option<Box<str>>) -> String {
    match hint {
        Some(hint) => format!("; {hint}"),
        None => String::new(),
    }
}

/// An error and everything below it.
pub(super) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The innermost error's words: the ones that name the trouble, without the layers that passed it on.
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

/// The words of an error and of everything below it, each once.
pub(super) fn error_chain(error: &(dyn StdError + 'static)) -> String {
    let mut messages: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        if !messages.iter().any(|known| known.contains(&text)) {
            messages.push(text);
        }
    }
    messages.join(": ")
}
