//! An input's declaration that cannot be.

use super::super::document::{Fault, InputFault};
use super::super::types::{Syntax, Type};
use super::super::yaml::quoted;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB040",
    name: "invalid_input",
    severity: Severity::Error,
    summary: "an input's declaration that cannot be",
    explanation: "\
An input has a name that a template can say, a type, and limits that fit the type:

    inputs:
      count:     {type: integer, default: 2, minimum: 2, maximum: 4}
      mode:      {type: enum, values: [rolling, surge], default: rolling}
      namespace: {type: string, syntax: kubernetes-name, default: rafay-core}
      zones:     {type: list of string, min_length: 1}
      pause:     {type: optional duration}

Types: string, integer, number, boolean, duration, enum, list of T, map of T, optional T. Limits:
minimum and maximum for numbers; min_length, max_length and syntax for strings; min_length and
max_length for lists; values for enums.",
};

/// What a name is made of.
const NAME_HELP: &str = "a lower-case letter, then lower-case letters, digits and '_'";

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in &book.document.flaws {
        let Fault::Input(fault) = &flaw.fault else {
            continue;
        };
        let finding = Finding::new(&RULE, flaw.span.clone(), message(fault));
        findings.push(match fault {
            InputFault::Name(_) => finding.help(NAME_HELP),
            InputFault::UnknownType(name) => unknown_type(finding, name, findings),
            InputFault::UnknownSyntax(name) => {
                finding.suggest(&findings.spelling, name, Syntax::NAMES)
            }
            InputFault::NoValues => finding.help("add 'values: [a, b]'"),
            InputFault::ForeignLimit { .. } | InputFault::EmptyRange => finding,
        });
    }
}

fn message(fault: &InputFault) -> String {
    match fault {
        InputFault::Name(name) => format!("{} cannot be an input's name", quoted(name)),
        InputFault::UnknownType(name) => format!("there is no type {}", quoted(name)),
        InputFault::ForeignLimit { limit, ty } => format!("'{limit}' says nothing of a {ty}"),
        InputFault::EmptyRange => "no value lies within these limits".to_owned(),
        InputFault::NoValues => "an enum needs the words that it may be".to_owned(),
        InputFault::UnknownSyntax(name) => format!("there is no syntax {}", quoted(name)),
    }
}

/// Other languages' names for the same types, and the near ones.
fn unknown_type(finding: Finding, name: &str, findings: &Findings) -> Finding {
    let same = match name {
        "int" | "int64" | "long" => "integer",
        "str" | "text" => "string",
        "float" | "double" | "decimal" => "number",
        "bool" => "boolean",
        "list" | "array" => "list of string",
        "map" | "object" | "dict" => "map of string",
        _ => return finding.suggest(&findings.spelling, name, Type::NAMES),
    };
    let mut finding = finding.help(format!("did you mean '{same}'?"));
    finding.suggestion = Some(same.to_owned());
    finding
}
