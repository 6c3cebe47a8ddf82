//! What can speak against a node for a pod, in the words of the scheduler's plugins.

use serde_json::Value;

use crate::simulator::kubernetes::controllers::node::tolerates;
use crate::simulator::kubernetes::object::{flag, label, list, map, name, text};
use crate::simulator::kubernetes::selectors::expression_holds;

use super::Room;
use super::affinity::{Neighbours, REQUIRED};
use super::quantity::Amounts;

/// The first objection to a node, if there is one.
pub(super) fn objection(
    room: &Room<'_>,
    pod: &Value,
    neighbours: &Neighbours<'_>,
) -> Option<String> {
    let node = room.node;
    if is_cordoned_for(node, pod) {
        return Some("node(s) were unschedulable".to_owned());
    }
    if list(node, "/spec/taints").iter().any(|taint| repels(taint, pod)) {
        return Some("node(s) had untolerated taint(s)".to_owned());
    }
    if !is_selected(node, pod) {
        return Some("node(s) didn't match Pod's node affinity/selector".to_owned());
    }
    let (asked, free) = (Amounts::asked_by(pod), room.free);
    if asked.pods > free.pods {
        return Some("Too many pods".to_owned());
    }
    if asked.cpu > 0 && asked.cpu > free.cpu {
        return Some("Insufficient cpu".to_owned());
    }
    if asked.memory > 0 && asked.memory > free.memory {
        return Some("Insufficient memory".to_owned());
    }
    neighbours.objection(room, pod).map(str::to_owned)
}

/// Whether fewer pods on a node could meet an objection to it.
pub(super) fn could_be_preempted(objection: &str) -> bool {
    ["Insufficient cpu", "Insufficient memory", "Too many pods"].contains(&objection)
        || objection.ends_with("anti-affinity rules")
        || objection.ends_with("spread constraints")
}

fn is_cordoned_for(node: &Value, pod: &Value) -> bool {
    let cordon = serde_json::json!({
        "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule",
    });
    flag(node, "/spec/unschedulable")
        && !list(pod, "/spec/tolerations").iter().any(|toleration| tolerates(toleration, &cordon))
}

fn repels(taint: &Value, pod: &Value) -> bool {
    let hard = matches!(text(taint, "/effect"), "NoSchedule" | "NoExecute");
    hard && !list(pod, "/spec/tolerations").iter().any(|toleration| tolerates(toleration, taint))
}

/// Whether the pod's node selector and its required node affinity select the node.
fn is_selected(node: &Value, pod: &Value) -> bool {
    let plain = map(pod, "/spec/nodeSelector")
        .is_none_or(|wanted| wanted.iter().all(|(key, value)| label(node, key) == value.as_str()));
    let terms = format!("/spec/affinity/nodeAffinity/{REQUIRED}/nodeSelectorTerms");
    let required = pod.pointer(&terms).and_then(Value::as_array);
    plain && required.is_none_or(|terms| terms.iter().any(|term| term_selects(term, node)))
}

/// Whether a node selector term selects a node; an empty one selects none.
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
            expression_holds(field, known.then(|| name(node)))
        })
}
