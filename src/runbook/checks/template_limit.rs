//! An expression that is too long.

use super::super::template::Fault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB022",
    name: "template_limit",
    severity: Severity::Error,
    summary: "an expression that is too long",
    explanation: "\
An expression of more than 256 names and signs cannot be read by people, and its evaluation could
use up the machine. Split it, or give the action what it needs in several parameters.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (_, flaw) in book.template_flaws() {
        if matches!(flaw.fault, Fault::TooLong) {
            let message = "this expression has more than 256 names and signs";
            findings.push(Finding::new(&RULE, flaw.span.clone(), message));
        }
    }
}
