//! A key that the language does not have.

use std::ops::Range;

use super::super::analysis::AnalyzedStep;
use super::super::document::{DocumentIssueKind, MappingKind, RawStep};
use super::super::habits;
use super::super::limits::LimitKind;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB006",
    name: "unknown_key",
    severity: Severity::Error,
    summary: "a key that the language does not have",
    explanation: "\
A misspelled key would otherwise be ignored, and with it a timeout or a condition that matters.

A runbook has name, description, inputs, defaults, limits, steps, outputs. A step has id, name, action, with, when,
retry, timeout, on_failure, log; the parameters of an action are given under 'with'.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut told = None;
    for issue in &analysis.document.issues {
        let DocumentIssueKind::UnknownKey { key, mapping } = &issue.kind else {
            continue;
        };
        if let Some((raw, first)) = beside_empty_with(analysis, key, *mapping, &issue.span) {
            // All of them are one mistake.
            if told.replace(raw) == Some(raw) {
                continue;
            }
            let message = format!("'{key}' is a parameter: it is not indented below 'with'");
            let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message)
                .label(first, "nothing is below it")
                .help("indent the parameters by two more spaces");
            diagnostics.push(diagnostic);
            continue;
        }
        let message = format!("{} has no key '{key}'", mapping.with_article());
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        let diagnostic = match advice(analysis, key, *mapping, &issue.span) {
            Some(Advice::Help(help)) => diagnostic.help(help),
            Some(Advice::Rename(ours)) => {
                let mut diagnostic = diagnostic.help(format!("write '{ours}'"));
                diagnostic.suggestion = Some(ours.to_owned());
                diagnostic
            }
            None => diagnostic.suggest(&diagnostics.spelling, key, mapping.keys().iter().copied()),
        };
        diagnostics.push(diagnostic);
    }
}

/// Returns the place of a step with an empty `with`, and that of the key, where a key beside it is a parameter.
fn beside_empty_with(
    analysis: &Analysis<'_>,
    key: &str,
    mapping: MappingKind,
    span: &Range<usize>,
) -> Option<(usize, Range<usize>)> {
    let (raw, step) = step_at(analysis, span.start).filter(|_| mapping == MappingKind::Step)?;
    step.signature?.params.field(key)?;
    let with = raw.node.pairs()?.iter().find(|(key, _)| key.text() == Some("with"));
    let (name, _) = with.filter(|(name, value)| value.is_null() && name.span.end <= span.start)?;
    Some((raw.node.span.start, name.span.clone()))
}

