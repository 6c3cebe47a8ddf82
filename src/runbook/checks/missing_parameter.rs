//! A parameter that the action cannot do without.

use super::super::examine::{ArgumentFault, Owner};
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB014",
    name: "missing_parameter",
    severity: Severity::Error,
    summary: "a parameter that the action cannot do without",
    explanation: "\
Parameters without a default must be given under 'with'.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in book.argument_flaws() {
        let ArgumentFault::Missing { name, ty, place } = &flaw.fault else {
            continue;
        };
        let message = format!("{place} needs the {} '{name}'", place.member());
        let help = match place {
            Owner::Action(_) => format!("add '{name}:' under 'with'; it is {}", ty.noun()),
            Owner::Record(_) => format!("add '{name}:'; it is {}", ty.noun()),
        };
        findings.push(Finding::new(&RULE, flaw.span.clone(), message).help(help));
    }
}
