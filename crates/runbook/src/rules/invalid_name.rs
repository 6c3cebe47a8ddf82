//! A runbook's name that cannot be a file's name or a part of an address.

use super::super::document::is_runbook_name;
use super::super::template::is_template;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB039",
    name: "invalid_name",
    severity: Severity::Error,
    summary: "a runbook's name that cannot be a file's name or a part of an address",
    explanation: "\
The name is the file's stem, an argument of `run`, and a part of addresses such as
/run?runbook=NAME: lower-case letters, digits, '-', '_' and '.', beginning with a letter or digit,
at most 64.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let Some(node) = analysis.document.name else {
        return;
    };
    let Some(name) = node.text().filter(|name| !is_template(name) && !node.is_null()) else {
        return;
    };
    if !is_runbook_name(name) {
        let message = format!("{} cannot be a runbook's name", quoted(name));
        let help = "lower-case letters, digits, '-', '_' and '.', beginning with a letter or digit";
        diagnostics.push(Diagnostic::new(&RULE, node.span.clone(), message).help(help));
    }
}
