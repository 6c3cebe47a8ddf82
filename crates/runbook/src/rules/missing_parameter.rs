//! A missing required parameter.

use super::super::analysis::{ArgumentIssueKind, ParameterOwner};
use super::super::types::{Syntax, Type};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB014",
    name: "missing_parameter",
    severity: Severity::Error,
    summary: "a missing required parameter",
    explanation: "\
Parameters without a default are required; they are given under 'with'.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        if let ArgumentIssueKind::MissingParameters { names, owner } = &issue.kind {
            let message = format!("{owner} requires parameters, and the step gives none");
            let help = format!("add 'with:' with {}", names.join(", "));
            diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).help(help));
            continue;
        }
        let ArgumentIssueKind::MissingParameter { name, ty, owner } = &issue.kind else {
            continue;
        };
        let message = format!("{owner} requires the {} '{name}'", owner.member());
        let ty = match ty.non_null() {
            Type::String(text) if text.syntax == Some(Syntax::Amount) => {
                "a number or a percentage, such as 2 or 50%".to_owned()
            }
            _ => ty.with_article(),
        };
        let help = match owner {
            ParameterOwner::Action(_) => {
                format!("add '{name}:' under 'with': {ty}")
            }
            ParameterOwner::Record(_) => format!("add '{name}:': {ty}"),
        };
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).help(help));
    }
}
