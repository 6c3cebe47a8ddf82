//! The tree read as a runbook: header, inputs, defaults, steps. What is written, each with its
//! place, and what has the wrong shape; not yet what it means.

mod inputs;
mod policy;
mod read;

use std::ops::Range;

use super::yaml::Node;
pub(crate) use inputs::{DeclaredInput, InputFault, is_name};
pub use policy::OnFailure;
pub(crate) use policy::{ATTEMPTS, BACKOFF, MAX_BACKOFF, Policy, TIMEOUT};
pub(crate) use read::{beginning, read};

/// A runbook as it is written.
#[derive(Debug, Default)]
pub(crate) struct Document<'t> {
    pub(crate) name: Option<&'t Node>,
    pub(crate) description: Option<&'t Node>,
    pub(crate) inputs: Vec<DeclaredInput<'t>>,
    pub(crate) defaults: Policy,
    pub(crate) steps: Vec<WrittenStep<'t>>,
    pub(crate) flaws: Vec<Flaw>,
}

/// A step as it is written.
#[derive(Debug)]
pub(crate) struct WrittenStep<'t> {
    pub(crate) node: &'t Node,
    pub(crate) id: Option<&'t Node>,
    pub(crate) name: Option<&'t Node>,
    pub(crate) action: Option<&'t Node>,
    pub(crate) with: Option<&'t Node>,
    pub(crate) when: Option<&'t Node>,
    pub(crate) log: Option<&'t Node>,
    pub(crate) policy: Policy,
}

/// Something that has the wrong shape.
#[derive(Debug, Clone)]
pub(crate) struct Flaw {
    pub(crate) span: Range<usize>,
    pub(crate) fault: Fault,
}

/// What has the wrong shape.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    UnknownKey { key: String, place: Place },
    MissingKey { key: &'static str, place: Place },
    Shape { what: String, wanted: &'static str, found: String },
    Choice { what: &'static str, found: String, choices: &'static [&'static str] },
    Duration(String),
    Template(String),
    Input(InputFault),
}

/// A mapping of the language, with the keys that it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Runbook,
    Input,
    Defaults,
    Step,
    Retry,
}

impl Place {
    /// The keys that may stand there.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Runbook => &["name", "description", "inputs", "defaults", "steps"],
            Self::Input => &[
                "type",
                "default",
                "description",
                "minimum",
                "maximum",
                "min_length",
                "max_length",
                "values",
                "syntax",
            ],
            Self::Defaults => &["timeout", "retry", "on_failure"],
            Self::Step => {
                &["id", "name", "action", "with", "when", "retry", "timeout", "on_failure", "log"]
            }
            Self::Retry => &["attempts", "backoff", "max_backoff"],
        }
    }

    /// What messages call it.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Runbook => "a runbook",
            Self::Input => "an input",
            Self::Defaults => "'defaults'",
            Self::Step => "a step",
            Self::Retry => "'retry'",
        }
    }
}

/// Whether a name can be a file's stem and a part of an address.
pub(crate) fn is_book_name(name: &str) -> bool {
    const LONGEST: usize = 64;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inside = |c: char| plain(c) || matches!(c, '-' | '_' | '.');
    name.len() <= LONGEST && name.starts_with(plain) && name.chars().all(inside)
}

impl WrittenStep<'_> {
    /// Its id, where it has one that is text.
    pub(crate) fn id_text(&self) -> Option<&str> {
        self.id.and_then(Node::text).filter(|id| !id.is_empty())
    }

    /// Where messages about the step as a whole point: its id, else its first key.
    pub(crate) fn head(&self) -> Range<usize> {
        let first = || self.node.pairs()?.first().map(|(key, _)| key.span.clone());
        match self.id {
            Some(id) => id.span.clone(),
            None => first().unwrap_or(self.node.span.start..self.node.span.start),
        }
    }
}
