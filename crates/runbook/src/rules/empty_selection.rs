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
anything. An empty set of labels is one too, because it matches every object.",
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
        return Some(format!("'{path}' is empty: it matches every object"));
    }
    let group = params.exactly_one_of.iter().flatten().any(|name| name == path);
    let acts = action.kind != ActionKind::Read && (field.required || group);
    acts.then(|| format!("'{path}' is empty: {} would do nothing", action.name))
}
