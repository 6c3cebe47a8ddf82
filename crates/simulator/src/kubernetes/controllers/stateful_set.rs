//! The stateful set controller: pods with fixed names, created and deleted in their order, and rolling updates from the
//! last one to the first. Claims of volumes are named and not created.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ids::name_hash;
use crate::kubernetes::index::Index;
use crate::kubernetes::kinds::{PODS, STATEFUL_SETS};
use crate::kubernetes::object::{
    self, as_count, controller, is_terminating, is_true, label, list, number, put, text, uid,
};
use crate::kubernetes::store::ObjectChange;

use super::queue::{WorkKey, WorkQueue};
use super::replica_set::{owner_reference, ready_since, set_count};
use super::{ClusterView, ControllerPlan, Reconcile, Timers, events};

const COMPONENT: &str = "statefulset-controller";

/// The label with the revision of a pod's template, which the pods of daemon sets have too.
pub(super) const REVISION: &str = "controller-revision-hash";

/// How many templates of a set are remembered.
const MAX_REVISIONS: usize = 10;

/// The controller. For each set it remembers the templates of its revisions.
#[derive(Debug, Default)]
pub(super) struct StatefulSetController {
    revisions: HashMap<WorkKey, Revisions>,
}

/// The revisions of a set, the oldest first.
#[derive(Debug, Default)]
struct Revisions {
    uid: String,
    /// The name and the template of each.
    known: Vec<(String, Value)>,
}

impl Reconcile for StatefulSetController {
    fn observe(&mut self, _: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue) {
        let object = &change.object;
        if *change.resource == STATEFUL_SETS {
            queue.add(WorkKey::of(&STATEFUL_SETS, object));
        } else if *change.resource == PODS
            && let Some(owner) = controller(object).filter(|o| text(o, "/kind") == "StatefulSet")
        {
            let namespace = object::namespace(object);
            queue.add(WorkKey::named(&STATEFUL_SETS, namespace, text(owner, "/name")));
        }
    }

    fn reconcile(
        &mut self,
        view: &ClusterView<'_>,
        timers: &mut Timers,
        plan: &mut ControllerPlan,
        key: &WorkKey,
    ) {
        let Some(set) = view.get(&STATEFUL_SETS, &key.namespace, &key.name) else {
            self.revisions.remove(key);
            return;
        };
        let revisions = self.revisions.entry(key.clone()).or_default();
        let update = revisions.newest(set);
        let state = SetState::of(view, timers, plan, set, update);
        if !is_terminating(set) {
            let step = state.next_step();
            state.carry_out(plan, set, revisions, step);
        }
        state.report(plan, set);
    }
}

impl Revisions {
    /// Returns the name of the revision with the set's template.
    fn newest(&mut self, set: &Value) -> String {
        if self.uid != uid(set) {
            *self = Self { uid: uid(set).to_owned(), known: Vec::new() };
            // A set that was loaded has the revisions of its own cluster.
            let reported = text(set, "/status/updateRevision");
            let is_observed =
                number(set, "/status/observedGeneration") >= number(set, "/metadata/generation");
            if !reported.is_empty() && is_observed {
                self.known.push((reported.to_owned(), set["spec"]["template"].clone()));
            }
        }
        let template = &set["spec"]["template"];
        if let Some((name, _)) = self.known.iter().find(|(_, known)| known == template) {
            return name.clone();
        }
        let hash = name_hash(&format!("{} {template}", uid(set)));
        let name = format!("{}-{hash}", object::name(set));
        self.known.push((name.clone(), template.clone()));
        if self.known.len() > MAX_REVISIONS {
            self.known.remove(0);
        }
        name
    }

    fn template<'a>(&'a self, name: &str, set: &'a Value) -> &'a Value {
        let known = self.known.iter().find(|(known, _)| known == name);
        known.map_or(&set["spec"]["template"], |(_, template)| template)
    }
}

/// A pod of a set.
struct OwnPod<'a> {
    pod: &'a Arc<Value>,
    is_ready: bool,
    is_available: bool,
}

/// The set and its pods as they are.
struct SetState<'a> {
    /// The pods by their number.
    pods: BTreeMap<i64, OwnPod<'a>>,
    current: String,
    update: String,
    first: i64,
    wanted: i64,
    partition: i64,
    is_rolling: bool,
    is_ordered: bool,
}

