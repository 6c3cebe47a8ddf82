//! A key that the language does not have.

use super::super::document::{Fault, Place};
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB006",
    name: "unknown_key",
    severity: Severity::Error,
    summary: "a key that the language does not have",
    explanation: "\
A misspelt key would otherwise be ignored, and with it a timeout or a condition that somebody relies
on.

A runbook has name, description, inputs, defaults, steps. A step has id, name, action, with, when,
retry, timeout, on_failure, log; an action's own parameters go under 'with'.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in &book.document.flaws {
        let Fault::UnknownKey { key, place } = &flaw.fault else {
            continue;
        };
        let message = format!("{} has no key '{key}'", place.noun());
        let finding = Finding::new(&RULE, flaw.span.clone(), message);
        let finding = match is_parameter(book, key, *place) {
            true => finding.help(format!("'{key}' is a parameter: write it under 'with'")),
            false => finding.suggest(&findings.spelling, key, place.keys().iter().copied()),
        };
        findings.push(finding);
    }
}

/// Parameters written beside `action` instead of under `with` are a common slip.
fn is_parameter(book: &Book<'_>, key: &str, place: Place) -> bool {
    place == Place::Step && book.catalogue.iter().any(|action| action.params.field(key).is_some())
}
