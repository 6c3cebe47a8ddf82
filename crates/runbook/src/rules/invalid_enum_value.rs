//! A value that is not one of an enum's values.

use super::super::analysis::ArgumentIssueKind;
use super::super::habits;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB018",
    name: "invalid_enum_value",
    severity: Severity::Error,
    summary: "a value that is not one of an enum's values",
    explanation: "\
A parameter of type enum takes one of a fixed set of values.",
};

/// The most values that are all shown.
const MAX_SHOWN: usize = 4;

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        let ArgumentIssueKind::InvalidEnumValue { path, found, values } = &issue.kind else {
            continue;
        };
        let message = format!("{} is not a valid value for '{path}'", quoted(found));
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        let mut diagnostic = match habits::enum_value(found, values) {
            Some(meant) => diagnostic.replace(&meant),
            None => {
                let values = values.iter().map(String::as_str);
                diagnostic.suggest(&diagnostics.spelling, found, values)
            }
        };
        // The nearest one may not be what is meant, and a few are quickly read.
        if diagnostic.suggestion.is_some() && values.len() <= MAX_SHOWN {
            let values = format!("the values are {}", values.join(", "));
            diagnostic.help = diagnostic.help.map(|help| format!("{help} ({values})"));
        }
        diagnostics.push(diagnostic);
    }
}
