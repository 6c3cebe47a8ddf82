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
    records::{Instances, PodRecord},
    words::listed,
};
use crate::platform::{
    kubernetes::{Reader, Selection, View, Watched, pod},
    wait::{Patience, Source},
};

/// What can be seen of a deployment at one moment.
pub(super) struct Sight {
    pub(super) deployment: Arc<Deployment>,
    /// Its replica sets, those of earlier revisions too.
    pub(super) sets: Vec<Arc<ReplicaSet>>,
    /// Its pods, those that end or have ended too.
    pub(super) pods: Vec<Arc<Pod>>,
}

/// A live view of a deployment.
pub(super) struct Watching {
    deployment: Watched<Deployment>,
    sets: Watched<ReplicaSet>,
    pods: Watched<Pod>,
}

/// What a [`Watching`] holds, readable while it goes on.
pub(super) struct Views {
    deployment: View<Deployment>,
    sets: View<ReplicaSet>,
    pods: View<Pod>,
}

/// The deployment of that name.
pub(super) async fn deployment(
    kubernetes: &Reader,
    namespace: &str,
    name: &str,
) -> Result<Deployment> {
    match kubernetes.get::<Deployment>(Some(namespace), name).await? {
        Some(found) => Ok(found),
        None => Err(Error::Refused(format!("there is no deployment {namespace}/{name}"))),
    }
}

/// The deployment and what belongs to it, now.
pub(super) async fn look(kubernetes: &Reader, deployment: Deployment) -> Result<Sight> {
    let selection = belongings(&deployment);
    let (sets, pods) =
        tokio::join!(kubernetes.list::<ReplicaSet>(&selection), kubernetes.list::<Pod>(&selection));
    let shared = |pods: Vec<Pod>| pods.into_iter().map(Arc::new).collect();
    let sets = sets?.into_iter().map(Arc::new).collect();
    Ok(Sight::new(Arc::new(deployment), sets, shared(pods?)))
}

/// Follows the deployment and what belongs to it.
pub(super) fn watch(kubernetes: &Reader, deployment: &Deployment) -> Watching {
    let selection = belongings(deployment);
    let namespace = deployment.metadata.namespace.clone().unwrap_or_default();
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    Watching {
        deployment: kubernetes.watch(&Selection::of_namespace(namespace).named(name)),
        sets: kubernetes.watch(&selection),
        pods: kubernetes.watch(&selection),
    }
}

fn belongings(deployment: &Deployment) -> Selection {
    let namespace = deployment.metadata.namespace.clone().unwrap_or_default();
    Selection::of_namespace(namespace).matching(&deployment.spec.selector)
}

impl Watching {
    pub(super) fn sources(&mut self) -> [&mut dyn Source; 3] {
        [&mut self.deployment, &mut self.sets, &mut self.pods]
    }

    pub(super) fn views(&self) -> Views {
        Views { deployment: self.deployment.view(), sets: self.sets.view(), pods: self.pods.view() }
    }
}

impl Views {
    /// What can be seen now; nothing when the deployment is gone.
    pub(super) fn sight(&self) -> Option<Sight> {
        let deployment = self.deployment.objects().pop()?;
        Some(Sight::new(deployment, self.sets.objects(), self.pods.objects()))
    }
}

impl Sight {
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
    pub(super) fn standing(&self) -> Vec<&Arc<Pod>> {
        self.pods.iter().filter(|pod| pod::is_standing(pod)).collect()
    }

    /// The same as records, by name.
    pub(super) fn records(&self, instances: &Instances) -> Vec<PodRecord> {
        self.standing().into_iter().map(|pod| PodRecord::of(pod, instances)).collect()
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
pub(super) fn lasting_trouble<'a>(
    patience: &mut Patience,
    pods: impl IntoIterator<Item = &'a Arc<Pod>>,
) -> Option<String> {
    let trouble = |pod: &'a Arc<Pod>| {
        let trouble = pod::trouble(pod)?;
        // ErrImagePull and ImagePullBackOff come in turns and are one trouble.
        let uid = pod.metadata.uid.clone()?;
        Some((uid, format!("pod {}: {}", name(pod), trouble.words)))
    };
    let troubles: Vec<_> = pods.into_iter().filter_map(trouble).collect();
    patience.lasting(Instant::now(), troubles)
}

/// The pods that are not ready, each with why, for a message; nothing when all are.
pub(super) fn unready<'a>(pods: impl IntoIterator<Item = &'a Arc<Pod>>) -> Option<String> {
    let why =
        |pod: &'a Arc<Pod>| pod::why_not_ready(pod).map(|why| format!("{} ({why})", name(pod)));
    let named: Vec<String> = pods.into_iter().filter_map(why).collect();
    (!named.is_empty()).then(|| listed(named))
}

pub(super) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}
