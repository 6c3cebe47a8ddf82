//! A step that uses its own output.

use super::super::template::Fault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB025",
    name: "own_output",
    severity: Severity::Error,
    summary: "a step that uses its own output",
    explanation: "\
A step's output exists when the step has succeeded, so its parameters and its condition cannot name
it. Its 'log' can.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (_, flaw) in book.template_flaws() {
        let Fault::OwnOutput(step) = flaw.fault else {
            continue;
        };
        let message = format!("the step '{}' cannot use its own output here", book.id(step));
        let finding = Finding::new(&RULE, flaw.span.clone(), message)
            .label(book.declaration(step), "this is the step");
        findings.push(finding.help("only 'log' is written after the step has run"));
    }
}
