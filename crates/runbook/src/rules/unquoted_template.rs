//! A template without quotes, which YAML reads as a mapping.

use std::ops::Range;

use super::super::yaml::{Cause, YamlIssueKind, in_double_quotes};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB005",
    name: "unquoted_template",
    severity: Severity::Error,
    summary: "a template without quotes, which YAML reads as a mapping",
    explanation: "\
YAML reads a value that starts with '{' as a mapping. Put the template in quotes:

    with: {region: \"{{ config.region }}\"}",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.yaml {
        let (span, suggestion) = match &issue.kind {
            YamlIssueKind::UnquotedTemplate => {
                let span = whole(analysis.source.text(), &issue.span);
                let text = analysis.source.text().get(span.clone()).unwrap_or_default();
                (span, in_quotes(text))
            }
            YamlIssueKind::Syntax(found) if found.cause == Cause::UnquotedTemplate => {
                (issue.span.clone(), found.suggestion.clone())
            }
            _ => continue,
        };
        let message = "unquoted template: YAML reads '{' as the start of a mapping";
        let mut diagnostic = Diagnostic::new(&RULE, span, message);
        diagnostic = match &suggestion {
            Some(quoted) if quoted.len() < 100 => {
                diagnostic.help(format!("put it in quotes: {quoted}"))
            }
            _ => diagnostic.help("put it in quotes: \"{{ … }}\""),
        };
        diagnostic.suggestion = suggestion;
        diagnostics.push(diagnostic);
    }
}

/// Returns the span of a template, given that of the mapping which YAML reads inside its outer braces.
fn whole(text: &str, inner: &Range<usize>) -> Range<usize> {
    let before = text.get(..inner.start).unwrap_or_default().trim_end_matches(' ');
    let start = if before.ends_with('{') { before.len() - 1 } else { inner.start };
    let rest = text.get(inner.end..).unwrap_or_default();
    let blanks = rest.len() - rest.trim_start_matches(' ').len();
    let is_closed = rest.get(blanks..).is_some_and(|rest| rest.starts_with('}'));
    start..inner.end + if is_closed { blanks + 1 } else { 0 }
}

/// Returns the template of a text on one line with two braces on each side, in quotes.
fn in_quotes(text: &str) -> Option<String> {
    let inside = text.strip_prefix('{')?.trim_start().strip_prefix('{')?;
    let inside = inside.strip_suffix('}')?.trim_end().strip_suffix('}')?;
    let is_one_line = !text.contains('\n');
    is_one_line.then(|| in_double_quotes(&format!("{{{{ {} }}}}", inside.trim())))
}
