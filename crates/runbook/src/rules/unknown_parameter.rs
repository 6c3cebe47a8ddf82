//! A parameter that the action does not have.

use super::super::analysis::ArgumentIssueKind;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB013",
    name: "unknown_parameter",
    severity: Severity::Error,
    summary: "a parameter that the action does not have",
    explanation: "\
`rafay-relay-sop actions NAME` lists the parameters of an action.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        let ArgumentIssueKind::UnknownParameter { name, owner, names } = &issue.kind else {
            continue;
        };
        let message = format!("{owner} has no {} {}", owner.member(), quoted(name));
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        let names = names.iter().map(String::as_str);
        diagnostics.push(diagnostic.suggest(&diagnostics.spelling, name, names));
    }
}
