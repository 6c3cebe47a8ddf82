//! A deployment with its replica sets and its pods, read once or watched.
//!
//! A pod belongs to a deployment when a replica set of the deployment controls it. A match of the deployment's selector
//! is not enough, because any client can label a pod.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    Error, Result,
    types::{NodeInstances, PodRecord},
};
use crate::platform::{
    kubernetes::{KubernetesReader, ObjectView, ObjectWatch, Selection, pod},
    wait::{GraceTimer, WaitSource},
};
use text::join_truncated;

/// A deployment with its replica sets and pods at one moment.
pub(super) struct WorkloadSnapshot {
    pub(super) deployment: Arc<Deployment>,
    /// Its replica sets, those of earlier revisions too.
    pub(super) sets: Vec<Arc<ReplicaSet>>,
    /// Its pods, those that end or have ended too.
    pub(super) pods: Vec<Arc<Pod>>,
}

/// A live view of a deployment.
pub(super) struct WorkloadWatch {
    deployment: ObjectWatch<Deployment>,
    sets: ObjectWatch<ReplicaSet>,
    pods: ObjectWatch<Pod>,
}

/// The state of a [`WorkloadWatch`], readable while it runs.
pub(super) struct WorkloadViews {
    deployment: ObjectView<Deployment>,
    sets: ObjectView<ReplicaSet>,
    pods: ObjectView<Pod>,
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
    Ok(WorkloadSnapshot::new(Arc::new(deployment), sets, shared(pods?)))
}

/// Watches the deployment, its replica sets and its pods.
pub(super) fn watch(kubernetes: &KubernetesReader, deployment: &Deployment) -> WorkloadWatch {
    let selection = selection_of(deployment);
    let namespace = deployment.metadata.namespace.clone().unwrap_or_default();
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    WorkloadWatch {
        deployment: kubernetes.watch(&Selection::in_namespace(namespace).named(name)),
        sets: kubernetes.watch(&selection),
        pods: kubernetes.watch(&selection),
    }
}

fn selection_of(deployment: &Deployment) -> Selection {
    let namespace = deployment.metadata.namespace.clone().unwrap_or_default();
    Selection::in_namespace(namespace).matching(&deployment.spec.selector)
}

impl WorkloadWatch {
    pub(super) fn sources(&mut self) -> [&mut dyn WaitSource; 3] {
        [&mut self.deployment, &mut self.sets, &mut self.pods]
    }

    pub(super) fn views(&self) -> WorkloadViews {
        WorkloadViews {
            deployment: self.deployment.view(),
            sets: self.sets.view(),
            pods: self.pods.view(),
        }
    }
}

impl WorkloadViews {
    /// Returns the current state; none when the deployment is gone.
    pub(super) fn snapshot(&self) -> Option<WorkloadSnapshot> {
        let deployment = self.deployment.objects().pop()?;
        Some(WorkloadSnapshot::new(deployment, self.sets.objects(), self.pods.objects()))
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
    ) -> Self {
        let own = deployment.metadata.uid.clone().unwrap_or_default();
        sets.retain(|set| controlled_by(&set.metadata, |uid| uid == own));
        let uids: BTreeSet<&str> =
            sets.iter().filter_map(|set| set.metadata.uid.as_deref()).collect();
        pods.retain(|pod| controlled_by(&pod.metadata, |uid| uids.contains(uid)));
        Self { deployment, sets, pods }
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
        let revision = |set: &&Arc<ReplicaSet>| {
            annotation(set, REVISION).and_then(|text| text.parse::<u64>().ok())
        };
        let newest = self.sets.iter().max_by_key(revision);
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

    /// Returns whether the controller has observed the deployment's current generation.
    pub(super) fn is_observed(&self) -> bool {
        let status = self.deployment.status.as_ref();
        let observed = status.and_then(|status| status.observed_generation).unwrap_or(0);
        self.deployment.metadata.generation.unwrap_or(0) <= observed
    }
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

/// Returns a problem that keeps a pod from becoming ready and has lasted too long, with the pod's name.
pub(super) fn expired_problem<'a>(
    grace: &mut GraceTimer,
    pods: impl IntoIterator<Item = &'a Arc<Pod>>,
) -> Option<String> {
    let problem = |pod: &'a Arc<Pod>| {
        let problem = pod::problem(pod)?;
        // ErrImagePull and ImagePullBackOff alternate and are one problem.
        let uid = pod.metadata.uid.clone()?;
        Some((uid, format!("pod {}: {}", pod_name(pod), problem.message)))
    };
    let problems: Vec<_> = pods.into_iter().filter_map(problem).collect();
    grace.expired(Instant::now(), problems)
}

/// Returns the pods that are not ready, each with the reason, for a message; none when all are ready.
pub(super) fn describe_unready<'a>(pods: impl IntoIterator<Item = &'a Arc<Pod>>) -> Option<String> {
    let why =
        |pod: &'a Arc<Pod>| pod::why_not_ready(pod).map(|why| format!("{} ({why})", pod_name(pod)));
    let named: Vec<String> = pods.into_iter().filter_map(why).collect();
    (!named.is_empty()).then(|| join_truncated(named))
}

pub(super) fn pod_name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}
