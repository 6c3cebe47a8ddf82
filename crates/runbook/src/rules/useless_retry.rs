//! A retry of an action that is never tried again.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB052",
    name: "useless_retry",
    severity: Severity::Error,
    summary: "a retry of an action that is never tried again",
    explanation: "\
Some actions give the same answer however often they are asked, such as a sleep. Their failure is
final, so a 'retry' of them says something that does not happen. (A retry under 'defaults' holds for
the steps that can be tried again.)",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let fixed = step.signature.filter(|action| !action.retries);
        if let Some((action, span)) = fixed.zip(raw.policy.retry.clone()) {
            let message = format!("{} is never tried again", action.name);
            diagnostics.push(Diagnostic::new(&RULE, span, message).help("remove 'retry' here"));
        }
    }
}
