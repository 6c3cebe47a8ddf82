//! An output whose name no template could use.

use super::super::document::DocumentIssueKind;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB068",
    name: "invalid_output",
    severity: Severity::Error,
    summary: "an output with an invalid name",
    explanation: "\
A runbook that calls this one uses an output as {{ STEP.NAME }}, so its name begins with a lowercase
letter and has lowercase letters, digits and '_'.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in &analysis.document.issues {
        let DocumentIssueKind::InvalidOutputName(name) = &issue.kind else { continue };
        let message = format!("{} is not a valid name of an output", quoted(name));
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        diagnostics.push(diagnostic.help("use lowercase letters, digits and '_'"));
    }
}
