//! Nodes that were listed before they were replaced.

use std::collections::HashMap;

use super::super::analysis::flow::{Part, Reading, Target, sources, template_text};
use super::super::callables::Callable;
use super::super::document::{RawStep, start_span};
use super::super::template;
use super::super::types::Syntax;
use super::super::yaml::Node;
use super::ended_nodes::{ENDING, NAMING, NEEDING};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB129",
    name: "stale_nodes",
    severity: Severity::Warning,
    summary: "nodes that were listed before they were replaced",
    explanation: "\
Another version or image of a nodegroup replaces all of its nodes, and so does a runbook that replaces them one by one.
A list from before names nodes that are gone: to cordon, drain, label or taint them has no effect. List the nodes again
after the step that replaces them.",
};

/// The action that replaces all nodes of a nodegroup.
const REPLACING: &str = "update_nodegroup_version";

/// The outputs that are nodes, or their instances.
const LISTED: [&str; 3] = ["names", "nodes", "instances"];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut replaced = Replaced::default();
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let action = step.signature.map(|action| action.name.as_str());
        if action.is_some_and(|name| NEEDING.contains(&name))
            && let Some(diagnostic) = check_step(analysis, &replaced, index, raw)
        {
            diagnostics.push(diagnostic);
        }
        let Some(facts) = analysis.flow.steps.get(index) else { continue };
        if !facts.is_certain || raw.when.is_some() || raw.for_each.is_some() {
            continue;
        }
        if action == Some(REPLACING) {
            replaced.groups.extend(facts.target.as_ref().map(|target| (target, index)));
        }
        replaced.names.extend(names_of_call(analysis, raw).into_iter().map(|name| (name, index)));
    }
}

/// The groups whose nodes were replaced, and the last step that did it.
#[derive(Default)]
struct Replaced<'a> {
    groups: HashMap<&'a Target, usize>,
    /// Those of calls, which name a group among other things.
    names: HashMap<Part, usize>,
}

impl Replaced<'_> {
    fn by(&self, target: &Target) -> Option<usize> {
        let name = target.part("name").and_then(|name| self.names.get(name));
        self.groups.get(target).max(name).copied()
    }
}

/// Returns what a runbook is called with that replaces the nodes of a group.
fn names_of_call(analysis: &Analysis<'_>, raw: &RawStep<'_>) -> Vec<Part> {
    let called = raw.call.and_then(Node::text).and_then(|name| analysis.callables.get(name));
    if !called.is_some_and(replaces_all) {
        return Vec::new();
    }
    let reading = Reading::new(analysis, &analysis.flow);
    let given = raw.with.and_then(Node::pairs).unwrap_or_default().iter();
    let texts = given.filter(|(_, value)| value.text().is_some());
    texts.filter_map(|(_, value)| reading.part(value)).collect()
}

/// Whether a runbook ends nodes of a group, and is not given which.
fn replaces_all(called: &Callable) -> bool {
    let is_one = |syntax| matches!(syntax, Syntax::NodeName | Syntax::InstanceId);
    [ENDING, REPLACING].iter().any(|action| called.actions.contains(*action))
        && !called.signature.params.fields.iter().any(|field| field.ty.kind().is_some_and(is_one))
}

fn check_step(
    analysis: &Analysis<'_>,
    replaced: &Replaced<'_>,
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
        let by = replaced.by(target).filter(|by| is_listed && step < *by)?;
        Some((*root, by))
    });
    let stale: Option<Vec<(&str, usize)>> = stale.collect();
    let (root, by) = stale?.into_iter().next()?;
    let (by_id, id) = (analysis.id(by), analysis.id(index));
    let message =
        format!("'{root}' has listed these nodes before '{by_id}' replaced them: they are gone");
    let diagnostic = Diagnostic::new(&RULE, start_span(node), message)
        .label(analysis.declaration(by), "it replaces the nodes")
        .help(format!("list the nodes again between '{by_id}' and '{id}'"));
    Some(diagnostic)
}
