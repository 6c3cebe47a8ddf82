//! A deployment with its replica sets and its pods, read once or watched.
//!
//! A pod belongs to a deployment when a replica set of the deployment controls it. A match of the deployment's selector
//! is not enough, because any client can label a pod.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use tokio::time::Instant;

use super::{
    Error, Progress, Result,
    pod_causes::{CauseView, PodCauses},
    types::{NodeInstances, PodRecord},
};
use crate::platform::kubernetes::pod::Pod;
use crate::platform::{
    kubernetes::{KubernetesReader, ObjectView, ObjectWatch, Selection, pod},
    wait::{GraceTimer, WaitSource},
};
use clock::Clock;
use text::join_truncated;

/// A deployment with its replica sets and pods at one moment.
pub(super) struct WorkloadSnapshot {
    pub(super) deployment: Arc<Deployment>,
    /// Its replica sets, those of earlier revisions too.
    pub(super) sets: Vec<Arc<ReplicaSet>>,
    /// Its pods, those that end or have ended too.
    pub(super) pods: Vec<Arc<Pod>>,
    /// The causes that the status of the pods does not name.
    pub(super) causes: CauseView,
}

/// A live view of a deployment.
pub(super) struct WorkloadWatch {
    deployment: ObjectWatch<Deployment>,
    sets: ObjectWatch<ReplicaSet>,
    pods: ObjectWatch<Pod>,
    causes: PodCauses,
}

/// The state of a [`WorkloadWatch`], readable while it runs.
pub(super) struct WorkloadViews {
    deployment: ObjectView<Deployment>,
    sets: ObjectView<ReplicaSet>,
    pods: ObjectView<Pod>,
    causes: CauseView,
}

/// Returns the deployment of that name.
pub(super) async fn deployment(
    kubernetes: &KubernetesReader,
    namespace: &str,
    name: &str,
) -> Result<Deployment> {
    match kubernetes.get::<Deployment>(Some(namespace), name).await? {
        Some(found) => Ok(found),
        None => Err(Error::precondition(format!("deployment {namespace}/{name} not found"))),
    }
}

/// Reads the deployment's replica sets and pods.
pub(super) async fn read_snapshot(
    kubernetes: &KubernetesReader,
    deployment: Deployment,
) -> Result<WorkloadSnapshot> {
    let selection = selection_of(&deployment);
    let (sets, pods) =
        tokio::join!(kubernetes.list::<ReplicaSet>(&selection), kubernetes.list::<Pod>(&selection));
    let shared = |pods: Vec<Pod>| pods.into_iter().map(Arc::new).collect();
    let sets = sets?.into_iter().map(Arc::new).collect();
    Ok(WorkloadSnapshot::new(Arc::new(deployment), sets, shared(pods?), CauseView::default()))
}

/// Watches the deployment, its replica sets and its pods.
pub(super) fn watch(
    kubernetes: &KubernetesReader,
    deployment: &Deployment,
    clock: Clock,
    progress: &Progress,
) -> WorkloadWatch {
    let selection = selection_of(deployment);
    let namespace = deployment.metadata.namespace.clone().unwrap_or_default();
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    WorkloadWatch {
        deployment: kubernetes.watch(&Selection::in_namespace(namespace).named(name)),
        sets: kubernetes.watch(&selection),
        pods: kubernetes.watch(&selection),
        causes: PodCauses::new(kubernetes, clock, progress),
    }
}

/// Returns the selection of the pods and the replica sets of a deployment.
pub(super) fn selection_of(deployment: &Deployment) -> Selection {
    let namespace = deployment.metadata.namespace.clone().unwrap_or_default();
    Selection::in_namespace(namespace).matching(&deployment.spec.selector)
}

impl WorkloadWatch {
    pub(super) fn sources(&mut self) -> [&mut dyn WaitSource; 4] {
        [&mut self.deployment, &mut self.sets, &mut self.pods, self.causes.source()]
    }

    pub(super) fn views(&self) -> WorkloadViews {
        WorkloadViews {
            deployment: self.deployment.view(),
            sets: self.sets.view(),
            pods: self.pods.view(),
            causes: self.causes.view(),
        }
    }
}

