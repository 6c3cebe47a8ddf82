//! Disruption budgets: what they say about evictions, and whether they can ever allow one.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::Result;
use crate::platform::kubernetes::pod::Pod;
use crate::platform::{
    self, ErrorKind,
    kubernetes::{self, KubernetesReader, Selection, pod},
    wait,
};
use text::{join_truncated, plural};

/// An eviction that a disruption budget does not allow now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockedEviction {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// The API server's message, which names the budget.
    pub(super) cause: String,
}

impl BlockedEviction {
    /// Returns the blocked eviction of a pod, if the error is a disruption budget's refusal.
    pub(super) fn of(
        namespace: &str,
        name: &str,
        uid: &str,
        error: &platform::Error,
    ) -> Option<Self> {
        (error.kind() == ErrorKind::Busy).then(|| Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            cause: kubernetes::budget_message(error).unwrap_or_else(|| error.to_string()),
        })
    }
}

/// Returns one sentence a budget: what the budget says, and the pods that it keeps from being evicted. The pods are in
/// order, so that the same refusals give the same text.
pub(super) fn describe<'a>(blocked: impl IntoIterator<Item = &'a BlockedEviction>) -> String {
    let mut pods: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for eviction in blocked {
        pods.entry(&eviction.cause).or_default().insert(&eviction.name);
    }
    let sentences = pods.iter().map(|(cause, pods)| {
        let count = plural(pods.len(), "pod");
        format!("{cause}; {count} cannot be evicted yet: {}", join_truncated(pods))
    });
    sentences.collect::<Vec<_>>().join("; ")
}

/// Returns why some of these evictions can never be allowed unless the budget or the size of the workload is changed:
/// the budget requires as many healthy pods as there are, and all of them are healthy. Returns none where that is not
/// known, such as for an account that may not list budgets.
pub(super) async fn find_permanent_refusal(
    blocked: impl IntoIterator<Item = &BlockedEviction>,
    kubernetes: &KubernetesReader,
) -> Result<Option<wait::Failure>> {
    let mut by_namespace: BTreeMap<&str, Vec<&BlockedEviction>> = BTreeMap::new();
    for eviction in blocked {
        by_namespace.entry(&eviction.namespace).or_default().push(eviction);
    }
    for (namespace, blocked) in by_namespace {
        let in_namespace = Selection::in_namespace(namespace);
        let budgets = match kubernetes.list::<PodDisruptionBudget>(&in_namespace).await {
            Ok(budgets) => budgets,
            Err(error) if error.kind() == ErrorKind::Denied => continue,
            Err(error) => return Err(error.into()),
        };
        for budget in budgets.iter().filter(|budget| allows_no_disruption(budget)) {
            let Some(selector) = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref())
            else {
                continue;
            };
            let pods = kubernetes.list::<Pod>(&in_namespace.clone().matching(selector)).await?;
            if let Some(failure) = permanent_refusal(budget, &pods, &blocked) {
                return Ok(Some(failure));
            }
        }
    }
    Ok(None)
}

/// Returns whether the status of the budget, if it is current, says that it never allows a disruption: all expected
/// pods are healthy, and all of them are required.
fn allows_no_disruption(budget: &PodDisruptionBudget) -> bool {
    let Some(status) = &budget.status else { return false };
    let is_observed = status.observed_generation >= budget.metadata.generation;
    let none_in_progress = status.disrupted_pods.as_ref().is_none_or(BTreeMap::is_empty);
    let expected = count(status.expected_pods);
    is_observed
        && none_in_progress
        && expected > 0
        && count(status.disruptions_allowed) == 0
        && count(status.current_healthy) >= expected
        && count(status.desired_healthy) >= expected
}

fn count(number: Option<i32>) -> usize {
    number.and_then(|number| usize::try_from(number).ok()).unwrap_or(0)
}

