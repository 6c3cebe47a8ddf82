//! Two steps in a row that undo each other.

use serde_json::Value as Json;

use super::super::catalogue::Kind;
use super::super::evaluate::Argument;
use super::super::examine::ExaminedStep;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB054",
    name: "opposite_steps",
    severity: Severity::Warning,
    summary: "two steps in a row that undo each other",
    explanation: "\
A step that takes back what the change before it did, on the same target and with nothing changed in
between, is probably one of two that were meant for different targets.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    let mut before: Option<usize> = None;
    for (index, step) in book.steps.iter().enumerate() {
        if step.signature.is_none_or(|action| action.kind != Kind::Change) {
            continue;
        }
        if let Some(first) = before.replace(index)
            && undo_each_other(&book.steps[first], step)
        {
            let message = format!("this undoes what '{}' has just done", book.id(first));
            let finding = Finding::new(&RULE, book.declaration(index), message);
            findings.push(finding.label(book.declaration(first), "this step"));
        }
    }
}

fn undo_each_other(first: &ExaminedStep<'_>, second: &ExaminedStep<'_>) -> bool {
    let Some((a, b)) = first.signature.zip(second.signature) else {
        return false;
    };
    let Some((before, after)) = first.arguments.as_ref().zip(second.arguments.as_ref()) else {
        return false;
    };
    let opposite = a.opposite.as_deref() == Some(b.name.as_str());
    opposite && before == after || a.name == b.name && differ_in_one_flag(before, after)
}

/// The same parameters but for one boolean.
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
