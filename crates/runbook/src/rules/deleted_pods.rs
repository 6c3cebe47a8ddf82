//! Pods that are used after a step has deleted them.

use std::collections::HashMap;

use super::super::analysis::flow::{each_of_items, simple_path, sources, template_text};
use super::super::document::{OnFailure, RawStep};
use super::super::template;
use super::super::yaml::Node;
use super::stale_pods::needs_them;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB120",
    name: "deleted_pods",
    severity: Severity::Warning,
    summary: "pods that are used after a step has deleted them",
    explanation: "\
A pod that was deleted does not come back: its workload starts another one in its place. To keep it, to delete it
again or to wait until it is Ready has no effect, or fails. List the pods again after the step, or wait with a selector.",
};

/// The action that deletes pods, its parameter, and its output with the pods that it has deleted.
const DELETING: (&str, &str, &str) = ("delete_pods", "pods", "deleted");

/// The parameters that need pods which are there.
const NEEDS: [(&str, &str); 3] =
    [("delete_pods", "pods"), ("wait_pods", "pods"), ("scale_deployment", "keep")];

/// The name of a step, and the fields after it.
type Path = (String, Vec<String>);

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut deleted: HashMap<Path, usize> = HashMap::new();
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let (Some(with), Some(action)) = (raw.with, step.signature) else { continue };
        // What is wrong with the parameters is said first.
        let needs_pods = step.issues.is_empty() && needs_them(with);
        let needs = NEEDS.iter().filter(|(name, _)| *name == action.name && needs_pods);
        for (_, parameter) in needs {
            let Some(node) = with.member(parameter) else { continue };
            let paths = listed(analysis, raw, node);
            let found = paths.iter().find_map(|path| Some((path, *deleted.get(path)?)));
            let Some(((root, _), by)) = found else { continue };
            let message = format!("'{}' has deleted these pods: they are gone", analysis.id(by));
            let help = match (*parameter, replacement(analysis, root)) {
                ("keep", Some(new)) => format!("write \"{{{{ {root}.{new} }}}}\""),
                ("pods", _) if action.name != DELETING.0 => {
                    "wait with 'deployment' or 'selector', or list the pods again after that step"
                        .to_owned()
                }
                _ => "list the pods again after that step".to_owned(),
            };
            let diagnostic = Diagnostic::new(&RULE, analysis.place_of(index, node), message)
                .label(analysis.declaration(by), "it deletes them");
            diagnostics.push(diagnostic.help(help));
        }
        let (name, parameter, output) = DELETING;
        let is_certain = raw.when.is_none() && step.policy.on_failure != OnFailure::Continue;
        if action.name != name || !is_certain {
            continue;
        }
        let paths = with.member(parameter).map(|node| whole(analysis, raw, node));
        for path in paths.unwrap_or_default() {
            deleted.entry(path).or_insert(index);
        }
        let own = raw.id_text().filter(|_| raw.for_each.is_none());
        if let Some(id) = own {
            deleted.insert((id.to_owned(), vec![output.to_owned()]), index);
        }
    }
}

/// Returns the field of a step with the pods that are there after it.
fn replacement(analysis: &Analysis<'_>, root: &str) -> Option<&'static str> {
    let step = *analysis.symbols.steps.get(root)?;
    let output = &analysis.steps.get(step)?.signature?.output;
    output.field("new_pods").map(|_| "new_pods")
}

/// Returns the lists that a parameter takes pods from; where it has the item of a loop, those of the loop.
fn listed(analysis: &Analysis<'_>, raw: &RawStep<'_>, node: &Node) -> Vec<Path> {
    let node = each_of_items(raw, node).unwrap_or(node);
    let Some(template) = template_text(node).and_then(|text| template::parse(text).ok()) else {
        return Vec::new();
    };
    let Some(expr) = template.whole() else { return Vec::new() };
    let mut found = Vec::new();
    sources(expr, &mut found);
    let is_step = |root: &str| analysis.symbols.steps.contains_key(root);
    let own = |fields: Vec<&str>| fields.into_iter().map(str::to_owned).collect();
    let found = found.into_iter().filter(|(root, _)| is_step(root));
    found.map(|(root, fields)| (root.to_owned(), own(fields))).collect()
}

/// Returns the list that a parameter is as a whole: a part of it leaves the others.
fn whole(analysis: &Analysis<'_>, raw: &RawStep<'_>, node: &Node) -> Vec<Path> {
    let list = each_of_items(raw, node).unwrap_or(node);
    let is_path = template_text(list).and_then(simple_path).is_some();
    if is_path { listed(analysis, raw, node) } else { Vec::new() }
}
