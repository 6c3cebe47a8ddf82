//! The choice of the pods to keep when a deployment is scaled down.
//!
//! The replica set controller removes pods without a node first, then pending ones, then those that are not ready, and
//! only then the cheapest by the annotation `controller.kubernetes.io/pod-deletion-cost`. So a pod to keep must be
//! Ready, and carries the highest cost from before the scaling until the others have been told to end.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Intent, contains_pod, pod_names};
use crate::{
    actions::{
        Error, Progress, RestoreCommand, Result, TargetState,
        concurrency::try_join_bounded,
        types::PodRecord,
        workload::{self, WorkloadSnapshot, describe_unready, expired_problem},
    },
    platform::{
        ErrorKind,
        kubernetes::{self, pod},
        wait::{self, GraceTimer, WaitState},
    },
};
use clock::Clock;

/// The highest cost that Kubernetes takes.
const MAX_DELETION_COST: &str = "2147483647";
/// The deployment and the replica set controller act within a second; a program that is told to end has thirty, and
/// this is waited for in one piece.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The controllers read pods from a cache that follows what is written; a healthy one is some milliseconds behind.
const CACHE_LAG: Duration = Duration::from_millis(500);

/// A pod to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PodToKeep {
    pub(super) pod: PodRecord,
    /// The cost that the pod had before.
    cost: Option<String>,
}

impl PodToKeep {
    fn of(pod: &Pod, record: PodRecord) -> Self {
        // Ours is left from an attempt that was cut off; whatever stood before it is not known here.
        let cost = pod::deletion_cost(pod).filter(|cost| *cost != MAX_DELETION_COST);
        Self { cost: cost.map(str::to_owned), pod: record }
    }
}

/// Decides which pods to keep: those of the list that still stand. Waits until they are Ready.
pub(super) async fn choose_pods_to_keep(
    wanted: Vec<PodRecord>,
    deployment: &Deployment,
    give_up_after: runbook::Duration,
    clock: &Clock,
    kubernetes: &kubernetes::KubernetesReader,
    progress: &Progress,
) -> Result<Vec<PodToKeep>> {
    let mut watch = workload::watch(kubernetes, deployment);
    let views = watch.views();
    let mut grace = GraceTimer::new(clock.deadline(give_up_after.std()));
    let snapshot = wait::until(progress, &mut watch.sources(), || match views.snapshot() {
        Some(snapshot) => evaluate(&wanted, snapshot, give_up_after, &mut grace),
        None => WaitState::failed("the deployment no longer exists"),
    })
    .await?;
    let mut kept = Vec::new();
    let mut gone = Vec::new();
    for record in wanted {
        match snapshot.active_pods().into_iter().find(|pod| record.matches(pod)) {
            Some(pod) => kept.push(PodToKeep::of(pod, record)),
            None => gone.push(record),
        }
    }
    reject_foreign_pods(&gone, kubernetes).await?;
    if kept.is_empty() {
        return Err(Error::precondition(format!(
            "none of the pods to keep exists: {}",
            pod_names(&gone)
        )));
    }
    if !gone.is_empty() {
        progress.report(&format!("pods that were to be kept are gone: {}", pod_names(&gone)));
    }
    Ok(kept)
}

fn evaluate(
    wanted: &[PodRecord],
    snapshot: WorkloadSnapshot,
    give_up_after: runbook::Duration,
    grace: &mut GraceTimer,
) -> WaitState<WorkloadSnapshot> {
    let keep: Vec<&Arc<Pod>> =
        snapshot.active_pods().into_iter().filter(|pod| contains_pod(wanted, pod)).collect();
    if let Some(why) = expired_problem(grace, keep.iter().copied()) {
        return WaitState::failed(format!(
            "a pod to keep is not Ready, and would be removed first: {why} (for {give_up_after})"
        ));
    }
    let revisions = snapshot.sets.iter().filter(|set| set.spec.replicas.unwrap_or(0) > 0).count();
    if revisions > 1 {
        // Each replica set chooses among its own pods, and the deployment controller chooses how many each gives up.
        return WaitState::Pending("a rollout to end: there are pods of two revisions".into());
    }
    match describe_unready(keep) {
        Some(which) => WaitState::Pending(format!("the pods to keep to be Ready: {which}")),
        None => WaitState::Ready(snapshot),
    }
}

/// Refuses pods that exist but do not belong to the deployment.
async fn reject_foreign_pods(
    missing: &[PodRecord],
    kubernetes: &kubernetes::KubernetesReader,
) -> Result<()> {
    for record in missing {
        let found = kubernetes.get::<Pod>(Some(&record.namespace), &record.name).await?;
        if found.is_some_and(|pod| record.matches(&pod) && pod::is_active(&pod)) {
            return Err(Error::precondition(format!(
                "pod {}/{} is to be kept, but does not belong to the deployment",
                record.namespace, record.name
            )));
        }
    }
    Ok(())
}

/// Returns the pods that an undo keeps: those from before the step that still exist and are Ready. The others cannot be
/// kept.
pub(super) async fn choose_for_undo(
    intent: &Intent,
    deployment: Deployment,
    kubernetes: &kubernetes::KubernetesReader,
) -> Result<Vec<PodToKeep>> {
    if intent.before.replicas >= intent.after {
        return Ok(Vec::new());
    }
    let snapshot = workload::read_snapshot(kubernetes, deployment).await?;
    let kept = |record: &PodRecord| {
        let pod = snapshot.pods.iter().find(|pod| record.matches(pod) && pod::is_ready(pod))?;
        Some(PodToKeep::of(pod, record.clone()))
    };
    Ok(intent.before.pods.iter().filter_map(kept).collect())
}

