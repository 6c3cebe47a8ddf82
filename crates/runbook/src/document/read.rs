//! Walks the tree. A value with the wrong structure is recorded and omitted, and reading continues.

use std::ops::Range;

use super::super::diagnostics::spelling::nearest;
use super::super::habits;
use super::super::template::is_template;
use super::super::yaml::Node;
use super::inputs::is_name;
use super::policy::Policy;
use super::{Document, DocumentIssue, DocumentIssueKind, MappingKind, RawStep, inputs};

/// Reads a tree as a runbook.
pub(crate) fn read(root: &Node) -> Document<'_> {
    let mut document = Document { tree: Some(root), ..Document::default() };
    let mut reader = DocumentReader::default();
    if let Some(pairs) = reader.map(root, "a runbook") {
        document.root = pairs;
        for (key, value) in pairs {
            if let Some(name) = reader.resolve(key, value, MappingKind::Runbook, pairs) {
                document.accept(name, value, &mut reader);
            }
        }
        require_keys(pairs, root, &mut reader);
    }
    document.issues = reader.issues;
    document
}

impl<'t> Document<'t> {
    fn accept(&mut self, key: &str, value: &'t Node, reader: &mut DocumentReader) {
        match key {
            "name" => {
                reader.literal(value, "name", "a string");
                self.name = Some(value);
            }
            "description" => {
                reader.literal(value, "description", "a string");
                self.description = Some(value);
            }
            "inputs" => self.inputs = inputs::read(value, "inputs", reader),
            "defaults" => self.accept_defaults(value, reader),
            "limits" => {
                self.limits = reader.map(value, "limits").map(|_| value);
            }
            "steps" => self.accept_steps(value, reader),
            "outputs" => self.accept_outputs(value, reader),
            _ => {}
        }
    }

    fn accept_defaults(&mut self, value: &'t Node, reader: &mut DocumentReader) {
        let pairs = reader.map(value, "defaults").unwrap_or_default();
        for (key, value) in pairs {
            if let Some(name) = reader.resolve(key, value, MappingKind::Defaults, pairs) {
                self.defaults.accept(name, key, value, reader);
            }
        }
    }

    fn accept_outputs(&mut self, value: &'t Node, reader: &mut DocumentReader) {
        for (key, value) in reader.map(value, "outputs").unwrap_or_default() {
            let Some(name) = key.text() else { continue };
            if !is_name(name) {
                let kind = DocumentIssueKind::InvalidOutputName(name.to_owned());
                reader.add_issue(key.span.clone(), kind);
            }
            self.outputs.push((key, value));
        }
    }

    fn accept_steps(&mut self, value: &'t Node, reader: &mut DocumentReader) {
        let Some(items) = value.items() else {
            return reader.add_type_issue(value, "steps", "a list of steps");
        };
        if items.is_empty() {
            return reader.add_type_issue(value, "steps", "at least one step");
        }
        self.steps = items.iter().filter_map(|item| step(item, reader)).collect();
    }
}

/// Reports the keys that a runbook needs and does not have.
fn require_keys(pairs: &[(Node, Node)], root: &Node, reader: &mut DocumentReader) {
    let at = pairs.first().map_or(root.span.start, |(key, _)| key.span.start);
    for key in ["name", "steps"] {
        if is_missing(key, pairs, MappingKind::Runbook) {
            let mapping = MappingKind::Runbook;
            reader.add_issue(at..at, DocumentIssueKind::MissingKey { key, mapping });
        }
    }
}

