//! An `at_once` without `for_each`.

use super::super::template::TemplateIssueKind;
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
    for (index, step) in analysis.document.steps.iter().enumerate() {
        let Some(node) = step.at_once.filter(|_| step.for_each.is_none()) else { continue };
        let sites = analysis.steps.get(index).map(|step| step.sites.as_slice()).unwrap_or_default();
        let mut issues = sites.iter().flat_map(|site| &site.inferred.issues);
        if issues.any(|issue| matches!(issue.kind, TemplateIssueKind::MisplacedEach { .. })) {
            continue; // the missing 'for_each' is reported there
        }
        let message = "'at_once' has no effect: the step has no 'for_each'";
        let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message);
        diagnostics.push(diagnostic.help("remove it, or add 'for_each'"));
    }
}
