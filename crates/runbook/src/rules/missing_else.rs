//! `a if condition` without `else`.

use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB033",
    name: "missing_else",
    severity: Severity::Error,
    summary: "'a if condition' without 'else'",
    explanation: "\
When the condition is false, such an expression has no value, and the step would fail in the middle
of the run. Write {{ a if condition else b }}.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        if matches!(issue.kind, TemplateIssueKind::MissingElse) {
            let message = "this expression has no value when its condition is false";
            let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
            diagnostics.push(diagnostic.help("add 'else': a if condition else b"));
        }
    }
}