fn step<'t>(node: &'t Node, reader: &mut DocumentReader) -> Option<RawStep<'t>> {
    let pairs = reader.map(node, "a step")?;
    let mut step = RawStep {
        node,
        id: None,
        name: None,
        action: None,
        call: None,
        with: None,
        when: None,
        log: None,
        description: None,
        for_each: None,
        at_once: None,
        restore: None,
        policy: Policy::default(),
    };
    for (key, value) in pairs {
        let Some(name) = reader.resolve(key, value, MappingKind::Step, pairs) else { continue };
        match name {
            "id" => step.id = reader.literal(value, "id", "a name").map(|_| value),
            "name" => step.name = reader.text(value, "name", "a string").map(|_| value),
            "description" => {
                step.description = reader.text(value, "description", "a string").map(|_| value);
            }
            "action" => {
                step.action =
                    reader.literal(value, "action", "the name of an action").map(|_| value);
            }
            "call" => {
                step.call = reader.literal(value, "call", "the name of a runbook").map(|_| value);
            }
            "with" => step.with = Some(value),
            "when" => step.when = Some(value),
            "log" => step.log = Some(value),
            "for_each" => step.for_each = Some(value),
            "at_once" => step.at_once = Some(value),
            "restore" => step.restore = restore(value, reader),
            _ => step.policy.accept(name, key, value, reader),
        }
    }
    let is_call = step.call.is_some() || pairs.iter().any(|(key, _)| key.text() == Some("call"));
    if is_call && let Some((key, _)) = pairs.iter().find(|(key, _)| key.text() == Some("action")) {
        reader.add_issue(key.span.clone(), DocumentIssueKind::ActionAndCall);
    }
    for key in ["id", "action"] {
        if is_missing(key, pairs, MappingKind::Step) && !(is_call && key == "action") {
            let mapping = MappingKind::Step;
            reader.add_issue(step.head(), DocumentIssueKind::MissingKey { key, mapping });
        }
    }
    Some(step)
}

/// The most items of a `for_each` that are worked on at a time.
pub(crate) const MAX_AT_ONCE: u32 = 20;

fn restore(value: &Node, reader: &mut DocumentReader) -> Option<Range<usize>> {
    let found = reader.literal(value, "restore", "at_end")?;
    if found == AT_END {
        return Some(value.span.clone());
    }
    let kind = DocumentIssueKind::InvalidEnumValue {
        what: "restore",
        found: found.to_owned(),
        choices: &[AT_END],
    };
    reader.add_issue(value.span.clone(), kind);
    None
}

/// The only value of `restore`.
pub(crate) const AT_END: &str = "at_end";

/// Whether a key is missing and not merely misspelled, which is reported separately.
fn is_missing(key: &str, pairs: &[(Node, Node)], mapping: MappingKind) -> bool {
    let keys = mapping.keys();
    let meant = |found: &str| {
        if keys.contains(&found) {
            return found == key;
        }
        match habits::key(mapping, found) {
            Some(habit) => habit.ours == Some(key),
            None => nearest(found, keys.iter().copied()) == Some(key),
        }
    };
    !pairs.iter().filter_map(|(found, _)| found.text()).any(meant)
}

/// Returns the key that is meant by one that the language does not have, if a value is of the form that the key has.
fn meant(mapping: MappingKind, name: &str, value: &Node) -> Option<&'static str> {
    let keys = mapping.keys();
    if keys.contains(&name) {
        return None;
    }
    let Some(habit) = habits::key(mapping, name) else {
        let similar = nearest(name, keys.iter().copied())?;
        return keys.iter().copied().find(|key| *key == similar);
    };
    let ours = habit.ours.filter(|_| habit.is_rename)?;
    let has_maps = || {
        value.pairs().is_some_and(|pairs| pairs.iter().all(|(_, value)| value.pairs().is_some()))
    };
    let has_form = match ours {
        "with" => value.pairs().is_some(),
        "inputs" => has_maps(),
        "steps" => {
            value.items().is_some_and(|items| items.iter().all(|item| item.member("id").is_some()))
        }
        "when" => value.text().is_some_and(is_template),
        "for_each" => value.items().is_some() || value.text().is_some_and(is_template),
        "name" | "description" | "id" => value.text().is_some_and(|text| !is_template(text)),
        _ => mapping == MappingKind::Input || mapping == MappingKind::Retry,
    };
    has_form.then_some(ours)
}

