//! A template that is too long.

use super::super::template::{MAX_BYTES, MAX_TOKENS, TemplateIssueKind};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB022",
    name: "template_limit",
    severity: Severity::Error,
    summary: "a template that is too long",
    explanation: "\
An expression can have at most 256 tokens, and a string with templates at most 32 KiB, so that
parsing and evaluating a template cannot exhaust the machine. Split the expression, or pass the
values to the action in several parameters.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let message = match issue.kind {
            TemplateIssueKind::TooLong => {
                format!("this expression has more than {MAX_TOKENS} tokens")
            }
            TemplateIssueKind::TooManyBytes => {
                format!("a string with templates can have at most {} KiB", MAX_BYTES / 1024)
            }
            _ => continue,
        };
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message));
    }
}
