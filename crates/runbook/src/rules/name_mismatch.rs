//! A runbook's name differs from its file's name.

use super::super::document::is_runbook_name;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB009",
    name: "name_mismatch",
    severity: Severity::Error,
    summary: "a runbook's name differs from its file's name",
    explanation: "\
A runbook is looked up by the name of its file, and a run is listed under the runbook's name. When
the two differ, one of them misleads.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let Some((node, stem)) = analysis.document.name.zip(analysis.source.stem()) else {
        return;
    };
    let Some(name) = node.text().filter(|name| *name != stem && is_runbook_name(name)) else {
        return;
    };
    let message = format!("the name '{name}' differs from the file's name '{stem}'");
    let mut diagnostic = Diagnostic::new(&RULE, node.span.clone(), message)
        .help(format!("name it '{stem}', or rename the file to {name}.yaml"));
    diagnostic.suggestion = Some(stem.to_owned());
    diagnostics.push(diagnostic);
}