/// The next changes of the pods.
#[derive(Debug, Default, PartialEq)]
struct Step {
    /// The numbers of the pods to create, with their revisions.
    create: Vec<(i64, String)>,
    delete: Vec<i64>,
}

impl<'a> SetState<'a> {
    fn of(
        view: &ClusterView<'a>,
        timers: &mut Timers,
        plan: &mut ControllerPlan,
        set: &Value,
        update: String,
    ) -> Self {
        let seconds = number(set, "/spec/minReadySeconds").unwrap_or(0);
        let min_ready = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let mut pods = BTreeMap::new();
        for pod in view.find_of(&PODS, Index::Owner, uid(set)) {
            let Some(ordinal) = ordinal(set, pod) else { continue };
            let is_ready = text(pod, "/status/phase") == "Running" && is_true(pod, "Ready");
            let available_at = is_ready.then(|| {
                let since = ready_since(view, timers, pod);
                view.deadline(since, min_ready)
            });
            if let Some(at) = available_at.filter(|at| *at > view.time) {
                plan.requeue_at(at);
            }
            let is_available = available_at.is_some_and(|at| at <= view.time);
            pods.insert(ordinal, OwnPod { pod, is_ready, is_available });
        }
        let current = match text(set, "/status/currentRevision") {
            "" => update.clone(),
            current => current.to_owned(),
        };
        let rolling = "/spec/updateStrategy/rollingUpdate/partition";
        Self {
            pods,
            current,
            update,
            first: number(set, "/spec/ordinals/start").unwrap_or(0),
            wanted: number(set, "/spec/replicas").unwrap_or(1),
            partition: number(set, rolling).unwrap_or(0),
            is_rolling: text(set, "/spec/updateStrategy/type") != "OnDelete",
            is_ordered: text(set, "/spec/podManagementPolicy") != "Parallel",
        }
    }

    fn end(&self) -> i64 {
        self.first + self.wanted
    }

    /// Returns the revision of a new pod. Pods below the partition keep the current one.
    fn revision_of_new(&self, ordinal: i64) -> String {
        let keeps = self.is_rolling && ordinal < self.first + self.partition;
        if keeps { self.current.clone() } else { self.update.clone() }
    }

    /// Returns the next changes: missing pods first, then those that are too many, then those of another revision.
    fn next_step(&self) -> Step {
        let mut step = Step::default();
        for ordinal in self.first..self.end() {
            let Some(own) = self.pods.get(&ordinal) else {
                step.create.push((ordinal, self.revision_of_new(ordinal)));
                if self.is_ordered {
                    return step;
                }
                continue;
            };
            if is_finished(own.pod) && !is_terminating(own.pod) {
                step.delete.push(ordinal);
                return step;
            }
            if self.is_ordered && (is_terminating(own.pod) || !own.is_available) {
                return step;
            }
        }
        let is_surplus = |ordinal: &i64| *ordinal < self.first || *ordinal >= self.end();
        let is_unhealthy = |own: &OwnPod<'_>| !own.is_available || is_terminating(own.pod);
        let mut unhealthy = self.pods.iter().filter(|(_, own)| is_unhealthy(own));
        let first_unhealthy = unhealthy.next().map(|(ordinal, _)| *ordinal);
        for (ordinal, own) in self.pods.iter().rev().filter(|(ordinal, _)| is_surplus(ordinal)) {
            if is_terminating(own.pod) {
                if self.is_ordered {
                    return step;
                }
                continue;
            }
            let is_first_unhealthy = first_unhealthy == Some(*ordinal);
            if self.is_ordered && !own.is_available && !is_first_unhealthy {
                return step;
            }
            step.delete.push(*ordinal);
            if self.is_ordered {
                return step;
            }
        }
        if self.is_rolling && step == Step::default() {
            step.delete.extend(self.next_outdated());
        }
        step
    }

    /// Returns the pod that a rolling update replaces next. The update waits for each pod that is not healthy.
    fn next_outdated(&self) -> Option<i64> {
        for ordinal in (self.first + self.partition..self.end()).rev() {
            let own = self.pods.get(&ordinal)?;
            if is_terminating(own.pod) {
                return None;
            }
            if label(own.pod, REVISION) != Some(self.update.as_str()) {
                return Some(ordinal);
            }
            if !own.is_available {
                return None;
            }
        }
        None
    }

