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
        let (message, help) = match &issue.kind {
            TemplateIssueKind::Syntax(detail) => {
                let text = analysis.source.text();
                let rest = text.get(issue.span.start..).unwrap_or_default();
                syntax(detail, rest)
            }
            TemplateIssueKind::Unclosed => ("unclosed '{{'".to_owned(), Some("add '}}'")),
            TemplateIssueKind::Empty => {
                ("empty expression".to_owned(), Some("write a name such as {{ inputs.NAME }}"))
            }
            _ => continue,
        };
        let mut diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        diagnostic.help = help.map(str::to_owned);
        diagnostics.push(diagnostic);
    }
}

/// Returns the message of a syntax error, and the remedy for operators of other languages.
fn syntax(detail: &str, rest: &str) -> (String, Option<&'static str>) {
    let habit = [
        ("&&", "write 'and'"),
        ("||", "write 'or'"),
        ("!", "write 'not', or '!=' for unequal"),
        ("?", "write 'a if condition else b'"),
        ("=", "write '==' to compare"),
        ("$", "write names without '$'"),
    ];
    let habit = habit.iter().find(|(sign, _)| rest.starts_with(sign)).map(|(_, help)| *help);
    let message = if detail.contains("unexpected end of variable block") {
        "incomplete expression before '}}'".to_owned()
    } else if detail.contains("unexpected end of string") {
        "unclosed string: the closing quote is missing".to_owned()
    } else {
        format!("invalid expression: {detail}")
    };
    (message, habit)
}
