//! A missing key.

use super::super::document::DocumentIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB007",
    name: "missing_key",
    severity: Severity::Error,
    summary: "a missing key",
    explanation: "\
A runbook needs a name and steps, a step needs an id and an action, or the runbook
that it calls, an input needs a type.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let issues = &analysis.document.issues;
    for (index, issue) in issues.iter().enumerate() {
        let DocumentIssueKind::MissingKey { key, mapping } = issue.kind else {
            continue;
        };
        // Both keys of a step are one mistake.
        let beside = [index.checked_sub(1), index.checked_add(1)].into_iter().flatten();
        let beside: Vec<_> = beside.filter_map(|at| issues.get(at)).collect();
        let has_other = |other: &str| {
            beside.iter().any(|one| {
                one.span == issue.span
                    && matches!(one.kind, DocumentIssueKind::MissingKey { key, .. } if key == other)
            })
        };
        if key == "id" && has_other("action") {
            continue;
        }
        if key == "action" && has_other("id") {
            let message = format!("{} needs 'id' and 'action'", mapping.with_article());
            let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
            diagnostics.push(diagnostic.help(
                "add 'id:', the name by which later steps refer to the output, and 'action:' or 'call:'",
            ));
            continue;
        }
        let message = format!("{} needs '{key}'", mapping.with_article());
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).help(help(key)));
    }
}

fn help(key: &str) -> &'static str {
    match key {
        "name" => "add 'name:' with the name of the file without .yaml",
        "steps" => "add 'steps:' with at least one step",
        "id" => "add 'id:', the name by which later steps refer to the output",
        "action" => {
            "add 'action:' (`rafay-relay-sop actions` lists the actions), or 'call:' with a runbook"
        }
        _ => "add 'type:', such as string or integer",
    }
}
