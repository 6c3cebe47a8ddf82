//! A delay between attempts that never comes.

use std::ops::Range;
use std::time::Duration as StdDuration;

use super::super::analysis::EffectivePolicy;
use super::super::document::Policy;
use super::super::duration::Duration;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB076",
    name: "useless_delay",
    severity: Severity::Warning,
    summary: "a delay between attempts that never comes",
    explanation: "\
'timeout' covers a step with all its attempts and the delays between them. A first delay that is as long as the
timeout leaves no second attempt, and delays that are longer together leave fewer than 'attempts' says. With
`attempts: 1` there is no delay at all.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let defaults = &analysis.document.defaults;
    let effective = EffectivePolicy::new(defaults, &Policy::default());
    // Where the timeout is not in 'defaults', each step may have its own.
    let steps = &analysis.document.steps;
    let is_final =
        defaults.timeout.is_some() || steps.iter().all(|raw| raw.policy.timeout.is_none());
    check_policy(defaults, &effective, (defaults.timeout.as_ref(), is_final), diagnostics);
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        // What never retries has a rule of its own, and what waits for persons has another timeout.
        if !step.signature.is_some_and(|action| action.retries && !action.asks) {
            continue;
        }
        let timeout = raw.policy.timeout.as_ref().or(defaults.timeout.as_ref());
        check_policy(&raw.policy, &step.policy, (timeout, true), diagnostics);
    }
}

/// The number of attempts that means as many as there is time for: no more can be written.
const MAX_ATTEMPTS: u32 = 100;

/// Checks the retry policy that is written at one place, against the timeout that holds there.
fn check_policy(
    own: &Policy,
    effective: &EffectivePolicy,
    (timeout, is_final): (Option<&(Duration, Range<usize>)>, bool),
    diagnostics: &mut Diagnostics,
) {
    let delay = own.backoff.as_ref().map(|one| ("backoff", one));
    let delay = delay.or(own.max_backoff.as_ref().map(|one| ("max_backoff", one)));
    if let (Some((1, attempts)), Some((name, (_, span)))) = (&own.attempts, delay) {
        let message =
            format!("'{name}' has no effect with 'attempts: 1': there is no second attempt");
        let diagnostic = Diagnostic::new(&RULE, span.clone(), message)
            .label(attempts.clone(), "the only attempt")
            .help("remove it, or set 'attempts' to 2 or more");
        diagnostics.push(diagnostic);
        return;
    }
    let place =
        own.backoff.as_ref().map(|(_, span)| span).or(own.attempts.as_ref().map(|(_, span)| span));
    let Some(place) = place.filter(|_| is_final && effective.attempts > 1) else { return };
    // What exceeds the longest delay is reported, and cannot be what is meant.
    if effective.backoff > effective.max_backoff {
        return;
    }
    let limit = effective.timeout;
    let (first, all) = (effective.backoff, delays(effective));
    let message = if first >= limit {
        format!("'backoff' is {first}, but the timeout is {limit}: there is no second attempt")
    } else if all.std() >= limit.std() && effective.attempts < MAX_ATTEMPTS {
        format!(
            "the delays between {} attempts take {all}, but the timeout is {limit}",
            effective.attempts
        )
    } else {
        return;
    };
    let help = "set a shorter 'backoff', fewer 'attempts', or a longer 'timeout'";
    let diagnostic = Diagnostic::new(&RULE, place.clone(), message).help(help);
    diagnostics.push(match timeout {
        Some((_, span)) => diagnostic.label(span.clone(), "the timeout"),
        None => diagnostic,
    });
}

/// Returns the sum of the delays between the attempts, each twice the one before, up to the longest.
fn delays(policy: &EffectivePolicy) -> Duration {
    let mut sum = StdDuration::ZERO;
    let mut delay = policy.backoff.std();
    for _ in 1..policy.attempts {
        sum = sum.saturating_add(delay);
        delay = delay.saturating_mul(2).min(policy.max_backoff.std());
    }
    sum.into()
}