    fn carry_out(&self, plan: &mut ControllerPlan, set: &Value, revisions: &Revisions, step: Step) {
        let name = object::name(set);
        for (ordinal, revision) in step.create {
            plan.create(
                &PODS,
                new_pod(set, revisions.template(&revision, set), ordinal, &revision),
            );
            let message = format!("create Pod {name}-{ordinal} in StatefulSet {name} successful");
            plan.event(events::normal(COMPONENT, set, "SuccessfulCreate", message));
        }
        for ordinal in step.delete {
            if let Some(own) = self.pods.get(&ordinal) {
                plan.delete(&PODS, own.pod);
                let message =
                    format!("delete Pod {name}-{ordinal} in StatefulSet {name} successful");
                plan.event(events::normal(COMPONENT, set, "SuccessfulDelete", message));
            }
        }
    }

    fn report(&self, plan: &mut ControllerPlan, set: &Value) {
        let count = |is_counted: &dyn Fn(&OwnPod<'_>) -> bool| {
            as_count(self.pods.values().filter(|own| is_counted(own)).count())
        };
        let of_revision = |own: &OwnPod<'_>, revision: &str| {
            !is_terminating(own.pod) && label(own.pod, REVISION) == Some(revision)
        };
        let replicas = as_count(self.pods.len());
        let ready = count(&|own| own.is_ready);
        let updated = count(&|own| of_revision(own, &self.update));
        let is_complete =
            self.is_rolling && [updated, ready, replicas].iter().all(|count| *count == self.wanted);
        let current = if is_complete { &self.update } else { &self.current };
        let mut reported = set.clone();
        put(&mut reported, &["status", "replicas"], replicas);
        put(&mut reported, &["status", "availableReplicas"], count(&|own| own.is_available));
        for (field, count) in [
            ("readyReplicas", ready),
            ("updatedReplicas", updated),
            ("currentReplicas", count(&|own| of_revision(own, current))),
        ] {
            set_count(&mut reported, field, count);
        }
        put(&mut reported, &["status", "currentRevision"], current.as_str());
        put(&mut reported, &["status", "updateRevision"], self.update.as_str());
        put(&mut reported, &["status", "collisionCount"], 0);
        let generation = number(set, "/metadata/generation").unwrap_or(0);
        put(&mut reported, &["status", "observedGeneration"], generation);
        if reported != *set {
            plan.update(&STATEFUL_SETS, reported);
        }
    }
}

