//! A retry of an action that is never retried.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB052",
    name: "useless_retry",
    severity: Severity::Error,
    summary: "a retry of an action that is never retried",
    explanation: "\
The failure of some actions is final, such as that of sleep: another attempt would have the same
result, so 'retry' has no effect. (A 'retry' under 'defaults' applies to the steps that can be
retried.)",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let fixed = step.signature.filter(|action| !action.retries);
        if let Some((action, span)) = fixed.zip(raw.policy.retry.clone()) {
            let message = format!("{} is never retried", action.name);
            diagnostics
                .push(Diagnostic::new(&RULE, span, message).help("remove 'retry' from this step"));
        }
    }
}
