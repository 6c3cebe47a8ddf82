//! A step's id that a template cannot say.

use super::super::document::is_name;
use super::super::yaml::quoted;
use super::{Book, Finding, Findings, Rule, Severity};

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
const LONGEST: usize = 64;

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for step in &book.document.steps {
        let Some((node, id)) = step.id.and_then(|node| Some((node, node.text()?))) else {
            continue;
        };
        if is_name(id) && id.len() <= LONGEST {
            continue;
        }
        let message = format!("{} cannot be a step's id", quoted(id));
        let help = "a lower-case letter, then lower-case letters, digits and '_', at most 64";
        let mut finding = Finding::new(&RULE, node.span.clone(), message).help(help);
        finding.suggestion = better(id);
        findings.push(finding);
    }
}

/// The same id with what cannot be said replaced.
fn better(id: &str) -> Option<String> {
    let fit = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
        _ => '_',
    };
    let better: String = id.trim().chars().take(LONGEST).map(fit).collect();
    is_name(&better).then_some(better)
}