fn is_finished(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Returns the number at the end of a pod's name.
fn ordinal(set: &Value, pod: &Value) -> Option<i64> {
    object::name(pod).strip_prefix(object::name(set))?.strip_prefix('-')?.parse().ok()
}

fn new_pod(set: &Value, template: &Value, ordinal: i64, revision: &str) -> Value {
    let name = format!("{}-{ordinal}", object::name(set));
    let mut pod = json!({"metadata": template["metadata"], "spec": template["spec"]});
    put(&mut pod, &["metadata", "name"], name.as_str());
    put(&mut pod, &["metadata", "namespace"], object::namespace(set));
    put(&mut pod, &["metadata", "generateName"], format!("{}-", object::name(set)));
    put(&mut pod, &["metadata", "ownerReferences"], json!([owner_reference(set)]));
    for (key, value) in [
        (REVISION, revision),
        ("statefulset.kubernetes.io/pod-name", &name),
        ("apps.kubernetes.io/pod-index", &ordinal.to_string()),
    ] {
        put(&mut pod, &["metadata", "labels", key], value);
    }
    put(&mut pod, &["spec", "hostname"], name.as_str());
    let service = text(set, "/spec/serviceName");
    if !service.is_empty() {
        put(&mut pod, &["spec", "subdomain"], service);
    }
    let claims = list(set, "/spec/volumeClaimTemplates");
    if !claims.is_empty() {
        let claimed = |volume: &Value| claims.iter().any(|c| object::name(c) == volume["name"]);
        let mut volumes = list(&pod, "/spec/volumes").to_vec();
        volumes.retain(|volume| !claimed(volume));
        for claim in claims {
            let volume = object::name(claim);
            let claim = json!({"claimName": format!("{volume}-{name}")});
            volumes.push(json!({"name": volume, "persistentVolumeClaim": claim}));
        }
        put(&mut pod, &["spec", "volumes"], volumes);
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATE: &str = "db-2";

    fn set(fields: Value) -> Value {
        let mut set = json!({"metadata": {"name": "db"}, "spec": {"replicas": 3}});
        for (key, value) in fields.as_object().unwrap() {
            set["spec"][key] = value.clone();
        }
        set
    }

    /// Returns a pod from a text: `r` is Ready and updated, `o` is Ready and outdated, `s` starts, `t` terminates.
    fn pod(ordinal: usize, kind: char) -> Arc<Value> {
        let revision = if kind == 'o' { "db-1" } else { UPDATE };
        let phase = if kind == 's' { "Pending" } else { "Running" };
        let ready = if kind == 's' { "False" } else { "True" };
        let mut pod = json!({
            "metadata": {"name": format!("db-{ordinal}"), "labels": {REVISION: revision}},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        });
        if kind == 't' {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        Arc::new(pod)
    }

    /// Returns the next changes of a set whose pods are given by a letter each; `-` is a missing one.
    fn next(set: &Value, pods: &str) -> String {
        let pods: Vec<Option<Arc<Value>>> = pods
            .chars()
            .enumerate()
            .map(|(ordinal, kind)| (kind != '-').then(|| pod(ordinal, kind)))
            .collect();
        let own = pods.iter().enumerate().filter_map(|(ordinal, pod)| {
            let pod = pod.as_ref()?;
            let is_ready = is_true(pod, "Ready");
            Some((as_count(ordinal), OwnPod { pod, is_ready, is_available: is_ready }))
        });
        let state = SetState {
            pods: own.collect(),
            current: "db-1".to_owned(),
            update: UPDATE.to_owned(),
            first: 0,
            wanted: number(set, "/spec/replicas").unwrap(),
            partition: number(set, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0),
            is_rolling: text(set, "/spec/updateStrategy/type") != "OnDelete",
            is_ordered: text(set, "/spec/podManagementPolicy") != "Parallel",
        };
        let step = state.next_step();
        let created =
            step.create.iter().map(|(ordinal, revision)| format!("+{ordinal}:{revision}"));
        let deleted = step.delete.iter().map(|ordinal| format!("-{ordinal}"));
        created.chain(deleted).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pods_are_created_and_deleted_in_their_order_and_replaced_from_the_last_one() {
        let ordered = set(json!({}));
        let cases = [
            ("", "+0:db-2"),
            ("s", ""),
            ("r", "+1:db-2"),
            ("r-r", "+1:db-2"),
            ("rrr", ""),
            ("rrrrr", "-4"),
            ("rrrrt", ""),
            // The first pod that is not healthy may be deleted, and no other one before it.
            ("rrrrs", "-4"),
            ("rrsr", ""),
            ("ooo", "-2"),
            ("oot", ""),
            ("oo-", "+2:db-2"),
            ("oos", ""),
            ("oor", "-1"),
            ("orr", "-0"),
        ];
        for (pods, expected) in cases {
            assert_eq!(next(&ordered, pods), expected, "{pods}");
        }
    }

    #[test]
    fn a_parallel_set_does_not_wait_and_updates_one_pod_at_a_time() {
        let parallel = set(json!({"podManagementPolicy": "Parallel"}));
        assert_eq!(next(&parallel, "s"), "+1:db-2 +2:db-2");
        assert_eq!(next(&parallel, "rsrrs"), "-4 -3");
        assert_eq!(next(&parallel, "ooo"), "-2");
        assert_eq!(next(&parallel, "oos"), "");
    }

    #[test]
    fn the_partition_and_the_strategy_on_delete_keep_pods() {
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
        let partitioned = set(json!({"updateStrategy": rolling}));
        assert_eq!(next(&partitioned, "ooo"), "-2");
        assert_eq!(next(&partitioned, "oor"), "");
        assert_eq!(next(&partitioned, "o-r"), "+1:db-1", "with the revision that it had");
        let on_delete = set(json!({"updateStrategy": {"type": "OnDelete"}}));
        assert_eq!(next(&on_delete, "ooo"), "");
        assert_eq!(next(&on_delete, "o-o"), "+1:db-2");
    }
}
