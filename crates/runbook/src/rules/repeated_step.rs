//! The same change twice, one after the other.

use super::super::analysis::AnalyzedStep;
use super::super::analysis::flow::SIZES;
use super::super::document::{OnFailure, RawStep, start_span};
use super::super::registry::ActionKind;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB118",
    name: "repeated_step",
    severity: Severity::Warning,
    summary: "the same change twice, one after the other",
    explanation: "\
A step with the same action and the same parameters as the step before it does the same again, or nothing. Probably it
was copied, and one of its parameters was to be another one.",
};

/// The actions that may be meant to be done again.
const AGAIN: [&str; 3] = ["emit_event", "run_job", "rollout_undo"];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let steps = || analysis.document.steps.iter().zip(&analysis.steps).enumerate();
    // What is waited for, or read, between two changes is no other change.
    let changes: Vec<_> = steps().filter(|(_, (_, step))| !is_wait_or_read(step)).collect();
    for pair in changes.windows(2) {
        let [(before, (one, first)), (index, (two, second))] = pair else { continue };
        if !is_same(one, two, first, second) {
            continue;
        }
        let place = two.action.map_or_else(|| analysis.declaration(*index), start_span);
        let message = format!("this step does the same as '{}' before it", analysis.id(*before));
        let diagnostic = Diagnostic::new(&RULE, place, message)
            .label(analysis.declaration(*before), "the same step")
            .help("change the parameter that was to be another one, or remove the step");
        diagnostics.push(diagnostic);
    }
}

/// Whether a step waits for pods or nodes, or reads something. Time, a person and a probe may be the reason of another
/// change.
fn is_wait_or_read(step: &AnalyzedStep<'_>) -> bool {
    step.signature.is_some_and(|action| {
        action.kind == ActionKind::Read
            || ["wait_pods", "wait_rollout", "wait_nodes"].contains(&action.name.as_str())
    })
}

fn is_same(
    one: &RawStep<'_>,
    two: &RawStep<'_>,
    first: &AnalyzedStep<'_>,
    second: &AnalyzedStep<'_>,
) -> bool {
    let (Some(action), Some(other)) = (first.signature, second.signature) else { return false };
    let text = |node: Option<&Node>| node.and_then(Node::text).map(str::to_owned);
    // A step under a condition, or for items, may be for another case.
    let is_plain = |raw: &RawStep<'_>| raw.for_each.is_none() && raw.call.is_none();
    // The same size again is reported as that.
    let sizes = |with: &Node| SIZES.iter().any(|name| with.member(name).is_some());
    action.name == other.name
        // The second attempt of one that may fail.
        && first.policy.on_failure != OnFailure::Continue
        && !two.with.is_some_and(sizes)
        && action.kind == ActionKind::Change
        && !AGAIN.contains(&action.name.as_str())
        && is_plain(one)
        && is_plain(two)
        && text(one.when) == text(two.when)
        && first.arguments.is_some()
        && first.arguments == second.arguments
}
