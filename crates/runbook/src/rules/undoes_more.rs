//! An undo of more than was changed.

use super::super::analysis::flow::{each_of_items, path, simple_path, template_text};
use super::super::registry::ActionKind;
use super::super::template;
use super::super::yaml::{Node, ScalarValue};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB082",
    name: "undoes_more",
    severity: Severity::Warning,
    summary: "an undo of more than was changed",
    explanation: "\
A step that cordons nodes leaves those as they are that were cordoned before, by another person or for another reason:
its output 'nodes' has all of them, as has the list that it was given; 'changed' has only those that it cordoned. Undo
what is in 'changed'.",
};

/// Undoing actions: the action and its parameter, the action that is undone, its output, and a parameter without which
/// the action does not undo.
const UNDO: [(&str, &str, &str, &str, Option<&str>); 5] = [
    ("uncordon", "nodes", "cordon", "nodes", None),
    ("uncordon", "nodes", "drain", "nodes", None),
    ("cordon", "nodes", "uncordon", "nodes", None),
    ("taint_nodes", "nodes", "taint_nodes", "nodes", Some("remove")),
    ("resume_processes", "processes", "suspend_processes", "suspended", None),
];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let (Some(with), Some(action)) = (raw.with, step.signature) else { continue };
        for (undo, parameter, done, output, needs) in UNDO {
            let is_undo =
                undo == action.name && needs.is_none_or(|name| with.member(name).is_some());
            let Some(node) = with.member(parameter).filter(|_| is_undo) else { continue };
            let node = each_of_items(raw, node).unwrap_or(node);
            let found = undone(analysis, node, done, output);
            let found = found.filter(|(_, by)| undo != "taint_nodes" || sets(analysis, *by, with));
            let found = found.map(|(id, declared)| {
                let message = more(&format!("{id}.{output}"), &id, done);
                (id, declared, message)
            });
            let found = found.or_else(|| {
                // A label or a taint is a runbook's own, most often.
                let same = || same_list(analysis, index, node, done, parameter);
                let others = || all_of_kind(analysis, node, done);
                (undo == "uncordon").then(|| same().or_else(others)).flatten()
            });
            let Some((id, declared, message)) = found else { continue };
            let mut diagnostic = Diagnostic::new(&RULE, node.span.clone(), message)
                .label(analysis.declaration(declared), "it leaves some as they are")
                .help(format!("write \"{{{{ {id}.changed }}}}\""));
            let written = analysis.source.text().get(node.span.clone());
            if written.is_some_and(|written| written.starts_with(['"', '\''])) {
                diagnostic.suggestion = Some(format!("\"{{{{ {id}.changed }}}}\""));
            }
            diagnostics.push(diagnostic);
        }
    }
}

/// Whether a step sets one of the taints that another one removes.
fn sets(analysis: &Analysis<'_>, by: usize, with: &Node) -> bool {
    let keys = |node: Option<&Node>| {
        let items = node.and_then(Node::items).unwrap_or_default().iter();
        items.filter_map(|item| item.member("key")?.text().map(str::to_owned)).collect::<Vec<_>>()
    };
    let set = analysis.document.steps.get(by).and_then(|raw| raw.with?.member("taints"));
    let set = keys(set);
    keys(with.member("remove")).iter().any(|key| set.contains(key))
}

/// The id of the step that is undone, its index, and the message.
type Undone = (String, usize, String);

/// Returns the last step before another one that has changed the same list, as it is written, of the outputs of a step:
/// some of the list may have been so before.
fn same_list(
    analysis: &Analysis<'_>,
    index: usize,
    node: &Node,
    action: &str,
    parameter: &str,
) -> Option<Undone> {
    let (root, _) = simple_path(template_text(node)?)?;
    let listed = *analysis.symbols.steps.get(root)?;
    let before = analysis.document.steps.iter().zip(&analysis.steps).enumerate().take(index);
    let (by, (raw, step)) = before
        .filter(|(_, (raw, step))| {
            let is_of = step.signature.is_some_and(|found| found.name == action);
            is_of && raw.for_each.is_none() && raw.when.is_none()
        })
        .find(|(_, (raw, _))| {
            let list = raw.with.and_then(|with| with.member(parameter));
            list.is_some_and(|list| list.text() == node.text())
        })?;
    step.signature?.output.field("changed")?;
    // Of nodes that were listed as not cordoned, all were changed.
    let listing = analysis.document.steps.get(listed)?;
    // New nodes are not cordoned.
    analysis.steps.get(listed)?.signature.filter(|one| one.kind == ActionKind::Read)?;
    if listing.with.is_some_and(|with| with.member("cordoned").is_some()) {
        return None;
    }
    let id = raw.id_text()?.to_owned();
    let message = more(root, &id, action);
    Some((id, by, message))
}

/// Returns the message about a list with nodes that a step has left as they were.
fn more(list: &str, id: &str, action: &str) -> String {
    let state = match action {
        "uncordon" => "nodes that were not cordoned",
        "taint_nodes" => "nodes that were tainted",
        "suspend_processes" => "processes that were suspended",
        _ => "nodes that were cordoned",
    };
    format!("'{list}' includes {state} before '{id}': this step undoes more than '{id}' has done")
}

/// Returns the step before a list of all cordoned nodes that has cordoned some: others have cordoned the rest.
fn all_of_kind(analysis: &Analysis<'_>, node: &Node, done: &str) -> Option<Undone> {
    let (root, fields) = simple_path(template_text(node)?)?;
    let listed = *analysis.symbols.steps.get(root).filter(|_| fields == ["names"])?;
    let listing = analysis.document.steps.get(listed)?;
    // Another condition says which of them are meant.
    let [(key, cordoned)] = listing.with?.pairs()? else { return None };
    let cordoned = cordoned.scalar_value().filter(|_| key.text() == Some("cordoned"));
    if cordoned != Some(ScalarValue::Boolean(true)) {
        return None;
    }
    let mut before = analysis.steps.iter().enumerate().take(listed);
    let (by, step) =
        before.rfind(|(_, step)| step.signature.is_some_and(|found| found.name == done))?;
    step.signature?.output.field("changed")?;
    let raw = analysis.document.steps.get(by).filter(|raw| raw.for_each.is_none())?;
    let id = raw.id_text()?.to_owned();
    let message =
        format!("'{root}' lists all cordoned nodes, also those that '{id}' has not cordoned");
    Some((id, by, message))
}

/// Returns the step of an action whose output a parameter is.
fn undone(
    analysis: &Analysis<'_>,
    node: &Node,
    action: &str,
    output: &str,
) -> Option<(String, usize)> {
    let template = template::parse(template_text(node)?).ok()?;
    let (root, fields) = path(template.whole()?)?;
    let step = *analysis.symbols.steps.get(root)?;
    let signature = analysis.steps.get(step)?.signature?;
    let has_changed = signature.output.field("changed").is_some();
    let is_loop = analysis.document.steps.get(step)?.for_each.is_some();
    (signature.name == action && fields == [output] && has_changed && !is_loop)
        .then(|| (root.to_owned(), step))
}