/// Reads values and collects the issues of structure.
#[derive(Debug, Default)]
pub(crate) struct DocumentReader {
    issues: Vec<DocumentIssue>,
}

impl DocumentReader {
    pub(crate) fn into_issues(self) -> Vec<DocumentIssue> {
        self.issues
    }

    pub(crate) fn add_issue(&mut self, span: Range<usize>, kind: DocumentIssueKind) {
        self.issues.push(DocumentIssue { span, kind });
    }

    /// Reports a value of the wrong type.
    pub(crate) fn add_type_issue(&mut self, node: &Node, what: &str, wanted: &'static str) {
        if node.is_broken() {
            return;
        }
        let kind = DocumentIssueKind::InvalidType {
            what: what.to_owned(),
            wanted,
            found: node.describe(),
        };
        self.add_issue(start_span(node), kind);
    }

    pub(crate) fn add_unknown_key(&mut self, key: &Node, mapping: MappingKind) {
        // A key that is not a string has already been reported with the tree.
        if let Some(name) = key.text()
            && name != "<<"
        {
            let key_name = name.to_owned();
            let kind = DocumentIssueKind::UnknownKey { key: key_name, mapping };
            self.add_issue(key.span.clone(), kind);
        }
    }

    /// Returns the key of the language that a key is, or is meant to be. One that the language does not have is
    /// reported; its value is read as that of the key that is meant, so that what needs the value is not reported too.
    pub(crate) fn resolve<'k>(
        &mut self,
        key: &'k Node,
        value: &Node,
        mapping: MappingKind,
        pairs: &[(Node, Node)],
    ) -> Option<&'k str> {
        let name = key.text()?;
        if mapping.keys().contains(&name) {
            return Some(name);
        }
        self.add_unknown_key(key, mapping);
        // The name of an action under a key that is not known is not looked up: the step has no known parameters.
        let ours = meant(mapping, name, value).filter(|ours| *ours != "action")?;
        let is_taken = pairs
            .iter()
            .take_while(|(other, _)| other.span != key.span)
            .filter_map(|(other, value)| Some((other.text()?, value)))
            .any(|(other, value)| meant(mapping, other, value) == Some(ours));
        let is_given = pairs.iter().any(|(other, _)| other.text() == Some(ours));
        (!is_taken && !is_given).then_some(ours)
    }

    /// Returns the pairs of a mapping; an empty value is an empty mapping.
    pub(crate) fn map<'t>(&mut self, node: &'t Node, what: &str) -> Option<&'t [(Node, Node)]> {
        if node.is_null() && what != "a runbook" && what != "a step" {
            return Some(&[]);
        }
        let pairs = node.pairs();
        if pairs.is_none() {
            self.add_type_issue(node, what, "a mapping");
        }
        pairs
    }

    /// Returns the text of a scalar, which may have templates in it.
    pub(crate) fn text<'t>(
        &mut self,
        node: &'t Node,
        what: &str,
        wanted: &'static str,
    ) -> Option<&'t str> {
        let text = node.text().filter(|_| !node.is_null());
        if text.is_none() {
            self.add_type_issue(node, what, wanted);
        }
        text
    }

    /// Returns the text of a scalar, and reports a template in it.
    pub(crate) fn literal<'t>(
        &mut self,
        node: &'t Node,
        what: &str,
        wanted: &'static str,
    ) -> Option<&'t str> {
        let text = self.text(node, what, wanted)?;
        if is_template(text) {
            self.add_issue(
                node.span.clone(),
                DocumentIssueKind::TemplateNotAllowed(what.to_owned()),
            );
            return None;
        }
        Some(text)
    }
}

/// Returns the span of a scalar, or the start of a list or mapping, which may span many lines.
pub(crate) fn start_span(node: &Node) -> Range<usize> {
    match node.text() {
        Some(_) => node.span.clone(),
        None => node.span.start..node.span.start,
    }
}