/// The remedy for a key.
enum Advice {
    Help(String),
    Rename(&'static str),
}

fn advice(
    analysis: &Analysis<'_>,
    key: &str,
    mapping: MappingKind,
    span: &Range<usize>,
) -> Option<Advice> {
    if let Some((name, _)) = key.split_once(':')
        && mapping.keys().contains(&name)
    {
        return Some(Advice::Help(format!("a space is missing after '{name}:'")));
    }
    let is_limit = LimitKind::ALL.iter().any(|kind| kind.key() == key);
    if is_limit
        && matches!(mapping, MappingKind::Runbook | MappingKind::Defaults | MappingKind::Step)
    {
        let help = "it is a limit of the runbook: move it under 'limits'".to_owned();
        return Some(Advice::Help(help));
    }
    let step = step_at(analysis, span.start).filter(|_| mapping == MappingKind::Step);
    let under_with = || format!("'{key}' is a parameter: move it under 'with'");
    let own = step.and_then(|(_, step)| step.signature);
    if own.is_some_and(|action| action.params.field(key).is_some()) {
        return Some(Advice::Help(under_with()));
    }
    let has_action = step.is_some_and(|(raw, _)| raw.action.is_some() || raw.call.is_some());
    if mapping == MappingKind::Step && !has_action && analysis.registry.get(key).is_some() {
        return Some(Advice::Help(format!(
            "write 'action: {key}', and the parameters under 'with'"
        )));
    }
    if mapping == MappingKind::Step && is_of_runbook(analysis, key, span) {
        return Some(Advice::Help(format!(
            "'{key}' is a key of the runbook: move it to the left, to the column of 'steps'"
        )));
    }
    let value = step.and_then(|(raw, _)| raw.node.member(key)?.text());
    let habit = habits::key(mapping, key);
    if habit.is_some_and(|habit| habit.ours == Some("action") && habit.is_rename)
        && !has_action
        && let Some(name) = value
    {
        return Some(what_it_calls(analysis, name));
    }
    if let Some(habit) = habit {
        let pairs = match mapping {
            MappingKind::Runbook => analysis.root,
            MappingKind::Step => step.and_then(|(raw, _)| raw.node.pairs()).unwrap_or_default(),
            _ => &[],
        };
        let is_given = |name: &str| pairs.iter().any(|(key, _)| key.text() == Some(name));
        return Some(match habit.ours {
            Some("with") if is_given("with") => {
                Advice::Help("move its values under 'with'".to_owned())
            }
            Some(ours) if habit.is_rename && is_given(ours) => Advice::Help(format!(
                "write '{ours}'; there is one already, so remove one of the two"
            )),
            Some(ours) if habit.is_rename => Advice::Rename(ours),
            _ => Advice::Help(with_amount(analysis, habit, key, span)),
        });
    }
    if mapping == MappingKind::Runbook && MappingKind::Defaults.keys().contains(&key) {
        let help =
            "move it under 'defaults', for all steps, or into the step that it is for".to_owned();
        return Some(Advice::Help(help));
    }
    let is_parameter = mapping == MappingKind::Step
        && own.is_none()
        && analysis.registry.iter().any(|action| action.params.field(key).is_some());
    is_parameter.then(|| Advice::Help(under_with()))
}

/// Returns the remedy for a key of another tool that names what a step calls.
fn what_it_calls(analysis: &Analysis<'_>, name: &str) -> Advice {
    let is_action = |name: &str| analysis.registry.get(name).is_some();
    if is_action(name) {
        return Advice::Rename("action");
    }
    if analysis.callables.is_runbook(name) {
        return Advice::Rename("call");
    }
    Advice::Help(match habits::action(name).filter(|action| is_action(action)) {
        Some(action) => format!("write 'action: {action}'"),
        None => {
            "write 'action:' and the name of an action, or 'call:' and that of a runbook".into()
        }
    })
}

/// Whether a key of the last step is one of the runbook, which has none of that name yet.
fn is_of_runbook(analysis: &Analysis<'_>, key: &str, span: &Range<usize>) -> bool {
    let Some((raw, _)) = step_at(analysis, span.start) else { return false };
    let is_last =
        analysis.document.steps.last().is_some_and(|last| last.node.span == raw.node.span);
    let is_given = analysis.root.iter().any(|(other, _)| other.text() == Some(key));
    if !MappingKind::Runbook.keys().contains(&key) || is_given || !is_last {
        return false;
    }
    // 'inputs' is also what other tools call 'with'.
    let declares = |value: &Node| {
        let values = value.pairs().unwrap_or_default().iter();
        values.clone().count() > 0 && values.clone().all(|(_, one)| one.member("type").is_some())
    };
    key != "inputs" || raw.node.member(key).is_some_and(declares)
}

/// Returns the help for a key, with the amount that is its value.
fn with_amount(
    analysis: &Analysis<'_>,
    habit: habits::Key,
    key: &str,
    span: &Range<usize>,
) -> String {
    let rest = analysis.source.text().get(span.end..).unwrap_or_default();
    let value = rest.trim_start_matches([' ', ':', '"', '\'']);
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let amount = value.get(..digits).filter(|digits| (1..=9).contains(&digits.len()));
    let lower = key.to_ascii_lowercase();
    match (habit.ours, amount) {
        (Some("timeout"), Some(amount)) => {
            let unit = if lower.contains("minute") {
                "m"
            } else if lower.ends_with("ms") {
                "ms"
            } else {
                "s"
            };
            format!("write 'timeout: {amount}{unit}'")
        }
        (Some("retry"), Some(amount)) if habit.help.contains("attempts") => {
            format!("write 'retry: {{attempts: {amount}}}'")
        }
        _ => habit.help.to_owned(),
    }
}

/// Returns the step at a place.
fn step_at<'a, 't>(
    analysis: &'a Analysis<'t>,
    at: usize,
) -> Option<(&'a RawStep<'t>, &'a AnalyzedStep<'t>)> {
    let steps = &analysis.document.steps;
    let index = steps.partition_point(|step| step.node.span.start <= at).checked_sub(1)?;
    Some((steps.get(index)?, analysis.steps.get(index)?))
}
