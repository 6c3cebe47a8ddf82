//! An expression that is too long.

use super::super::template::{Fault, MAX_BYTES, MAX_TOKENS};
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB022",
    name: "template_limit",
    severity: Severity::Error,
    summary: "an expression that is too long",
    explanation: "\
An expression of more than 256 names and signs, or a text of more than 32 KiB around one, cannot be
read by people, and its evaluation could
use up the machine. Split it, or give the action what it needs in several parameters.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (_, flaw) in book.template_flaws() {
        let message = match flaw.fault {
            Fault::TooLong => format!("this expression has more than {MAX_TOKENS} names and signs"),
            Fault::TooManyBytes => {
                format!("a text with templates in it is at most {} KiB", MAX_BYTES / 1024)
            }
            _ => continue,
        };
        findings.push(Finding::new(&RULE, flaw.span.clone(), message));
    }
}
