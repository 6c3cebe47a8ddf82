//! A template that is written as another tool writes it, or without braces.

use std::ops::Range;

use super::super::template::TemplateIssueKind;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB090",
    name: "template_form",
    severity: Severity::Error,
    summary: "a template in the form of another tool, or without braces",
    explanation: "\
A template is an expression in two braces on each side, in quotes: \"{{ inputs.region }}\". The forms of other tools,
such as ${inputs.region}, $(inputs.region), {inputs.region} and ${{ inputs.region }}, and a name without braces, would
be passed on as they are written. They are reported only where what is in them names an input or a step, so that a
script can use $(command) and ${VARIABLE}; in a message or a name, which no shell reads, ${REGION} names an input, too.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let TemplateIssueKind::QuotedPath(path) = &issue.kind else { continue };
        let message = format!("'{path}' in quotes is a text, and not the value of {path}");
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).write(path.clone()));
    }
    for form in &analysis.forms {
        let written = quoted(&form.written);
        let message = if form.is_unopened {
            format!("a '{{{{' is missing before {written}: it would be passed on as this text")
        } else if form.is_bare {
            format!("{written} is a text here: without braces it is not a template")
        } else {
            format!("{written} is not a template: it would be passed on as this text")
        };
        // Only the sign before the braces is too much.
        let has_braces = form.written.starts_with("${{");
        let whole = whole_scalar(analysis, &form.value, &form.span).filter(|_| !has_braces);
        let is_whole = whole.is_some();
        let span = whole.unwrap_or_else(|| form.span.clone());
        let mut diagnostic = Diagnostic::new(&RULE, span, message);
        let shown = form.suggestion.as_ref().unwrap_or(&form.template);
        diagnostic = diagnostic.help(if !form.is_known {
            "write {{ … }} with an input or a field of an earlier step: {{ inputs.NAME }}, {{ STEP.FIELD }}"
                .to_owned()
        } else if shown.len() < 100 {
            format!("write {shown}")
        } else {
            "write {{ … }}, in quotes".to_owned()
        });
        diagnostic.suggestion = match &form.suggestion {
            // The quotes of the value are a part of the span.
            Some(text) if is_whole && !text.starts_with('"') => Some(format!("\"{text}\"")),
            suggestion => suggestion.clone(),
        };
        diagnostics.push_for(form.value.clone(), diagnostic);
    }
}

/// Returns the span of a value in quotes whose text is a form and nothing else.
fn whole_scalar(
    analysis: &Analysis<'_>,
    value: &Range<usize>,
    form: &Range<usize>,
) -> Option<Range<usize>> {
    let text = analysis.source.text();
    let (before, after) = (text.get(value.start..form.start)?, text.get(form.end..value.end)?);
    (before == after && matches!(before, "\"" | "'")).then(|| value.clone())
}
