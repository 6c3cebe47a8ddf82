//! A step that gives a target the size that it has, or does the same again for each item.

use super::super::analysis::AnalyzedStep;
use super::super::analysis::flow::{Act, EffectKind, SIZES, StepFlow, literal_integer};
use super::super::document::{RawStep, start_span};
use super::super::registry::ActionKind;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB079",
    name: "no_change",
    severity: Severity::Warning,
    summary: "a step that changes nothing, because all is done already",
    explanation: "\
A step that sets the size which was just read, or just set, changes nothing, and the steps after it act as if it had.
Probably something is missing: `{{ group.desired + 1 }}`, `{{ group.desired * 2 }}`. A step that sets back what an
earlier one has changed is another matter, and so is one with other changes in between.

A step with 'for_each' that does not use 'each' in 'with' makes the same change for every item, and all but the first
change nothing.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        check_items(analysis, raw, step, diagnostics);
    }
    for (_, with, facts) in analysis.changes() {
        if let Some(node) = with.member("factor").filter(|node| literal_integer(node) == Some(1)) {
            let message = "a factor of 1 changes nothing";
            diagnostics
                .push(Diagnostic::new(&RULE, node.span.clone(), message).help("write 2 or more"));
            continue;
        }
        let given = || SIZES.iter().find_map(|name| with.member(name).map(|node| (*name, node)));
        let (Some((name, node)), Some((current, by))) = (given(), &facts.before.current) else {
            continue;
        };
        if facts.size.as_ref() == Some(current) {
            report(analysis, name, node, *by, diagnostics);
        }
    }
    for (_, with, facts) in analysis.changes().filter(|(_, _, facts)| !facts.acts.is_empty()) {
        let Some((by, parameter)) = acts(facts) else { continue };
        let names = SIZES.iter().copied().map(Some).chain([parameter]).flatten();
        let Some((name, node)) = names.rev().find_map(|name| Some((name, with.member(name)?)))
        else {
            continue;
        };
        report(analysis, name, node, by, diagnostics);
    }
}

/// Returns the step that has given their size to the targets of all items, or of the only size that a called runbook
/// sets; and the parameter that says that size.
fn acts(facts: &StepFlow) -> Option<(usize, Option<&str>)> {
    let sizing = |act: &&Act| matches!(act.effect.kind, EffectKind::Size(_));
    let mut found = None;
    for act in facts.acts.iter().filter(sizing) {
        let EffectKind::Size(Some(size)) = &act.effect.kind else { return None };
        let (_, by) = act.before.current.as_ref().filter(|(current, _)| current == size)?;
        found = Some((*by, act.parameter.as_deref()));
    }
    found
}

fn report(
    analysis: &Analysis<'_>,
    name: &str,
    node: &Node,
    by: usize,
    diagnostics: &mut Diagnostics,
) {
    let id = analysis.id(by);
    let message =
        format!("'{name}' is the size that '{id}' has found or set: this step changes nothing");
    let is_single = analysis
        .document
        .steps
        .get(by)
        .is_some_and(|raw| raw.for_each.is_none() && raw.call.is_none());
    let help = if is_single && SIZES.contains(&name) {
        format!("write another size, such as \"{{{{ {id}.{name} + 1 }}}}\", or remove the step")
    } else {
        "write another size, or remove the step".to_owned()
    };
    let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message).help(help);
    diagnostics.push(diagnostic.label(analysis.declaration(by), "it has this size here"));
}

/// Reports a step that makes the same change for each item.
fn check_items(
    analysis: &Analysis<'_>,
    raw: &RawStep<'_>,
    step: &AnalyzedStep<'_>,
    diagnostics: &mut Diagnostics,
) {
    let (Some(items), Some(with), None) = (raw.for_each, raw.with, raw.call) else { return };
    let Some(action) = step.signature.filter(|action| action.kind == ActionKind::Change) else {
        return;
    };
    let repeats_with = action.repeats_with.as_deref().and_then(|name| with.member(name));
    let is_single = items.items().is_some_and(|items| items.len() < 2);
    let pairs = with.pairs().unwrap_or_default();
    if action.repeats || repeats_with.is_some() || is_single || pairs.is_empty() {
        return;
    }
    // Another name may be meant for the item, and the word says that it is, however it is written.
    let written = analysis.source.text().get(with.span.clone()).unwrap_or_default();
    let mut words = written.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_wrong = step.sites.iter().any(|site| !site.inferred.issues.is_empty());
    if is_wrong || !step.issues.is_empty() || words.any(|word| word == "each") {
        return;
    }
    let message = "'with' does not use 'each': the step makes the same change for every item";
    let mut diagnostic = Diagnostic::new(&RULE, start_span(items), message);
    let whole =
        pairs.iter().find(|(_, value)| items.text().is_some() && value.text() == items.text());
    diagnostic = match whole {
        Some((_, list)) => diagnostic
            .label(list.span.clone(), "the whole list, for each of its items")
            .help("write [\"{{ each }}\"] in its place, or remove 'for_each'"),
        None => diagnostic.help("use \"{{ each }}\" in 'with', or remove 'for_each'"),
    };
    diagnostics.push(diagnostic);
}
