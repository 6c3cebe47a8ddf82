//! None or several of a group of which exactly one is given.

use super::super::analysis::ArgumentIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB019",
    name: "exactly_one_of",
    severity: Severity::Error,
    summary: "none or several of a group of which exactly one is given",
    explanation: "\
Some parameters exclude each other: a set of instances is named by its nodes or by its instance ids,
never by both and never by nothing.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        let ArgumentIssueKind::ExactlyOneOf { group, first, owner } = &issue.kind else {
            continue;
        };
        let message = format!("{owner} needs exactly one of {}", group.join(", "));
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        diagnostics.push(match first {
            Some(first) => diagnostic.label(first.clone(), "one is given here").help("remove one"),
            None => diagnostic.help("none is given: add one under 'with'"),
        });
    }
}
