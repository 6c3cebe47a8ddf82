//! A step id that is reserved.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB038",
    name: "reserved_step_id",
    severity: Severity::Error,
    summary: "a step id that is reserved",
    explanation: "\
'inputs' refers to the inputs of the run, and keywords such as 'not', 'if' and 'in' belong to
expressions. 'each' is the item of a 'for_each'. Some names are reserved for future use: run, steps, env, secrets, self, loop.",
};

/// The keywords of expressions, and the names that the language reserves.
pub(crate) const RESERVED: &[&str] = &[
    "inputs", "and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "run", "each",
    "steps", "env", "secrets", "self", "loop",
];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for step in &analysis.document.steps {
        let Some((node, id)) = step.id.zip(step.id_text()) else {
            continue;
        };
        if RESERVED.contains(&id) {
            let message = format!("'{id}' is a reserved name and cannot be a step id");
            let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message);
            diagnostics.push(diagnostic.help(format!("choose another id, such as '{id}_step'")));
        }
    }
}
