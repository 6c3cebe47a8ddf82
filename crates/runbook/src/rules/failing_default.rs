//! A default with which a step fails, or does nothing.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value as Json;

use super::super::analysis::{Outcome, OutcomeKind};
use super::super::document::start_span;
use super::super::evaluate::FaultKind;
use super::super::types::MismatchReason;
use super::super::yaml::{Node, quoted};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB077",
    name: "failing_default",
    severity: Severity::Error,
    summary: "a default with which a step fails",
    explanation: "\
The templates that depend on nothing but inputs are evaluated with the defaults of the inputs. A run that is given no
other value would fail: a parameter is outside its limits or has another format, a wait is longer than the timeout of
its step, a division is by zero, or a list has no such item. Choose another default, or leave it out: an input without
a default must be given. What fails without any input is an error too.

A default with which a step fails whose 'when' depends on outputs is a warning. A step that does not run with the
defaults is not checked. A list of nodes or pods that is empty by default is accepted: the step then does nothing.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut blamed = BTreeSet::new();
    let outcomes = analysis.outcomes();
    if outcomes.is_empty() {
        return;
    }
    // No default can help where the text around the template is wrong, which is reported as such.
    let impossible: Vec<Range<usize>> = analysis
        .sites()
        .filter(|site| analysis.impossible_text(site).is_some())
        .map(|site| site.node.span.clone())
        .collect();
    let is_impossible = |span: &Range<usize>| {
        impossible.iter().any(|one| one.start <= span.start && span.end <= one.end)
    };
    for outcome in outcomes.into_iter().filter(|outcome| !is_impossible(&outcome.span)) {
        let inputs = &analysis.document.inputs;
        let default = match outcome.inputs.as_slice() {
            // A wrong default is one mistake, wherever it is used.
            [one] if !blamed.insert(*one) => continue,
            [one] => inputs.get(*one).and_then(|input| input.default),
            _ => None,
        };
        if let OutcomeKind::Fault(FaultKind::NoSuchItem, part) = &outcome.kind
            && let Some(default) = default
            && let Some(diagnostic) = misspelled_key(&outcome, part, default, diagnostics)
        {
            diagnostics.push(diagnostic.label(start_span(default), "the default"));
            continue;
        }
        let subject = match (default.is_some(), outcome.inputs.is_empty()) {
            (true, _) => "with this default, ",
            (false, true) => "",
            (false, false) => "with the defaults of the inputs, ",
        };
        let message = format!("{subject}{}", describe(&outcome));
        // An index is as often the mistake as the list is.
        let is_index = matches!(outcome.kind, OutcomeKind::Fault(FaultKind::NoSuchItem, _));
        let default = default.filter(|_| !is_index);
        let place = outcome.item.clone();
        let place = place.or_else(|| default.map(start_span));
        let place = place.unwrap_or_else(|| outcome.span.clone());
        let is_elsewhere = place != outcome.span;
        let mut diagnostic = Diagnostic::new(&RULE, place, message).help(help(&outcome));
        if !outcome.is_certain {
            diagnostic.severity = Severity::Warning;
        }
        // Nothing to do is what the default of a list is often meant to say.
        if matches!(outcome.kind, OutcomeKind::Empty(_)) {
            diagnostic.severity = Severity::Note;
        }
        if default.is_some() || is_elsewhere {
            diagnostic = diagnostic.label(outcome.span.clone(), "it is used here");
        } else {
            for default in outcome.inputs.iter().filter_map(|one| inputs.get(*one)?.default) {
                diagnostic = diagnostic.label(start_span(default), "the default");
            }
        }
        if let OutcomeKind::TooLong { place: Some(place), .. } = &outcome.kind {
            diagnostic = diagnostic.label(Range::clone(place), "the timeout");
        }
        diagnostics.push(diagnostic);
    }
}

/// Returns the diagnostic of a key that is a misspelled one of the default.
fn misspelled_key(
    outcome: &Outcome<'_>,
    part: &str,
    default: &Node,
    diagnostics: &Diagnostics,
) -> Option<Diagnostic> {
    let (path, key) = part.rsplit_once('.')?;
    let keys = default.pairs()?.iter().filter_map(|(key, _)| key.text());
    let meant = diagnostics.spelling.correction(key, keys)?;
    let mut span = outcome.span.clone();
    // The part can be written with other spaces than it is shown with.
    let suggestion = if span.len() == part.len() {
        span.start = span.end - key.len();
        meant.clone()
    } else {
        format!("{path}.{meant}")
    };
    let message = format!("the default of '{path}' has no '{key}'");
    let mut diagnostic = Diagnostic::new(&RULE, span, message).replace(meant);
    diagnostic.suggestion = Some(suggestion);
    if !outcome.is_certain {
        diagnostic.severity = Severity::Warning;
    }
    Some(diagnostic)
}

fn describe(outcome: &Outcome<'_>) -> String {
    let name = outcome.name;
    match &outcome.kind {
        OutcomeKind::Fault(FaultKind::DivisionByZero, divisor) => {
            format!("'{divisor}' is 0: division by zero")
        }
        OutcomeKind::Fault(FaultKind::NoSuchItem, part) => format!("there is no '{part}'"),
        OutcomeKind::Fault(FaultKind::EmptyList, part) => {
            format!("'{part}' has no value: the list is empty")
        }
        OutcomeKind::Fault(FaultKind::NotANumber, part) => {
            format!("'{part}' has no value: the text is not a number")
        }
        OutcomeKind::Fault(FaultKind::Other, part) => format!("'{part}' cannot be evaluated"),
        OutcomeKind::Mismatch { reason, path, found } if path.is_empty() => match shown(found) {
            // A value of another type is named in the reason.
            Some(found) => match reason {
                MismatchReason::TypeMismatch { wanted, .. } => {
                    format!("'{name}' must be {wanted}, not {found}")
                }
                reason => format!("'{name}' {reason}, not {found}"),
            },
            None => format!("'{name}' {reason}"),
        },
        OutcomeKind::Mismatch { reason, path, .. } => {
            let joint = if path.starts_with('[') { "" } else { "." };
            format!("'{name}{joint}{path}' {reason}")
        }
        OutcomeKind::TooLong { wait, timeout, .. } => {
            format!("'{name}' is {wait}, but the timeout of the step is {timeout}")
        }
        OutcomeKind::Empty(message) => message.clone(),
    }
}

fn help(outcome: &Outcome<'_>) -> String {
    match &outcome.kind {
        OutcomeKind::TooLong { wait, .. } => {
            format!("choose a shorter one, or set a 'timeout' longer than {wait}")
        }
        OutcomeKind::Mismatch { .. } if outcome.inputs.is_empty() => {
            "write another value here".to_owned()
        }
        _ if outcome.inputs.is_empty() => "correct the expression".to_owned(),
        OutcomeKind::Empty(_) => {
            "remove the default, so that the input must be given, or skip the step with 'when'"
                .to_owned()
        }
        _ => "choose another default, or remove it, so that the input must be given".to_owned(),
    }
}

/// Returns a value as it is written; none of a list or map.
fn shown(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(quoted(text)),
        Json::Array(items) => Some(match items.len() {
            1 => "1 item".to_owned(),
            count => format!("{count} items"),
        }),
        Json::Object(_) => None,
        Json::Null | Json::Bool(_) | Json::Number(_) => Some(value.to_string()),
    }
}
