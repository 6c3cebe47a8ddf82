//! A `restore` on a step that has nothing to restore.

use super::super::registry::{ActionKind, Reversibility};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB063",
    name: "cannot_restore",
    severity: Severity::Error,
    summary: "a 'restore' on a step that has nothing to restore",
    explanation: "\
'restore: at_end' undoes a change when the run ends, however it ends. It needs a change that can be
undone: a step that reads or waits changes nothing, and deleted pods or a restarted deployment cannot
be put back. `rafay-relay-sop actions NAME` says what an action can undo.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let Some((span, action)) = raw.restore.as_ref().zip(step.signature) else { continue };
        let problem = match (action.kind, action.reversibility) {
            (ActionKind::Read | ActionKind::Wait, _) => "changes nothing",
            (ActionKind::Change, Reversibility::Irreversible) => "cannot be undone",
            (ActionKind::Change, _) => continue,
        };
        let message = format!("{} {problem}, so there is nothing to restore", action.name);
        diagnostics.push(Diagnostic::new(&RULE, span.clone(), message).help("remove 'restore'"));
    }
}
