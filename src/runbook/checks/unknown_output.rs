//! A field that an output does not have.

use super::super::template::Fault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB027",
    name: "unknown_output",
    severity: Severity::Error,
    summary: "a field that an output does not have",
    explanation: "\
An action's output is a record with fixed fields, which `rafay-relay-sop actions NAME` lists.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (_, flaw) in book.template_flaws() {
        let span = flaw.span.clone();
        match &flaw.fault {
            Fault::UnknownField {
                step,
                path,
                name,
                record,
            } => {
                let message = match step {
                    Some(_) => format!("the output of the step '{path}' has no field '{name}'"),
                    None => format!("'{path}' has no field '{name}'"),
                };
                let finding = Finding::new(&RULE, span, message);
                let finding = match step {
                    Some(step) => {
                        let text = format!("the {} has no such field", record.name);
                        finding.label(book.declaration(*step), text)
                    }
                    None => finding,
                };
                findings.push(finding.suggest(&findings.spelling, name, record.names()));
            }
            Fault::NoFields { name, ty } => {
                let message = format!("{} has no fields, so no '{name}'", ty.noun());
                findings.push(Finding::new(&RULE, span, message));
            }
            _ => {}
        }
    }
}
