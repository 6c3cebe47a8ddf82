//! An operator or filter on something that it cannot take.

use super::super::template::TemplateIssueKind;
use super::super::types::Type;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB030",
    name: "wrong_operand",
    severity: Severity::Error,
    summary: "an operator or filter on something that it cannot take",
    explanation: "\
Nothing is converted silently. A text is not a number: use | int. A number beside a text needs '~'
instead of '+'. Values of different kinds are never equal. Only booleans can be joined by 'and',
'or' and 'not': compare explicitly, as in nodes | length > 0. Durations are not compared.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        if let TemplateIssueKind::NeverEqual { word, values } = &issue.kind {
            let message = format!("this is never {}", quoted(word));
            let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
            let values = values.iter().map(String::as_str);
            let mut diagnostic = diagnostic.suggest(&diagnostics.spelling, word, values);
            diagnostic.suggestion = diagnostic.suggestion.map(|word| format!("'{word}'"));
            diagnostics.push(diagnostic);
            continue;
        }
        let Some((message, help)) = describe(&issue.kind) else {
            continue;
        };
        let mut diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        diagnostic.help = help.map(str::to_owned);
        diagnostics.push(diagnostic);
    }
}

fn describe(kind: &TemplateIssueKind) -> Option<(String, Option<&'static str>)> {
    Some(match kind {
        TemplateIssueKind::Operator { operator, left, right } => {
            describe_operator(operator, left, right.as_ref())
        }
        TemplateIssueKind::InvalidArgument { what, name, wanted, found } => {
            (format!("the {what} '{name}' takes {wanted}, not {found}"), None)
        }
        TemplateIssueKind::DivisionByZero => ("this divides by zero".to_owned(), None),
        TemplateIssueKind::NotSubscriptable(ty) => {
            (format!("{} has no items", ty.with_article()), Some("only lists, maps and records do"))
        }
        TemplateIssueKind::Subscript { wanted, found } => {
            (format!("this must be {wanted}, not {}", found.with_article()), None)
        }
        TemplateIssueKind::NotCondition(ty) => (
            format!("a condition must be a boolean, not {}", ty.with_article()),
            Some("compare explicitly, such as x > 0, x != '' or x | length > 0"),
        ),
        _ => return None,
    })
}

fn describe_operator(
    operator: &str,
    left: &Type,
    right: Option<&Type>,
) -> (String, Option<&'static str>) {
    let Some(right) = right else {
        let left = left.with_article();
        return (format!("'{operator}' takes a number, not {left}"), None);
    };
    let numeric = left.is_numeric() || right.is_numeric();
    let help = match (operator, left.is_text(), right.is_text()) {
        ("~", ..) if *left == Type::Boolean || *right == Type::Boolean => {
            Some("use '| string' to make a text of a boolean")
        }
        ("+", true, _) | ("+", _, true) => Some("use '~' to join texts"),
        ("==" | "!=", text, other) if text != other && numeric => {
            Some("they are never equal: use '| int' or '| string' on one of them")
        }
        ("==" | "!=", ..) => Some("they are never equal"),
        (_, true, false) | (_, false, true) if numeric => {
            Some("use '| int' to make a number of a text")
        }
        _ => None,
    };
    (format!("'{operator}' cannot take {left} and {right}"), help)
}
