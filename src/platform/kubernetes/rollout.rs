//! When the rollout of a deployment, a stateful set or a daemon set is done, as `kubectl rollout status` decides it,
//! and when it never will be. Pure functions. kube's own `is_deployment_completed` ignores `observedGeneration` and so
//! calls a rollout done before the controller has seen it.

use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetStatus, Deployment, DeploymentStatus, StatefulSet, StatefulSetStatus,
};

use crate::platform::wait::{Failure, WaitState};
use text::plural;

/// The state of the rollout of a deployment's current template.
pub fn status(deployment: &Deployment) -> WaitState<()> {
    let counts = Counts::of(deployment);
    if !is_observed(deployment) {
        return WaitState::Pending("the deployment controller has not seen the change yet".into());
    }
    if let Some(why) = deadline_exceeded(deployment) {
        return WaitState::failed(format!("{why} ({})", counts.describe()));
    }
    match counts.missing() {
        None => WaitState::Ready(()),
        Some(_) if is_paused(deployment) => {
            let paused = Failure::from("the deployment is paused");
            WaitState::Failed(paused.with_hint("resume it with `kubectl rollout resume`"))
        }
        Some(missing) => WaitState::Pending(missing),
    }
}

/// Returns the state of the rollout of a stateful set's current template. Pods below the partition of its strategy keep
/// their template.
pub fn stateful_set_status(set: &StatefulSet) -> WaitState<()> {
    if let Some(missing) = stateful_set_in_progress(set) {
        return WaitState::Pending(missing);
    }
    let unset = StatefulSetStatus::default();
    let status = set.status.as_ref().unwrap_or(&unset);
    let wanted = set.spec.replicas.unwrap_or(1);
    let ready = status.ready_replicas.unwrap_or(0);
    if ready < wanted {
        return WaitState::Pending(format!("{ready} of {} ready", count(wanted, "pod")));
    }
    WaitState::Ready(())
}

/// Returns what is missing until all pods of a stateful set that are to have its current template have it; none when
/// nothing is.
pub fn stateful_set_in_progress(set: &StatefulSet) -> Option<String> {
    let unset = StatefulSetStatus::default();
    let status = set.status.as_ref().unwrap_or(&unset);
    if set.metadata.generation.unwrap_or(0) > status.observed_generation.unwrap_or(0) {
        return Some("the statefulset controller has not seen the change yet".into());
    }
    let strategy = set.spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
    let due = set.spec.replicas.unwrap_or(1).saturating_sub(partition).max(0);
    // Once all pods have it, the new revision is the current one, and no pod counts as updated.
    let is_complete = status.update_revision == status.current_revision;
    let updated = status.updated_replicas.unwrap_or(0);
    (!is_complete && updated < due)
        .then(|| format!("{updated} of {} created", count(due, "new pod")))
}

/// Returns the state of the rollout of a daemon set's current template.
pub fn daemon_set_status(set: &DaemonSet) -> WaitState<()> {
    if let Some(missing) = daemon_set_in_progress(set) {
        return WaitState::Pending(missing);
    }
    let unset = DaemonSetStatus::default();
    let status = set.status.as_ref().unwrap_or(&unset);
    let wanted = status.desired_number_scheduled;
    let available = status.number_available.unwrap_or(0);
    if available < wanted {
        return WaitState::Pending(format!("{available} of {} available", count(wanted, "pod")));
    }
    WaitState::Ready(())
}

/// Returns what is missing until all pods of a daemon set have its current template; none when nothing is.
pub fn daemon_set_in_progress(set: &DaemonSet) -> Option<String> {
    let unset = DaemonSetStatus::default();
    let status = set.status.as_ref().unwrap_or(&unset);
    if set.metadata.generation.unwrap_or(0) > status.observed_generation.unwrap_or(0) {
        return Some("the daemonset controller has not seen the change yet".into());
    }
    let (wanted, updated) =
        (status.desired_number_scheduled, status.updated_number_scheduled.unwrap_or(0));
    (updated < wanted).then(|| format!("{updated} of {} created", count(wanted, "new pod")))
}

/// Whether changes to the template are held back.
pub fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.paused.unwrap_or(false)
}

struct Counts {
    wanted: i32,
    updated: i32,
    total: i32,
    available: i32,
}

impl Counts {
    fn of(deployment: &Deployment) -> Self {
        let unset = DeploymentStatus::default();
        let status = deployment.status.as_ref().unwrap_or(&unset);
        Self {
            wanted: deployment.spec.replicas.unwrap_or(1),
            updated: status.updated_replicas.unwrap_or(0),
            total: status.replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
        }
    }

    fn missing(&self) -> Option<String> {
        if self.updated < self.wanted {
            return Some(format!("{} of {} created", self.updated, count(self.wanted, "new pod")));
        }
        if self.total > self.updated {
            return Some(format!("{} still running", count(self.total - self.updated, "old pod")));
        }
        if self.available < self.updated {
            return Some(format!(
                "{} of {} available",
                self.available,
                count(self.updated, "new pod")
            ));
        }
        None
    }

    fn describe(&self) -> String {
        format!("{} wanted, {} updated, {} available", self.wanted, self.updated, self.available)
    }
}

/// Returns a number of pods with their noun. Kubernetes has signed numbers, but no count is negative.
fn count(pods: i32, noun: &str) -> String {
    plural(usize::try_from(pods).unwrap_or(0), noun)
}

fn is_observed(deployment: &Deployment) -> bool {
    let observed =
        deployment.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
    deployment.metadata.generation.unwrap_or(0) <= observed
}

