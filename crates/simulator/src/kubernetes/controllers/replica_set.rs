//! The replica set controller: creates and deletes pods until a set has its size, and reports their
//! status.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubernetes::object::{
    self, condition, controller, is_controlled_by, is_terminating, is_true, label, list, moment,
    number, put, put_default, remove_condition, set_condition, text, uid,
};
use crate::kubernetes::resources::{PODS, REPLICA_SETS};
use crate::kubernetes::selectors::selects;
use crate::kubernetes::status_error::StatusError;
use crate::kubernetes::write::{ObjectPart, ObjectWriter};

use super::{ClusterView, ControllerPlan, Timers, events, pod_deletion_order};

const COMPONENT: &str = "replicaset-controller";

/// The condition of a set, and of its deployment, whose pods are rejected.
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The shortest and the longest time until rejected pods are tried again. It doubles in between.
const MIN_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_mins(1);

/// The number of pods that are created in one call, which is the real controller's burst limit.
const BURST_REPLICAS: usize = 500;

pub(super) fn plan(view: &ClusterView<'_>, timers: &mut Timers) -> ControllerPlan {
    let mut plan = ControllerPlan::default();
    for set in view.store.list(&REPLICA_SETS, None) {
        reconcile(view, timers, &mut plan, set);
    }
    plan
}

