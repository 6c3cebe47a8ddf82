//! An operator or filter on something that it cannot take.

use super::super::template::Fault;
use super::super::types::Type;
use super::super::yaml::quoted;
use super::{Book, Finding, Findings, Rule, Severity};

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

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (_, flaw) in book.template_flaws() {
        if let Fault::NeverEqual { word, words } = &flaw.fault {
            let message = format!("this is never {}", quoted(word));
            let finding = Finding::new(&RULE, flaw.span.clone(), message);
            let words = words.iter().map(String::as_str);
            let mut finding = finding.suggest(&findings.spelling, word, words);
            finding.suggestion = finding.suggestion.map(|word| format!("'{word}'"));
            findings.push(finding);
            continue;
        }
        let Some((message, help)) = words(&flaw.fault) else {
            continue;
        };
        let mut finding = Finding::new(&RULE, flaw.span.clone(), message);
        finding.help = help.map(str::to_owned);
        findings.push(finding);
    }
}

fn words(fault: &Fault) -> Option<(String, Option<&'static str>)> {
    Some(match fault {
        Fault::Operator {
            operator,
            left,
            right,
        } => operator_words(operator, left, right.as_ref()),
        Fault::Argument {
            what,
            name,
            wanted,
            found,
        } => (format!("the {what} '{name}' takes {wanted}, not {found}"), None),
        Fault::DivisionByZero => ("this divides by zero".to_owned(), None),
        Fault::NotSubscriptable(ty) => (
            format!("{} has no items", ty.noun()),
            Some("only lists, maps and records do"),
        ),
        Fault::Subscript { wanted, found } => (
            format!("this must be {wanted}, not {}", found.noun()),
            None,
        ),
        Fault::NotCondition(ty) => (
            format!("a condition must be a boolean, not {}", ty.noun()),
            Some("compare explicitly, such as x > 0, x != '' or x | length > 0"),
        ),
        _ => return None,
    })
}

fn operator_words(
    operator: &str,
    left: &Type,
    right: Option<&Type>,
) -> (String, Option<&'static str>) {
    let Some(right) = right else {
        let left = left.noun();
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
