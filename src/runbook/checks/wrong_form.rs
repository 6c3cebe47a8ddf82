//! A text that is not of its parameter's form.

use super::super::examine::ArgumentFault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB017",
    name: "wrong_form",
    severity: Severity::Error,
    summary: "a text that is not of its parameter's form",
    explanation: "\
Some texts have a form that the platform would only refuse in the middle of a run: durations (10m),
the names of Kubernetes objects, label keys, AWS regions (us-west-2), EC2 instance ids
(i-0123456789abcdef0). It is judged here instead.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in book.argument_flaws() {
        let ArgumentFault::Form { path, form, found } = &flaw.fault else {
            continue;
        };
        let message = format!("'{path}' {form}, not {found}");
        findings.push(Finding::new(&RULE, flaw.span.clone(), message));
    }
}
