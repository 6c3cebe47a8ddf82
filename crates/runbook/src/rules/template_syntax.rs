//! A template that is not a valid expression.

use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB020",
    name: "template_syntax",
    severity: Severity::Error,
    summary: "a template that is not a valid expression",
    explanation: "\
Between {{ and }} there is one expression: names, numbers, 'strings', operators, filters after '|',
and 'a if condition else b'.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let span = issue.span.clone();
        let diagnostic = match &issue.kind {
            TemplateIssueKind::Syntax(problem) => {
                let mut diagnostic = Diagnostic::new(&RULE, span, problem.message.clone());
                diagnostic.help.clone_from(&problem.help);
                diagnostic.suggestion.clone_from(&problem.suggestion);
                diagnostic
            }
            TemplateIssueKind::Unclosed => {
                Diagnostic::new(&RULE, span, "this '{{' is not closed: a '}}' is missing")
                    .help("add '}}' where the expression ends")
            }
            TemplateIssueKind::Empty => Diagnostic::new(&RULE, span, "empty expression")
                .help("write a name such as {{ inputs.NAME }}"),
            _ => continue,
        };
        diagnostics.push(diagnostic);
    }
}
