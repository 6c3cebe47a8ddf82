//! A key that the language does not have.

use super::super::document::{DocumentIssueKind, MappingKind};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB006",
    name: "unknown_key",
    severity: Severity::Error,
    summary: "a key that the language does not have",
    explanation: "\
A misspelled key would otherwise be ignored, and with it a timeout or a condition that matters.

A runbook has name, description, inputs, defaults, limits, steps, outputs. A step has id, name, action, with, when,
retry, timeout, on_failure, log; the parameters of an action are given under 'with'.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in &analysis.document.issues {
        let DocumentIssueKind::UnknownKey { key, mapping } = &issue.kind else {
            continue;
        };
        let message = format!("{} has no key '{key}'", mapping.with_article());
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        let diagnostic = if is_parameter(analysis, key, *mapping) {
            diagnostic.help(format!("'{key}' is a parameter: move it under 'with'"))
        } else {
            diagnostic.suggest(&diagnostics.spelling, key, mapping.keys().iter().copied())
        };
        diagnostics.push(diagnostic);
    }
}

/// Whether the key is a parameter of an action, written beside `action` instead of under `with`.
fn is_parameter(analysis: &Analysis<'_>, key: &str, mapping: MappingKind) -> bool {
    mapping == MappingKind::Step
        && analysis.registry.iter().any(|action| action.params.field(key).is_some())
}
