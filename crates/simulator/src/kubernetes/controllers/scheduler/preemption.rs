//! Preemption: a pod that finds no node with enough left gets the place of pods with a lower priority. Only a lack of
//! capacity is resolved, and budgets are respected where another choice of pods or of a node allows it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::kubernetes::controllers::{ClusterView, ControllerPlan, events};
use crate::kubernetes::kinds::{BUDGETS, PODS};
use crate::kubernetes::object::{self, is_terminating, moment, number, set_condition, text, uid};
use crate::kubernetes::quantity::ResourceAmounts;
use crate::kubernetes::selectors::selects;

use super::group::PodGroup;
use super::nodes::{NodeInfo, Nodes};
use super::{COMPONENT, filter, join_counts, priority_of};

/// Returns the node on which a pod preempts others, and these; none if that is no help, or if a pod with a lower
/// priority is ending on the pod's node already.
pub(super) fn find_victims(
    view: &ClusterView<'_>,
    nodes: &Nodes,
    group: &PodGroup,
    pod: &Value,
) -> Option<(Arc<str>, Vec<Arc<Value>>)> {
    let priority = priority_of(pod);
    if text(pod, "/spec/preemptionPolicy") == "Never" {
        return None;
    }
    let nominated = nodes.get(text(pod, "/status/nominatedNodeName"));
    let is_ending = |other: &Arc<Value>| is_terminating(other) && priority_of(other) < priority;
    if nominated.is_some_and(|info| info.pods.values().any(is_ending)) {
        return None;
    }
    let choices = group.preemptible_nodes().filter_map(|name| {
        let info = nodes.get(name).filter(|info| group.lacks_only_capacity(info))?;
        let victims = victims_on(view, info, group.requested(), priority)?;
        let highest = victims.pods.iter().map(|pod| priority_of(pod)).max()?;
        let sum: i64 = victims.pods.iter().map(|pod| priority_of(pod)).sum();
        // The first choice violates the fewest budgets, then ends the least important pods.
        let rank = (victims.violations, highest, sum, victims.pods.len(), Arc::clone(name));
        Some((rank, victims.pods))
    });
    let ((.., name), pods) = choices.min_by(|one, other| one.0.cmp(&other.0))?;
    Some((name, pods))
}

/// Returns what the scheduler says about preemption for a pod that finds no node.
pub(super) fn why_not(nodes: &Nodes, group: &PodGroup, pod: &Value) -> String {
    if text(pod, "/spec/preemptionPolicy") == "Never" {
        return "not eligible due to preemptionPolicy=Never".to_owned();
    }
    let priority = priority_of(pod);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, reason) in group.rejections() {
        let Some(info) = nodes.get(name) else { continue };
        let is_too_small = reason.starts_with("Insufficient")
            && filter::capacity_reason(group.requested(), info.allocatable).is_some();
        let has_lower = || info.pods.values().any(|other| priority_of(other) < priority);
        let why = if is_too_small || !filter::is_resolvable_by_preemption(reason) {
            "Preemption is not helpful for scheduling"
        } else if has_lower() {
            // Not even without all of them.
            reason
        } else {
            "No preemption victims found for incoming pod"
        };
        *counts.entry(why).or_default() += 1;
    }
    let counts = counts.iter().map(|(why, count)| (*count, why));
    format!("0/{} nodes are available: {}", nodes.len(), join_counts(counts))
}

/// The pods of a node that have to end.
struct Victims {
    pods: Vec<Arc<Value>>,
    /// How many of them a budget protects.
    violations: usize,
}

fn victims_on(
    view: &ClusterView<'_>,
    info: &NodeInfo,
    requested: ResourceAmounts,
    priority: i64,
) -> Option<Victims> {
    let is_lower = |pod: &&Arc<Value>| priority_of(pod) < priority && !is_terminating(pod);
    let lower: Vec<&Arc<Value>> = info.pods.values().filter(is_lower).collect();
    let mut free = info.free;
    for pod in &lower {
        free = free.plus(ResourceAmounts::requested_by(pod));
    }
    let fits = |free: ResourceAmounts| filter::capacity_reason(requested, free).is_none();
    if lower.is_empty() || !fits(free) {
        return None;
    }
    // As many as possible stay: first those that a budget protects, then the most important ones, then the oldest.
    let mut allowed = BTreeMap::new();
    let protected: Vec<bool> =
        lower.iter().map(|pod| is_protected(view, pod, &mut allowed)).collect();
    let is_protected = |pod: &Value| {
        let found = lower.iter().zip(&protected).find(|(other, _)| uid(other) == uid(pod));
        found.is_some_and(|(_, is_protected)| *is_protected)
    };
    let mut order = lower.clone();
    order.sort_by_key(|pod| {
        let age = moment(pod, "/metadata/creationTimestamp");
        (Reverse(is_protected(pod)), Reverse(priority_of(pod)), age, object::name(pod).to_owned())
    });
    let mut victims = Victims { pods: Vec::new(), violations: 0 };
    for pod in order {
        let without = free.minus(ResourceAmounts::requested_by(pod));
        if fits(without) {
            free = without;
        } else {
            victims.violations += usize::from(is_protected(pod));
            victims.pods.push(Arc::clone(pod));
        }
    }
    (!victims.pods.is_empty()).then_some(victims)
}

/// Returns whether a budget does not allow the end of a pod. `allowed` has what is left of the budgets.
fn is_protected(view: &ClusterView<'_>, pod: &Value, allowed: &mut BTreeMap<String, i64>) -> bool {
    let budgets = view.list(&BUDGETS, Some(object::namespace(pod)));
    let mut is_protected = false;
    for budget in budgets.filter(|budget| selects(budget.pointer("/spec/selector"), pod)) {
        let left = allowed
            .entry(uid(budget).to_owned())
            .or_insert_with(|| number(budget, "/status/disruptionsAllowed").unwrap_or(0));
        *left -= 1;
        is_protected |= *left < 0;
    }
    is_protected
}

/// Ends the pods whose place another one gets.
pub(super) fn end(
    view: &ClusterView<'_>,
    plan: &mut ControllerPlan,
    pod: &Value,
    node: &str,
    victims: &[Arc<Value>],
) {
    for victim in victims {
        let mut disrupted = Value::clone(victim);
        let condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod",
        });
        set_condition(&mut disrupted, condition, view.now);
        plan.update(&PODS, disrupted);
        let message = format!("Preempted by pod {} on node {node}", uid(pod));
        plan.event(events::normal(COMPONENT, victim, "Preempted", message));
        plan.delete(&PODS, victim);
    }
}
