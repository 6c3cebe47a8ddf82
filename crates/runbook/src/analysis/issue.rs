//! The issues of literal parameters.

use std::ops::Range;
use std::sync::Arc;

use super::super::types::{Given, RecordType, Type};
use super::advice::Advice;

/// An issue of a literal.
#[derive(Debug, Clone)]
pub(crate) struct ArgumentIssue {
    pub(crate) span: Range<usize>,
    pub(crate) kind: ArgumentIssueKind,
}

/// The kind of an issue.
#[derive(Debug, Clone)]
pub(crate) enum ArgumentIssueKind {
    UnknownParameter {
        name: String,
        owner: ParameterOwner,
        names: Arc<[String]>,
        /// The parameter that is probably meant.
        meant: Option<String>,
        /// A similar parameter that is given beside it.
        given: Option<String>,
    },
    MissingParameter {
        name: String,
        ty: Type,
        owner: ParameterOwner,
    },
    /// All parameters, where none is given.
    MissingParameters {
        names: Vec<String>,
        owner: ParameterOwner,
    },
    TypeMismatch {
        path: String,
        wanted: Type,
        found: String,
        advice: Option<Advice>,
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
    /// None or several fields of a group, with the span of the first given field.
    ExactlyOneOf {
        group: Vec<String>,
        first: Option<Range<usize>>,
        owner: ParameterOwner,
    },
    /// A field that is missing beside another one.
    RequiredBeside {
        field: String,
        required: String,
    },
    /// A field that is not accepted beside another one, with the span of that.
    ExcludedBeside {
        field: Given,
        other: Given,
        other_span: Range<usize>,
        why: Option<String>,
    },
    /// A field that has no effect beside another one, with the span of that.
    NoEffectBeside {
        field: Given,
        with: Given,
        with_span: Range<usize>,
        why: Option<String>,
    },
    /// None of a group of which one is required, with the one that is given and empty.
    NoneOf {
        group: Vec<String>,
        empty: Option<String>,
        owner: ParameterOwner,
    },
    /// An item that is like one before it in the fields that must differ, with the lists of both.
    NotDistinct {
        list: String,
        first_list: String,
        first: Range<usize>,
        by: Vec<String>,
    },
    /// A text that the action refuses.
    RefusedText {
        path: String,
        text: String,
        why: String,
        help: String,
    },
    /// A template where a literal is required, as in the default of an input, which has no path.
    TemplateNotAllowed {
        path: String,
    },
}

/// The owner of a parameter or field.
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

    /// Returns where a member is written, after a verb.
    pub(crate) fn place(&self) -> &'static str {
        match self {
            Self::Action(_) => " under 'with'",
            Self::Record(_) => "",
        }
    }

    /// Returns the noun for a member: parameter or field.
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
