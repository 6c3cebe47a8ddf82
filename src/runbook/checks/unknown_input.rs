//! An input that is not declared.

use super::super::template::Fault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB026",
    name: "unknown_input",
    severity: Severity::Error,
    summary: "an input that is not declared",
    explanation: "\
Every input is declared under 'inputs' with its type.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (_, flaw) in book.template_flaws() {
        let Fault::UnknownInput(name) = &flaw.fault else {
            continue;
        };
        let finding = Finding::new(&RULE, flaw.span.clone(), format!("there is no input '{name}'"));
        let names: Vec<&str> = book.names.inputs.names().collect();
        findings.push(match names.is_empty() {
            true => finding.help("declare it under 'inputs', with its type"),
            false => finding.suggest(&findings.spelling, name, names),
        });
    }
}
