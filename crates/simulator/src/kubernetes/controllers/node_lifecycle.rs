//! The node lifecycle controller and the pod garbage collector: taints for the conditions of a
//! node, and the deletion of pods that cannot stay on a tainted or deleted node.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kubernetes::kinds::{NODES, PODS};
use crate::kubernetes::object::{
    self, condition, flag, is_terminating, list, number, put, text, time, uid,
};
use crate::kubernetes::store::ObjectChange;

use super::queue::{WorkKey, WorkQueue};
use super::{ClusterView, ControllerPlan, Reconcile, Timers, events};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// How long a pod whose node is gone is kept, in case the node returns (the collector's
/// quarantine).
const ORPHAN_QUARANTINE: Duration = Duration::from_secs(40);

/// The controller of nodes and of the pods that are bound to them.
pub(super) struct NodeLifecycle;

impl Reconcile for NodeLifecycle {
    fn observe(&mut self, view: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue) {
        let object = &change.object;
        if *change.resource == PODS {
            queue.add(WorkKey::of(&PODS, object));
        } else if *change.resource == NODES {
            queue.add(WorkKey::of(&NODES, object));
            if change.alters(|node| list(node, "/spec/taints")) {
                queue.add_pods_on(view, object);
            }
        }
    }

    fn reconcile(
        &mut self,
        view: &ClusterView<'_>,
        timers: &mut Timers,
        plan: &mut ControllerPlan,
        key: &WorkKey,
    ) {
        let Some(object) = view.get(key.resource(), &key.namespace, &key.name) else {
            return;
        };
        if *key.resource() == NODES {
            taint_node(view, plan, object);
            return;
        }
        let node_name = text(object, "/spec/nodeName");
        if node_name.is_empty() {
            return;
        }
        match view.get(&NODES, "", node_name) {
            None => collect_orphan(view, timers, plan, object),
            Some(node) if !is_terminating(object) => {
                evict_for_taint(view, timers, plan, node, object);
            }
            Some(_) => {}
        }
    }
}

fn taint_node(view: &ClusterView<'_>, plan: &mut ControllerPlan, node: &Value) {
    let wanted = wanted_taints(node, view.now);
    if !are_same_taints(&wanted, list(node, "/spec/taints")) {
        let mut tainted = node.clone();
        put(&mut tainted, &["spec", "taints"], wanted);
        plan.update(&NODES, tainted);
    }
}

/// Returns the taints that the node should have: those of other clients, and this controller's for
/// the node's conditions and its cordon.
fn wanted_taints(node: &Value, now: Timestamp) -> Vec<Value> {
    let current = list(node, "/spec/taints");
    let mut taints: Vec<Value> = current
        .iter()
        .filter(|taint| ![NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&text(taint, "/key")))
        .cloned()
        .collect();
    let mut add = |key: &str, effect: &str| {
        let new = json!({"key": key, "effect": effect, "timeAdded": time(now)});
        let known = current.iter().find(|taint| is_same_taint(taint, &new));
        taints.push(known.unwrap_or(&new).clone());
    };
    let ready = condition(node, "Ready").map(|condition| text(condition, "/status"));
    match ready {
        Some("True") => {}
        Some("False") => {
            add(NOT_READY, "NoSchedule");
            add(NOT_READY, "NoExecute");
        }
        _ => {
            add(UNREACHABLE, "NoSchedule");
            add(UNREACHABLE, "NoExecute");
        }
    }
    if flag(node, "/spec/unschedulable") {
        add(UNSCHEDULABLE, "NoSchedule");
    }
    taints
}

fn are_same_taints(wanted: &[Value], current: &[Value]) -> bool {
    wanted.len() == current.len()
        && wanted.iter().all(|taint| current.iter().any(|other| is_same_taint(taint, other)))
}

fn is_same_taint(one: &Value, other: &Value) -> bool {
    ["key", "effect", "value"].iter().all(|field| one.get(field) == other.get(field))
}

/// Deletes a pod whose node has a `NoExecute` taint that the pod does not tolerate, or no longer
/// tolerates.
fn evict_for_taint(
    view: &ClusterView<'_>,
    timers: &mut Timers,
    plan: &mut ControllerPlan,
    node: &Value,
    pod: &Value,
) {
    for taint in list(node, "/spec/taints") {
        if text(taint, "/effect") != "NoExecute" {
            continue;
        }
        let since = timers.since("tainted", uid(pod), view.time);
        let end = match toleration_period(pod, taint) {
            TolerationPeriod::Forever => continue,
            TolerationPeriod::Not => since,
            TolerationPeriod::For(time) => view.deadline(since, time),
        };
        if end > view.time {
            plan.requeue_at(end);
            continue;
        }
        let message = format!("Marking for deletion Pod {}", object::name(pod));
        plan.event(events::normal(
            "taint-eviction-controller",
            pod,
            "TaintManagerEviction",
            message,
        ));
        plan.delete(&PODS, pod);
        return;
    }
}

enum TolerationPeriod {
    Not,
    For(Duration),
    Forever,
}

fn toleration_period(pod: &Value, taint: &Value) -> TolerationPeriod {
    let mut shortest = None;
    for toleration in list(pod, "/spec/tolerations") {
        if !tolerates(toleration, taint) {
            continue;
        }
        match number(toleration, "/tolerationSeconds") {
            None => return TolerationPeriod::Forever,
            Some(seconds) => {
                let time = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                shortest = Some(shortest.map_or(time, |other: Duration| other.min(time)));
            }
        }
    }
    shortest.map_or(TolerationPeriod::Not, TolerationPeriod::For)
}

/// Returns whether a toleration matches a taint.
pub(super) fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let effect = text(toleration, "/effect");
    if !effect.is_empty() && effect != text(taint, "/effect") {
        return false;
    }
    let key = text(toleration, "/key");
    if !key.is_empty() && key != text(taint, "/key") {
        return false;
    }
    match text(toleration, "/operator") {
        "Exists" => true,
        _ => !key.is_empty() && text(toleration, "/value") == text(taint, "/value"),
    }
}

/// Removes a pod whose node has been gone for longer than the quarantine.
fn collect_orphan(
    view: &ClusterView<'_>,
    timers: &mut Timers,
    plan: &mut ControllerPlan,
    pod: &Value,
) {
    let since = timers.since("orphaned", uid(pod), view.time);
    let end = view.deadline(since, ORPHAN_QUARANTINE);
    if end > view.time {
        plan.requeue_at(end);
    } else {
        plan.remove(&PODS, pod);
    }
}
