//! Parameters that do not go together.

use super::super::analysis::ArgumentIssueKind;
use super::super::types::Given;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB100",
    name: "conflicting_parameters",
    severity: Severity::Error,
    summary: "parameters that do not go together",
    explanation: "\
Some parameters need another one beside them, as a deployment needs its namespace, and some exclude each other, as a
number and a percentage of the same thing. A step with parameters that do not go together would fail when it runs. One
that sets and removes the same thing would fail too, and so would one that is given nothing to set.

A parameter that has no effect beside another one is a warning: the step does less than it says.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        let span = issue.span.clone();
        diagnostics.push(match &issue.kind {
            ArgumentIssueKind::RequiredBeside { field, required } => {
                let message = format!("'{field}' requires '{required}' beside it");
                Diagnostic::new(&RULE, span, message).help(format!("add '{required}'"))
            }
            ArgumentIssueKind::ExcludedBeside { field, other, other_span, why } => {
                let why = reason(why.as_deref());
                let message = format!("'{field}' is not accepted together with '{other}'{why}");
                Diagnostic::new(&RULE, span, message)
                    .label(other_span.clone(), format!("'{other}' is given here"))
                    .help(remedy(field, other))
            }
            ArgumentIssueKind::NoEffectBeside { field, with, with_span, why } => {
                let why = reason(why.as_deref());
                let message = format!("'{field}' has no effect together with '{with}'{why}");
                let mut diagnostic = Diagnostic::new(&RULE, span, message)
                    .label(with_span.clone(), format!("'{with}' is given here"))
                    .help(remedy(field, with));
                diagnostic.severity = Severity::Warning;
                diagnostic
            }
            ArgumentIssueKind::NoneOf { group, empty, owner } => {
                let group = group.join(", ");
                let message = match empty {
                    Some(empty) => format!("'{empty}' is empty: {owner} would do nothing"),
                    None => format!("{owner} requires one or more of {group}"),
                };
                let help = match empty {
                    Some(_) => format!("give one or more of {group}, or remove the step"),
                    None => format!("add one of them{}", owner.place()),
                };
                Diagnostic::new(&RULE, span, message).help(help)
            }
            ArgumentIssueKind::NotDistinct { list, first_list, first, by } => {
                let by = by.join(" and ");
                let message = match list == first_list {
                    true => format!("'{list}' has two items with the same {by}"),
                    false => format!("'{list}' has an item with the same {by} as '{first_list}'"),
                };
                Diagnostic::new(&RULE, span, message)
                    .label(first.clone(), "the other one")
                    .help("remove one of them")
            }
            _ => continue,
        });
    }
}

fn reason(why: Option<&str>) -> String {
    why.map(|why| format!(": {why}")).unwrap_or_default()
}

fn remedy(one: &Given, other: &Given) -> String {
    format!("remove '{}' or '{}'", one.field, other.field)
}
