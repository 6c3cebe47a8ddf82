//! The choice of the pods to keep when a deployment is scaled down.
//!
//! The replica set controller removes pods without a node first, then pending ones, then those that are not ready, and
//! only then the cheapest by the annotation `controller.kubernetes.io/pod-deletion-cost`. So a pod to keep must be
//! Ready, and carries the highest cost from before the scaling until the others have been told to end.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::api::apps::v1::Deployment;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Intent, contains_pod, pod_names};
use crate::platform::kubernetes::pod::Pod;
use crate::{
    actions::{
        Error, KnownTargets, Progress, RestoreCommand, Result, TargetState,
        concurrency::try_join_bounded,
        rollout_guard::{self, RolloutTimers},
        types::{PodRecord, by_uid},
        workload::{self, WorkloadSnapshot},
    },
    platform::{
        ErrorKind,
        kubernetes::{self, pod},
        wait::{self, GraceTimer, WaitSource, WaitState},
    },
};
use clock::Clock;
use tokio::time::Instant;

/// The highest cost that Kubernetes takes.
const MAX_DELETION_COST: &str = "2147483647";
/// The annotation that tells a cost of this program from another client's: the cost before, or empty for none.
const COST_BEFORE: &str = "rafay-relay-sop/deletion-cost-before";
/// The deployment and the replica set controller act within a second; a program that is told to end has thirty, and
/// this is waited for in one piece.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The controllers read pods from a cache that follows what is written, as a watch does: a healthy one is some
/// milliseconds behind. No client can ask how far it has come, so it gets several times as long as a watch of this
/// program took, within these limits.
const MIN_CACHE_LAG: Duration = Duration::from_millis(100);
const MAX_CACHE_LAG: Duration = Duration::from_millis(500);
/// How many times as long as this program a controller may take to read the same events.
const CACHE_LAG_FACTOR: u32 = 5;

/// A pod to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PodToKeep {
    pub(super) pod: PodRecord,
    /// The cost that the pod had before.
    cost: Option<String>,
}

impl PodToKeep {
    fn of(pod: &Pod, record: PodRecord) -> Self {
        // An attempt that was cut off has left its cost with the one before.
        let cost = match cost_before(pod) {
            Some(cost) => Some(cost).filter(|cost| !cost.is_empty()),
            None => pod::deletion_cost(pod),
        };
        Self { cost: cost.map(str::to_owned), pod: record }
    }
}

fn cost_before(pod: &Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(COST_BEFORE).map(String::as_str)
}

/// Waits until the listed pods that still exist are Ready.
pub(super) async fn wait_until_ready(
    wanted: &[PodRecord],
    deployment: &Deployment,
    give_up_after: runbook::Duration,
    clock: &Clock,
    kubernetes: &kubernetes::KubernetesReader,
    progress: &Progress,
) -> Result<WorkloadSnapshot> {
    let mut watch = workload::watch(kubernetes, deployment, *clock, progress);
    let views = watch.views();
    let mut grace = GraceTimer::new(clock.deadline(give_up_after.std()));
    let mut rollout = RolloutTimers::new(give_up_after, *clock);
    let mut sources = watch.sources();
    let ready = wait::until(progress, &mut sources, || match views.snapshot() {
        Some(snapshot) => {
            // Each replica set chooses among its own pods; the deployment controller chooses how many each gives up.
            let settled = rollout_guard::evaluate(&snapshot, &mut rollout);
            evaluate(wanted, &snapshot, give_up_after, &mut grace)
                .and(settled)
                .map(|((), ())| snapshot)
        }
        None => WaitState::failed("the deployment no longer exists"),
    });
    Ok(ready.await?)
}

/// Decides which pods to keep: those of the list that still exist. Returns the names of the others, too.
///
/// # Errors
/// A listed pod belongs to another workload, or none exists and no earlier step listed one of them.
pub(super) async fn choose_pods_to_keep(
    wanted: Vec<PodRecord>,
    snapshot: &WorkloadSnapshot,
    known: &KnownTargets,
    kubernetes: &kubernetes::KubernetesReader,
) -> Result<(Vec<PodToKeep>, Vec<String>)> {
    let mut kept = Vec::new();
    let mut gone = Vec::new();
    let active = snapshot.active_pods();
    let active = by_uid(active.iter().map(AsRef::as_ref));
    for record in wanted {
        match active.get(record.uid.as_str()) {
            Some(pod) => kept.push(PodToKeep::of(pod, record)),
            None => gone.push(record),
        }
    }
    reject_foreign_pods(&gone, kubernetes).await?;
    if kept.is_empty() && !gone.iter().any(|record| known.has_pod(&record.uid)) {
        return Err(Error::precondition(format!(
            "none of the pods to keep exists: {}",
            pod_names(&gone)
        )));
    }
    Ok((kept, gone.into_iter().map(|record| record.name).collect()))
}

