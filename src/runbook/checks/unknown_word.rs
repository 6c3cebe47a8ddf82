//! A word that is none of its parameter's choices.

use super::super::examine::ArgumentFault;
use super::super::yaml::quoted;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB018",
    name: "unknown_word",
    severity: Severity::Error,
    summary: "a word that is none of its parameter's choices",
    explanation: "\
An enum parameter takes one of a few words.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in book.argument_flaws() {
        let ArgumentFault::Word { path, found, words } = &flaw.fault else {
            continue;
        };
        let message = format!("'{path}' cannot be {}", quoted(found));
        let finding = Finding::new(&RULE, flaw.span.clone(), message);
        let words = words.iter().map(String::as_str);
        findings.push(finding.suggest(&findings.spelling, found, words));
    }
}
