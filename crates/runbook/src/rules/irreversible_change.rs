//! A change that a rollback goes past.

use super::super::analysis::AnalyzedStep;
use super::super::document::OnFailure;
use super::super::registry::Reversibility;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB050",
    name: "irreversible_change",
    severity: Severity::Note,
    summary: "a change that a rollback goes past",
    explanation: "\
Some changes cannot be undone: deleted pods do not come back, and a restarted deployment has been
restarted. A rollback undoes the steps before it all the same. Put such steps where nothing behind
them rolls back (on_failure: stop), or accept it.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let rolls_back = |step: &AnalyzedStep<'_>| step.policy.on_failure == OnFailure::Rollback;
    let last = analysis.steps.iter().rposition(rolls_back);
    for (index, step) in analysis.steps.iter().enumerate().take_while(|(i, _)| Some(*i) <= last) {
        let irreversible =
            step.signature.filter(|action| action.reversibility == Reversibility::Irreversible);
        let Some(action) = irreversible else {
            continue;
        };
        let Some(node) = analysis.document.steps[index].action else {
            continue;
        };
        let by = if rolls_back(step) { "this step's" } else { "a later step's" };
        let message = format!("{} cannot be undone: {by} rollback goes past it", action.name);
        diagnostics.push(Diagnostic::new(&RULE, node.span.clone(), message));
    }
}
