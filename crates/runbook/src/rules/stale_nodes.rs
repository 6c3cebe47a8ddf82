//! Nodes that were listed before they were replaced.

use std::collections::HashMap;

use super::super::analysis::flow::{Target, sources, template_text};
use super::super::document::{RawStep, start_span};
use super::super::template;
use super::ended_nodes::{NAMING, NEEDING};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB129",
    name: "stale_nodes",
    severity: Severity::Warning,
    summary: "nodes that were listed before they were replaced",
    explanation: "\
Another version or image of a nodegroup replaces all of its nodes. A list from before names nodes that are gone: to
cordon, drain, label or taint them has no effect. List the nodes again after the step that replaces them.",
};

/// The action that replaces all nodes of a nodegroup. A runbook that ends nodes may leave those that were listed.
const REPLACING: &str = "update_nodegroup_version";

/// The outputs that are nodes, or their instances.
const LISTED: [&str; 3] = ["names", "nodes", "instances"];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut replaced: HashMap<&Target, usize> = HashMap::new();
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let action = step.signature.map(|action| action.name.as_str());
        if action.is_some_and(|name| NEEDING.contains(&name))
            && let Some(diagnostic) = check_step(analysis, &replaced, index, raw)
        {
            diagnostics.push(diagnostic);
        }
        let Some(facts) = analysis.flow.steps.get(index).filter(|facts| facts.is_certain) else {
            continue;
        };
        if action == Some(REPLACING) {
            replaced.extend(facts.target.as_ref().map(|target| (target, index)));
        }
    }
}

fn check_step(
    analysis: &Analysis<'_>,
    replaced: &HashMap<&Target, usize>,
    index: usize,
    raw: &RawStep<'_>,
) -> Option<Diagnostic> {
    let node = NAMING.iter().find_map(|name| raw.with?.member(name))?;
    let template = template::parse(template_text(node)?).ok()?;
    let mut lists = Vec::new();
    sources(template.whole()?, &mut lists);
    // Those from before and from after together are meant.
    let stale = lists.iter().map(|(root, fields)| {
        let step = *analysis.symbols.steps.get(*root)?;
        let target = analysis.flow.steps.get(step)?.target.as_ref()?;
        let is_listed = matches!(fields.as_slice(), [field] if LISTED.contains(field));
        let by = replaced.get(target).copied().filter(|by| is_listed && step < *by)?;
        Some((*root, by))
    });
    let stale: Option<Vec<(&str, usize)>> = stale.collect();
    let (root, by) = stale?.into_iter().next()?;
    // What a filter compares with a list from after it may be there.
    let mut words = template_text(node)?.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    if words.any(|word| analysis.symbols.steps.get(word).is_some_and(|step| *step > by)) {
        return None;
    }
    let (by_id, id) = (analysis.id(by), analysis.id(index));
    let message =
        format!("'{root}' has listed these nodes before '{by_id}' replaced them: they are gone");
    let diagnostic = Diagnostic::new(&RULE, start_span(node), message)
        .label(analysis.declaration(by), "it replaces the nodes")
        .help(format!("list the nodes again between '{by_id}' and '{id}'"));
    Some(diagnostic)
}
