//! The replica set controller: creates and deletes pods until a set has its size, and reports their
//! status.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kubernetes::index::Index;
use crate::kubernetes::kinds::{LIMIT_RANGES, PODS, REPLICA_SETS, RESOURCE_QUOTAS};
use crate::kubernetes::object::{
    self, condition, controller, is_controlled_by, is_terminating, is_true, label, list, moment,
    number, put, put_default, remove_condition, set_condition, text, uid,
};
use crate::kubernetes::selectors::selects;
use crate::kubernetes::status_error::StatusError;
use crate::kubernetes::store::ObjectChange;
use crate::kubernetes::write::{ObjectPart, ObjectWriter};

use super::queue::{WorkKey, WorkQueue};
use super::{ClusterView, ControllerPlan, Reconcile, Timers, events, pod_deletion_order};

const COMPONENT: &str = "replicaset-controller";

/// The condition of a set, and of its deployment, whose pods are rejected.
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The shortest and the longest time until rejected pods are tried again. It doubles in between.
const MIN_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_mins(1);

/// The number of pods that are created in one call, which is the real controller's burst limit.
const BURST_REPLICAS: usize = 500;

/// The controller. For each set it remembers what counts of the set's pods, so that a change of a
/// pod costs the same however many pods the set has.
#[derive(Debug, Default)]
pub(super) struct ReplicaSetController {
    sets: HashMap<WorkKey, OwnPods>,
    /// The sets that have fewer pods than they want.
    lacking: BTreeSet<WorkKey>,
}

/// The pods of a set.
#[derive(Debug, Default)]
struct OwnPods {
    basis: Basis,
    /// The names of the pods that have changed since the set was last looked at.
    changed: BTreeSet<String>,
    /// The pods that belong to the set and have not ended, by name.
    pods: BTreeMap<String, OwnPod>,
    active: usize,
    terminating: usize,
    fully_labeled: usize,
    ready: usize,
    available: usize,
    /// The Ready pods that are not available yet, by the time at which they will be.
    becoming_available: BTreeSet<(Timestamp, String)>,
}

/// The part of a set that decides which pods belong to it and how they count. After a change of it all pods are
/// looked at again.
#[derive(Debug, Default, PartialEq)]
struct Basis {
    uid: String,
    selector: Value,
    labels: Value,
    min_ready_seconds: i64,
    is_terminating: bool,
}

/// The part of a pod that counts.
#[derive(Debug)]
struct OwnPod {
    uid: String,
    is_terminating: bool,
    is_fully_labeled: bool,
    /// Since when the controller has seen the pod Ready; `None` if it is not.
    ready_since: Option<Timestamp>,
    /// When the pod is or was available.
    available_at: Option<Timestamp>,
}

impl Reconcile for ReplicaSetController {
    fn observe(&mut self, view: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue) {
        let object = &change.object;
        let namespace = object::namespace(object);
        if *change.resource == REPLICA_SETS {
            queue.add(WorkKey::of(&REPLICA_SETS, object));
        } else if *change.resource == PODS {
            for pod in change.before.iter().chain([object]) {
                if let Some(owner) = controller(pod).filter(|o| text(o, "/kind") == "ReplicaSet") {
                    let key = WorkKey::named(&REPLICA_SETS, namespace, text(owner, "/name"));
                    self.note_pod(key, pod, queue);
                }
            }
            if !change.deleted && controller(object).is_none() && !is_terminating(object) {
                for set in view.list(&REPLICA_SETS, Some(namespace)) {
                    if selects(set.pointer("/spec/selector"), object) {
                        self.note_pod(WorkKey::of(&REPLICA_SETS, set), object, queue);
                    }
                }
            }
        } else if *change.resource == RESOURCE_QUOTAS || *change.resource == LIMIT_RANGES {
            let first = WorkKey::named(&REPLICA_SETS, namespace, "");
            let of_namespace = self.lacking.range(first..);
            for key in of_namespace.take_while(|key| key.namespace == namespace) {
                queue.add(key.clone());
            }
        }
    }

