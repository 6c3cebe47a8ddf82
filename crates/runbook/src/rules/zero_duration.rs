//! A wait of no time.

use std::ops::Range;

use super::super::document::Policy;
use super::super::duration::Duration;
use super::super::registry::ActionSignature;
use super::super::types::Type;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB075",
    name: "zero_duration",
    severity: Severity::Warning,
    summary: "a duration of zero where some time is needed",
    explanation: "\
A pause of 0s does nothing, a limit of 0s is over before anything happens, and no delay between attempts is shorter
than a tenth of a second. Where zero has a meaning, as in 'grace_period: 0s' or 'give_up_after: 0s', it is accepted.",
};

/// The parameters for which zero is a choice: to give up at the first failure, and to keep nothing. Optional ones,
/// such as the grace period of a pod, are given on purpose.
const MAY_BE_ZERO: [&str; 2] = ["give_up_after", "keep_for"];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let policies = analysis.document.steps.iter().map(|step| &step.policy);
    for policy in std::iter::once(&analysis.document.defaults).chain(policies) {
        check_delays(policy, diagnostics);
    }
    for step in &analysis.steps {
        let Some(action) = step.signature else { continue };
        for literal in step.durations.iter().filter(|one| one.duration == Duration::default()) {
            if needs_time(action, &literal.path) {
                let message = format!("'{}' must be longer than 0s", literal.path);
                let mut diagnostic = Diagnostic::new(&RULE, literal.span.clone(), message)
                    .help("write how long, such as 30s or 5m");
                if action.asks {
                    diagnostic.severity = Severity::Error; // no person can answer in time
                }
                diagnostics.push(diagnostic);
            }
        }
    }
}

/// Whether a parameter is the length of a wait, or the limit of one.
pub(crate) fn needs_time(action: &ActionSignature, path: &str) -> bool {
    let field = action.params.field(path);
    // One that is shorter than its action accepts is reported as such.
    let is_wait = field.is_some_and(|f| f.ty == Type::Duration && f.checks.at_least.is_none());
    is_wait && !MAY_BE_ZERO.contains(&path)
}

fn check_delays(policy: &Policy, diagnostics: &mut Diagnostics) {
    let mut check = |name: &str, delay: &Option<(Duration, Range<usize>)>| {
        if let Some((duration, span)) = delay
            && *duration == Duration::default()
        {
            let message = format!("'{name}' is 0s, but no delay is shorter than 100ms");
            let diagnostic = Diagnostic::new(&RULE, span.clone(), message);
            diagnostics.push(diagnostic.help("write a delay such as 5s"));
        }
    };
    check("backoff", &policy.backoff);
    // A backoff of zero is reported already.
    if policy.backoff.as_ref().is_none_or(|(backoff, _)| *backoff != Duration::default()) {
        check("max_backoff", &policy.max_backoff);
    }
}
