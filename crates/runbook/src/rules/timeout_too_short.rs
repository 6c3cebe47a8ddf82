//! A step that is given less time than it is told to take.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB051",
    name: "timeout_too_short",
    severity: Severity::Error,
    summary: "a step that is given less time than it is told to take",
    explanation:
        "\
'timeout' covers the whole step, its waits and retries included. A wait that is as long as that, or
longer, can never end by itself. Where a step gives no timeout, that of 'defaults' holds, else 10m.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let timeout = step.policy.timeout;
        let place = raw.policy.timeout.as_ref().or(analysis.document.defaults.timeout.as_ref());
        for wait in step.durations.iter().filter(|wait| wait.duration >= timeout) {
            let message = format!(
                "'{}' is {}, but the whole step is given {timeout}",
                wait.path, wait.duration
            );
            let diagnostic = Diagnostic::new(&RULE, wait.span.clone(), message)
                .help(format!("give the step a 'timeout' longer than {}", wait.duration));
            diagnostics.push(match place {
                Some((_, span)) => diagnostic.label(span.clone(), "the timeout"),
                None => diagnostic,
            });
        }
    }
}
