//! A retry of an action that is never tried again.

use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB052",
    name: "pointless_retry",
    severity: Severity::Error,
    summary: "a retry of an action that is never tried again",
    explanation: "\
Some actions give the same answer however often they are asked, such as a sleep. Their failure is
final, so a 'retry' of them says something that does not happen. (A retry under 'defaults' holds for
the steps that can be tried again.)",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (written, step) in book.document.steps.iter().zip(&book.steps) {
        let fixed = step.signature.filter(|action| !action.retries);
        if let Some((action, span)) = fixed.zip(written.policy.retry.clone()) {
            let message = format!("{} is never tried again", action.name);
            findings.push(Finding::new(&RULE, span, message).help("remove 'retry' here"));
        }
    }
}
