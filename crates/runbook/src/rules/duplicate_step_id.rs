//! Two steps with the same id.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB011",
    name: "duplicate_step_id",
    severity: Severity::Error,
    summary: "two steps with the same id",
    explanation: "\
A template that names the id would be ambiguous. Step ids are unique within a runbook.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (index, step) in analysis.document.steps.iter().enumerate() {
        let Some((node, id)) = step.id.zip(step.id_text()) else {
            continue;
        };
        let first = analysis.symbols.steps.get(id).copied().unwrap_or(index);
        if first != index {
            let message = format!("duplicate step id '{id}'");
            let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message)
                .label(analysis.declaration(first), "first used by this step");
            diagnostics.push(diagnostic.help("give one of the two steps another id"));
        }
    }
}
