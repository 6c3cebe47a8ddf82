//! Two consecutive changes that undo each other.

use serde_json::Value as Json;

use super::super::analysis::AnalyzedStep;
use super::super::evaluate::Argument;
use super::super::registry::{ActionKind, ActionSignature};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB054",
    name: "opposite_steps",
    severity: Severity::Warning,
    summary: "two consecutive changes that undo each other",
    explanation: "\
A step that reverts the previous change on the same target, with no other change and no wait in between, is
probably one of two steps that were meant for different targets.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut before: Option<usize> = None;
    for (index, step) in analysis.steps.iter().enumerate() {
        let kind = step.signature.map(|action| action.kind);
        // Something else, or a person, does the work meanwhile.
        if kind == Some(ActionKind::Wait) || kind.is_none() {
            before = None;
        }
        if kind != Some(ActionKind::Change) {
            continue;
        }
        if let Some(first) = before.replace(index)
            && undo_each_other(&analysis.steps[first], step)
        {
            let message = format!("this step undoes the change of '{}'", analysis.id(first));
            let diagnostic = Diagnostic::new(&RULE, analysis.declaration(index), message);
            let diagnostic = diagnostic.help("put the work between the two, or remove both");
            diagnostics.push(diagnostic.label(analysis.declaration(first), "this change"));
        }
    }
}

fn undo_each_other(first: &AnalyzedStep<'_>, second: &AnalyzedStep<'_>) -> bool {
    let Some((a, b)) = first.signature.zip(second.signature) else {
        return false;
    };
    let Some((before, after)) = first.arguments.as_ref().zip(second.arguments.as_ref()) else {
        return false;
    };
    let is_certain = |step: &AnalyzedStep<'_>| step.when.is_none();
    // Of two steps with conditions, one may be in the place of the other.
    if !is_certain(first) || !is_certain(second) {
        return false;
    }
    let opposite = a.opposite.as_deref() == Some(b.name.as_str());
    opposite && before == after
        || is_state(a) && a.name == b.name && differ_in_one_flag(before, after)
}

/// Whether a flag of an action is a state, and not a way to do something: to drain with force is no undo of a drain.
fn is_state(action: &ActionSignature) -> bool {
    action.name == "set_protection"
}

/// Whether two lists of parameters are equal except for one boolean.
fn differ_in_one_flag(before: &[(String, Argument)], after: &[(String, Argument)]) -> bool {
    let value = |name: &str| after.iter().find(|(other, _)| other == name).map(|(_, value)| value);
    let is_flag = |value: &Argument| matches!(value, Argument::Literal(Json::Bool(_)));
    let mut flags = 0;
    let same = before.len() == after.len()
        && before.iter().all(|(name, first)| match value(name) {
            Some(second) if first == second => true,
            Some(second) => {
                flags += 1;
                is_flag(first) && is_flag(second)
            }
            None => false,
        });
    same && flags == 1
}
