//! A mapping has the same key twice.

use super::super::yaml::YamlIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB003",
    name: "duplicate_key",
    severity: Severity::Error,
    summary: "a mapping has the same key twice",
    explanation: "\
Of two equal keys most YAML readers silently keep the last. In a runbook that would drop what the
author wrote, so it is an error.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.yaml {
        if let YamlIssueKind::DuplicateKey { key, first } = &issue.kind {
            let diagnostic =
                Diagnostic::new(&RULE, issue.span.clone(), format!("duplicate key '{key}'"))
                    .label(first.clone(), "first given here")
                    .help("remove one of the two");
            diagnostics.push(diagnostic);
        }
    }
}
