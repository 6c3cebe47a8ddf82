//! The output of a step that has not run yet.

use super::super::template::Fault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB024",
    name: "later_step",
    severity: Severity::Error,
    summary: "the output of a step that has not run yet",
    explanation: "\
Steps run in the order of the file. A step can only name the outputs of steps above it.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (_, flaw) in book.template_flaws() {
        let Fault::LaterStep(step) = flaw.fault else {
            continue;
        };
        let message = format!("the step '{}' has not run yet here", book.id(step));
        let finding = Finding::new(&RULE, flaw.span.clone(), message)
            .label(book.declaration(step), "it comes later");
        findings.push(finding.help("move it above this step, or use an earlier step's output"));
    }
}
