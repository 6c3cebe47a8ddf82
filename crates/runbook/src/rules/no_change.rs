//! A step that gives a target the size that it has, or does the same again for each item.

use std::ops::Range;

use minijinja::machinery::ast::Expr;

use super::super::analysis::flow::{
    Act, EffectKind, SIZES, Size, StepFlow, literal_integer, simple_path, template_text,
};
use super::super::analysis::{AnalyzedStep, Role};
use super::super::document::{RawStep, start_span};
use super::super::registry::ActionKind;
use super::super::template::canonical::canonical;
use super::super::template::{self, parts};
use super::super::yaml::{Node, SourceMap};
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
    for (step, (raw, facts)) in analysis.document.steps.iter().zip(&analysis.flow.steps).enumerate()
    {
        let given = raw.with.and_then(|with| {
            SIZES.iter().find_map(|name| with.member(name).map(|node| (*name, node)))
        });
        if let (None, Some((name, node))) = (&facts.before.current, given) {
            check_repeated(analysis, step, name, node, diagnostics);
        }
    }
    for (_, _, with, facts) in analysis.changes() {
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
    for (_, _, with, facts) in analysis.changes().filter(|(_, _, _, facts)| !facts.acts.is_empty())
    {
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
    let output = analysis.steps.get(by).and_then(|step| step.signature).map(|one| &one.output);
    let is_changed = output.is_some_and(|output| output.field("before").is_some());
    let help = if is_single && SIZES.contains(&name) && is_changed {
        format!("write \"{{{{ {id}.before.{name} }}}}\" for the size before it, or remove the step")
    } else if is_single && SIZES.contains(&name) {
        format!("write another size, such as \"{{{{ {id}.{name} + 1 }}}}\", or remove the step")
    } else {
        "write another size, or remove the step".to_owned()
    };
    let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message).help(help);
    diagnostics.push(diagnostic.label(analysis.declaration(by), "it has this size here"));
}

/// Reports a size that is that of the step which has set it: other steps in between do not change it.
fn check_repeated(
    analysis: &Analysis<'_>,
    step: usize,
    name: &str,
    node: &Node,
    diagnostics: &mut Diagnostics,
) {
    let Some(facts) = analysis.flow.steps.get(step) else { return };
    let Some((root, fields)) = template_text(node).and_then(simple_path) else { return };
    let Some(by) = analysis.symbols.steps.get(root).filter(|_| fields == [name]) else { return };
    let Some(setter) = analysis.flow.steps.get(*by) else { return };
    let asks_again = facts
        .before
        .asked
        .as_ref()
        .is_some_and(|(asked, asker)| asker == by && facts.size.as_ref() == Some(asked));
    // After a job, too: the zero of the step that has stopped all of them is not what starts them again.
    let is_zero = setter.size.as_ref().and_then(Size::as_number) == Some(0)
        && setter.target.is_some()
        && setter.target == facts.target;
    if !asks_again && !is_zero {
        return;
    }
    let id = analysis.id(*by);
    let message = format!("'{id}' has set this size already: this step changes nothing");
    let output = analysis.steps.get(*by).and_then(|step| step.signature).map(|one| &one.output);
    let help = match output.and_then(|output| output.field("before")) {
        Some(_) => format!("write \"{{{{ {id}.before.{name} }}}}\" for the size before it"),
        None => "write another size, or remove the step".to_owned(),
    };
    let diagnostic = Diagnostic::new(&RULE, analysis.place_of(step, node), message).help(help);
    diagnostics.push(diagnostic.label(analysis.declaration(*by), "it sets this size"));
}

/// Returns the place in the parameters of a loop that takes one item of its list, where each item is meant.
fn item_of_list(
    analysis: &Analysis<'_>,
    items: &Node,
    step: &AnalyzedStep<'_>,
) -> Option<(Range<usize>, String)> {
    let list = template::parse(template_text(items)?).ok()?;
    let list = canonical(list.whole()?);
    step.sites.iter().filter(|site| matches!(site.role, Role::Parameter(_))).find_map(|site| {
        let text = site.node.text()?;
        let template = template::parse(text).ok()?;
        let found = template.expressions().find_map(|expr| one_of(expr, &list))?;
        let span = template::span::of_expr(text, found);
        let map = SourceMap::new(analysis.source.text(), site.node);
        Some((map.range(span), list.clone()))
    })
}

/// Finds the part of an expression that is an item of a list by its number, or its first or last one.
fn one_of<'e, 't>(expr: &'e Expr<'t>, list: &str) -> Option<&'e Expr<'t>> {
    let is_list = |of: &Expr<'_>| canonical(of) == list;
    match expr {
        Expr::GetItem(get) if get.subscript_expr.as_const().is_some() && is_list(&get.expr) => {
            Some(expr)
        }
        Expr::Filter(filter)
            if matches!(filter.name, "first" | "last")
                && filter.expr.as_ref().is_some_and(is_list) =>
        {
            Some(expr)
        }
        other => parts::children(other).into_iter().find_map(|part| one_of(part, list)),
    }
}

/// Reports a step that makes the same change for each item.
fn check_items(
    analysis: &Analysis<'_>,
    raw: &RawStep<'_>,
    step: &AnalyzedStep<'_>,
    diagnostics: &mut Diagnostics,
) {
    let (Some(items), Some(with)) = (raw.for_each, raw.with) else { return };
    let Some(action) = step.signature else { return };
    let repeats_with = action.repeats_with.as_deref().and_then(|name| with.member(name));
    let is_single = items.items().is_some_and(|items| items.len() < 2);
    let pairs = with.pairs().unwrap_or_default();
    if is_single || pairs.is_empty() {
        return;
    }
    // Another name may be meant for the item, and the word says that it is, however it is written.
    let written = analysis.source.text().get(with.span.clone()).unwrap_or_default();
    let mut words = written.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_wrong = step.sites.iter().any(|site| !site.inferred.issues.is_empty());
    if is_wrong || !step.issues.is_empty() || words.any(|word| word == "each") {
        return;
    }
    if let Some((span, list)) = item_of_list(analysis, items, step) {
        let message = format!("this is the same item of '{list}' for every item of the loop");
        let diagnostic = Diagnostic::new(&RULE, span, message)
            .label(start_span(items), "the step runs for each of them");
        diagnostics.push(diagnostic.write("each".to_owned()));
        return;
    }
    let repeats = action.repeats && raw.call.is_none() || repeats_with.is_some();
    // A called runbook can be there to be run several times, as often as a list says that is written for it.
    let is_counted = raw.call.is_some() && template_text(items).is_none();
    if action.kind != ActionKind::Change || repeats || is_counted {
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
