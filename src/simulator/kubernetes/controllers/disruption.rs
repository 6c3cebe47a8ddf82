//! The disruption controller: how many pods under each budget may be disrupted right now.

use std::time::Duration;

use serde_json::{Value, json};

use crate::simulator::kubernetes::budget;
use crate::simulator::kubernetes::object::{
    controller, is_terminating, is_true, map, moment, name, namespace, number, put, text,
};
use crate::simulator::kubernetes::resources::{BUDGETS, DEPLOYMENTS, PODS, REPLICA_SETS};
use crate::simulator::kubernetes::selectors::selects;

use super::rollout::{Round, share};
use super::{Memory, Plan, View};

/// For how long an eviction that was allowed counts although its pod still stands.
const DISRUPTION_COUNTS_FOR: Duration = Duration::from_secs(120);

pub(super) fn plan(view: &View<'_>, _: &mut Memory) -> Plan {
    let mut plan = Plan::default();
    for budget in view.store.list(&BUDGETS, None) {
        reconcile(view, &mut plan, budget);
    }
    plan
}

fn reconcile(view: &View<'_>, plan: &mut Plan, budget: &Value) {
    let pods: Vec<&Value> = view
        .store
        .list(&PODS, None)
        .map(AsRef::as_ref)
        .filter(|pod: &&Value| {
            namespace(pod) == namespace(budget) && selects(budget.pointer("/spec/selector"), pod)
        })
        .collect();
    let disrupted = still_disrupted(view, plan, budget, &pods);
    let (expected, desired) = expectation(view, budget, &pods);
    let healthy = pods
        .iter()
        .filter(|pod| {
            is_true(pod, "Ready")
                && !is_terminating(pod)
                && !disrupted.iter().any(|(called, _)| called == name(pod))
        })
        .count() as i64;
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
        crate::simulator::kubernetes::object::remove(&mut reported, &["status", "disruptedPods"]);
    } else {
        put(&mut reported, &["status", "disruptedPods"], disrupted);
    }
    budget::tell_whether_allowed(&mut reported, view.now);
    if reported != *budget {
        plan.update(&BUDGETS, reported);
    }
}

/// The pods whose eviction was allowed and that have not begun to go.
fn still_disrupted(
    view: &View<'_>,
    plan: &mut Plan,
    budget: &Value,
    pods: &[&Value],
) -> Vec<(String, Value)> {
    let mut still = Vec::new();
    for (called, since) in map(budget, "/status/disruptedPods").into_iter().flatten() {
        let stands = pods.iter().any(|pod| name(pod) == called && !is_terminating(pod));
        let wrapped = json!({"since": since});
        let end = moment(&wrapped, "/since").map(|since| view.end(since, DISRUPTION_COUNTS_FOR));
        if let Some(end) = end.filter(|end| stands && *end > view.now) {
            plan.call_again(end);
            still.push((called.clone(), since.clone()));
        }
    }
    still
}

/// How many pods there should be under a budget, and how many of them healthy.
fn expectation(view: &View<'_>, budget: &Value, pods: &[&Value]) -> (i64, i64) {
    let scale = || scale_of(view, pods);
    let spec = &budget["spec"];
    if let Some(limit) = spec.get("maxUnavailable") {
        let expected = scale();
        let desired = expected - share(Some(limit), expected, Round::Up);
        return (expected, desired.max(0));
    }
    match spec.get("minAvailable") {
        Some(limit @ Value::String(_)) => {
            let expected = scale();
            (expected, share(Some(limit), expected, Round::Up))
        }
        Some(limit) => (pods.len() as i64, limit.as_i64().unwrap_or(0)),
        // One that says neither allows none to go, and does not say that any is missing.
        None => (0, 0),
    }
}

/// The sum of the sizes of everything that manages the pods.
fn scale_of(view: &View<'_>, pods: &[&Value]) -> i64 {
    let mut owners: Vec<(&str, i64)> = Vec::new();
    for pod in pods {
        let Some(owner) = controller(pod) else {
            continue;
        };
        let space = namespace(pod);
        let Some(set) = view.store.get(&REPLICA_SETS, space, text(owner, "/name")) else {
            continue;
        };
        let top = controller(set)
            .and_then(|owner| view.store.get(&DEPLOYMENTS, space, text(owner, "/name")))
            .unwrap_or(set);
        let uid = crate::simulator::kubernetes::object::uid(top);
        if !owners.iter().any(|(known, _)| *known == uid) {
            owners.push((uid, number(top, "/spec/replicas").unwrap_or(0)));
        }
    }
    owners.iter().map(|(_, replicas)| replicas).sum()
}
