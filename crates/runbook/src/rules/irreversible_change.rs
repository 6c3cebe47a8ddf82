//! A change that a rollback cannot undo.

use std::ops::Range;

use super::super::document::OnFailure;
use super::super::registry::{ActionSignature, Reversibility};
use super::super::yaml::Node;
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

/// The action that only says what has been done, which stays true.
const REPORT: &str = "emit_event";

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    // The changes that the next rollback skips.
    let mut skipped: Vec<usize> = Vec::new();
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let is_skipped = |action: &ActionSignature| {
            action.reversibility == Reversibility::Irreversible && action.name != REPORT
        };
        if step.signature.is_some_and(is_skipped) {
            skipped.push(index);
        }
        if step.policy.on_failure != OnFailure::Rollback || skipped.is_empty() {
            continue;
        }
        match &raw.policy.on_failure {
            Some((_, span)) => {
                diagnostics.push(at_rollback(analysis, index, &skipped, span.clone()));
                skipped.clear();
            }
            // It is said of all steps, and cannot be changed for this one.
            None => {
                let notes = skipped.drain(..).filter_map(|one| at_change(analysis, one, index));
                notes.for_each(|note| diagnostics.push(note));
            }
        }
    }
}

/// Reports the rollback of one step, with the changes that it skips.
fn at_rollback(
    analysis: &Analysis<'_>,
    index: usize,
    skipped: &[usize],
    span: Range<usize>,
) -> Diagnostic {
    const MAX_NAMED: usize = 3;
    let named = skipped.iter().take(MAX_NAMED).map(|one| format!("'{}'", analysis.id(*one)));
    let mut named: Vec<String> = named.collect();
    if skipped.len() > MAX_NAMED {
        named.push(format!("{} others", skipped.len() - MAX_NAMED));
    }
    let last = named.pop().unwrap_or_default();
    let named = if named.is_empty() { last } else { format!("{} and {last}", named.join(", ")) };
    let message = format!(
        "{named} cannot be undone: the rollback after a failure of '{}' skips it",
        analysis.id(index)
    );
    let message =
        if skipped.len() == 1 { message } else { message.replace("skips it", "skips them") };
    let diagnostic = Diagnostic::new(&RULE, span, message);
    let actions = skipped.iter().take(MAX_NAMED).filter_map(|one| action_of(analysis, *one));
    let diagnostic = actions.fold(diagnostic, |diagnostic, (node, _)| {
        diagnostic.label(node.span.clone(), "this is not undone")
    });
    diagnostic.help("write 'stop', unless the other changes are to be undone all the same")
}

/// Reports a change that the rollback of a step skips.
fn at_change(analysis: &Analysis<'_>, index: usize, by: usize) -> Option<Diagnostic> {
    let (node, name) = action_of(analysis, index)?;
    let failed = if index == by { "this step" } else { "a later step" };
    let message =
        format!("{name} cannot be undone: the rollback after a failure of {failed} skips it");
    Some(Diagnostic::new(&RULE, node.span.clone(), message))
}

fn action_of<'a, 't>(analysis: &'a Analysis<'t>, index: usize) -> Option<(&'t Node, &'a str)> {
    let raw = analysis.document.steps.get(index)?;
    let action = analysis.steps.get(index)?.signature?;
    Some((raw.action.or(raw.call)?, &action.name))
}
