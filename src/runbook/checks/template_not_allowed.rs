//! A template where only a literal can stand.

use std::ops::Range;

use super::super::document::Fault;
use super::super::examine::ArgumentFault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB037",
    name: "template_not_allowed",
    severity: Severity::Error,
    summary: "a template where only a literal can stand",
    explanation: "\
What a plan prints and a check compares must be known before the run: names, ids, timeouts, retries,
on_failure, and the declarations of inputs. Templates belong into 'with', 'when' and 'log'.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in &book.document.flaws {
        if let Fault::Template(what) = &flaw.fault {
            findings.push(finding(flaw.span.clone(), what));
        }
    }
    for flaw in &book.default_flaws {
        if matches!(flaw.fault, ArgumentFault::Template) {
            findings.push(finding(flaw.span.clone(), "an input's default"));
        }
    }
}

fn finding(span: Range<usize>, what: &str) -> Finding {
    let message = format!("{what} cannot be a template");
    Finding::new(&RULE, span, message).help("templates belong into 'with', 'when' and 'log'")
}