fn evaluate(
    wanted: &[PodRecord],
    snapshot: &WorkloadSnapshot,
    give_up_after: runbook::Duration,
    grace: &mut GraceTimer,
) -> WaitState<()> {
    let keep: Vec<&Arc<Pod>> =
        snapshot.active_pods().into_iter().filter(|pod| contains_pod(wanted, pod)).collect();
    // Only these pods count: what keeps the deployment from having more of them is no reason not to scale it down.
    let problem = workload::expired_problem(grace, keep.iter().copied(), &snapshot.causes, None);
    if let Some(why) = problem {
        return WaitState::failed(format!(
            "a pod to keep is not Ready, and would be removed first: {why} (for {give_up_after})"
        ));
    }
    match workload::describe_unready(keep, &snapshot.causes, None) {
        Some(which) => WaitState::Pending(format!("the pods to keep to be Ready: {which}")),
        None => WaitState::Ready(()),
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

/// Gives the pods to keep the highest cost, waits until the controllers know, and returns the names of those that are
/// gone.
pub(super) async fn raise_deletion_costs(
    keep: &[PodToKeep],
    deployment: &Deployment,
    clock: &Clock,
    kubernetes: &kubernetes::KubernetesWriter,
) -> Result<Vec<String>> {
    if keep.is_empty() {
        return Ok(Vec::new());
    }
    let silent = Progress::silent();
    // The watch begins before the costs are written, as those of the controllers did.
    let mut pods = kubernetes.reader().watch::<Pod>(&workload::selection_of(deployment));
    let view = pods.view();
    wait::until(&silent, &mut [&mut pods], || WaitState::Ready(())).await?;
    let calls: Vec<_> = keep
        .iter()
        .map(|kept| async {
            let before = kept.cost.as_deref().unwrap_or_default();
            let annotations = json!({pod::DELETION_COST: MAX_DELETION_COST, COST_BEFORE: before});
            let is_there = annotate(&kept.pod, annotations, kubernetes).await?;
            Ok((!is_there).then(|| kept.pod.name.clone()))
        })
        .collect();
    let gone = try_join_bounded(calls).await?.into_iter().flatten().collect();
    let written = Instant::now();
    let uids: BTreeSet<&str> = keep.iter().map(|kept| kept.pod.uid.as_str()).collect();
    let mut sources: [&mut dyn WaitSource; 1] = [&mut pods];
    let seen = wait::until_with_read_sources(&silent, &mut sources, || {
        // A pod that has gone meanwhile is no longer in the view.
        let is_unmarked = |pod: &Arc<Pod>| {
            pod.metadata.uid.as_deref().is_some_and(|uid| uids.contains(uid))
                && pod::deletion_cost(pod) != Some(MAX_DELETION_COST)
        };
        match view.objects().iter().any(is_unmarked) {
            true => WaitState::Pending(String::new()),
            false => WaitState::Ready(()),
        }
    });
    // A watch that shows nothing by then may show nothing for a long time: the costs are written all the same.
    let is_seen = matches!(tokio::time::timeout(MAX_CACHE_LAG, seen).await, Ok(Ok(())));
    let lag = match is_seen {
        true => (written.elapsed() * CACHE_LAG_FACTOR).clamp(MIN_CACHE_LAG, MAX_CACHE_LAG),
        false => MAX_CACHE_LAG.saturating_sub(written.elapsed()),
    };
    clock.sleep(lag).await;
    Ok(gone)
}

/// Restores the costs as [`restore_deletion_costs`], unless the controllers have yet to choose the pods that go:
/// without the costs they would choose any. The costs are then left, and are among the differences of the run.
pub(super) async fn restore_chosen_costs(
    deployment: Deployment,
    kubernetes: &kubernetes::KubernetesWriter,
) -> Result<()> {
    let wanted = workload::replicas(&deployment);
    let snapshot = workload::read_snapshot(kubernetes.reader(), deployment).await?;
    if !snapshot.is_sized_for(wanted) {
        return Ok(());
    }
    restore_costs(&snapshot, kubernetes).await
}

/// Restores the cost of every pod of the deployment whose cost this program has raised.
pub(super) async fn restore_deletion_costs(
    deployment: Deployment,
    kubernetes: &kubernetes::KubernetesWriter,
) -> Result<()> {
    let snapshot = workload::read_snapshot(kubernetes.reader(), deployment).await?;
    restore_costs(&snapshot, kubernetes).await
}

async fn restore_costs(
    snapshot: &WorkloadSnapshot,
    kubernetes: &kubernetes::KubernetesWriter,
) -> Result<()> {
    let marked: Vec<(PodRecord, Value)> = snapshot
        .active_pods()
        .into_iter()
        .filter_map(|pod| {
            let before = cost_before(pod)?;
            let cost = if before.is_empty() { Value::Null } else { Value::from(before) };
            let record = PodRecord::of(pod, &Default::default());
            Some((record, json!({pod::DELETION_COST: cost, COST_BEFORE: null})))
        })
        .collect();
    let calls: Vec<_> = marked
        .iter()
        .map(|(record, annotations)| annotate(record, annotations.clone(), kubernetes))
        .collect();
    try_join_bounded(calls).await.map(drop)
}

/// Returns the pods whose cost this program has raised and not restored.
pub(super) fn costs_left(snapshot: &WorkloadSnapshot) -> Vec<TargetState> {
    let state = |pod: &Arc<Pod>| {
        let before = cost_before(pod)?;
        let record = PodRecord::of(pod, &Default::default());
        let (namespace, name) = (record.namespace.as_str(), record.name.as_str());
        let cost = match before {
            "" => format!("{}-", pod::DELETION_COST),
            before => format!("{}={before}", pod::DELETION_COST),
        };
        let mark = format!("{COST_BEFORE}-");
        let arguments = ["-n", namespace, "annotate", "--overwrite", "pod", name, &cost, &mark];
        Some(TargetState::new(
            format!("pod {namespace}/{name} {}", pod::DELETION_COST),
            Some(before.to_owned()).filter(|before| !before.is_empty()),
            pod::deletion_cost(pod).map(str::to_owned),
            Some(RestoreCommand::kubectl(arguments)),
        ))
    };
    snapshot.active_pods().into_iter().filter_map(state).collect()
}

/// Writes annotations of a pod, if it is still that pod. Returns whether it exists.
async fn annotate(
    record: &PodRecord,
    annotations: Value,
    kubernetes: &kubernetes::KubernetesWriter,
) -> Result<bool> {
    let patch = json!({"metadata": {"uid": record.uid, "annotations": annotations}});
    match kubernetes.patch::<Pod>(Some(&record.namespace), &record.name, &patch).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the controllers have deleted the surplus. A rollout that has begun
/// meanwhile has its own surplus, which may stay for a long time: what counts is that each replica set was sized.
pub(super) async fn wait_for_selection(
    intent: &Intent,
    to: u32,
    clock: &Clock,
    kubernetes: &kubernetes::KubernetesWriter,
) -> Result<()> {
    let found = super::get_deployment(intent, kubernetes.reader()).await?;
    let silent = Progress::silent();
    let mut watch = workload::watch(kubernetes.reader(), &found, *clock, &silent);
    let views = watch.views();
    let mut sources = watch.sources();
    let chosen = wait::until(&silent, &mut sources, || match views.snapshot() {
        Some(snapshot) if !snapshot.is_sized_for(to) => WaitState::Pending(String::new()),
        _ => WaitState::Ready(()),
    });
    match tokio::time::timeout(SELECTION_TIMEOUT, chosen).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Error::busy(format!(
            "the controllers have not yet chosen which pods of {} to remove",
            intent.target()
        ))),
    }
}

/// Returns the names of the pods to keep that are not among `pods`.
pub(super) fn names_of_missing(keep: &[PodToKeep], pods: &[Arc<Pod>]) -> Vec<String> {
    let there = by_uid(pods.iter().map(AsRef::as_ref));
    let is_missing = |kept: &&PodToKeep| !there.contains_key(kept.pod.uid.as_str());
    keep.iter().filter(is_missing).map(|kept| kept.pod.name.clone()).collect()
}

/// Returns the names of the pods to keep that do not exist, where fewer than that are to be kept.
pub(super) fn gone_pods(intent: &Intent, pods: &[Arc<Pod>]) -> Vec<String> {
    let missing = names_of_missing(&intent.keep, pods);
    let spare = intent.keep.len().saturating_sub(intent.after as usize);
    if missing.len() <= spare { Vec::new() } else { missing }
}

/// Returns the names of the pods to keep that the controllers removed while another pod from before stays in their
/// place. A pod that ended for any other reason, such as the loss of its node, is replaced by a new one.
pub(super) fn displaced_pods(
    intent: &Intent,
    gone_before: &[String],
    active_pods: &[Arc<Pod>],
) -> Vec<String> {
    let mut gone = gone_pods(intent, active_pods);
    gone.retain(|name| !gone_before.contains(name));
    let kept: BTreeSet<&str> = intent.keep.iter().map(|kept| kept.pod.uid.as_str()).collect();
    let active = by_uid(active_pods.iter().map(AsRef::as_ref));
    let is_other = |uid: &&str| active.contains_key(uid) && !kept.contains(uid);
    let before = intent.before.pods.iter().map(|pod| pod.uid.as_str());
    let others = before.filter(is_other).count();
    let free_places = (intent.after as usize).saturating_sub(intent.keep.len()) + gone_before.len();
    if others <= free_places { Vec::new() } else { gone }
}
