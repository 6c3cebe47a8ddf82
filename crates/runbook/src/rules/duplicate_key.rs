//! A key that occurs twice in a mapping.

use super::super::yaml::YamlIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB003",
    name: "duplicate_key",
    severity: Severity::Error,
    summary: "a key that occurs twice in a mapping",
    explanation: "\
Most YAML readers silently keep the last of two equal keys. In a runbook that would discard a value
that the author wrote, so a duplicate key is an error.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.yaml {
        if let YamlIssueKind::DuplicateKey { key, first } = &issue.kind {
            let diagnostic =
                Diagnostic::new(&RULE, issue.span.clone(), format!("duplicate key '{key}'"))
                    .label(first.clone(), "first given here")
                    .help("remove one of the two keys");
            diagnostics.push(diagnostic);
        }
    }
}
