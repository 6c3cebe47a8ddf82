//! When a deployment's rollout is done, as `kubectl rollout status` decides it, and when it never will be.
//! A pure function. kube's own `is_deployment_completed` ignores `observedGeneration` and so calls a rollout done
//! before the controller has seen it.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};

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
