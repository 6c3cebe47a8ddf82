//! A call of a runbook that has errors.

use super::super::callables::CallProblem;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB067",
    name: "invalid_call",
    severity: Severity::Error,
    summary: "a call of a runbook that has errors",
    explanation: "\
A called runbook is checked as any other, and a run begins only when all of its texts are valid. The
first error is shown; `rafay-relay-sop validate` with that file shows them all.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (node, problem) in analysis.call_problems() {
        let CallProblem::Invalid { source, errors } = problem else { continue };
        let name = node.text().unwrap_or_default();
        let message = format!("the runbook '{name}' has {}", text::plural(errors.len(), "error"));
        let mut diagnostic =
            Diagnostic::new(&RULE, node.span.clone(), message).help("correct that runbook first");
        if let Some(first) = errors.first() {
            let text = format!("{}: {}", first.code, first.message);
            diagnostic = diagnostic.label_in(source, first.span.clone(), text);
            // Down to the error itself, where it is in a runbook that this one calls.
            let further = first.labels.iter().filter(|label| label.file.is_some());
            diagnostic.labels.extend(further.cloned());
        }
        diagnostics.push(diagnostic);
    }
}
