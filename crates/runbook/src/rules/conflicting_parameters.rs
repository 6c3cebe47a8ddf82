//! Parameters that do not go together.

use super::super::analysis::ArgumentIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB100",
    name: "conflicting_parameters",
    severity: Severity::Error,
    summary: "parameters that do not go together",
    explanation: "\
Some parameters need another one beside them, as a deployment needs its namespace, and some exclude each other, as a
number and a percentage of the same thing. A step with parameters that do not go together would fail when it runs.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        let span = issue.span.clone();
        diagnostics.push(match &issue.kind {
            ArgumentIssueKind::RequiredBeside { field, required } => {
                let message = format!("'{field}' requires '{required}' beside it");
                Diagnostic::new(&RULE, span, message).help(format!("add '{required}'"))
            }
            ArgumentIssueKind::ExcludedBeside { field, other, other_span } => {
                let message = format!("'{field}' is not accepted together with '{other}'");
                Diagnostic::new(&RULE, span, message)
                    .label(other_span.clone(), format!("'{other}' is given here"))
                    .help(format!("remove '{field}' or '{other}'"))
            }
            _ => continue,
        });
    }
}
