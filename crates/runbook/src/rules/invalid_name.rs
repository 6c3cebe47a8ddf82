//! Invalid runbook name.

use super::super::document::is_runbook_name;
use super::super::template::is_template;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB039",
    name: "invalid_name",
    severity: Severity::Error,
    summary: "invalid runbook name",
    explanation: "\
The name is the stem of the file, an argument of `run`, and part of URLs such as /run?runbook=NAME.
It has lowercase letters, digits, '-', '_' and '.', starts with a letter or digit, and has at most
64 characters.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let Some(node) = analysis.document.name else {
        return;
    };
    let Some(name) = node.text().filter(|name| !is_template(name) && !node.is_null()) else {
        return;
    };
    if !is_runbook_name(name) {
        let message = format!("{} is not a valid runbook name", quoted(name));
        let help =
            "use lowercase letters, digits, '-', '_' and '.', starting with a letter or digit";
        diagnostics.push(Diagnostic::new(&RULE, node.span.clone(), message).help(help));
    }
}
