//! Pods that were listed before they were replaced.

use std::collections::HashMap;

use super::super::analysis::flow::{EffectKind, Flow, REPLACING, Target, sources, template_text};
use super::super::template;
use super::super::yaml::{Node, ScalarValue};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB081",
    name: "stale_pods",
    severity: Severity::Warning,
    summary: "pods that were listed before they were replaced",
    explanation: "\
A restart, another image and a return to an earlier revision replace all pods of a workload. A list from before names
pods that are gone: to delete them, to keep them or to wait until they are Ready has no effect, and the instances that
they ran on need no protection. List the pods again after the step that replaces them.",
};

/// The parameters that need pods which are there, or the nodes that these run on.
const NEEDS: [(&str, &str, &[&str]); 5] = [
    ("delete_pods", "pods", PODS),
    ("wait_pods", "pods", PODS),
    ("scale_deployment", "keep", PODS),
    ("set_protection", "instances", &["instances"]),
    ("set_protection", "nodes", &["nodes"]),
];

/// The outputs that are pods.
const PODS: &[&str] = &["pods", "new_pods", "before"];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let flow = &analysis.flow;
    let mut replaced: HashMap<&Target, usize> = HashMap::new();
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let (Some(with), Some(action)) = (raw.with, step.signature) else { continue };
        for (_, parameter, outputs) in NEEDS.iter().filter(|(name, _, _)| *name == action.name) {
            let Some(node) = with.member(parameter).filter(|_| needs_them(with)) else { continue };
            let Some((root, by)) = stale(analysis, flow, &replaced, node, outputs) else {
                continue;
            };
            let message = format!(
                "'{root}' has listed these pods before '{}' replaced them: they are gone",
                analysis.id(by)
            );
            let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message)
                .label(analysis.declaration(by), "it replaces the pods")
                .help("list the pods again after that step");
            diagnostics.push(diagnostic);
        }
        let Some(facts) = flow.steps.get(index) else { continue };
        if let (Some(target), true, true) =
            (&facts.target, facts.is_certain, REPLACING.contains(&action.name.as_str()))
        {
            replaced.insert(target, index);
        }
        for act in &facts.acts {
            let effect = &act.effect;
            if let (EffectKind::Change { replaces: true, .. }, Some(target), true) =
                (&effect.kind, &effect.target, effect.is_certain)
            {
                replaced.insert(target, index);
            }
        }
    }
}

/// Whether a step needs what is listed: to wait until old pods are gone, or to lift a protection, is no mistake.
pub(super) fn needs_them(with: &Node) -> bool {
    let goes = with.member("until").is_some_and(|until| until.text() != Some("ready"));
    let lifts = with
        .member("protected")
        .is_some_and(|flag| !matches!(flag.scalar_value(), Some(ScalarValue::Boolean(true))));
    !goes && !lifts
}

/// Returns the step that has listed what a parameter has, and the one that has replaced it since.
fn stale(
    analysis: &Analysis<'_>,
    flow: &Flow,
    replaced: &HashMap<&Target, usize>,
    node: &Node,
    outputs: &[&str],
) -> Option<(String, usize)> {
    let template = template::parse(template_text(node)?).ok()?;
    let mut found = Vec::new();
    sources(template.whole()?, &mut found);
    let listed = |(root, fields): &(&str, Vec<&str>)| {
        let step = *analysis.symbols.steps.get(*root)?;
        let (target, fields) = flow.target_of_path(step, fields)?;
        let by = *replaced.get(target)?;
        let is_listed = fields.first().is_some_and(|field| outputs.contains(field));
        is_listed.then_some((step, by))
    };
    // Those from before and from after together are meant.
    if found.iter().filter_map(listed).any(|(step, by)| step > by) {
        return None;
    }
    found.iter().find_map(|one| {
        let (step, by) = listed(one)?;
        (step < by).then(|| (one.0.to_owned(), by))
    })
}
