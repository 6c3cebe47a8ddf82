//! A runbook's name differs from its file's name.

use super::super::document::is_book_name;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB009",
    name: "file_name",
    severity: Severity::Error,
    summary: "a runbook's name differs from its file's name",
    explanation: "\
A runbook is looked up by the name of its file, and a run is listed under the runbook's name. When
the two differ, one of them misleads.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    let Some((node, stem)) = book.document.name.zip(book.source.stem()) else {
        return;
    };
    let Some(name) = node.text().filter(|name| *name != stem && is_book_name(name)) else {
        return;
    };
    let message = format!("the name '{name}' differs from the file's name '{stem}'");
    let mut finding = Finding::new(&RULE, node.span.clone(), message)
        .help(format!("name it '{stem}', or rename the file to {name}.yaml"));
    finding.suggestion = Some(stem.to_owned());
    findings.push(finding);
}
