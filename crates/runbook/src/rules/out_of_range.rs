//! A literal outside its parameter's limits.

use super::super::analysis::ArgumentIssueKind;
use super::super::types::requirement;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB016",
    name: "out_of_range",
    severity: Severity::Error,
    summary: "a literal outside its parameter's limits",
    explanation: "\
Numbers have a minimum and a maximum, strings and lists have a minimum and a maximum length;
`rafay-relay-sop actions NAME` lists them.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        let ArgumentIssueKind::OutOfRange { path, limits, found } = &issue.kind else {
            continue;
        };
        let message = format!("'{path}' {}, not {found}", requirement(limits));
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message));
    }
}
