//! A first rest that is longer than the longest.

use std::ops::Range;

use super::super::document::{DEFAULT_BACKOFF, DEFAULT_MAX_BACKOFF, Policy};
use super::super::duration::Duration;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB057",
    name: "backoff_order",
    severity: Severity::Warning,
    summary: "a first rest that is longer than the longest",
    explanation: "\
Between tries a step rests for 'backoff', then twice as long each time, but never longer than
'max_backoff'. A backoff above that is cut short. Built in are 5s and 1m.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let defaults = &analysis.document.defaults;
    check_policy(defaults, None, diagnostics);
    for raw in &analysis.document.steps {
        check_policy(&raw.policy, Some(defaults), diagnostics);
    }
}

/// A duration where it is written.
type Spanned = Option<(Duration, Range<usize>)>;

/// Reports where the one that is written here meets the other, wherever that is written.
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
    let message = format!("the first rest, {backoff}, is longer than the longest, {max_backoff}");
    diagnostics.push(Diagnostic::new(&RULE, span, message));
}
