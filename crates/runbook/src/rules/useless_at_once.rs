//! An `at_once` without `for_each`.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB062",
    name: "useless_at_once",
    severity: Severity::Error,
    summary: "an 'at_once' without 'for_each'",
    explanation: "\
'at_once' says how many items of a 'for_each' are worked on at a time. A step without 'for_each' runs
once.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for step in analysis.document.steps.iter().filter(|step| step.for_each.is_none()) {
        let Some(node) = step.at_once else { continue };
        let message = "'at_once' has no effect: the step has no 'for_each'";
        let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message);
        diagnostics.push(diagnostic.help("remove it, or add 'for_each'"));
    }
}