impl WorkloadViews {
    /// Returns the current state; none when the deployment is gone.
    pub(super) fn snapshot(&self) -> Option<WorkloadSnapshot> {
        let deployment = self.deployment.objects().pop()?;
        let causes = self.causes.clone();
        let snapshot =
            WorkloadSnapshot::new(deployment, self.sets.objects(), self.pods.objects(), causes);
        snapshot.causes.observe(&snapshot.pods);
        Some(snapshot)
    }
}

/// The deployment controller writes the deployment's size here when it sizes a replica set.
const SIZED_FOR: &str = "deployment.kubernetes.io/desired-replicas";
/// The number of a replica set's template, the newest of which is the deployment's.
const REVISION: &str = "deployment.kubernetes.io/revision";

impl WorkloadSnapshot {
    pub(super) fn new(
        deployment: Arc<Deployment>,
        mut sets: Vec<Arc<ReplicaSet>>,
        mut pods: Vec<Arc<Pod>>,
        causes: CauseView,
    ) -> Self {
        let own = deployment.metadata.uid.clone().unwrap_or_default();
        sets.retain(|set| controlled_by(&set.metadata, |uid| uid == own));
        let uids: BTreeSet<&str> =
            sets.iter().filter_map(|set| set.metadata.uid.as_deref()).collect();
        pods.retain(|pod| controlled_by(&pod.metadata, |uid| uids.contains(uid)));
        Self { deployment, sets, pods, causes }
    }

    /// Returns the pods that are neither terminating nor finished.
    pub(super) fn active_pods(&self) -> Vec<&Arc<Pod>> {
        self.pods.iter().filter(|pod| pod::is_active(pod)).collect()
    }

    /// Returns the active pods as records, by name.
    pub(super) fn records(&self, instances: &NodeInstances) -> Vec<PodRecord> {
        self.active_pods().into_iter().map(|pod| PodRecord::of(pod, instances)).collect()
    }

    /// Returns the deployment as messages name it.
    pub(super) fn target(&self) -> String {
        let metadata = &self.deployment.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        format!("deployment {namespace}/{}", metadata.name.as_deref().unwrap_or_default())
    }

    /// Returns the replica sets that have pods or are to have some: two of them while a rollout is in progress.
    pub(super) fn sized_sets(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        let has_pods = |set: &ReplicaSet| set.status.as_ref().is_some_and(|s| s.replicas > 0);
        self.sets.iter().filter(move |set| set_size(set) > 0 || has_pods(set))
    }

    /// Returns how many pods the replica sets are to have together; during a rollout, more or fewer than the deployment
    /// is to have.
    pub(super) fn sized_total(&self) -> u32 {
        self.sets.iter().map(|set| set_size(set)).sum()
    }

    /// Returns whether the controllers have acted upon the size: every replica set was sized for it, and none has more
    /// pods than it is to have.
    pub(super) fn is_sized_for(&self, replicas: u32) -> bool {
        let sized_for = |set: &ReplicaSet| annotation(set, SIZED_FOR)?.parse::<u32>().ok();
        let is_sized = |set: &Arc<ReplicaSet>| {
            let own = set.metadata.uid.as_deref().unwrap_or_default();
            let pods = self.pods.iter().filter(|pod| pod::is_active(pod));
            let own_pods =
                pods.filter(|pod| controlled_by(&pod.metadata, |uid| uid == own)).count();
            let is_stale = set_size(set) > 0 && sized_for(set).is_some_and(|size| size != replicas);
            own_pods <= set_size(set) as usize && !is_stale
        };
        self.is_observed() && self.sets.iter().all(is_sized)
    }

