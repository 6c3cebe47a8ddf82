//! A value of the wrong type for a key of the language.

use super::super::document::{DocumentIssueKind, RawStep, start_span};
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB008",
    name: "invalid_type",
    severity: Severity::Error,
    summary: "a value of the wrong type for a key of the language",
    explanation: "\
The keys of the language have fixed types: steps is a list, inputs and with are mappings, timeout is
a duration such as 10m, attempts is an integer from 1 to 100, on_failure is rollback, stop or
continue.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in &analysis.document.issues {
        let span = issue.span.clone();
        let diagnostic = match &issue.kind {
            DocumentIssueKind::InvalidType { what, wanted, found } => {
                Diagnostic::new(&RULE, span, format!("{what} must be {wanted}, not {found}"))
            }
            DocumentIssueKind::InvalidEnumValue { what, found, choices } => {
                let message = format!("'{found}' is not a valid value for {what}");
                let choices = choices.iter().copied();
                Diagnostic::new(&RULE, span, message).suggest(&diagnostics.spelling, found, choices)
            }
            DocumentIssueKind::InvalidDuration(message) => {
                Diagnostic::new(&RULE, span, message.clone())
            }
            _ => continue,
        };
        diagnostics.push(diagnostic);
    }
    for step in &analysis.document.steps {
        check_step(step, diagnostics);
    }
}

/// Reports a `with` that is not a mapping and a `log` that is not a string.
fn check_step(step: &RawStep<'_>, diagnostics: &mut Diagnostics) {
    let wrong = |node: &Node, what: &str, wanted: &str| {
        let message = format!("{what} must be {wanted}, not {}", node.describe());
        Diagnostic::new(&RULE, start_span(node), message)
    };
    if let Some(with) = step.with.filter(|with| !is_map(with)) {
        diagnostics.push(wrong(with, "with", "a mapping of parameters"));
    }
    if let Some(log) = step.log.filter(|log| !is_text(log)) {
        diagnostics.push(wrong(log, "log", "a string"));
    }
}

fn is_map(node: &Node) -> bool {
    node.pairs().is_some() || node.is_null() || node.is_broken()
}

fn is_text(node: &Node) -> bool {
    node.text().is_some() && !node.is_null() || node.is_broken()
}
