//! What a deployment's status says of its replica sets: counts, availability, and whether a rollout
//! makes progress.

use std::time::Duration;

use serde_json::{Value, json};

use crate::simulator::kubernetes::controllers::replica_set::set_count;
use crate::simulator::kubernetes::controllers::rollout::{Bounds, replicas};
use crate::simulator::kubernetes::controllers::{Memory, Plan, View};
use crate::simulator::kubernetes::object::{
    condition, flag, name, number, put, set_condition, text, time, uid,
};
use crate::simulator::kubernetes::resources::DEPLOYMENTS;

use super::{Family, Note, PROGRESS, REVISION, revision};

/// Writes the status.
pub(super) fn report(
    view: &View<'_>,
    memory: &mut Memory,
    plan: &mut Plan,
    deployment: &Value,
    family: &Family<'_>,
    note: Option<Note>,
) {
    let count = |field: &'static str| -> i64 {
        family.all().map(|set| number(set, field).unwrap_or(0)).sum()
    };
    let updated = family.newest.and_then(|set| number(set, "/status/replicas")).unwrap_or(0);
    let available = count("/status/availableReplicas");
    let mut reported = deployment.clone();
    let counts = [
        ("replicas", count("/status/replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", count("/status/readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (family.sum(replicas) - available).max(0)),
    ];
    let generation = number(deployment, "/metadata/generation").unwrap_or(0);
    put(&mut reported, &["status", "observedGeneration"], generation);
    for (field, count) in counts {
        set_count(&mut reported, field, count);
    }
    let terminating = count("/status/terminatingReplicas");
    put(&mut reported, &["status", "terminatingReplicas"], terminating);
    if let Some(newest) = family.newest.filter(|newest| revision(newest) != 0) {
        put(&mut reported, &["metadata", "annotations", REVISION], revision(newest).to_string());
    }
    report_availability(view, &mut reported, available);
    report_progress(view, memory, plan, deployment, &mut reported, family, note);
    if reported != *deployment {
        plan.update(&DEPLOYMENTS, reported);
    }
}

fn report_availability(view: &View<'_>, reported: &mut Value, available: i64) {
    let enough = available >= Bounds::of(reported).least_available();
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

/// Writes a condition with the time of its last update, which is kept when nothing changed.
fn write_condition(view: &View<'_>, reported: &mut Value, mut wanted: Value) {
    wanted["lastUpdateTime"] = time(view.now).into();
    let kind = text(&wanted, "/type").to_owned();
    if set_condition(reported, wanted, view.now)
        && let Some(Value::Array(conditions)) = reported.pointer_mut("/status/conditions")
    {
        // This controller puts what has changed behind what has not.
        conditions.sort_by_key(|condition| text(condition, "/type") == kind);
    }
}

fn report_progress(
    view: &View<'_>,
    memory: &mut Memory,
    plan: &mut Plan,
    deployment: &Value,
    reported: &mut Value,
    family: &Family<'_>,
    note: Option<Note>,
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
        memory.restart(PROGRESS, uid(deployment), view.now);
        let message = "Deployment is resumed".to_owned();
        write_condition(view, reported, progressing("Unknown", "DeploymentResumed", message));
        return;
    }
    if let Some((reason, message)) = note {
        write_condition(view, reported, progressing("True", reason, message));
        call_at_deadline(view, memory, plan, deployment);
        return;
    }
    let counts = |field: &str| number(reported, &format!("/status/{field}")).unwrap_or(0);
    let settled =
        before == "NewReplicaSetAvailable" && counts("replicas") == counts("updatedReplicas");
    if settled {
        return;
    }
    let set = family.newest.map_or("", |set| name(set)).to_owned();
    if is_complete(deployment, &reported["status"]) {
        let message = format!("ReplicaSet {set:?} has successfully progressed.");
        write_condition(view, reported, progressing("True", "NewReplicaSetAvailable", message));
    } else if has_progressed(&deployment["status"], &reported["status"]) {
        memory.restart(PROGRESS, uid(deployment), view.now);
        let message = format!("ReplicaSet {set:?} is progressing.");
        write_condition(view, reported, progressing("True", "ReplicaSetUpdated", message));
        call_at_deadline(view, memory, plan, deployment);
    } else if call_at_deadline(view, memory, plan, deployment) {
        let message = format!("ReplicaSet {set:?} has timed out progressing.");
        write_condition(view, reported, progressing("False", "ProgressDeadlineExceeded", message));
    }
}

/// Whether the progress deadline is over; else the controller is called again when it is.
fn call_at_deadline(
    view: &View<'_>,
    memory: &mut Memory,
    plan: &mut Plan,
    deployment: &Value,
) -> bool {
    let Some(seconds) = number(deployment, "/spec/progressDeadlineSeconds") else {
        return false;
    };
    let since = memory.since(PROGRESS, uid(deployment), view.now);
    let end = view.end(since, Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    if end > view.now {
        plan.call_again(end);
    }
    end <= view.now
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
