//! A deployment with its replica sets and its pods, as several actions look at it: once, or live.
//!
//! A pod belongs to a deployment when a replica set of the deployment controls it. That it matches the deployment's
//! selector is not enough: anybody can give a pod labels.

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

/// What can be seen of a deployment at one moment.
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

/// What a [`WorkloadWatch`] holds, readable while it goes on.
pub(super) struct WorkloadViews {
    deployment: ObjectView<Deployment>,
    sets: ObjectView<ReplicaSet>,
    pods: ObjectView<Pod>,
}

/// The deployment of that name.
pub(super) async fn deployment(
    kubernetes: &KubernetesReader,
    namespace: &str,
    name: &str,
) -> Result<Deployment> {
    match kubernetes.get::<Deployment>(Some(namespace), name).await? {
        Some(found) => Ok(found),
        None => Err(Error::precondition(format!("there is no deployment {namespace}/{name}"))),
    }
}

/// The deployment and what belongs to it, now.
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

/// Follows the deployment and what belongs to it.
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
    /// What can be seen now; nothing when the deployment is gone.
    pub(super) fn snapshot(&self) -> Option<WorkloadSnapshot> {
        let deployment = self.deployment.objects().pop()?;
        Some(WorkloadSnapshot::new(deployment, self.sets.objects(), self.pods.objects()))
    }
}

impl WorkloadSnapshot {
    fn new(
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

    /// The pods that neither end nor have ended.
    pub(super) fn active_pods(&self) -> Vec<&Arc<Pod>> {
        self.pods.iter().filter(|pod| pod::is_active(pod)).collect()
    }

    /// The same as records, by name.
    pub(super) fn records(&self, instances: &NodeInstances) -> Vec<PodRecord> {
        self.active_pods().into_iter().map(|pod| PodRecord::of(pod, instances)).collect()
    }

    /// How many pods it is to have.
    pub(super) fn replicas(&self) -> u32 {
        replicas(&self.deployment)
    }

    /// Whether its controller has seen the deployment as it now is.
    pub(super) fn is_observed(&self) -> bool {
        let status = self.deployment.status.as_ref();
        let observed = status.and_then(|status| status.observed_generation).unwrap_or(0);
        self.deployment.metadata.generation.unwrap_or(0) <= observed
    }
}

/// How many pods a deployment is to have; Kubernetes' own default is one.
pub(super) fn replicas(deployment: &Deployment) -> u32 {
    let written = deployment.spec.replicas.unwrap_or(1);
    u32::try_from(written).unwrap_or(0)
}

/// Whether the object that makes its successor is the one that is meant.
fn controlled_by(metadata: &ObjectMeta, is_meant: impl Fn(&str) -> bool) -> bool {
    pod::controller(metadata).is_some_and(|owner| is_meant(&owner.uid))
}

/// What keeps pods from becoming ready and has lasted too long, with the pod's name.
pub(super) fn expired_problem<'a>(
    grace: &mut GraceTimer,
    pods: impl IntoIterator<Item = &'a Arc<Pod>>,
) -> Option<String> {
    let problem = |pod: &'a Arc<Pod>| {
        let problem = pod::problem(pod)?;
        // ErrImagePull and ImagePullBackOff come in turns and are one trouble.
        let uid = pod.metadata.uid.clone()?;
        Some((uid, format!("pod {}: {}", pod_name(pod), problem.message)))
    };
    let problems: Vec<_> = pods.into_iter().filter_map(problem).collect();
    grace.expired(Instant::now(), problems)
}

/// The pods that are not ready, each with why, for a message; nothing when all are.
pub(super) fn describe_unready<'a>(pods: impl IntoIterator<Item = &'a Arc<Pod>>) -> Option<String> {
    let why =
        |pod: &'a Arc<Pod>| pod::why_not_ready(pod).map(|why| format!("{} ({why})", pod_name(pod)));
    let named: Vec<String> = pods.into_iter().filter_map(why).collect();
    (!named.is_empty()).then(|| join_truncated(named))
}

pub(super) fn pod_name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}
