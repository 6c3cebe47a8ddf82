//! The rollouts of workloads that the run changes: paused, stuck or in progress.

use serde_json::Value;

use super::{
    error,
    evidence::{ChangedObject, Evidence, number, text},
    warning,
};
use crate::plan::model::Finding;

/// The actions that begin a rollout, or wait for pods of one.
const BEGIN_ROLLOUTS: [&str; 3] = ["rollout_restart", "scale_deployment", "set_image"];

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Finding> {
    // A step that undoes a rollout is there to repair it, and a size or a note can be changed in the middle of one.
    let begins_rollout = |changed: &ChangedObject<'_>| {
        let step = evidence.steps.iter().find(|step| step.path == *changed.step);
        step.is_some_and(|step| BEGIN_ROLLOUTS.contains(&step.action.as_str()))
    };
    let changed = evidence.changed_once("deployment").into_iter().filter(begins_rollout);
    changed.filter_map(|changed| rollout(evidence, &changed)).collect()
}

fn rollout(evidence: &Evidence<'_>, changed: &ChangedObject<'_>) -> Option<Finding> {
    let deployment = evidence.object("Deployment", changed.name)?;
    let name = changed.name;
    if deployment.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        let found = error("rollout_paused", format!("the rollout of deployment {name} is paused"))
            .because("its spec.paused is true")
            .hint(format!("resume it (`kubectl rollout resume`) or find out who paused {name}"));
        return Some(found.at(changed.step));
    }
    let progressing = condition(deployment, "Progressing");
    if let Some(progressing) = progressing.filter(|found| text(found, "/status") == "False") {
        let found = error("rollout_stuck", format!("the rollout of deployment {name} is stuck"))
            .because(format!(
                "its condition Progressing is False: {}: {}",
                text(progressing, "/reason"),
                text(progressing, "/message")
            ))
            .hint("repair or undo the rollout first");
        return Some(found.at(changed.step));
    }
    let count = |pointer| number(deployment, pointer).unwrap_or(0);
    let wanted = number(deployment, "/spec/replicas").unwrap_or(1);
    let (updated, available, total) = (
        count("/status/updatedReplicas"),
        count("/status/availableReplicas"),
        count("/status/replicas"),
    );
    let is_observed = count("/status/observedGeneration")
        >= number(deployment, "/metadata/generation").unwrap_or(0);
    if is_observed && updated >= wanted && total <= updated && available >= wanted {
        return None;
    }
    let found = warning(
        "rollout_in_progress",
        format!("the rollout of deployment {name} is in progress, or pods of it are not available"),
    )
    .because(format!(
        "of {wanted} wanted pods {updated} are updated and {available} are available, {total} exist"
    ))
    .hint("the step waits for it or fails; start the run when it is over");
    Some(found.at(changed.step))
}

fn condition<'v>(object: &'v Value, kind: &str) -> Option<&'v Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| text(condition, "/type") == kind)
}
