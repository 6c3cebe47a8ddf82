//! A function call in a template.

use super::super::template::Fault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB029",
    name: "function_call",
    severity: Severity::Error,
    summary: "a function call in a template",
    explanation: "\
The language has no functions and no methods, only filters: instead of name.upper() write name |
upper, instead of len(nodes) write nodes | length.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (_, flaw) in book.template_flaws() {
        if matches!(flaw.fault, Fault::FunctionCall) {
            let message = "templates have no functions";
            let finding = Finding::new(&RULE, flaw.span.clone(), message);
            findings.push(finding.help("use a filter: name | upper, nodes | length"));
        }
    }
}
