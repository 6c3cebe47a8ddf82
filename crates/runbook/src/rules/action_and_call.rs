//! A step with an action and a call.

use super::super::document::DocumentIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB064",
    name: "action_and_call",
    severity: Severity::Error,
    summary: "a step with both 'action' and 'call'",
    explanation: "\
A step does one thing: it executes an action, or it calls another runbook. 'with' has the parameters
of the one or the inputs of the other.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in &analysis.document.issues {
        if matches!(issue.kind, DocumentIssueKind::ActionAndCall) {
            let message = "a step has either 'action' or 'call', not both";
            let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
            diagnostics.push(diagnostic.help("remove one of the two, or make two steps of it"));
        }
    }
}
