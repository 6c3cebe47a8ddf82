//! `backoff` exceeds `max_backoff`.

use std::ops::Range;

use super::super::document::{DEFAULT_BACKOFF, DEFAULT_MAX_BACKOFF, Policy};
use super::super::duration::Duration;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB057",
    name: "backoff_order",
    severity: Severity::Warning,
    summary: "'backoff' exceeds 'max_backoff'",
    explanation: "\
Between attempts a step waits for 'backoff', then twice as long each time, up to 'max_backoff'. A
'backoff' above 'max_backoff' is reduced to it. The built-in values are 5s and 1m.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let defaults = &analysis.document.defaults;
    check_policy(defaults, None, diagnostics);
    for raw in &analysis.document.steps {
        check_policy(&raw.policy, Some(defaults), diagnostics);
    }
}

/// A duration with the span in which it is written.
type Spanned = Option<(Duration, Range<usize>)>;

/// Reports the span of the key that `own` sets; the other key may be inherited or built in.
fn check_policy(own: &Policy, defaults: Option<&Policy>, diagnostics: &mut Diagnostics) {
    if own.backoff.is_none() && own.max_backoff.is_none() {
        return;
    }
    let inherited = |pick: fn(&Policy) -> Spanned| pick(own).or_else(|| defaults.and_then(pick));
    let first = inherited(|policy| policy.backoff.clone());
    let longest = inherited(|policy| policy.max_backoff.clone());
    let backoff = first.as_ref().map_or(DEFAULT_BACKOFF, |(duration, _)| *duration);
    let max_backoff = longest.as_ref().map_or(DEFAULT_MAX_BACKOFF, |(duration, _)| *duration);
    if backoff <= max_backoff {
        return;
    }
    let (_, span) = own.backoff.clone().or(own.max_backoff.clone()).unwrap_or_default();
    let message = format!("'backoff' ({backoff}) exceeds 'max_backoff' ({max_backoff})");
    let help = format!("set 'max_backoff' to {backoff} or more, or a shorter 'backoff'");
    diagnostics.push(Diagnostic::new(&RULE, span, message).help(help));
}
