//! Invalid step id.

use super::super::document::is_name;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB010",
    name: "invalid_step_id",
    severity: Severity::Error,
    summary: "invalid step id",
    explanation: "\
Later steps refer to the output of a step as {{ id.field }}, so an id has the format of a name: a
lowercase letter, then lowercase letters, digits and '_'. A '-' would be read as a minus.",
};

/// The maximum length of an id.
const MAX_LENGTH: usize = 64;

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for step in &analysis.document.steps {
        let Some((node, id)) = step.id.and_then(|node| Some((node, node.text()?))) else {
            continue;
        };
        if is_name(id) && id.len() <= MAX_LENGTH {
            continue;
        }
        let message = format!("{} is not a valid step id", quoted(id));
        let suggested = suggested_id(id);
        let rule =
            "a lowercase letter, then lowercase letters, digits and '_', at most 64 characters";
        let help = match &suggested {
            Some(suggested) if id.is_ascii() && id.len() <= MAX_LENGTH => {
                format!("write {suggested}: {rule}")
            }
            _ => format!("use {rule}"),
        };
        let mut diagnostic = Diagnostic::new(&RULE, node.span.clone(), message).help(help);
        diagnostic.suggestion = suggested;
        diagnostics.push(diagnostic);
    }
}

/// Returns the id with each invalid character replaced by `_`, if that is a valid id.
fn suggested_id(id: &str) -> Option<String> {
    let replace = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
        _ => '_',
    };
    let suggested_id: String = id.trim().chars().take(MAX_LENGTH).map(replace).collect();
    is_name(&suggested_id).then_some(suggested_id)
}
