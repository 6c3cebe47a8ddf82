//! Reads the state with which limits are compared, before a change is made.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use k8s_openapi::{
    api::apps::v1::{Deployment, StatefulSet},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{PlannedState, WorkloadState};
use crate::platform::kubernetes::{node::Node, pod::Pod};
use crate::{
    actions::{Impact, SizeChange},
    platform::{
        Error, PlatformReader,
        kubernetes::{KubernetesReader, Selection, node, pod},
    },
};
use runbook::{Limits, Workload, WorkloadKind};

/// The changes that a run has made before another one, as far as limits are about them.
#[derive(Debug, Clone, Default)]
pub struct RunSoFar {
    /// The sizes that it has set, in that order.
    pub sizes: Vec<SizeChange>,
    /// The nodes that it has cordoned and does not uncordon while the change waits.
    pub cordoned: BTreeSet<String>,
    /// The nodes that another part of the run has decided to cordon.
    pub cordons: BTreeSet<String>,
}

/// Returns the state after a change, from what the run has done and what the cluster says now. What no limit is about
/// is not read.
///
/// # Errors
/// A call failed.
pub fn read<'a>(
    limits: &'a Limits,
    impact: &'a Impact,
    run: &'a RunSoFar,
    reader: &'a PlatformReader,
) -> BoxFuture<'a, Result<PlannedState, Error>> {
    Box::pin(read_state(limits, impact, run, reader))
}

async fn read_state(
    limits: &Limits,
    impact: &Impact,
    run: &RunSoFar,
    reader: &PlatformReader,
) -> Result<PlannedState, Error> {
    let mut state = PlannedState {
        cordons: impact.cordons.iter().cloned().collect(),
        takes_away: impact.takes_away(),
        raises_sizes: impact.sizes.iter().any(|size| size.after > size.before),
        ..PlannedState::default()
    };
    // The last size of a group is the one that counts, whatever the step calls it.
    let mut groups = BTreeMap::new();
    for SizeChange { group, name, after, .. } in run.sizes.iter().chain(&impact.sizes) {
        groups.insert(group, (name, *after));
    }
    state.sizes = groups.into_values().map(|(name, after)| (name.clone(), after)).collect();
    if limits.cordon_at_most.is_some() && !impact.cordons.is_empty() {
        let nodes = reader.kubernetes().await?.list::<Node>(&Selection::all()).await?;
        state.nodes = nodes.len();
        let all: BTreeSet<String> =
            nodes.iter().filter_map(|node| node.metadata.name.clone()).collect();
        let cordoned = nodes.into_iter().filter(node::is_cordoned);
        state.cordoned = cordoned.filter_map(|node| node.metadata.name).collect();
        state.stays_cordoned = state.cordoned.intersection(&run.cordoned).cloned().collect();
        state.cordoned.extend(run.cordons.intersection(&all).cloned());
    }
    if state.takes_away {
        for kept in &limits.keep_ready {
            let kubernetes = reader.kubernetes().await?;
            if let Some(found) = read_workload(&kept.workload, impact, &kubernetes).await? {
                state.workloads.insert(kept.workload.clone(), found);
            }
        }
    }
    Ok(state)
}

async fn read_workload(
    workload: &Workload,
    impact: &Impact,
    kubernetes: &KubernetesReader,
) -> Result<Option<WorkloadState>, Error> {
    let Some(declared) = DeclaredWorkload::read(workload, kubernetes).await? else {
        return Ok(None);
    };
    let pods = declared.ready_pods(kubernetes).await?;
    let shrunk = impact.shrunk.iter().find(|shrunk| shrunk.workload == *workload);
    Ok(Some(WorkloadState {
        replicas: declared.replicas,
        ready: pods.len(),
        taken: taken_at_once(&pods, impact, || {
            impact.rolled.contains(workload).then_some(declared.max_unavailable)
        }),
        shrinks_to: shrunk.and_then(|shrunk| usize::try_from(shrunk.after).ok()),
    }))
}

/// Returns how many of these pods a change takes away at once, at least: one where it removes them one by one.
fn taken_at_once(pods: &[Pod], impact: &Impact, rolled: impl Fn() -> Option<usize>) -> usize {
    let is_named = |pod: &&Pod| {
        pod.metadata.uid.as_ref().is_some_and(|uid| impact.pods.iter().any(|named| named == uid))
    };
    let one_by_one = usize::from(pods.iter().any(|pod| is_named(&pod)));
    let on_node =
        |node: &String| pods.iter().filter(|pod| pod::node(pod) == Some(node.as_str())).count();
    let of_nodes = impact.nodes.iter().map(on_node).filter(|count| *count > 0).min();
    let at_once: usize = impact.emptied_nodes.iter().map(on_node).sum();
    let counts = [one_by_one, of_nodes.unwrap_or(0), at_once, rolled().unwrap_or(0)];
    counts.into_iter().max().unwrap_or(0)
}

