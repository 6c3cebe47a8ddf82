//! A feature of YAML that runbooks do not have.

use super::super::yaml::YamlIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB004",
    name: "unsupported_yaml",
    severity: Severity::Error,
    summary: "a feature of YAML that runbooks do not have",
    explanation: r#"Anchors, aliases, merge keys, tags, keys that are no text and a second document are refused: a step
then always reads as it runs, a few bytes cannot grow to gigabytes, and every finding has one place.

To use a value twice, declare an input and name it: "{{ inputs.namespace }}"."#,
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.yaml {
        let Some((message, help)) = describe(&issue.kind) else {
            continue;
        };
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).help(help));
    }
}

fn describe(kind: &YamlIssueKind) -> Option<(String, &'static str)> {
    let input = "declare an input and name it: \"{{ inputs.NAME }}\"";
    Some(match kind {
        YamlIssueKind::Alias => ("aliases are not supported in a runbook".to_owned(), input),
        YamlIssueKind::Anchor => ("anchors are not supported in a runbook".to_owned(), input),
        YamlIssueKind::MergeKey => ("merge keys are not supported in a runbook".to_owned(), input),
        YamlIssueKind::Tag(tag) => (
            format!("the tag {tag} is not supported in a runbook"),
            "types come from the action's parameters; quote a value to make it text",
        ),
        YamlIssueKind::SecondDocument => (
            "a runbook file holds one document".to_owned(),
            "put each runbook into a file of its own",
        ),
        YamlIssueKind::KeyNotText => ("a key must be text".to_owned(), "write a plain name"),
        _ => return None,
    })
}
