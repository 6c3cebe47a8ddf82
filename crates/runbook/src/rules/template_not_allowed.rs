//! A template where only a literal can stand.

use std::ops::Range;

use super::super::analysis::ArgumentIssueKind;
use super::super::document::DocumentIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB037",
    name: "template_not_allowed",
    severity: Severity::Error,
    summary: "a template where only a literal can stand",
    explanation: "\
What a plan prints and a check compares must be known before the run: names, ids, timeouts, retries,
on_failure, and the declarations of inputs. Templates belong into 'with', 'when' and 'log'.",
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
    let message = format!("{what} cannot be a template");
    Diagnostic::new(&RULE, span, message).help("templates belong into 'with', 'when' and 'log'")
}
