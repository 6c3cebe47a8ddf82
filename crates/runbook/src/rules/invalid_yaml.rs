//! The file is not valid YAML.

use super::super::yaml::{Cause, YamlIssueKind};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB001",
    name: "invalid_yaml",
    severity: Severity::Error,
    summary: "the file is not valid YAML",
    explanation: "\
A runbook is one YAML 1.2 document in UTF-8. A file that is not valid YAML cannot be checked
further: fix this error first, then check again.

Common causes: a tab in the indentation, a ':' or '#' in an unquoted string, a quote that is not
closed, a list item that is indented less than its siblings.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.yaml {
        let YamlIssueKind::Syntax(found) = &issue.kind else { continue };
        if found.cause == Cause::UnquotedTemplate {
            continue; // reported as RB005
        }
        let mut diagnostic =
            Diagnostic::new(&RULE, issue.span.clone(), format!("invalid YAML: {}", found.cause))
                .help(found.cause.help());
        diagnostic.suggestion.clone_from(&found.suggestion);
        diagnostics.push(diagnostic);
    }
}

/// Returns the diagnostic for a file that is not UTF-8.
pub(crate) fn not_utf8(at: usize) -> Diagnostic {
    Diagnostic::new(&RULE, at..at, "the file is not valid UTF-8")
        .help("save the file as UTF-8; the byte at this position is invalid")
}
