//! A runbook name that differs from its file name.

use super::super::document::is_runbook_name;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB009",
    name: "name_mismatch",
    severity: Severity::Error,
    summary: "a runbook name that differs from its file name",
    explanation: "\
A runbook is looked up by the name of its file, and a run is listed under the name of its runbook.
The two must be the same.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let Some((node, stem)) = analysis.document.name.zip(analysis.source.stem()) else {
        return;
    };
    let Some(name) = node.text().filter(|name| *name != stem && is_runbook_name(name)) else {
        return;
    };
    let message = format!("the runbook name '{name}' differs from the file name '{stem}'");
    let mut diagnostic = Diagnostic::new(&RULE, node.span.clone(), message)
        .help(format!("rename the runbook to '{stem}', or rename the file to {name}.yaml"));
    diagnostic.suggestion = Some(stem.to_owned());
    diagnostics.push(diagnostic);
}
