//! A literal outside its parameter's limits.

use super::super::examine::ArgumentFault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB016",
    name: "out_of_range",
    severity: Severity::Error,
    summary: "a literal outside its parameter's limits",
    explanation: "\
Numbers have a least and a greatest value, texts and lists a shortest and a longest length, as
`rafay-relay-sop actions NAME` lists them.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in book.argument_flaws() {
        let ArgumentFault::Limit {
            path,
            limits,
            found,
        } = &flaw.fault
        else {
            continue;
        };
        let message = format!("'{path}' must be {limits}, not {found}");
        findings.push(Finding::new(&RULE, flaw.span.clone(), message));
    }
}
