//! A change that a rollback cannot undo.

use super::super::analysis::AnalyzedStep;
use super::super::document::OnFailure;
use super::super::registry::Reversibility;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB050",
    name: "irreversible_change",
    severity: Severity::Note,
    summary: "a change that a rollback cannot undo",
    explanation: "\
Some changes cannot be undone: deleted pods are not restored, and a restarted deployment stays
restarted. A rollback skips such a step and undoes the steps before it. Place such steps where no
later step rolls back (on_failure: stop), or accept the note.",
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
        let raw = &analysis.document.steps[index];
        let Some(node) = raw.action.or(raw.call) else {
            continue;
        };
        let failed = if rolls_back(step) { "this step" } else { "a later step" };
        let message = format!(
            "{} cannot be undone: the rollback after a failure of {failed} skips it",
            action.name
        );
        diagnostics.push(Diagnostic::new(&RULE, node.span.clone(), message));
    }
}
