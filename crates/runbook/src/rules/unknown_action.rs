//! An action that does not exist.

use super::super::habits;
use super::super::yaml::quoted;
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
        let names = analysis.registry.iter().map(|action| action.name.as_str());
        let message = format!("unknown action {}", quoted(name));
        let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message);
        let meant = habits::action(name).filter(|action| analysis.registry.get(action).is_some());
        diagnostics.push(match meant {
            Some(action) => diagnostic.replace(action),
            None => diagnostic.suggest(&diagnostics.spelling, name, names),
        });
    }
}
