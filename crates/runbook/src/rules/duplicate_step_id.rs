//! Two steps with one id.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB011",
    name: "duplicate_step_id",
    severity: Severity::Error,
    summary: "two steps with one id",
    explanation: "\
A template that names the id could mean either. Each step's id is its own.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (index, step) in analysis.document.steps.iter().enumerate() {
        let Some((node, id)) = step.id.zip(step.id_text()) else {
            continue;
        };
        let first = analysis.symbols.steps.get(id).copied().unwrap_or(index);
        if first != index {
            let message = format!("the id '{id}' is taken");
            let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message)
                .label(analysis.declaration(first), "by this step");
            diagnostics.push(diagnostic.help("give one of the two another id"));
        }
    }
}
