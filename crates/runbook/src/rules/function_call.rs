//! A function call in a template.

use super::super::habits;
use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB029",
    name: "function_call",
    severity: Severity::Error,
    summary: "a function call in a template",
    explanation: "\
Templates have filters, but no functions and no methods: instead of name.upper() write name | upper,
instead of len(nodes) write nodes | length.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let TemplateIssueKind::FunctionCall(call) = &issue.kind else { continue };
        let message = message(call);
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        let written = analysis.source.text().get(issue.span.clone()).unwrap_or_default();
        if let Some(field) = called_field(analysis, call) {
            let help = format!("write {field}: it is a field, and no function");
            diagnostics.push(diagnostic.help(help));
            continue;
        }
        diagnostics.push(match habits::call(call) {
            Some(rewrite) => {
                let mut diagnostic = diagnostic.rewrite(rewrite);
                // The span of a method is not that of the whole expression.
                diagnostic.suggestion.take_if(|_| written != call);
                diagnostic
            }
            None => diagnostic.help("use a filter: name | upper, nodes | length"),
        });
    }
}

/// Names the function or method that is called, if its name is a word.
fn message(call: &str) -> String {
    let callee = call.split('(').next().unwrap_or_default().trim();
    let (what, name) = match callee.rsplit_once('.') {
        Some((_, name)) => ("method", name),
        None => ("function", callee),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.len() > 40 || !name.chars().all(is_name) {
        return "function calls are not supported in templates".to_owned();
    }
    format!("there is no {what} '{name}': templates have filters, and no functions")
}

/// Returns the field of an output that a call without arguments names: `pods.count()`.
fn called_field<'c>(analysis: &Analysis<'_>, call: &'c str) -> Option<&'c str> {
    let path = call.strip_suffix("()")?;
    let (step, field) = path.split_once('.')?;
    let output = analysis.symbols.outputs.get(*analysis.symbols.steps.get(step)?)?;
    let has_field = output.record.as_ref()?.field(field).is_some();
    (has_field && output.items.is_none()).then_some(path)
}
