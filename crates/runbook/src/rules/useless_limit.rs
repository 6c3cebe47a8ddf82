//! A limit that no step can reach.

use super::super::analysis::flow::{EffectKind, Reading, StepFlow, literal_integer};
use super::super::document::start_span;
use super::super::limits::{Amount, LimitKind};
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB073",
    name: "useless_limit",
    severity: Severity::Warning,
    summary: "a limit that no step can reach, or that a step cannot keep",
    explanation: "\
A limit that protects nothing lets a reader believe that it does. 'nodes_at_most' is for steps that set
the size of a nodegroup or an Auto Scaling group, 'cordon_at_most' for steps that cordon nodes, and
'keep_ready' for steps that take pods or nodes away. Steps of called runbooks count.

A limit that lets all nodes be cordoned, or no pod be Ready, limits nothing. One that lets no node be
cordoned, or fewer than a step asks for, keeps that step from what it is there for.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    // An unknown action, or a runbook that cannot be called, may reach every limit.
    if analysis.steps.iter().any(|step| step.signature.is_none()) {
        return;
    }
    let pairs = analysis.document.limits.and_then(|limits| limits.pairs()).unwrap_or_default();
    for (key, value) in pairs {
        let kind = LimitKind::ALL.into_iter().find(|kind| key.text() == Some(kind.key()));
        let Some(kind) = kind else { continue };
        match analysis.reaching(kind).next() {
            Some(first) => check_value(analysis, kind, value, first, diagnostics),
            None => {
                let message =
                    format!("no step {}: '{}' has no effect", kind.reached_by(), kind.key());
                let diagnostic = Diagnostic::new(&RULE, key.span.clone(), message);
                diagnostics.push(diagnostic.help("remove it"));
            }
        }
    }
}

/// Checks a limit that is written as a number or a percentage, where `first` is the first step that can reach it.
fn check_value(
    analysis: &Analysis<'_>,
    kind: LimitKind,
    value: &Node,
    first: usize,
    diagnostics: &mut Diagnostics,
) {
    let amount = |node: &Node| node.text()?.parse::<Amount>().ok();
    match kind {
        LimitKind::CordonAtMost => {
            let message = match amount(value) {
                Some(Amount::Percent(100)) => {
                    "this limit lets all nodes be cordoned: it has no effect".to_owned()
                }
                Some(Amount::Count(0) | Amount::Percent(0)) => {
                    format!("no node may be cordoned, but '{}' cordons nodes", analysis.id(first))
                }
                _ => return,
            };
            let mut diagnostic = Diagnostic::new(&RULE, value.span.clone(), message);
            if amount(value) != Some(Amount::Percent(100)) {
                diagnostic = diagnostic.label(analysis.declaration(first), "it can never do so");
            }
            diagnostics.push(diagnostic.help("write how many nodes may be cordoned at a time"));
        }
        LimitKind::KeepReady => {
            for kept in value.items().unwrap_or_default() {
                let Some(node) = kept.member("at_least") else { continue };
                if let Some(Amount::Count(0) | Amount::Percent(0)) = amount(node) {
                    let message = "'at_least' is 0: no pod is kept Ready";
                    let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message);
                    diagnostics.push(diagnostic.help("write how many pods must stay Ready"));
                } else if let Some(Amount::Count(least)) = amount(node) {
                    check_kept(analysis, kept, node, i64::from(least), diagnostics);
                }
            }
        }
        LimitKind::NodesAtMost => {
            let Some(most) = literal_integer(value).filter(|most| *most > 0) else { return };
            for step in analysis.reaching(kind) {
                let with = analysis.document.steps.get(step).and_then(|raw| raw.with);
                let desired = with.and_then(|with| with.member("desired"));
                let asked = desired.and_then(|node| Some((literal_integer(node)?, node)));
                let Some((asked, node)) = asked.filter(|(asked, _)| *asked > most) else {
                    continue;
                };
                let message = format!("this asks for {asked} nodes, but 'nodes_at_most' is {most}");
                diagnostics.push(
                    Diagnostic::new(&RULE, node.span.clone(), message)
                        .label(value.span.clone(), "the limit")
                        .help(format!("ask for {most} or fewer, or raise the limit")),
                );
            }
        }
    }
}

/// Reports a workload that a step gives fewer pods than are kept.
fn check_kept(
    analysis: &Analysis<'_>,
    kept: &Node,
    at_least: &Node,
    least: i64,
    diagnostics: &mut Diagnostics,
) {
    let Some(target) = Reading::new(analysis, &analysis.flow).workload(kept) else { return };
    let mut steps = analysis.flow.steps.iter().enumerate();
    let smaller = |(index, facts): (usize, &StepFlow)| {
        let own = facts.target.as_ref().zip(facts.size.as_ref());
        let acts = facts.acts.iter().filter_map(|act| match &act.effect.kind {
            EffectKind::Size(Some(size)) => Some((act.effect.target.as_ref()?, size)),
            _ => None,
        });
        let mut sizes = own.into_iter().chain(acts).filter(|(of, _)| **of == target);
        let size = sizes.find_map(|(_, size)| size.as_number().filter(|size| *size < least))?;
        Some((index, size))
    };
    let Some((index, size)) = steps.find_map(smaller) else { return };
    let id = analysis.id(index);
    let pods = if size == 1 { "1 pod".to_owned() } else { format!("{size} pods") };
    let message = format!(
        "'{id}' leaves {pods} of this workload, but by 'keep_ready' {least} must stay Ready"
    );
    let diagnostic = Diagnostic::new(&RULE, start_span(at_least), message)
        .label(analysis.declaration(index), "it can never do so")
        .help(format!("remove this workload from the limit, or let '{id}' leave more"));
    diagnostics.push(diagnostic);
}
