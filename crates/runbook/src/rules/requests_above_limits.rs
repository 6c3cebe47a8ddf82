//! A container that requests more than it may use.

use super::super::types::quantity;
use super::super::yaml::{Node, NodeKind};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB114",
    name: "requests_above_limits",
    severity: Severity::Error,
    summary: "a container that requests more than it may use",
    explanation: "\
Kubernetes refuses a container whose request of a resource is greater than its limit.",
};

/// How deep a value is searched.
const MAX_DEPTH: usize = 16;

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for with in analysis.document.steps.iter().filter_map(|step| step.with) {
        search(with, 0, diagnostics);
    }
}

fn search(node: &Node, depth: usize, diagnostics: &mut Diagnostics) {
    if depth > MAX_DEPTH {
        return;
    }
    match &node.kind {
        NodeKind::List(items) => {
            items.iter().for_each(|item| search(item, depth + 1, diagnostics));
        }
        NodeKind::Map(pairs) => {
            if let (Some(requests), Some(limits)) = (node.member("requests"), node.member("limits"))
            {
                compare(requests, limits, diagnostics);
            }
            pairs.iter().for_each(|(_, value)| search(value, depth + 1, diagnostics));
        }
        NodeKind::Scalar { .. } | NodeKind::Broken => {}
    }
}

fn compare(requests: &Node, limits: &Node, diagnostics: &mut Diagnostics) {
    for (key, requested) in requests.pairs().unwrap_or_default() {
        let Some(name) = key.text() else { continue };
        let Some(limit) = limits.member(name) else { continue };
        let (Some(asked), Some(most)) = (requested.text(), limit.text()) else { continue };
        let (Some(a), Some(b)) = (quantity(asked), quantity(most)) else { continue };
        if a > b {
            let message = format!("this requests {asked} of {name}, but the limit is {most}");
            let diagnostic = Diagnostic::new(&RULE, requested.span.clone(), message)
                .label(limit.span.clone(), "the limit")
                .help(format!("request {most} or less, or raise the limit"));
            diagnostics.push(diagnostic);
        }
    }
}
