//! A wait that is not shorter than its step's timeout.

use super::super::duration::Duration;
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
        let outlasts = |path: &str| {
            let field = step.signature.and_then(|action| action.params.field(path));
            field.is_some_and(|field| field.outlasts)
        };
        // One of 0s is never shorter than an approval that expires at once, which is reported as such.
        let is_zero = |duration| duration == Duration::default();
        let waits = step.durations.iter().filter(|wait| !outlasts(&wait.path));
        let too_long = waits.filter(|wait| wait.duration >= timeout);
        for wait in too_long.filter(|wait| !is_zero(wait.duration)) {
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
