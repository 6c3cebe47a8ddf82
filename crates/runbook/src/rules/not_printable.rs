//! A list, map or record in the middle of a text.

use super::super::template::TemplateIssueKind;
use super::super::types::Type;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB036",
    name: "not_printable",
    severity: Severity::Error,
    summary: "a list, map or record in the middle of a text",
    explanation: "\
Only texts, numbers and booleans have one obvious written form. Use a filter that makes a text of
the value, such as | join(', ') or | length, or name one of its fields.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let TemplateIssueKind::NotPrintable(ty) = &issue.kind else {
            continue;
        };
        let message = format!("{} cannot stand in a text", ty.with_article());
        let help = match ty {
            Type::List(..) => "make one text of it: | join(', '), or count it: | length",
            Type::Record(_) => "name one of its fields",
            _ => "name one of its items, or count it: | length",
        };
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).help(help));
    }
}