    /// Returns the active pods of the newest revision.
    pub(super) fn newest_pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        let newest = self.sets.iter().max_by_key(|set| revision(set));
        let newest = newest.and_then(|set| set.metadata.uid.as_deref());
        self.pods.iter().filter(move |pod| {
            let of_newest = |uid: &str| newest == Some(uid);
            pod::is_active(pod) && controlled_by(&pod.metadata, of_newest)
        })
    }

    /// Returns the desired number of pods.
    pub(super) fn replicas(&self) -> u32 {
        replicas(&self.deployment)
    }

    /// Returns why the deployment has fewer pods than it is to have: a quota or an admission webhook refuses them.
    pub(super) fn refused_pods(&self) -> Option<String> {
        refused_pods(&self.deployment, &self.sets)
    }

    /// Returns a problem that keeps the deployment from having its pods, or a pod from becoming ready, and has lasted
    /// too long.
    pub(super) fn expired_problem<'a>(
        &self,
        grace: &mut GraceTimer,
        pods: impl IntoIterator<Item = &'a Arc<Pod>>,
    ) -> Option<String> {
        expired_problem(grace, pods, &self.causes, self.refused_pods())
    }

    /// Returns the pods that are not ready, each with the reason, and why there are not more; none when all are ready.
    pub(super) fn describe_unready<'a>(
        &self,
        pods: impl IntoIterator<Item = &'a Arc<Pod>>,
    ) -> Option<String> {
        describe_unready(pods, &self.causes, self.refused_pods())
    }

    /// Returns whether the controller has observed the deployment's current generation.
    pub(super) fn is_observed(&self) -> bool {
        let status = self.deployment.status.as_ref();
        let observed = status.and_then(|status| status.observed_generation).unwrap_or(0);
        self.deployment.metadata.generation.unwrap_or(0) <= observed
    }
}

/// Returns the number of a replica set's template.
pub(super) fn revision(set: &ReplicaSet) -> Option<u64> {
    annotation(set, REVISION)?.parse().ok()
}

/// Returns why a deployment has fewer pods than it is to have, if the API server refuses them.
pub(super) fn refused_pods(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Option<String> {
    let conditions = |status: &DeploymentStatus| status.conditions.clone().unwrap_or_default();
    let of_deployment = deployment.status.as_ref().map(conditions).unwrap_or_default();
    let refused = of_deployment.iter().find_map(|condition| {
        refusal(
            condition.type_.as_deref(),
            condition.status.as_deref(),
            condition.message.as_deref(),
        )
    });
    sets.iter().find_map(|set| refused_pods_of(set)).or(refused)
}

/// Returns how many pods a replica set is to have; the default of Kubernetes is one.
fn set_size(set: &ReplicaSet) -> u32 {
    u32::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0)
}

fn annotation<'a>(set: &'a ReplicaSet, key: &str) -> Option<&'a str> {
    set.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Returns the desired number of pods of a deployment; the default of Kubernetes is one.
pub(super) fn replicas(deployment: &Deployment) -> u32 {
    let written = deployment.spec.replicas.unwrap_or(1);
    u32::try_from(written).unwrap_or(0)
}

/// Returns whether the object's controller satisfies `is_meant`.
fn controlled_by(metadata: &ObjectMeta, is_meant: impl Fn(&str) -> bool) -> bool {
    pod::controller(metadata).is_some_and(|owner| is_meant(&owner.uid))
}

/// Returns why a replica set has fewer pods than it is to have, if the API server refuses them.
pub(super) fn refused_pods_of(set: &ReplicaSet) -> Option<String> {
    let status = set.status.as_ref()?;
    if set.spec.replicas.unwrap_or(1) <= status.replicas {
        return None;
    }
    let conditions = status.conditions.as_ref()?;
    conditions.iter().find_map(|condition| {
        refusal(
            condition.type_.as_deref(),
            condition.status.as_deref(),
            condition.message.as_deref(),
        )
    })
}

/// Returns the message of a condition that says that the API server refuses pods.
fn refusal(condition: Option<&str>, status: Option<&str>, message: Option<&str>) -> Option<String> {
    let is_failing = condition == Some("ReplicaFailure") && status == Some("True");
    is_failing.then(|| format!("pods cannot be created: {}", message.unwrap_or("no reason given")))
}

