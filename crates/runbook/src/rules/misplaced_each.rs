//! The name `each` where it has no value.

use super::super::analysis::Role;
use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB059",
    name: "misplaced_each",
    severity: Severity::Error,
    summary: "the name 'each' where it has no value",
    explanation: "\
A step with 'for_each' runs once for each item of a list or map, and 'each' is the item: in 'with'
and in 'log', and nowhere else. 'when', 'for_each', 'name' and 'description' belong to the step as
a whole. To leave out items, filter the list:

    for_each: \"{{ inputs.deployments | reject('equalto', 'relay') }}\"

Over a map, 'each.key' and 'each.value' are the two parts of an item.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut reported = None;
    for (site, issue) in analysis.template_issues() {
        let TemplateIssueKind::MisplacedEach { has_for_each } = issue.kind else {
            continue;
        };
        // A 'for_each' that is missing is missing for all uses of 'each' in the step.
        if !has_for_each && reported.replace(site.step) == Some(site.step) {
            continue;
        }
        let place = match site.role {
            Role::When => "in 'when'",
            Role::ForEach => "in 'for_each'",
            Role::AtOnce => "in 'at_once'",
            _ => "here",
        };
        let (message, help) = match has_for_each {
            true => (
                format!("'each' has no value {place}: this belongs to the step as a whole"),
                "use 'each' in 'with' and 'log'; to leave out items, filter the list of 'for_each'",
            ),
            false => (
                format!("'each' has no value {place}: the step has no 'for_each'"),
                "add 'for_each: \"{{ … }}\"' with the list to the step",
            ),
        };
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).help(help));
    }
}
