//! Waits for a rollout of a deployment that is in progress, or refuses it. While there are pods of two revisions, the
//! pods are more than the deployment is to have, and each of them may soon be replaced.

use k8s_openapi::api::apps::v1::Deployment;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    Error, Progress, Result,
    workload::{self, WorkloadSnapshot},
};
use crate::platform::{
    kubernetes::{KubernetesReader, rollout},
    wait::{self, GraceTimer, WaitState},
};
use clock::Clock;

/// The remedy for a rollout that does not end.
const HINT: &str = "`kubectl rollout status` shows the rollout; `kubectl rollout undo` returns to the revision before";

/// The reaction to a rollout that is in progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutInProgress {
    /// Wait until it has ended, and fail early when it is stuck.
    #[default]
    Wait,
    /// Fail at once.
    Refuse,
}

/// The timers of the two problems: failing pods, and a late rollout.
pub(super) struct RolloutTimers {
    give_up_after: runbook::Duration,
    clock: Clock,
    pods: GraceTimer,
    rollout: GraceTimer,
}

impl RolloutTimers {
    pub(super) fn new(give_up_after: runbook::Duration, clock: Clock) -> Self {
        let timer = || GraceTimer::new(clock.deadline(give_up_after.std()));
        Self { give_up_after, clock, pods: timer(), rollout: timer() }
    }
}

/// Returns the deployment with its pods when no rollout is in progress.
///
/// # Errors
/// A rollout is in progress and is refused, or can no longer end by itself.
pub(super) async fn settled_snapshot(
    deployment: Deployment,
    policy: RolloutInProgress,
    mut timers: RolloutTimers,
    kubernetes: &KubernetesReader,
    progress: &Progress,
) -> Result<WorkloadSnapshot> {
    let snapshot = workload::read_snapshot(kubernetes, deployment).await?;
    let Some(missing) = missing(&snapshot) else { return Ok(snapshot) };
    let target = snapshot.target();
    if policy == RolloutInProgress::Refuse {
        let message = format!("a rollout of {target} is in progress: {missing}");
        return Err(Error::precondition(message).with_hint(HINT));
    }
    let mut watch = workload::watch(kubernetes, &snapshot.deployment, timers.clock, progress);
    let views = watch.views();
    let mut sources = watch.sources();
    let settled = wait::until(progress, &mut sources, || match views.snapshot() {
        Some(snapshot) => evaluate(&snapshot, &mut timers).map(|()| snapshot),
        None => WaitState::failed(format!("{target} no longer exists")),
    });
    Ok(settled.await?)
}

/// Returns whether a rollout has ended, is in progress, or can no longer end by itself. Pods that are not ready are no
/// rollout when they are all of the same revision.
pub(super) fn evaluate(snapshot: &WorkloadSnapshot, timers: &mut RolloutTimers) -> WaitState<()> {
    let Some(missing) = missing(snapshot) else { return WaitState::Ready(()) };
    let of = format!("rollout of {}", snapshot.target());
    if let Some(why) = snapshot.expired_problem(&mut timers.pods, snapshot.newest_pods()) {
        let message = format!("{of} is stuck: {why} (for {})", timers.give_up_after);
        return WaitState::Failed(wait::Failure::from(message).with_hint(HINT));
    }
    if !snapshot.is_observed() {
        return WaitState::Pending(format!("{of}: {missing}"));
    }
    if rollout::is_paused(&snapshot.deployment) {
        let message = format!("{of} is paused: {missing}");
        let hint = "resume it with `kubectl rollout resume`";
        return WaitState::Failed(wait::Failure::from(message).with_hint(hint));
    }
    match timers.rollout.tolerate(Instant::now(), rollout::status(&snapshot.deployment)) {
        WaitState::Failed(failure) => {
            let failure = failure.map_message(|why| format!("{of} failed: {why}"));
            WaitState::Failed(failure.with_hint(HINT))
        }
        WaitState::Pending(what) => WaitState::Pending(format!("{of}: {what}")),
        WaitState::Ready(()) => WaitState::Pending(format!("{of}: {missing}")),
    }
}

/// Returns what is missing to the end of a rollout in progress; none when no rollout is.
fn missing(snapshot: &WorkloadSnapshot) -> Option<String> {
    if !snapshot.is_observed() {
        return Some("the deployment controller has not seen the last change yet".into());
    }
    let revisions = snapshot.sized_sets().count();
    if revisions > 1 {
        return Some(format!("there are pods of {revisions} revisions"));
    }
    // The replica sets are told first, and delete their pods then.
    if snapshot.active_pods().len() > snapshot.sized_total() as usize {
        return Some("pods that are to go are not deleted yet".into());
    }
    // The strategy Recreate removes the old pods before the new replica set has any.
    (snapshot.sized_total() < snapshot.replicas())
        .then(|| "the pods of the new revision are not created yet".into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::actions::pod_causes::CauseView;
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use serde_json::json;

    /// A deployment that is to have three pods, with replica sets of these sizes, and pods of the one of three.
    fn snapshot(observed: i64, sizes: &[i32], pods: usize) -> WorkloadSnapshot {
        let deployment = json!({
            "metadata": {"name": "d", "namespace": "n", "uid": "1", "generation": 2},
            "spec": {"replicas": 3, "selector": {}, "template": {}},
            "status": {"observedGeneration": observed},
        });
        let owner = json!([{
            "apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "1", "controller": true,
        }]);
        let set = |size: &i32| -> Arc<ReplicaSet> {
            let set = json!({
                "metadata": {"name": format!("d-{size}"), "uid": format!("d-{size}"), "ownerReferences": owner},
                "spec": {"replicas": size, "selector": {}},
            });
            Arc::new(serde_json::from_value(set).unwrap())
        };
        let sets = sizes.iter().map(set).collect();
        let deployment = Arc::new(serde_json::from_value(deployment).unwrap());
        let owner = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "d-3", "uid": "d-3", "controller": true,
        }]);
        let pod = json!({"metadata": {"name": "p", "ownerReferences": owner}});
        let pod = Arc::new(serde_json::from_value(pod).unwrap());
        let pods = vec![pod; pods];
        WorkloadSnapshot::new(deployment, sets, pods, CauseView::default())
    }

    #[test]
    fn a_rollout_is_in_progress_until_one_replica_set_has_all_pods() {
        let missing = |observed, sizes: &[i32]| missing(&snapshot(observed, sizes, 0));
        assert_eq!(missing(2, &[3]), None);
        assert_eq!(missing(2, &[0, 3, 0]), None);
        assert!(missing(1, &[3]).unwrap().contains("has not seen"));
        assert_eq!(missing(2, &[3, 1]).unwrap(), "there are pods of 2 revisions");
        assert!(missing(2, &[0]).unwrap().contains("not created yet"), "Recreate");
        assert!(missing(2, &[]).unwrap().contains("not created yet"), "a new deployment");
    }

    #[test]
    fn a_rollout_is_in_progress_until_the_old_pods_are_deleted() {
        assert_eq!(missing(&snapshot(2, &[3, 0], 3)), None);
        assert!(missing(&snapshot(2, &[3, 0], 4)).unwrap().contains("not deleted yet"));
    }
}
