//! A key that cannot be left out.

use super::super::document::Fault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB007",
    name: "missing_key",
    severity: Severity::Error,
    summary: "a key that cannot be left out",
    explanation: "\
A runbook needs a name and steps, a step needs an id and an action, an input needs a type.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in &book.document.flaws {
        let Fault::MissingKey { key, place } = flaw.fault else {
            continue;
        };
        let message = format!("{} needs '{key}'", place.noun());
        findings.push(Finding::new(&RULE, flaw.span.clone(), message).help(help(key)));
    }
}

fn help(key: &str) -> &'static str {
    match key {
        "name" => "add 'name:', equal to the file's name without .yaml",
        "steps" => "add 'steps:', a list of at least one step",
        "id" => "add 'id:', the name under which later steps see its output",
        "action" => "add 'action:'; `rafay-relay-sop actions` lists them",
        _ => "add 'type:', such as string or integer",
    }
}
