//! The output of a step that has not run yet.

use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB024",
    name: "forward_reference",
    severity: Severity::Error,
    summary: "the output of a step that has not run yet",
    explanation: "\
Steps run in the order of the file. A step can only name the outputs of steps above it.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let TemplateIssueKind::ForwardReference(step) = issue.kind else {
            continue;
        };
        let message = format!("the step '{}' has not run yet here", analysis.id(step));
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message)
            .label(analysis.declaration(step), "it comes later");
        diagnostics
            .push(diagnostic.help("move it above this step, or use an earlier step's output"));
    }
}
