//! The scheduler: finds a node for each pending pod, or reports why there is none. It has the
//! filters and preferences of the default profile, without preemption.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::kubernetes::object::{
    self, condition, controller, is_terminating, moment, number, put, set_condition, text,
};
use crate::kubernetes::quantity::ResourceAmounts;
use crate::kubernetes::resources::{NODES, PODS};

use super::{ClusterView, ControllerPlan, Timers, events};

mod affinity;
mod filter;

use affinity::PlacementConstraints;

const COMPONENT: &str = "default-scheduler";

pub(super) fn plan(view: &ClusterView<'_>, _: &mut Timers) -> ControllerPlan {
    let mut plan = ControllerPlan::default();
    let mut pending: Vec<&Value> = view
        .store
        .list(&PODS, None)
        .map(AsRef::as_ref)
        .filter(|pod: &&Value| is_pending(pod))
        .collect();
    if pending.is_empty() {
        return plan;
    }
    pending.sort_by_key(|pod| {
        let priority = number(pod, "/spec/priority").unwrap_or(0);
        (-priority, moment(pod, "/metadata/creationTimestamp"), object::name(pod))
    });
    let mut node_infos = node_infos(view);
    // The pods of one replica set are alike: if one cannot be scheduled, neither can the next until
    // something changes.
    let mut unplaceable: HashMap<&str, String> = HashMap::new();
    for pod in pending {
        let kind = controller(pod).map(|owner| text(owner, "/uid"));
        if let Some(why) = kind.and_then(|kind| unplaceable.get(kind)) {
            mark_unschedulable(view, &mut plan, pod, why.clone());
            continue;
        }
        match select_node(&node_infos, pod) {
            Ok(at) => {
                bind(view, &mut plan, pod, object::name(node_infos[at].node));
                node_infos[at].add_pod(pod);
                unplaceable.clear();
            }
            Err(why) => {
                unplaceable.extend(kind.map(|kind| (kind, why.clone())));
                mark_unschedulable(view, &mut plan, pod, why);
            }
        }
    }
    plan
}

fn is_pending(pod: &Value) -> bool {
    text(pod, "/spec/nodeName").is_empty()
        && text(pod, "/spec/schedulerName") == "default-scheduler"
        && text(pod, "/status/phase") == "Pending"
        && !is_terminating(pod)
}

/// A node and the pods on it.
pub(super) struct NodeInfo<'a> {
    pub(super) node: &'a Value,
    pub(super) free: ResourceAmounts,
    pub(super) pods: Vec<&'a Value>,
}

impl<'a> NodeInfo<'a> {
    fn add_pod(&mut self, pod: &'a Value) {
        self.free = self.free.minus(ResourceAmounts::requested_by(pod));
        self.pods.push(pod);
    }
}

fn node_infos<'a>(view: &ClusterView<'a>) -> Vec<NodeInfo<'a>> {
    let mut node_infos: Vec<NodeInfo<'_>> = view
        .store
        .list(&NODES, None)
        .filter(|node| !is_terminating(node))
        .map(|node| NodeInfo {
            node,
            free: ResourceAmounts::allocatable_of(node),
            pods: Vec::new(),
        })
        .collect();
    for pod in view.store.list(&PODS, None) {
        let finished = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
        let node_name = text(pod, "/spec/nodeName");
        if finished || node_name.is_empty() {
            continue;
        }
        // The store lists nodes by name.
        if let Ok(at) =
            node_infos.binary_search_by_key(&node_name, |node_info| object::name(node_info.node))
        {
            node_infos[at].add_pod(pod);
        }
    }
    node_infos
}

/// Returns the index of the node for a pod, or the message that says why there is none.
fn select_node(node_infos: &[NodeInfo<'_>], pod: &Value) -> Result<usize, String> {
    let constraints = PlacementConstraints::of(node_infos, pod);
    let mut reasons: Vec<(String, usize)> = Vec::new();
    let mut best: Option<(i64, usize)> = None;
    for (at, node_info) in node_infos.iter().enumerate() {
        if let Some(reason) = filter::rejection_reason(node_info, pod, &constraints) {
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => reasons.push((reason, 1)),
            }
            continue;
        }
        let score = score(node_info, pod, &constraints);
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, at));
        }
    }
    best.map(|(_, at)| at).ok_or_else(|| unschedulable_message(node_infos.len(), reasons))
}

fn unschedulable_message(nodes: usize, reasons: Vec<(String, usize)>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let unresolvable: usize = reasons
        .iter()
        .filter(|(reason, _)| !filter::is_resolvable_by_preemption(reason))
        .map(|(_, count)| count)
        .sum();
    let preemption = [
        (nodes - unresolvable, "No preemption victims found for incoming pod"),
        (unresolvable, "Preemption is not helpful for scheduling"),
    ];
    let preemption = preemption.into_iter().filter(|(count, _)| *count > 0);
    format!(
        "0/{nodes} nodes are available: {}. no new claims to deallocate, preemption: 0/{nodes} \
         nodes are available: {}.",
        join_counts(reasons.into_iter().map(|(reason, count)| (count, reason))),
        join_counts(preemption)
    )
}

fn join_counts<T: std::fmt::Display>(parts: impl Iterator<Item = (usize, T)>) -> String {
    let mut parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
    parts.sort_unstable();
    parts.join(", ")
}

/// Returns the score of a node: first the pod's preferences, then few pods of the same owner, then
/// much free capacity.
fn score(node_info: &NodeInfo<'_>, pod: &Value, constraints: &PlacementConstraints<'_>) -> i64 {
    let owner = controller(pod).map(|owner| text(owner, "/uid"));
    let siblings = node_info.pods.iter().filter(|other| {
        owner.is_some() && controller(other).map(|owner| text(owner, "/uid")) == owner
    });
    let free_share = node_info.free.share_of(ResourceAmounts::allocatable_of(node_info.node));
    let siblings = object::as_count(siblings.count());
    constraints.preference(node_info, pod) * 1000 - siblings * 200 + free_share
}

fn bind(view: &ClusterView<'_>, plan: &mut ControllerPlan, pod: &Value, node: &str) {
    let mut bound = pod.clone();
    put(&mut bound, &["spec", "nodeName"], node);
    let scheduled = json!({"type": "PodScheduled", "status": "True"});
    set_condition(&mut bound, scheduled, view.now);
    plan.update(&PODS, bound);
    let message =
        format!("Successfully assigned {}/{} to {node}", object::namespace(pod), object::name(pod));
    plan.event(events::normal(COMPONENT, pod, "Scheduled", message));
}

fn mark_unschedulable(view: &ClusterView<'_>, plan: &mut ControllerPlan, pod: &Value, why: String) {
    let known = condition(pod, "PodScheduled");
    if known.is_some_and(|known| text(known, "/message") == why) {
        return;
    }
    let mut reported = pod.clone();
    let unscheduled = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": why,
        "observedGeneration": pod["metadata"]["generation"],
    });
    set_condition(&mut reported, unscheduled, view.now);
    plan.update(&PODS, reported);
    plan.event(events::warning(COMPONENT, pod, "FailedScheduling", why));
}
