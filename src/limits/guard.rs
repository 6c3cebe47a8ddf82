//! Decides about each pod and instance that a change removes: what `keep_ready` keeps is counted anew before every one
//! of them, so that no two removals together take more than each may.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{WorkloadState, describe_kept, read::DeclaredWorkload};
use crate::platform::kubernetes::{node::Node, pod::Pod};
use crate::platform::{
    Error, Permission, Permit, PlatformReader, Progress, RemovalGuard,
    kubernetes::{KubernetesReader, Selection, node, pod},
};
use runbook::KeptWorkload;

/// The removals that a run has sent and that its reads may not show yet. All steps of a run that are at work at the
/// same time share it.
#[derive(Default)]
pub struct KeptRemovals {
    /// One decision at a time: the next one counts what this one lets go.
    turn: tokio::sync::Mutex<()>,
    removed: Mutex<Removed>,
}

#[derive(Default)]
struct Removed {
    /// UIDs of the pods whose removal is being sent.
    pods: BTreeSet<String>,
    /// Names of the nodes whose instances are ending. Their pods are called Ready until the node is gone.
    nodes: BTreeSet<String>,
}

impl KeptRemovals {
    fn removed(&self) -> MutexGuard<'_, Removed> {
        // A holder that panics has added one removal, or none.
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rules for the removals of one step.
pub struct RemovalRules {
    /// The workloads of which pods are kept.
    pub kept: Vec<KeptWorkload>,
    /// The removals of the run.
    pub removals: Arc<KeptRemovals>,
    /// The reader of the cluster.
    pub reader: PlatformReader,
    /// Where a violation is reported that stops nothing; without it, the removal is refused.
    pub report: Option<Progress>,
}

/// The removal of a pod that is being sent.
struct RemovedPod {
    removals: Arc<KeptRemovals>,
    uid: String,
}

impl Drop for RemovedPod {
    fn drop(&mut self) {
        self.removals.removed().pods.remove(&self.uid);
    }
}

impl RemovalRules {
    /// Permits the removal of a target, or an undo whatever it removes.
    async fn permit(&self, target: &Target<'_>) -> Result<(), Error> {
        match self.check(target).await {
            // What cannot be read keeps no undo from its work.
            Err(error) if self.report.is_some() => {
                tracing::debug!(%error, "limits are not known to an undo");
                Ok(())
            }
            checked => checked,
        }
    }

    async fn check(&self, target: &Target<'_>) -> Result<(), Error> {
        for kept in &self.kept {
            if target.namespace().is_some_and(|namespace| namespace != kept.workload.namespace) {
                continue;
            }
            let kubernetes = self.reader.kubernetes().await?;
            let Some(violation) = self.violation(kept, target, &kubernetes).await? else {
                continue;
            };
            match &self.report {
                Some(progress) => progress.report(&format!("{violation}; an undo goes on")),
                None => return Err(Error::Held { message: violation.into(), hint: None }),
            }
        }
        Ok(())
    }

    /// Returns the name of the node that an instance runs.
    async fn node_of(&self, instance: &str) -> Result<Option<String>, Error> {
        let nodes = self.reader.kubernetes().await?.list::<Node>(&Selection::all()).await?;
        let found = nodes.into_iter().find(|node| node::instance_id(node) == Some(instance));
        Ok(found.and_then(|node| node.metadata.name))
    }

    /// Returns why a target must be kept for now, if it must.
    async fn violation(
        &self,
        kept: &KeptWorkload,
        target: &Target<'_>,
        kubernetes: &KubernetesReader,
    ) -> Result<Option<String>, Error> {
        // One that was deleted meanwhile has no pods to keep.
        let Some(declared) = DeclaredWorkload::read(&kept.workload, kubernetes).await? else {
            return Ok(None);
        };
        let mut pods = declared.ready_pods(kubernetes).await?;
        {
            let removed = self.removals.removed();
            pods.retain(|pod| {
                let is_removed =
                    pod.metadata.uid.as_ref().is_some_and(|uid| removed.pods.contains(uid));
                let is_ending = pod::node(pod).is_some_and(|node| removed.nodes.contains(node));
                !is_removed && !is_ending
            });
        }
        let taken = pods.iter().filter(|pod| target.has(pod)).count();
        let (replicas, ready) = (declared.replicas, pods.len());
        let found = WorkloadState { replicas, ready, taken, shrinks_to: None };
        let is_kept = taken == 0 || ready - taken >= kept.at_least.at_least_of(replicas);
        Ok((!is_kept).then(|| describe_kept(kept, found)))
    }
}

/// A pod, or the node of an instance.
enum Target<'t> {
    Pod { namespace: &'t str, uid: &'t str },
    Node(&'t str),
}

impl Target<'_> {
    fn namespace(&self) -> Option<&str> {
        match self {
            Self::Pod { namespace, .. } => Some(namespace),
            Self::Node(_) => None,
        }
    }

    fn has(&self, pod: &Pod) -> bool {
        match self {
            Self::Pod { uid, .. } => pod.metadata.uid.as_deref() == Some(uid),
            Self::Node(name) => pod::node(pod) == Some(name),
        }
    }
}

impl RemovalGuard for RemovalRules {
    fn permit_pod<'a>(&'a self, namespace: &'a str, uid: &'a str) -> Permission<'a> {
        Box::pin(async move {
            let _turn = self.removals.turn.lock().await;
            self.permit(&Target::Pod { namespace, uid }).await?;
            self.removals.removed().pods.insert(uid.to_owned());
            let (removals, uid) = (Arc::clone(&self.removals), uid.to_owned());
            let permit: Permit = Box::new(RemovedPod { removals, uid });
            Ok(permit)
        })
    }

    fn permit_instance<'a>(&'a self, id: &'a str) -> Permission<'a> {
        Box::pin(async move {
            let _turn = self.removals.turn.lock().await;
            match self.node_of(id).await {
                Ok(Some(name)) => {
                    self.permit(&Target::Node(&name)).await?;
                    self.removals.removed().nodes.insert(name);
                }
                Ok(None) => {}
                Err(_) if self.report.is_some() => {}
                Err(error) => return Err(error),
            }
            let permit: Permit = Box::new(());
            Ok(permit)
        })
    }
}
