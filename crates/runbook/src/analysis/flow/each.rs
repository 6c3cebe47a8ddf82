//! The items of a step with `for_each`, as far as they are written down.

use super::super::super::document::RawStep;
use super::super::super::template;
use super::super::super::yaml::{Node, NodeKind};
use super::super::{Analysis, AnalyzedStep};
use super::{Act, Flow, Known, Reading, simple_path, template_text};

/// The most items that are followed one by one.
const MAX_ITEMS: usize = 20;

/// The item for which a step runs.
pub(crate) enum Each<'t> {
    /// An item that is written down.
    Item { key: Option<&'t str>, value: &'t Node },
    /// Any item of an expression.
    Of(String),
}

impl<'t> Each<'t> {
    /// Returns the items of a step, each with its key or position: those that are written down, or any one.
    fn all(items: &'t Node) -> Vec<(String, Self)> {
        if let Some(text) = template_text(items) {
            let inside = template::inside_braces(text).unwrap_or(text);
            return vec![(String::new(), Self::Of(inside.to_owned()))];
        }
        match &items.kind {
            NodeKind::List(list) if list.len() <= MAX_ITEMS => {
                let one = |(index, value): (usize, &'t Node)| {
                    (index.to_string(), Self::Item { key: None, value })
                };
                list.iter().enumerate().map(one).collect()
            }
            NodeKind::Map(pairs) if pairs.len() <= MAX_ITEMS => {
                let one = |(key, value): &'t (Node, Node)| {
                    let key = key.text()?;
                    Some((key.to_owned(), Self::Item { key: Some(key), value }))
                };
                pairs.iter().filter_map(one).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the expression of which this is any item.
    pub(super) fn list(&self) -> Option<&str> {
        match self {
            Self::Of(items) => Some(items),
            Self::Item { .. } => None,
        }
    }

    /// Returns the part of an item that a path after `each` is.
    pub(super) fn node(&self, fields: &[&str]) -> Option<&'t Node> {
        let Self::Item { key, value } = self else { return None };
        let (mut node, mut rest) = (*value, fields);
        if key.is_some() {
            let ["value", others @ ..] = fields else { return None };
            rest = others;
        }
        while let [field, others @ ..] = rest {
            node = node.member(field)?;
            rest = others;
        }
        Some(node)
    }

    /// Returns a text in which what is written down of the item stands for its templates.
    pub(super) fn written(&self, text: &str) -> String {
        let (mut written, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(start) = rest.find("{{") {
            let (before, template) = rest.split_at(start);
            let end = template.find("}}").map_or(template.len(), |end| end + 2);
            let (template, after) = template.split_at(end);
            let value = simple_path(template).filter(|(root, _)| *root == "each");
            let value = value.and_then(|(_, fields)| self.text(&fields));
            written.push_str(before);
            written.push_str(value.unwrap_or(template));
            rest = after;
        }
        written.push_str(rest);
        written
    }

    /// Returns the name of what an expression yields, if it has the item: another one for the items of another list.
    pub(super) fn name(&self, expression: String) -> String {
        let mut words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        match self {
            Self::Of(items) if words.any(|word| word == "each") => {
                format!("{expression} of {items}")
            }
            _ => expression,
        }
    }

    /// Returns the text that a path after `each` yields, if it is written down.
    pub(super) fn text(&self, fields: &[&str]) -> Option<&'t str> {
        match (self, fields) {
            (Self::Item { key: Some(key), .. }, ["key"]) => Some(key),
            _ => self.node(fields)?.text(),
        }
    }
}

impl Analysis<'_> {
    /// Returns what a step does for each of its items.
    pub(super) fn acts_of_items(
        &self,
        raw: &RawStep<'_>,
        step: &AnalyzedStep<'_>,
        items: &Node,
        is_certain: bool,
        flow: &Flow,
    ) -> Vec<Act> {
        let mut acts = Vec::new();
        for (key, each) in Each::all(items) {
            let reading = Reading { each: Some(&each), ..Reading::new(self, flow) };
            if raw.call.is_some() {
                acts.extend(reading.acts_of_call(raw, is_certain, &key));
                continue;
            }
            let effect = reading.effect(raw, step, is_certain);
            acts.push(Act { effect, before: Known::default(), key, parameter: None });
        }
        acts
    }
}

impl Reading<'_, '_> {
    /// Returns what another step does for any of its items, where the item of this one is the output of that.
    pub(super) fn act_of_each(&self) -> Option<&Act> {
        let step = *self.analysis.symbols.steps.get(self.each?.list()?)?;
        self.flow.act(step, "")
    }
}

/// Returns the items of a step whose parameter is one of them at a time: `for_each` of `nodes: ["{{ each }}"]`.
pub(crate) fn each_of_items<'t>(raw: &RawStep<'t>, node: &Node) -> Option<&'t Node> {
    let [item] = node.items()? else { return None };
    let (root, fields) = simple_path(template_text(item)?)?;
    raw.for_each.filter(|_| root == "each" && fields.is_empty())
}
