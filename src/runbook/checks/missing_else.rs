//! 'a if condition' without 'else'.

use super::super::template::Fault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB033",
    name: "missing_else",
    severity: Severity::Error,
    summary: "'a if condition' without 'else'",
    explanation: "\
Where the condition is false, such an expression has no value, and the step would fail in the middle
of the run. Write {{ a if condition else b }}.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (_, flaw) in book.template_flaws() {
        if matches!(flaw.fault, Fault::MissingElse) {
            let message = "this has no value where its condition is false";
            let finding = Finding::new(&RULE, flaw.span.clone(), message);
            findings.push(finding.help("add 'else': a if condition else b"));
        }
    }
}
