//! Nodes that are drained, or changed, after their instances were ended.

use std::collections::HashMap;

use super::super::analysis::flow::{each_of_items, template_text};
use super::super::document::{RawStep, start_span};
use super::super::template;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB110",
    name: "ended_nodes",
    severity: Severity::Warning,
    summary: "nodes that are drained or changed after their instances were ended",
    explanation: "\
A node is gone when its instance has been ended. To drain it before lets its pods move within their disruption budgets;
to drain, cordon, label or taint it afterwards has no effect.",
};

/// The action that ends instances.
pub(super) const ENDING: &str = "terminate_instances";

/// The actions that need nodes or instances which are there.
pub(super) const NEEDING: [&str; 6] =
    ["drain", "cordon", "uncordon", "label_nodes", "taint_nodes", "set_protection"];

/// The parameters that name nodes and instances.
pub(super) const NAMING: [&str; 2] = ["nodes", "instances"];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut ended: HashMap<String, usize> = HashMap::new();
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let (Some(with), Some(action)) = (raw.with, step.signature) else { continue };
        let named = NAMING.iter().find_map(|name| with.member(name));
        let Some((node, text)) = named.and_then(|node| Some((node, written(raw, node)?))) else {
            continue;
        };
        if action.name == ENDING && raw.when.is_none() {
            ended.entry(text).or_insert(index);
        } else if NEEDING.contains(&action.name.as_str())
            && let Some(by) = ended.get(&text)
        {
            let diagnostic = report(analysis, *by, index, &action.name, node);
            diagnostics.push(diagnostic);
        }
    }
    check_opened(analysis, diagnostics);
}

/// Reports nodes that are drained, opened to new pods, and ended then.
fn check_opened(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut drained: HashMap<String, String> = HashMap::new();
    let mut opened: HashMap<String, usize> = HashMap::new();
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let (Some(with), Some(action)) = (raw.with, step.signature) else { continue };
        let named = NAMING.iter().find_map(|name| with.member(name));
        let Some(text) = named.and_then(|node| written(raw, node)) else { continue };
        match action.name.as_str() {
            "drain" => {
                opened.remove(&text);
                let id = analysis.id(index);
                for output in ["changed", "nodes"] {
                    drained.insert(format!("{id}.{output}"), text.clone());
                }
                drained.insert(text.clone(), text);
            }
            "uncordon" if raw.when.is_none() => {
                let list = drained.get(&text).cloned();
                list.map(|list| opened.insert(list, index));
            }
            "cordon" => drop(opened.remove(&text)),
            ENDING if raw.when.is_none() => {
                let Some(by) = opened.remove(&text) else { continue };
                let (first, id) = (analysis.id(by), analysis.id(index));
                let message = format!(
                    "'{first}' opens the drained nodes to new pods before '{id}' ends them"
                );
                let action = analysis.document.steps.get(by).and_then(|raw| raw.action);
                let place = action.map_or_else(|| analysis.declaration(by), start_span);
                let diagnostic = Diagnostic::new(&RULE, place, message)
                    .label(analysis.declaration(index), "they are ended here, with what came")
                    .help(format!("remove '{first}': the nodes are gone after '{id}'"));
                diagnostics.push(diagnostic);
            }
            _ => {}
        }
    }
}

fn report(
    analysis: &Analysis<'_>,
    by: usize,
    index: usize,
    action: &str,
    node: &Node,
) -> Diagnostic {
    let (first, id) = (analysis.id(by), analysis.id(index));
    let ending = analysis.document.steps.get(by).and_then(|raw| raw.action);
    match ending.filter(|_| action == "drain") {
        Some(ending) => {
            let message = format!("the instances are ended before '{id}' drains their nodes");
            Diagnostic::new(&RULE, ending.span.clone(), message)
                .label(analysis.declaration(index), "no pod is left to be evicted here")
                .help(format!("put '{id}' before '{first}'"))
        }
        None => {
            let message = format!("'{first}' has ended these instances: their nodes are gone");
            Diagnostic::new(&RULE, start_span(node), message)
                .label(analysis.declaration(by), "they are ended here")
                .help(format!("put '{id}' before '{first}', or remove it"))
        }
    }
}

/// Returns what names nodes, as it is written; `for_each` where the parameter is one item of it.
fn written(raw: &RawStep<'_>, node: &Node) -> Option<String> {
    let node = each_of_items(raw, node).unwrap_or(node);
    if let Some(text) = template_text(node) {
        return Some(template::inside_braces(text).unwrap_or(text).to_owned());
    }
    let items = node.items()?.iter().map(Node::text);
    let items = items.collect::<Option<Vec<&str>>>().filter(|items| !items.is_empty())?;
    let has_each = items.iter().any(|item| item.contains("each"));
    (!has_each).then(|| items.join(","))
}
