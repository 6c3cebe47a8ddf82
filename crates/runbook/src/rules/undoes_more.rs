//! An undo of more than was changed.

use super::super::analysis::flow::{each_of_items, path, template_text};
use super::super::template;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB082",
    name: "undoes_more",
    severity: Severity::Warning,
    summary: "an undo of more than was changed",
    explanation: "\
A step that cordons nodes leaves those as they are that were cordoned before, by another person or for another reason:
its output 'nodes' has all of them, 'changed' only those that it cordoned. Undo what is in 'changed'.",
};

/// Undoing actions: the action and its parameter, the action that is undone, its output, and a parameter without which
/// the action does not undo.
const UNDO: [(&str, &str, &str, &str, Option<&str>); 4] = [
    ("uncordon", "nodes", "cordon", "nodes", None),
    ("uncordon", "nodes", "drain", "nodes", None),
    ("cordon", "nodes", "uncordon", "nodes", None),
    ("taint_nodes", "nodes", "taint_nodes", "nodes", Some("remove")),
];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let (Some(with), Some(action)) = (raw.with, step.signature) else { continue };
        for (undo, parameter, done, output, needs) in UNDO {
            let is_undo =
                undo == action.name && needs.is_none_or(|name| with.member(name).is_some());
            let Some(node) = with.member(parameter).filter(|_| is_undo) else { continue };
            let node = each_of_items(raw, node).unwrap_or(node);
            let Some((id, declared)) = undone(analysis, node, done, output) else { continue };
            let message = format!(
                "'{id}.{output}' includes those that '{id}' did not have to change: this step undoes more than '{id}' has done"
            );
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