fn reconcile(view: &ClusterView<'_>, timers: &mut Timers, plan: &mut ControllerPlan, set: &Value) {
    let namespace = object::namespace(set);
    let mut active = Vec::new();
    let mut terminating = 0;
    for pod in view.store.list(&PODS, Some(namespace)) {
        if !claim(plan, set, pod) {
            continue;
        }
        match (is_terminating(pod), is_finished(pod)) {
            (true, false) => terminating += 1,
            (false, false) => active.push(&**pod),
            (_, true) => {}
        }
    }
    let wanted = usize::try_from(number(set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
    if !is_terminating(set) {
        resize(view, plan, set, &active, wanted);
    }
    report(view, timers, plan, set, &active, terminating);
}

fn is_finished(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn is_active(pod: &Value) -> bool {
    !is_terminating(pod) && !is_finished(pod)
}

/// Returns whether the pod belongs to the set. A matching pod without a controller is adopted; a
/// pod that no longer matches is released.
fn claim(plan: &mut ControllerPlan, set: &Value, pod: &Value) -> bool {
    let fits = selects(set.pointer("/spec/selector"), pod);
    let owned = is_controlled_by(pod, uid(set));
    if owned && !fits && !is_terminating(pod) {
        let others: Vec<Value> = list(pod, "/metadata/ownerReferences")
            .iter()
            .filter(|owner| text(owner, "/uid") != uid(set))
            .cloned()
            .collect();
        let mut freed = pod.clone();
        put(&mut freed, &["metadata", "ownerReferences"], others);
        plan.update(&PODS, freed);
        return false;
    }
    if fits && controller(pod).is_none() && !is_terminating(pod) && !is_terminating(set) {
        let mut adopted = pod.clone();
        let mut owners = list(pod, "/metadata/ownerReferences").to_vec();
        owners.push(owner_reference(set));
        put(&mut adopted, &["metadata", "ownerReferences"], owners);
        plan.update(&PODS, adopted);
        return true;
    }
    owned
}

/// Returns a controller reference to the owner.
pub(super) fn owner_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": object::name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

fn resize(
    view: &ClusterView<'_>,
    plan: &mut ControllerPlan,
    set: &Value,
    active: &[&Value],
    wanted: usize,
) {
    if active.len() < wanted {
        let count = (wanted - active.len()).min(BURST_REPLICAS);
        plan.create_pods(set, (0..count).map(|_| pod_from_template(set)).collect());
        // What rejects pods may be something that this controller does not read.
        if let Some(failure) = condition(set, REPLICA_FAILURE) {
            let since = moment(failure, "/lastTransitionTime").unwrap_or(view.now);
            let elapsed = Duration::try_from(view.now.duration_since(since)).unwrap_or_default();
            let delay = |nominal| view.settings.clock.delay(nominal);
            let pause = elapsed.clamp(delay(MIN_RETRY), delay(MAX_RETRY));
            plan.requeue_at(view.now + pause);
        }
    }
    if active.len() > wanted {
        let mut order = active.to_vec();
        pod_deletion_order::sort(&mut order, &related_pods(view, set), view.now);
        for pod in order.iter().take(active.len() - wanted) {
            let message = format!("Deleted pod: {}", object::name(pod));
            plan.event(events::normal(COMPONENT, set, "SuccessfulDelete", message));
            plan.delete(&PODS, pod);
        }
    }
}

/// Creates the pods that a set lacks, up to the first one that is rejected, and returns whether anything changed. A
/// rejection is reported in the status of the set and by an event.
pub(super) fn create_pods(
    writer: &mut ObjectWriter<'_>,
    set: &Value,
    pods: Vec<Value>,
) -> Result<bool, StatusError> {
    let namespace = object::namespace(set);
    let mut created = 0;
    let mut rejection = None;
    for pod in pods {
        match writer.create(&PODS, namespace, pod) {
            Ok(_) => created += 1,
            Err(error) => {
                rejection = Some(error.message);
                break;
            }
        }
    }
    if created > 0 {
        let message = format!("Created {created} pod(s)");
        events::record(writer, &events::normal(COMPONENT, set, "SuccessfulCreate", message))?;
    }
    if let Some(why) = &rejection {
        let message = format!("Error creating: {why}");
        events::record(writer, &events::warning(COMPONENT, set, "FailedCreate", message))?;
    }
    // The condition keeps the message of the first rejection.
    let is_reported = condition(set, REPLICA_FAILURE).is_some();
    if rejection.is_some() == is_reported {
        return Ok(created > 0);
    }
    let now = writer.now;
    let name = object::name(set);
    let written = writer.update(&REPLICA_SETS, namespace, name, ObjectPart::Whole, |current| {
        let mut reported = current.clone();
        match rejection {
            Some(why) => {
                let failure = json!({
                    "type": REPLICA_FAILURE,
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": why,
                });
                set_condition(&mut reported, failure, now);
            }
            None => remove_condition(&mut reported, REPLICA_FAILURE),
        }
        Ok(reported)
    })?;
    Ok(created > 0 || written.changed)
}

/// Returns the active pods of every set that has the same owner as this one.
fn related_pods<'a>(view: &ClusterView<'a>, set: &Value) -> Vec<&'a Value> {
    let namespace = object::namespace(set).to_owned();
    let owner = controller(set).map(|owner| text(owner, "/uid").to_owned());
    let sets: Vec<&str> = view
        .store
        .list(&REPLICA_SETS, None)
        .filter(|other| match &owner {
            Some(owner) => is_controlled_by(other, owner),
            None => uid(other) == uid(set),
        })
        .map(|other| uid(other))
        .collect();
    view.store
        .list(&PODS, None)
        .map(AsRef::as_ref)
        .filter(|pod: &&Value| {
            object::namespace(pod) == namespace
                && is_active(pod)
                && controller(pod).is_some_and(|owner| sets.contains(&text(owner, "/uid")))
        })
        .collect()
}

fn pod_from_template(set: &Value) -> Value {
    let template = &set["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    if !metadata.is_object() {
        metadata = json!({});
    }
    metadata["generateName"] = format!("{}-", object::name(set)).into();
    metadata["namespace"] = object::namespace(set).into();
    metadata["ownerReferences"] = json!([owner_reference(set)]);
    json!({"metadata": metadata, "spec": template["spec"]})
}

fn report(
    view: &ClusterView<'_>,
    timers: &mut Timers,
    plan: &mut ControllerPlan,
    set: &Value,
    active: &[&Value],
    terminating: usize,
) {
    let labels = set.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
    let fully_labeled = active.iter().filter(|pod| {
        labels.is_none_or(|labels| {
            labels.iter().all(|(key, value)| label(pod, key) == value.as_str())
        })
    });
    let fully_labeled = fully_labeled.count();
    let ready: Vec<&&Value> = active.iter().filter(|pod| is_true(pod, "Ready")).collect();
    let seconds = number(set, "/spec/minReadySeconds").unwrap_or(0);
    let min_ready = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let mut available = 0;
    for pod in &ready {
        let end = view.deadline(timers.since("ready", uid(pod), view.now), min_ready);
        if end <= view.now {
            available += 1;
        } else {
            plan.requeue_at(end);
        }
    }
    let mut reported = set.clone();
    put_default(&mut reported, &["status"], json!({}));
    let counts = [
        ("fullyLabeledReplicas", fully_labeled),
        ("readyReplicas", ready.len()),
        ("availableReplicas", available),
    ];
    put(&mut reported, &["status", "replicas"], active.len());
    put(&mut reported, &["status", "terminatingReplicas"], terminating);
    for (field, count) in counts {
        set_count(&mut reported, field, object::as_count(count));
    }
    let generation = number(set, "/metadata/generation").unwrap_or(0);
    put(&mut reported, &["status", "observedGeneration"], generation);
    let wanted = number(set, "/spec/replicas").unwrap_or(1);
    if object::as_count(active.len()) >= wanted {
        remove_condition(&mut reported, REPLICA_FAILURE);
    }
    if reported != *set {
        plan.update(&REPLICA_SETS, reported);
    }
}

/// Writes a count of the status; a count of 0 is omitted.
pub(super) fn set_count(object: &mut Value, field: &str, count: i64) {
    if count == 0 {
        crate::kubernetes::object::remove(object, &["status", field]);
    } else {
        put(object, &["status", field], count);
    }
}
