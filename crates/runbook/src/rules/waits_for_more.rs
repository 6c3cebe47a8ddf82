//! A wait for more nodes or pods than were asked for.

use super::super::analysis::flow::{EffectKind, Reading, Size, StepFlow, template_text};
use super::super::registry::{ActionKind, ActionSignature};
use super::super::template::{self, parts};
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB078",
    name: "waits_for_more",
    severity: Severity::Warning,
    summary: "a wait for more nodes or pods than were asked for, or for as many as before",
    explanation: "\
A step that waits for more nodes or pods than the step before has asked for waits until its timeout, and fails. Wait
for what was asked for: `count: \"{{ scale_up.desired }}\"`. A wait for the size from before a change is over before the
change has had an effect, or never ends.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let flow = &analysis.flow;
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let (Some(with), Some(action)) = (raw.with, step.signature) else { continue };
        let Some(facts) = flow.steps.get(index) else { continue };
        if let Some((node, wanted, asked, by)) = act(with, facts) {
            report(analysis, action, node, (&wanted, &asked), by, diagnostics);
            continue;
        }
        check_gone(analysis, (index, action), with, facts, diagnostics);
        let (Some(count), Some((asked, by))) = (with.member("count"), &facts.before.asked) else {
            continue;
        };
        // Pods that are to go are counted in another way.
        let goes = with.member("until").is_some_and(|until| until.text() != Some("ready"));
        if action.kind != ActionKind::Wait || goes {
            continue;
        }
        let reading = Reading::new(analysis, flow);
        let least = reading.least(count).filter(|least| least.exceeds(asked));
        let wanted = least.or_else(|| reading.size(count));
        let Some(wanted) = wanted.filter(|wanted| wanted != asked) else { continue };
        if wanted.exceeds(asked) {
            report(analysis, action, count, (&wanted, asked), *by, diagnostics);
        } else if wanted.of.is_some()
            && facts.before.former.as_ref() == Some(&wanted)
            && !is_of(count, analysis.id(*by))
        {
            let message = format!("this is the size from before '{}' changed it", analysis.id(*by));
            let diagnostic = Diagnostic::new(&RULE, count.span.clone(), message)
                .label(analysis.declaration(*by), "it asks for another size")
                .help(help(analysis, action, asked, *by));
            diagnostics.push(diagnostic);
        }
    }
}

/// Reports a wait until the pods of a workload are gone, after a step that has asked for them.
fn check_gone(
    analysis: &Analysis<'_>,
    (index, action): (usize, &ActionSignature),
    with: &Node,
    facts: &StepFlow,
    diagnostics: &mut Diagnostics,
) {
    let until = with.member("until").filter(|until| until.text() == Some("gone"));
    let (Some(until), Some((asked, by))) = (until, &facts.before.asked) else { return };
    // With a number, it waits for as many to go.
    if with.member("count").is_some() {
        return;
    }
    // Listed pods go although others come.
    let is_listed = with.member("pods").is_some() || with.member("selector").is_some();
    let Some(count) = asked.as_number().filter(|count| *count > 0 && !is_listed) else { return };
    // A job or a person may have scaled it meanwhile.
    let mut between = analysis.steps.get(by + 1..index).unwrap_or_default().iter();
    let is_changed = between
        .any(|step| step.signature.is_none_or(|one| one.asks || one.kind == ActionKind::Change));
    if action.kind != ActionKind::Wait || is_changed {
        return;
    }
    let id = analysis.id(*by);
    let message = format!(
        "this waits until the pods of now are gone, but '{id}' asks for {count}, which stay"
    );
    let diagnostic = Diagnostic::new(&RULE, until.span.clone(), message)
        .label(analysis.declaration(*by), "it asks for these pods")
        .help("write 'until: ready', or scale to 0 before");
    diagnostics.push(diagnostic);
}

/// Whether a value is calculated from the output of a step: then it is meant as it is.
fn is_of(node: &Node, id: &str) -> bool {
    let template = template_text(node).and_then(|text| template::parse(text).ok());
    template.is_some_and(|template| template.whole().is_some_and(|expr| parts::uses(expr, id)))
}

/// Returns the wait of an item, or of a called runbook, for more than was asked for: the parameter, both sizes, and the
/// step that has asked.
fn act<'t>(with: &'t Node, facts: &StepFlow) -> Option<(&'t Node, Size, Size, usize)> {
    facts.acts.iter().find_map(|act| {
        let EffectKind::Wait(Some(wanted)) = &act.effect.kind else { return None };
        let (asked, by) = act.before.asked.as_ref()?;
        let parameter = act.parameter.as_deref().unwrap_or("count");
        let node = with.member(parameter).filter(|_| wanted.exceeds(asked))?;
        Some((node, wanted.clone(), asked.clone(), *by))
    })
}

fn report(
    analysis: &Analysis<'_>,
    action: &ActionSignature,
    count: &Node,
    (wanted, asked): (&Size, &Size),
    by: usize,
    diagnostics: &mut Diagnostics,
) {
    let id = analysis.id(by);
    let what = if action.params.field("nodegroup").is_some() { "nodes" } else { "pods" };
    let message = match (wanted.as_number(), asked.as_number()) {
        (Some(wanted), Some(asked)) => {
            format!("this waits for {wanted} {what}, but '{id}' asks for {asked}")
        }
        _ => format!("this waits for more {what} than '{id}' asks for"),
    };
    let help = help(analysis, action, asked, by);
    let diagnostic = Diagnostic::new(&RULE, count.span.clone(), message).help(help);
    diagnostics.push(diagnostic.label(analysis.declaration(by), "it asks for fewer"));
}

/// Returns what to write in place of the size that is waited for.
fn help(analysis: &Analysis<'_>, action: &ActionSignature, asked: &Size, by: usize) -> String {
    let id = analysis.id(by);
    let is_single = analysis
        .document
        .steps
        .get(by)
        .is_some_and(|raw| raw.for_each.is_none() && raw.call.is_none());
    match (asked.as_number(), action.params.field("nodegroup")) {
        (Some(asked), _) if !is_single => format!("write {asked}"),
        _ if !is_single => "wait for what was asked for".to_owned(),
        (_, Some(_)) => format!("write \"{{{{ {id}.desired }}}}\""),
        (_, None) => format!("write \"{{{{ {id}.replicas }}}}\""),
    }
}
