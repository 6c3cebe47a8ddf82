//! A template without quotes, which YAML reads as a mapping.

use super::super::yaml::Fault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB005",
    name: "unquoted_template",
    severity: Severity::Error,
    summary: "a template without quotes, which YAML reads as a mapping",
    explanation: r#"To YAML, a value that begins with '{' is a mapping. Put quotes around the template:

    with: {region: "{{ config.region }}"}"#,
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in book.yaml {
        if matches!(flaw.fault, Fault::UnquotedTemplate) {
            // The mapping begins one brace before its key.
            let start = flaw.span.start.saturating_sub(1);
            let finding = Finding::new(
                &RULE,
                start..flaw.span.end,
                "a template must be in quotes: YAML reads '{' as the beginning of a mapping",
            );
            findings.push(finding.help("write \"{{ … }}\""));
        }
    }
}
