//! The file is not valid YAML.

use super::super::yaml::YamlIssueKind;
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
        if let YamlIssueKind::Syntax(detail) = &issue.kind {
            let message = format!("invalid YAML: {detail}");
            let mut diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
            diagnostic.help = help(detail).map(str::to_owned);
            diagnostics.push(diagnostic);
        }
    }
}

/// Returns the diagnostic for a file that is not UTF-8.
pub(crate) fn not_utf8(at: usize) -> Diagnostic {
    Diagnostic::new(&RULE, at..at, "the file is not valid UTF-8")
        .help("save the file as UTF-8; the byte at this position is invalid")
}

/// Returns the remedy for the most common errors of the parser.
fn help(detail: &str) -> Option<&'static str> {
    const HELP: [(&str, &str); 5] = [
        ("tabs disallowed", "indent with spaces"),
        (
            "mapping values are not allowed",
            "check the indentation, or put a string with ': ' in quotes",
        ),
        ("unclosed quote", "close the quote that starts here"),
        ("did not find expected", "check the indentation of this line and the one above"),
        ("unexpected EOF", "close every bracket and brace"),
    ];
    HELP.iter().find(|(words, _)| detail.contains(words)).map(|(_, help)| *help)
}
