//! A literal whose type differs from its parameter's.

use std::sync::Arc;

use super::super::analysis::{Advice, ArgumentIssue, ArgumentIssueKind};
use super::super::types::Type;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB015",
    name: "literal_type_mismatch",
    severity: Severity::Error,
    summary: "a literal whose type differs from its parameter's",
    explanation: "\
YAML 1.2 has four kinds of unquoted scalars that are not strings: null, true and false, integers,
and numbers. Every other scalar is a string, including 'yes' and 'on', and so is a quoted scalar.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (index, step) in analysis.steps.iter().enumerate() {
        step.issues.iter().for_each(|issue| check_issue(analysis, index, issue, diagnostics));
    }
    if let Some(limits) = &analysis.limits {
        limits.issues.iter().for_each(|issue| check_issue(analysis, 0, issue, diagnostics));
    }
}

fn check_issue(
    analysis: &Analysis<'_>,
    step: usize,
    issue: &ArgumentIssue,
    diagnostics: &mut Diagnostics,
) {
    let ArgumentIssueKind::TypeMismatch { path, wanted, found, advice } = &issue.kind else {
        return;
    };
    let wanted_text = wanted.non_null().with_article();
    let message = format!("'{path}' must be {wanted_text}, not {found}");
    let mut diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
    if let Some(id) = output_of_type(analysis, step, wanted) {
        diagnostic.help = Some(format!("write \"{{{{ {id} }}}}\": its output has these fields"));
    } else if let Some(Advice { help, replacement }) = advice {
        let is_open = replacement.is_none() && *wanted.non_null() == Type::Boolean;
        let expression = if is_open { ", or an expression: \"{{ … }}\"" } else { "" };
        diagnostic.help = Some(format!("{help}{expression}"));
        // The span of what is written on several lines is its start.
        let is_whole = !issue.span.is_empty();
        diagnostic.suggestion = replacement.clone().filter(|_| is_whole);
    }
    if found == "nothing" && diagnostic.help.is_none() {
        diagnostic.help = Some("write its value: none is given".to_owned());
    }
    diagnostics.push(diagnostic);
}

/// Returns the id of the last step before this one whose output is a record that is wanted.
fn output_of_type<'a>(analysis: &'a Analysis<'_>, step: usize, wanted: &Type) -> Option<&'a str> {
    if !matches!(wanted.non_null(), Type::Record(_)) {
        return None;
    }
    let fits = |index: &usize| {
        let output = analysis.symbols.outputs.get(*index);
        output.is_some_and(|output| {
            output.items.is_none()
                && output.record.as_ref().is_some_and(|record| {
                    wanted.check_assignable(&Type::Record(Arc::clone(record))).is_ok()
                })
        })
    };
    (0..step).rev().find(fits).map(|index| analysis.id(index))
}
