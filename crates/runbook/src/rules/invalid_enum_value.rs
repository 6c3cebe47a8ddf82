//! A word that is none of its parameter's choices.

use super::super::analysis::ArgumentIssueKind;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB018",
    name: "invalid_enum_value",
    severity: Severity::Error,
    summary: "a word that is none of its parameter's choices",
    explanation: "\
An enum parameter takes one of a few words.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        let ArgumentIssueKind::InvalidEnumValue { path, found, values } = &issue.kind else {
            continue;
        };
        let message = format!("'{path}' cannot be {}", quoted(found));
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        let values = values.iter().map(String::as_str);
        diagnostics.push(diagnostic.suggest(&diagnostics.spelling, found, values));
    }
}
