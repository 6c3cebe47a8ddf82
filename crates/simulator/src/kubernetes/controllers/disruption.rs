//! The disruption controller: computes how many pods of each budget may be disrupted now.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubernetes::api::eviction::set_allowed_condition;
use crate::kubernetes::object::{
    self, as_count, controller, is_terminating, is_true, map, moment, number, put, text,
};
use crate::kubernetes::resources::{BUDGETS, DEPLOYMENTS, PODS, REPLICA_SETS};
use crate::kubernetes::selectors::selects;

use super::rollout::{Rounding, scaled_value};
use super::{ClusterView, ControllerPlan, Timers};

/// How long an allowed eviction counts as a disruption although its pod still exists.
const DISRUPTED_POD_TIMEOUT: Duration = Duration::from_mins(2);

pub(super) fn plan(view: &ClusterView<'_>, _: &mut Timers) -> ControllerPlan {
    let mut plan = ControllerPlan::default();
    for budget in view.store.list(&BUDGETS, None) {
        reconcile(view, &mut plan, budget);
    }
    plan
}

fn reconcile(view: &ClusterView<'_>, plan: &mut ControllerPlan, budget: &Value) {
    let pods: Vec<&Value> = view
        .store
        .list(&PODS, None)
        .map(AsRef::as_ref)
        .filter(|pod: &&Value| {
            object::namespace(pod) == object::namespace(budget)
                && selects(budget.pointer("/spec/selector"), pod)
        })
        .collect();
    let disrupted = disrupted_pods(view, plan, budget, &pods);
    let (expected, desired) = expected_and_desired(view, budget, &pods);
    let healthy = pods.iter().filter(|pod| {
        is_true(pod, "Ready")
            && !is_terminating(pod)
            && !disrupted.iter().any(|(name, _)| name == object::name(pod))
    });
    let healthy = as_count(healthy.count());
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let mut reported = budget.clone();
    for (field, count) in [
        ("currentHealthy", healthy),
        ("desiredHealthy", desired),
        ("disruptionsAllowed", allowed),
        ("expectedPods", expected),
        ("observedGeneration", number(budget, "/metadata/generation").unwrap_or(0)),
    ] {
        put(&mut reported, &["status", field], count);
    }
    let disrupted: serde_json::Map<String, Value> = disrupted.into_iter().collect();
    if disrupted.is_empty() {
        crate::kubernetes::object::remove(&mut reported, &["status", "disruptedPods"]);
    } else {
        put(&mut reported, &["status", "disruptedPods"], disrupted);
    }
    set_allowed_condition(&mut reported, view.now);
    if reported != *budget {
        plan.update(&BUDGETS, reported);
    }
}

/// Returns the pods whose eviction was allowed and whose deletion has not started.
fn disrupted_pods(
    view: &ClusterView<'_>,
    plan: &mut ControllerPlan,
    budget: &Value,
    pods: &[&Value],
) -> Vec<(String, Value)> {
    let mut disrupted = Vec::new();
    for (name, since) in map(budget, "/status/disruptedPods").into_iter().flatten() {
        let exists = pods.iter().any(|pod| object::name(pod) == name && !is_terminating(pod));
        let wrapped = json!({"since": since});
        let end =
            moment(&wrapped, "/since").map(|since| view.deadline(since, DISRUPTED_POD_TIMEOUT));
        if let Some(end) = end.filter(|end| exists && *end > view.now) {
            plan.requeue_at(end);
            disrupted.push((name.clone(), since.clone()));
        }
    }
    disrupted
}

/// Returns the number of expected pods of a budget, and how many of them must be healthy.
fn expected_and_desired(view: &ClusterView<'_>, budget: &Value, pods: &[&Value]) -> (i64, i64) {
    let scale = || expected_scale(view, pods);
    let spec = &budget["spec"];
    if let Some(limit) = spec.get("maxUnavailable") {
        let expected = scale();
        let desired = expected - scaled_value(Some(limit), expected, Rounding::Up);
        return (expected, desired.max(0));
    }
    match spec.get("minAvailable") {
        Some(limit @ Value::String(_)) => {
            let expected = scale();
            (expected, scaled_value(Some(limit), expected, Rounding::Up))
        }
        Some(limit) => (as_count(pods.len()), limit.as_i64().unwrap_or(0)),
        // A budget with neither limit allows no disruption and requires no healthy pods.
        None => (0, 0),
    }
}

/// Returns the sum of the sizes of the workloads that manage the pods.
fn expected_scale(view: &ClusterView<'_>, pods: &[&Value]) -> i64 {
    let mut owners: Vec<(&str, i64)> = Vec::new();
    for pod in pods {
        let Some(owner) = controller(pod) else {
            continue;
        };
        let namespace = object::namespace(pod);
        let Some(set) = view.store.get(&REPLICA_SETS, namespace, text(owner, "/name")) else {
            continue;
        };
        let top = controller(set)
            .and_then(|owner| view.store.get(&DEPLOYMENTS, namespace, text(owner, "/name")))
            .unwrap_or(set);
        let uid = crate::kubernetes::object::uid(top);
        if !owners.iter().any(|(known, _)| *known == uid) {
            owners.push((uid, number(top, "/spec/replicas").unwrap_or(0)));
        }
    }
    owners.iter().map(|(_, replicas)| replicas).sum()
}
