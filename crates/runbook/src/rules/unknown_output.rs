//! A field that an output does not have.

use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB027",
    name: "unknown_output",
    severity: Severity::Error,
    summary: "a field that an output does not have",
    explanation: "\
The output of an action is a record with fixed fields; `rafay-relay-sop actions NAME` lists them.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let span = issue.span.clone();
        match &issue.kind {
            TemplateIssueKind::UnknownField { step, path, name, record } => {
                let message = match step {
                    Some(_) => format!("the output of the step '{path}' has no field '{name}'"),
                    None => format!("'{path}' has no field '{name}'"),
                };
                let diagnostic = Diagnostic::new(&RULE, span, message);
                let diagnostic = match step {
                    Some(step) => {
                        let text = format!("the {} has no such field", record.name);
                        diagnostic.label(analysis.declaration(*step), text)
                    }
                    None => diagnostic,
                };
                diagnostics.push(diagnostic.suggest(&diagnostics.spelling, name, record.names()));
            }
            TemplateIssueKind::NoFields { name, ty } => {
                let message = format!("'{name}' not found: {} has no fields", ty.with_article());
                diagnostics.push(Diagnostic::new(&RULE, span, message));
            }
            _ => {}
        }
    }
}
