//! An expression that is too long.

use super::super::template::{MAX_BYTES, MAX_TOKENS, TemplateIssueKind};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB022",
    name: "template_limit",
    severity: Severity::Error,
    summary: "an expression that is too long",
    explanation: "\
An expression of more than 256 names and signs, or a text of more than 32 KiB around one, cannot be
read by people, and its evaluation could
use up the machine. Split it, or give the action what it needs in several parameters.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let message = match issue.kind {
            TemplateIssueKind::TooLong => {
                format!("this expression has more than {MAX_TOKENS} names and signs")
            }
            TemplateIssueKind::TooManyBytes => {
                format!("a text with templates in it is at most {} KiB", MAX_BYTES / 1024)
            }
            _ => continue,
        };
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message));
    }
}
