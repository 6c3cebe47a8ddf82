//! A template where a literal is required.

use std::ops::Range;

use super::super::analysis::ArgumentIssueKind;
use super::super::document::DocumentIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB037",
    name: "template_not_allowed",
    severity: Severity::Error,
    summary: "a template where a literal is required",
    explanation: "\
Some values must be known before the run, because a plan prints them and the rules compare them:
ids, timeouts, retries, on_failure, and the declarations of inputs. Templates are allowed under 'with'
and in 'for_each', 'when', 'log', and a step's 'name' and 'description'.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in &analysis.document.issues {
        if let DocumentIssueKind::TemplateNotAllowed(what) = &issue.kind {
            diagnostics.push(diagnostic(issue.span.clone(), what));
        }
    }
    for issue in &analysis.default_issues {
        if matches!(issue.kind, ArgumentIssueKind::TemplateNotAllowed) {
            diagnostics.push(diagnostic(issue.span.clone(), "an input's default"));
        }
    }
}

fn diagnostic(span: Range<usize>, what: &str) -> Diagnostic {
    let message = format!("{what} cannot contain a template");
    Diagnostic::new(&RULE, span, message)
        .help("templates are allowed under 'with' and in 'for_each', 'when', 'log', 'name' and 'description'")
}
