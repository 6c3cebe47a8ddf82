//! The file is larger or nests deeper than a runbook ever is.

use super::super::yaml::{Fault, MAX_BYTES, MAX_DEPTH, MAX_NODES};
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB002",
    name: "too_large",
    severity: Severity::Error,
    summary: "the file is larger or nests deeper than a runbook ever is",
    explanation: "\
Limits keep a hostile or broken file from using up the machine that checks it: 1 MiB of text,
400,000 values, 32 levels of nesting. The thirteen steps of relay-scale take 6 KiB and 5 levels.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in book.yaml {
        let message = match flaw.fault {
            Fault::TooManyBytes => format!("the file is larger than {} KiB", MAX_BYTES / 1024),
            Fault::TooManyNodes => format!("the file has more than {MAX_NODES} values"),
            // The parser gives up by itself where brackets are nested deeper still.
            Fault::TooDeep => format!("this is nested more than {MAX_DEPTH} levels deep"),
            _ => continue,
        };
        findings.push(Finding::new(&RULE, flaw.span.clone(), message));
    }
}
