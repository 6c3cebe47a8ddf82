//! The reasons for which a node is rejected for a pod, in the words of the scheduler's plugins.

use serde_json::Value;

use crate::kubernetes::controllers::node_lifecycle::tolerates;
use crate::kubernetes::object::{self, flag, label, list, map, text};
use crate::kubernetes::selectors::expression_holds;

use super::NodeInfo;
use super::affinity::{PlacementConstraints, REQUIRED};
use crate::kubernetes::quantity::ResourceAmounts;

/// Returns the first reason to reject a node, if there is one.
pub(super) fn rejection_reason(
    node_info: &NodeInfo,
    pod: &Value,
    requested: ResourceAmounts,
    constraints: &PlacementConstraints,
    volumes: &[Value],
) -> Option<&'static str> {
    let node = &*node_info.node;
    if is_cordoned_for(node, pod) {
        return Some("node(s) were unschedulable");
    }
    if list(node, "/spec/taints").iter().any(|taint| is_untolerated(taint, pod)) {
        return Some("node(s) had untolerated taint(s)");
    }
    if !is_selected(node, pod) {
        return Some("node(s) didn't match Pod's node affinity/selector");
    }
    if let Some(why) = capacity_reason(requested, node_info.free) {
        return Some(why);
    }
    if !can_mount(node, volumes) {
        return Some("node(s) didn't match PersistentVolume's node affinity");
    }
    constraints.rejection_reason(node)
}

/// Returns whether a node is selected by the terms of every volume.
pub(super) fn can_mount(node: &Value, volumes: &[Value]) -> bool {
    volumes.iter().all(|terms| list(terms, "").iter().any(|term| term_selects(term, node)))
}

/// Returns why a node has not enough left, if it has not.
pub(super) fn capacity_reason(
    requested: ResourceAmounts,
    free: ResourceAmounts,
) -> Option<&'static str> {
    if requested.pods > free.pods {
        return Some("Too many pods");
    }
    if requested.cpu > 0 && requested.cpu > free.cpu {
        return Some("Insufficient cpu");
    }
    if requested.memory > 0 && requested.memory > free.memory {
        return Some("Insufficient memory");
    }
    None
}

/// Returns whether a node was rejected because it has not enough left.
pub(super) fn is_capacity_reason(rejection_reason: &str) -> bool {
    ["Insufficient cpu", "Insufficient memory", "Too many pods"].contains(&rejection_reason)
}

/// Returns whether removing pods from a node could resolve its rejection.
pub(super) fn is_resolvable_by_preemption(rejection_reason: &str) -> bool {
    is_capacity_reason(rejection_reason)
        || rejection_reason.ends_with("anti-affinity rules")
        || rejection_reason.ends_with("spread constraints")
}

fn is_cordoned_for(node: &Value, pod: &Value) -> bool {
    if !flag(node, "/spec/unschedulable") {
        return false;
    }
    let cordon = serde_json::json!({
        "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule",
    });
    !list(pod, "/spec/tolerations").iter().any(|toleration| tolerates(toleration, &cordon))
}

/// Returns whether a taint keeps a pod away that does not tolerate it.
pub(crate) fn is_untolerated(taint: &Value, pod: &Value) -> bool {
    let hard = matches!(text(taint, "/effect"), "NoSchedule" | "NoExecute");
    hard && !list(pod, "/spec/tolerations").iter().any(|toleration| tolerates(toleration, taint))
}

/// Returns whether the pod's node selector and its required node affinity match the node.
pub(crate) fn is_selected(node: &Value, pod: &Value) -> bool {
    let plain = map(pod, "/spec/nodeSelector")
        .is_none_or(|wanted| wanted.iter().all(|(key, value)| label(node, key) == value.as_str()));
    let terms = format!("/spec/affinity/nodeAffinity/{REQUIRED}/nodeSelectorTerms");
    let required = pod.pointer(&terms).and_then(Value::as_array);
    plain && required.is_none_or(|terms| terms.iter().any(|term| term_selects(term, node)))
}

/// Returns whether a node selector term matches a node; an empty term matches none.
pub(super) fn term_selects(term: &Value, node: &Value) -> bool {
    let expressions = list(term, "/matchExpressions");
    let fields = list(term, "/matchFields");
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions
        .iter()
        .all(|expression| expression_holds(expression, label(node, text(expression, "/key"))))
        && fields.iter().all(|field| {
            let known = text(field, "/key") == "metadata.name";
            expression_holds(field, known.then(|| object::name(node)))
        })
}
