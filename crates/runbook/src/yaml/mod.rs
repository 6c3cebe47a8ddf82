//! Parses YAML into a tree in which every node has its byte span. Independent of runbooks.
//!
//! The parser yields events. What YAML allows and a runbook does not (aliases, tags, duplicate keys,
//! a second document) is recorded as a [`YamlIssue`], and reading continues, so that one check reports
//! every issue.

mod schema;
mod source_map;
mod syntax;
mod tree;

use std::fmt;
use std::ops::Range;

pub(crate) use granit_parser::ScalarStyle;
pub(crate) use schema::ScalarValue;
pub(crate) use source_map::SourceMap;
pub(crate) use syntax::{Cause, Found, in_double_quotes};
pub(crate) use tree::load;

/// The maximum size of a text. The thirteen steps of relay-scale take 6 KiB.
pub const MAX_BYTES: usize = 1 << 20;
/// The maximum number of nodes of a text; 10,000 steps take about 150,000.
pub(crate) const MAX_NODES: usize = 400_000;
/// The maximum nesting. A parameter of a step has depth 4; lists of records add a few levels.
pub(crate) const MAX_DEPTH: usize = 32;

/// A value with the span in which it is written. The text of a scalar is decoded.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) kind: NodeKind,
}

/// The kind of a node.
#[derive(Debug, Clone)]
pub(crate) enum NodeKind {
    Scalar {
        text: String,
        style: ScalarStyle,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// A node that has been reported, so that no rule reports it again.
    Broken,
}

/// A YAML feature that a runbook does not support, or a syntax error.
#[derive(Debug, Clone)]
pub(crate) struct YamlIssue {
    pub(crate) span: Range<usize>,
    pub(crate) kind: YamlIssueKind,
}

/// The kind of a YAML issue.
#[derive(Debug, Clone)]
pub(crate) enum YamlIssueKind {
    Syntax(Box<Found>),
    TooManyBytes,
    TooManyNodes,
    TooDeep,
    DuplicateKey { key: String, first: Range<usize> },
    KeyNotText,
    UnquotedTemplate,
    MergeKey,
    Alias,
    Anchor,
    Tag(String),
    SecondDocument,
}

/// The message for a file that is not a runbook; the rules have messages of their own.
impl fmt::Display for YamlIssueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(found) => write!(f, "invalid YAML: {}", found.cause),
            Self::TooManyBytes => write!(f, "the file is larger than {} KiB", MAX_BYTES / 1024),
            Self::TooManyNodes => write!(f, "the file has more than {MAX_NODES} values"),
            Self::TooDeep => write!(f, "the nesting exceeds {MAX_DEPTH} levels"),
            Self::DuplicateKey { key, .. } => write!(f, "duplicate key {}", quoted(key)),
            Self::KeyNotText | Self::UnquotedTemplate => f.write_str("a key is not a string"),
            Self::MergeKey => f.write_str("merge keys are not supported"),
            Self::Alias | Self::Anchor => f.write_str("anchors and aliases are not supported"),
            Self::Tag(tag) => write!(f, "the tag {} is not supported", quoted(tag)),
            Self::SecondDocument => f.write_str("the file has more than one document"),
        }
    }
}

impl Node {
    /// Returns the decoded text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Returns the meaning of a scalar; a quoted scalar is a string.
    pub(crate) fn scalar_value(&self) -> Option<ScalarValue<'_>> {
        match &self.kind {
            NodeKind::Scalar { text, style } if *style == ScalarStyle::Plain => {
                Some(schema::resolve(text))
            }
            NodeKind::Scalar { text, .. } => Some(ScalarValue::Text(text)),
            _ => None,
        }
    }

    /// Whether the node has been reported as unsupported.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.kind, NodeKind::Broken)
    }

    /// Whether the node is empty or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.scalar_value(), Some(ScalarValue::Null))
    }

    /// Returns the pairs of a mapping.
    pub(crate) fn pairs(&self) -> Option<&[(Node, Node)]> {
        match &self.kind {
            NodeKind::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// Returns the member of a mapping.
    pub(crate) fn member(&self, name: &str) -> Option<&Node> {
        let pair = self.pairs()?.iter().find(|(key, _)| key.text() == Some(name));
        pair.map(|(_, value)| value)
    }

    /// Returns the items of a list.
    pub(crate) fn items(&self) -> Option<&[Node]> {
        match &self.kind {
            NodeKind::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the description for messages: "the integer 3", "a list".
    pub(crate) fn describe(&self) -> String {
        let Some(plain) = self.scalar_value() else {
            let list = self.items().is_some();
            return if list { "a list" } else { "a mapping" }.to_owned();
        };
        match plain {
            ScalarValue::Null => "nothing".to_owned(),
            ScalarValue::Boolean(value) => format!("the boolean {value}"),
            ScalarValue::Integer(value) => format!("the integer {value}"),
            ScalarValue::Number(_) => format!("the number {}", self.text().unwrap_or_default()),
            ScalarValue::Text(text) => format!("the string {}", quoted(text)),
        }
    }
}

/// Quotes a text for a message of one line, shortened when it is long.
pub(crate) fn quoted(text: &str) -> String {
    const MAX_SHOWN: usize = 40;
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(MAX_SHOWN).collect();
    if short.len() < text.len() { format!("'{short}…'") } else { format!("'{short}'") }
}
