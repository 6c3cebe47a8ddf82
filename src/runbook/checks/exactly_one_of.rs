//! None or several of a group of which exactly one is given.

use super::super::examine::ArgumentFault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB019",
    name: "exactly_one_of",
    severity: Severity::Error,
    summary: "none or several of a group of which exactly one is given",
    explanation: "\
Some parameters exclude each other: a set of instances is named by its nodes or by its instance ids,
never by both and never by nothing.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in book.argument_flaws() {
        let ArgumentFault::Group {
            group,
            first,
            place,
        } = &flaw.fault
        else {
            continue;
        };
        let message = format!("{place} needs exactly one of {}", group.join(", "));
        let finding = Finding::new(&RULE, flaw.span.clone(), message);
        findings.push(match first {
            Some(first) => finding.label(first.clone(), "one is given here").help("remove one"),
            None => finding.help("none is given: add one under 'with'"),
        });
    }
}
