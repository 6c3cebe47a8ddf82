//! A value that may be null where a value is required.

use std::ops::Range;

use super::super::analysis::Role;
use super::super::template::{TemplateIssueKind, inside_braces};
use super::super::types::TypeMismatch;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB035",
    name: "possibly_null",
    severity: Severity::Error,
    summary: "a value that may be null where a value is required",
    explanation: "\
Some outputs are optional: they are null when there is no value. Provide a default: {{
group.launch_template | default('none') }}, or test the value: {{ x if x is not none else y }}.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        if let TemplateIssueKind::PossiblyNull(path) = &issue.kind {
            diagnostics.push(diagnostic(issue.span.clone(), path));
        }
    }
    for site in analysis.sites() {
        let inferred = &site.inferred;
        let mismatch = site.wanted.check_assignable(&inferred.ty);
        let constant = inferred.constant.is_some() && site.role != Role::When;
        if inferred.issues.is_empty() && !constant && mismatch == Err(TypeMismatch::PossiblyNull) {
            let text = site.node.text().and_then(inside_braces).unwrap_or_default();
            diagnostics.push(diagnostic(inferred.span.clone(), text));
        }
    }
}

fn diagnostic(span: Range<usize>, path: &str) -> Diagnostic {
    let message = format!("'{path}' may be null");
    let help = "provide a default: | default(…), or test the value: is not none";
    Diagnostic::new(&RULE, span, message).help(help)
}
