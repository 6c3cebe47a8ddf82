//! A wait until nodes are gone that nothing ends.

use super::super::document::start_span;
use super::super::registry::ActionKind;
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
        let mut actions = match (raw.call, step.signature) {
            (Some(_), _) => {
                let Some(actions) = actions_of_call(analysis, index) else { return };
                actions
            }
            // What an unknown action does is not known.
            (None, None) => return,
            (None, Some(action)) => vec![action.name.as_str()],
        };
        if actions.contains(&DRAINING) {
            drained = Some(index);
        }
        actions.retain(|name| !LEAVING.contains(name));
        let leaves = actions.iter().all(|name| {
            let action = analysis.registry.get(name);
            action.is_some_and(|action| action.kind != ActionKind::Change && !action.asks)
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

/// Returns the actions of a called runbook, as its text names them; `None` where it calls others.
fn actions_of_call<'a>(analysis: &'a Analysis<'_>, step: usize) -> Option<Vec<&'a str>> {
    const KEY: &str = "action:";
    let call = analysis.document.steps.get(step)?.call?;
    let text = analysis.callables.get(call.text()?)?.source.text();
    if text.contains("call:") {
        return None;
    }
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let actions = text.match_indices(KEY).filter_map(|(at, _)| {
        let rest = text.get(at + KEY.len()..)?.trim_start();
        let length = rest.bytes().take_while(|byte| is_name(*byte)).count();
        rest.get(..length).filter(|name| analysis.registry.get(name).is_some())
    });
    Some(actions.collect())
}
