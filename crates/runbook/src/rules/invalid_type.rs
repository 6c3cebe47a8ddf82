//! A value of the wrong type for a key of the language.

use std::ops::Range;

use super::super::document::{DocumentIssueKind, RawStep, start_span};
use super::super::habits;
use super::super::yaml::{Node, NodeKind, ScalarStyle};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB008",
    name: "invalid_type",
    severity: Severity::Error,
    summary: "a value of the wrong type for a key of the language",
    explanation: "\
The keys of the language have fixed types: steps is a list, inputs and with are mappings, timeout is
a duration such as 10m, attempts is an integer from 1 to 100, on_failure is rollback, stop or
continue.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in &analysis.document.issues {
        let span = issue.span.clone();
        let diagnostic = match &issue.kind {
            DocumentIssueKind::InvalidType { what, wanted, found } => {
                let text = analysis.source.text().get(span.clone()).unwrap_or_default();
                let message = format!("{what} must be {wanted}, not {found}");
                let diagnostic = Diagnostic::new(&RULE, span, message);
                match (what.as_str(), text.parse::<u32>()) {
                    ("retry", Ok(attempts)) if attempts > 1 => {
                        diagnostic.write(format!("{{attempts: {attempts}}}"))
                    }
                    ("retry", _) => diagnostic.help("write {attempts: 3}, or remove it"),
                    _ => diagnostic,
                }
            }
            DocumentIssueKind::InvalidEnumValue { what, found, choices } => {
                let message = format!("'{found}' is not a valid value for {what}");
                let diagnostic = Diagnostic::new(&RULE, span, message);
                let meant = Some(*what).filter(|what| *what == "on_failure");
                match meant.and_then(|_| habits::on_failure(found)) {
                    Some(meant) => diagnostic.replace(meant),
                    None if *what == "on_failure" && found.starts_with("retry") => diagnostic.help(
                        "a failed call is retried by itself: write 'retry', and 'on_failure' for what follows",
                    ),
                    None => {
                        let choices = choices.iter().copied();
                        diagnostic.suggest(&diagnostics.spelling, found, choices)
                    }
                }
            }
            DocumentIssueKind::InvalidDuration(message) => {
                let text = analysis.source.text().get(span.clone()).unwrap_or_default();
                let meant = habits::duration(text.trim_matches(['"', '\'']));
                let diagnostic = Diagnostic::new(&RULE, span, message.clone());
                match meant {
                    Some(meant) if !message.contains("longer than 0s") => diagnostic.replace(meant),
                    _ => diagnostic,
                }
            }
            _ => continue,
        };
        diagnostics.push(diagnostic);
    }
    for step in &analysis.document.steps {
        check_step(analysis, step, diagnostics);
    }
}

/// Returns the span of the `|` or `>` before a block of text.
fn block_header(analysis: &Analysis<'_>, node: &Node) -> Option<Range<usize>> {
    let NodeKind::Scalar { style: ScalarStyle::Literal | ScalarStyle::Folded, .. } = &node.kind
    else {
        return None;
    };
    let before = analysis.source.text().get(..node.span.start)?;
    let start = before.rfind(['|', '>'])?;
    Some(start..start + 1)
}

/// Reports a `with` that is not a mapping and a `log` that is not a string.
fn check_step(analysis: &Analysis<'_>, step: &RawStep<'_>, diagnostics: &mut Diagnostics) {
    let wrong = |node: &Node, what: &str, wanted: &str| {
        let message = format!("{what} must be {wanted}, not {}", node.describe());
        Diagnostic::new(&RULE, start_span(node), message)
    };
    if let Some(with) = step.with.filter(|with| !is_map(with)) {
        let mut diagnostic = wrong(with, "with", "a mapping of parameters");
        if let Some(header) = block_header(analysis, with) {
            diagnostic.span = header;
            diagnostic = diagnostic.help("remove this sign: the parameters are the keys below it");
        }
        diagnostics.push(diagnostic);
    }
    if let Some(log) = step.log.filter(|log| !is_text(log)) {
        diagnostics.push(wrong(log, "log", "a string"));
    }
}

fn is_map(node: &Node) -> bool {
    node.pairs().is_some() || node.is_null() || node.is_broken()
}

fn is_text(node: &Node) -> bool {
    node.text().is_some() && !node.is_null() || node.is_broken()
}
