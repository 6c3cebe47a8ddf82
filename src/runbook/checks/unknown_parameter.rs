//! A parameter that the action does not have.

use super::super::examine::ArgumentFault;
use super::super::yaml::quoted;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB013",
    name: "unknown_parameter",
    severity: Severity::Error,
    summary: "a parameter that the action does not have",
    explanation: "\
`rafay-relay-sop actions NAME` lists an action's parameters.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in book.argument_flaws() {
        let ArgumentFault::Unknown {
            name,
            place,
            names,
        } = &flaw.fault
        else {
            continue;
        };
        let message = format!("{place} has no {} {}", place.member(), quoted(name));
        let finding = Finding::new(&RULE, flaw.span.clone(), message);
        let names = names.iter().map(String::as_str);
        findings.push(finding.suggest(&findings.spelling, name, names));
    }
}
