//! A condition that is not one whole boolean expression.

use super::super::document::beginning;
use super::super::examine::{Role, Site};
use super::super::template::is_template;
use super::super::types::Type;
use super::super::yaml::{Node, Plain};
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB032",
    name: "when_not_boolean",
    severity: Severity::Error,
    summary: "a condition that is not one whole boolean expression",
    explanation: r#"'when' decides whether a step runs, so it is one whole expression that yields true or false:

    when: "{{ relay_group.desired > 2 }}"

Text is never false, not even 'false' in quotes, and nothing else is taken for true or false."#,
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for site in book.sites().filter(|site| site.role == Role::When) {
        check_template(site, findings);
    }
    for step in &book.document.steps {
        if let Some(node) = step.when {
            check_literal(node, findings);
        }
    }
}

fn check_template(site: &Site<'_>, findings: &mut Findings) {
    let inferred = &site.inferred;
    if !inferred.flaws.is_empty() {
        return;
    }
    if site.is_text {
        let message = "'when' must be one whole expression, with nothing around it";
        let finding = Finding::new(&RULE, site.node.span.clone(), message);
        let help = "write \"{{ a and b }}\" instead of \"{{ a }} and {{ b }}\"";
        return findings.push(finding.help(help));
    }
    if !matches!(inferred.ty, Type::Boolean | Type::Any | Type::Optional(_)) {
        let found = inferred.ty.noun();
        let message = format!("'when' must be a boolean, but this yields {found}");
        let finding = Finding::new(&RULE, inferred.span.clone(), message);
        findings.push(finding.help("compare explicitly, such as x > 0, x != '' or x | length > 0"));
    }
}

/// A literal `true` or `false` is a condition too; text that looks like an expression has lost its
/// braces.
fn check_literal(node: &Node, findings: &mut Findings) {
    let boolean = matches!(node.plain(), Some(Plain::Boolean(_)));
    if boolean || node.is_broken() || node.text().is_some_and(is_template) {
        return;
    }
    let message = format!("'when' must be a boolean expression, not {}", node.describe());
    let finding = Finding::new(&RULE, beginning(node), message);
    findings.push(match node.text() {
        Some(text) if !node.is_null() => finding.help(format!("write \"{{{{ {text} }}}}\"")),
        _ => finding.help("write \"{{ … }}\""),
    });
}
