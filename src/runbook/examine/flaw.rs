//! What can be wrong with a literal parameter.

use std::ops::Range;
use std::sync::Arc;

use super::super::types::{Record, Type};

/// A literal that cannot be right.
#[derive(Debug, Clone)]
pub(crate) struct ArgumentFlaw {
    pub(crate) span: Range<usize>,
    pub(crate) fault: ArgumentFault,
}

/// What is wrong with a literal.
#[derive(Debug, Clone)]
pub(crate) enum ArgumentFault {
    Unknown {
        name: String,
        place: Owner,
        names: Arc<[String]>,
    },
    Missing {
        name: String,
        ty: Type,
        place: Owner,
    },
    Kind {
        path: String,
        wanted: Type,
        found: String,
    },
    Limit {
        path: String,
        limits: String,
        found: String,
    },
    Form {
        path: String,
        form: String,
        found: String,
    },
    Word {
        path: String,
        found: String,
        words: Vec<String>,
    },
    /// None, or more than one, of a group; with the place of the first that is given.
    Group {
        group: Vec<String>,
        first: Option<Range<usize>>,
        place: Owner,
    },
    /// A template where none can be, as in an input's default.
    Template,
}

/// Whose field it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    Action(String),
    /// A record within the parameters, by its path.
    Record(String),
}

impl Owner {
    pub(super) fn new(record: &Record, path: &str) -> Self {
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

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Action(name) => f.write_str(name),
            Self::Record(path) => write!(f, "'{path}'"),
        }
    }
}
