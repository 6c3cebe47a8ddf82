//! A YAML feature that runbooks do not support.

use super::super::yaml::YamlIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB004",
    name: "unsupported_yaml",
    severity: Severity::Error,
    summary: "a YAML feature that runbooks do not support",
    explanation: "\
Anchors, aliases, merge keys, tags, keys that are not strings and multiple documents are errors. A
step is then executed exactly as it reads, a small file cannot expand to gigabytes, and every
diagnostic has one position.

To use a value twice, declare an input and refer to it: \"{{ inputs.namespace }}\".",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let places = |is: fn(&YamlIssueKind) -> bool| {
        let issues = analysis.yaml.iter().filter(|issue| is(&issue.kind));
        issues.map(|issue| issue.span.clone()).collect::<Vec<_>>()
    };
    let anchors = places(|kind| matches!(kind, YamlIssueKind::Anchor));
    let aliases = places(|kind| matches!(kind, YamlIssueKind::Alias));
    let merges = places(|kind| matches!(kind, YamlIssueKind::MergeKey));
    for issue in analysis.yaml {
        // An anchor and its uses are one mistake.
        let (is_told, others, what) = match &issue.kind {
            YamlIssueKind::Alias => (!anchors.is_empty() || !merges.is_empty(), &[][..], ""),
            YamlIssueKind::Anchor => (!merges.is_empty(), &aliases[..], "an alias of it"),
            YamlIssueKind::MergeKey => (false, &anchors[..], "the anchor"),
            _ => (false, &[][..], ""),
        };
        let Some((message, help)) = describe(&issue.kind).filter(|_| !is_told) else { continue };
        let mut diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message).help(help);
        for other in others.iter().take(MAX_LABELS) {
            diagnostic = diagnostic.label(other.clone(), what);
        }
        diagnostics.push(diagnostic);
    }
}

/// The most aliases that are shown.
const MAX_LABELS: usize = 4;

fn describe(kind: &YamlIssueKind) -> Option<(String, &'static str)> {
    let input = "declare an input and refer to it: \"{{ inputs.NAME }}\"";
    Some(match kind {
        YamlIssueKind::Alias => ("aliases are not supported in a runbook".to_owned(), input),
        YamlIssueKind::Anchor => ("anchors are not supported in a runbook".to_owned(), input),
        YamlIssueKind::MergeKey => (
            "merge keys are not supported in a runbook".to_owned(),
            "write the keys themselves; 'defaults' has timeout, retry and on_failure for all steps",
        ),
        YamlIssueKind::Tag(tag) => (
            format!("the tag {tag} is not supported in a runbook"),
            "remove the tag; types come from the parameters of the action",
        ),
        YamlIssueKind::SecondDocument => (
            "multiple documents are not supported in a runbook".to_owned(),
            "put each runbook in a separate file",
        ),
        YamlIssueKind::KeyNotText => ("a key must be a string".to_owned(), "write a plain name"),
        _ => return None,
    })
}
