//! A step that is given less time than it is told to take.

use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB051",
    name: "timeout_too_short",
    severity: Severity::Error,
    summary: "a step that is given less time than it is told to take",
    explanation: "\
'timeout' covers the whole step, its waits and retries included. A wait that is as long as that, or
longer, can never end by itself. Where a step gives no timeout, that of 'defaults' holds, else 10m.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (written, step) in book.document.steps.iter().zip(&book.steps) {
        let timeout = step.absolute.timeout;
        let place = written.policy.timeout.as_ref().or(book.document.defaults.timeout.as_ref());
        for wait in step.durations.iter().filter(|wait| wait.duration >= timeout) {
            let message = format!(
                "'{}' is {}, but the whole step is given {timeout}",
                wait.path, wait.duration
            );
            let finding = Finding::new(&RULE, wait.span.clone(), message)
                .help(format!("give the step a 'timeout' longer than {}", wait.duration));
            findings.push(match place {
                Some((_, span)) => finding.label(span.clone(), "the timeout"),
                None => finding,
            });
        }
    }
}
