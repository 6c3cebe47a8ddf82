//! A step's id that means something else in a template.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB038",
    name: "reserved_step_id",
    severity: Severity::Error,
    summary: "a step's id that means something else in a template",
    explanation: "\
'inputs' is the run's inputs, and words such as 'not', 'if' and 'in' belong to expressions. A few
more are kept for what may come: run, steps, env, secrets, self, loop.",
};

/// The words of expressions, and names that the language keeps to itself.
pub(crate) const RESERVED: &[&str] = &[
    "inputs", "and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "run",
    "steps", "env", "secrets", "self", "loop",
];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for step in &analysis.document.steps {
        let Some((node, id)) = step.id.zip(step.id_text()) else {
            continue;
        };
        if RESERVED.contains(&id) {
            let message = format!("'{id}' cannot be a step's id: it means something else");
            let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message);
            diagnostics.push(diagnostic.help(format!("choose another, such as '{id}_step'")));
        }
    }
}
