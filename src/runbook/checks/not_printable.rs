//! A list, map or record in the middle of a text.

use super::super::template::Fault;
use super::super::types::Type;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB036",
    name: "not_printable",
    severity: Severity::Error,
    summary: "a list, map or record in the middle of a text",
    explanation: "\
Only texts, numbers and booleans have one obvious written form. Use a filter that makes a text of
the value, such as | join(', ') or | length, or name one of its fields.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (_, flaw) in book.template_flaws() {
        let Fault::NotPrintable(ty) = &flaw.fault else {
            continue;
        };
        let message = format!("{} cannot stand in a text", ty.noun());
        let help = match ty {
            Type::List(..) => "make one text of it: | join(', '), or count it: | length",
            Type::Record(_) => "name one of its fields",
            _ => "name one of its items, or count it: | length",
        };
        findings.push(Finding::new(&RULE, flaw.span.clone(), message).help(help));
    }
}