    fn reconcile(
        &mut self,
        view: &ClusterView<'_>,
        _: &mut Timers,
        plan: &mut ControllerPlan,
        key: &WorkKey,
    ) {
        self.lacking.remove(key);
        let Some(set) = view.get(&REPLICA_SETS, &key.namespace, &key.name) else {
            self.sets.remove(key);
            return;
        };
        let own = self.sets.entry(key.clone()).or_default();
        own.update(view, plan, set);
        let wanted = usize::try_from(number(set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
        if !is_terminating(set) {
            resize(view, plan, set, own, wanted);
            if own.active < wanted {
                self.lacking.insert(key.clone());
            }
        }
        report(plan, set, own);
        if let Some((next, _)) = own.becoming_available.first() {
            plan.requeue_at(*next);
        }
    }
}

impl ReplicaSetController {
    fn note_pod(&mut self, key: WorkKey, pod: &Value, queue: &mut WorkQueue) {
        let own = self.sets.entry(key.clone()).or_default();
        own.changed.insert(object::name(pod).to_owned());
        queue.add(key);
    }
}

impl Basis {
    fn of(set: &Value) -> Self {
        Self {
            uid: uid(set).to_owned(),
            selector: set.pointer("/spec/selector").cloned().unwrap_or_default(),
            labels: set.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default(),
            min_ready_seconds: number(set, "/spec/minReadySeconds").unwrap_or(0),
            is_terminating: is_terminating(set),
        }
    }
}

impl OwnPods {
    /// Brings what is remembered up to date.
    fn update(&mut self, view: &ClusterView<'_>, plan: &mut ControllerPlan, set: &Value) {
        let basis = Basis::of(set);
        if basis != self.basis {
            let owned = view.find_of(&PODS, Index::Owner, uid(set));
            let free = view.find_of(&PODS, Index::Uncontrolled, object::namespace(set));
            self.changed.extend(owned.chain(free).map(|pod| object::name(pod).to_owned()));
            self.changed.extend(self.pods.keys().cloned());
            self.basis = basis;
        }
        for name in std::mem::take(&mut self.changed) {
            self.replace(view, plan, set, name);
        }
        while self.becoming_available.first().is_some_and(|(at, _)| *at <= view.time) {
            self.becoming_available.pop_first();
            self.available += 1;
        }
    }

    /// Replaces what is remembered of a pod by what is true of it now.
    fn replace(
        &mut self,
        view: &ClusterView<'_>,
        plan: &mut ControllerPlan,
        set: &Value,
        name: String,
    ) {
        let old = self.pods.remove(&name);
        if let Some(old) = &old {
            self.terminating -= usize::from(old.is_terminating);
            self.active -= usize::from(!old.is_terminating);
            self.fully_labeled -= usize::from(old.is_fully_labeled);
            self.ready -= usize::from(old.ready_since.is_some());
            if let Some(at) = old.available_at
                && !self.becoming_available.remove(&(at, name.clone()))
            {
                self.available -= 1;
            }
        }
        let Some(pod) = view.get(&PODS, object::namespace(set), &name) else {
            return;
        };
        if !claim(plan, set, pod) || is_finished(pod) {
            return;
        }
        let is_active = !is_terminating(pod);
        let known = old.filter(|old| old.uid == uid(pod));
        let is_ready = is_active && is_true(pod, "Ready");
        let since = match &known {
            Some(old) => old.ready_since.unwrap_or(view.time),
            None => first_ready(view, pod),
        };
        let ready_since = is_ready.then_some(since);
        let seconds = u64::try_from(self.basis.min_ready_seconds).unwrap_or(0);
        let available_at =
            ready_since.map(|since| view.deadline(since, Duration::from_secs(seconds)));
        let labels = self.basis.labels.as_object();
        let is_labeled = || {
            labels.is_none_or(|labels| {
                labels.iter().all(|(key, value)| label(pod, key) == value.as_str())
            })
        };
        let new = OwnPod {
            uid: uid(pod).to_owned(),
            is_terminating: !is_active,
            is_fully_labeled: is_active && is_labeled(),
            ready_since,
            available_at,
        };
        self.terminating += usize::from(new.is_terminating);
        self.active += usize::from(is_active);
        self.fully_labeled += usize::from(new.is_fully_labeled);
        self.ready += usize::from(is_ready);
        if let Some(at) = available_at {
            self.becoming_available.insert((at, name.clone()));
        }
        self.pods.insert(name, new);
    }
}

/// Returns since when a Ready pod counts as Ready: since the controller that has the timers has seen it, or before that
/// if the pod was loaded.
pub(super) fn ready_since(view: &ClusterView<'_>, timers: &mut Timers, pod: &Value) -> Timestamp {
    if view.settings.loaded.has_settled_pod(uid(pod)) {
        return first_ready(view, pod);
    }
    timers.since("ready", uid(pod), view.time)
}

/// Returns since when a Ready pod counts as Ready that the controller has not seen before.
fn first_ready(view: &ClusterView<'_>, pod: &Value) -> Timestamp {
    if !view.settings.loaded.has_settled_pod(uid(pod)) {
        return view.time;
    }
    let since = condition(pod, "Ready").and_then(|ready| moment(ready, "/lastTransitionTime"));
    let age = since.and_then(|since| Duration::try_from(view.now.duration_since(since)).ok());
    // Without a time before now, the pod has been Ready for long.
    age.and_then(|age| view.time.checked_sub(age).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
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
    own: &OwnPods,
    wanted: usize,
) {
    if own.active < wanted {
        let count = (wanted - own.active).min(BURST_REPLICAS);
        plan.create_pods(set, (0..count).map(|_| pod_from_template(set)).collect());
        // What rejects pods may be something that this controller does not read.
        if let Some(failure) = condition(set, REPLICA_FAILURE) {
            let since = moment(failure, "/lastTransitionTime").unwrap_or(view.now);
            let elapsed = Duration::try_from(view.now.duration_since(since)).unwrap_or_default();
            let delay = |nominal| view.settings.clock.delay(nominal);
            let pause = elapsed.clamp(delay(MIN_RETRY), delay(MAX_RETRY));
            plan.requeue_at(view.time + pause);
        }
    }
    if own.active > wanted {
        let namespace = object::namespace(set);
        let active = own.pods.iter().filter(|(_, pod)| !pod.is_terminating);
        let mut order: Vec<&Value> = active
            .filter_map(|(name, _)| view.get(&PODS, namespace, name))
            .map(AsRef::as_ref)
            .collect();
        pod_deletion_order::sort(&mut order, &related_pods(view, set), view.now);
        for pod in order.iter().take(own.active - wanted) {
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
    let namespace = object::namespace(set);
    let sets: Vec<&str> = match controller(set).map(|owner| text(owner, "/uid")) {
        Some(owner) => view
            .find_of(&REPLICA_SETS, Index::Owner, owner)
            .filter(|other| is_controlled_by(other, owner))
            .map(|other| uid(other))
            .collect(),
        None => vec![uid(set)],
    };
    sets.iter()
        .flat_map(|set| view.find_of(&PODS, Index::Owner, set).map(move |pod| (set, pod)))
        .filter(|(set, pod)| {
            object::namespace(pod) == namespace && is_active(pod) && is_controlled_by(pod, set)
        })
        .map(|(_, pod)| pod.as_ref())
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

fn report(plan: &mut ControllerPlan, set: &Value, own: &OwnPods) {
    let mut reported = set.clone();
    put_default(&mut reported, &["status"], json!({}));
    let counts = [
        ("fullyLabeledReplicas", own.fully_labeled),
        ("readyReplicas", own.ready),
        ("availableReplicas", own.available),
    ];
    put(&mut reported, &["status", "replicas"], own.active);
    put(&mut reported, &["status", "terminatingReplicas"], own.terminating);
    for (field, count) in counts {
        set_count(&mut reported, field, object::as_count(count));
    }
    let generation = number(set, "/metadata/generation").unwrap_or(0);
    put(&mut reported, &["status", "observedGeneration"], generation);
    let wanted = number(set, "/spec/replicas").unwrap_or(1);
    if object::as_count(own.active) >= wanted {
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
