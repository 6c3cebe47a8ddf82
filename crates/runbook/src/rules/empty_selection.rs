//! A step without a target.

use super::super::registry::{ActionKind, ActionSignature};
use super::super::types::Type;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB055",
    name: "empty_selection",
    severity: Severity::Error,
    summary: "a step without a target",
    explanation: "\
An empty list of nodes, instances or pods is a mistake: the step would report success without doing
anything. So is an empty set of labels by which something is selected, because it matches every
object, and one of labels to be set.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for step in &analysis.steps {
        let Some(action) = step.signature else {
            continue;
        };
        for (path, span) in &step.empty {
            let Some(message) = message(action, path) else {
                continue;
            };
            diagnostics.push(Diagnostic::new(&RULE, span.clone(), message));
        }
    }
}

fn message(action: &ActionSignature, path: &str) -> Option<String> {
    let params = &action.params;
    let field = params.field(path)?;
    if matches!(field.ty.non_null(), Type::Map(..)) {
        // What a change has a map of is what it sets.
        return Some(match action.kind {
            ActionKind::Change => format!("'{path}' is empty: it changes nothing"),
            ActionKind::Read | ActionKind::Wait => {
                format!("'{path}' is empty: it matches every object")
            }
        });
    }
    let group = params.exactly_one_of.iter().flatten().any(|name| name == path);
    let acts = action.kind != ActionKind::Read && (field.required || group);
    acts.then(|| format!("'{path}' is empty: {} would do nothing", action.name))
}
