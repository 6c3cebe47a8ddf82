//! Builds the tree from events within limits, and reports every feature that a runbook does not
//! support.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span};

use super::{MAX_BYTES, MAX_DEPTH, MAX_NODES, Node, NodeKind, YamlIssue, YamlIssueKind, syntax};

/// Reads one document. Returns `None` after an error that leaves no usable tree.
pub(crate) fn load(text: &str) -> (Option<Node>, Vec<YamlIssue>) {
    let mut loader = Loader::new(text);
    if text.len() > MAX_BYTES {
        loader.add_issue(0..0, YamlIssueKind::TooManyBytes);
        return (None, loader.issues);
    }
    if !loader.read() {
        return (None, loader.issues);
    }
    // A file of comments only is an empty document.
    let empty = || scalar(0..0, String::new(), ScalarStyle::Plain);
    (Some(loader.root.unwrap_or_else(empty)), loader.issues)
}

/// A collection that is not closed yet.
struct OpenCollection {
    node: Node,
    /// The key whose value has not been read yet.
    key: Option<Node>,
    /// The number of the mapping, so that one table can hold the keys of all mappings.
    id: usize,
}

struct Loader<'t> {
    text: &'t str,
    open: Vec<OpenCollection>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
    keys: HashMap<(usize, String), Range<usize>>,
    issues: Vec<YamlIssue>,
}

impl<'t> Loader<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            open: Vec::new(),
            root: None,
            nodes: 0,
            documents: 0,
            keys: HashMap::new(),
            issues: Vec::new(),
        }
    }

    fn add_issue(&mut self, span: Range<usize>, kind: YamlIssueKind) {
        self.issues.push(YamlIssue { span, kind });
    }

    /// Reads all events; returns false when the tree is not usable.
    fn read(&mut self) -> bool {
        let options = granit_parser::options! {
            emit_unresolved_aliases: true,
            emit_comments: false,
            disallow_directives: true
        };
        let mut parser = Parser::new_from_str_with_options(self.text, options);
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let end = self.text.len();
                    let at = error.marker().byte_offset().unwrap_or(end).min(end);
                    self.add_syntax_error(error.kind(), at);
                    return false;
                }
            };
            if !self.handle_event(event, &span) {
                return false;
            }
        }
        true
    }

    /// Records the cause of a syntax error that the parser reports at a byte.
    fn add_syntax_error(&mut self, kind: &ErrorKind, at: usize) {
        if *kind == ErrorKind::RecursionLimitExceeded {
            return self.add_issue(at..at, YamlIssueKind::TooDeep);
        }
        let found = syntax::find(self.text, kind, at);
        let span = found.span.clone();
        // What has been read of the same value is a part of the same mistake.
        let is_apart = |issue: &YamlIssue| {
            issue.span.end < span.start.saturating_sub(1) || issue.span.start > span.end
        };
        self.issues.retain(is_apart);
        self.add_issue(span, YamlIssueKind::Syntax(Box::new(found)));
    }

    /// Handles one event; returns false to stop.
    fn handle_event(&mut self, event: Event<'_>, at: &Span) -> bool {
        let span = at.byte_range().unwrap_or(0..0);
        self.reject_properties(&event, at, &span);
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.add_issue(span, YamlIssueKind::TooManyNodes);
            return false;
        }
        match event {
            Event::Scalar(_, _, _, Some(_)) => {
                let kind = NodeKind::Broken; // its tag has been reported
                self.add_node(Node { span, kind });
            }
            Event::Scalar(text, style, ..) => {
                let text = if at.is_empty() { String::new() } else { text.into_owned() };
                self.add_node(scalar(span, text, style));
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.add_issue(span.clone(), YamlIssueKind::Alias);
                let kind = NodeKind::Broken;
                self.add_node(Node { span, kind });
            }
            Event::SequenceStart(..) => {
                return self.open_collection(span, NodeKind::List(Vec::new()));
            }
            Event::MappingStart(..) => {
                return self.open_collection(span, NodeKind::Map(Vec::new()));
            }
            Event::SequenceEnd | Event::MappingEnd => self.close_collection(&span),
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.add_issue(span, YamlIssueKind::SecondDocument);
                    self.open.clear();
                    return true;
                }
            }
            _ => {}
        }
        true
    }

    /// Reports the tag and the anchor of an event.
    fn reject_properties(&mut self, event: &Event<'_>, at: &Span, span: &Range<usize>) {
        if let Some(tag) = event.tag() {
            let place = at.tag_span().and_then(|span| span.byte_range());
            let kind = YamlIssueKind::Tag(tag.original().clone());
            self.add_issue(place.unwrap_or(span.clone()), kind);
        }
        let anchor = match event {
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(_, anchor, _)
            | Event::MappingStart(_, anchor, _) => *anchor,
            _ => 0,
        };
        if anchor > 0 {
            let place = self.anchor_before(span.start);
            self.add_issue(place.unwrap_or(span.clone()), YamlIssueKind::Anchor);
        }
    }

    /// Finds the `&name` before a node; the parser gives a number to an anchor, but no position.
    fn anchor_before(&self, start: usize) -> Option<Range<usize>> {
        const MAX_DISTANCE: usize = 256;
        let from = self.text.floor_char_boundary(start.saturating_sub(MAX_DISTANCE));
        let at = from + self.text[from..start].rfind('&')?;
        let rest = &self.text[at..];
        let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
        Some(at..at + length)
    }

    fn open_collection(&mut self, span: Range<usize>, kind: NodeKind) -> bool {
        if self.open.len() >= MAX_DEPTH {
            self.add_issue(span, YamlIssueKind::TooDeep);
            return false;
        }
        self.open.push(OpenCollection { node: Node { span, kind }, key: None, id: self.nodes });
        true
    }

    fn close_collection(&mut self, end: &Range<usize>) {
        let Some(OpenCollection { mut node, .. }) = self.open.pop() else {
            return;
        };
        // Most collections are small, and a large runbook has thousands of them.
        match &mut node.kind {
            NodeKind::List(items) => items.shrink_to_fit(),
            NodeKind::Map(pairs) => pairs.shrink_to_fit(),
            NodeKind::Scalar { .. } | NodeKind::Broken => {}
        }
        if end.end > node.span.end && !end.is_empty() {
            node.span.end = end.end;
        } else if let Some(last) = last_end(&node.kind) {
            node.span.end = node.span.end.max(last);
        }
        if is_unquoted_template(&node, self.text) {
            node.kind = NodeKind::Broken;
        }
        self.add_node(node);
    }

    /// Adds a complete node to the open collection.
    fn add_node(&mut self, node: Node) {
        if self.documents > 1 {
            return;
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.node.kind {
            NodeKind::List(items) => items.push(node),
            NodeKind::Map(pairs) => match open.key.take() {
                None => open.key = Some(node),
                Some(key) => {
                    let id = open.id;
                    let kind = key_issue(&key, self.text, id, &mut self.keys);
                    // The first of two equal keys is kept; a merge key is dropped.
                    match kind {
                        Some(
                            kind @ (YamlIssueKind::DuplicateKey { .. } | YamlIssueKind::MergeKey),
                        ) => {
                            if matches!(kind, YamlIssueKind::MergeKey) {
                                // The alias is what is merged.
                                let is_of_value = |issue: &YamlIssue| {
                                    issue.span == node.span
                                        && matches!(issue.kind, YamlIssueKind::Alias)
                                };
                                self.issues.retain(|issue| !is_of_value(issue));
                            }
                            self.add_issue(key.span, kind);
                        }
                        Some(kind) => {
                            let span = key.span.clone();
                            pairs.push((key, node));
                            self.add_issue(span, kind);
                        }
                        None => pairs.push((key, node)),
                    }
                }
            },
            NodeKind::Scalar { .. } | NodeKind::Broken => {}
        }
    }
}

