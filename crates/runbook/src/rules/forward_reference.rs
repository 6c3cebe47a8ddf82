//! The output of a later step.

use super::super::analysis::Role;
use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB024",
    name: "forward_reference",
    severity: Severity::Error,
    summary: "the output of a later step",
    explanation: "\
Steps run in the order of the file. A step can only use the outputs of the steps above it. The limits
of a runbook are decided before the first step, and can use the inputs only.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (site, issue) in analysis.template_issues() {
        let TemplateIssueKind::ForwardReference(step) = issue.kind else {
            continue;
        };
        if matches!(site.role, Role::Limit(_)) {
            let id = analysis.id(step);
            let message = format!("a limit cannot use the output of the step '{id}'");
            let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message)
                .label(analysis.declaration(step), "this step runs later");
            diagnostics
                .push(diagnostic.help("limits are decided before the first step: use inputs"));
            continue;
        }
        let message = format!("the step '{}' has not run yet at this point", analysis.id(step));
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message)
            .label(analysis.declaration(step), "this step runs later");
        diagnostics.push(
            diagnostic.help("move that step above this one, or use the output of an earlier step"),
        );
    }
}
