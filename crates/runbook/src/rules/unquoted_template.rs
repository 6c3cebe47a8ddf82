//! A template without quotes, which YAML reads as a mapping.

use super::super::yaml::YamlIssueKind;
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
        if matches!(issue.kind, YamlIssueKind::UnquotedTemplate) {
            // The mapping starts one brace before its key.
            let start = issue.span.start.saturating_sub(1);
            let diagnostic = Diagnostic::new(
                &RULE,
                start..issue.span.end,
                "unquoted template: YAML reads '{' as the start of a mapping",
            );
            diagnostics.push(diagnostic.help("write \"{{ … }}\""));
        }
    }
}
