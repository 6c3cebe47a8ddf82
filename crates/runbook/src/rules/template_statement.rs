//! A statement or comment in a template.

use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB021",
    name: "template_statement",
    severity: Severity::Error,
    summary: "a statement or comment in a template",
    explanation: "\
Templates are expressions. {% if %}, {% for %}, {% set %} and {# comments #} are not supported: the
effect of a step must be readable without executing a program.

Instead of {% if c %}a{% else %}b{% endif %} write {{ a if c else b }}. Instead of a loop use a
filter, such as {{ nodes | join(', ') }}.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let (message, help) = match &issue.kind {
            TemplateIssueKind::Statement => (
                "statements are not supported in templates",
                "use an expression: {{ a if condition else b }}",
            ),
            TemplateIssueKind::Comment => {
                ("comments are not supported in templates", "use a YAML comment: # …")
            }
            _ => continue,
        };
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).help(help));
    }
}
