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
ids, timeouts, retries, on_failure, and the declarations of inputs. So must the few parameters from
which the type of an output or the permissions of a run follow: the kind of an object, and the fields
that are read of it. Templates are allowed under 'with' otherwise, and in 'for_each', 'when', 'log',
and a step's 'name' and 'description'.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in &analysis.document.issues {
        if let DocumentIssueKind::TemplateNotAllowed(what) = &issue.kind {
            let is_of_runbook = analysis.header().any(|(_, value)| value.span == issue.span);
            let of_runbook = format!("the {what} of the runbook");
            let named = if is_of_runbook { &of_runbook } else { what };
            diagnostics.push(
                unclosed(analysis, &issue.span, named)
                    .unwrap_or_else(|| diagnostic(issue.span.clone(), what, is_of_runbook)),
            );
        }
    }
    for issue in &analysis.default_issues {
        if matches!(issue.kind, ArgumentIssueKind::TemplateNotAllowed { .. }) {
            let what = "an input's default";
            diagnostics.push(
                unclosed(analysis, &issue.span, what)
                    .unwrap_or_else(|| diagnostic(issue.span.clone(), what, false)),
            );
        }
    }
    for issue in analysis.argument_issues() {
        if let ArgumentIssueKind::TemplateNotAllowed { path } = &issue.kind {
            let message = format!("'{path}' cannot contain a template");
            let help = "write the value itself: what the step yields and may do follows from it";
            diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).help(help));
        }
    }
}

/// Returns the diagnostic of braces that are opened and not closed.
fn unclosed(analysis: &Analysis<'_>, span: &Range<usize>, what: &str) -> Option<Diagnostic> {
    let text = analysis.source.text().get(span.clone())?;
    if text.contains("}}") || !text.contains("{{") {
        return None;
    }
    let message = format!("'{{{{' is never closed, and {what} cannot contain a template");
    let help = "remove the braces, and write the value itself";
    Some(Diagnostic::new(&RULE, span.clone(), message).help(help))
}

fn diagnostic(span: Range<usize>, what: &str, is_of_runbook: bool) -> Diagnostic {
    if is_of_runbook {
        let message = format!("the {what} of the runbook cannot contain a template");
        let help = "write it as plain text: it is read before the inputs have values; those of a step can have templates";
        return Diagnostic::new(&RULE, span, message).help(help);
    }
    let message = format!("{what} cannot contain a template");
    Diagnostic::new(&RULE, span, message)
        .help("write the value itself; templates are for 'with', 'for_each', 'when', 'log', and the 'name' and 'description' of a step")
}
