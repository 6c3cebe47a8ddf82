//! Disruption budgets that do not allow what the run does to pods.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use serde::Deserialize as _;
use serde_json::Value;

use super::{
    error,
    evidence::{Evidence, number, text},
    warning,
};
use crate::{
    journal::StepPath,
    plan::model::{Finding, PlannedStep},
};

/// The actions that always ask for the eviction of the pods that they remove.
const EVICTING: [&str; 3] = ["drain", "scale_nodegroup", "terminate_instances"];

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Finding> {
    let budgets: Vec<(&Value, Selector)> = evidence
        .objects("PodDisruptionBudget")
        .filter_map(|budget| Some((budget, selector_of(budget)?)))
        .collect();
    let mut findings = Vec::new();
    for (step, pods) in evicted_pods(evidence) {
        let pods: Vec<(&str, BTreeMap<String, String>)> = pods
            .into_iter()
            .map(|pod| (text(pod, "/metadata/namespace"), labels_of(pod)))
            .collect();
        for (budget, selector) in &budgets {
            let namespace = text(budget, "/metadata/namespace");
            let is_covered = |pod: &&(&str, BTreeMap<String, String>)| {
                pod.0 == namespace && selector.matches(&pod.1)
            };
            let covered = pods.iter().filter(is_covered).count();
            if covered > 0 {
                findings.extend(judge(budget, covered, step));
            }
        }
    }
    findings
}

/// Returns the pods that each step evicts: those that it removes, and those on nodes that it drains.
fn evicted_pods<'e>(evidence: &Evidence<'e>) -> BTreeMap<&'e StepPath, Vec<&'e Value>> {
    let evicting: BTreeSet<&StepPath> =
        evidence.steps.iter().filter(|step| evicts(step)).map(|step| &step.path).collect();
    let mut pods: BTreeMap<&StepPath, Vec<&Value>> = BTreeMap::new();
    for change in evidence.changes().filter(|change| evicting.contains(change.step)) {
        if change.kind == "pod" && change.after.is_null() {
            pods.entry(change.step).or_default().extend(evidence.object("Pod", change.name));
        }
    }
    pods
}

/// Whether a step asks for evictions: `delete_pods` does if it is told to.
fn evicts(step: &PlannedStep) -> bool {
    let is_told = || step.arguments.as_ref().and_then(|all| all.get("evict")?.as_bool());
    match step.action.as_str() {
        "delete_pods" => is_told() == Some(true),
        action => EVICTING.contains(&action),
    }
}

fn selector_of(budget: &Value) -> Option<Selector> {
    let selector = LabelSelector::deserialize(budget.pointer("/spec/selector")?).ok()?;
    Selector::try_from(selector).ok()
}

fn labels_of(pod: &Value) -> BTreeMap<String, String> {
    let labels = pod.pointer("/metadata/labels").and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    labels.into_iter().flatten().filter_map(text).collect()
}

fn judge(budget: &Value, covered: usize, step: &StepPath) -> Option<Finding> {
    let path =
        format!("{}/{}", text(budget, "/metadata/namespace"), text(budget, "/metadata/name"));
    let count = |pointer| number(budget, pointer).unwrap_or(0);
    let (expected, desired) = (count("/status/expectedPods"), count("/status/desiredHealthy"));
    let (healthy, allowed) = (count("/status/currentHealthy"), count("/status/disruptionsAllowed"));
    let facts = format!(
        "it wants {desired} of {expected} pods healthy, {healthy} are, and allows {allowed} to be disrupted; the step disrupts {covered}"
    );
    let is_counted = number(budget, "/status/observedGeneration").unwrap_or(0)
        >= number(budget, "/metadata/generation").unwrap_or(0);
    if expected > 0 && desired >= expected && is_counted {
        let found = error(
            "budget_blocks",
            format!("disruption budget {path} never allows one of its pods to be evicted"),
        );
        let hint = "let the budget allow one, or scale the workload up first";
        return Some(found.because(facts).hint(hint).at(step));
    }
    (allowed <= 0).then(|| {
        let found =
            warning("budget_exhausted", format!("disruption budget {path} allows no eviction now"));
        let hint = "the step waits until it does; find out which of its pods are not healthy";
        found.because(facts).hint(hint).at(step)
    })
}
