//! A condition that is not one whole boolean expression.

use super::super::analysis::{Role, TemplateSite};
use super::super::document::start_span;
use super::super::template::{self, is_template};
use super::super::types::Type;
use super::super::yaml::{Node, ScalarValue, in_double_quotes};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity, expression_type_mismatch};

pub(crate) const RULE: Rule = Rule {
    code: "RB032",
    name: "when_not_boolean",
    severity: Severity::Error,
    summary: "a condition that is not one whole boolean expression",
    explanation: "\
'when' decides whether a step runs, so it is one whole expression that yields true or false:

    when: \"{{ relay_group.desired > 2 }}\"

A string is never a condition, not even 'false' in quotes, and no other value is converted to a
boolean.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for site in analysis.sites().filter(|site| site.role == Role::When) {
        check_template(site, diagnostics);
    }
    for step in &analysis.document.steps {
        if let Some(node) = step.when {
            check_literal(node, diagnostics);
        }
    }
}

fn check_template(site: &TemplateSite<'_>, diagnostics: &mut Diagnostics) {
    let inferred = &site.inferred;
    if !inferred.issues.is_empty() {
        return;
    }
    if site.is_text {
        let message = "'when' must be one whole expression, without text around it";
        let diagnostic = Diagnostic::new(&RULE, site.node.span.clone(), message);
        let joined = site
            .node
            .text()
            .and_then(|text| expression_type_mismatch::joined(&template::parse(text).ok()?));
        let help = match joined.filter(|joined| joined.len() < 100) {
            Some(joined) => format!("write \"{{{{ {joined} }}}}\""),
            None => "write \"{{ a and b }}\" instead of \"{{ a }} and {{ b }}\"".to_owned(),
        };
        return diagnostics.push(diagnostic.help(help));
    }
    if !matches!(inferred.ty, Type::Boolean | Type::Any | Type::Optional(_)) {
        let found = inferred.ty.with_article();
        let message = format!("'when' must be a boolean, but this expression yields {found}");
        let diagnostic = Diagnostic::new(&RULE, inferred.span.clone(), message);
        diagnostics
            .push(diagnostic.help("compare explicitly, such as x > 0, x != '' or x | length > 0"));
    }
}

/// Reports a literal other than `true` or `false`; a string is probably an expression without its
/// braces.
fn check_literal(node: &Node, diagnostics: &mut Diagnostics) {
    let boolean = matches!(node.scalar_value(), Some(ScalarValue::Boolean(_)));
    if boolean || node.is_broken() || node.text().is_some_and(is_template) {
        return;
    }
    let message = format!("'when' must be a boolean expression, not {}", node.describe());
    let mut diagnostic = Diagnostic::new(&RULE, start_span(node), message);
    if let Some(word @ ("true" | "false")) = node.text() {
        diagnostic.suggestion = Some(word.to_owned());
        return diagnostics.push(diagnostic.help(format!("write {word}, without quotes")));
    }
    diagnostics.push(match node.text() {
        Some(text) if !node.is_null() && !text.contains('\n') => {
            let template = in_double_quotes(&format!("{{{{ {text} }}}}"));
            let mut diagnostic = diagnostic.help(format!("write {template}"));
            let is_valid = template::parse(&format!("{{{{ {text} }}}}")).is_ok();
            diagnostic.suggestion = Some(template).filter(|_| is_valid);
            diagnostic
        }
        _ if node.items().is_some() => {
            diagnostic.help("write one condition: join several with 'and', as in \"{{ a and b }}\"")
        }
        _ => diagnostic.help("write \"{{ … }}\""),
    });
}
