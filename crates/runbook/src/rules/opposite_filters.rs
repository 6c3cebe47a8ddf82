//! Two filters of which no node satisfies both.

use super::super::yaml::{Node, ScalarValue};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB122",
    name: "opposite_filters",
    severity: Severity::Warning,
    summary: "two filters of which no node satisfies both",
    explanation: "\
A node is Ready when its condition Ready is true. A step that lists the Ready nodes whose condition Ready is false, or
the other way round, finds none, and what follows has nothing to do.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for with in analysis.document.steps.iter().filter_map(|step| step.with) {
        let condition = with.member("conditions").and_then(|conditions| {
            conditions.pairs()?.iter().find(|(key, _)| key.text() == Some("Ready"))
        });
        let (Some(ready), Some((key, value))) = (with.member("ready"), condition) else { continue };
        let (Some(wanted), Some(other)) = (flag(ready), flag(value)) else { continue };
        if wanted == other {
            continue;
        }
        let message = format!("no node is listed: 'ready' is {wanted}, but 'Ready' is {other}");
        let diagnostic = Diagnostic::new(&RULE, value.span.clone(), message)
            .label(ready.span.clone(), "the opposite is here");
        diagnostics.push(
            diagnostic.help(format!("remove '{}' or 'ready'", key.text().unwrap_or_default())),
        );
    }
}

fn flag(node: &Node) -> Option<bool> {
    match node.scalar_value() {
        Some(ScalarValue::Boolean(value)) => Some(value),
        Some(ScalarValue::Text("True" | "true")) => Some(true),
        Some(ScalarValue::Text("False" | "false")) => Some(false),
        _ => None,
    }
}
