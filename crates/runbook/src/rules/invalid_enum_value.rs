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
        let Some(meant) = habits::enum_value(found, values) else {
            let values = values.iter().map(String::as_str);
            diagnostics.push(diagnostic.suggest(&diagnostics.spelling, found, values));
            continue;
        };
        let mut diagnostic = diagnostic.replace(&meant);
        // A word with another meaning may be replaced by another one, and a few are quickly read.
        if values.len() <= MAX_SHOWN && !meant.eq_ignore_ascii_case(found) {
            let values = format!("the values are {}", values.join(", "));
            diagnostic.help = diagnostic.help.map(|help| format!("{help} ({values})"));
        }
        diagnostics.push(diagnostic);
    }
}
