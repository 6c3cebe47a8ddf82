//! An operator or filter that does not accept its operand.

use std::ops::Range;

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
        if let TemplateIssueKind::OwnItem(id) = &issue.kind {
            let message = format!("in its own 'log', '{id}' is the output of the one item");
            let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
            diagnostics.push(diagnostic.write(id.clone()));
            continue;
        }
        let Some((message, help)) = describe(&issue.kind) else {
            continue;
        };
        let mut diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        diagnostic.help = match &issue.kind {
            TemplateIssueKind::InvalidArgument { help, .. } => help.clone(),
            TemplateIssueKind::NoSuchItem { length, .. } => Some(indexes(*length)),
            TemplateIssueKind::Subscript { of: Type::Record(record), .. } => {
                let first = record.fields.first();
                first.map(|field| match record.name.starts_with("map of") {
                    true => format!("write one of its keys, such as ['{}']", field.name),
                    false => format!("it is no list: write a field of it, such as .{}", field.name),
                })
            }
            TemplateIssueKind::Operator { left, right: Some(right), .. }
                if left.non_null().is_numeric() && right.is_text() =>
            {
                let number = number_in_quotes(analysis, &issue.span);
                let meant = number.map(|number| format!("write {number}, without quotes"));
                meant.or_else(|| help.map(str::to_owned))
            }
            _ => help.map(str::to_owned),
        };
        diagnostics.push(diagnostic);
    }
}

fn describe(kind: &TemplateIssueKind) -> Option<(String, Option<&'static str>)> {
    Some(match kind {
        TemplateIssueKind::Operator { operator, left, right } => {
            describe_operator(operator, left, right.as_ref())
        }
        TemplateIssueKind::NoSuchItem { index, length } => {
            let items = if *length == 1 { "1 item".to_owned() } else { format!("{length} items") };
            (format!("there is no item {index}: the list has at most {items}"), None)
        }
        TemplateIssueKind::InvalidArgument { what, name, wanted, found, .. } => {
            (format!("the {what} '{name}' requires {wanted}, not {found}"), None)
        }
        TemplateIssueKind::DivisionByZero => {
            ("division by zero".to_owned(), Some("divide by another number"))
        }
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

/// Returns the number that is written as a text at the place of an issue, or after the operator there.
fn number_in_quotes<'s>(analysis: &'s Analysis<'_>, span: &Range<usize>) -> Option<&'s str> {
    let source = analysis.source.text();
    let at = source.get(span.clone())?;
    let is_quote = |c: char| matches!(c, '\'' | '"');
    let text = if at.starts_with(is_quote) { at } else { source.get(span.end..)?.trim_start() };
    let quote = text.chars().next().filter(|c| is_quote(*c))?;
    let number = text.get(1..)?.split(quote).next().filter(|number| number.len() <= 20)?;
    number.parse::<f64>().is_ok_and(f64::is_finite).then_some(number)
}

/// Returns the indexes of a list that has at most so many items.
fn indexes(length: usize) -> String {
    match length {
        0 => "remove it: the list has no items".to_owned(),
        1 => "write [0]: the first item has the number 0".to_owned(),
        length => format!("the items have the numbers 0 to {}", length - 1),
    }
}

fn is_list_of_records(ty: &Type) -> bool {
    matches!(ty.non_null(), Type::List(of, _) if matches!(of.non_null(), Type::Record(_)))
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
        let help = if left.is_text() {
            Some("use '| int' to convert a string to an integer")
        } else {
            None
        };
        let left = left.with_article();
        return (format!("'{operator}' requires a number, not {left}"), help);
    };
    let numeric = left.is_numeric() || right.is_numeric();
    let help = match (operator, left.non_null().is_text(), right.is_text()) {
        ("~", ..) if *left == Type::Boolean || *right == Type::Boolean => {
            Some("use '| string' to convert a boolean to a string")
        }
        ("<" | "<=" | ">" | ">=", ..)
            if *left.non_null() == Type::Duration || *right.non_null() == Type::Duration =>
        {
            Some("durations cannot be compared: declare the input as an integer of seconds")
        }
        ("+" | "-" | "*" | "/" | "//" | "%" | "**", ..)
            if *left.non_null() == Type::Duration || *right.non_null() == Type::Duration =>
        {
            Some(
                "durations are not computed: declare the input as an integer, and write its unit after it: {{ inputs.MINUTES * 2 }}m",
            )
        }
        ("%", true, _) => Some(
            "write {{ … }} in the text, or join texts with '~'; for the rest of a division: | int",
        ),
        ("+", ..) if is_list(left) != is_list(right) && (left.is_text() || right.is_text()) => {
            Some("put the value into a list: list + [value]")
        }
        ("==" | "!=", ..)
            if *left.non_null() == Type::Boolean && right.is_text()
                || *right.non_null() == Type::Boolean && left.is_text() =>
        {
            Some("write the boolean alone, or with 'not' before it: it is not a string")
        }
        ("in" | "not in", _, true) if numeric => {
            Some("write a list after 'in', such as [1, 2], or convert with '| string'")
        }
        ("in" | "not in", true, _) if is_list_of_records(right) => Some(
            "the items are records: compare with one field of them, such as nodes.names, or x | map(attribute='FIELD')",
        ),
        ("in" | "not in", ..) if is_list(right) => {
            Some("no item of the list is ever this value: compare with a list of the same kind")
        }
        ("in" | "not in", ..) => Some("write a list, a map or a text after 'in'"),
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
        ("==" | "!=", ..) if is_list(left) != is_list(right) && !numeric => Some(
            "of a list, compare the number of items, such as list | length == 0, or ask for one: 'word' in list",
        ),
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
