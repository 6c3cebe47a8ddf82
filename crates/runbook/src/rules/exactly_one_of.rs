//! None or several of a group of mutually exclusive parameters.

use super::super::analysis::ArgumentIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB019",
    name: "exactly_one_of",
    severity: Severity::Error,
    summary: "none or several of a group of mutually exclusive parameters",
    explanation: "\
Some parameters exclude each other: instances are given either by the names of their nodes or by
their instance ids. Exactly one parameter of such a group is required.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        let ArgumentIssueKind::ExactlyOneOf { group, first, owner } = &issue.kind else {
            continue;
        };
        let message = format!("{owner} requires exactly one of {}", group.join(", "));
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        diagnostics.push(match first {
            Some(first) => {
                diagnostic.label(first.clone(), "first given here").help("remove one of them")
            }
            None => diagnostic.help(format!("add one of them{}", owner.place())),
        });
    }
}
