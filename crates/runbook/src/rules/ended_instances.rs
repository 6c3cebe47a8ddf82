//! Nodes that are changed after a step has ended their instances, under another name.

use std::collections::HashMap;

use minijinja::machinery::ast::Expr;

use super::super::analysis::flow::{path, sources, template_text};
use super::super::document::OnFailure;
use super::super::template::{self, parts};
use super::super::yaml::Node;
use super::ended_nodes::{ENDING, NAMING, NEEDING};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB123",
    name: "ended_instances",
    severity: Severity::Warning,
    summary: "nodes that are changed after a step has ended their instances",
    explanation: "\
A node is gone when its instance has been ended, by whatever name the step after it has it: the output of the step that
has ended it, or another field of the list that it was in. To cordon, uncordon, drain, label or taint it has no effect.",
};

/// The fields of one output that are all about the same nodes.
const SAME: [&str; 5] = ["nodes", "names", "instances", "terminated", "changed"];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    // The steps whose nodes are gone, with the text that named them, and the step that has ended them.
    let mut ended: HashMap<&str, (&str, usize)> = HashMap::new();
    // The steps that have changed the nodes which a text names.
    let mut changes: HashMap<&str, Vec<&str>> = HashMap::new();
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let (Some(with), Some(action)) = (raw.with, step.signature) else { continue };
        let named = NAMING.iter().find_map(|name| with.member(name));
        let Some((node, text)) = named.and_then(|node| Some((node, template_text(node)?))) else {
            continue;
        };
        if action.name == ENDING {
            let is_certain = raw.when.is_none() && step.policy.on_failure != OnFailure::Continue;
            if !is_certain || raw.for_each.is_some() {
                continue;
            }
            let list = list_of(analysis, text);
            let gone = changes.remove(text).unwrap_or_default();
            for root in list.into_iter().chain(raw.id_text()).chain(gone) {
                ended.entry(root).or_insert((text, index));
            }
        } else if NEEDING.contains(&action.name.as_str()) && step.issues.is_empty() {
            if let Some(by) = by(analysis, &ended, text) {
                diagnostics.push(report(analysis, by, index, node));
            } else if raw.for_each.is_none() {
                changes.entry(text).or_default().extend(raw.id_text());
            }
        }
    }
}

fn report(analysis: &Analysis<'_>, by: usize, index: usize, node: &Node) -> Diagnostic {
    let (first, id) = (analysis.id(by), analysis.id(index));
    let message = format!("'{first}' has ended the instances of these nodes: they are gone");
    Diagnostic::new(&RULE, analysis.place_of(index, node), message)
        .label(analysis.declaration(by), "they are ended here")
        .help(format!("put '{id}' before '{first}', or remove it"))
}

/// Returns the step that has ended what a parameter names. Where it is named by the same text, that is enough to see.
fn by(analysis: &Analysis<'_>, ended: &HashMap<&str, (&str, usize)>, text: &str) -> Option<usize> {
    let template = template::parse(text).ok()?;
    let mut found = Vec::new();
    let whole = template.whole()?;
    sources(whole, &mut found);
    found.into_iter().find_map(|(root, fields)| {
        let (same, by) = ended.get(root)?;
        // Where the step that has ended some is named, they are taken away from the list.
        let id = analysis.id(*by);
        if id != root && parts::uses(whole, id) {
            return None;
        }
        let is_named = fields.first().is_some_and(|field| SAME.contains(field));
        (is_named && fields.len() == 1 && *same != text).then_some(*by)
    })
}

/// Returns the step that has listed what a template is, if it is the whole list, or one field of all its items.
fn list_of<'a>(analysis: &'a Analysis<'_>, text: &str) -> Option<&'a str> {
    let template = template::parse(text).ok()?;
    let (root, fields) = path(whole_list(template.whole()?))?;
    let step = *analysis.symbols.steps.get(root)?;
    let is_list = matches!(fields.as_slice(), [field] if SAME.contains(field));
    is_list.then(|| analysis.id(step))
}

/// Returns the list of which a filter keeps every item.
fn whole_list<'e, 't>(expr: &'e Expr<'t>) -> &'e Expr<'t> {
    match expr {
        Expr::Filter(filter) if matches!(filter.name, "list" | "map" | "sort" | "unique") => {
            filter.expr.as_ref().map_or(expr, whole_list)
        }
        other => other,
    }
}
