//! Invalid input declaration.

use super::super::document::{DocumentIssue, DocumentIssueKind, InputIssueKind, is_name};
use super::super::habits;
use super::super::types::{MAX_TYPE_DEPTH, Syntax, Type};
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB040",
    name: "invalid_input",
    severity: Severity::Error,
    summary: "invalid input declaration",
    explanation: "\
An input has a name that templates can use, a type, and limits that apply to the type:

    inputs:
      count:     {type: integer, default: 2, minimum: 2, maximum: 4}
      mode:      {type: enum, values: [rolling, surge], default: rolling}
      namespace: {type: string, syntax: kubernetes-name, default: rafay-core}
      zones:     {type: list of string, min_length: 1}
      pause:     {type: optional duration}

Types: string, integer, number, boolean, duration, enum, list of T, map of T, optional T, and at
most 16 levels of the last three. Limits: minimum and maximum for numbers; min_length, max_length
and syntax for strings; min_length and max_length for lists; values for enums.",
};

/// The format of a name.
const NAME_RULE: &str = "a lowercase letter, then lowercase letters, digits and '_'";

/// The remedy for a type that is nested too deeply.
const TYPE_DEPTH_HELP: &str = "pass the parts of the value in inputs of their own";

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in &analysis.document.issues {
        let DocumentIssueKind::Input(kind) = &issue.kind else {
            continue;
        };
        if matches!(kind, InputIssueKind::DuplicateValue(_)) {
            continue; // a warning, of another rule
        }
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message(kind));
        diagnostics.push(match kind {
            InputIssueKind::InvalidName(name) => diagnostic.help(match valid_name(name) {
                Some(valid) => format!("write {valid}: {NAME_RULE}"),
                None => format!("use {NAME_RULE}"),
            }),
            InputIssueKind::UnknownType(name) => {
                unknown_type(diagnostic, issue, name, analysis, diagnostics)
            }
            InputIssueKind::UnknownSyntax(name) => {
                diagnostic.suggest(&diagnostics.spelling, name, Syntax::names())
            }
            InputIssueKind::TypeTooDeep => diagnostic.help(TYPE_DEPTH_HELP),
            InputIssueKind::NoValues => diagnostic.help("add 'values: [a, b]'"),
            InputIssueKind::InapplicableLimit { limit, ty } => {
                diagnostic.help(applicable(limit, ty))
            }
            InputIssueKind::EmptyRange => {
                diagnostic.help("write a maximum that is not below the minimum")
            }
            InputIssueKind::DuplicateValue(_) => diagnostic,
        });
    }
}

fn message(kind: &InputIssueKind) -> String {
    match kind {
        InputIssueKind::InvalidName(name) => format!("{} is not a valid input name", quoted(name)),
        InputIssueKind::UnknownType(name) => format!("unknown type {}", quoted(name)),
        InputIssueKind::TypeTooDeep => {
            format!("the type is nested more than {MAX_TYPE_DEPTH} levels deep")
        }
        InputIssueKind::InapplicableLimit { limit, ty } => {
            format!("'{limit}' does not apply to type {ty}")
        }
        InputIssueKind::EmptyRange => "no value satisfies these limits".to_owned(),
        InputIssueKind::DuplicateValue(_) => "this value is in the list twice".to_owned(),
        InputIssueKind::NoValues => "an enum needs 'values'".to_owned(),
        InputIssueKind::UnknownSyntax(name) => format!("unknown syntax {}", quoted(name)),
    }
}

/// Suggests a type: the equivalent of another language's type name, or a similar name.
fn unknown_type(
    diagnostic: Diagnostic,
    issue: &DocumentIssue,
    name: &str,
    analysis: &Analysis<'_>,
    diagnostics: &Diagnostics,
) -> Diagnostic {
    // The name is the part after 'list of'; the span is that of the whole type.
    let written = analysis.source.text().get(issue.span.clone()).unwrap_or_default();
    let written = written.trim_matches(['"', '\'']);
    match habits::type_name(written) {
        Some(same) => diagnostic.replace(same),
        None if written == name => diagnostic.suggest(&diagnostics.spelling, name, Type::NAMES),
        None => {
            let similar = diagnostics.spelling.correction(name, Type::NAMES);
            let prefix = written.strip_suffix(name);
            match similar.zip(prefix) {
                Some((similar, prefix)) => diagnostic.replace(format!("{prefix}{similar}")),
                None => diagnostic.help(TYPES_HELP),
            }
        }
    }
}

/// The names of the types.
const TYPES_HELP: &str =
    "available: string, integer, number, boolean, duration, enum, list of T, map of T, optional T";

/// Returns a name with each sign replaced by '_', if that is valid.
fn valid_name(name: &str) -> Option<String> {
    const MAX_SHOWN: usize = 60;
    let replace = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let valid: String = name.trim().chars().take(MAX_SHOWN).map(replace).collect();
    is_name(&valid).then_some(valid)
}

/// Returns what to write instead of a limit that a type does not have.
fn applicable(limit: &str, ty: &str) -> &'static str {
    let is_of = |names: &[&str]| names.iter().any(|name| ty.contains(name));
    match limit {
        "minimum" | "maximum" if is_of(&["string", "list"]) => {
            "remove it; the length is limited by 'min_length' and 'max_length'"
        }
        "min_length" | "max_length" if is_of(&["integer", "number"]) => {
            "remove it; a number is limited by 'minimum' and 'maximum'"
        }
        "values" => "remove it, or write 'type: enum'",
        "syntax" => "remove it: only strings have a syntax",
        _ => "remove it",
    }
}
