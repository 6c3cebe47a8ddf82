//! A step's id that a template cannot say.

use super::super::document::is_name;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB010",
    name: "invalid_step_id",
    severity: Severity::Error,
    summary: "a step's id that a template cannot say",
    explanation: "\
Later steps name a step's output as {{ id.field }}, so an id is a name: a lower-case letter, then
lower-case letters, digits and '_'. A '-' would be a minus.",
};

/// Longer ids are not read by anybody.
const MAX_LENGTH: usize = 64;

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for step in &analysis.document.steps {
        let Some((node, id)) = step.id.and_then(|node| Some((node, node.text()?))) else {
            continue;
        };
        if is_name(id) && id.len() <= MAX_LENGTH {
            continue;
        }
        let message = format!("{} cannot be a step's id", quoted(id));
        let help = "a lower-case letter, then lower-case letters, digits and '_', at most 64";
        let mut diagnostic = Diagnostic::new(&RULE, node.span.clone(), message).help(help);
        diagnostic.suggestion = suggested_id(id);
        diagnostics.push(diagnostic);
    }
}

/// The same id with what cannot be said replaced.
fn suggested_id(id: &str) -> Option<String> {
    let replace = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
        _ => '_',
    };
    let suggested_id: String = id.trim().chars().take(MAX_LENGTH).map(replace).collect();
    is_name(&suggested_id).then_some(suggested_id)
}
