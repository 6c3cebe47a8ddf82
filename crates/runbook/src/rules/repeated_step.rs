//! The same change twice, one after the other.

use super::super::analysis::AnalyzedStep;
use super::super::analysis::flow::SIZES;
use super::super::document::{OnFailure, RawStep};
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
    let steps = &analysis.document.steps;
    let pairs = steps.iter().zip(steps.iter().skip(1));
    let analyzed = analysis.steps.iter().zip(analysis.steps.iter().skip(1));
    for (index, ((one, two), (first, second))) in pairs.zip(analyzed).enumerate() {
        if !is_same(one, two, first, second) {
            continue;
        }
        let message = format!("this step does the same as '{}' before it", analysis.id(index));
        let diagnostic = Diagnostic::new(&RULE, analysis.declaration(index + 1), message)
            .label(analysis.declaration(index), "the same step")
            .help("change the parameter that was to be another one, or remove the step");
        diagnostics.push(diagnostic);
    }
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