/// Returns a problem that has lasted too long: one that keeps a pod from becoming ready, with the pod's name, or the
/// refusal of new pods.
pub(super) fn expired_problem<'a>(
    grace: &mut GraceTimer,
    pods: impl IntoIterator<Item = &'a Arc<Pod>>,
    causes: &CauseView,
    refused: Option<String>,
) -> Option<String> {
    let problem = |pod: &'a Arc<Pod>| {
        let of_status = pod::problem(pod).map(|problem| problem.message);
        let problem = of_status.or_else(|| causes.lasting_problem(pod))?;
        // ErrImagePull and ImagePullBackOff alternate and are one problem.
        let uid = pod.metadata.uid.clone()?;
        Some((uid, format!("pod {}: {problem}", pod_name(pod))))
    };
    let problems: Vec<_> = pods.into_iter().filter_map(problem).collect();
    let refused = refused.map(|why| ("ReplicaFailure".to_owned(), why));
    grace.expired(Instant::now(), problems.into_iter().chain(refused))
}

/// Returns the pods that are not ready, each with the reason, and why there are not more, for a message; none when all
/// are ready.
pub(super) fn describe_unready<'a>(
    pods: impl IntoIterator<Item = &'a Arc<Pod>>,
    causes: &CauseView,
    refused: Option<String>,
) -> Option<String> {
    let named: Vec<String> = pods.into_iter().filter_map(|pod| describe_pod(pod, causes)).collect();
    let named = (!named.is_empty()).then(|| join_truncated(named));
    let texts: Vec<String> = named.into_iter().chain(refused).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Returns the name of a pod that is not ready, with the reason; none if it is ready.
pub(super) fn describe_pod(pod: &Pod, causes: &CauseView) -> Option<String> {
    let why = pod::why_not_ready(pod)?;
    let cause = causes.describe(pod).map(|cause| format!("; {cause}")).unwrap_or_default();
    Some(format!("{} ({why}{cause})", pod_name(pod)))
}

pub(super) fn pod_name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const WHY: &str = "pods \"d-1-x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3";

    fn failure(status: &str) -> Value {
        json!([{"type": "ReplicaFailure", "status": status, "reason": "FailedCreate", "message": WHY}])
    }

    /// A deployment with a replica set that has three pods and is to have `replicas`.
    fn snapshot(replicas: u32, of_deployment: Value, of_set: Value) -> WorkloadSnapshot {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "d", "uid": "d"},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
            "status": {"conditions": of_deployment},
        }))
        .unwrap();
        let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "d", "controller": true});
        let set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"name": "d-1", "uid": "d-1", "ownerReferences": [owner]},
            "spec": {"replicas": replicas, "selector": {}},
            "status": {"replicas": 3, "conditions": of_set},
        }))
        .unwrap();
        let (deployment, sets) = (Arc::new(deployment), vec![Arc::new(set)]);
        WorkloadSnapshot::new(deployment, sets, Vec::new(), CauseView::default())
    }

    #[test]
    fn pods_that_the_api_server_refuses_are_told() {
        let why = Some(format!("pods cannot be created: {WHY}"));
        assert_eq!(snapshot(4, json!([]), failure("True")).refused_pods(), why);
        assert_eq!(snapshot(4, failure("True"), json!([])).refused_pods(), why);
        assert_eq!(snapshot(4, json!([]), failure("False")).refused_pods(), None);
        let is_over = snapshot(3, json!([]), failure("True"));
        assert_eq!(is_over.refused_pods(), None, "it has its pods");
    }

    #[test]
    fn a_refusal_that_lasts_fails_a_wait() {
        let refused = snapshot(4, json!([]), failure("True"));
        let mut patient = GraceTimer::new(std::time::Duration::from_secs(60));
        assert_eq!(refused.expired_problem(&mut patient, []), None);
        let mut strict = GraceTimer::new(std::time::Duration::ZERO);
        let why = format!("pods cannot be created: {WHY}");
        assert_eq!(refused.expired_problem(&mut strict, []), Some(why.clone()));
        assert_eq!(refused.describe_unready([]), Some(why));
    }
}
