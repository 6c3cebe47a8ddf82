//! Two steps with one id.

use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB011",
    name: "duplicate_step_id",
    severity: Severity::Error,
    summary: "two steps with one id",
    explanation: "\
A template that names the id could mean either. Each step's id is its own.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (index, step) in book.document.steps.iter().enumerate() {
        let Some((node, id)) = step.id.zip(step.id_text()) else {
            continue;
        };
        let first = book.names.steps.get(id).copied().unwrap_or(index);
        if first != index {
            let message = format!("the id '{id}' is taken");
            let finding = Finding::new(&RULE, node.span.clone(), message)
                .label(book.declaration(first), "by this step");
            findings.push(finding.help("give one of the two another id"));
        }
    }
}
