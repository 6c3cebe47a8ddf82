//! A step that uses its own output.

use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB025",
    name: "self_reference",
    severity: Severity::Error,
    summary: "a step that uses its own output",
    explanation: "\
The output of a step exists only after the step has succeeded, so its parameters and its condition
cannot use it. Its 'log' can.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let TemplateIssueKind::SelfReference(step) = issue.kind else {
            continue;
        };
        let message = format!("the step '{}' cannot use its own output here", analysis.id(step));
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message)
            .label(analysis.declaration(step), "this is the step");
        diagnostics.push(diagnostic.help(
            "only 'log' can use it, because 'log' is evaluated after the step has succeeded",
        ));
    }
}
