//! An input that is not declared.

use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB026",
    name: "unknown_input",
    severity: Severity::Error,
    summary: "an input that is not declared",
    explanation: "\
Every input is declared under 'inputs' with its type.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let TemplateIssueKind::UnknownInput(name) = &issue.kind else {
            continue;
        };
        let diagnostic =
            Diagnostic::new(&RULE, issue.span.clone(), format!("unknown input '{name}'"));
        let names: Vec<&str> = analysis.symbols.inputs.names().collect();
        diagnostics.push(if names.is_empty() {
            diagnostic.help("declare the input under 'inputs' with its type")
        } else {
            diagnostic.suggest(&diagnostics.spelling, name, names)
        });
    }
}
