//! The call of a runbook that waits for persons longer than the call may take.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB072",
    name: "call_too_short",
    severity: Severity::Error,
    summary: "a call that ends before an approval in the called runbook expires",
    explanation: "\
The 'timeout' of a call is the limit for all that is done in the called runbook. An approval there
that expires later would be cut off: the person who answers in time would find the run ended. A call
without a timeout has that of 'defaults', else 10m.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let Some(node) = raw.call else { continue };
        let Some(callable) = node.text().and_then(|name| analysis.callables.get(name)) else {
            continue;
        };
        let steps = callable.called.runbook().all_steps();
        let Some(expires) = steps.iter().filter_map(|step| step.expires).max() else { continue };
        let timeout = step.policy.timeout;
        if expires < timeout {
            continue;
        }
        let message = format!(
            "an approval in this runbook expires after {expires}, but the timeout of the call is {timeout}"
        );
        let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message)
            .help(format!("set a 'timeout' longer than {expires}"));
        let place = raw.policy.timeout.as_ref().or(analysis.document.defaults.timeout.as_ref());
        diagnostics.push(match place {
            Some((_, span)) => diagnostic.label(span.clone(), "the timeout"),
            None => diagnostic,
        });
    }
}
