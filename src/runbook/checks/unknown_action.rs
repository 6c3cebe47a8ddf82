//! An action that does not exist.

use super::super::yaml::quoted;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB012",
    name: "unknown_action",
    severity: Severity::Error,
    summary: "an action that does not exist",
    explanation: "\
A step's action is one of the catalogue's: `rafay-relay-sop actions` lists them with their
parameters and outputs.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (written, step) in book.document.steps.iter().zip(&book.steps) {
        let Some(node) = written.action.filter(|_| step.signature.is_none()) else {
            continue;
        };
        let name = node.text().unwrap_or_default();
        let names = book.catalogue.iter().map(|action| action.name.as_str());
        let message = format!("unknown action {}", quoted(name));
        let finding = Finding::new(&RULE, node.span.clone(), message);
        findings.push(finding.suggest(&findings.spelling, name, names));
    }
}