/// Gives the pods to keep the highest cost.
pub(super) async fn raise_deletion_costs(
    keep: &[PodToKeep],
    clock: &Clock,
    kubernetes: &kubernetes::KubernetesWriter,
) -> Result<()> {
    if keep.is_empty() {
        return Ok(());
    }
    let calls: Vec<_> = keep
        .iter()
        .map(|kept| write_deletion_cost(&kept.pod, Some(MAX_DELETION_COST), kubernetes))
        .collect();
    try_join_bounded(calls).await?;
    clock.sleep(CACHE_LAG).await;
    Ok(())
}

/// Restores the cost of every pod of the deployment that has the highest one.
pub(super) async fn restore_deletion_costs(
    intent: &Intent,
    keep: &[PodToKeep],
    kubernetes: &kubernetes::KubernetesWriter,
) -> Result<()> {
    if keep.is_empty() && intent.keep.is_empty() {
        return Ok(());
    }
    let found = super::get_deployment(intent, kubernetes.reader()).await?;
    let snapshot = workload::read_snapshot(kubernetes.reader(), found).await?;
    let marked: Vec<(PodRecord, Option<String>)> = snapshot
        .active_pods()
        .into_iter()
        .filter(|pod| pod::deletion_cost(pod) == Some(MAX_DELETION_COST))
        .map(|pod| {
            let mut known = keep.iter().chain(&intent.keep).filter(|kept| kept.pod.matches(pod));
            let cost = known.find_map(|kept| kept.cost.clone());
            (PodRecord::of(pod, &Default::default()), cost)
        })
        .collect();
    let calls: Vec<_> = marked
        .iter()
        .map(|(record, cost)| write_deletion_cost(record, cost.as_deref(), kubernetes))
        .collect();
    try_join_bounded(calls).await.map(drop)
}

/// Returns the pods that still have the highest cost, which only an interrupted step leaves.
pub(super) fn costs_left(intent: &Intent, snapshot: &WorkloadSnapshot) -> Vec<TargetState> {
    let is_marked = |pod: &&Arc<Pod>| pod::deletion_cost(pod) == Some(MAX_DELETION_COST);
    let state = |pod: &Arc<Pod>| {
        let known = intent.keep.iter().find(|kept| kept.pod.matches(pod));
        let cost = known.and_then(|kept| kept.cost.clone());
        let record = PodRecord::of(pod, &Default::default());
        let annotation = match &cost {
            Some(cost) => format!("{}={cost}", pod::DELETION_COST),
            None => format!("{}-", pod::DELETION_COST),
        };
        let (namespace, name) = (record.namespace.as_str(), record.name.as_str());
        let arguments = ["-n", namespace, "annotate", "--overwrite", "pod", name, &annotation];
        TargetState::new(
            format!("pod {namespace}/{name} {}", pod::DELETION_COST),
            cost,
            MAX_DELETION_COST,
            Some(RestoreCommand::kubectl(arguments)),
        )
    };
    snapshot.active_pods().into_iter().filter(is_marked).map(state).collect()
}

/// Writes a pod's cost, if it is still that pod. One that is gone needs none.
async fn write_deletion_cost(
    record: &PodRecord,
    cost: Option<&str>,
    kubernetes: &kubernetes::KubernetesWriter,
) -> Result<()> {
    let annotations = json!({pod::DELETION_COST: cost.map_or(Value::Null, Value::from)});
    let patch = json!({"metadata": {"uid": record.uid, "annotations": annotations}});
    match kubernetes.patch::<Pod>(Some(&record.namespace), &record.name, &patch).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the controllers have deleted the surplus.
pub(super) async fn wait_for_selection(
    intent: &Intent,
    to: u32,
    kubernetes: &kubernetes::KubernetesWriter,
) -> Result<()> {
    let found = super::get_deployment(intent, kubernetes.reader()).await?;
    let mut watch = workload::watch(kubernetes.reader(), &found);
    let views = watch.views();
    let silent = Progress::silent();
    let mut sources = watch.sources();
    let chosen = wait::until(&silent, &mut sources, || {
        let active_pods = views.snapshot().map_or(0, |snapshot| snapshot.active_pods().len());
        if active_pods <= to as usize {
            WaitState::Ready(())
        } else {
            WaitState::Pending(String::new())
        }
    });
    match tokio::time::timeout(SELECTION_TIMEOUT, chosen).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Error::busy(format!(
            "the controllers have not yet chosen which pods of {} to remove",
            intent.target()
        ))),
    }
}

/// Those that were to be kept and do not stand, when more than that many are to be kept.
pub(super) fn lost_pods(intent: &Intent, snapshot: &WorkloadSnapshot) -> Vec<PodRecord> {
    let is_active =
        |kept: &&PodToKeep| snapshot.active_pods().iter().any(|pod| kept.pod.matches(pod));
    let lost: Vec<&PodToKeep> = intent.keep.iter().filter(|kept| !is_active(kept)).collect();
    let spare = intent.keep.len().saturating_sub(intent.after as usize);
    if lost.len() <= spare {
        return Vec::new();
    }
    lost.into_iter().map(|kept| kept.pod.clone()).collect()
}
