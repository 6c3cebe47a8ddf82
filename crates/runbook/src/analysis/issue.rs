//! What can be wrong with a literal parameter.

use std::ops::Range;
use std::sync::Arc;

use super::super::types::{RecordType, Type};

/// A literal that cannot be right.
#[derive(Debug, Clone)]
pub(crate) struct ArgumentIssue {
    pub(crate) span: Range<usize>,
    pub(crate) kind: ArgumentIssueKind,
}

/// What is wrong with a literal.
#[derive(Debug, Clone)]
pub(crate) enum ArgumentIssueKind {
    UnknownParameter {
        name: String,
        owner: ParameterOwner,
        names: Arc<[String]>,
    },
    MissingParameter {
        name: String,
        ty: Type,
        owner: ParameterOwner,
    },
    TypeMismatch {
        path: String,
        wanted: Type,
        found: String,
    },
    OutOfRange {
        path: String,
        limits: String,
        found: String,
    },
    InvalidFormat {
        path: String,
        form: String,
        found: String,
    },
    InvalidEnumValue {
        path: String,
        found: String,
        values: Vec<String>,
    },
    /// None, or more than one, of a group; with the place of the first that is given.
    ExactlyOneOf {
        group: Vec<String>,
        first: Option<Range<usize>>,
        owner: ParameterOwner,
    },
    /// A template where none can be, as in an input's default.
    TemplateNotAllowed,
}

/// Whose field it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ParameterOwner {
    Action(String),
    /// A record within the parameters, by its path.
    Record(String),
}

impl ParameterOwner {
    pub(super) fn new(record: &RecordType, path: &str) -> Self {
        if path.is_empty() {
            Self::Action(record.name.clone())
        } else {
            Self::Record(path.to_owned())
        }
    }

    /// What it has: a parameter or a field.
    pub(crate) fn member(&self) -> &'static str {
        match self {
            Self::Action(_) => "parameter",
            Self::Record(_) => "field",
        }
    }
}

impl std::fmt::Display for ParameterOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Action(name) => f.write_str(name),
            Self::Record(path) => write!(f, "'{path}'"),
        }
    }
}
