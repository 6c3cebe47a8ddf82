//! An operator or filter that does not accept its operand.

use super::super::template::TemplateIssueKind;
use super::super::types::Type;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB030",
    name: "wrong_operand",
    severity: Severity::Error,
    summary: "an operator or filter that does not accept its operand",
    explanation: "\
Values are not converted implicitly. A string is not a number: use | int. Join a number and a string
with '~' instead of '+'. Values of different kinds are never equal. Only booleans can be joined by
'and', 'or' and 'not': compare explicitly, as in nodes | length > 0. Durations cannot be compared.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        if let TemplateIssueKind::NeverEqual { word, values } = &issue.kind {
            let message = format!("this value is never {}", quoted(word));
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
            (format!("the {what} '{name}' requires {wanted}, not {found}"), None)
        }
        TemplateIssueKind::DivisionByZero => ("division by zero".to_owned(), None),
        TemplateIssueKind::NotSubscriptable(ty) => (
            format!("{} has no items", ty.with_article()),
            Some("only lists, maps and records have items"),
        ),
        TemplateIssueKind::Subscript { of, wanted, found } => {
            let (of, found) = (of.with_article(), found.with_article());
            (format!("the subscript of {of} must be {wanted}, not {found}"), None)
        }
        TemplateIssueKind::UnquotedWord(word) => (
            format!("'{word}' is a word, and is read as the name of a step"),
            Some("put the word in quotes"),
        ),
        TemplateIssueKind::NotCondition(ty) => (
            format!("a condition must be a boolean, not {}", ty.with_article()),
            Some("compare explicitly, such as x > 0, x != '' or x | length > 0"),
        ),
        _ => return None,
    })
}

fn is_list(ty: &Type) -> bool {
    matches!(ty.non_null(), Type::List(..))
}

fn describe_operator(
    operator: &str,
    left: &Type,
    right: Option<&Type>,
) -> (String, Option<&'static str>) {
    let Some(right) = right else {
        let left = left.with_article();
        return (format!("'{operator}' requires a number, not {left}"), None);
    };
    let numeric = left.is_numeric() || right.is_numeric();
    let help = match (operator, left.is_text(), right.is_text()) {
        ("~", ..) if *left == Type::Boolean || *right == Type::Boolean => {
            Some("use '| string' to convert a boolean to a string")
        }
        ("and", ..) => Some("compare explicitly, such as x > 0, x != '' or x | length > 0"),
        ("or", ..) => Some(
            "'or' joins conditions, such as x > 0 or y > 0; instead of a missing value: x | default(y)",
        ),
        ("+", true, _) | ("+", _, true) if numeric => {
            Some("use '| int' to convert a string to an integer, or '~' to join strings")
        }
        ("+", true, _) | ("+", _, true) => Some("use '~' to join strings"),
        _ if is_list(left) != is_list(right) && numeric => {
            Some("use '| length' for the number of items")
        }
        ("==" | "!=", text, other) if text != other && numeric => {
            Some("the two are never equal: use '| int' or '| string' on one of them")
        }
        ("==" | "!=", ..) => Some("values of these types are never equal"),
        (_, true, false) | (_, false, true) if numeric => {
            Some("use '| int' to convert a string to an integer")
        }
        _ => None,
    };
    (format!("'{operator}' does not accept {left} and {right}"), help)
}
