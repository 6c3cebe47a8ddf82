//! The text is not YAML, or not even text.

use super::super::yaml::YamlIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB001",
    name: "invalid_yaml",
    severity: Severity::Error,
    summary: "the text is not YAML, or not even text",
    explanation: "\
A runbook is one YAML 1.2 document in UTF-8. Nothing else can be said of a text that is not: mend
this first and check again.

The usual causes: a tab in the indentation, a ':' or '#' in an unquoted text, a quote that is not
closed, a list item that is indented less than its neighbours.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.yaml {
        if let YamlIssueKind::Syntax(detail) = &issue.kind {
            let message = format!("this is not YAML: {detail}");
            let mut diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
            diagnostic.help = help(detail).map(str::to_owned);
            diagnostics.push(diagnostic);
        }
    }
}

/// The finding of bytes that are no text at all.
pub(crate) fn not_utf8(at: usize) -> Diagnostic {
    Diagnostic::new(&RULE, at..at, "the file is not UTF-8 text")
        .help("save it as UTF-8; the byte here begins no character")
}

/// What an author can do about the commonest of the parser's words.
fn help(detail: &str) -> Option<&'static str> {
    const HELP: [(&str, &str); 5] = [
        ("tabs disallowed", "indent with spaces"),
        (
            "mapping values are not allowed",
            "check the indentation, or put a text with ': ' into quotes",
        ),
        ("unclosed quote", "close the quote that opens here"),
        ("did not find expected", "check the indentation of this line and the one above"),
        ("unexpected EOF", "a bracket or brace is not closed"),
    ];
    HELP.iter().find(|(words, _)| detail.contains(words)).map(|(_, help)| *help)
}