fn scalar(span: Range<usize>, text: String, style: ScalarStyle) -> Node {
    Node { span, kind: NodeKind::Scalar { text, style } }
}

fn last_end(kind: &NodeKind) -> Option<usize> {
    match kind {
        NodeKind::List(items) => items.last().map(|item| item.span.end),
        NodeKind::Map(pairs) => pairs.last().map(|(key, value)| value.span.end.max(key.span.end)),
        NodeKind::Scalar { .. } | NodeKind::Broken => None,
    }
}

/// Whether a node is `{{ x }}` without quotes: a mapping whose only key is a mapping.
fn is_unquoted_template(node: &Node, text: &str) -> bool {
    let key = node.pairs().and_then(|pairs| pairs.first()).map(|(key, _)| key);
    key.is_some_and(|key| key.pairs().is_some() && text[key.span.clone()].starts_with('{'))
}

/// Returns the issue of a key, given the keys seen so far.
fn key_issue(
    key: &Node,
    text: &str,
    mapping: usize,
    seen: &mut HashMap<(usize, String), Range<usize>>,
) -> Option<YamlIssueKind> {
    let Some(name) = key.text() else {
        let template = text[key.span.clone()].starts_with('{');
        return Some(if template {
            YamlIssueKind::UnquotedTemplate
        } else {
            YamlIssueKind::KeyNotText
        });
    };
    if name == "<<" {
        return Some(YamlIssueKind::MergeKey);
    }
    match seen.entry((mapping, name.to_owned())) {
        Entry::Vacant(place) => {
            place.insert(key.span.clone());
            None
        }
        Entry::Occupied(first) => {
            Some(YamlIssueKind::DuplicateKey { key: name.to_owned(), first: first.get().clone() })
        }
    }
}
