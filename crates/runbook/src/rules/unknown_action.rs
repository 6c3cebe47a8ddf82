//! An action that does not exist.

use super::super::document::RawStep;
use super::super::habits;
use super::super::yaml::{Node, quoted};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB012",
    name: "unknown_action",
    severity: Severity::Error,
    summary: "an action that does not exist",
    explanation: "\
`rafay-relay-sop actions` lists the actions with their parameters and outputs.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let Some(node) = raw.action.filter(|_| step.signature.is_none()) else {
            continue;
        };
        let name = node.text().unwrap_or_default();
        let names = analysis.registry.names();
        let message = format!("unknown action {}", quoted(name));
        let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message);
        if let Some(action) = action_by_parameters(analysis, raw, name) {
            diagnostics.push(diagnostic.replace(action));
            continue;
        }
        if analysis.callables.is_runbook(name) {
            let help = format!("{name} is a runbook: write 'call: {name}'");
            diagnostics.push(diagnostic.help(help));
            continue;
        }
        let meant = habits::action(name).filter(|action| analysis.registry.get(action).is_some());
        diagnostics.push(match meant {
            Some(action) => diagnostic.replace(action),
            None => diagnostic.suggest(&diagnostics.spelling, name, names),
        });
    }
}

/// Returns the action that is called as a runbook is but for its hyphens, where it has all parameters that are given.
fn action_by_parameters(analysis: &Analysis<'_>, step: &RawStep<'_>, name: &str) -> Option<String> {
    let action = analysis.registry.get(&name.replace('-', "_"))?;
    let given = step.with.and_then(Node::pairs).filter(|given| !given.is_empty())?;
    let has = |name: &str| action.params.field(name).is_some();
    let has_all = given.iter().all(|(key, _)| key.text().is_some_and(has));
    has_all.then(|| action.name.clone())
}
