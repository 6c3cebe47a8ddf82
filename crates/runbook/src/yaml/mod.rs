//! YAML text into a tree in which every node knows its bytes. Knows nothing of runbooks.
//!
//! The parser gives events; what YAML allows and a runbook does not (aliases, tags, duplicate keys,
//! a second document) is recorded as a [`YamlIssue`] and reading goes on, so that one run reports
//! everything.

mod schema;
mod source_map;
mod tree;

use std::ops::Range;

pub(crate) use granit_parser::ScalarStyle;
pub(crate) use schema::ScalarValue;
pub(crate) use source_map::SourceMap;
pub(crate) use tree::load;

/// The largest text that is read. The thirteen steps of relay-scale take 6 KiB.
pub const MAX_BYTES: usize = 1 << 20;
/// The most nodes of one text; 10,000 steps take about 150,000.
pub(crate) const MAX_NODES: usize = 400_000;
/// The deepest nesting. A parameter of a step sits at depth 4; lists of records add a few.
pub(crate) const MAX_DEPTH: usize = 32;

/// A value with the bytes that it was written in, without its quotes' inside being decoded twice.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) kind: NodeKind,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum NodeKind {
    Scalar {
        text: String,
        style: ScalarStyle,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// Something that has been reported: nothing more is said of it.
    Broken,
}

/// Something that a runbook may not hold, or that is no YAML.
#[derive(Debug, Clone)]
pub(crate) struct YamlIssue {
    pub(crate) span: Range<usize>,
    pub(crate) kind: YamlIssueKind,
}

/// What is wrong with the YAML.
#[derive(Debug, Clone)]
pub(crate) enum YamlIssueKind {
    Syntax(String),
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

impl Node {
    /// The decoded text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The meaning of a scalar; whatever is quoted is a string.
    pub(crate) fn scalar_value(&self) -> Option<ScalarValue<'_>> {
        match &self.kind {
            NodeKind::Scalar { text, style } if *style == ScalarStyle::Plain => {
                Some(schema::resolve(text))
            }
            NodeKind::Scalar { text, .. } => Some(ScalarValue::Text(text)),
            _ => None,
        }
    }

    /// It has been reported as something that a runbook cannot hold.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.kind, NodeKind::Broken)
    }

    /// Nothing was written, or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.scalar_value(), Some(ScalarValue::Null))
    }

    /// The pairs of a mapping.
    pub(crate) fn pairs(&self) -> Option<&[(Node, Node)]> {
        match &self.kind {
            NodeKind::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Option<&[Node]> {
        match &self.kind {
            NodeKind::List(items) => Some(items),
            _ => None,
        }
    }

    /// What a message calls it: "integer 3", "a list".
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

/// A text in quotes, shortened when it is long, for a message of one line.
pub(crate) fn quoted(text: &str) -> String {
    const MAX_SHOWN: usize = 40;
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(MAX_SHOWN).collect();
    if short.len() < text.len() { format!("'{short}…'") } else { format!("'{short}'") }
}