/// Returns the refusal of a budget that selects these pods and [allows no disruption](allows_no_disruption).
fn permanent_refusal(
    budget: &PodDisruptionBudget,
    pods: &[Pod],
    blocked: &[&BlockedEviction],
) -> Option<wait::Failure> {
    let status = budget.status.as_ref()?;
    // The status follows the pods a moment later: with more pods than it knows of, it may allow a disruption soon.
    let active = pods.iter().filter(|pod| pod::is_active(pod)).count();
    if active > count(status.expected_pods) {
        return None;
    }
    let is_selected = |eviction: &&&BlockedEviction| {
        pods.iter().any(|pod| pod.metadata.uid.as_ref() == Some(&eviction.uid))
    };
    let names: BTreeSet<&str> =
        blocked.iter().filter(is_selected).map(|eviction| eviction.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let metadata = &budget.metadata;
    let message = format!(
        "disruption budget {}/{} never allows an eviction: it requires {} healthy pods of {}; {} cannot be evicted: {}",
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
        count(status.desired_healthy),
        count(status.expected_pods),
        plural(names.len(), "pod"),
        join_truncated(names)
    );
    Some(wait::Failure::from(message).with_hint(
        "lower the budget's minAvailable, raise its maxUnavailable, or scale the workload up",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn budget(status: Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({
            "metadata": {"namespace": "core", "name": "relay", "generation": 1},
            "status": status,
        }))
        .unwrap()
    }

    fn status(healthy: u32, desired: u32, expected: u32) -> Value {
        json!({
            "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected,
            "disruptionsAllowed": healthy.saturating_sub(desired), "observedGeneration": 1,
        })
    }

    fn pods(count: usize) -> Vec<Pod> {
        let pod = |n| {
            let metadata =
                json!({"namespace": "core", "name": format!("p{n}"), "uid": format!("u{n}")});
            serde_json::from_value(json!({"metadata": metadata})).unwrap()
        };
        (1..=count).map(pod).collect()
    }

    fn blocked(number: usize, cause: &str) -> BlockedEviction {
        BlockedEviction {
            namespace: "core".into(),
            name: format!("p{number}"),
            uid: format!("u{number}"),
            cause: cause.into(),
        }
    }

    #[test]
    fn a_budget_that_requires_every_pod_allows_no_disruption() {
        let allows_none = |status| allows_no_disruption(&budget(status));
        assert!(allows_none(status(3, 3, 3)));
        assert!(allows_none(status(3, 4, 3)), "it requires more pods than there are");
        assert!(!allows_none(status(3, 2, 3)), "it allows one");
        assert!(!allows_none(status(2, 2, 3)), "it allows one when the third pod is healthy");
        assert!(!allows_none(status(2, 3, 3)), "the pod that is not healthy may be evicted");
        assert!(!allows_none(status(0, 0, 0)), "its status is empty");
        let mut outdated = status(3, 3, 3);
        outdated["observedGeneration"] = json!(0);
        assert!(!allows_none(outdated));
        let mut evicting = status(3, 3, 3);
        evicting["disruptedPods"] = json!({"p1": "2024-01-01T00:00:00Z"});
        assert!(!allows_none(evicting));
    }

    #[test]
    fn a_permanent_refusal_names_the_budget_and_the_pods() {
        let budget = budget(status(3, 3, 3));
        let (first, other) = (blocked(1, "no"), blocked(9, "no"));
        let failure = permanent_refusal(&budget, &pods(3), &[&other, &first]).unwrap();
        assert_eq!(
            failure.message,
            "disruption budget core/relay never allows an eviction: it requires 3 healthy pods of 3; \
             1 pod cannot be evicted: p1"
        );
        assert_eq!(permanent_refusal(&budget, &pods(4), &[&first]), None, "the status is outdated");
        assert_eq!(permanent_refusal(&budget, &pods(3), &[&other]), None, "another budget blocks");
    }

    #[test]
    fn blocked_evictions_are_described_by_budget_and_in_order() {
        let all = [
            blocked(3, "budget b needs 3"),
            blocked(1, "budget a needs 2"),
            blocked(2, "budget b needs 3"),
        ];
        let text = "budget a needs 2; 1 pod cannot be evicted yet: p1; \
                    budget b needs 3; 2 pods cannot be evicted yet: p2, p3";
        assert_eq!(describe(&all), text);
        assert_eq!(describe(all.iter().rev()), text);
    }
}
