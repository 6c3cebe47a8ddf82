//! A value of the wrong kind for a key of the language.

use super::super::document::{Fault, WrittenStep, beginning};
use super::super::yaml::Node;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB008",
    name: "wrong_shape",
    severity: Severity::Error,
    summary: "a value of the wrong kind for a key of the language",
    explanation: "\
The language's own keys have fixed kinds: steps is a list, inputs and with are mappings, timeout is
a duration such as 10m, attempts is an integer from 1 to 100, on_failure is rollback, stop or
continue.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in &book.document.flaws {
        let span = flaw.span.clone();
        let finding = match &flaw.fault {
            Fault::Shape {
                what,
                wanted,
                found,
            } => Finding::new(&RULE, span, format!("{what} must be {wanted}, not {found}")),
            Fault::Choice {
                what,
                found,
                choices,
            } => {
                let message = format!("{what} cannot be '{found}'");
                let choices = choices.iter().copied();
                Finding::new(&RULE, span, message).suggest(&findings.spelling, found, choices)
            }
            Fault::Duration(detail) => Finding::new(&RULE, span, detail.clone()),
            _ => continue,
        };
        findings.push(finding);
    }
    for step in &book.document.steps {
        check_step(step, findings);
    }
}

/// `with` is a mapping, and `log` is text.
fn check_step(step: &WrittenStep<'_>, findings: &mut Findings) {
    let wrong = |node: &Node, what: &str, wanted: &str| {
        let message = format!("{what} must be {wanted}, not {}", node.describe());
        Finding::new(&RULE, beginning(node), message)
    };
    if let Some(with) = step.with.filter(|with| !is_map(with)) {
        findings.push(wrong(with, "with", "a mapping of parameters"));
    }
    if let Some(log) = step.log.filter(|log| !is_text(log)) {
        findings.push(wrong(log, "log", "text"));
    }
}

fn is_map(node: &Node) -> bool {
    node.pairs().is_some() || node.is_null() || node.is_broken()
}

fn is_text(node: &Node) -> bool {
    node.text().is_some() && !node.is_null() || node.is_broken()
}