fn deadline_exceeded(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let progressing =
        conditions.iter().find(|condition| condition.type_.as_deref() == Some("Progressing"))?;
    if progressing.reason.as_deref() != Some("ProgressDeadlineExceeded") {
        return None;
    }
    let message = progressing.message.as_deref().unwrap_or("the progress deadline is exceeded");
    Some(format!("ProgressDeadlineExceeded: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// generation, observedGeneration, wanted, total, updated, available
    fn deployment(numbers: [i32; 6]) -> Deployment {
        let [generation, observed, wanted, total, updated, available] = numbers;
        serde_json::from_value(json!({
            "metadata": {"name": "d", "generation": generation},
            "spec": {"replicas": wanted, "selector": {}, "template": {}},
            "status": {
                "observedGeneration": observed, "replicas": total,
                "updatedReplicas": updated, "availableReplicas": available,
            },
        }))
        .unwrap()
    }

    fn pending(why: &str) -> WaitState<()> {
        WaitState::Pending(why.into())
    }

    #[test]
    fn each_condition_in_turn() {
        let cases = [
            ([5, 4, 3, 3, 3, 3], pending("the deployment controller has not seen the change yet")),
            ([5, 5, 3, 4, 1, 3], pending("1 of 3 new pods created")),
            ([5, 5, 3, 4, 3, 3], pending("1 old pod still running")),
            ([5, 5, 3, 3, 3, 2], pending("2 of 3 new pods available")),
            ([5, 5, 3, 3, 3, 3], WaitState::Ready(())),
            ([5, 6, 3, 3, 3, 3], WaitState::Ready(())),
            ([1, 1, 0, 0, 0, 0], WaitState::Ready(())),
        ];
        for (numbers, state) in cases {
            assert_eq!(status(&deployment(numbers)), state, "{numbers:?}");
        }
    }

    #[test]
    fn a_stateful_set_is_rolled_out_when_its_due_pods_are_new_and_all_are_ready() {
        // generation, observedGeneration, replicas, partition, updated, ready
        let state = |numbers: [i32; 6], current: &str| {
            let [generation, observed, wanted, partition, updated, ready] = numbers;
            let set: StatefulSet = serde_json::from_value(json!({
                "metadata": {"name": "s", "generation": generation},
                "spec": {
                    "replicas": wanted, "selector": {}, "template": {},
                    "updateStrategy": {"rollingUpdate": {"partition": partition}},
                },
                "status": {
                    "observedGeneration": observed, "replicas": wanted, "updatedReplicas": updated,
                    "readyReplicas": ready, "currentRevision": current, "updateRevision": "new",
                },
            }))
            .unwrap();
            stateful_set_status(&set)
        };
        let unseen = pending("the statefulset controller has not seen the change yet");
        assert_eq!(state([5, 4, 3, 0, 3, 3], "new"), unseen);
        assert_eq!(state([5, 5, 3, 0, 1, 3], "old"), pending("1 of 3 new pods created"));
        assert_eq!(state([5, 5, 3, 0, 3, 2], "old"), pending("2 of 3 pods ready"));
        assert_eq!(state([5, 5, 3, 0, 0, 3], "new"), WaitState::Ready(()));
        assert_eq!(state([5, 5, 3, 2, 1, 3], "old"), WaitState::Ready(()), "two keep theirs");
        assert_eq!(state([5, 5, 3, 9, 0, 3], "old"), WaitState::Ready(()), "all keep theirs");
    }

    #[test]
    fn a_daemon_set_is_rolled_out_when_all_pods_are_new_and_available() {
        let state = |[observed, updated, available]: [i32; 3]| {
            let set: DaemonSet = serde_json::from_value(json!({
                "metadata": {"name": "d", "generation": 2},
                "spec": {"selector": {}, "template": {}},
                "status": {
                    "observedGeneration": observed, "currentNumberScheduled": 3,
                    "desiredNumberScheduled": 3, "numberMisscheduled": 0, "numberReady": available,
                    "updatedNumberScheduled": updated, "numberAvailable": available,
                },
            }))
            .unwrap();
            daemon_set_status(&set)
        };
        let unseen = pending("the daemonset controller has not seen the change yet");
        assert_eq!(state([1, 3, 3]), unseen);
        assert_eq!(state([2, 1, 3]), pending("1 of 3 new pods created"));
        assert_eq!(state([2, 3, 2]), pending("2 of 3 pods available"));
        assert_eq!(state([2, 3, 3]), WaitState::Ready(()));
    }

    #[test]
    fn an_exceeded_deadline_counts_only_for_the_generation_that_was_seen() {
        let mut late = deployment([5, 5, 3, 4, 1, 3]);
        let conditions = json!([{
            "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
            "message": "ReplicaSet \"d-2\" has timed out progressing.",
        }]);
        late.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
        assert_eq!(
            status(&late),
            WaitState::failed(
                "ProgressDeadlineExceeded: ReplicaSet \"d-2\" has timed out progressing. (3 wanted, 1 updated, 3 \
                 available)"
            )
        );
        late.metadata.generation = Some(6);
        assert!(matches!(status(&late), WaitState::Pending(_)), "that was the rollout before");
    }

    #[test]
    fn a_paused_rollout_never_ends_but_a_finished_one_has() {
        let mut paused = deployment([5, 5, 3, 3, 0, 3]);
        paused.spec.paused = Some(true);
        assert!(matches!(status(&paused), WaitState::Failed(_)));
        let mut finished = deployment([5, 5, 3, 3, 3, 3]);
        finished.spec.paused = Some(true);
        assert_eq!(status(&finished), WaitState::Ready(()));
    }
}
