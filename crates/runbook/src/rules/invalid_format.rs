//! A string that does not have its parameter's format.

use super::super::analysis::ArgumentIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB017",
    name: "invalid_format",
    severity: Severity::Error,
    summary: "a string that does not have its parameter's format",
    explanation: "\
Some strings have a format that the platform would reject only in the middle of a run: durations
(10m), the names of Kubernetes objects, label keys, AWS regions (us-west-2), EC2 instance ids
(i-0123456789abcdef0). The format is checked before the run.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        let ArgumentIssueKind::InvalidFormat { path, form, found } = &issue.kind else {
            continue;
        };
        let message = format!("'{path}' {form}, not {found}");
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message));
    }
}
