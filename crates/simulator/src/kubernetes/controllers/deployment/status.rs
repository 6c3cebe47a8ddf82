//! The status of a deployment: counts, availability, and the progress of a rollout.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubernetes::controllers::replica_set::{REPLICA_FAILURE, set_count};
use crate::kubernetes::controllers::rollout::{Bounds, replicas};
use crate::kubernetes::controllers::{ClusterView, ControllerPlan, Timers};
use crate::kubernetes::kinds::DEPLOYMENTS;
use crate::kubernetes::object::{
    self, condition, flag, list, number, put, remove_condition, set_condition, text, time, uid,
};

use super::{OwnedReplicaSets, PROGRESS, ProgressReason, REVISION, revision};

/// Writes the status.
pub(super) fn report(
    view: &ClusterView<'_>,
    timers: &mut Timers,
    plan: &mut ControllerPlan,
    deployment: &Value,
    owned: &OwnedReplicaSets<'_>,
    progress: Option<ProgressReason>,
) {
    let count = |field: &'static str| -> i64 {
        owned.all().map(|set| number(set, field).unwrap_or(0)).sum()
    };
    let updated = owned.newest.and_then(|set| number(set, "/status/replicas")).unwrap_or(0);
    let available = count("/status/availableReplicas");
    let mut reported = deployment.clone();
    let counts = [
        ("replicas", count("/status/replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", count("/status/readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (owned.sum(replicas) - available).max(0)),
    ];
    let generation = number(deployment, "/metadata/generation").unwrap_or(0);
    put(&mut reported, &["status", "observedGeneration"], generation);
    for (field, count) in counts {
        set_count(&mut reported, field, count);
    }
    let terminating = count("/status/terminatingReplicas");
    put(&mut reported, &["status", "terminatingReplicas"], terminating);
    if let Some(newest) = owned.newest.filter(|newest| revision(newest) != 0) {
        put(&mut reported, &["metadata", "annotations", REVISION], revision(newest).to_string());
    }
    report_availability(view, &mut reported, available);
    report_progress(view, timers, plan, deployment, &mut reported, owned, progress);
    report_failure(&mut reported, owned);
    if reported != *deployment {
        plan.update(&DEPLOYMENTS, reported);
    }
}

fn report_availability(view: &ClusterView<'_>, reported: &mut Value, available: i64) {
    let enough = available >= Bounds::of(reported).min_available();
    let wanted = if enough {
        json!({
            "type": "Available",
            "status": "True",
            "reason": "MinimumReplicasAvailable",
            "message": "Deployment has minimum availability.",
        })
    } else {
        json!({
            "type": "Available",
            "status": "False",
            "reason": "MinimumReplicasUnavailable",
            "message": "Deployment does not have minimum availability.",
        })
    };
    write_condition(view, reported, wanted);
}

/// Writes a condition with the time of its last update, which does not change if the condition does
/// not.
fn write_condition(view: &ClusterView<'_>, reported: &mut Value, mut wanted: Value) {
    wanted["lastUpdateTime"] = time(view.now).into();
    let kind = text(&wanted, "/type").to_owned();
    if set_condition(reported, wanted, view.now)
        && let Some(Value::Array(conditions)) = reported.pointer_mut("/status/conditions")
    {
        // The deployment controller moves a changed condition to the end of the list.
        conditions.sort_by_key(|condition| text(condition, "/type") == kind);
    }
}

/// Copies the failure of a replica set, the newest one first.
fn report_failure(reported: &mut Value, owned: &OwnedReplicaSets<'_>) {
    let failure = owned.all().find_map(|set| condition(set, REPLICA_FAILURE));
    let Some(failure) = failure else {
        remove_condition(reported, REPLICA_FAILURE);
        return;
    };
    let mut copied = failure.clone();
    copied["lastUpdateTime"] = failure["lastTransitionTime"].clone();
    if condition(reported, REPLICA_FAILURE) == Some(&copied) {
        return;
    }
    let mut conditions = list(reported, "/status/conditions").to_vec();
    conditions.retain(|known| text(known, "/type") != REPLICA_FAILURE);
    conditions.push(copied);
    put(reported, &["status", "conditions"], conditions);
}

fn report_progress(
    view: &ClusterView<'_>,
    timers: &mut Timers,
    plan: &mut ControllerPlan,
    deployment: &Value,
    reported: &mut Value,
    owned: &OwnedReplicaSets<'_>,
    progress: Option<ProgressReason>,
) {
    let progressing = |status: &str, reason: &str, message: String| {
        let kind = "Progressing";
        json!({"type": kind, "status": status, "reason": reason, "message": message})
    };
    let before = condition(deployment, "Progressing").map_or("", |c| text(c, "/reason"));
    if flag(deployment, "/spec/paused") {
        let message = "Deployment is paused".to_owned();
        write_condition(view, reported, progressing("Unknown", "DeploymentPaused", message));
        return;
    }
    if before == "DeploymentPaused" {
        timers.restart(PROGRESS, uid(deployment), view.time);
        let message = "Deployment is resumed".to_owned();
        write_condition(view, reported, progressing("Unknown", "DeploymentResumed", message));
        return;
    }
    if let Some((reason, message)) = progress {
        write_condition(view, reported, progressing("True", reason, message));
        is_deadline_exceeded(view, timers, plan, deployment);
        return;
    }
    let counts = |field: &str| number(reported, &format!("/status/{field}")).unwrap_or(0);
    let completed_before =
        before == "NewReplicaSetAvailable" && counts("replicas") == counts("updatedReplicas");
    if completed_before {
        return;
    }
    let set = owned.newest.map_or("", |set| object::name(set)).to_owned();
    if is_complete(deployment, &reported["status"]) {
        let message = format!("ReplicaSet {set:?} has successfully progressed.");
        write_condition(view, reported, progressing("True", "NewReplicaSetAvailable", message));
    } else if has_progressed(&deployment["status"], &reported["status"]) {
        timers.restart(PROGRESS, uid(deployment), view.time);
        let message = format!("ReplicaSet {set:?} is progressing.");
        write_condition(view, reported, progressing("True", "ReplicaSetUpdated", message));
        is_deadline_exceeded(view, timers, plan, deployment);
    } else if is_deadline_exceeded(view, timers, plan, deployment) {
        let message = format!("ReplicaSet {set:?} has timed out progressing.");
        write_condition(view, reported, progressing("False", "ProgressDeadlineExceeded", message));
    }
}

/// Returns whether the progress deadline is exceeded; otherwise requests a call for when it will
/// be.
fn is_deadline_exceeded(
    view: &ClusterView<'_>,
    timers: &mut Timers,
    plan: &mut ControllerPlan,
    deployment: &Value,
) -> bool {
    let Some(seconds) = number(deployment, "/spec/progressDeadlineSeconds") else {
        return false;
    };
    let since = timers.since(PROGRESS, uid(deployment), view.time);
    let end = view.deadline(since, Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    if end > view.time {
        plan.requeue_at(end);
    }
    end <= view.time
}

pub(super) fn is_complete(deployment: &Value, status: &Value) -> bool {
    let wanted = number(deployment, "/spec/replicas").unwrap_or(1);
    let all = ["replicas", "updatedReplicas", "availableReplicas"];
    all.iter().all(|field| status[*field].as_i64().unwrap_or(0) == wanted)
        && status["observedGeneration"].as_i64() >= number(deployment, "/metadata/generation")
}

fn has_progressed(old: &Value, new: &Value) -> bool {
    let count = |status: &Value, field: &str| status[field].as_i64().unwrap_or(0);
    let outdated = |status: &Value| count(status, "replicas") - count(status, "updatedReplicas");
    outdated(new) < outdated(old)
        || ["updatedReplicas", "readyReplicas", "availableReplicas"]
            .iter()
            .any(|field| count(new, field) > count(old, field))
}
