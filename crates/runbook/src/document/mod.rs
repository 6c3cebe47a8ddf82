//! Reads the tree as a runbook: header, inputs, defaults, steps. Each value has its span; issues of
//! structure are recorded. The analysis interprets the values.

mod inputs;
mod policy;
mod read;

use std::ops::Range;

use super::yaml::Node;
pub(crate) use inputs::{InputDeclaration, InputIssueKind, is_name};
pub use policy::OnFailure;
pub(crate) use policy::{
    DEFAULT_ATTEMPTS, DEFAULT_BACKOFF, DEFAULT_MAX_BACKOFF, DEFAULT_TIMEOUT, Policy,
};
pub(crate) use read::{AT_END, MAX_AT_ONCE, read, start_span};

/// Reads declarations that are not those of the runbook's inputs, with the issues of theirs.
pub(crate) fn declarations<'t>(
    node: &'t Node,
    what: &str,
) -> (Vec<InputDeclaration<'t>>, Vec<DocumentIssue>) {
    let mut reader = read::DocumentReader::default();
    let declared = inputs::read(node, what, &mut reader);
    (declared, reader.into_issues())
}

/// A runbook as written.
#[derive(Debug, Default)]
pub(crate) struct Document<'t> {
    /// The whole tree, if the text can be read.
    pub(crate) tree: Option<&'t Node>,
    /// The keys and values of the document itself.
    pub(crate) root: &'t [(Node, Node)],
    pub(crate) name: Option<&'t Node>,
    pub(crate) description: Option<&'t Node>,
    pub(crate) inputs: Vec<InputDeclaration<'t>>,
    pub(crate) defaults: Policy,
    /// The value of `limits`.
    pub(crate) limits: Option<&'t Node>,
    pub(crate) steps: Vec<RawStep<'t>>,
    /// The names and the values of `outputs`.
    pub(crate) outputs: Vec<(&'t Node, &'t Node)>,
    pub(crate) issues: Vec<DocumentIssue>,
}

/// A step as written.
#[derive(Debug)]
pub(crate) struct RawStep<'t> {
    pub(crate) node: &'t Node,
    pub(crate) id: Option<&'t Node>,
    pub(crate) name: Option<&'t Node>,
    pub(crate) action: Option<&'t Node>,
    /// The name of the runbook that the step calls.
    pub(crate) call: Option<&'t Node>,
    pub(crate) with: Option<&'t Node>,
    pub(crate) when: Option<&'t Node>,
    pub(crate) log: Option<&'t Node>,
    pub(crate) description: Option<&'t Node>,
    pub(crate) for_each: Option<&'t Node>,
    /// How many items are worked on at a time.
    pub(crate) at_once: Option<&'t Node>,
    /// The span of `restore: at_end`.
    pub(crate) restore: Option<Range<usize>>,
    pub(crate) policy: Policy,
}

/// An issue in the structure of the runbook.
#[derive(Debug, Clone)]
pub(crate) struct DocumentIssue {
    pub(crate) span: Range<usize>,
    pub(crate) kind: DocumentIssueKind,
}

/// The kind of a structural issue.
#[derive(Debug, Clone)]
pub(crate) enum DocumentIssueKind {
    UnknownKey {
        key: String,
        mapping: MappingKind,
    },
    MissingKey {
        key: &'static str,
        mapping: MappingKind,
    },
    InvalidType {
        what: String,
        wanted: &'static str,
        found: String,
    },
    InvalidEnumValue {
        what: &'static str,
        found: String,
        choices: &'static [&'static str],
    },
    InvalidDuration(String),
    /// A step with both `action` and `call`.
    ActionAndCall,
    InvalidOutputName(String),
    TemplateNotAllowed(String),
    Input(InputIssueKind),
}

/// A mapping of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MappingKind {
    Runbook,
    Input,
    Defaults,
    Step,
    Retry,
}

impl MappingKind {
    /// Returns the keys of the mapping.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Runbook => {
                &["name", "description", "inputs", "defaults", "limits", "steps", "outputs"]
            }
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
            Self::Step => &[
                "id",
                "name",
                "description",
                "action",
                "call",
                "with",
                "for_each",
                "at_once",
                "when",
                "retry",
                "timeout",
                "on_failure",
                "restore",
                "log",
            ],
            Self::Retry => &["attempts", "backoff", "max_backoff"],
        }
    }

    /// Returns the name in messages.
    pub(crate) fn with_article(self) -> &'static str {
        match self {
            Self::Runbook => "a runbook",
            Self::Input => "an input",
            Self::Defaults => "'defaults'",
            Self::Step => "a step",
            Self::Retry => "'retry'",
        }
    }
}

/// Whether a name can be the stem of a file and part of a URL.
pub(crate) fn is_runbook_name(name: &str) -> bool {
    const MAX_LENGTH: usize = 64;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inside = |c: char| plain(c) || matches!(c, '-' | '_' | '.');
    name.len() <= MAX_LENGTH && name.starts_with(plain) && name.chars().all(inside)
}

impl RawStep<'_> {
    /// Returns the id, if the id is a string.
    pub(crate) fn id_text(&self) -> Option<&str> {
        self.id.and_then(Node::text).filter(|id| !id.is_empty())
    }

    /// Returns the span for messages about the whole step: the id, else the first key.
    pub(crate) fn head(&self) -> Range<usize> {
        let first = || self.node.pairs()?.first().map(|(key, _)| key.span.clone());
        match self.id {
            Some(id) => id.span.clone(),
            None => first().unwrap_or(self.node.span.start..self.node.span.start),
        }
    }
}