/// A workload as it is declared.
pub(super) struct DeclaredWorkload {
    namespace: String,
    selector: LabelSelector,
    /// How many pods it is to have.
    pub(super) replicas: usize,
    /// How many of its pods its rollout may take away at a time.
    max_unavailable: usize,
}

impl DeclaredWorkload {
    /// Reads a workload; none where there is none of that name.
    pub(super) async fn read(
        workload: &Workload,
        kubernetes: &KubernetesReader,
    ) -> Result<Option<Self>, Error> {
        let (namespace, name) = (workload.namespace.clone(), workload.name.as_str());
        match workload.kind {
            WorkloadKind::Deployment => {
                let found = kubernetes.get::<Deployment>(Some(&namespace), name).await?;
                Ok(found.map(|found| Self::of_deployment(namespace, found)))
            }
            WorkloadKind::StatefulSet => {
                let found = kubernetes.get::<StatefulSet>(Some(&namespace), name).await?;
                Ok(found.map(|found| Self::of_stateful_set(namespace, found)))
            }
        }
    }

    fn of_deployment(namespace: String, found: Deployment) -> Self {
        let spec = found.spec;
        let replicas = count(spec.replicas);
        let strategy = spec.strategy.unwrap_or_default();
        let rolling = strategy.rolling_update.unwrap_or_default();
        let max_unavailable = match strategy.type_.as_deref() {
            Some("Recreate") => replicas,
            _ => match rolling.max_unavailable {
                Some(IntOrString::Int(number)) => usize::try_from(number).unwrap_or(0),
                Some(IntOrString::String(text)) => share(&text, replicas),
                // The default of Kubernetes.
                None => replicas / 4,
            },
        };
        Self { namespace, selector: spec.selector, replicas, max_unavailable }
    }

    fn of_stateful_set(namespace: String, found: StatefulSet) -> Self {
        let spec = found.spec;
        let replicas = count(spec.replicas);
        Self { namespace, selector: spec.selector, replicas, max_unavailable: 1 }
    }

    /// Returns its pods that are Ready and do not end.
    pub(super) async fn ready_pods(
        &self,
        kubernetes: &KubernetesReader,
    ) -> Result<Vec<Pod>, Error> {
        let selection = Selection::in_namespace(self.namespace.as_str()).matching(&self.selector);
        let mut pods = kubernetes.list::<Pod>(&selection).await?;
        pods.retain(|pod| pod::is_active(pod) && pod::is_ready(pod));
        Ok(pods)
    }
}

/// Returns a number of replicas; the default of Kubernetes is one.
fn count(replicas: Option<i32>) -> usize {
    usize::try_from(replicas.unwrap_or(1)).unwrap_or(0)
}

/// Returns a percentage of a number of pods, rounded down as Kubernetes does it.
fn share(text: &str, replicas: usize) -> usize {
    let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<usize>().ok());
    percent.unwrap_or(0).saturating_mul(replicas) / 100
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name},
            "spec": {"nodeName": node, "containers": []},
        }))
        .unwrap()
    }

    fn taken(impact: &Impact) -> usize {
        let pods = [pod("a", "one"), pod("b", "one"), pod("c", "two"), pod("d", "three")];
        taken_at_once(&pods, impact, || None)
    }

    #[test]
    fn what_goes_one_by_one_counts_as_one_and_what_goes_together_as_all() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let pods = Impact { pods: names(&["a", "b", "other"]), ..Impact::default() };
        assert_eq!(taken(&pods), 1);
        let others = Impact { pods: names(&["other"]), ..Impact::default() };
        assert_eq!(taken(&others), 0);
        let nodes = Impact { nodes: names(&["one", "two", "empty"]), ..Impact::default() };
        assert_eq!(taken(&nodes), 1, "the node with the fewest goes first where it must");
        let node = Impact { nodes: names(&["one", "empty"]), ..Impact::default() };
        assert_eq!(taken(&node), 2);
        let emptied = Impact { emptied_nodes: names(&["one", "two"]), ..Impact::default() };
        assert_eq!(taken(&emptied), 3);
    }

    #[test]
    fn a_rollout_takes_as_many_pods_as_its_strategy_allows() {
        let deployment = |strategy: serde_json::Value| {
            let found = json!({
                "metadata": {"name": "relay"},
                "spec": {"replicas": 6, "selector": {}, "template": {}, "strategy": strategy},
            });
            let found = serde_json::from_value(found).unwrap();
            DeclaredWorkload::of_deployment("core".into(), found).max_unavailable
        };
        let rolling = |max: serde_json::Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": max}});
        assert_eq!(deployment(json!({})), 1, "a quarter, rounded down");
        assert_eq!(deployment(json!({"type": "Recreate"})), 6);
        assert_eq!(deployment(rolling(json!(2))), 2);
        assert_eq!(deployment(rolling(json!("50%"))), 3);
    }
}
