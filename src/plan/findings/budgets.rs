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
    plan::model::{Effect, Finding},
};

/// The actions that ask for the eviction of pods, which budgets are asked about.
const EVICTING: [&str; 5] =
    ["drain", "scale_nodegroup", "update_nodegroup_version", "terminate_instances", "delete_pods"];

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (step, pods) in evicted_pods(evidence) {
        for budget in evidence.objects("PodDisruptionBudget") {
            let covered: Vec<&Value> =
                pods.iter().copied().filter(|pod| covers(budget, pod)).collect();
            if !covered.is_empty() {
                findings.extend(judge(budget, &covered, step));
            }
        }
    }
    findings
}

/// Returns the pods that each step evicts: those that it removes, and those on nodes that it drains.
fn evicted_pods<'e>(evidence: &Evidence<'e>) -> BTreeMap<&'e StepPath, Vec<&'e Value>> {
    let evicting: BTreeSet<&StepPath> = evidence
        .steps
        .iter()
        .filter(|step| step.effect == Effect::Changes && EVICTING.contains(&step.action.as_str()))
        .map(|step| &step.path)
        .collect();
    let mut pods: BTreeMap<&StepPath, Vec<&Value>> = BTreeMap::new();
    for change in evidence.changes().filter(|change| evicting.contains(change.step)) {
        if change.kind == "pod" && change.after.is_null() {
            pods.entry(change.step).or_default().extend(evidence.object("Pod", change.name));
        }
    }
    pods
}

fn covers(budget: &Value, pod: &Value) -> bool {
    if text(budget, "/metadata/namespace") != text(pod, "/metadata/namespace") {
        return false;
    }
    let Some(selector) = budget.pointer("/spec/selector") else { return false };
    let Ok(selector) = LabelSelector::deserialize(selector) else { return false };
    let labels = pod.pointer("/metadata/labels");
    let labels: BTreeMap<String, String> = labels
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    Selector::try_from(selector).is_ok_and(|selector| selector.matches(&labels))
}

fn judge(budget: &Value, covered: &[&Value], step: &StepPath) -> Option<Finding> {
    let path =
        format!("{}/{}", text(budget, "/metadata/namespace"), text(budget, "/metadata/name"));
    let count = |pointer| number(budget, pointer).unwrap_or(0);
    let (expected, desired) = (count("/status/expectedPods"), count("/status/desiredHealthy"));
    let (healthy, allowed) = (count("/status/currentHealthy"), count("/status/disruptionsAllowed"));
    let facts = format!(
        "it wants {desired} of {expected} pods healthy, {healthy} are, and allows {allowed} to be disrupted; the step disrupts {}",
        covered.len()
    );
    if expected > 0 && desired >= expected {
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
