//! Events into the tree, within limits, with everything that a runbook may not use reported in
//! passing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::{Fault, Flaw, Kind, MAX_BYTES, MAX_DEPTH, MAX_NODES, Node};

/// Reads one document. `None` after a fault that leaves no tree to judge.
pub(crate) fn load(text: &str) -> (Option<Node>, Vec<Flaw>) {
    let mut loader = Loader::new(text);
    if text.len() > MAX_BYTES {
        loader.flaw(0..0, Fault::TooManyBytes);
        return (None, loader.flaws);
    }
    if !loader.read() {
        return (None, loader.flaws);
    }
    // A file of comments only is a document that says nothing.
    let nothing = || scalar(0..0, String::new(), ScalarStyle::Plain);
    (Some(loader.root.unwrap_or_else(nothing)), loader.flaws)
}

/// A collection that is still open.
struct Open {
    node: Node,
    /// The key that waits for its value.
    key: Option<Node>,
    /// Which mapping this is, so that one table can hold the keys of all.
    number: usize,
}

struct Loader<'t> {
    text: &'t str,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
    keys: HashMap<(usize, String), Range<usize>>,
    flaws: Vec<Flaw>,
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
            flaws: Vec::new(),
        }
    }

    fn flaw(&mut self, span: Range<usize>, fault: Fault) {
        self.flaws.push(Flaw { span, fault });
    }

    /// Reads all events; false when what was read must not be judged.
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
                    let info = error.info();
                    let fault = match info.contains("recursion limit") {
                        true => Fault::TooDeep,
                        false => Fault::Syntax(info),
                    };
                    self.flaw(at..at, fault);
                    return false;
                }
            };
            if !self.accept(event, &span) {
                return false;
            }
        }
        true
    }

    /// Takes one event in; false to stop.
    fn accept(&mut self, event: Event<'_>, at: &Span) -> bool {
        let span = at.byte_range().unwrap_or(0..0);
        self.refuse_decoration(&event, at, &span);
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.flaw(span, Fault::TooManyNodes);
            return false;
        }
        match event {
            Event::Scalar(_, _, _, Some(_)) => {
                let kind = Kind::Broken; // its tag has been reported
                self.complete(Node { span, kind });
            }
            Event::Scalar(text, style, ..) => {
                let text = if at.is_empty() { String::new() } else { text.into_owned() };
                self.complete(scalar(span, text, style));
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.flaw(span.clone(), Fault::Alias);
                let kind = Kind::Broken;
                self.complete(Node { span, kind });
            }
            Event::SequenceStart(..) => return self.descend(span, Kind::List(Vec::new())),
            Event::MappingStart(..) => return self.descend(span, Kind::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => self.ascend(&span),
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.flaw(span, Fault::SecondDocument);
                    self.open.clear();
                    return true;
                }
            }
            _ => {}
        }
        true
    }

    /// Tags and anchors hang on an event of another kind.
    fn refuse_decoration(&mut self, event: &Event<'_>, at: &Span, span: &Range<usize>) {
        if let Some(tag) = event.tag() {
            let place = at.tag_span().and_then(|span| span.byte_range());
            let fault = Fault::Tag(tag.original().to_string());
            self.flaw(place.unwrap_or(span.clone()), fault);
        }
        let anchor = match event {
            Event::Scalar(_, _, anchor, _) => *anchor,
            Event::SequenceStart(_, anchor, _) | Event::MappingStart(_, anchor, _) => *anchor,
            _ => 0,
        };
        if anchor > 0 {
            let place = self.anchor_before(span.start);
            self.flaw(place.unwrap_or(span.clone()), Fault::Anchor);
        }
    }

    /// The `&name` that stands before a node, which the parser numbers but does not place.
    fn anchor_before(&self, start: usize) -> Option<Range<usize>> {
        const NEAR: usize = 256;
        let from = self.text.floor_char_boundary(start.saturating_sub(NEAR));
        let at = from + self.text[from..start].rfind('&')?;
        let rest = &self.text[at..];
        let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
        Some(at..at + length)
    }

    fn descend(&mut self, span: Range<usize>, kind: Kind) -> bool {
        if self.open.len() >= MAX_DEPTH {
            self.flaw(span, Fault::TooDeep);
            return false;
        }
        self.open.push(Open { node: Node { span, kind }, key: None, number: self.nodes });
        true
    }

    fn ascend(&mut self, end: &Range<usize>) {
        let Some(Open { mut node, .. }) = self.open.pop() else {
            return;
        };
        if end.end > node.span.end && !end.is_empty() {
            node.span.end = end.end;
        } else if let Some(last) = last_end(&node.kind) {
            node.span.end = node.span.end.max(last);
        }
        if is_unquoted_template(&node, self.text) {
            node.kind = Kind::Broken;
        }
        self.complete(node);
    }

    /// Puts a whole node where it belongs.
    fn complete(&mut self, node: Node) {
        if self.documents > 1 {
            return;
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.node.kind {
            Kind::List(items) => items.push(node),
            Kind::Map(pairs) => match open.key.take() {
                None => open.key = Some(node),
                Some(key) => {
                    let number = open.number;
                    let fault = key_fault(&key, self.text, number, &mut self.keys);
                    // Of two equal keys the first counts; of a merge nothing.
                    match fault {
                        Some(fault @ (Fault::DuplicateKey { .. } | Fault::MergeKey)) => {
                            self.flaw(key.span, fault);
                        }
                        Some(fault) => {
                            let span = key.span.clone();
                            pairs.push((key, node));
                            self.flaw(span, fault);
                        }
                        None => pairs.push((key, node)),
                    }
                }
            },
            Kind::Scalar { .. } | Kind::Broken => {}
        }
    }
}

fn scalar(span: Range<usize>, text: String, style: ScalarStyle) -> Node {
    Node { span, kind: Kind::Scalar { text, style } }
}

fn last_end(kind: &Kind) -> Option<usize> {
    match kind {
        Kind::List(items) => items.last().map(|item| item.span.end),
        Kind::Map(pairs) => pairs.last().map(|(key, value)| value.span.end.max(key.span.end)),
        Kind::Scalar { .. } | Kind::Broken => None,
    }
}

/// `{{ x }}` without quotes: a mapping whose one key is a mapping.
fn is_unquoted_template(node: &Node, text: &str) -> bool {
    let key = node.pairs().and_then(|pairs| pairs.first()).map(|(key, _)| key);
    key.is_some_and(|key| key.pairs().is_some() && text[key.span.clone()].starts_with('{'))
}

/// What is wrong with a key, given the keys seen so far.
fn key_fault(
    key: &Node,
    text: &str,
    mapping: usize,
    seen: &mut HashMap<(usize, String), Range<usize>>,
) -> Option<Fault> {
    let Some(name) = key.text() else {
        let template = text[key.span.clone()].starts_with('{');
        return Some(if template { Fault::UnquotedTemplate } else { Fault::KeyNotText });
    };
    if name == "<<" {
        return Some(Fault::MergeKey);
    }
    match seen.entry((mapping, name.to_owned())) {
        Entry::Vacant(place) => {
            place.insert(key.span.clone());
            None
        }
        Entry::Occupied(first) => {
            Some(Fault::DuplicateKey { key: name.to_owned(), first: first.get().clone() })
        }
    }
}
