//! A mapping has the same key twice.

use super::super::yaml::Fault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB003",
    name: "duplicate_key",
    severity: Severity::Error,
    summary: "a mapping has the same key twice",
    explanation: "\
Of two equal keys most YAML readers silently keep the last. In a runbook that would drop what the
author wrote, so it is an error.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in book.yaml {
        if let Fault::DuplicateKey { key, first } = &flaw.fault {
            let finding = Finding::new(&RULE, flaw.span.clone(), format!("duplicate key '{key}'"))
                .label(first.clone(), "first given here")
                .help("remove one of the two");
            findings.push(finding);
        }
    }
}
