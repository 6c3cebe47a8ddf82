//! A wait that is not shorter than its step's timeout.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB051",
    name: "timeout_too_short",
    severity: Severity::Error,
    summary: "a wait that is not shorter than its step's timeout",
    explanation: "\
'timeout' covers the whole step, including its waits and retries. A wait that is as long as the
timeout, or longer, can never complete. A step without a timeout has that of 'defaults', else 10m.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let timeout = step.policy.timeout;
        let place = raw.policy.timeout.as_ref().or(analysis.document.defaults.timeout.as_ref());
        for wait in step.durations.iter().filter(|wait| wait.duration >= timeout) {
            let message = format!(
                "'{}' is {}, but the timeout of the step is {timeout}",
                wait.path, wait.duration
            );
            let diagnostic = Diagnostic::new(&RULE, wait.span.clone(), message)
                .help(format!("set a 'timeout' longer than {}", wait.duration));
            diagnostics.push(match place {
                Some((_, span)) => diagnostic.label(span.clone(), "the timeout"),
                None => diagnostic,
            });
        }
    }
}
