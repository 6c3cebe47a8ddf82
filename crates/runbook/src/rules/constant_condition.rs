//! A condition that is the same for every run.

use super::super::analysis::Role;
use super::super::types::Type;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB056",
    name: "constant_condition",
    severity: Severity::Warning,
    summary: "a condition that is the same for every run",
    explanation: "\
A 'when' that names neither an input nor an output has the same value in every run. To disable a
step for a while, write `when: false`, which is clearer.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for site in analysis.sites().filter(|site| site.role == Role::When && !site.is_text) {
        let inferred = &site.inferred;
        let names = !inferred.steps.is_empty() || !inferred.inputs.is_empty();
        if inferred.issues.is_empty() && !names && inferred.ty == Type::Boolean {
            let message = "this condition has the same value in every run";
            diagnostics.push(Diagnostic::new(&RULE, inferred.span.clone(), message));
        }
    }
}
