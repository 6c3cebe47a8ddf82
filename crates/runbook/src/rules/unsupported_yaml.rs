//! A YAML feature that runbooks do not support.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::super::yaml::{YamlIssue, YamlIssueKind};
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
    let text = analysis.source.text();
    let name_at = |place: usize| name(text.get(place..).unwrap_or_default());
    let places = |is: fn(&YamlIssueKind) -> bool| {
        let mut places: HashMap<&str, Vec<Range<usize>>> = HashMap::new();
        for issue in analysis.yaml.iter().filter(|issue| is(&issue.kind)) {
            places.entry(name_at(issue.span.start)).or_default().push(issue.span.clone());
        }
        places
    };
    let anchors = places(|kind| matches!(kind, YamlIssueKind::Anchor));
    let aliases = places(|kind| matches!(kind, YamlIssueKind::Alias));
    // The alias that is merged follows the key.
    let merged_by = |issue: &YamlIssue| {
        let rest = text.get(issue.span.end..).and_then(|rest| rest.lines().next());
        let (_, rest) = rest?.split_once('*')?;
        Some(bare_name(rest))
    };
    let merge_keys =
        analysis.yaml.iter().filter(|issue| matches!(issue.kind, YamlIssueKind::MergeKey));
    let merged: HashSet<&str> = merge_keys.filter_map(merged_by).collect();
    for issue in analysis.yaml {
        let own = name_at(issue.span.start);
        // An anchor and its uses are one mistake.
        let (is_told, others, what) = match &issue.kind {
            YamlIssueKind::Alias => (anchors.contains_key(own) || merged.contains(own), None, ""),
            YamlIssueKind::Anchor => (merged.contains(own), aliases.get(own), "an alias of it"),
            YamlIssueKind::MergeKey => {
                (false, merged_by(issue).and_then(|name| anchors.get(name)), "the anchor")
            }
            _ => (false, None, ""),
        };
        let Some((message, help)) = describe(&issue.kind).filter(|_| !is_told) else { continue };
        let mut diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message).help(help);
        for other in others.into_iter().flatten().take(MAX_LABELS) {
            diagnostic = diagnostic.label(other.clone(), what);
        }
        diagnostics.push(diagnostic);
    }
}

/// Returns the name of the anchor or alias that a text begins with.
fn name(text: &str) -> &str {
    bare_name(text.strip_prefix(['&', '*']).unwrap_or_default())
}

/// Returns the name that a text begins with.
fn bare_name(name: &str) -> &str {
    let end = name.find(|c: char| c.is_whitespace() || ",[]{}".contains(c));
    &name[..end.unwrap_or(name.len())]
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
