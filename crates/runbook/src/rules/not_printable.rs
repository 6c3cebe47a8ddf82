//! A list, map or record inside a string.

use super::super::template::TemplateIssueKind;
use super::super::types::Type;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity, expression_type_mismatch};

pub(crate) const RULE: Rule = Rule {
    code: "RB036",
    name: "not_printable",
    severity: Severity::Error,
    summary: "a list, map or record inside a string",
    explanation: "\
Only strings, numbers and booleans have one obvious written form. Use a filter that converts the
value to a string, such as | join(', ') or | length, or use one of its fields.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let TemplateIssueKind::NotPrintable(ty) = &issue.kind else {
            continue;
        };
        let message = format!("{} cannot be part of a string", ty.with_article());
        let help = match ty {
            Type::List(of, _) => {
                format!("{}, or count them: | length", expression_type_mismatch::joining(of))
            }
            Type::Record(record) => {
                let names: Vec<&str> = record.names().take(6).collect();
                format!("use one of its fields: {}", names.join(", "))
            }
            _ => "use one of its items, or count them: | length".to_owned(),
        };
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).help(help));
    }
}
