//! A wait until nodes are gone that nothing ends.

use super::super::document::start_span;
use super::super::registry::{ActionKind, ActionSignature};
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB128",
    name: "nodes_stay",
    severity: Severity::Warning,
    summary: "a wait until drained nodes are gone that no step ends",
    explanation: "\
A drained node stays, cordoned and without pods, until its instance is ended: by `terminate_instances`, by a nodegroup
that gets smaller, or by an autoscaler. A wait until it is gone, in a runbook that only drains it, ends at its timeout.",
};

/// The action that takes the pods of a node and leaves the node.
const DRAINING: &str = "drain";

/// The actions that change something and end no node.
const LEAVING: [&str; 10] = [
    "annotate",
    "cordon",
    "delete_pods",
    DRAINING,
    "emit_event",
    "label_nodes",
    "set_protection",
    "suspend_processes",
    "taint_nodes",
    "uncordon",
];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut drained: Option<usize> = None;
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let called = raw.call.and_then(Node::text).and_then(|name| analysis.callables.get(name));
        let actions: Vec<&str> = match (raw.call, called, step.signature) {
            (Some(_), Some(called), _) => called.actions.iter().map(String::as_str).collect(),
            (None, _, Some(action)) => vec![&action.name],
            // What an unknown action, or runbook, does is not known.
            _ => return,
        };
        if actions.contains(&DRAINING) {
            drained = Some(index);
        }
        let leaves = actions.iter().all(|name| {
            let reads =
                |action: &ActionSignature| action.kind != ActionKind::Change && !action.asks;
            LEAVING.contains(name) || analysis.registry.get(name).is_some_and(reads)
        });
        if !leaves {
            return;
        }
        let is_wait = step.signature.is_some_and(|action| action.name == "wait_nodes");
        let gone = raw.with.filter(|_| is_wait).and_then(|with| with.member("gone"));
        let (Some(gone), Some(by)) = (gone, drained) else { continue };
        let id = analysis.id(by);
        let message = format!(
            "no step ends these nodes: '{id}' only drains them, so they are not gone unless an autoscaler ends them"
        );
        let diagnostic = Diagnostic::new(&RULE, start_span(gone), message)
            .label(analysis.declaration(by), "the nodes stay after this")
            .help("end their instances before with 'terminate_instances', or remove this step");
        diagnostics.push(diagnostic);
        return;
    }
}
